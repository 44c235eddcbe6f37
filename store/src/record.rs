//! Every stored value: one schema version byte, then fixed-width fields, big-endian, and texts last.
//!
//! Invariant: what [`Record::encode`] writes, every later version of this file reads. A value of a newer schema is an
//! error and never a guess. What a record has gained since it was first written follows its old fields and is left out where it
//! says nothing, so that old values are read as they were written. An entry's value is the version byte and the frame itself,
//! so reading it copies nothing.

mod account;
mod closed;
mod group;
mod log;

use bytes::{BufMut, Bytes, BytesMut};
use wire::{AccountId, DeviceId, Seq, WallTime};

pub use account::{Account, AccountChat, Device, Family, Owner, PreviousToken, UsedToken};
pub use closed::{Closed, Progress};
pub use group::{Former, Group, Leaf, Stock, TreeNeeds};
pub use log::{Cursors, DeviceCursor, Head, Idempotency, Member, Reached};

/// The newest version of any value, and of the store as a whole.
pub const SCHEMA_VERSION: u8 = 1;

/// A stored value that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A newer Godwit wrote it.
    #[error("a stored {record} has schema version {version}, and this build knows up to {SCHEMA_VERSION}")]
    Newer {
        /// What it is.
        record: &'static str,
        /// Its version.
        version: u8,
    },
    /// The bytes are not what that version writes.
    #[error("a stored {record} is damaged: {what}")]
    Damaged {
        /// What it is.
        record: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A value with fields.
pub trait Record: Sized {
    /// What it is called in errors.
    const NAME: &'static str;

    /// Writes the fields.
    fn put(&self, to: &mut BytesMut);

    /// Reads the fields.
    ///
    /// # Errors
    /// [`RecordError::Damaged`].
    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError>;

    /// The stored bytes.
    fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(128);
        bytes.put_u8(SCHEMA_VERSION);
        self.put(&mut bytes);
        bytes.freeze()
    }

    /// The value of stored bytes.
    ///
    /// # Errors
    /// [`RecordError`]: it was written by a newer version, or is damaged.
    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Fields { record: Self::NAME, rest: after_version(Self::NAME, bytes)? };
        let value = Self::take(&mut fields)?;
        if fields.rest.is_empty() { Ok(value) } else { Err(fields.damaged("bytes after its end")) }
    }
}

fn after_version<'a>(record: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], RecordError> {
    match bytes.split_first() {
        Some((&SCHEMA_VERSION, rest)) => Ok(rest),
        Some((0, _)) | None => Err(RecordError::Damaged { record, what: "no version" }),
        Some((&version, _)) => Err(RecordError::Newer { record, version }),
    }
}

/// Stored bytes that are being read.
#[derive(Debug)]
pub struct Fields<'a> {
    record: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn damaged(&self, what: &'static str) -> RecordError {
        RecordError::Damaged { record: self.record, what }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(|| self.damaged("too short"))?;
        self.rest = rest;
        Ok(*head)
    }

    fn number(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_be_bytes)
    }

    fn seq(&mut self) -> Result<Seq, RecordError> {
        self.number().map(Seq)
    }

    fn time(&mut self) -> Result<WallTime, RecordError> {
        self.number().map(WallTime)
    }

    fn account(&mut self) -> Result<AccountId, RecordError> {
        self.array().map(AccountId::new)
    }

    fn device(&mut self) -> Result<DeviceId, RecordError> {
        self.array().map(DeviceId::new)
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn flag(&mut self) -> Result<bool, RecordError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(self.damaged("a flag that is neither")),
        }
    }

    fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Option<T>, RecordError> {
        if self.flag()? { take(self).map(Some) } else { Ok(None) }
    }

    /// All that is left.
    fn rest(&mut self) -> Bytes {
        Bytes::copy_from_slice(std::mem::take(&mut self.rest))
    }

    fn text(&mut self) -> Result<&'a str, RecordError> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.damaged("too short"))?;
        self.rest = rest;
        std::str::from_utf8(head).map_err(|_| self.damaged("a text that is not UTF-8"))
    }
}

fn put_option<T>(to: &mut BytesMut, value: Option<T>, put: impl FnOnce(&mut BytesMut, T)) {
    to.put_u8(value.is_some().into());
    if let Some(value) = value {
        put(to, value);
    }
}

fn put_text(to: &mut BytesMut, text: &str) {
    to.put_u16(
        u16::try_from(text.len()).expect("names, labels and numbers are bounded where they are parsed"),
    );
    to.put_slice(text.as_bytes());
}

fn put_account(to: &mut BytesMut, account: AccountId) {
    to.put_slice(account.as_bytes());
}

/// A number of the store itself: `0 v`, `0 i`, `0 c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(pub u64);

