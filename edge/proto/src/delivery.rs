//! What a session owes of each chat, and how it is carried: a chat down stream is a tail of the log.
//!
//! A [`ChatDelivery`] holds numbers: the log's head as far as known, and up to where entries were sent. What lies
//! between is owed; it is read from the store (or its cache) when the stream takes more, a burst at a time, so a reader
//! that does not read costs one burst and no more. Chats that owe nothing for a while are forgotten; a hint brings them
//! back with one fresh read.
//!
//! Bounds: [`limits::CHAT_DOWN_STREAMS_MAX`] streams, newest activity first; [`BURST_BYTES_MAX`] unsent bytes each.

mod hints;
mod own;
mod reads;
mod streams;
mod turns;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use mutation::Mutation;
use store::op::{ChatState, MemberAsOf, MemberCursor, MemberCursors, MoveCursor, Op, Tail};
use wire::{AccountId, ChatId, DeviceId, Event, LogId, Seq, WallTime};

use crate::command::history::cursor;
use crate::conn::{Conn, Stage};
use crate::counters::Timing;
use crate::cx::{Cx, Pending};
use crate::io::{LinkId, Output, StreamId};
use crate::moves::Move;
use crate::session::Session;

use self::streams::finish_down;
pub(crate) use self::turns::{Turns, Waiting};

/// Entries, and bytes of them, that are read and sent before the stream must have taken them.
const BURST_ENTRIES_MAX: usize = 32;
const BURST_BYTES_MAX: usize = 16 * 1024;

/// One chat of one session.
#[derive(Debug)]
pub(crate) struct ChatDelivery {
    peer: Option<AccountId>,
    /// What the store last said of the account's membership: what a tail may take for granted.
    member: Option<MemberAsOf>,
    /// The log's last place, as far as known.
    head: Seq,
    /// When the chat was last active: newest first.
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
    /// Whether the chat's own state is still being read.
    opening: bool,
    /// Whether entries are being read.
    tailing: bool,
    /// Whether cursors are being read.
    reading_cursors: bool,
    /// A read failed; until the chat's timer it is not repeated.
    backing_off: bool,
    down: Down,
    active_at: Instant,
}

/// A chat's down stream.
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

