//! What a session owes of each log, and how it is carried: a down stream is a tail of the log. The logs are its account's chats, and
//! the device's own inbox.
//!
//! A [`LogDelivery`] holds numbers: the log's head as far as known, and up to where entries were sent. What lies
//! between is owed; it is read from the store (or its cache) when the stream takes more, a burst at a time, so a reader
//! that does not read costs one burst and no more. Logs that owe nothing for a while are forgotten; a hint brings them
//! back with one fresh read.
//!
//! Invariant (I5): whoever is no member any more is sent entries up to where that ended, nothing else, and then the streams end.
//!
//! Bounds: [`limits::CHAT_DOWN_STREAMS_MAX`] streams, the inbox first, then newest activity; [`BURST_BYTES_MAX`] unsent bytes
//! each, or one entry; of an entry in several frames one frame, and of one log at a time.

mod ended;
mod hints;
mod large;
mod own;
mod reads;
mod streams;
mod turns;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use mutation::Mutation;
use store::op::{ChatState, InboxState, MemberAsOf, MemberCursor, MemberCursors, MoveCursor, Op, Tail};
use wire::{AccountId, DeviceId, Event, LogId, Seq, WallTime};

use crate::command::history::cursor;
use crate::conn::{Conn, Stage};
use crate::counters::Timing;
use crate::cx::{Cx, Pending};
use crate::io::{LinkId, Output, StreamId};
use crate::moves::Move;
use crate::session::Session;

pub(crate) use self::large::Large;
use self::streams::finish_down;
pub(crate) use self::turns::{Turns, Waiting};

/// Entries, and bytes of them, that are read and sent before the stream must have taken them.
const BURST_ENTRIES_MAX: usize = 32;
const BURST_BYTES_MAX: usize = 16 * 1024;

/// One log of one session.
#[derive(Debug)]
pub(crate) struct LogDelivery {
    peer: Option<AccountId>,
    /// What the store last said of the account's membership: what a tail may take for granted.
    member: Option<MemberAsOf>,
    /// It is no member any more: nothing comes after `head`.
    ended: bool,
    /// A hint has named a place after that: it may be a member again.
    named_again: bool,
    /// The log's last place, as far as known.
    head: Seq,
    /// When the log was last active: newest first, and the inbox before all chats.
    last_at: WallTime,
    /// Entries up to here were sent.
    sent: Seq,
    /// The oldest entry that a commit's hint named and that is not sent yet, and its time.
    hinted: Option<(Seq, WallTime)>,
    /// Cursors to send: the newest of each member. Bounded by the chat's members.
    cursors: BTreeMap<AccountId, MemberCursor>,
    /// Who types, or has stopped: what the stream does not take at once is dropped. Bounded by the chat's members.
    typing: BTreeMap<AccountId, bool>,
    /// Members' cursors that moved since then are to be read.
    cursors_since: Option<WallTime>,
    /// Whether the log's own state is still being read.
    opening: bool,
    /// Whether entries are being read.
    tailing: bool,
    /// Whether cursors are being read.
    reading_cursors: bool,
    /// A read failed; until the log's timer it is not repeated.
    backing_off: bool,
    down: Down,
    active_at: Instant,
}

/// A log's down stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Down {
    Closed,
    Opening,
    /// `full`: the link still holds a burst.
    Open {
        stream: StreamId,
        full: bool,
    },
    /// Its end is not acknowledged yet; a new one waits for that.
    Finishing {
        stream: StreamId,
    },
}

impl LogDelivery {
    /// A log that a hint named and the session did not know.
    fn unknown(head: Seq, at: WallTime, now: Instant) -> Box<LogDelivery> {
        Box::new(LogDelivery {
            peer: None,
            member: None,
            ended: false,
            named_again: false,
            head,
            last_at: at,
            sent: Seq::ZERO,
            hinted: None,
            cursors: BTreeMap::new(),
            typing: BTreeMap::new(),
            cursors_since: None,
            opening: true,
            tailing: false,
            reading_cursors: false,
            backing_off: false,
            down: Down::Closed,
            active_at: now,
        })
    }

    /// Takes what the store says of the chat; hints that came meanwhile stand.
    fn learn(&mut self, state: &ChatState, stated: Option<Seq>) {
        self.peer = state.peer;
        self.stands(state.member(), state.head);
        self.last_at = self.last_at.max(state.last_at);
        // A client knows best what it has, but not more than there is, and not what it may have.
        let begins = stated.filter(|&seq| seq <= state.head).unwrap_or(state.delivered).max(state.floor);
        self.sent = self.sent.max(begins);
        self.hinted = self.hinted.filter(|(seq, _)| *seq > self.sent);
        self.opening = false;
    }

