//! What one call gives the MLS library: cryptography, randomness from the seed, and storage.

use std::cell::RefCell;
use std::convert::Infallible;

use openmls_traits::OpenMlsProvider;
use openmls_traits::random::OpenMlsRand;
use rand::RngCore;
use rand_chacha::ChaCha20Rng;

use crate::crypto::Crypto;
use crate::kv::{Kv, Overlay};
use crate::storage::Storage;

/// One call's provider.
pub(crate) struct Provider<'a> {
    crypto: Crypto,
    random: Random<'a>,
    storage: Storage<'a>,
}

impl<'a> Provider<'a> {
    pub(crate) fn new(generator: &'a mut ChaCha20Rng, kv: &'a dyn Kv, before: &'a Overlay) -> Provider<'a> {
        let mut secret = [0; 32];
        generator.fill_bytes(&mut secret);
        Provider {
            crypto: Crypto::new(secret),
            random: Random::new(generator),
            storage: Storage::new(kv, before),
        }
    }

    pub(crate) fn into_changes(self) -> Overlay {
        self.storage.into_changes()
    }
}

impl<'a> OpenMlsProvider for Provider<'a> {
    type CryptoProvider = Crypto;
    type RandProvider = Random<'a>;
    type StorageProvider = Storage<'a>;

    fn storage(&self) -> &Storage<'a> {
        &self.storage
    }

    fn crypto(&self) -> &Crypto {
        &self.crypto
    }

    fn rand(&self) -> &Random<'a> {
        &self.random
    }
}

/// The generator that the owner seeded.
pub(crate) struct Random<'a>(RefCell<&'a mut ChaCha20Rng>);

impl<'a> Random<'a> {
    pub(crate) fn new(generator: &'a mut ChaCha20Rng) -> Random<'a> {
        Random(RefCell::new(generator))
    }
}

impl OpenMlsRand for Random<'_> {
    type Error = Infallible;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], Infallible> {
        let mut bytes = [0; N];
        self.0.borrow_mut().fill_bytes(&mut bytes);
        Ok(bytes)
    }

    fn random_vec(&self, length: usize) -> Result<Vec<u8>, Infallible> {
        let mut bytes = vec![0; length];
        self.0.borrow_mut().fill_bytes(&mut bytes);
        Ok(bytes)
    }
}
