//! Entries of a chat that came before the answer to an own message which lies before them.
//!
//! The ack of a message may stand for its entry, and comes on another stream than the entries after it: either may be
//! first. What is early is held for as long as an answer may fill the place before it.
//!
//! Bounds: [`ENTRIES_MAX`] entries and [`BYTES_MAX`] bytes of a chat, for [`HELD_MAX`]. What is over them, or is not filled
//! in time, is taken for missing: the next connection begins after what is stored.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wire::Seq;
use wire::event::Entry;

const ENTRIES_MAX: usize = 256;
const BYTES_MAX: usize = 1 << 20;

/// An ack that was lost on its way is sent again within a round trip or a few; a refused message says when it goes again.
const HELD_MAX: Duration = Duration::from_secs(10);

/// What is held of one chat.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// In order, from different places.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// What the chat's stream begins after: all up to here comes before anything on it.
    through: Seq,
    since: Option<Instant>,
}

impl Held {
    /// Everything up to `through` is still to come by answers.
    pub(crate) fn wait(&mut self, through: Seq, now: Instant) {
        self.through = self.through.max(through);
        self.since.get_or_insert(now);
    }

    /// What the chat's stream begins after, while that is waited for; else zero.
    pub(crate) fn through(&self) -> Seq {
        self.through
    }

    /// Holds an entry; `false` if there is no room. One that is held already is not held twice.
    pub(crate) fn push(&mut self, entry: Entry, now: Instant) -> bool {
        if self.entries.back().is_some_and(|last| entry.seq <= last.seq) {
            return true;
        }
        self.bytes += entry.content.len();
        self.entries.push_back(entry);
        self.since.get_or_insert(now);
        self.entries.len() <= ENTRIES_MAX && self.bytes <= BYTES_MAX
    }

    /// Keeps an entry that nothing can be made of yet. It waits for no answer, and where there is no room the oldest give
    /// way: if they are of use after all, they are missing then, and come again.
    pub(crate) fn keep(&mut self, entry: Entry, now: Instant) {
        self.push(entry, now);
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.content.len();
        }
    }

    /// Whether anything is here that nothing could be made of yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was kept is of use now: from here on it waits for what lies before it.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.since = (!self.entries.is_empty()).then_some(now);
    }

    /// The first entry, if what lies before it is here.
    pub(crate) fn next(&mut self, have: Seq) -> Option<Entry> {
        let entry = self.entries.pop_front_if(|entry| entry.seq <= have.next())?;
        self.bytes -= entry.content.len();
        Some(entry)
    }

    /// Whether something is still to come. Once nothing is, the waiting is over.
    pub(crate) fn waits(&mut self, have: Seq) -> bool {
        if self.since.is_some() && self.entries.is_empty() && self.through <= have {
            self.clear();
        }
        self.since.is_some()
    }

    /// When it has waited long enough.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        self.since.map(|since| since + HELD_MAX)
    }

    pub(crate) fn clear(&mut self) {
        *self = Held::default();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wire::event::{EntryKind, Kind};
    use wire::{AccountId, ClientMsgId, DeviceId, Epoch, WallTime};

    use super::*;

    fn entry(seq: u64, bytes: usize) -> Entry {
        Entry {
            seq: Seq(seq),
            sender: AccountId::new([1; 16]),
            device: DeviceId::new([2; 16]),
            client_msg_id: ClientMsgId::new([3; 16]),
            at: WallTime(0),
            kind: Kind::Text,
            content: Bytes::from(vec![0; bytes]),
            what: EntryKind::Message,
            epoch: Epoch::ZERO,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a test begins at some time")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn i2_what_is_early_comes_out_in_order_when_the_places_before_it_are_filled() {
        let (mut held, now) = (Held::default(), start());
        assert!(!held.waits(Seq(3)));
        assert!([5, 6, 6, 8].iter().all(|&seq| held.push(entry(seq, 1), now)));
        assert_eq!(held.next(Seq(3)), None);
        assert_eq!(held.next(Seq(4)).map(|entry| entry.seq), Some(Seq(5)));
        assert_eq!(held.next(Seq(5)).map(|entry| entry.seq), Some(Seq(6)));
        assert_eq!(held.next(Seq(6)), None);
        assert!(held.waits(Seq(6)) && held.ends_at() == Some(now + HELD_MAX));
        assert_eq!(held.next(Seq(7)).map(|entry| entry.seq), Some(Seq(8)));
        assert!(!held.waits(Seq(8)) && held.ends_at().is_none());
        held.wait(Seq(10), now);
        assert!(held.waits(Seq(9)) && !held.waits(Seq(10)), "a stream that begins later is waited for, too");
    }

    #[test]
    fn g15_of_what_waits_for_a_welcome_the_newest_are_kept() {
        let (mut held, now) = (Held::default(), start());
        (1..=300).for_each(|seq| held.keep(entry(seq, 1), now));
        assert_eq!(held.next(Seq(43)), None, "it gave way");
        assert_eq!(held.next(Seq(44)).map(|entry| entry.seq), Some(Seq(45)));
        (301..=320).for_each(|seq| held.keep(entry(seq, 100_000), now));
        assert!(held.bytes <= BYTES_MAX);
        assert_eq!(held.next(Seq(310)).map(|entry| entry.seq), Some(Seq(311)));
    }

    #[test]
    fn g15_what_is_held_is_bounded() {
        let now = start();
        let fits = |bytes: usize| {
            let mut held = Held::default();
            (1..).take_while(|&seq| held.push(entry(2 * seq, bytes), now)).count()
        };
        assert_eq!(fits(1), ENTRIES_MAX);
        assert_eq!(fits(65_535), BYTES_MAX / 65_535);
    }
}
