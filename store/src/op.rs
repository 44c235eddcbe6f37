//! What a node asks of the store: one [`Op`], one [`OpOutput`].
//!
//! Each op's transaction body is a file below; it is a function of a transaction, safe to run twice, and retry lives
//! outside it. A refusal (somebody may not, something is not there) is part of the output; an [`crate::StoreError`] is
//! the world's fault and says whether to try again.

use bytes::Bytes;
use wire::event::Kind;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, LogId, Phone, PersonName, RequestId, Secret, Seq, WallTime};

/// One request to the store. Appends and cursor moves to one log that wait together commit together.
#[derive(Debug, Clone)]
pub enum Op {
    /// Appends entries of one device to one log.
    Append(Append),
    /// Moves a device's cursors forward.
    MoveCursor(MoveCursor),
    /// Entries after a place, for delivery.
    Tail(Tail),
    /// A page of history, for a member.
    History(History),
    /// When each member got and read one entry.
    Receipts(Receipts),
    /// Where every member's cursors stand.
    MemberCursors(MemberCursors),
    /// Who a device is and what it owes and is owed: read when a session begins.
    OpenSession(OpenSession),
    /// One chat of [`OpenSession`], read when a hint names a chat the session does not know.
    OpenChat(OpenChat),
    /// Whether a device may still have a session.
    CheckDevice(CheckDevice),
    /// A page of an account's chats.
    Chats(Chats),
    /// Creates the account of a proved phone number if there is none, and adds a device to it.
    AddDevice(AddDevice),
    /// Rotates a refresh token.
    Refresh(Refresh),
    /// An account's devices.
    Devices(Devices),
    /// Ends a device: its record, its tokens, its cursors.
    RevokeDevice(RevokeDevice),
    /// The account of a phone number.
    FindAccount(FindAccount),
    /// Outbox keys past their grace time.
    Sweep(Sweep),
}

/// The answer to an [`Op`], variant for variant.
#[derive(Debug, Clone)]
pub enum OpOutput {
    /// See [`Op::Append`].
    Append(Vec<Result<Appended, AppendError>>),
    /// See [`Op::MoveCursor`].
    MoveCursor(Result<CursorMoved, CursorError>),
    /// See [`Op::Tail`].
    Tail(Tailed),
    /// See [`Op::History`].
    History(Result<HistoryPage, NotMember>),
    /// See [`Op::Receipts`].
    Receipts(Result<Vec<Receipt>, ReceiptsError>),
    /// See [`Op::MemberCursors`].
    MemberCursors(Result<Vec<MemberCursor>, NotMember>),
    /// See [`Op::OpenSession`].
    OpenSession(Result<SessionState, DeviceError>),
    /// See [`Op::OpenChat`].
    OpenChat(Result<ChatState, NotMember>),
    /// See [`Op::CheckDevice`].
    CheckDevice(Result<(), DeviceError>),
    /// See [`Op::Chats`].
    Chats(ChatsPage),
    /// See [`Op::AddDevice`].
    AddDevice(Result<DeviceAdded, AddDeviceError>),
    /// See [`Op::Refresh`].
    Refresh(Result<Refreshed, RefreshError>),
    /// See [`Op::Devices`].
    Devices(Vec<DeviceInfo>),
    /// See [`Op::RevokeDevice`].
    RevokeDevice(Result<(), DeviceError>),
    /// See [`Op::FindAccount`].
    FindAccount(Option<AccountInfo>),
    /// See [`Op::Sweep`].
    Sweep(Swept),
}

/// The account is not a member of the log at the read version; nothing was read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a member of this log")]
pub struct NotMember;

// ---- append ----

/// Appends one device's messages to a log, in this order and in one transaction: a store error appended none of them.
/// One result per message, in the same order; a refusal of one does not touch the others.
#[derive(Debug, Clone)]
pub struct Append {
    /// The log.
    pub log: LogId,
    /// The other account of a 1:1 chat, if the sender named it: the first append creates the chat for both.
    /// Whoever asks has checked that the log's id is [`direct_chat_id`](crate::keys::direct_chat_id) of the two.
    pub peer: Option<AccountId>,
    /// Who says it.
    pub sender: AccountId,
    /// From which device.
    pub device: DeviceId,
    /// What it says: 1 to 64 messages, together under 512 KiB.
    pub messages: Vec<Message>,
    /// The server's wall time; entries of one log never go backwards (a later one is at least the head's time).
    pub now: WallTime,
}

