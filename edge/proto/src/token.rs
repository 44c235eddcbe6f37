//! Tokens: signed access tokens bound to a device key, and refresh tokens that derive their own successors.
//!
//! An access token is a JWT (RFC 7519) signed with Ed25519 (RFC 8037), its key named by `kid` so that keys rotate
//! (C38), its device key in `cnf` (RFC 7800). A refresh token is a family id and a secret; the store keeps a hash. The
//! successor is a keyed hash of the presented secret and the client's request id, so that a repeated request gets the
//! same answer without anything having been kept.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use wire::limits::{DEVICE_KEY_BYTES, PROOF_BYTES, REFRESH_TOKEN_BYTES};
use wire::proof::{self, Exporter, Purpose};
use wire::{AccountId, DeviceId, ErrorCode, Phone, RegistrationId, RequestId, Secret, WallTime};

/// One signing key.
#[derive(Debug, Clone)]
pub struct TokenKey {
    /// Its name in tokens.
    pub kid: String,
    /// Ed25519 seed.
    pub seed: Secret<[u8; 32]>,
}

/// Everything secret that a cluster's nodes share. It is kept by whoever starts the node, never here.
#[derive(Debug, Clone)]
pub struct KeyMaterial {
    /// Signing keys: the first signs, all verify.
    pub token_keys: Vec<TokenKey>,
    /// Derives refresh tokens, and keys the hashes of numbers and one-time passwords.
    pub secret: Secret<[u8; 32]>,
}

/// Keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no signing key.
    #[error("at least one token key is needed")]
    NoKey,
    /// A signing key was refused.
    #[error("token key {kid} cannot be used")]
    Rejected {
        /// Which.
        kid: String,
    },
}

/// [`KeyMaterial`] made ready.
pub struct Keys {
    signer: (String, EncodingKey),
    verifiers: Vec<(String, DecodingKey)>,
    hmac: hmac::Key,
}

/// What an access token says (R20).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) device_key: [u8; DEVICE_KEY_BYTES],
    pub(crate) expires: WallTime,
}

/// The JSON form of [`Claims`]; times are seconds, as RFC 7519 has them.
#[derive(Debug, Serialize, Deserialize)]
struct JwtClaims {
    sub: String,
    phone: String,
    dev: String,
    cnf: Confirmation,
    iat: u64,
    exp: u64,
}

/// RFC 7800, section 3.2, in the form of RFC 8037's public key.
#[derive(Debug, Serialize, Deserialize)]
struct Confirmation {
    x: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("signs", &self.signer.0).finish_non_exhaustive()
    }
}

impl Keys {
    /// Makes keys ready.
    ///
    /// # Errors
    /// [`KeyError`] if there is none, or one cannot be used.
    pub fn new(material: &KeyMaterial) -> Result<Keys, KeyError> {
        let mut signer = None;
        let mut verifiers = Vec::new();
        for key in &material.token_keys {
            let rejected = || KeyError::Rejected { kid: key.kid.clone() };
            let pair = Ed25519KeyPair::from_seed_unchecked(key.seed.expose()).map_err(|_| rejected())?;
            let der = pair.to_pkcs8v1().map_err(|_| rejected())?;
            signer.get_or_insert_with(|| (key.kid.clone(), EncodingKey::from_ed_der(der.as_ref())));
            verifiers.push((key.kid.clone(), DecodingKey::from_ed_der(pair.public_key().as_ref())));
        }
        let hmac = hmac::Key::new(hmac::HMAC_SHA256, material.secret.expose());
        Ok(Keys { signer: signer.ok_or(KeyError::NoKey)?, verifiers, hmac })
    }

    /// Issues an access token.
    pub(crate) fn issue(&self, claims: &Claims, phone: &Phone, now: WallTime) -> Secret<String> {
        let jwt = JwtClaims {
            sub: claims.account.to_string(),
            phone: hex(&self.keyed_hash(b"phone", &[phone.expose().as_bytes()])[..16]),
            dev: claims.device.to_string(),
            cnf: Confirmation { x: hex(&claims.device_key) },
            iat: now.as_millis() / 1000,
            exp: claims.expires.as_millis() / 1000,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.signer.0.clone());
        let token = jsonwebtoken::encode(&header, &jwt, &self.signer.1);
        Secret::new(
            token.expect("claims of plain strings and numbers, under a key that was accepted, always sign"),
        )
    }