    /// The device's inbox, of which entries up to `sent` were. Of all logs it comes first: a chat is of no use without the
    /// welcome that is in it.
    fn inbox(head: Seq, sent: Seq, now: Instant) -> Box<LogDelivery> {
        let mut delivery = LogDelivery::unknown(head, WallTime(u64::MAX), now);
        delivery.learn_inbox(head, sent);
        delivery
    }

    fn learn_inbox(&mut self, head: Seq, sent: Seq) {
        (self.head, self.sent) = (self.head.max(head), sent);
        self.last_at = WallTime(u64::MAX);
        self.hinted = self.hinted.filter(|(seq, _)| *seq > self.sent);
        self.opening = false;
    }

    /// Takes what the store says of the account's membership, and of the last place that it may know of.
    fn stands(&mut self, member: Option<MemberAsOf>, head: Seq) {
        self.member = member;
        self.ended = member.is_none();
        self.named_again = self.ended && self.head > head;
        if self.ended {
            // Nothing is owed to who has left beyond where they did, whatever hints said.
            self.head = head;
            self.cursors.clear();
            self.typing.clear();
            self.cursors_since = None;
        } else {
            self.head = self.head.max(head);
        }
    }

    /// A chat that the session did not know or has let go of, as the store has it.
    pub(crate) fn at(state: &ChatState, cursors_since: Option<WallTime>, now: Instant) -> Box<LogDelivery> {
        let mut delivery = LogDelivery::unknown(state.head, state.last_at, now);
        delivery.learn(state, None);
        delivery.cursors_since = cursors_since;
        delivery
    }

    /// What hints should have said.
    pub(crate) fn catch_up(&mut self, state: &ChatState, cursors_since: Option<WallTime>) {
        self.stands(state.member(), state.head);
        self.last_at = self.last_at.max(state.last_at);
        self.cursors_since = match (self.cursors_since, cursors_since) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    fn has_entries(&self) -> bool {
        self.head > self.sent
    }

    fn has_news(&self) -> bool {
        self.has_entries() || !self.cursors.is_empty() || !self.typing.is_empty()
    }

    fn owes(&self) -> bool {
        self.opening || self.has_news() || self.cursors_since.is_some()
    }

    fn is_sendable(&self) -> bool {
        !self.opening && self.has_news()
    }
}

impl Conn {
    /// A session has begun: everything owed is found and carried.
    pub(crate) fn begin_delivery(&mut self, cx: &mut Cx, inbox: InboxState, states: Vec<ChatState>) {
        let now = cx.now.instant;
        let Stage::Active(session) = &mut self.stage else { return };
        let stated = std::mem::take(&mut session.stated);
        let mut known = BTreeSet::from([session.begin_inbox(inbox, now)]);
        for state in &states {
            let log = LogId::Chat(state.chat);
            known.insert(log);
            let mut fresh = LogDelivery::unknown(state.head, state.last_at, now);
            let chat = session.logs.get_mut(&log).unwrap_or(&mut fresh);
            chat.learn(state, stated.get(&state.chat).copied());
            chat.cursors_since = (state.moved && !chat.ended).then_some(session.receipts_since);
            if chat.owes() {
                session.logs.entry(log).or_insert(fresh);
            }
        }
        let hinted: Vec<LogId> = session.logs.keys().copied().filter(|log| !known.contains(log)).collect();
        session.unsynced = Some(session.logs.keys().copied().collect());
        let mut order: Vec<_> = session.logs.iter().map(|(&id, log)| (Reverse(log.last_at), id)).collect();
        order.sort_unstable();
        for log in hinted {
            self.open_log(cx, log);
        }
        for (_, log) in order {
            self.pump(cx, log);
        }
        self.note_synced(cx);
    }

    fn log_mut(&mut self, log: LogId) -> Option<(&mut Session, LinkId)> {
        let link = self.link;
        match &mut self.stage {
            Stage::Active(session) if session.logs.contains_key(&log) => Some((session, link)),
            _ => None,
        }
    }

    /// Does the next thing for a log: reads what is owed, or opens a stream, or sends, or lets go.
    pub(crate) fn pump(&mut self, cx: &mut Cx, log: LogId) {
        let now = cx.now.instant;
        let Some((session, link)) = self.log_mut(log) else { return };
        let account = session.account;
        let syncing = session.unsynced.as_ref().is_some_and(|unsynced| unsynced.contains(&log));
        let may_tail = session.large.may_tail(log);
        let Some(delivery) = session.logs.get_mut(&log) else { return };
        if delivery.opening || delivery.backing_off {
            return;
        }
        if delivery.ended && !delivery.owes() && !session.large.is_within(log) {
            return self.end_log(cx, log);
        }
        let mut waits = false;
        if let (Some(since), false) = (delivery.cursors_since, delivery.reading_cursors) {
            if cx.may_read() {
                delivery.reading_cursors = true;
                cx.store(
                    Op::MemberCursors(MemberCursors { log, account, since }),
                    Pending::Cursors { link, log },
                );
            } else {
                waits = true;
            }
        }
        match delivery.down {
            Down::Closed if delivery.is_sendable() => self.want_stream(cx, log),
            Down::Closed if !delivery.owes() => self.forget(cx, log),
            Down::Open { stream, full } if delivery.is_sendable() && has_room(full) => {
                delivery.active_at = now;
                waits |= !send_owed(cx, account, (link, stream), log, delivery, may_tail);
            }
            Down::Open { stream, full: false } if syncing && !delivery.owes() => {
                finish_down(cx, link, stream, delivery);
            }
            _ => {}
        }
        if waits {
            self.wait_for_turn(cx, log);
        }
    }

