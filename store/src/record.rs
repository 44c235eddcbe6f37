//! Every stored value: one schema version byte, then fixed-width fields, big-endian, and texts last.
//!
//! Invariant: what [`Record::encode`] writes, every later version of this file reads. A value of a newer schema is an
//! error and never a guess. An entry's value is the version byte and the frame itself, so reading it copies nothing.

use bytes::{BufMut, Bytes, BytesMut};
use wire::{AccountId, DeviceId, PersonName, Phone, RequestId, Secret, Seq, WallTime};

use crate::tx::{Stamped, VERSIONSTAMP_BYTES, Versionstamp};

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

/// A person: `a account`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// When it was made.
    pub created_at: WallTime,
    /// Whether it may not have sessions.
    pub suspended: bool,
    /// Its number.
    pub phone: Phone,
    /// Its name.
    pub name: PersonName,
}

impl Record for Account {
    const NAME: &'static str = "account";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.created_at.0);
        to.put_u8(self.suspended.into());
        put_text(to, self.phone.expose());
        put_text(to, self.name.as_str());
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Account {
            created_at: from.time()?,
            suspended: from.flag()?,
            phone: from.text().and_then(|t| Phone::parse(t).map_err(|_| from.damaged("no phone number")))?,
            name: from.text().and_then(|t| PersonName::parse(t).map_err(|_| from.damaged("no name")))?,
        })
    }
}

/// One chat of an account: `a account c chat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountChat {
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountId>,
}

impl Record for AccountChat {
    const NAME: &'static str = "chat of an account";

    fn put(&self, to: &mut BytesMut) {
        put_option(to, self.peer, put_account);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(AccountChat { peer: from.option(Fields::account)? })
    }
}

/// A device: `a account d device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its Ed25519 public key.
    pub key: [u8; 32],
    /// When it was added.
    pub added_at: WallTime,
    /// The family of its tokens.
    pub family: RequestId,
    /// Whether this family's registration made the device, and not an earlier one's.
    pub made_device: bool,
    /// Whether this family's registration made the account.
    pub made_account: bool,
    /// What its owner calls it.
    pub name: String,
}

impl Record for Device {
    const NAME: &'static str = "device";

    fn put(&self, to: &mut BytesMut) {
        to.put_slice(&self.key);
        to.put_u64(self.added_at.0);
        to.put_slice(self.family.as_bytes());
        to.put_u8(self.made_device.into());
        to.put_u8(self.made_account.into());
        put_text(to, &self.name);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Device {
            key: from.array()?,
            added_at: from.time()?,
            family: from.array().map(RequestId::new)?,
            made_device: from.flag()?,
            made_account: from.flag()?,
            name: from.text()?.to_owned(),
        })
    }
}

/// Whose a device key or phone number is: `d device`, `p phone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub AccountId);

impl Record for Owner {
    const NAME: &'static str = "owner";

    fn put(&self, to: &mut BytesMut) {
        put_account(to, self.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        from.account().map(Owner)
    }
}

/// A device's refresh tokens: `f family`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Whose.
    pub account: AccountId,
    /// Which device's.
    pub device: DeviceId,
    /// Whether it was ended.
    pub revoked: bool,
    /// SHA-256 of the current token's secret.
    pub current: Secret<[u8; 32]>,
    /// When the current token ends.
    pub current_expires: WallTime,
    /// The token that the current one succeeded.
    pub previous: Option<PreviousToken>,
}

/// The token before the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousToken {
    /// SHA-256 of its secret.
    pub hash: Secret<[u8; 32]>,
    /// When it would have ended.
    pub expires: WallTime,
    /// The request that rotated it.
    pub request: RequestId,
}

impl Record for Family {
    const NAME: &'static str = "token family";

    fn put(&self, to: &mut BytesMut) {
        put_account(to, self.account);
        to.put_slice(self.device.as_bytes());
        to.put_u8(self.revoked.into());
        to.put_slice(self.current.expose());
        to.put_u64(self.current_expires.0);
        put_option(to, self.previous.as_ref(), |to, previous| {
            to.put_slice(previous.hash.expose());
            to.put_u64(previous.expires.0);
            to.put_slice(previous.request.as_bytes());
        });
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Family {
            account: from.account()?,
            device: from.array().map(DeviceId::new)?,
            revoked: from.flag()?,
            current: from.array().map(Secret::new)?,
            current_expires: from.time()?,
            previous: from.option(|from| {
                Ok(PreviousToken {
                    hash: from.array().map(Secret::new)?,
                    expires: from.time()?,
                    request: from.array().map(RequestId::new)?,
                })
            })?,
        })
    }
}

