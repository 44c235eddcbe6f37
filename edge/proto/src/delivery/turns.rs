//! Reads for delivery take turns: a part of what a node may have in work is theirs, and what finds no room waits.
//!
//! What waits is a log's id in its session and the session's place in a line, no more: connections take turns, in the
//! order in which they came, a log at a time, so that somebody with thousands of chats holds nobody else up.
//! Invariant: somebody waits only while reads are in work, and each that finishes calls the next.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use wire::LogId;

use crate::conn::{Conn, Stage};
use crate::cx::Cx;
use crate::io::LinkId;

/// The connections with logs that wait for a read, in line. Bounded by the connections.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    line: BTreeMap<u64, LinkId>,
    next: u64,
    /// Whoever is called may begin although others wait.
    called: bool,
}

/// What of one session waits for a read. Bounded by its logs.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    logs: BTreeSet<LogId>,
    /// The one that was called last: the next follows it, and then from the beginning.
    last: Option<LogId>,
    place: Option<u64>,
}

impl Turns {
    /// Whether nobody is to be let pass first.
    pub(crate) fn is_free(&self) -> bool {
        self.line.is_empty() || self.called
    }

    fn join(&mut self, link: LinkId) -> u64 {
        self.next += 1;
        self.line.insert(self.next, link);
        self.next
    }

    /// A session is over.
    pub(crate) fn leave(&mut self, waiting: &Waiting) {
        if let Some(place) = waiting.place {
            self.line.remove(&place);
        }
    }

    /// Whose turn it is. [`Turns::done`] must follow.
    pub(crate) fn call(&mut self) -> Option<LinkId> {
        let (_, link) = self.line.pop_first()?;
        self.called = true;
        Some(link)
    }

    /// Whoever was called has begun, or needs to no more.
    pub(crate) fn done(&mut self) {
        self.called = false;
    }
}

impl Waiting {
    /// A log is gone.
    pub(crate) fn forget(&mut self, log: LogId) {
        self.logs.remove(&log);
    }

    fn take(&mut self) -> Option<LogId> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let log = *self.logs.range((after, Bound::Unbounded)).next().or(self.logs.first())?;
        self.logs.remove(&log);
        self.last = Some(log);
        Some(log)
    }
}

impl Conn {
    /// A log's read finds no room: it waits for its turn.
    pub(super) fn wait_for_turn(&mut self, cx: &mut Cx, log: LogId) {
        let link = self.link;
        if let Stage::Active(session) = &mut self.stage {
            session.reads.logs.insert(log);
            session.reads.place.get_or_insert_with(|| cx.turns.join(link));
        }
    }

    /// It is the connection's turn: one of its logs goes on, and it goes to the end of the line if more of them wait.
    pub(crate) fn take_turn(&mut self, cx: &mut Cx) {
        let link = self.link;
        let Stage::Active(session) = &mut self.stage else { return };
        session.reads.place = None;
        let Some(log) = session.reads.take() else { return };
        if !session.reads.logs.is_empty() {
            session.reads.place = Some(cx.turns.join(link));
        }
        match session.logs.get(&log) {
            Some(delivery) if delivery.opening => self.open_log(cx, log),
            Some(_) => self.pump(cx, log),
            None => {}
        }
    }
}
