//! Every key shape, in one file.
//!
//! A key is a letter, then fixed-width parts: ids as their sixteen bytes, numbers big-endian, so that keys sort as
//! their parts do and one subject's keys lie together. A log is a letter for what it belongs to (`c` chat, `d` device,
//! `k` call) and the id. `phone` and `name` parts of variable length come last. The tree, each key with its value
//! ([`record`](crate::record)):
//!
//! ```text
//! 0 v                                   schema version of the store
//! 0 i                                   incarnation: raised by copy and restore, since a new cluster's versions may be lower
//! 0 x                                   there only while the store is closed for writing: by whom and why
//! 0 p                                   there only until a copy or restore into the store is complete: how far it has got
//! 0 b                                   embedded backend only: the seal of its groups, the same in each
//! 0 c                                   embedded backend only: the last commit version
//!
//! a account                             Account: phone, name, when created, whether suspended
//! a account s                           when its last connection ended: milliseconds, little-endian, atomic max
//! a account c chat                      one chat of the account, those that it has left included: whose peer
//! a account d device                    Device: key, name, when added, token family
//! d device                              which account a device key belongs to
//! f family                              Family: a device's refresh tokens, the current and the previous one
//! f family u hash                       a refresh token older than the previous one, until it would have expired
//! p phone                               the account of a phone number
//! k device s                            Stock: which key packages of the device are left
//! k device p number                     a key package, which is handed out once
//! k device l                            the last resort: handed out when there is no other
//!
//! l log e seq                           Entry: one version byte, then the frame every recipient gets
//! l log x seq part                      the frame of a further part of a large entry, from 1
//! l log h                               Head: last seq and its time; the group's epoch, whether a commit must come first, and
//!                                       where somebody's membership ended last
//! l log i account client_msg_id         idempotency: seq, time and commit of the entry; as long as the message lives
//! l log m account                       Member: after which seq, the peer of a 1:1 chat, the role in a group
//! l log v account                       Former: a membership that has ended, from where to where
//! l log g                               Group: its name, who made it; a 1:1 chat has none
//! l log n leaf                          Leaf: whose device a leaf of the group's tree is, and whether it is to go
//! l log w epoch                         TreeNeeds: which devices the commit that began the epoch added; until all have passed it
//! l log y epoch part                    a piece of that epoch's tree, from 0; as long
//! l log d account device                device cursor: delivery resumes after it; own messages move it along
//! l log c account                       member cursors: delivered and read, and when each last moved
//! l log r account d|r incarnation stamp index
//!                                       receipt: the account's delivered (d) or read (r) cursor reached a seq at a time;
//!                                       stamp is the commit's versionstamp, index the place in its batch
//! l log t                               when any member's cursor last moved: milliseconds, little-endian, atomic max
//!
//! o lane at log seq                     outbox: an entry committed at `at` that the sweeper has not looked at
//! ```
//!
//! Of a device's inbox there are `e`, `h` and the device's own `d`: who may read it follows from whose the device is. Its `v`
//! says whose it was while chats are still to be told that it has ended, and so does an outbox key with a seq of 0.
//!
//! Receipts lie by member and kind, then in commit order: when an entry reached a member is the first of them at or
//! after the entry's own commit whose seq is not below, one or two keys into the range, however long the chat is.

mod group;
#[cfg(test)]
mod tests;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, LogId, Phone, RequestId, Seq, WallTime};

use crate::tx::{Stamped, Versionstamp, after_prefix};

pub use group::*;

/// In how many lanes outbox keys lie in order of time. All appends of a lane write at its end, which is one place on one
/// server however a cluster cuts its keys: so there are as many lanes as one cluster could ever need.
pub const OUTBOX_LANES: u8 = 64;

/// Into how many parts the outbox is cut for those who sweep it. Lane `n` belongs to shard `n % OUTBOX_SHARDS`, so that
/// keys from before there were more lanes than shards are where they were.
pub const OUTBOX_SHARDS: u8 = 16;

/// The id of the 1:1 chat of two accounts, the same whichever of them asks (C22).
pub fn direct_chat_id(a: AccountId, b: AccountId) -> ChatId {
    let mut context = Context::new(&SHA256);
    context.update(b"godwit direct chat\0");
    context.update(a.min(b).as_bytes());
    context.update(a.max(b).as_bytes());
    chat_id(context)
}

fn chat_id(context: Context) -> ChatId {
    let mut id = [0; 16];
    id.copy_from_slice(&context.finish().as_ref()[..16]);
    ChatId::new(id)
}

/// Appends parts to a key.
struct Key(Vec<u8>);

impl Key {
    fn new(letter: u8) -> Key {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(letter);
        Key(bytes)
    }

    fn letter(self, letter: u8) -> Key {
        self.bytes(&[letter])
    }

    fn bytes(mut self, bytes: &[u8]) -> Key {
        self.0.extend_from_slice(bytes);
        self
    }

    fn number(self, n: u64) -> Key {
        self.bytes(&n.to_be_bytes())
    }

