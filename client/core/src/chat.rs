//! One chat as this device has it: which entries, what the server was told, when it is told again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wire::event::Cursor;
use wire::{AccountId, Seq, limits};

use crate::group::Group;
use crate::held::Held;
use crate::io::StreamTag;
use crate::kept::ChatRow;
use crate::typing::Keys;

/// Delivered cursors of one chat are gathered this long.
const DELIVERED_GATHER: Duration = Duration::from_millis(30);

/// One chat.
#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) peer: Option<AccountId>,
    /// Entries up to here are stored.
    pub(crate) have: Seq,
    /// The user has read up to here.
    pub(crate) read: Seq,
    /// What the server was told: delivered, read.
    pub(crate) told: (Seq, Seq),
    /// What it is known to have of the read cursor: a move is not answered, and what was told on a connection that is
    /// lost may be lost with it. A delivered cursor needs no such care: what the server does not know it sends again.
    pub(crate) read_known: Seq,
    /// The furthest cursors of each member that were shown. Bounded by the members.
    shown: BTreeMap<AccountId, Cursor>,
    /// When it is told again.
    pub(crate) tell_at: Option<Instant>,
    read_told_at: Option<Instant>,
    pub(crate) up: Option<Up>,
    /// The user has it open: its stream is kept, and typing is told and heard.
    pub(crate) open: Option<Keys>,
    /// Until then nothing is appended: the server asked for time.
    pub(crate) blocked_until: Option<Instant>,
    /// Entries that came before an answer that may stand for one before them, or before a welcome that they are read with.
    pub(crate) held: Held,
    /// This account is no member any more.
    pub(crate) gone: bool,
    pub(crate) group: Group,
}

/// The chat's up stream.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) stream: StreamTag,
    pub(crate) used_at: Instant,
}

/// What an arriving entry is to this device.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next one.
    Next,
    /// Had before.
    Repeat,
    /// Not the next one: something between is missing.
    Gap,
}

impl Chat {
    pub(crate) fn new(row: &ChatRow) -> Chat {
        Chat {
            peer: row.peer,
            have: row.have,
            read: row.read,
            told: row.told,
            read_known: row.told.1,
            shown: BTreeMap::new(),
            tell_at: None,
            read_told_at: None,
            up: None,
            open: None,
            blocked_until: None,
            held: Held::default(),
            gone: row.gone,
            group: Group::new(row.have > Seq::ZERO),
        }
    }

    /// What an entry at this place is.
    pub(crate) fn arrival(&self, seq: Seq) -> Arrival {
        match seq {
            seq if seq > self.have.next() => Arrival::Gap,
            seq if seq <= self.have && !mutation::on(mutation::Mutation::RepeatsKept) => Arrival::Repeat,
            _ => Arrival::Next,
        }
    }

    /// The next entry is here.
    pub(crate) fn arrive(&mut self, seq: Seq, now: Instant) {
        self.has(seq);
        self.tell_by(now + DELIVERED_GATHER);
    }

    /// An entry that is here came again: the server does not know how far this device is, and is told again.
    pub(crate) fn repeat(&mut self, seq: Seq, now: Instant) {
        self.told.0 = self.told.0.min(Seq(seq.0.saturating_sub(1)));
        self.tell_by(now + DELIVERED_GATHER);
    }

    /// This device has joined the group with the commit at this place: what lies before was never for it.
    pub(crate) fn join(&mut self, seq: Seq, now: Instant) {
        self.gone = false;
        if seq > self.have {
            self.has(seq);
            self.tell_by(now + DELIVERED_GATHER);
        }
        self.held.begin(now);
    }

    /// The ack of an own message stands for its entry: the server has moved this device's cursor over it, so there is
    /// nothing to tell. A device that has nothing of the log yet learns by it where the log begins for it.
    pub(crate) fn arrive_by_ack(&mut self, seq: Seq) -> Arrival {
        self.begin_at(seq);
        if seq > self.have.next() {
            return Arrival::Gap;
        }
        if seq <= self.have {
            return Arrival::Repeat;
        }
        self.has(seq);
        self.told.0 = self.told.0.max(seq);
        Arrival::Next
    }

    fn has(&mut self, seq: Seq) {
        self.have = seq;
        // Read on another device before it was here; for a device whose log begins with this entry, perhaps before it.
        self.read = self.read.max(self.read_known.min(seq));
    }

    /// The user has read up to `seq`; `true` if that is news. The first receipt leaves at once, later ones at most every
    /// three seconds (R46, C28).
    pub(crate) fn mark_read(&mut self, seq: Seq, now: Instant) -> bool {
        let seq = seq.min(self.have);
        if seq <= self.read {
            return false;
        }
        self.read = seq;
        let due = self.read_told_at.map_or(now, |last| now.max(last + limits::READ_RECEIPT_INTERVAL));
        self.tell_by(due);
        true
    }

