//! The device's key and what it signs.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use wire::event::Tokens;
use wire::proof::{self, Exporter, Purpose};
use wire::request::{self, Credentials, EarlyProof, Request};
use wire::{DeviceId, RegistrationId, RequestId, Secret, WallTime, limits};

use crate::kept::Login;

/// A device's Ed25519 key.
pub(crate) struct DeviceKey {
    pair: Ed25519KeyPair,
    public: [u8; limits::DEVICE_KEY_BYTES],
}

impl DeviceKey {
    pub(crate) fn new(seed: &Secret<[u8; 32]>) -> DeviceKey {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("any 32 bytes are an Ed25519 seed");
        let public = pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes");
        DeviceKey { pair, public }
    }

    pub(crate) fn device(&self) -> DeviceId {
        let hash = digest(&SHA256, &self.public);
        DeviceId::new(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
    }

    fn sign(&self, purpose: Purpose, exporter: &Exporter, fields: &[&[u8]]) -> [u8; limits::PROOF_BYTES] {
        let signature = self.pair.sign(&proof::message(purpose, exporter, fields));
        signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }

    pub(crate) fn credentials(&self, exporter: &Exporter, token: &Secret<String>) -> Credentials {
        let proof = self.sign(Purpose::Hello, exporter, &[token.expose().as_bytes()]);
        Credentials { token: token.clone(), proof, early: None }
    }

    pub(crate) fn early_credentials(&self, token: &Secret<String>, name: &str, now: WallTime) -> Credentials {
        let signature = self.pair.sign(&proof::early_message(token.expose(), name, now));
        let proof = signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes");
        let early = Some(EarlyProof { signed_at: now, server_name: name.to_owned() });
        Credentials { token: token.clone(), proof, early }
    }

    pub(crate) fn verify(
        &self,
        exporter: &Exporter,
        registration: RegistrationId,
        otp: Secret<String>,
        device_name: String,
    ) -> Request {
        let proof = self.sign(Purpose::VerifyOtp, exporter, &[registration.as_bytes(), &self.public]);
        Request::VerifyOtp(request::VerifyOtp {
            registration,
            otp,
            device_key: self.public,
            device_name,
            proof,
        })
    }

    pub(crate) fn refresh(&self, exporter: &Exporter, login: &Login) -> Request {
        let fields: [&[u8]; 2] = [login.refresh.expose(), login.refresh_request.as_bytes()];
        Request::Refresh(request::Refresh {
            token: login.refresh.clone(),
            request: login.refresh_request,
            device_key: self.public,
            proof: self.sign(Purpose::Refresh, exporter, &fields),
        })
    }
}

impl Login {
    /// The same device with new tokens, and the id that the refresh after them will have.
    pub(crate) fn renewed(&self, tokens: Tokens, refresh_request: RequestId) -> Login {
        Login {
            account: self.account,
            device: self.device,
            access: tokens.access,
            access_expires: tokens.access_expires,
            refresh: tokens.refresh,
            refresh_request,
        }
    }
}