    /// Verifies an access token's signature and form; whether it has expired is for the caller to ask.
    ///
    /// # Errors
    /// [`ErrorCode::TokenInvalid`]: it is not one of ours.
    pub(crate) fn verify(&self, token: &str) -> Result<Claims, ErrorCode> {
        let invalid = |_| ErrorCode::TokenInvalid;
        let kid = jsonwebtoken::decode_header(token).map_err(invalid)?.kid.ok_or(ErrorCode::TokenInvalid)?;
        let (_, key) = self.verifiers.iter().find(|(name, _)| *name == kid).ok_or(ErrorCode::TokenInvalid)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Time is an argument here; the library would read the clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["sub", "exp"]);
        let jwt = jsonwebtoken::decode::<JwtClaims>(token, key, &validation).map_err(invalid)?.claims;
        let device_key = unhex(&jwt.cnf.x).ok_or(ErrorCode::TokenInvalid)?;
        Ok(Claims {
            account: jwt.sub.parse().map_err(|_| ErrorCode::TokenInvalid)?,
            device: jwt.dev.parse().map_err(|_| ErrorCode::TokenInvalid)?,
            device_key,
            expires: WallTime(jwt.exp.saturating_mul(1000)),
        })
    }

    /// The successor of a refresh token's secret for one request, the same however often it is asked for.
    pub(crate) fn successor(&self, token: &RefreshToken, request: RequestId) -> RefreshToken {
        let parts = [&token.family.as_bytes()[..], token.secret.expose(), request.as_bytes()];
        RefreshToken { family: token.family, secret: Secret::new(self.keyed_hash(b"refresh", &parts)) }
    }

    /// Keyed hash of a one-time password (C22): it says nothing without the key.
    pub(crate) fn otp_hash(&self, registration: RegistrationId, otp: &str) -> Secret<[u8; 32]> {
        Secret::new(self.keyed_hash(b"otp", &[registration.as_bytes(), otp.as_bytes()]))
    }

    fn keyed_hash(&self, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.hmac);
        for part in std::iter::once(&purpose).chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
    }
}

/// A refresh token, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct RefreshToken {
    pub(crate) family: RequestId,
    pub(crate) secret: Secret<[u8; 32]>,
}

impl RefreshToken {
    pub(crate) fn from_wire(token: &Secret<[u8; REFRESH_TOKEN_BYTES]>) -> RefreshToken {
        let (family, secret) = token.expose().split_first_chunk().expect("48 bytes begin with 16");
        let secret = secret.try_into().expect("48 bytes end with 32");
        RefreshToken { family: RequestId::new(*family), secret: Secret::new(secret) }
    }

    pub(crate) fn to_wire(&self) -> Secret<[u8; REFRESH_TOKEN_BYTES]> {
        let mut token = [0; REFRESH_TOKEN_BYTES];
        token[..16].copy_from_slice(self.family.as_bytes());
        token[16..].copy_from_slice(self.secret.expose());
        Secret::new(token)
    }

    /// What the store keeps.
    pub(crate) fn hash(&self) -> Secret<[u8; 32]> {
        Secret::new(sha256(self.secret.expose()))
    }
}

/// The id of the device with this key.
pub(crate) fn device_id(device_key: &[u8; DEVICE_KEY_BYTES]) -> DeviceId {
    DeviceId::new(*sha256(device_key).first_chunk().expect("32 bytes begin with 16"))
}

/// A token of ours, made for a device whose key it names; whether it has expired is for the caller to ask.
pub(crate) fn verify(keys: &Keys, token: &str) -> Result<Claims, ErrorCode> {
    let claims = keys.verify(token)?;
    if claims.device != device_id(&claims.device_key) {
        return Err(ErrorCode::TokenInvalid);
    }
    Ok(claims)
}

/// Whether a device key signed this for this connection. Before its handshake is complete, nothing can be.
pub(crate) fn check_proof(
    device_key: &[u8; DEVICE_KEY_BYTES],
    proof: &[u8; PROOF_BYTES],
    purpose: Purpose,
    exporter: Option<&Exporter>,
    fields: &[&[u8]],
) -> Result<(), ErrorCode> {
    let exporter = exporter.ok_or(ErrorCode::ProofInvalid)?;
    check_signature(device_key, proof, &proof::message(purpose, exporter, fields))
}