    fn log(self, log: LogId) -> Key {
        let (letter, id) = match &log {
            LogId::Chat(id) => (b'c', id.as_bytes()),
            LogId::Device(id) => (b'd', id.as_bytes()),
            LogId::Call(id) => (b'k', id.as_bytes()),
        };
        self.letter(letter).bytes(id)
    }

    fn done(self) -> Bytes {
        Bytes::from(self.0)
    }
}

/// Splits a key of ours into its parts again.
pub(crate) struct Parts<'a>(pub(crate) &'a [u8]);

impl Parts<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    pub(crate) fn log(&mut self) -> Option<LogId> {
        let [letter] = self.take()?;
        let id = self.take()?;
        match letter {
            b'c' => Some(LogId::Chat(ChatId::new(id))),
            b'd' => Some(LogId::Device(DeviceId::new(id))),
            b'k' => Some(LogId::Call(ChatId::new(id))),
            _ => None,
        }
    }
}

// ---- the store ----

/// The schema version of the whole store.
pub fn schema_version() -> Bytes {
    Bytes::from_static(b"0v")
}

/// The incarnation.
pub fn incarnation() -> Bytes {
    Bytes::from_static(b"0i")
}

/// The marker of a store that is closed for writing.
pub fn closed() -> Bytes {
    Bytes::from_static(b"0x")
}

/// How far a copy or restore into the store has got.
pub fn progress() -> Bytes {
    Bytes::from_static(b"0p")
}

/// Everything but what a store says of itself, as ranges: what a copy takes.
pub fn all_but_the_stores_own() -> [(Bytes, Bytes); 2] {
    let (zero, one) = (Bytes::from_static(b"0"), Bytes::from_static(b"1"));
    [(Bytes::from_static(b"\0"), zero), (one, Bytes::from_static(b"\xff"))]
}

/// What marks a group in the embedded backend's journal as its own.
pub(crate) fn batch_seal() -> Bytes {
    Bytes::from_static(b"0b")
}

/// The embedded backend's last commit version.
pub(crate) fn commit_version() -> Bytes {
    Bytes::from_static(b"0c")
}

// ---- accounts ----

/// An account.
pub fn account(account: AccountId) -> Bytes {
    Key::new(b'a').bytes(account.as_bytes()).done()
}

/// One chat of an account.
pub fn account_chat(account: AccountId, chat: ChatId) -> Bytes {
    Key::new(b'a').bytes(account.as_bytes()).letter(b'c').bytes(chat.as_bytes()).done()
}

/// What the keys of an account's chats begin with.
pub fn account_chats(account: AccountId) -> Bytes {
    Key::new(b'a').bytes(account.as_bytes()).letter(b'c').done()
}

/// When an account's last connection ended.
pub fn last_seen(account: AccountId) -> Bytes {
    Key::new(b'a').bytes(account.as_bytes()).letter(b's').done()
}

/// One device of an account.
pub fn account_device(account: AccountId, device: DeviceId) -> Bytes {
    Key::new(b'a').bytes(account.as_bytes()).letter(b'd').bytes(device.as_bytes()).done()
}

/// What the keys of an account's devices begin with.
pub fn account_devices(account: AccountId) -> Bytes {
    Key::new(b'a').bytes(account.as_bytes()).letter(b'd').done()
}

/// The id that ends a key of [`account_chats`] or [`account_devices`], or a log's member key.
pub(crate) fn last_id(key: &[u8]) -> Option<[u8; 16]> {
    key.last_chunk().copied()
}

/// The owner of a device key.
pub fn device_owner(device: DeviceId) -> Bytes {
    Key::new(b'd').bytes(device.as_bytes()).done()
}

/// The account of a phone number.
pub fn phone(phone: &Phone) -> Bytes {
    Key::new(b'p').bytes(phone.expose().as_bytes()).done()
}

/// A token family.
pub fn family(family: RequestId) -> Bytes {
    Key::new(b'f').bytes(family.as_bytes()).done()
}

/// A refresh token of the family that is older than the previous one.
pub fn family_used(family: RequestId, hash: &[u8; 32]) -> Bytes {
    Key::new(b'f').bytes(family.as_bytes()).letter(b'u').bytes(hash).done()
}

/// What the keys of [`family_used`] begin with.
pub fn family_used_prefix(family: RequestId) -> Bytes {
    Key::new(b'f').bytes(family.as_bytes()).letter(b'u').done()
}

// ---- logs ----

fn log_key(log: LogId, letter: u8) -> Key {
    Key::new(b'l').log(log).letter(letter)
}

/// One entry.
pub fn entry(log: LogId, seq: Seq) -> Bytes {
    log_key(log, b'e').number(seq.0).done()
}

/// What all keys of a log begin with.
pub fn log(log: LogId) -> Bytes {
    Key::new(b'l').log(log).done()
}

/// A further part of an entry.
pub fn entry_part(log: LogId, seq: Seq, part: u16) -> Bytes {
    log_key(log, b'x').number(seq.0).bytes(&part.to_be_bytes()).done()
}

/// What the keys of an entry's further parts begin with.
pub fn entry_parts(log: LogId, seq: Seq) -> Bytes {
    log_key(log, b'x').number(seq.0).done()
}

