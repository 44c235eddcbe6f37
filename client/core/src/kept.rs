//! What a client keeps, and what it begins with after a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use client_crypto::{Kv, ReadError};
use wire::event::Cursor;
use wire::request::CommitGroup;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, Epoch, RequestId, Secret, Seq, WallTime};

use crate::plan::PlanRow;

/// Something to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A row of MLS state: what [`Kv`] answers from then on.
    Mls(MlsRow),
    /// A message waits to be sent.
    Queue(OutboxRow),
    /// A waiting message was sealed, in place of what it was sealed as before: this is what leaves.
    Sealed {
        /// Which.
        client_msg_id: ClientMsgId,
        /// What leaves.
        sealed: Sealed,
    },
    /// A message is committed: it leaves the outbox and becomes a message of its chat.
    Sent(Message),
    /// A message was refused for good: it stays in the outbox, marked.
    Failed {
        /// Which.
        client_msg_id: ClientMsgId,
        /// Why.
        code: wire::ErrorCode,
    },
    /// A message waits no more: cancelled before it was committed.
    Cancelled {
        /// Which.
        client_msg_id: ClientMsgId,
    },
    /// A message arrived, the chat's next.
    Arrived(Message),
    /// The chat's next entry is here, and is no message that could be shown: it takes its place.
    Passed {
        /// In which chat.
        chat: ChatId,
        /// Its place.
        seq: Seq,
        /// Who it is from, as the server says.
        sender: AccountId,
        /// The server's time.
        at: WallTime,
        /// What it is.
        what: Passed,
    },
    /// This device has joined the chat's group: its log begins behind this place, unless more of it is here.
    Joined {
        /// Which.
        chat: ChatId,
        /// The place of the commit that added it.
        seq: Seq,
    },
    /// This account has left the chat, or was removed: it gets nothing more of it, unless it joins again.
    Gone {
        /// Which.
        chat: ChatId,
        /// Who did it.
        by: AccountId,
        /// The server's time.
        at: WallTime,
    },
    /// Who is in a chat has changed, for screens.
    Members(MembersChange),
    /// A chat is known, with the other account of a 1:1 chat.
    Chat {
        /// Which.
        chat: ChatId,
        /// The other account.
        peer: Option<AccountId>,
    },
    /// What the server has of this chat's cursors.
    Told {
        /// Which.
        chat: ChatId,
        /// The delivered cursor it was told.
        delivered: Seq,
        /// The read cursor it is known to have: one that was only told may be lost on its way.
        read: Seq,
    },
    /// The user has read up to here.
    Read {
        /// In which chat.
        chat: ChatId,
        /// Up to here.
        read: Seq,
    },
    /// A member's cursors moved.
    Cursor {
        /// In which chat.
        chat: ChatId,
        /// Where they are.
        cursor: Cursor,
    },
    /// The next `receipts_since`.
    ReceiptsSince(WallTime),
    /// Everything in the device's inbox up to here is seen to.
    Inbox {
        /// Up to here.
        have: Seq,
    },
    /// A commit is to be sent until it is answered. There is one in a chat at a time.
    Commit(CommitRow),
    /// The chat's commit is in the log, or never will be.
    CommitDone {
        /// In which chat.
        chat: ChatId,
    },
    /// A change of a chat's members is under way, in as many commits as it takes. There is one in a chat at a time.
    Plan(PlanRow),
    /// It is over.
    PlanDone {
        /// In which chat.
        chat: ChatId,
    },
    /// The account's other devices that were seen to: each chat has them, or will without this device's doing.
    OwnDevices(Vec<DeviceId>),
    /// How this device's key packages stand.
    KeyPackages(KeyPackages),
    /// Who this device is, and its tokens.
    Login(Login),
    /// The tokens are worth nothing any more.
    LoggedOut,
}

/// What an entry is that is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// A commit: the chat is in its next epoch.
    Commit,
    /// Something the server says: somebody has gone.
    Control,
    /// A message that this device has sent, and has no row of any more.
    Own,
    /// Something from before this device joined the group, or that only a newer client knows.
    Unknown,
    /// It cannot be read.
    Unreadable(Unreadable),
}

/// Why an entry cannot be read. It is somebody's fault, and costs nothing but itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not what it says: of another group, sender or id.
    Relabelled,
    /// It is of an epoch that this device is not in.
    Epoch,
    /// It was said before, or its key is gone.
    Replayed,
    /// It is not authentic, or not well made.
    Refused,
    /// A commit would bring somebody into a chat of two.
    Stranger,
}

