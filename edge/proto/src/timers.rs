//! What a node does when nothing arrives: one ordered set of due times.

use std::collections::BTreeSet;
use std::time::Instant;

use wire::{AccountId, LogId, WallTime};

use crate::io::LinkId;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A connection should have said `Hello`.
    Hello(LinkId),
    /// A session's device is checked again.
    Recheck(LinkId),
    /// A session that began with an expired token should have renewed it.
    Stale(LinkId),
    /// A log's stream may have been idle, or a failed read of it is tried again.
    Log(LinkId, LogId),
    /// A connection's oldest commit that is not whole has had its time.
    Commits(LinkId),
    /// A session looks at the heads of its chats again.
    Heads(LinkId),
    /// Gathered cursor moves of a log are due.
    Moves(LogId),
    /// Somebody whose last connection here ended at a time may be offline.
    Offline(AccountId, WallTime),
    /// A client is told to move.
    Goodbye(LinkId),
    /// A connection that was told why has had its time to hear it.
    Close(LinkId),
}

/// Due times, in order. A timer may fire for something that is gone; whoever handles it looks.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    pub(crate) fn at(&mut self, due: Instant, timer: Timer) {
        self.0.insert((due, timer));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.first().map(|&(due, _)| due)
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let &(due, timer) = self.0.first()?;
        if due > now {
            return None;
        }
        self.0.pop_first();
        Some(timer)
    }
}