impl ChatDelivery {
    /// A chat that a hint named and the session did not know.
    fn unknown(head: Seq, at: WallTime, now: Instant) -> Box<ChatDelivery> {
        Box::new(ChatDelivery {
            peer: None,
            member: None,
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
        self.member = state.member();
        self.head = self.head.max(state.head);
        self.last_at = self.last_at.max(state.last_at);
        // A client knows best what it has, but not more than there is, and not what it may have.
        self.sent = stated.filter(|&seq| seq <= state.head).unwrap_or(state.delivered).max(state.floor);
        self.hinted = self.hinted.filter(|(seq, _)| *seq > self.sent);
        self.opening = false;
    }

    /// A chat that the session did not know or has let go of, as the store has it.
    pub(crate) fn at(state: &ChatState, cursors_since: Option<WallTime>, now: Instant) -> Box<ChatDelivery> {
        let mut delivery = ChatDelivery::unknown(state.head, state.last_at, now);
        delivery.learn(state, None);
        delivery.cursors_since = cursors_since;
        delivery
    }

    /// What hints should have said.
    pub(crate) fn catch_up(&mut self, state: &ChatState, cursors_since: Option<WallTime>) {
        self.member = state.member();
        self.head = self.head.max(state.head);
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
    pub(crate) fn begin_delivery(&mut self, cx: &mut Cx, states: Vec<ChatState>) {
        let now = cx.now.instant;
        let Stage::Active(session) = &mut self.stage else { return };
        let stated = std::mem::take(&mut session.stated);
        let mut known = BTreeSet::new();
        for state in &states {
            known.insert(state.chat);
            let mut fresh = ChatDelivery::unknown(state.head, state.last_at, now);
            let chat = session.chats.get_mut(&state.chat).unwrap_or(&mut fresh);
            chat.learn(state, stated.get(&state.chat).copied());
            chat.cursors_since = state.moved.then_some(session.receipts_since);
            if chat.owes() {
                session.chats.entry(state.chat).or_insert(fresh);
            }
        }
        let hinted: Vec<ChatId> =
            session.chats.keys().copied().filter(|chat| !known.contains(chat)).collect();
        session.unsynced = Some(session.chats.keys().copied().collect());
        let mut order: Vec<_> = session.chats.iter().map(|(&id, chat)| (Reverse(chat.last_at), id)).collect();
        order.sort_unstable();
        for chat in hinted {
            self.open_chat(cx, chat);
        }
        for (_, chat) in order {
            self.pump(cx, chat);
        }
        self.note_synced(cx);
    }

    fn chat_mut(&mut self, chat: ChatId) -> Option<(&mut Session, LinkId)> {
        let link = self.link;
        match &mut self.stage {
            Stage::Active(session) if session.chats.contains_key(&chat) => Some((session, link)),
            _ => None,
        }
    }

    /// Does the next thing for a chat: reads what is owed, or opens a stream, or sends, or lets go.
    pub(crate) fn pump(&mut self, cx: &mut Cx, chat: ChatId) {
        let now = cx.now.instant;
        let Some((session, link)) = self.chat_mut(chat) else { return };
        let account = session.account;
        let syncing = session.unsynced.as_ref().is_some_and(|unsynced| unsynced.contains(&chat));
        let Some(delivery) = session.chats.get_mut(&chat) else { return };
        if delivery.opening || delivery.backing_off {
            return;
        }
        let mut waits = false;
        if let (Some(since), false) = (delivery.cursors_since, delivery.reading_cursors) {
            if cx.may_read() {
                delivery.reading_cursors = true;
                let op = Op::MemberCursors(MemberCursors { log: LogId::Chat(chat), account, since });
                cx.store(op, Pending::Cursors { link, chat });
            } else {
                waits = true;
            }
        }
        match delivery.down {
            Down::Closed if delivery.is_sendable() => self.want_stream(cx, chat),
            Down::Closed if !delivery.owes() => self.forget(cx, chat),
            Down::Open { stream, full } if delivery.is_sendable() && has_room(full) => {
                delivery.active_at = now;
                waits |= !send_owed(cx, account, (link, stream), chat, delivery);
            }
            Down::Open { stream, full: false } if syncing && !delivery.owes() => {
                finish_down(cx, link, stream, delivery);
            }
            _ => {}
        }
        if waits {
            self.wait_for_turn(cx, chat);
        }
    }

    /// Lets a chat go: it owes nothing, or its account is no longer a member.
    fn forget(&mut self, cx: &mut Cx, chat: ChatId) {
        let link = self.link;
        if let Stage::Active(session) = &mut self.stage {
            session.reads.forget(chat);
            let down = session.chats.remove(&chat).map(|delivery| delivery.down);
            if let Some(Down::Open { stream, .. }) = down {
                // Its end is waited for by the stream alone.
                cx.output(Output::Finish { link, stream });
            }
        }
        self.settle(cx, chat);
    }

    /// A chat that was owed something at `Hello` is no longer.
    fn settle(&mut self, cx: &mut Cx, chat: ChatId) {
        if let Stage::Active(session) = &mut self.stage
            && let Some(unsynced) = &mut session.unsynced
        {
            unsynced.remove(&chat);
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
    chat: ChatId,
    delivered: Seq,
) {
    if mutation::on(Mutation::CursorOnSend) {
        let (log, read) = (LogId::Chat(chat), Seq::ZERO);
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
    chat: ChatId,
    delivery: &mut ChatDelivery,
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
    if delivery.has_entries() && !delivery.tailing {
        if !cx.may_read() {
            return false;
        }
        delivery.tailing = true;
        let (log, member, after) = (LogId::Chat(chat), delivery.member, delivery.sent);
        let (entries_max, bytes_max) = (BURST_ENTRIES_MAX, BURST_BYTES_MAX);
        let tail = Tail { log, account, member, after, entries_max, bytes_max };
        cx.store(Op::Tail(tail), Pending::Tail { link, chat });
    }
    true
}
