//! The device's long-lived key, as MLS signs with it.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::SignatureScheme;
use wire::limits::DEVICE_KEY_BYTES;
use wire::{AccountId, DeviceId};
use wire_mls::{Leaf, device_of};

/// A device's Ed25519 key: the one that signs `Hello`, too. MLS puts its own label before everything it signs.
pub struct DeviceKey {
    pair: Ed25519KeyPair,
    public: [u8; DEVICE_KEY_BYTES],
    device: DeviceId,
}

impl DeviceKey {
    /// From its seed (RFC 8032, 5.1.5), 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> DeviceKey {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed");
        let public = pair.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes");
        DeviceKey { device: device_of(&public), pair, public }
    }

    /// The device it makes.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The public key.
    pub fn public(&self) -> &[u8; DEVICE_KEY_BYTES] {
        &self.public
    }

    pub(crate) fn leaf(&self, account: AccountId) -> Leaf {
        Leaf { account, device: self.device, key: self.public }
    }
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceKey({})", self.device)
    }
}

impl Signer for DeviceKey {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.pair.sign(payload).as_ref().to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}
