//! Keys and passphrases: how they are made, and that they do not stay in memory.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{constant_time, hmac};
use zeroize::{Zeroize, Zeroizing};

use crate::error::DbError;

/// Bytes of a key: that of AES-256, given to SQLCipher as it is.
pub(crate) const KEY_BYTES: usize = 32;

/// Bytes of a database's salt.
pub(crate) const SALT_BYTES: usize = 16;

/// Bytes of what tells a right key from a wrong one.
pub(crate) const CHECK_BYTES: usize = 16;

/// Bytes of [`Key::literal`].
const LITERAL_BYTES: usize = 2 * (KEY_BYTES + SALT_BYTES) + 3;

/// A passphrase, wiped when it is dropped. `Debug` shows only that it is there.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// A passphrase as its owner typed it; any text but an empty one.
    ///
    /// # Errors
    /// [`DbError::PassphraseEmpty`].
    pub fn new(text: String) -> Result<Passphrase, DbError> {
        let text = Zeroizing::new(text);
        if text.is_empty() { Err(DbError::PassphraseEmpty) } else { Ok(Passphrase(text)) }
    }

    /// Whether it is the same text: what was typed twice.
    pub fn is(&self, other: &Passphrase) -> bool {
        *self.0 == *other.0
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// A database's key, wiped when it is dropped. It has no `Debug`.
pub(crate) struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    pub(crate) fn random() -> Result<Key, DbError> {
        let mut key = Key(Zeroizing::new([0; KEY_BYTES]));
        getrandom::fill(&mut key.0[..]).map_err(DbError::Random)?;
        Ok(key)
    }

    pub(crate) fn of_bytes(bytes: &[u8; KEY_BYTES]) -> Key {
        Key(Zeroizing::new(*bytes))
    }

    /// The key that a passphrase stands for; takes as long as `cost` says, a quarter of a second by default.
    ///
    /// `None` if `cost` is none that Argon2 knows.
    pub(crate) fn derived(passphrase: &Passphrase, salt: &[u8; SALT_BYTES], cost: Cost) -> Option<Key> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY_BYTES)).ok()?;
        let mut key = Key(Zeroizing::new([0; KEY_BYTES]));
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(passphrase.0.as_bytes(), salt, &mut key.0[..]).ok()?;
        Some(key)
    }

    /// What is kept beside a key to know it by: a MAC under the key over what stands beside it. It tells who tries
    /// passphrases no more than the database itself does, whose pages carry MACs too.
    pub(crate) fn check(&self, beside: &[u8]) -> [u8; CHECK_BYTES] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0[..]), beside);
        *tag.as_ref().first_chunk().expect("a SHA-256 is longer")
    }

    pub(crate) fn fits(&self, beside: &[u8], check: &[u8; CHECK_BYTES]) -> bool {
        constant_time::verify_slices_are_equal(&self.check(beside), check).is_ok()
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// How SQLCipher wants a key and a salt that it is to take as they are, and derive nothing from: `x'…'`, in hexadecimal.
    pub(crate) fn literal(&self, salt: &[u8; SALT_BYTES]) -> Zeroizing<String> {
        // Allocated once: a string that grows leaves copies behind.
        let mut literal = Zeroizing::new(String::with_capacity(LITERAL_BYTES));
        literal.push_str("x'");
        for byte in self.0.iter().chain(salt) {
            let mut digits = [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
            digits.iter().for_each(|&digit| literal.push(char::from(digit)));
            digits.zeroize();
        }
        literal.push('\'');
        literal
    }
}

/// What Argon2id is to cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

impl Cost {
    /// RFC 9106's second choice, for where 2 GiB are too much: 64 MiB, three passes, four lanes.
    pub(crate) const DEFAULT: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

    /// The most that is done for a file: nobody is to make a device spend minutes or all of its memory by exchanging it.
    pub(crate) const MAX: Cost = Cost { memory_kib: 1024 * 1024, passes: 64, lanes: 64 };

    /// Whether Argon2 knows it, and a device can pay it.
    pub(crate) fn is_bearable(self) -> bool {
        let Cost { memory_kib, passes, lanes } = Cost::MAX;
        let is_little = self.lanes <= lanes && self.memory_kib <= memory_kib && self.passes <= passes;
        is_little && self.passes > 0 && self.lanes > 0 && self.memory_kib >= 8 * self.lanes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9106 has no vector without a secret and associated data; this one is of the reference implementation
    /// (`argon2 somesalt -id`, its test suite).
    #[test]
    fn r165_a_passphrase_becomes_the_key_that_the_reference_says() {
        let params = Params::new(65536, 2, 1, Some(32)).expect("known");
        let mut out = [0; 32];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(b"password", b"somesalt", &mut out).expect("derived");
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7");
    }

    #[test]
    fn r165_the_literal_is_the_key_then_the_salt() {
        let literal = Key::of_bytes(&[0xab; KEY_BYTES]).literal(&[0x01; SALT_BYTES]);
        assert_eq!(*literal, format!("x'{}{}'", "ab".repeat(32), "01".repeat(16)));
        assert_eq!(
            (literal.len(), literal.capacity()),
            (LITERAL_BYTES, LITERAL_BYTES),
            "it was allocated once"
        );
    }

    #[test]
    fn r165_a_key_fits_what_was_checked_with_it_alone() {
        let (key, other) = (Key::of_bytes(&[1; KEY_BYTES]), Key::of_bytes(&[2; KEY_BYTES]));
        let check = key.check(b"beside");
        assert!(key.fits(b"beside", &check));
        assert!(!key.fits(b"besidf", &check) && !other.fits(b"beside", &check));
    }

    #[test]
    fn a_passphrase_is_not_empty_and_does_not_print() {
        assert!(matches!(Passphrase::new(String::new()), Err(DbError::PassphraseEmpty)));
        let passphrase = Passphrase::new("open sesame".into()).expect("a passphrase");
        assert_eq!(format!("{passphrase:?}"), "Passphrase(…)");
    }
}
