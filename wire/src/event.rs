//! What a server says, verified: answers and events. An [`Entry`] is encoded once, when it is committed, and the same
//! bytes go to the store and to every recipient.

mod group;
mod read;
mod write;

use std::time::Duration;

use bytes::Bytes;

use crate::encode;
use crate::error::{DecodeError, Refusal};
use crate::generated::wire as fb;
use crate::{AccountId, ChatId, ClientMsgId, DeviceId, Epoch, RegistrationId, Secret, Seq, WallTime, limits};

pub use group::{
    Control, ControlKind, EntryKind, EntryPart, Group, GroupAbout, GroupLeaf, GroupMember, InboxEntry,
    InboxItem, KeyPackage, MemberRole, Welcome,
};

/// One frame from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Session: the answer to `Hello`.
    Connected(Connected),
    /// Session: everything owed at `Hello` has been delivered.
    Synced {
        /// The next `receipts_since`.
        through: WallTime,
    },
    /// Session: the answer to a ping.
    Pong {
        /// The ping's.
        client_time: WallTime,
        /// The server's.
        server_time: WallTime,
    },
    /// Session: the server is about to close the connection.
    Goodbye(Refusal),
    /// Session: the account has a new device (C4).
    DeviceAdded {
        /// Which.
        device: DeviceId,
        /// What its owner calls it.
        name: String,
        /// When it was added.
        at: WallTime,
    },
    /// Chat up: the message is committed: one tick.
    AppendAck {
        /// Which.
        client_msg_id: ClientMsgId,
        /// Its place.
        seq: Seq,
        /// Its time.
        at: WallTime,
        /// Where the store has this device's delivered cursor after it. If that is at least `seq`, the ack stands for
        /// the entry too: the device may get no other copy of it on this connection.
        delivered: Seq,
    },
    /// Chat up: the message was not committed.
    AppendRefused {
        /// Which.
        client_msg_id: ClientMsgId,
        /// Why.
        refusal: Refusal,
        /// The log's current epoch, if that is why.
        epoch: Epoch,
    },
    /// Chat down: the stream's first frame.
    ChatDown {
        /// The chat.
        chat: ChatId,
        /// The first entry that can follow.
        from_seq: Seq,
        /// The other account of a 1:1 chat.
        peer: Option<AccountId>,
    },
    /// Chat down, and history: one entry.
    Entry(Entry),
    /// Chat down: a member's cursors moved: two ticks, blue ticks.
    CursorMoved(Cursor),
    /// Chat down: a member types, or has stopped (R34, R35).
    Typing {
        /// Who.
        member: AccountId,
        /// Which of the two.
        typing: bool,
    },
    /// Answers `Register`.
    Registered {
        /// The registration to verify.
        registration: RegistrationId,
        /// How long the code lives.
        expires_in: Duration,
    },
    /// Answers `VerifyOtp`.
    Verified(Verified),
    /// Answers `Refresh`.
    Refreshed(Tokens),
    /// Answers `ListDevices`.
    Devices(Vec<Device>),
    /// Answers a request that has nothing to say.
    Done,
    /// Answers `Lookup`.
    Found {
        /// The person.
        account: AccountId,
        /// Their name.
        name: String,
        /// The 1:1 chat with them, whether it exists yet or not.
        chat: ChatId,
    },
    /// Ends a `GetMessages` answer.
    Page(Page),
    /// Answers `GetChats`.
    Chats {
        /// The chats.
        chats: Vec<Chat>,
        /// Whether there are more above the last.
        has_more: bool,
    },
    /// Answers `GetReceipts`.
    Receipts(Vec<Receipt>),
    /// Chat down, and history: the next piece of the entry before it.
    EntryPart(EntryPart),
    /// Answers `CommitGroup`: the commit is taken.
    Committed {
        /// Its place.
        seq: Seq,
        /// Its time.
        at: WallTime,
        /// The epoch that it began.
        epoch: Epoch,
    },
    /// Some of the bytes of an answer that is larger than a frame.
    Part {
        /// The bytes.
        bytes: Bytes,
        /// How many come after them.
        left: u32,
    },
    /// Answers `GetGroup`.
    Group(Group),
    /// Answers `PublishKeyPackages`.
    KeyPackagesStored {
        /// How many are stored now, the last resort aside.
        count: u32,
    },
    /// Answers `ClaimKeyPackages`.
    KeyPackages {
        /// One for each device, by account and device.
        packages: Vec<KeyPackage>,
        /// Whether there are more devices after the last.
        has_more: bool,
    },
    /// Inbox down: the stream's first frame.
    InboxDown {
        /// The first entry that can follow.
        from_seq: Seq,
    },
    /// Inbox down: one entry.
    InboxEntry(InboxEntry),
    /// Answers anything: no.
    Refused(Refusal),
    /// Something a newer server says: skipped.
    Unknown,
}