/// When a token that was used would have ended: `f family u hash`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedToken {
    /// When.
    pub expires: WallTime,
}

impl Record for UsedToken {
    const NAME: &'static str = "used token";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.expires.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(UsedToken { expires: from.time()? })
    }
}

/// Where a log ends: `l log h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Its last place.
    pub seq: Seq,
    /// When that was appended.
    pub last_at: WallTime,
}

impl Record for Head {
    const NAME: &'static str = "head";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.seq.0);
        to.put_u64(self.last_at.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Head { seq: from.seq()?, last_at: from.time()? })
    }
}

/// Where a message went: `l log i account client_msg_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    /// Its place.
    pub seq: Seq,
    /// Its time.
    pub at: WallTime,
    /// The incarnation it was committed in.
    pub incarnation: u64,
    /// Its commit.
    pub stamp: Versionstamp,
}

impl Idempotency {
    /// The stored bytes of a record whose `stamp` the commit fills in.
    pub fn encode_stamped(seq: Seq, at: WallTime, incarnation: u64) -> Stamped {
        let bytes = Idempotency { seq, at, incarnation, stamp: [0; VERSIONSTAMP_BYTES] }.encode();
        Stamped::new(&bytes[..bytes.len() - VERSIONSTAMP_BYTES], &[])
    }
}

impl Record for Idempotency {
    const NAME: &'static str = "idempotency record";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.seq.0);
        to.put_u64(self.at.0);
        to.put_u64(self.incarnation);
        to.put_slice(&self.stamp);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Idempotency {
            seq: from.seq()?,
            at: from.time()?,
            incarnation: from.number()?,
            stamp: from.array()?,
        })
    }
}

/// A member of a log: `l log m account`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// It may read entries after this one.
    pub joined: Seq,
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountId>,
}

impl Record for Member {
    const NAME: &'static str = "member";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.joined.0);
        put_option(to, self.peer, put_account);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Member { joined: from.seq()?, peer: from.option(Fields::account)? })
    }
}

/// Where a device is in a log: `l log d account device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceCursor {
    /// It has everything up to here.
    pub delivered: Seq,
}

impl Record for DeviceCursor {
    const NAME: &'static str = "device cursor";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.delivered.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(DeviceCursor { delivered: from.seq()? })
    }
}

/// Where a member is in a log: `l log c account`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursors {
    /// Delivered up to here.
    pub delivered: Seq,
    /// When it got there.
    pub delivered_at: WallTime,
    /// Read up to here.
    pub read: Seq,
    /// When it got there.
    pub read_at: WallTime,
}

impl Record for Cursors {
    const NAME: &'static str = "member cursors";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.delivered.0);
        to.put_u64(self.delivered_at.0);
        to.put_u64(self.read.0);
        to.put_u64(self.read_at.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Cursors {
            delivered: from.seq()?,
            delivered_at: from.time()?,
            read: from.seq()?,
            read_at: from.time()?,
        })
    }
}

/// A cursor reached a place: `l log r …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The place.
    pub seq: Seq,
    /// When.
    pub at: WallTime,
}

impl Record for Reached {
    const NAME: &'static str = "receipt";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.seq.0);
        to.put_u64(self.at.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Reached { seq: from.seq()?, at: from.time()? })
    }
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

/// The stored bytes of an entry, and its frame within them.
pub fn encode_entry(frame: &[u8]) -> (Bytes, Bytes) {
    let mut value = BytesMut::with_capacity(1 + frame.len());
    value.put_u8(SCHEMA_VERSION);
    value.put_slice(frame);
    let value = value.freeze();
    let frame = value.slice(1..);
    (value, frame)
}

