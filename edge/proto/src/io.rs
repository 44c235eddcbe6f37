//! The two doors of a node: what comes in and what goes out.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::ephemeral::{EphemeralOp, EphemeralOutput};
use store::op::{Op, OpOutput};
use wire::proof::Exporter;
use wire::{CloseCode, ErrorCode, LogId, Phone, Secret, WallTime};

use crate::Hint;

/// One connection, in its driver's numbering; never reused while the node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// One stream of a connection, in its driver's numbering (QUIC's stream id).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// One effect that was asked for and has not finished. It is the request id of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// The two readings of time that an input comes with: one to measure with, one to persist.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic.
    pub instant: Instant,
    /// Wall.
    pub wall: WallTime,
}

/// What a driver tells a node.
#[derive(Debug)]
pub enum Input {
    /// A connection's handshake is under way, and what it carries until [`Input::Connected`] is early data: it may be a
    /// replay by somebody who can never complete the handshake.
    Early {
        /// Which.
        link: LinkId,
        /// Whose address, for limits; it never reaches a log.
        remote: IpAddr,
    },
    /// A connection's handshake is complete.
    Connected {
        /// Which.
        link: LinkId,
        /// Whose address, for limits; it never reaches a log.
        remote: IpAddr,
        /// The TLS exporter that proofs cover.
        exporter: Exporter,
        /// Whether it carried early data.
        early: bool,
    },
    /// The peer opened a bidirectional stream. Nothing is read from it before the node has seen this.
    Opened {
        /// On which connection.
        link: LinkId,
        /// Which.
        stream: StreamId,
    },
    /// A whole frame's body arrived.
    Frame {
        /// On which connection.
        link: LinkId,
        /// On which stream.
        stream: StreamId,
        /// Its body, not yet verified.
        body: Bytes,
    },
    /// The peer finished its side of a stream.
    Finished {
        /// On which connection.
        link: LinkId,
        /// Which.
        stream: StreamId,
    },
    /// The peer finished its side of a stream within a frame.
    Torn {
        /// On which connection.
        link: LinkId,
        /// Which.
        stream: StreamId,
    },
    /// The peer reset a stream, or no longer reads it.
    Reset {
        /// On which connection.
        link: LinkId,
        /// Which.
        stream: StreamId,
    },
    /// All frames sent on a stream have left the link's queue: it takes more.
    Drained {
        /// On which connection.
        link: LinkId,
        /// Which.
        stream: StreamId,
    },
    /// The peer has acknowledged everything on a stream, its end included.
    Delivered {
        /// On which connection.
        link: LinkId,
        /// Which.
        stream: StreamId,
    },
    /// The answer to [`Output::OpenDown`].
    DownOpened {
        /// On which connection.
        link: LinkId,
        /// For which log.
        log: LogId,
        /// The stream, or `None` if the peer allows no more now: [`Input::StreamsAvailable`] follows when it does.
        stream: Option<StreamId>,
    },
    /// The peer allows more server streams.
    StreamsAvailable {
        /// On which connection.
        link: LinkId,
    },
    /// A connection is gone.
    Closed {
        /// Which.
        link: LinkId,
    },
    /// An effect finished.
    Done {
        /// Which.
        op: OpId,
        /// How.
        result: Result<EffectOutput, EffectError>,
    },
    /// Something happened on another loop or node, or the sweeper found someone behind.
    Hint(Hint),
    /// Hints for this node were lost, and nobody knows which: its sessions look at the heads of their chats again, within
    /// a few seconds. Entries would be found by the sweeper; ticks and ended devices by nobody else.
    HintsLost,
    /// Stop accepting, tell clients to move.
    Drain,
}

/// What a node asks of its driver, in order.
#[derive(Debug)]
pub enum Output {
    /// Open a server stream for a log and answer with [`Input::DownOpened`].
    OpenDown {
        /// On which connection.
        link: LinkId,
        /// For which log: a chat's, or the device's inbox.
        log: LogId,
    },
    /// Send one frame, prefix included.
    Send {
        /// On which connection.
        link: LinkId,
        /// On which stream.
        stream: StreamId,
        /// The frame.
        frame: Bytes,
    },
    /// Finish our side of a stream, after what was sent.
    Finish {
        /// On which connection.
        link: LinkId,
        /// Which.
        stream: StreamId,
    },
    /// Read no more from a stream: what it still carries is not wanted.
    Stop {
        /// On which connection.
        link: LinkId,
        /// Which.
        stream: StreamId,
        /// Why.
        code: CloseCode,
    },
    /// Abandon both sides of a stream.
    Reset {
        /// On which connection.
        link: LinkId,
        /// Which.
        stream: StreamId,
        /// Why.
        code: CloseCode,
    },
    /// Deliver no frames of a stream until it is resumed: the peer is held back by flow control.
    Pause {
        /// On which connection.
        link: LinkId,
        /// Which.
        stream: StreamId,
    },
    /// See [`Output::Pause`].
    Resume {
        /// On which connection.
        link: LinkId,
        /// Which.
        stream: StreamId,
    },
    /// Close a connection at once; a node that wants its last words heard waits for their delivery first.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        code: CloseCode,
    },
    /// Perform an effect and answer with [`Input::Done`].
    Perform {
        /// Its number.
        op: OpId,
        /// What.
        effect: Effect,
    },
    /// Tell the other loops and nodes. Lossy: what they miss they find in the log.
    Publish(Hint),
}

/// Something only a driver can do.
#[derive(Debug)]
pub enum Effect {
    /// A transaction.
    Store(Op),
    /// Something that may be lost.
    Ephemeral(EphemeralOp),
    /// A text message to a phone.
    Sms(Sms),
}

/// A text message to a phone.
#[derive(Debug, Clone)]
pub struct Sms {
    /// To whom.
    pub to: Phone,
    /// What it says; it holds a one-time password.
    pub text: Secret<String>,
}

/// What an effect brought, variant for variant.
#[derive(Debug)]
pub enum EffectOutput {
    /// See [`Effect::Store`].
    Store(OpOutput),
    /// See [`Effect::Ephemeral`].
    Ephemeral(EphemeralOutput),
    /// See [`Effect::Sms`].
    Sms,
}

/// The world's fault: the effect did not happen, or nobody knows whether it did (and then it is safe to repeat).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}; again after {retry_after:?}", code.text())]
pub struct EffectError {
    /// [`ErrorCode::Busy`], [`ErrorCode::Unavailable`] or [`ErrorCode::SmsFailed`].
    pub code: ErrorCode,
    /// When it is worth trying again.
    pub retry_after: Duration,
    /// Whether it may have been done all the same.
    pub maybe_done: bool,
}

impl From<EffectError> for wire::Refusal {
    fn from(error: EffectError) -> Self {
        error.code.after(error.retry_after)
    }
}