/// One message of an [`Append`].
#[derive(Debug, Clone)]
pub struct Message {
    /// The idempotency key.
    pub client_msg_id: ClientMsgId,
    /// The sender's coarse hint.
    pub kind: Kind,
    /// Ciphertext, 1 to 65,535 bytes (checked when decoded).
    pub content: Bytes,
}

/// A committed entry.
#[derive(Debug, Clone)]
pub struct Appended {
    /// Its place.
    pub seq: Seq,
    /// Its time.
    pub at: WallTime,
    /// The entry as a frame, prefix included: the bytes every recipient gets. Empty for a repeat.
    pub frame: Bytes,
    /// Every member account at the commit, the sender's too: whom fan-out hints. Empty for a repeat.
    pub members: Vec<AccountId>,
    /// Whether this `client_msg_id` had been appended before: then `seq` and `at` are the first ones.
    pub repeat: bool,
}

/// Why nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The sender is not a member, and no peer was named that would make the chat.
    #[error("the sender is not a member of this log")]
    NotMember,
    /// The named peer has no account.
    #[error("the recipient has no account")]
    RecipientUnknown,
}

// ---- cursors ----

/// Moves one device's delivered cursor and its account's delivered and read cursors; each only ever forward.
#[derive(Debug, Clone)]
pub struct MoveCursor {
    /// The log.
    pub log: LogId,
    /// Whose cursors.
    pub account: AccountId,
    /// Which device's.
    pub device: DeviceId,
    /// Everything up to here is on the device.
    pub delivered: Seq,
    /// Everything up to here was read. READ implies DELIVERED: `delivered` counts as at least this.
    pub read: Seq,
    /// The server's wall time.
    pub now: WallTime,
}

/// What a move changed.
#[derive(Debug, Clone)]
pub struct CursorMoved {
    /// The member's cursors after it.
    pub cursor: MemberCursor,
    /// Whether the member's cursors (not only the device's) moved, so that others are told.
    pub moved: bool,
    /// Every member account: whom fan-out hints. Empty if not `moved`.
    pub members: Vec<AccountId>,
}

/// Why nothing moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// The account is not a member.
    #[error("not a member of this log")]
    NotMember,
    /// The cursor is past the log's head.
    #[error("the cursor is past the last entry")]
    Ahead,
}

/// One member's cursors: the furthest of its devices, and when each last moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberCursor {
    /// Whose.
    pub member: AccountId,
    /// Delivered up to here.
    pub delivered: Seq,
    /// When it got there.
    pub delivered_at: WallTime,
    /// Read up to here.
    pub read: Seq,
    /// When it got there.
    pub read_at: WallTime,
}

/// Where every member's cursors stand.
#[derive(Debug, Clone)]
pub struct MemberCursors {
    /// The log.
    pub log: LogId,
    /// Who asks; must be a member.
    pub account: AccountId,
    /// Only cursors that moved at or after this.
    pub since: WallTime,
}

/// When each member got and read one entry (C15): exact, from the receipt log.
#[derive(Debug, Clone)]
pub struct Receipts {
    /// The log.
    pub log: LogId,
    /// Who asks; must be a member.
    pub account: AccountId,
    /// Which entry.
    pub seq: Seq,
}

/// One member's receipt for one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Whose.
    pub member: AccountId,
    /// When it reached a device of theirs, if it has.
    pub delivered_at: Option<WallTime>,
    /// When they read it, if they have.
    pub read_at: Option<WallTime>,
}

/// Why there are no receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptsError {
    /// The asker is not a member.
    #[error("not a member of this log")]
    NotMember,
    /// The log has no such entry.
    #[error("no such entry")]
    NoEntry,
}

// ---- reading ----

/// Entries after a place, oldest first, at most so many and so many bytes (but at least one, if there is one).
#[derive(Debug, Clone)]
pub struct Tail {
    /// The log.
    pub log: LogId,
    /// Entries above this.
    pub after: Seq,
    /// At most so many.
    pub entries_max: usize,
    /// At most so many bytes of frames, the first one aside.
    pub bytes_max: usize,
}

/// What [`Tail`] found.
#[derive(Debug, Clone)]
pub struct Tailed {
    /// Dense from `after + 1`.
    pub entries: Vec<StoredEntry>,
    /// The log's last place.
    pub head: Seq,
}