/// Who is in a chat has changed; of a new device of a member nothing is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersChange {
    /// The chat.
    pub chat: ChatId,
    /// The place of the commit that did it, or of the server's word that somebody left.
    pub seq: Seq,
    /// The server's time.
    pub at: WallTime,
    /// Who did it.
    pub by: AccountId,
    /// Who is in it now and was not: everybody, where this device has just joined.
    pub added: Vec<AccountId>,
    /// Who was in it and is not.
    pub removed: Vec<AccountId>,
}

/// A row of MLS state, opaque. It holds secrets, so it is shown by its size alone.
#[derive(Clone, PartialEq, Eq)]
pub struct MlsRow {
    /// Its name.
    pub key: Vec<u8>,
    /// Its new value, or `None` to delete it.
    pub value: Option<Vec<u8>>,
}

/// A message that waits to be sent. What it says is shown by its length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its idempotency key.
    pub client_msg_id: ClientMsgId,
    /// The chat.
    pub chat: ChatId,
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountId>,
    /// What it says, in the clear.
    pub content: Bytes,
    /// What it was last sealed as; `None` if it never left.
    pub sealed: Option<Sealed>,
}

/// A message as it leaves, sealed for an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which.
    pub epoch: Epoch,
    /// The ciphertext.
    pub content: Bytes,
}

/// A committed message. What it says is shown by its length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The chat.
    pub chat: ChatId,
    /// Its place.
    pub seq: Seq,
    /// Who said it.
    pub sender: AccountId,
    /// Its idempotency key.
    pub client_msg_id: ClientMsgId,
    /// The server's time.
    pub at: WallTime,
    /// What it says, in the clear.
    pub content: Bytes,
}

/// A commit that is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRow {
    /// What is said first: names the chat, and how long the parts of `bytes` are.
    pub request: CommitGroup,
    /// The commit, its tree and its welcomes, one after another.
    pub bytes: Bytes,
}

/// How this device's key packages stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPackages {
    /// When the one of last resort ends; zero if there is none.
    pub last_resort_until: WallTime,
    /// What is said to the server until it answers.
    pub publishing: Option<Publishing>,
}

/// Key packages on their way to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publishing {
    /// The idempotency key.
    pub request: RequestId,
    /// Each for one use.
    pub packages: Vec<Bytes>,
    /// For when there is no other.
    pub last_resort: Option<Bytes>,
}

/// Who this device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
    /// The access token.
    pub access: Secret<String>,
    /// When it ends, by the server's clock.
    pub access_expires: WallTime,
    /// The refresh token.
    pub refresh: Secret<[u8; wire::limits::REFRESH_TOKEN_BYTES]>,
    /// The id of the next refresh: kept, so that one whose answer was lost is asked again and not another one.
    pub refresh_request: RequestId,
}

/// One chat, as far as this device has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatRow {
    /// The chat.
    pub chat: ChatId,
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountId>,
    /// Everything up to here is stored.
    pub have: Seq,
    /// The user has read up to here.
    pub read: Seq,
    /// What [`Write::Told`] said last: delivered, read.
    pub told: (Seq, Seq),
    /// This account is no member any more.
    pub gone: bool,
}

/// Everything that was kept, at a start, but for the rows of MLS state: a [`Kv`] has these.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Who this device is; `None` before the first registration.
    pub login: Option<Login>,
    /// Messages that wait, in the order they were queued; failed ones are not among them.
    pub outbox: Vec<OutboxRow>,
    /// The chats. In the order of their ids, if [`Snapshot::apply`] is used.
    pub chats: Vec<ChatRow>,
    /// Cursor moves are known up to here.
    pub receipts_since: WallTime,
    /// The device's inbox is seen to up to here.
    pub inbox: Seq,
    /// Commits that may be on their way, one of a chat at most.
    pub commits: Vec<CommitRow>,
    /// Changes of members that are under way, one of a chat at most.
    pub plans: Vec<PlanRow>,
    /// What [`Write::OwnDevices`] said last.
    pub own_devices: Vec<DeviceId>,
    /// What [`Write::KeyPackages`] said last.
    pub key_packages: KeyPackages,
}

