//! `state.key`: the key, or what a passphrase becomes the key with.
//!
//! ```text
//! 0   b"GODWITK"        7   version (1)       8   kind: 1 the key is here, 2 it is derived from a passphrase
//! 9   salt, 16 bytes: of the database, which begins with it, and of Argon2id
//! 25  kind 1: the key, 32 bytes               kind 2: memory in KiB, passes, lanes, 4 bytes each, big-endian
//! …   check, 16 bytes: HMAC-SHA256 under the key over everything before it but the key, cut
//! ```
//!
//! The check tells a wrong passphrase and a damaged file from a damaged database; the salt tells another database's key.

use zeroize::Zeroizing;

use crate::error::DbError;
use crate::key::{CHECK_BYTES, Cost, KEY_BYTES, Key, Passphrase, SALT_BYTES};

const MAGIC: &[u8; 7] = b"GODWITK";
pub(crate) const VERSION: u8 = 1;
const OF_FILE: u8 = 1;
const OF_PASSPHRASE: u8 = 2;

/// Bytes before what depends on the kind.
const HEAD_BYTES: usize = 9 + SALT_BYTES;

/// No file of any kind is longer.
pub(crate) const BYTES_MAX: usize = HEAD_BYTES + KEY_BYTES + CHECK_BYTES;

/// What is in the file.
pub(crate) struct Header {
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) kind: Kind,
    check: [u8; CHECK_BYTES],
}

/// Where the key comes from.
pub(crate) enum Kind {
    File(Key),
    Passphrase(Cost),
}

/// Why bytes are no header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    Damaged,
    Newer(u8),
}

impl Header {
    /// A new key, derived from a passphrase if there is one.
    pub(crate) fn make(passphrase: Option<&Passphrase>) -> Result<(Header, Key), DbError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(DbError::Random)?;
        let (kind, key) = match passphrase {
            None => {
                let key = Key::random()?;
                (Kind::File(Key::of_bytes(key.bytes())), key)
            }
            Some(passphrase) => {
                let cost = Cost::DEFAULT;
                let key =
                    Key::derived(passphrase, &salt, cost).expect("the default is a cost that Argon2 knows");
                (Kind::Passphrase(cost), key)
            }
        };
        let mut header = Header { salt, kind, check: [0; CHECK_BYTES] };
        header.check = key.check(&header.beside());
        Ok((header, key))
    }

    /// The key that a passphrase stands for here; `None` if it is not the right one.
    pub(crate) fn key_of(&self, passphrase: &Passphrase, cost: Cost) -> Option<Key> {
        Key::derived(passphrase, &self.salt, cost).filter(|key| key.fits(&self.beside(), &self.check))
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX));
        bytes.extend_from_slice(&self.beside());
        if let Kind::File(key) = &self.kind {
            bytes.extend_from_slice(key.bytes());
        }
        bytes.extend_from_slice(&self.check);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, NoHeader> {
        let (magic, rest) = bytes.split_first_chunk().ok_or(NoHeader::Damaged)?;
        let (&[version, kind], rest) = rest.split_first_chunk().ok_or(NoHeader::Damaged)?;
        if magic != MAGIC {
            return Err(NoHeader::Damaged);
        }
        if version > VERSION {
            return Err(NoHeader::Newer(version));
        }
        let (&salt, rest) = rest.split_first_chunk().ok_or(NoHeader::Damaged)?;
        let (kind, rest) = Kind::split(kind, rest).ok_or(NoHeader::Damaged)?;
        let header = Header { salt, kind, check: rest.try_into().map_err(|_| NoHeader::Damaged)? };
        match &header.kind {
            Kind::File(key) if !key.fits(&header.beside(), &header.check) => Err(NoHeader::Damaged),
            _ => Ok(header),
        }
    }

    /// Everything but the key and the check.
    fn beside(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let kind = if matches!(self.kind, Kind::File(_)) { OF_FILE } else { OF_PASSPHRASE };
        bytes.extend([VERSION, kind]);
        bytes.extend(self.salt);
        if let Kind::Passphrase(cost) = self.kind {
            let numbers = [cost.memory_kib, cost.passes, cost.lanes];
            numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
        }
        bytes
    }
}

impl Kind {
    fn split(kind: u8, bytes: &[u8]) -> Option<(Kind, &[u8])> {
        match kind {
            OF_FILE => bytes.split_first_chunk().map(|(key, rest)| (Kind::File(Key::of_bytes(key)), rest)),
            OF_PASSPHRASE => {
                let (numbers, rest) = bytes.split_first_chunk::<12>()?;
                let number = |at: usize| Some(u32::from_be_bytes(*numbers.get(at..)?.first_chunk()?));
                let cost = Cost { memory_kib: number(0)?, passes: number(4)?, lanes: number(8)? };
                cost.is_bearable().then_some((Kind::Passphrase(cost), rest))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r165_a_header_is_read_as_it_was_written_and_damage_is_seen() {
        let (header, key) = Header::make(None).expect("made");
        let bytes = header.encode();
        assert_eq!(bytes.len(), BYTES_MAX);
        let Ok(read) = Header::decode(&bytes) else { panic!("it was written just now") };
        assert!(matches!(&read.kind, Kind::File(kept) if kept.bytes() == key.bytes()));
        assert_eq!(read.salt, header.salt);
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x40;
            let error = Header::decode(&damaged).err().expect("seen");
            let is_version = at == MAGIC.len();
            assert_eq!(
                error,
                if is_version { NoHeader::Newer(0x41) } else { NoHeader::Damaged },
                "byte {at}"
            );
            assert_eq!(Header::decode(&bytes[..at]).err(), Some(NoHeader::Damaged), "{at} bytes");
        }
        assert_eq!(Header::decode(&[&bytes[..], &[0]].concat()).err(), Some(NoHeader::Damaged), "too long");
    }

    #[test]
    fn r165_a_passphrase_gives_the_key_again_and_another_gives_none() {
        let passphrase = |text: &str| Passphrase::new(text.into()).expect("a passphrase");
        let (header, key) = Header::make(Some(&passphrase("open sesame"))).expect("made");
        let bytes = header.encode();
        assert!(
            !bytes.windows(8).any(|window| key.bytes().starts_with(window)),
            "the key is not in the file"
        );
        let Ok(read) = Header::decode(&bytes) else { panic!("it was written just now") };
        let Kind::Passphrase(cost) = read.kind else { panic!("it has a passphrase") };
        assert_eq!(cost, Cost::DEFAULT);
        let again = read.key_of(&passphrase("open sesame"), cost).expect("the same");
        assert_eq!(again.bytes(), key.bytes());
        assert!(read.key_of(&passphrase("open Sesame"), cost).is_none());
    }

    #[test]
    fn r165_a_file_cannot_ask_for_more_than_a_device_can_bear() {
        let (header, _) = Header::make(None).expect("made");
        let mut bytes = header.encode()[..HEAD_BYTES].to_vec();
        bytes[8] = OF_PASSPHRASE;
        let with = |memory_kib: u32, passes: u32, lanes: u32| {
            let numbers = [memory_kib, passes, lanes].map(u32::to_be_bytes).concat();
            Header::decode(&[&bytes[..], &numbers, &[0; CHECK_BYTES]].concat()).is_ok()
        };
        assert!(with(1024 * 1024, 64, 64));
        assert!(!with(1024 * 1024 + 1, 1, 1) && !with(8, 65, 1) && !with(1024, 1, 65));
        assert!(!with(7, 1, 1) && !with(8, 0, 1) && !with(8, 1, 0) && !with(8, 1, u32::MAX));
    }
}