/// The first key after all entries of a log.
pub fn entries_end(log: LogId) -> Bytes {
    after_prefix(&log_key(log, b'e').0)
}

/// The place in a key of [`entry`].
pub(crate) fn entry_seq(key: &[u8]) -> Option<Seq> {
    key.last_chunk().map(|bytes| Seq(u64::from_be_bytes(*bytes)))
}

/// A log's head.
pub fn head(log: LogId) -> Bytes {
    log_key(log, b'h').done()
}

/// An idempotency record. It lies under the account and not the device, so that an outbox which moves to a new device
/// still sends each message once.
pub fn idempotency(log: LogId, account: AccountId, client_msg_id: ClientMsgId) -> Bytes {
    log_key(log, b'i').bytes(account.as_bytes()).bytes(client_msg_id.as_bytes()).done()
}

/// A member of a log.
pub fn member(log: LogId, account: AccountId) -> Bytes {
    log_key(log, b'm').bytes(account.as_bytes()).done()
}

/// What the keys of a log's members begin with.
pub fn members(log: LogId) -> Bytes {
    log_key(log, b'm').done()
}

/// A device's cursor.
pub fn device_cursor(log: LogId, account: AccountId, device: DeviceId) -> Bytes {
    log_key(log, b'd').bytes(account.as_bytes()).bytes(device.as_bytes()).done()
}

/// What the keys of all devices' cursors in a log begin with.
pub fn device_cursors(log: LogId) -> Bytes {
    log_key(log, b'd').done()
}

/// Whose cursor a key of [`device_cursors`] is.
pub(crate) fn cursor_owner(key: &[u8]) -> Option<(AccountId, DeviceId)> {
    let (rest, device) = key.split_last_chunk()?;
    Some((AccountId::new(last_id(rest)?), DeviceId::new(*device)))
}

/// A member's cursors.
pub fn member_cursor(log: LogId, account: AccountId) -> Bytes {
    log_key(log, b'c').bytes(account.as_bytes()).done()
}

/// What the keys of a log's member cursors begin with.
pub fn member_cursors(log: LogId) -> Bytes {
    log_key(log, b'c').done()
}

/// When any member's cursor last moved.
pub fn cursors_moved(log: LogId) -> Bytes {
    log_key(log, b't').done()
}

/// Which of a member's two cursors a receipt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptKind {
    /// The delivered cursor.
    Delivered,
    /// The read cursor.
    Read,
}

fn receipts(log: LogId, account: AccountId, kind: ReceiptKind) -> Key {
    let letter = match kind {
        ReceiptKind::Delivered => b'd',
        ReceiptKind::Read => b'r',
    };
    log_key(log, b'r').bytes(account.as_bytes()).letter(letter)
}

/// A receipt of the transaction that writes it.
pub fn receipt(log: LogId, account: AccountId, kind: ReceiptKind, incarnation: u64, index: u16) -> Stamped {
    Stamped::new(&receipts(log, account, kind).number(incarnation).0, &index.to_be_bytes())
}

/// Where the receipts of a commit, and all later ones, begin; and where they end.
pub fn receipts_from(
    log: LogId,
    account: AccountId,
    kind: ReceiptKind,
    incarnation: u64,
    stamp: &Versionstamp,
) -> (Bytes, Bytes) {
    let end = after_prefix(&receipts(log, account, kind).0);
    (receipts(log, account, kind).number(incarnation).bytes(stamp).done(), end)
}

// ---- outbox ----

/// The outbox lane of a log (FNV-1a, which is stable and spreads well enough).
fn outbox_lane(log: LogId) -> u8 {
    let bytes = Key(Vec::with_capacity(17)).log(log).0;
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &b| {
        (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash >> 32) as u8 % OUTBOX_LANES
}

/// The outbox shard of a log.
pub fn outbox_shard(log: LogId) -> u8 {
    outbox_lane(log) % OUTBOX_SHARDS
}

/// One entry that the sweeper has not looked at.
pub fn outbox(at: WallTime, log: LogId, seq: Seq) -> Bytes {
    Key::new(b'o').letter(outbox_lane(log)).number(at.0).log(log).number(seq.0).done()
}

/// Where the outbox keys of entries committed before `due` begin and end, in each lane of a shard.
pub fn outbox_due(shard: u8, due: WallTime) -> impl Iterator<Item = (Bytes, Bytes)> {
    let lanes = (shard..OUTBOX_LANES).step_by(usize::from(OUTBOX_SHARDS));
    let begin = |lane| Key::new(b'o').letter(lane);
    lanes.map(move |lane| (begin(lane).done(), begin(lane).number(due.0).done()))
}

/// The parts of a key of [`outbox`] that name its entry and its time.
pub(crate) fn outbox_entry(key: &[u8]) -> Option<(LogId, Seq, WallTime)> {
    let mut parts = Parts(key);
    let [_, _] = parts.take()?;
    let at = WallTime(parts.number()?);
    let log = parts.log()?;
    Some((log, Seq(parts.number()?), at))
}
