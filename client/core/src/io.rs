//! What goes in and out of a client, and what it keeps.

use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::event::{Cursor, Event};
use wire::proof::Exporter;
use wire::request::Request;
use wire::{
    AccountId, ChatId, ClientMsgId, DeviceId, Refusal, RegistrationId, RequestId, Role, Secret, Seq, WallTime,
};

/// The two readings of time: one to measure with, one to show.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic.
    pub instant: Instant,
    /// Wall.
    pub wall: WallTime,
}

/// A stream, in the numbering that the client and its driver share; never reused while the client lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamTag(pub u64);

/// A question that was asked, in the asker's numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// What a driver tells a client. All of it is about the connection of the last [`Output::Connect`].
#[derive(Debug)]
pub enum Input {
    /// The server is remembered well enough for early data: what is said from here on leaves before the handshake is
    /// complete.
    Early,
    /// The handshake is complete.
    Connected {
        /// What proofs cover.
        exporter: Exporter,
        /// Whether what was said early was taken: if not, the streams it was said on are gone. `None` if nothing could be
        /// said early.
        early: Option<bool>,
    },
    /// The path is alive: the answer to [`Output::Probe`].
    Alive,
    /// A whole frame's body arrived.
    Frame {
        /// On which stream; one that is not known was opened by the server.
        stream: StreamTag,
        /// Its body, not yet verified.
        body: Bytes,
    },
    /// The server finished, reset or stopped a stream.
    Ended {
        /// Which.
        stream: StreamTag,
    },
    /// The connection is gone, or could not be made.
    Closed {
        /// For people.
        reason: String,
    },
}

/// What a client asks of its driver.
#[derive(Debug)]
pub enum Output {
    /// Keep this. All of one drain is one transaction, durable before the drain's other outputs are performed.
    Persist(Write),
    /// Connect to the server.
    Connect {
        /// Whether early data may be offered, if the server is remembered.
        early: bool,
    },
    /// Ask the server's machine for a sign of life, below anything that a busy server could keep waiting:
    /// [`Input::Alive`] follows if the path works.
    Probe,
    /// Open a stream, as soon as the server allows one more.
    Open {
        /// Its name from now on.
        stream: StreamTag,
        /// What it is for.
        role: Role,
    },
    /// Send one frame, prefix included.
    Send {
        /// On which stream.
        stream: StreamTag,
        /// The frame.
        frame: Bytes,
    },
    /// This device has another address: tell the server's side of the connection now, not with the next datagram.
    Moved,
    /// Finish our side.
    Finish {
        /// Of which stream.
        stream: StreamTag,
    },
    /// Abandon a stream.
    Abandon {
        /// Which.
        stream: StreamTag,
    },
    /// Close the connection.
    Close,
    /// Tell the user.
    Notify(ClientEvent),
}

/// Something to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A message waits to be sent.
    Queue(OutboxRow),
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
    /// Who this device is, and its tokens.
    Login(Login),
    /// The tokens are worth nothing any more.
    LoggedOut,
}

/// A message that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its idempotency key.
    pub client_msg_id: ClientMsgId,
    /// The chat.
    pub chat: ChatId,
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountId>,
    /// Sealed content.
    pub content: Bytes,
}

/// A committed message.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Sealed content.
    pub content: Bytes,
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
}

/// Everything that was kept, at a start.
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
}

impl Snapshot {
    /// Keeps one write: what a client that starts from memory alone has for a disk. Messages themselves are the owner's
    /// to keep; so are the marks of failed ones, which leave the outbox here.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Queue(row) => self.outbox.push(row.clone()),
            Write::Sent(Message { client_msg_id, .. })
            | Write::Failed { client_msg_id, .. }
            | Write::Cancelled { client_msg_id } => {
                self.outbox.retain(|row| row.client_msg_id != *client_msg_id);
            }
            Write::Arrived(message) => {
                let row = self.chat_mut(message.chat);
                row.have = row.have.max(message.seq);
            }
            &Write::Chat { chat, peer } => self.chat_mut(chat).peer = peer,
            &Write::Told { chat, delivered, read } => self.chat_mut(chat).told = (delivered, read),
            &Write::Read { chat, read } => {
                let row = self.chat_mut(chat);
                row.read = row.read.max(read);
            }
            // For screens: a client that starts anew asks for it.
            Write::Cursor { .. } => {}
            Write::ReceiptsSince(since) => self.receipts_since = *since,
            Write::Login(login) => self.login = Some(login.clone()),
            Write::LoggedOut => self.login = None,
        }
    }

    /// One chat, if it is known.
    pub fn chat(&self, chat: ChatId) -> Option<&ChatRow> {
        self.place(chat).ok().map(|at| &self.chats[at])
    }

    fn chat_mut(&mut self, chat: ChatId) -> &mut ChatRow {
        let at = self.place(chat).unwrap_or_else(|at| {
            let zero = Seq::ZERO;
            self.chats.insert(at, ChatRow { chat, peer: None, have: zero, read: zero, told: (zero, zero) });
            at
        });
        &mut self.chats[at]
    }

    fn place(&self, chat: ChatId) -> Result<usize, usize> {
        self.chats.binary_search_by_key(&chat, |row| row.chat)
    }
}

/// A question. It is asked again after a lost connection until it is answered.
#[derive(Debug, Clone)]
pub enum Ask {
    /// As it stands.
    Plain(Request),
    /// `VerifyOtp`, with a proof for the connection it goes out on.
    Verify {
        /// The registration.
        registration: RegistrationId,
        /// The digits.
        otp: Secret<String>,
        /// What the owner calls this device.
        device_name: String,
    },
}

/// Something for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// A connection attempt begins.
    Connecting,
    /// Connected and identified (or anonymous, before a registration).
    Connected {
        /// Since the attempt began.
        took: Duration,
        /// Whether what was waiting left in the first flight, and was taken.
        early: bool,
    },
    /// The connection was closed because the app is in the background and nothing is left to do; it comes back by itself
    /// with the next message, or with the foreground.
    Asleep,
    /// Everything owed at that moment has arrived.
    Synced,
    /// The connection is gone; the next attempt comes by itself.
    Disconnected {
        /// For people.
        reason: String,
        /// Until the next attempt.
        retry_in: Duration,
    },
    /// One tick.
    Sent(Message),
    /// A message was refused for good.
    Failed {
        /// Which.
        client_msg_id: ClientMsgId,
        /// In which chat.
        chat: ChatId,
        /// Why.
        refusal: Refusal,
    },
    /// A message is refused for now and will be sent again by itself.
    Delayed {
        /// Which.
        client_msg_id: ClientMsgId,
        /// Why.
        refusal: Refusal,
    },
    /// A message arrived.
    Arrived(Message),
    /// Two ticks, blue ticks.
    Cursor {
        /// In which chat.
        chat: ChatId,
        /// Whose, and where they are.
        cursor: Cursor,
    },
    /// A member of a chat that is open types, or has stopped.
    Typing {
        /// In which chat.
        chat: ChatId,
        /// Who.
        member: AccountId,
        /// Which of the two.
        typing: bool,
    },
    /// The account has a new device.
    DeviceAdded {
        /// What its owner calls it.
        name: String,
        /// When it was added.
        at: WallTime,
    },
    /// An answer.
    Answer {
        /// To which question.
        ask: AskId,
        /// What the server said, whole.
        events: Vec<Event>,
    },
    /// Nothing goes on before a new registration.
    LoginNeeded(Refusal),
    /// The same device has connected elsewhere: this client stops.
    Replaced,
}
