//! The messages of the open chat, as far as they are in memory: at most [`LINES_MAX`], in the order of the chat, those
//! without a place yet behind the others.

use std::cell::RefCell;
use std::rc::Rc;

use wire::event::Cursor;
use wire::{AccountId, ChatId, ClientMsgId, Seq, WallTime};

use super::text::{self, Row, wrap};
use crate::output::covers;

/// Messages of the open chat that are kept in memory; the profile has the others.
pub(super) const LINES_MAX: usize = 1000;

/// A moment, and what the clock on the wall said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) at: WallTime,
    /// Seconds since 1970 as if the local time were UTC.
    pub(super) local_s: i64,
}

/// How a message stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// In the outbox.
    Waiting,
    /// Refused for good, and why.
    Failed(String),
    /// In the chat's log.
    Committed(Seq),
}

/// What stands behind one's own message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tick {
    Waiting,
    Sent,
    Delivered,
    Read,
    Failed,
}

/// One message.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) id: ClientMsgId,
    pub(super) sender: AccountId,
    /// Clean.
    pub(super) text: String,
    pub(super) stamp: Stamp,
    pub(super) standing: Standing,
    /// It is no message: it says who came and went, or what cannot be read.
    pub(super) is_notice: bool,
    /// Its rows in the width they were last asked for.
    wrapped: RefCell<Option<(usize, Rc<[Row]>)>>,
}

impl Line {
    /// A message whose text may be anything.
    pub(super) fn new(
        id: ClientMsgId,
        sender: AccountId,
        raw: &str,
        stamp: Stamp,
        standing: Standing,
    ) -> Line {
        let wrapped = RefCell::default();
        Line { id, sender, text: text::clean(raw), stamp, standing, is_notice: false, wrapped }
    }

    /// What is said between messages, behind a place; `number` tells those of one place apart.
    pub(super) fn notice(seq: Seq, number: u64, words: &str, stamp: Stamp) -> Line {
        let mut id = [0xff; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id[8..].copy_from_slice(&seq.0.to_be_bytes());
        let nobody = AccountId::new([0; 16]);
        let line = Line::new(ClientMsgId::new(id), nobody, words, stamp, Standing::Committed(seq));
        Line { is_notice: true, ..line }
    }

    /// Whether it is a message of somebody else.
    pub(super) fn is_from_others(&self, me: AccountId) -> bool {
        !self.is_notice && self.sender != me
    }

    pub(super) fn seq(&self) -> Option<Seq> {
        match self.standing {
            Standing::Committed(seq) => Some(seq),
            Standing::Waiting | Standing::Failed(_) => None,
        }
    }

    /// Its text in rows of at most so many columns.
    pub(super) fn rows(&self, columns: usize) -> Rc<[Row]> {
        let mut wrapped = self.wrapped.borrow_mut();
        match &*wrapped {
            Some((width, rows)) if *width == columns => Rc::clone(rows),
            _ => {
                let rows: Rc<[Row]> = wrap(&self.text, columns).into();
                *wrapped = Some((columns, Rc::clone(&rows)));
                rows
            }
        }
    }

    /// The least of the others' cursors decides (R4); `None` for somebody else's message.
    pub(super) fn tick(&self, me: AccountId, cursors: &[Cursor]) -> Option<Tick> {
        let seq = match self.standing {
            _ if self.is_notice || self.sender != me => return None,
            Standing::Waiting => return Some(Tick::Waiting),
            Standing::Failed(_) => return Some(Tick::Failed),
            Standing::Committed(seq) => seq,
        };
        let others = || cursors.iter().filter(|cursor| cursor.member != me);
        let any = others().next().is_some();
        Some(if any && others().all(|cursor| covers(cursor, cursor.read, seq)) {
            Tick::Read
        } else if any && others().all(|cursor| covers(cursor, cursor.delivered, seq)) {
            Tick::Delivered
        } else {
            Tick::Sent
        })
    }
}

/// Where messages before the first one in memory are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Older {
    /// In the profile, or on the server if not there.
    There,
    /// They were asked for.
    Asked,
    /// There are none.
    Nowhere,
}