/// One entry as it goes to a device.
#[derive(Debug, Clone)]
pub struct StoredEntry {
    /// Its place.
    pub seq: Seq,
    /// The frame, prefix included.
    pub frame: Bytes,
}

/// A page of history (R47).
#[derive(Debug, Clone)]
pub struct History {
    /// The log.
    pub log: LogId,
    /// Who asks; must be a member, and gets nothing from before joining.
    pub account: AccountId,
    /// Which page.
    pub page: Page,
    /// At most so many entries, 1 to 500.
    pub limit: usize,
    /// At most so many bytes of frames, the first one aside: a page of large messages ends early and has more.
    pub bytes_max: usize,
}

/// Which page of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The newest entries.
    Newest,
    /// The newest entries below a place.
    Before(Seq),
    /// The oldest entries above a place.
    After(Seq),
}

/// A page, oldest entry first whichever way it was asked for.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// The entries.
    pub entries: Vec<StoredEntry>,
    /// Whether there are more in the asked direction.
    pub has_more: bool,
    /// Where every member's cursors stand.
    pub members: Vec<MemberCursor>,
}

/// Reads what a session begins with. A route must have been registered before, and the read version is fresh.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// The account the token names.
    pub account: AccountId,
    /// The device the token names.
    pub device: DeviceId,
    /// Chats whose cursors moved at or after this say so in [`ChatState::moved`].
    pub receipts_since: WallTime,
}

/// Who a device is and its chats, newest activity first.
#[derive(Debug, Clone)]
pub struct SessionState {
    /// The device's Ed25519 public key, for its proof.
    pub device_key: [u8; 32],
    /// The account.
    pub account: AccountInfo,
    /// Its chats.
    pub chats: Vec<ChatState>,
}

/// One chat as a session sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatState {
    /// The chat.
    pub chat: ChatId,
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountId>,
    /// The log's last place.
    pub head: Seq,
    /// When it was appended.
    pub last_at: WallTime,
    /// Up to where this device has everything: where delivery resumes.
    pub delivered: Seq,
    /// The account's read cursor.
    pub read: Seq,
    /// Whether any member's cursor moved at or after the asked time.
    pub moved: bool,
}

/// One chat of one device. A device that sees a chat for the first time gets a cursor at the chat's beginning
/// (its account was a member from the first entry) or where its account joined.
#[derive(Debug, Clone)]
pub struct OpenChat {
    /// Who.
    pub account: AccountId,
    /// Which device.
    pub device: DeviceId,
    /// The chat.
    pub chat: ChatId,
}

/// A page of an account's chats, by chat id.
#[derive(Debug, Clone)]
pub struct Chats {
    /// Whose.
    pub account: AccountId,
    /// Chats with ids above this.
    pub after: Option<ChatId>,
    /// At most so many.
    pub limit: usize,
}

/// What [`Chats`] found.
#[derive(Debug, Clone)]
pub struct ChatsPage {
    /// The chats.
    pub chats: Vec<ChatInfo>,
    /// Whether there are more.
    pub has_more: bool,
}

/// One chat as its member lists it.
#[derive(Debug, Clone)]
pub struct ChatInfo {
    /// The chat.
    pub chat: ChatId,
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountInfo>,
    /// The log's last place.
    pub head: Seq,
    /// The account's read cursor.
    pub read: Seq,
    /// When the last entry was appended.
    pub last_at: WallTime,
}

// ---- accounts and devices ----

/// What others may know of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountInfo {
    /// Its id.
    pub account: AccountId,
    /// Its person's name.
    pub name: PersonName,
}

/// Why a device may not have a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No such account.
    #[error("no such account")]
    AccountUnknown,
    /// The account is suspended.
    #[error("the account is suspended")]
    Suspended,
    /// The device was revoked or logged out, or never was.
    #[error("no such device on this account")]
    Revoked,
}

/// Whether a device may still have a session: account active, device not revoked.
#[derive(Debug, Clone)]
pub struct CheckDevice {
    /// Who.
    pub account: AccountId,
    /// Which device.
    pub device: DeviceId,
}