impl Record for Number {
    const NAME: &'static str = "number";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        from.number().map(Number)
    }
}

/// A key that says all there is to say: `o …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present;

impl Record for Present {
    const NAME: &'static str = "mark";

    fn put(&self, _: &mut BytesMut) {}

    fn take(_: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Present)
    }
}

/// What an entry's value begins with instead of the version if further parts lie under keys of their own: their bytes follow
/// it, as 32 bits, so that whoever reads within a budget knows what they cost.
const IN_PARTS: u8 = 2;

/// The stored bytes of an entry, and its frame within them.
pub fn encode_entry(frame: &[u8]) -> (Bytes, Bytes) {
    encode_entry_in_parts(frame, 0)
}

/// As [`encode_entry`], of an entry whose further parts have so many bytes in all.
pub fn encode_entry_in_parts(frame: &[u8], parts_bytes: u32) -> (Bytes, Bytes) {
    let mut value = BytesMut::with_capacity(5 + frame.len());
    if parts_bytes == 0 {
        value.put_u8(SCHEMA_VERSION);
    } else {
        value.put_u8(IN_PARTS);
        value.put_u32(parts_bytes);
    }
    let head = value.len();
    value.put_slice(frame);
    let value = value.freeze();
    let frame = value.slice(head..);
    (value, frame)
}

/// The frame of a stored entry, which shares its memory, and how many bytes its further parts have.
///
/// # Errors
/// [`RecordError`]: it was written by a newer version, or is damaged.
pub fn decode_entry(value: &Bytes) -> Result<(Bytes, u32), RecordError> {
    if let Some((&IN_PARTS, rest)) = value.split_first() {
        let damaged = RecordError::Damaged { record: "entry", what: "too short" };
        let (parts_bytes, _) = rest.split_first_chunk().ok_or(damaged)?;
        return Ok((value.slice(5..), u32::from_be_bytes(*parts_bytes)));
    }
    after_version("entry", value)?;
    Ok((value.slice(1..), 0))
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The stored form is pinned: if this fails, the schema needs a new version and this build must still read the old.
    pub(super) fn pinned<R: Record + PartialEq + Debug>(record: R, bytes: &str) {
        let encoded = record.encode();
        assert_eq!(hex(&encoded), bytes.replace(' ', ""), "{}", R::NAME);
        assert_eq!(R::decode(&encoded), Ok(record));
        for cut in 0..encoded.len() {
            assert!(R::decode(&encoded[..cut]).is_err(), "{} cut at {cut}", R::NAME);
        }
        let longer = [&encoded[..], &[0]].concat();
        assert!(R::decode(&longer).is_err());
        let newer = [&[SCHEMA_VERSION + 1], &encoded[1..]].concat();
        assert_eq!(R::decode(&newer), Err(RecordError::Newer { record: R::NAME, version: 2 }));
    }

    /// As [`pinned`], of a record that is whole at some lengths short of its own, where older or fewer fields end.
    pub(super) fn pinned_open<R: Record + PartialEq + Debug>(record: R, bytes: &str, whole: &[usize]) {
        let encoded = record.encode();
        assert_eq!(hex(&encoded), bytes.replace(' ', ""), "{}", R::NAME);
        assert_eq!(R::decode(&encoded), Ok(record));
        for cut in 0..encoded.len() {
            assert_eq!(R::decode(&encoded[..cut]).is_ok(), whole.contains(&cut), "{} cut at {cut}", R::NAME);
        }
        assert!(R::decode(&[&encoded[..], &[0]].concat()).is_err());
    }

    #[test]
    fn stored_forms_of_the_store_are_pinned() {
        pinned(Number(7), "01 0000000000000007");
        pinned(Present, "01");
    }

    #[test]
    fn an_entry_is_read_in_place() {
        let (value, frame) = encode_entry(b"frame");
        assert_eq!(value[..], *b"\x01frame");
        let (read, parts_bytes) = decode_entry(&value).unwrap();
        assert_eq!((read.as_ptr(), &read[..], parts_bytes), (frame.as_ptr(), &b"frame"[..], 0));
        let (value, frame) = encode_entry_in_parts(b"frame", 70_000);
        assert_eq!(value[..], *b"\x02\x00\x01\x11\x70frame");
        let (read, parts_bytes) = decode_entry(&value).unwrap();
        assert_eq!((read.as_ptr(), &read[..], parts_bytes), (frame.as_ptr(), &b"frame"[..], 70_000));
        assert!(matches!(
            decode_entry(&Bytes::from_static(b"\x03")),
            Err(RecordError::Newer { version: 3, .. })
        ));
        for damaged in [&b""[..], b"\x02\x00"] {
            assert!(matches!(
                decode_entry(&Bytes::copy_from_slice(damaged)),
                Err(RecordError::Damaged { .. })
            ));
        }
    }
}