/// Whether a device key signed this message.
pub(crate) fn check_signature(
    device_key: &[u8; DEVICE_KEY_BYTES],
    proof: &[u8; PROOF_BYTES],
    message: &[u8],
) -> Result<(), ErrorCode> {
    let key = UnparsedPublicKey::new(&ED25519, device_key);
    key.verify(message, proof).map_err(|_| ErrorCode::ProofInvalid)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; DEVICE_KEY_BYTES]> {
    let (front, back) = text.split_at_checked(32)?;
    let half = |text: &str| text.parse::<RequestId>().ok();
    let mut key = [0; DEVICE_KEY_BYTES];
    key[..16].copy_from_slice(half(front)?.as_bytes());
    key[16..].copy_from_slice(half(back)?.as_bytes());
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(kid: &str, seed: u8) -> Keys {
        let key = TokenKey { kid: kid.into(), seed: Secret::new([seed; 32]) };
        Keys::new(&KeyMaterial { token_keys: vec![key], secret: Secret::new([9; 32]) }).unwrap()
    }

    fn claims() -> Claims {
        let device_key = [5; 32];
        let (account, device) = (AccountId::new([1; 16]), device_id(&device_key));
        Claims { account, device, device_key, expires: WallTime(7_200_000) }
    }

    fn issue(keys: &Keys) -> String {
        let phone = Phone::parse("+4915112345678").unwrap();
        keys.issue(&claims(), &phone, WallTime(3_600_000)).expose().clone()
    }

    #[test]
    fn r20_c38_claims_round_trip_and_name_no_number() {
        let token = issue(&keys("a", 1));
        assert_eq!(keys("a", 1).verify(&token), Ok(claims()));
        assert!(token.len() <= wire::limits::ACCESS_TOKEN_BYTES_MAX, "{}", token.len());
    }

    #[test]
    fn r24_forged_tokens_are_refused() {
        let ours = keys("a", 1);
        let token = issue(&ours);
        let (head, signature) = token.rsplit_once('.').unwrap();
        let none = format!("eyJhbGciOiJub25lIiwia2lkIjoiYSJ9.{}.", head.split_once('.').unwrap().1);
        let other_key = issue(&keys("a", 2));
        let other_kid = issue(&keys("b", 1));
        let swapped = format!("{head}.{}", signature.chars().rev().collect::<String>());
        for bad in ["", "a.b.c", &none, &other_key, &other_kid, &swapped, &token[1..], &format!("{token}x")] {
            assert_eq!(ours.verify(bad), Err(ErrorCode::TokenInvalid), "{bad}");
        }
    }

    #[test]
    fn c1_successor_depends_on_token_and_request_only() {
        let keys = keys("a", 1);
        let token = RefreshToken { family: RequestId::new([1; 16]), secret: Secret::new([2; 32]) };
        let next = |request| keys.successor(&token, RequestId::new([request; 16])).to_wire();
        assert_eq!(next(1), next(1));
        assert_ne!(next(1), next(2));
        assert_eq!(RefreshToken::from_wire(&next(1)).to_wire(), next(1));
    }

    #[test]
    fn proof_is_bound_to_connection_and_purpose() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
        let device_key: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        let message = proof::message(Purpose::Hello, &[1; 32], &[b"token"]);
        let proof: [u8; 64] = pair.sign(&message).as_ref().try_into().unwrap();
        let check =
            |purpose, exporter, field: &[u8]| check_proof(&device_key, &proof, purpose, exporter, &[field]);
        assert_eq!(check(Purpose::Hello, Some(&[1; 32]), b"token"), Ok(()));
        for (purpose, exporter, field) in [
            (Purpose::Hello, Some(&[2; 32]), &b"token"[..]),
            (Purpose::Refresh, Some(&[1; 32]), b"token"),
            (Purpose::Hello, Some(&[1; 32]), b"other"),
            (Purpose::Hello, None, b"token"),
        ] {
            assert_eq!(check(purpose, exporter, field), Err(ErrorCode::ProofInvalid));
        }
    }
}