/// Creates the account of a proved phone number if there is none (C4: known or not, the same flow), adds the device,
/// and begins its token family. A repeat with the same device key is the same device and replaces its family.
#[derive(Debug, Clone)]
pub struct AddDevice {
    /// The proved number.
    pub phone: Phone,
    /// The name, for a new account; a known one keeps its own.
    pub name: PersonName,
    /// The id a new account gets.
    pub new_account: AccountId,
    /// The device: the hash of its key.
    pub device: DeviceId,
    /// Its Ed25519 public key.
    pub device_key: [u8; 32],
    /// What its owner calls it.
    pub device_name: String,
    /// The family of its tokens: a random id.
    pub family: RequestId,
    /// SHA-256 of the first refresh token's secret.
    pub refresh_hash: Secret<[u8; 32]>,
    /// When that token ends.
    pub refresh_expires: WallTime,
    /// The server's wall time.
    pub now: WallTime,
}

/// What [`AddDevice`] made.
#[derive(Debug, Clone)]
pub struct DeviceAdded {
    /// The account, with the name it has.
    pub account: AccountInfo,
    /// Whether the account is new.
    pub created: bool,
    /// Whether the device is new to the account, so that its others are told.
    pub device_new: bool,
}

/// Why no device was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddDeviceError {
    /// The device key belongs to another account.
    #[error("the device key belongs to another account")]
    KeyTaken,
    /// The account is suspended.
    #[error("the account is suspended")]
    Suspended,
}

/// Rotates a refresh token. `presented` and `successor` are SHA-256 of the secrets; the successor is derived from the
/// presented token and the request id, so that a repeat gets the same one.
///
/// The current token: it becomes the previous one, the successor current. The previous token with the id that rotated
/// it: a repeat. The previous token with another id: the successor is replaced, as long as it was not used itself
/// (the client lost the reply); anything older is reuse and ends the family.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// The family the token names.
    pub family: RequestId,
    /// The device whose proof came with it: a family of another device is unknown to it.
    pub device: DeviceId,
    /// SHA-256 of the presented secret.
    pub presented: Secret<[u8; 32]>,
    /// The client's id for this request.
    pub request: RequestId,
    /// SHA-256 of the successor's secret.
    pub successor: Secret<[u8; 32]>,
    /// When the successor ends.
    pub successor_expires: WallTime,
    /// The server's wall time.
    pub now: WallTime,
}

/// A rotated token's bearer.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// Whose it is.
    pub account: AccountId,
    /// Its phone number, for the new token's claims.
    pub phone: Phone,
    /// When the successor ends; for a repeat, as the first time.
    pub expires: WallTime,
}

/// Why a token was not rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// No such family, or not a token of it that ever was.
    #[error("no such refresh token")]
    Unknown,
    /// The token is too old.
    #[error("the refresh token has expired")]
    Expired,
    /// The family was ended: by logout, by revocation or by reuse.
    #[error("the token's family was revoked")]
    Revoked,
    /// This was reuse: the family is now ended.
    #[error("the refresh token was used before; its family is now revoked")]
    Reused,
    /// See [`DeviceError`].
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// An account's devices.
#[derive(Debug, Clone)]
pub struct Devices {
    /// Whose.
    pub account: AccountId,
}

/// One device, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its id.
    pub device: DeviceId,
    /// What its owner calls it.
    pub name: String,
    /// When it was added.
    pub added_at: WallTime,
}

/// Ends a device. Idempotent: one that is already ended is `Ok`.
#[derive(Debug, Clone)]
pub struct RevokeDevice {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// The server's wall time.
    pub now: WallTime,
}

/// The account of a phone number.
#[derive(Debug, Clone)]
pub struct FindAccount {
    /// The number.
    pub phone: Phone,
}

// ---- outbox ----

/// Takes outbox keys whose entries were committed before `due`, and says which accounts' devices are behind.
/// The keys it reports are cleared in the same transaction: the caller hints what it is told, or loses only time.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// Which of the [`OUTBOX_SHARDS`](crate::keys::OUTBOX_SHARDS).
    pub shard: u8,
    /// Entries committed before this.
    pub due: WallTime,
    /// At most so many keys.
    pub limit: usize,
}

/// What [`Sweep`] found.
#[derive(Debug, Clone)]
pub struct Swept {
    /// Devices that are behind, one per (log, device).
    pub behind: Vec<Behind>,
    /// Whether there are more keys due.
    pub has_more: bool,
}

/// A device that has not got what its log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// The log.
    pub log: LogId,
    /// Its head.
    pub head: Seq,
    /// Whose device.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
}
