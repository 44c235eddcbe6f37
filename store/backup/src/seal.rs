//! Encryption of what lies outside: AES-256-GCM, a key of its own for each backup.
//!
//! An operator's key is 32 random bytes. What seals a backup is made of it and the backup's id (HKDF-SHA256), the nonce is
//! random, and the id and the object's name are authenticated with the bytes: an object that was moved to another name,
//! or came from another backup, does not open.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use bytes::Bytes;

use crate::BackupError;

/// An operator's key for backups. Does not print.
#[derive(Clone)]
pub struct Key([u8; 32]);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("the key file {} cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the file.
    #[error("the key file {} may be read by others: `chmod 600` it", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
    },
    /// It holds no key.
    #[error("the key file {} does not hold 64 hexadecimal digits: `openssl rand -hex 32` makes a key", path.display())]
    Form {
        /// Which.
        path: PathBuf,
    },
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A key of these bytes, which are random.
    pub const fn new(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }

    /// Reads a file of 64 hexadecimal digits that nobody but its owner may read.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path) -> Result<Key, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(io)?.mode() & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned() });
        }
        let text = std::fs::read(path).map_err(io)?;
        from_hex(text.trim_ascii()).map(Key).ok_or_else(|| KeyError::Form { path: path.to_owned() })
    }

    fn of_backup(&self, id: &[u8; 16]) -> Prk {
        Salt::new(HKDF_SHA256, id).extract(&self.0)
    }
}

fn from_hex(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits: &[u8; 64] = text.try_into().ok()?;
    for (byte, two) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |d: u8| char::from(d).to_digit(16);
        *byte = u8::try_from(digit(two[0])? << 4 | digit(two[1])?).ok()?;
    }
    Some(bytes)
}

/// Seals and opens the objects of one backup; without a key, leaves them as they are.
pub(crate) struct Sealer {
    id: [u8; 16],
    keys: Option<(LessSafeKey, Check)>,
}

/// Tells a wrong key from a damaged object, and nothing else about the key.
pub(crate) type Check = [u8; 8];

/// Not what was sealed under this name, or not by this key.
#[derive(Debug)]
pub(crate) struct NotOpened;

impl Sealer {
    pub(crate) fn new(key: Option<&Key>, id: [u8; 16]) -> Sealer {
        let keys = key.map(|key| {
            let key = key.of_backup(&id);
            let sealing = UnboundKey::new(&AES_256_GCM, &expand(&key, b"godwit backup: seal"));
            let sealing = LessSafeKey::new(sealing.expect("the key has the cipher's length"));
            let mut check = [0; 8];
            check.copy_from_slice(&expand(&key, b"godwit backup: check")[..8]);
            (sealing, check)
        });
        Sealer { id, keys }
    }

    /// Its check; `None` without a key.
    pub(crate) fn check(&self) -> Option<Check> {
        self.keys.as_ref().map(|(_, check)| *check)
    }

    fn aad(&self, name: &str) -> Aad<Vec<u8>> {
        Aad::from([&self.id[..], name.as_bytes()].concat())
    }

    /// The bytes to store of an object: nonce, ciphertext, tag.
    pub(crate) fn seal(&self, name: &str, plain: Vec<u8>) -> Result<Vec<u8>, BackupError> {
        let Some((key, _)) = &self.keys else { return Ok(plain) };
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| BackupError::Random)?;
        let mut sealed = plain;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), self.aad(name), &mut sealed)
            .map_err(|_| BackupError::Random)?;
        sealed.splice(0..0, nonce);
        Ok(sealed)
    }

    /// What was sealed.
    pub(crate) fn open(&self, name: &str, stored: Bytes) -> Result<Bytes, NotOpened> {
        let Some((key, _)) = &self.keys else { return Ok(stored) };
        let (nonce, sealed) = stored.split_first_chunk::<NONCE_LEN>().ok_or(NotOpened)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.open_in_place(nonce, self.aad(name), &mut sealed).map_err(|_| NotOpened)?.len();
        sealed.truncate(length);
        Ok(Bytes::from(sealed))
    }
}

fn expand(key: &Prk, info: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let expanded = key.expand(&[info], HKDF_SHA256).and_then(|okm| okm.fill(&mut bytes));
    expanded.expect("a hash's length can be expanded");
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn r151_what_is_sealed_opens_under_its_name_with_its_key_alone() {
        let (key, other) = (Key::new([1; 32]), Key::new([2; 32]));
        let sealer = Sealer::new(Some(&key), [3; 16]);
        let sealed = sealer.seal("a", b"canary".to_vec()).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"canary"));
        assert_ne!(sealed, sealer.seal("a", b"canary".to_vec()).unwrap(), "a nonce of its own");
        let sealed = Bytes::from(sealed);
        assert_eq!(sealer.open("a", sealed.clone()).unwrap()[..], *b"canary");
        assert!(sealer.open("b", sealed.clone()).is_err(), "another name");
        assert!(Sealer::new(Some(&key), [4; 16]).open("a", sealed.clone()).is_err(), "another backup");
        assert!(Sealer::new(Some(&other), [3; 16]).open("a", sealed.clone()).is_err(), "another key");
        assert_ne!(Sealer::new(Some(&other), [3; 16]).check(), sealer.check());
        for at in 0..sealed.len() {
            let mut flipped = sealed.to_vec();
            flipped[at] ^= 1;
            assert!(sealer.open("a", flipped.into()).is_err(), "byte {at}");
            assert!(sealer.open("a", sealed.slice(..at)).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_key_file_is_private_and_hexadecimal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(matches!(Key::read(&path), Err(KeyError::Io { .. })));
        std::fs::write(&path, format!("{}\n", "0f".repeat(32))).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(Key::read(&path), Err(KeyError::Exposed { .. })));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(Key::read(&path).unwrap().0, [0x0f; 32]);
        assert_eq!(format!("{:?}", Key::read(&path).unwrap()), "Key(…)");
        for text in ["", "0f", &"0g".repeat(32), &"0f".repeat(33)] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(Key::read(&path), Err(KeyError::Form { .. })), "{text}");
        }
    }
}