    fn tell_by(&mut self, due: Instant) {
        self.tell_at = Some(self.tell_at.map_or(due, |at| at.min(due)));
    }

    /// Where the log begins for this device, if it has nothing of it yet: a device that was added later gets what came
    /// after it, and asks for the rest when its person looks.
    pub(crate) fn begin_at(&mut self, from_seq: Seq) {
        if self.have == Seq::ZERO {
            self.have = Seq(from_seq.0.saturating_sub(1));
            self.told.0 = self.told.0.max(self.have);
        }
    }

    /// When what is held has waited long enough. For a welcome it waits as long as it takes.
    pub(crate) fn held_ends_at(&self) -> Option<Instant> {
        self.held.ends_at().filter(|_| !self.group.is_outside())
    }

    /// The server says how far this person has read: here, or on another device.
    pub(crate) fn read_is_known(&mut self, read: Seq) {
        self.read_known = self.read_known.max(read);
        self.told.1 = self.told.1.max(read);
        self.read = self.read.max(read.min(self.have));
    }

    /// The server says where a member's cursors are: a read that was under way may say less than what was said since, and
    /// cursors never go back. What is to be shown, each with the time that belongs to it.
    pub(crate) fn show(&mut self, mut cursor: Cursor) -> Cursor {
        if let Some(before) = self.shown.get(&cursor.member) {
            if before.delivered > cursor.delivered {
                (cursor.delivered, cursor.delivered_at) = (before.delivered, before.delivered_at);
            }
            if before.read > cursor.read {
                (cursor.read, cursor.read_at) = (before.read, before.read_at);
            }
        }
        self.shown.insert(cursor.member, cursor.clone());
        cursor
    }

    /// Whether the server is to be told something, now or later.
    pub(crate) fn has_news(&self) -> bool {
        self.have > self.told.0 || self.read > self.told.1
    }

    /// The cursors to tell now: the read one only if its time has come.
    pub(crate) fn tell(&mut self, now: Instant) -> (Seq, Seq) {
        let read_due = self.read_told_at.is_none_or(|last| last + limits::READ_RECEIPT_INTERVAL <= now);
        let read = if self.read > self.told.1 && read_due {
            self.read_told_at = Some(now);
            self.read
        } else {
            self.told.1
        };
        // What another device has read may not be here yet, and nothing is said of what is not here.
        let read = read.min(self.have);
        self.told = (self.have, read);
        self.tell_at =
            (self.read > read).then(|| self.read_told_at.map_or(now, |l| l + limits::READ_RECEIPT_INTERVAL));
        self.told
    }

    /// The stream is over, and the server may not have looked at what was told on it: all is told again at `due`.
    pub(crate) fn untold(&mut self, due: Instant) {
        self.told = (Seq::ZERO, self.read_known);
        self.read_told_at = None;
        if self.has_news() {
            self.tell_by(due);
        }
    }

    /// The connection is gone, and what was told on it may be lost: it is told again on the next.
    pub(crate) fn disconnected(&mut self) {
        self.group.disconnected();
        self.told.1 = self.read_known;
        self.up = None;
        self.held.clear();
        if let Some(keys) = &mut self.open {
            keys.stop();
        }
        self.tell_at = None;
        self.read_told_at = None;
    }
}

#[cfg(test)]
mod tests {
    use wire::{ChatId, WallTime};

    use super::*;

    fn chat() -> Chat {
        let chat = ChatId::new([1; 16]);
        Chat::new(&ChatRow { have: Seq(3), told: (Seq(3), Seq(0)), ..ChatRow::new(chat, None) })
    }

