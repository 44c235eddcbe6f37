//! Reads for delivery take turns: a part of what a node may have in work is theirs, and what finds no room waits.
//!
//! What waits is a chat's id in its session and the session's place in a line, no more: connections take turns, in the
//! order in which they came, a chat at a time, so that somebody with thousands of chats holds nobody else up.
//! Invariant: somebody waits only while reads are in work, and each that finishes calls the next.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use wire::ChatId;

use crate::conn::{Conn, Stage};
use crate::cx::Cx;
use crate::io::LinkId;

/// The connections with chats that wait for a read, in line. Bounded by the connections.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    line: BTreeMap<u64, LinkId>,
    next: u64,
    /// Whoever is called may begin although others wait.
    called: bool,
}

/// What of one session waits for a read. Bounded by its chats.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    chats: BTreeSet<ChatId>,
    /// The one that was called last: the next follows it, and then from the beginning.
    last: Option<ChatId>,
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
    /// A chat is gone.
    pub(crate) fn forget(&mut self, chat: ChatId) {
        self.chats.remove(&chat);
    }

    fn take(&mut self) -> Option<ChatId> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let chat = *self.chats.range((after, Bound::Unbounded)).next().or(self.chats.first())?;
        self.chats.remove(&chat);
        self.last = Some(chat);
        Some(chat)
    }
}

impl Conn {
    /// A chat's read finds no room: it waits for its turn.
    pub(super) fn wait_for_turn(&mut self, cx: &mut Cx, chat: ChatId) {
        let link = self.link;
        if let Stage::Active(session) = &mut self.stage {
            session.reads.chats.insert(chat);
            session.reads.place.get_or_insert_with(|| cx.turns.join(link));
        }
    }

    /// It is the connection's turn: one of its chats goes on, and it goes to the end of the line if more of them wait.
    pub(crate) fn take_turn(&mut self, cx: &mut Cx) {
        let link = self.link;
        let Stage::Active(session) = &mut self.stage else { return };
        session.reads.place = None;
        let Some(chat) = session.reads.take() else { return };
        if !session.reads.chats.is_empty() {
            session.reads.place = Some(cx.turns.join(link));
        }
        match session.chats.get(&chat) {
            Some(delivery) if delivery.opening => self.open_chat(cx, chat),
            Some(_) => self.pump(cx, chat),
            None => {}
        }
    }
}
