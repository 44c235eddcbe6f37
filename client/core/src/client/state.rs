//! Where a client's connection is, and what its streams are for.

use std::time::Instant;

use wire::ChatId;
use wire::event::Event;
use wire::proof::Exporter;

use super::errands::Errand;
use super::partial::Partial;
use crate::io::AskId;

/// Where the connection is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// Not to connect.
    Stopped,
    /// To connect at a time; the server may have asked for time, which nothing shortens.
    Waiting { at: Instant, not_before: Instant },
    /// In the background, with nothing to do.
    Asleep,
    /// The handshake is under way.
    Connecting { since: Instant },
    /// The handshake is under way, and `Hello` is said as early data.
    Early { since: Instant },
    /// `Hello` is said.
    Greeting { since: Instant, exporter: Exporter, identified: bool, early: bool },
    /// `Hello` is accepted.
    Ready { exporter: Exporter, identified: bool },
}

/// What is known of a path on which something is unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// Nothing.
    Unsent,
    /// It was asked.
    Sent,
    /// It is alive.
    Answered,
}

/// What a stream of the connection is for.
#[derive(Debug)]
pub(super) enum Stream {
    Session,
    Request {
        ask: AskId,
        events: Vec<Event>,
    },
    Refresh,
    /// A request of the client's own.
    Errand {
        errand: Errand,
        events: Vec<Event>,
    },
    Up {
        chat: ChatId,
    },
    Down {
        chat: ChatId,
        partial: Option<Partial>,
    },
    InboxUp,
    InboxDown,
    /// A chat's up stream that this side has finished: acks are still heard on it.
    Over {
        chat: ChatId,
    },
}