    #[expect(clippy::disallowed_methods, reason = "a test begins at some time")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn r50_repeats_are_dropped_and_gaps_seen() {
        let (mut chat, now) = (chat(), start());
        assert_eq!(chat.arrival(Seq(4)), Arrival::Next);
        chat.arrive(Seq(4), now);
        assert_eq!(chat.arrival(Seq(4)), Arrival::Repeat);
        assert_eq!(chat.arrival(Seq(6)), Arrival::Gap);
        assert_eq!(chat.have, Seq(4));
    }

    #[test]
    fn i4_an_ack_that_stands_for_its_entry_leaves_nothing_to_tell() {
        let (mut chat, now) = (chat(), start());
        assert_eq!(chat.arrive_by_ack(Seq(5)), Arrival::Gap);
        assert_eq!(chat.arrive_by_ack(Seq(4)), Arrival::Next);
        assert_eq!((chat.have, chat.told.0, chat.tell_at), (Seq(4), Seq(4), None));
        assert!(!chat.has_news());
        assert_eq!(chat.arrive_by_ack(Seq(4)), Arrival::Repeat);
        chat.untold(now);
        chat.tell_at = None;
        assert_eq!(chat.arrive_by_ack(Seq(5)), Arrival::Next);
        assert!(!chat.has_news(), "the server knows of all before it, too");

        let mut new = Chat::new(&ChatRow::new(ChatId::new([1; 16]), None));
        assert_eq!(new.arrive_by_ack(Seq(9)), Arrival::Next, "the log begins there for a new device");
        assert_eq!(new.have, Seq(9));
    }

    #[test]
    fn c28_first_receipt_at_once_then_every_three_seconds() {
        let (mut chat, now) = (chat(), start());
        assert!(chat.mark_read(Seq(1), now));
        assert_eq!(chat.tell_at, Some(now));
        assert_eq!(chat.tell(now), (Seq(3), Seq(1)));
        let soon = now + Duration::from_secs(1);
        assert!(chat.mark_read(Seq(2), soon));
        assert_eq!(chat.tell_at, Some(now + Duration::from_secs(3)));
        chat.arrive(Seq(4), soon);
        assert_eq!(chat.tell(soon), (Seq(4), Seq(1)), "a delivered cursor takes no early read along");
        assert_eq!(chat.tell_at, Some(now + Duration::from_secs(3)));
        assert_eq!(chat.tell(now + Duration::from_secs(3)), (Seq(4), Seq(2)));
        assert!(!chat.has_news());
        assert!(!chat.mark_read(Seq(2), soon), "reads never go back");
        assert!(chat.mark_read(Seq(99), soon), "and never past what is there");
        assert_eq!(chat.read, Seq(4));
    }

    #[test]
    fn c43_what_was_read_on_another_device_is_read_here_once_it_arrives() {
        let (mut chat, now) = (chat(), start());
        chat.read_is_known(Seq(5));
        assert_eq!(chat.read, Seq(3), "what is not here cannot be shown as read");
        assert_eq!(chat.tell(now), (Seq(3), Seq(3)), "nor told");
        for seq in [4, 5, 6] {
            chat.arrive(Seq(seq), now);
        }
        assert_eq!(chat.read, Seq(5));
        chat.disconnected();
        assert_eq!((chat.read, chat.told.1), (Seq(5), Seq(5)));
    }

    #[test]
    fn c43_what_was_read_before_the_log_of_a_new_device_begins_is_read_with_its_first_entry() {
        let chat = ChatId::new([1; 16]);
        let zero = Seq::ZERO;
        let new = || Chat::new(&ChatRow::new(chat, None));
        let (mut by_ack, mut by_entry, now) = (new(), new(), start());
        // The cursor comes before the device knows where the chat begins for it.
        for chat in [&mut by_ack, &mut by_entry] {
            chat.read_is_known(Seq(23));
            assert_eq!(chat.read, zero);
        }
        assert_eq!(by_ack.arrive_by_ack(Seq(27)), Arrival::Next);
        assert_eq!((by_ack.have, by_ack.read), (Seq(27), Seq(23)));
        by_entry.begin_at(Seq(25));
        by_entry.arrive(Seq(25), now);
        assert_eq!((by_entry.have, by_entry.read), (Seq(25), Seq(23)));
        assert!(!by_ack.has_news(), "the server said so itself");
    }

    #[test]
    fn i4_ticks_that_are_shown_never_go_back() {
        let mut chat = chat();
        let cursor = |delivered, read| Cursor {
            member: AccountId::new([2; 16]),
            delivered: Seq(delivered),
            delivered_at: WallTime(10 * delivered),
            read: Seq(read),
            read_at: WallTime(10 * read),
            withheld: Vec::new(),
        };
        assert_eq!(chat.show(cursor(5, 1)), cursor(5, 1));
        assert_eq!(chat.show(cursor(4, 0)), cursor(5, 1), "a read that had begun before");
        assert_eq!(chat.show(cursor(4, 3)), cursor(5, 3), "each with its own time");
        assert_eq!(chat.show(cursor(7, 7)), cursor(7, 7));
    }

    #[test]
    fn i4_what_was_told_on_a_stream_that_was_refused_is_told_again() {
        let (mut chat, now) = (chat(), start());
        chat.arrive(Seq(4), now);
        chat.mark_read(Seq(2), now);
        assert_eq!(chat.tell(now), (Seq(4), Seq(2)));
        let later = now + Duration::from_millis(100);
        chat.untold(later);
        assert_eq!(chat.tell_at, Some(later));
        assert_eq!(chat.tell(later), (Seq(4), Seq(2)));
    }

    #[test]
    fn r46_a_read_receipt_that_may_be_lost_is_told_again_until_the_server_shows_it() {
        let (mut chat, now) = (chat(), start());
        chat.mark_read(Seq(2), now);
        assert_eq!(chat.tell(now).1, Seq(2));
        chat.disconnected();
        assert!(chat.has_news(), "nobody said that it arrived");
        assert_eq!(chat.tell(now).1, Seq(2));
        chat.read_is_known(Seq(2));
        chat.disconnected();
        assert!(!chat.has_news());
    }
}
