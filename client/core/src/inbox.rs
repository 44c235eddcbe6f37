//! The device's inbox as this device has it: a log of its own, seen to in its order, one entry after another.
//!
//! Bounds: [`ENTRIES_MAX`] entries wait, of [`BYTES_MAX`] bytes. What is over them is dropped, and asked for again when those
//! that wait are seen to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wire::event::{InboxEntry, InboxItem};
use wire::{ChatId, Seq};

use crate::backoff::Backoff;
use crate::io::StreamTag;

const ENTRIES_MAX: usize = 256;
const BYTES_MAX: usize = 1 << 20;

/// Moves of the inbox' cursor are gathered this long.
const GATHER: Duration = Duration::from_millis(30);

/// The inbox.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Everything up to here is seen to.
    pub(crate) have: Seq,
    /// What the server knows of that.
    told: Seq,
    pub(crate) tell_at: Option<Instant>,
    /// Entries that wait, dense from `have` on.
    waiting: VecDeque<InboxEntry>,
    bytes: usize,
    /// More came than there was room for.
    pub(crate) overflowed: bool,
    /// The tree that the first one needs is asked for, or will be then.
    pub(crate) step: Step,
    pub(crate) attempts: Backoff,
    pub(crate) up: Option<Up>,
}

/// The stream on which the cursor is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Up {
    pub(crate) stream: StreamTag,
    pub(crate) used_at: Instant,
}

/// Where the first entry is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing was done about it.
    #[default]
    Fresh,
    /// A tree came that was not the right one: it is asked for once more.
    Again,
    /// The tree is asked for.
    Asked {
        /// Whether for the second time.
        again: bool,
    },
    /// The server was busy: it is asked then.
    Due(Instant),
}

impl Inbox {
    pub(crate) fn new(have: Seq) -> Inbox {
        Inbox { have, told: have, ..Inbox::default() }
    }

    /// The stream begins. What the server sends begins behind what it was told; nothing before that is there any more.
    /// `true` if that is further than this device knew.
    pub(crate) fn begin(&mut self, from_seq: Seq) -> bool {
        let before = Seq(from_seq.0.saturating_sub(1));
        let skips = before > self.last();
        if skips {
            self.have = before;
            self.told = before;
            self.waiting.clear();
            self.bytes = 0;
            self.step = Step::Fresh;
        }
        skips
    }

    fn last(&self) -> Seq {
        self.waiting.back().map_or(self.have, |entry| entry.seq)
    }

    /// An entry came. `false` if one before it is missing.
    pub(crate) fn push(&mut self, entry: InboxEntry, now: Instant) -> bool {
        if entry.seq <= self.have {
            self.told = self.told.min(Seq(entry.seq.0.saturating_sub(1)));
            self.tell_at.get_or_insert(now + GATHER);
        }
        if entry.seq <= self.last() || self.overflowed {
            return true;
        }
        if entry.seq != self.last().next() {
            return false;
        }
        let bytes = bytes_of(&entry);
        if self.waiting.len() == ENTRIES_MAX || self.bytes + bytes > BYTES_MAX {
            self.overflowed = true;
        } else {
            self.bytes += bytes;
            self.waiting.push_back(entry);
        }
        true
    }

    /// The entry that is next to be seen to.
    pub(crate) fn first(&self) -> Option<&InboxEntry> {
        self.waiting.front()
    }

    /// The first one is seen to.
    pub(crate) fn seen(&mut self, now: Instant) {
        if let Some(entry) = self.waiting.pop_front() {
            self.bytes -= bytes_of(&entry);
            self.have = entry.seq;
            self.tell_at.get_or_insert(now + GATHER);
        }
        self.step = Step::Fresh;
        self.attempts.reset();
    }

    /// Whether a welcome to a chat waits.
    pub(crate) fn welcomes(&self, chat: ChatId) -> bool {
        self.waiting
            .iter()
            .any(|entry| matches!(&entry.what, InboxItem::Welcome(welcome) if welcome.chat == chat))
    }

    /// Whether something waits, or is to be told.
    pub(crate) fn has_news(&self) -> bool {
        !self.waiting.is_empty() || self.have > self.told
    }

    /// The cursor to tell now.
    pub(crate) fn tell(&mut self) -> Option<Seq> {
        self.tell_at = None;
        let news = self.have > self.told;
        self.told = self.told.max(self.have);
        news.then_some(self.have)
    }

    /// The next moment at which something is to be done.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = if let Step::Due(at) = self.step { Some(at) } else { None };
        [due, self.tell_at].into_iter().flatten().min()
    }

    /// The connection is gone: what waited comes again. What was told may be lost; if so, what it covers comes again, too.
    pub(crate) fn disconnected(&mut self) {
        *self = Inbox { attempts: std::mem::take(&mut self.attempts), ..Inbox::new(self.have) };
    }
}

fn bytes_of(entry: &InboxEntry) -> usize {
    match &entry.what {
        InboxItem::Welcome(welcome) => welcome.bytes.len(),
        InboxItem::Unknown => 0,
    }
}

#[cfg(test)]
mod tests {
    use wire::WallTime;

    use super::*;

    fn entry(seq: u64) -> InboxEntry {
        InboxEntry { seq: Seq(seq), at: WallTime(0), what: InboxItem::Unknown }
    }

    #[expect(clippy::disallowed_methods, reason = "a test begins at some time")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn r149_an_inbox_is_seen_to_in_order_and_what_is_missing_is_seen() {
        let (mut inbox, now) = (Inbox::new(Seq(3)), start());
        assert!(!inbox.begin(Seq(4)));
        assert!(inbox.push(entry(4), now) && inbox.push(entry(5), now) && inbox.push(entry(5), now));
        assert!(!inbox.push(entry(7), now), "6 is missing");
        assert_eq!(inbox.first().map(|entry| entry.seq), Some(Seq(4)));
        inbox.seen(now);
        assert_eq!((inbox.have, inbox.tell()), (Seq(4), Some(Seq(4))));
        assert_eq!(inbox.tell(), None);
        assert!(inbox.push(entry(4), now), "the server does not know");
        assert_eq!(inbox.tell(), Some(Seq(4)));
        assert!(inbox.begin(Seq(20)) && inbox.first().is_none(), "nothing before it is there");
        assert_eq!(inbox.have, Seq(19));
    }

    #[test]
    fn g15_an_inbox_that_is_too_full_is_read_in_parts() {
        let (mut inbox, now) = (Inbox::new(Seq::ZERO), start());
        assert!((1..=400).all(|seq| inbox.push(entry(seq), now)));
        assert!(inbox.overflowed);
        (0..ENTRIES_MAX).for_each(|_| inbox.seen(now));
        assert_eq!((inbox.have, inbox.first()), (Seq(256), None));
        inbox.disconnected();
        assert!(!inbox.overflowed && inbox.push(entry(257), now) && inbox.first().is_some());
    }
}