/// The open chat's messages.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    pub(super) chat: ChatId,
    lines: Vec<Line>,
    pub(super) older: Older,
    /// Whether the newest message of the chat is among them.
    pub(super) is_at_end: bool,
    pub(super) cursors: Vec<Cursor>,
}

impl Lines {
    pub(super) fn new(chat: ChatId, lines: Vec<Line>, cursors: Vec<Cursor>) -> Lines {
        let mut all = Lines { chat, lines, older: Older::There, is_at_end: true, cursors };
        all.arrange();
        all
    }

    pub(super) fn all(&self) -> &[Line] {
        &self.lines
    }

    /// The first place that is in memory.
    pub(super) fn first_seq(&self) -> Option<Seq> {
        self.lines.iter().find_map(Line::seq)
    }

    /// Puts a message where it belongs, in place of what is known of it. Returns its index if it was not there before.
    pub(super) fn put(&mut self, line: Line) -> Option<usize> {
        let known = self.lines.iter().rposition(|known| known.id == line.id);
        if let Some(at) = known {
            // An ack never takes a place away again.
            if self.lines[at].seq().is_none() {
                self.lines[at].standing = line.standing;
                self.lines[at].stamp = line.stamp;
                self.arrange();
            }
            return None;
        }
        if !self.is_at_end || self.first_seq().is_some_and(|first| line.seq().is_some_and(|seq| seq < first))
        {
            return None;
        }
        let id = line.id;
        self.lines.push(line);
        self.arrange();
        self.lines.iter().rposition(|line| line.id == id)
    }

    /// A message that waits was refused for good.
    pub(super) fn fail(&mut self, id: ClientMsgId, why: String) {
        let waits = |line: &&mut Line| line.id == id && line.standing == Standing::Waiting;
        if let Some(line) = self.lines.iter_mut().find(waits) {
            line.standing = Standing::Failed(why);
            self.arrange();
        }
    }

    /// Takes messages of before the first one. Returns those of the newest that made room for them.
    pub(super) fn put_older(&mut self, mut older: Vec<Line>) -> Vec<Line> {
        let first = self.first_seq().unwrap_or(Seq(u64::MAX));
        older.retain(|line| line.seq().is_some_and(|seq| seq < first));
        self.lines.splice(0..0, older);
        self.arrange();
        let room = self.lines.len().min(LINES_MAX);
        let gone = self.lines.split_off(room);
        self.is_at_end &= gone.is_empty();
        gone
    }

    /// Lets the oldest go, if there are too many.
    pub(super) fn trim_oldest(&mut self) {
        let over = self.lines.len().saturating_sub(LINES_MAX);
        if over > 0 {
            self.lines.drain(..over);
            self.older = Older::There;
        }
    }

    /// A member's cursors moved.
    pub(super) fn on_cursor(&mut self, cursor: &Cursor) {
        match self.cursors.iter_mut().find(|known| known.member == cursor.member) {
            Some(known) => {
                known.delivered = known.delivered.max(cursor.delivered);
                known.read = known.read.max(cursor.read);
                known.withheld.clone_from(&cursor.withheld);
            }
            None => self.cursors.push(cursor.clone()),
        }
    }