    /// Lets a log go: it owes nothing, or its account never was a member.
    fn forget(&mut self, cx: &mut Cx, log: LogId) {
        let link = self.link;
        if let Stage::Active(session) = &mut self.stage {
            session.reads.forget(log);
            let delivery = session.logs.remove(&log);
            if let (LogId::Device(_), Some(delivery)) = (log, &delivery) {
                session.inbox_sent = delivery.sent;
            }
            if let Some(Down::Open { stream, .. }) = delivery.map(|delivery| delivery.down) {
                // Its end is waited for by the stream alone.
                cx.output(Output::Finish { link, stream });
            }
        }
        self.settle(cx, log);
    }

    /// A log that was owed something at `Hello` is no longer.
    fn settle(&mut self, cx: &mut Cx, log: LogId) {
        if let Stage::Active(session) = &mut self.stage
            && let Some(unsynced) = &mut session.unsynced
        {
            unsynced.remove(&log);
        }
        self.note_synced(cx);
    }

    fn note_synced(&mut self, cx: &mut Cx) {
        let Stage::Active(session) = &mut self.stage else { return };
        if session.unsynced.as_ref().is_some_and(BTreeSet::is_empty) {
            session.unsynced = None;
            let through = session.began;
            self.say(cx, &Event::Synced { through });
        }
    }
}

impl Session {
    /// Where delivery of the device's inbox begins, and the inbox's log.
    fn begin_inbox(&mut self, inbox: InboxState, now: Instant) -> LogId {
        let InboxState { head, delivered, .. } = inbox;
        self.inbox_sent = delivered;
        let log = LogId::Device(self.device);
        match self.logs.get_mut(&log) {
            Some(delivery) => delivery.learn_inbox(head, delivered),
            None if head > delivered => drop(self.logs.insert(log, LogDelivery::inbox(head, delivered, now))),
            None => {}
        }
        log
    }
}

/// Whether a stream takes more.
fn has_room(full: bool) -> bool {
    !full || mutation::on(Mutation::SendWithoutRoom)
}

/// Counts an entry on its way to a stream, and the time since its commit was begun, if it is known.
fn handed(cx: &mut Cx, since: Option<WallTime>) {
    cx.counters.deliveries += 1;
    if let Some(at) = since {
        cx.timed(Timing::Delivered(cx.now.wall.saturating_since(at)));
    }
}

/// A mistake, if it is chosen: what is sent counts as delivered.
fn confirm_unasked(
    cx: &mut Cx,
    (account, device): (AccountId, DeviceId),
    (link, stream): (LinkId, StreamId),
    log: LogId,
    delivered: Seq,
) {
    if mutation::on(Mutation::CursorOnSend) {
        let read = Seq::ZERO;
        let op = MoveCursor { log, account, device, delivered, read, in_doubt: false, now: cx.now.wall };
        cx.moves.add(Move { op, link, stream });
        cx.flush_moves(log);
    }
}

/// Sends cursors, and asks for the entries that are owed; `false` if they have to wait.
fn send_owed(
    cx: &mut Cx,
    account: AccountId,
    (link, stream): (LinkId, StreamId),
    log: LogId,
    delivery: &mut LogDelivery,
    may_tail: bool,
) -> bool {
    if !delivery.cursors.is_empty() || !delivery.typing.is_empty() {
        delivery.down = Down::Open { stream, full: true };
    }
    while let Some((member, typing)) = delivery.typing.pop_first() {
        cx.counters.typing_sent += 1;
        cx.send(link, stream, &Event::Typing { member, typing });
    }
    while let Some((_, moved)) = delivery.cursors.pop_first() {
        cx.send(link, stream, &Event::CursorMoved(cursor(moved)));
    }
    if delivery.has_entries() && !delivery.tailing && may_tail {
        if !cx.may_read() {
            return false;
        }
        delivery.tailing = true;
        let (member, after) = (delivery.member, delivery.sent);
        let (entries_max, bytes_max) = (BURST_ENTRIES_MAX, BURST_BYTES_MAX);
        let tail = Tail { log, account, member, after, entries_max, bytes_max };
        cx.store(Op::Tail(tail), Pending::Tail { link, log });
    }
    true
}