/// The frame of a stored entry; shares its memory.
///
/// # Errors
/// [`RecordError`]: it was written by a newer version, or is damaged.
pub fn decode_entry(value: &Bytes) -> Result<Bytes, RecordError> {
    after_version("entry", value)?;
    Ok(value.slice(1..))
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    const A: AccountId = AccountId::new([0xaa; 16]);

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The stored form is pinned: if this fails, the schema needs a new version and this build must still read the old.
    fn pinned<R: Record + PartialEq + Debug>(record: R, bytes: &str) {
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

    #[test]
    fn stored_forms_of_people_are_pinned() {
        let phone = Phone::parse("+4915112345678").unwrap();
        let name = PersonName::parse("Ünal").unwrap();
        let account = Account { created_at: WallTime(1), suspended: false, phone, name };
        pinned(account, "01 0000000000000001 00 000e 2b34393135313132333435363738 0005 c39c6e616c");
        pinned(AccountChat { peer: None }, "01 00");
        pinned(AccountChat { peer: Some(A) }, &format!("01 01 {}", "aa".repeat(16)));
        pinned(Owner(A), &format!("01 {}", "aa".repeat(16)));
        let device = Device {
            key: [0xbb; 32],
            added_at: WallTime(2),
            family: RequestId::new([0xcc; 16]),
            made_device: true,
            made_account: false,
            name: "phone".into(),
        };
        let (key, family) = ("bb".repeat(32), "cc".repeat(16));
        pinned(device, &format!("01 {key} 0000000000000002 {family} 01 00 0005 70686f6e65"));
    }

    #[test]
    fn stored_forms_of_tokens_are_pinned() {
        let previous = PreviousToken {
            hash: Secret::new([0x22; 32]),
            expires: WallTime(4),
            request: RequestId::new([0x33; 16]),
        };
        let mut family = Family {
            account: A,
            device: DeviceId::new([0xdd; 16]),
            revoked: false,
            current: Secret::new([0x11; 32]),
            current_expires: WallTime(3),
            previous: None,
        };
        let head =
            format!("01 {} {} 00 {} 0000000000000003", "aa".repeat(16), "dd".repeat(16), "11".repeat(32));
        pinned(family.clone(), &format!("{head} 00"));
        family.previous = Some(previous);
        pinned(family, &format!("{head} 01 {} 0000000000000004 {}", "22".repeat(32), "33".repeat(16)));
        pinned(UsedToken { expires: WallTime(5) }, "01 0000000000000005");
    }

    #[test]
    fn stored_forms_of_logs_are_pinned() {
        pinned(Head { seq: Seq(1), last_at: WallTime(2) }, "01 0000000000000001 0000000000000002");
        let stamp = [9; 10];
        let idempotency = Idempotency { seq: Seq(1), at: WallTime(2), incarnation: 3, stamp };
        assert_eq!(
            Idempotency::encode_stamped(Seq(1), WallTime(2), 3).fill(&stamp),
            idempotency.encode(),
            "the commit completes the record"
        );
        let tail = "09".repeat(10);
        pinned(idempotency, &format!("01 0000000000000001 0000000000000002 0000000000000003 {tail}"));
        pinned(
            Member { joined: Seq(0), peer: Some(A) },
            &format!("01 0000000000000000 01 {}", "aa".repeat(16)),
        );
        pinned(DeviceCursor { delivered: Seq(7) }, "01 0000000000000007");
        let cursors =
            Cursors { delivered: Seq(4), delivered_at: WallTime(5), read: Seq(2), read_at: WallTime(3) };
        pinned(cursors, "01 0000000000000004 0000000000000005 0000000000000002 0000000000000003");
        pinned(Reached { seq: Seq(4), at: WallTime(5) }, "01 0000000000000004 0000000000000005");
        pinned(Number(7), "01 0000000000000007");
        pinned(Present, "01");
    }

    #[test]
    fn an_entry_is_read_in_place() {
        let (value, frame) = encode_entry(b"frame");
        assert_eq!(value[..], *b"\x01frame");
        let read = decode_entry(&value).unwrap();
        assert_eq!((read.as_ptr(), &read[..]), (frame.as_ptr(), &b"frame"[..]));
        assert!(matches!(
            decode_entry(&Bytes::from_static(b"\x02")),
            Err(RecordError::Newer { version: 2, .. })
        ));
        assert!(matches!(decode_entry(&Bytes::new()), Err(RecordError::Damaged { .. })));
    }
}