    /// By place; what failed stands where it was said, what waits is last.
    fn arrange(&mut self) {
        let (mut placed, others): (Vec<Line>, Vec<Line>) =
            self.lines.drain(..).partition(|line| line.seq().is_some());
        placed.sort_by_key(Line::seq);
        let (failed, waiting): (Vec<Line>, Vec<Line>) =
            others.into_iter().partition(|line| line.standing != Standing::Waiting);
        for line in failed {
            let at = placed.partition_point(|other| other.stamp.at <= line.stamp.at);
            placed.insert(at, line);
        }
        placed.extend(waiting);
        self.lines = placed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: AccountId = AccountId::new([1; 16]);
    const BOB: AccountId = AccountId::new([2; 16]);
    const CHAT: ChatId = ChatId::new([3; 16]);

    fn line(n: u64, standing: Standing) -> Line {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let stamp = Stamp { at: WallTime(n * 1000), local_s: n as i64 };
        Line::new(ClientMsgId::new(id), ME, &n.to_string(), stamp, standing)
    }

    fn sent(n: u64) -> Line {
        line(n, Standing::Committed(Seq(n)))
    }

    fn texts(lines: &Lines) -> Vec<&str> {
        lines.all().iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn r4_ticks_are_the_least_of_the_others() {
        let cursor = |member, delivered, read| Cursor {
            member,
            delivered: Seq(delivered),
            delivered_at: WallTime(0),
            read: Seq(read),
            read_at: WallTime(0),
            withheld: Vec::new(),
        };
        let table = [
            (line(5, Standing::Waiting), vec![cursor(BOB, 9, 9)], Tick::Waiting),
            (line(5, Standing::Failed("no".into())), vec![cursor(BOB, 9, 9)], Tick::Failed),
            (sent(5), vec![], Tick::Sent),
            (sent(5), vec![cursor(ME, 9, 9)], Tick::Sent),
            (sent(5), vec![cursor(BOB, 4, 4)], Tick::Sent),
            (sent(5), vec![cursor(BOB, 5, 4)], Tick::Delivered),
            (sent(5), vec![cursor(BOB, 5, 5)], Tick::Read),
        ];
        for (line, cursors, tick) in table {
            assert_eq!(line.tick(ME, &cursors), Some(tick), "{line:?} {cursors:?}");
            assert_eq!(line.tick(BOB, &cursors), None, "somebody else's has none");
        }
        let mut lines = Lines::new(CHAT, Vec::new(), vec![cursor(BOB, 5, 3)]);
        lines.on_cursor(&cursor(BOB, 4, 4));
        assert_eq!((lines.cursors[0].delivered, lines.cursors[0].read), (Seq(5), Seq(4)), "never back");
    }

    #[test]
    fn r48_order_is_by_place_and_what_waits_is_last() {
        let mut lines = Lines::new(CHAT, vec![sent(2), sent(1)], Vec::new());
        assert!(lines.put(line(9, Standing::Waiting)).is_some());
        assert_eq!(lines.put(sent(3)), Some(2), "before what waits");
        assert_eq!(lines.put(sent(3)), None, "once");
        lines.put(line(7, Standing::Failed("refused".into())));
        assert_eq!(texts(&lines), ["1", "2", "3", "7", "9"]);
        // The ack gives it its place; a late repeat takes nothing back.
        let acked = Line { standing: Standing::Committed(Seq(4)), ..line(9, Standing::Waiting) };
        assert_eq!(lines.put(acked), None);
        lines.put(line(9, Standing::Waiting));
        assert_eq!(lines.all().last().and_then(Line::seq), Some(Seq(4)));
    }

    #[test]
    fn so_many_messages_are_in_memory_at_most() {
        let max = LINES_MAX as u64;
        let mut lines = Lines::new(CHAT, (max..2 * max).map(sent).collect(), Vec::new());
        let gone = lines.put_older((max - 100..max).map(sent).collect());
        assert_eq!((gone.len(), lines.all().len(), lines.is_at_end), (100, LINES_MAX, false));
        assert_eq!(lines.put(sent(2 * max)), None, "its place is not in memory");
        let mut newest = Lines::new(CHAT, (1..=max).map(sent).collect(), Vec::new());
        newest.older = Older::Nowhere;
        newest.put(sent(max + 1));
        newest.trim_oldest();
        assert_eq!((newest.first_seq(), newest.older), (Some(Seq(2)), Older::There));
    }
}