/// The answer to `Hello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// The version both speak.
    pub version: u16,
    /// Who the session is; `None` if anonymous.
    pub identity: Option<(AccountId, DeviceId)>,
    /// The server's time.
    pub server_time: WallTime,
    /// When the access token ends.
    pub token_expires: WallTime,
    /// How many chats the account is in.
    pub chats: u32,
    /// The access token has expired; its early data was taken all the same. It is to be refreshed on this connection
    /// within a minute.
    pub refresh: bool,
    /// How many key packages of the device are left, the last resort aside: it publishes more when they are few.
    pub key_packages: u32,
}

/// A coarse hint of what a message is; a client may leave it unsaid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    #[default]
    Unsaid,
    Text,
    Image,
    Video,
    Audio,
    Document,
    Location,
    Contact,
}

/// One committed entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub seq: Seq,
    /// Who said it.
    pub sender: AccountId,
    /// From which device.
    pub device: DeviceId,
    /// The sender's idempotency key.
    pub client_msg_id: ClientMsgId,
    /// When it was committed.
    pub at: WallTime,
    /// The sender's hint.
    pub kind: Kind,
    /// Ciphertext, or the first of it; a commit's first bytes; nothing if the server says it.
    pub content: Bytes,
    /// What it is.
    pub what: EntryKind,
    /// The epoch it is sealed for; a commit's is the one that it ends.
    pub epoch: Epoch,
}

/// Where one member's cursors stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
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
    /// Ranges, first and last included, that the cursors do not cover (C8).
    pub withheld: Vec<(Seq, Seq)>,
}

/// A proved registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
    /// The account's name.
    pub name: String,
    /// Its number.
    pub phone: Secret<String>,
    /// The first tokens.
    pub tokens: Tokens,
}

/// An access token and what renews it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The access token.
    pub access: Secret<String>,
    /// When it ends.
    pub access_expires: WallTime,
    /// The refresh token.
    pub refresh: Secret<[u8; limits::REFRESH_TOKEN_BYTES]>,
    /// When it ends.
    pub refresh_expires: WallTime,
}

/// One device of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub device: DeviceId,
    /// What its owner calls it.
    pub name: String,
    /// When it was added.
    pub added_at: WallTime,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// The end of a page of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many entries came before.
    pub count: u16,
    /// Whether there are more.
    pub has_more: bool,
    /// The next `before` or `after`.
    pub next_cursor: Seq,
    /// Where every member's cursors stand.
    pub members: Vec<Cursor>,
}

/// One chat of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// Which.
    pub chat: ChatId,
    /// The other account of a 1:1 chat, and its name.
    pub peer: Option<(AccountId, String)>,
    /// The log's last place.
    pub head: Seq,
    /// The account's read cursor.
    pub read: Seq,
    /// When the last entry was appended.
    pub last_at: WallTime,
    /// What a group is called.
    pub name: Option<String>,
}

/// When one member got and read one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Whose.
    pub member: AccountId,
    /// When it reached a device of theirs.
    pub delivered_at: Option<WallTime>,
    /// When they read it.
    pub read_at: Option<WallTime>,
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::Unsaid,
        Kind::Text,
        Kind::Image,
        Kind::Video,
        Kind::Audio,
        Kind::Document,
        Kind::Location,
        Kind::Contact,
    ];

    pub(crate) fn to_wire(self) -> fb::Kind {
        fb::Kind(self as u8)
    }

    pub(crate) fn from_wire(kind: fb::Kind) -> Kind {
        Kind::ALL.get(usize::from(kind.0)).copied().unwrap_or_default()
    }
}

impl Entry {
    /// One frame, length prefix included. Content is within [`limits::CONTENT_BYTES_MAX`], a commit's within
    /// [`limits::PART_BYTES_MAX`].
    pub fn encode(&self) -> Bytes {
        encode::frame(|b| write::encode_entry(b, self))
    }
}

impl Event {
    /// Verifies and reads one frame's body.
    ///
    /// # Errors
    /// [`DecodeError`]: the bytes are no frame that a server sends.
    pub fn decode(body: &Bytes) -> Result<Event, DecodeError> {
        read::event(body)
    }

    /// One frame, length prefix included. [`Event::Unknown`] is a frame without a body, which is one that nobody knows.
    pub fn encode(&self) -> Bytes {
        encode::frame(|b| write::event(b, self))
    }
}
