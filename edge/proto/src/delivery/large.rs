//! Entries that go in several frames, commits that is: up to half a megabyte, which neither a stream's queue nor a session's memory
//! is to hold at once.
//!
//! Invariants: the frames of an entry follow one another on their stream, nothing between them, each when the one before it has
//! left the link's queue. Of a session one such entry is on its way at a time; other logs that come to one wait.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use wire::LogId;

use crate::conn::{Conn, Stage};
use crate::cx::Cx;
use crate::io::StreamId;

/// The one entry of a session that goes in several frames, and who waits to send one.
#[derive(Debug, Default)]
pub(crate) struct Large {
    /// The log that it is of, until its last frame was sent.
    log: Option<LogId>,
    rest: VecDeque<Bytes>,
    /// Bounded by the session's logs.
    waiting: BTreeSet<LogId>,
}

impl Large {
    /// Takes the further frames of an entry, of which the first is sent; gives them back to be read again in its turn if another
    /// one is on its way.
    pub(super) fn begin(&mut self, log: LogId, rest: &mut Vec<Bytes>) -> bool {
        if self.log.is_some() {
            self.waiting.insert(log);
            return false;
        }
        self.log = Some(log);
        self.rest = std::mem::take(rest).into();
        true
    }

    /// Whether a log's entries may be read: not of one that waits for its turn, nor of one that is within an entry.
    pub(super) fn may_tail(&self, log: LogId) -> bool {
        !self.is_within(log) && !self.waiting.contains(&log)
    }

    /// Whether an entry of a log is on its way.
    pub(super) fn is_within(&self, log: LogId) -> bool {
        self.log == Some(log)
    }

    /// The next frame of what is on its way of a log.
    fn next(&mut self, log: LogId) -> Option<Bytes> {
        let frame = if self.is_within(log) { self.rest.pop_front() } else { None };
        if frame.is_some() && self.rest.is_empty() {
            self.log = None;
        }
        frame
    }

    /// A log's stream is gone.
    pub(super) fn give_up(&mut self, log: LogId) {
        if self.is_within(log) {
            (self.log, self.rest) = (None, VecDeque::new());
        }
        self.waiting.remove(&log);
    }
}

impl Conn {
    /// Sends the next frame of an entry whose frame before has left; `false` if none is due.
    pub(super) fn send_rest(&mut self, cx: &mut Cx, log: LogId, stream: StreamId) -> bool {
        let link = self.link;
        let Stage::Active(session) = &mut self.stage else { return false };
        let Some(frame) = session.large.next(log) else { return false };
        cx.send_frame(link, stream, frame);
        self.next_large(cx);
        true
    }

    /// Whoever waits to send an entry in several frames goes on, if none is on its way.
    pub(super) fn next_large(&mut self, cx: &mut Cx) {
        while let Stage::Active(session) = &mut self.stage
            && session.large.log.is_none()
            && let Some(log) = session.large.waiting.pop_first()
        {
            self.pump(cx, log);
            // What it reads tells who is next.
            let Stage::Active(session) = &self.stage else { return };
            if session.logs.get(&log).is_some_and(|delivery| delivery.tailing) {
                return;
            }
        }
    }
}