impl ChatRow {
    /// A chat of which nothing is here.
    pub fn new(chat: ChatId, peer: Option<AccountId>) -> ChatRow {
        let zero = Seq::ZERO;
        ChatRow { chat, peer, have: zero, read: zero, told: (zero, zero), gone: false }
    }
}

impl Snapshot {
    /// Keeps one write: what a client that starts from memory alone has for a disk. Messages themselves are the owner's
    /// to keep, rows of MLS state a [`MemoryKv`]'s; so are the marks of failed ones, which leave the outbox here.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Queue(_)
            | Write::Sealed { .. }
            | Write::Sent(_)
            | Write::Failed { .. }
            | Write::Cancelled { .. } => self.apply_outbox(write),
            Write::Arrived(Message { chat, seq, .. })
            | Write::Passed { chat, seq, .. }
            | Write::Joined { chat, seq } => {
                let row = self.chat_mut(*chat);
                row.have = row.have.max(*seq);
                row.gone &= !matches!(write, Write::Joined { .. });
            }
            Write::Gone { chat, .. } => self.chat_mut(*chat).gone = true,
            &Write::Chat { chat, peer } => self.chat_mut(chat).peer = peer,
            &Write::Told { chat, delivered, read } => self.chat_mut(chat).told = (delivered, read),
            &Write::Read { chat, read } => {
                let row = self.chat_mut(chat);
                row.read = row.read.max(read);
            }
            // For screens: a client that starts anew asks for it.
            Write::Cursor { .. } | Write::Members(_) | Write::Mls(_) => {}
            Write::ReceiptsSince(since) => self.receipts_since = *since,
            Write::Inbox { have } => self.inbox = *have,
            Write::Commit(row) => {
                self.commits.retain(|other| other.request.chat != row.request.chat);
                self.commits.push(row.clone());
            }
            Write::CommitDone { chat } => self.commits.retain(|row| row.request.chat != *chat),
            Write::Plan(row) => {
                self.plans.retain(|other| other.chat != row.chat);
                self.plans.push(row.clone());
            }
            Write::PlanDone { chat } => self.plans.retain(|row| row.chat != *chat),
            Write::OwnDevices(devices) => self.own_devices.clone_from(devices),
            Write::KeyPackages(standing) => self.key_packages = standing.clone(),
            Write::Login(login) => self.login = Some(login.clone()),
            Write::LoggedOut => self.login = None,
        }
    }

    fn apply_outbox(&mut self, write: &Write) {
        match write {
            Write::Queue(row) => self.outbox.push(row.clone()),
            Write::Sealed { client_msg_id, sealed } => {
                let row = self.outbox.iter_mut().find(|row| row.client_msg_id == *client_msg_id);
                row.into_iter().for_each(|row| row.sealed = Some(sealed.clone()));
            }
            Write::Sent(Message { client_msg_id, .. })
            | Write::Failed { client_msg_id, .. }
            | Write::Cancelled { client_msg_id } => {
                self.outbox.retain(|row| row.client_msg_id != *client_msg_id);
            }
            _ => {}
        }
    }

    /// One chat, if it is known.
    pub fn chat(&self, chat: ChatId) -> Option<&ChatRow> {
        self.place(chat).ok().map(|at| &self.chats[at])
    }

    fn chat_mut(&mut self, chat: ChatId) -> &mut ChatRow {
        let at = self.place(chat).unwrap_or_else(|at| {
            self.chats.insert(at, ChatRow::new(chat, None));
            at
        });
        &mut self.chats[at]
    }

    fn place(&self, chat: ChatId) -> Result<usize, usize> {
        self.chats.binary_search_by_key(&chat, |row| row.chat)
    }
}

/// Rows of MLS state in memory, for owners that keep nothing longer: tests, load tests, the simulation. Clones share
/// their rows.
#[derive(Debug, Clone, Default)]
pub struct MemoryKv(Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>);

impl MemoryKv {
    /// Keeps one write, if it is a row.
    pub fn apply(&self, write: &Write) {
        let Write::Mls(MlsRow { key, value }) = write else { return };
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match value {
            Some(value) => rows.insert(key.clone(), value.clone()),
            None => rows.remove(key),
        };
    }

    /// The rows as they are now, apart from these: what a copy of the disk would hold.
    pub fn copy(&self) -> MemoryKv {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        MemoryKv(Arc::new(Mutex::new(rows.clone())))
    }
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }
}
