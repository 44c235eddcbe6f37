//! What goes in and out of a client.

use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::event::{Cursor, Event};
use wire::proof::Exporter;
use wire::request::Request;
use wire::{AccountId, ChatId, ClientMsgId, Refusal, RegistrationId, Role, Secret, Seq, WallTime};

use crate::kept::{MembersChange, Message, Passed, Unreadable, Write};

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
    /// Who is in a chat has changed.
    MembersChanged(MembersChange),
    /// This account is in a chat no longer: it left, or somebody removed it.
    Gone {
        /// Which.
        chat: ChatId,
        /// Who did it.
        by: AccountId,
    },
    /// An entry of a chat has its place, and shows nothing: who counts places counts it. For a device that has just joined,
    /// the one before its first.
    Passed {
        /// In which chat.
        chat: ChatId,
        /// Its place.
        seq: Seq,
        /// What it is.
        what: Passed,
    },
    /// An entry of a chat cannot be read. The next ones can.
    Unreadable {
        /// In which chat.
        chat: ChatId,
        /// Its place.
        seq: Seq,
        /// Who sent it, as the server says.
        sender: AccountId,
        /// Why.
        why: Unreadable,
    },
    /// Somebody has added this device to a chat in a way that nothing can be made of: it is in it once it is added anew.
    WelcomeUnreadable {
        /// Which chat.
        chat: ChatId,
    },
    /// Nothing can be said in a chat yet, since no device of the other has said how to encrypt for it. It is tried again.
    Unreachable {
        /// Which chat.
        chat: ChatId,
    },
    /// A change of a chat's members is done.
    GroupDone {
        /// Which chat.
        chat: ChatId,
        /// Who could not be added, since none of their devices has said how to encrypt for it.
        missing: Vec<AccountId>,
    },
    /// A change of a chat's members came to nothing, or ended before it was done.
    GroupFailed {
        /// Which chat.
        chat: ChatId,
        /// Why.
        why: GroupFailure,
    },
    /// What is kept cannot be read: this client has stopped.
    StorageFailed {
        /// For people.
        reason: String,
    },
    /// Nothing goes on before a new registration.
    LoginNeeded(Refusal),
    /// The same device has connected elsewhere: this client stops.
    Replaced,
}

/// Why a change of a chat's members came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupFailure {
    /// The server said no.
    Refused(Refusal),
    /// No device of those who were to be added has said how to encrypt for it.
    Unreachable,
    /// This account is not in the chat.
    NotMember,
    /// The commit would be larger than one may be.
    TooLarge,
}
