//! Hints were lost, nobody knows which: every session looks at the heads and cursors of its chats again
//! (ARCHITECTURE.md, idea 2). It is the read that a session begins with, and it is spread, so that a node full of
//! sessions does not make it all at once.
//!
//! Invariants: a loss that is reported while a session reads is followed by another read. A read that fails is tried
//! again until it succeeds or the session ends. Whatever has moved since the last one that succeeded is read: a loss may be of long
//! before it is reported, as when a link between nodes carried nothing for a while.

use std::time::Duration;

use store::op::{ChatState, DeviceError, Op, OpenSession, SessionState};
use wire::{LogId, WallTime};

use crate::conn::{Conn, Stage};
use crate::cx::{Cx, Pending};
use crate::delivery::LogDelivery;
use crate::io::EffectError;
use crate::session::{RECEIPTS_MARGIN, Session, device_refusal};
use crate::timers::Timer;

/// Sessions look again within this time.
pub(crate) const SPREAD: Duration = Duration::from_secs(5);

/// What a session knows of its chats' heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Heads {
    /// What hints said, and none was lost.
    #[default]
    Known,
    /// They are read when the timer fires.
    Due,
    /// They are being read, as of then; `again` if more was lost since the read was asked for.
    Reading { at: WallTime, again: bool },
}

impl Conn {
    /// Hints were lost: the heads are due after `delay`, unless they are already.
    pub(crate) fn lose_hints(&mut self, cx: &mut Cx, delay: Duration) {
        let link = self.link;
        self.members_changed(None);
        let Some(session) = self.hinted_session() else { return };
        match session.heads {
            Heads::Known => {
                session.heads = Heads::Due;
                cx.after(delay, Timer::Heads(link));
            }
            Heads::Due => {}
            Heads::Reading { at, .. } => session.heads = Heads::Reading { at, again: true },
        }
    }

    /// The heads are due. A session that is still being read cannot tell whether that read saw what was lost.
    pub(crate) fn read_heads(&mut self, cx: &mut Cx) {
        let link = self.link;
        match &mut self.stage {
            Stage::Opening(_) => cx.after(SPREAD, Timer::Heads(link)),
            // It is as large a read as there is: a busy node puts it off, and nothing else finds what was lost.
            Stage::Active(_) if cx.is_busy() => cx.after(SPREAD, Timer::Heads(link)),
            Stage::Active(session) => {
                session.heads = Heads::Reading { at: cx.now.wall, again: false };
                cx.counters.heads_read += 1;
                let (account, device) = (session.account, session.device);
                let receipts_since = session.heads_at - RECEIPTS_MARGIN;
                let op = Op::OpenSession(OpenSession { account, device, receipts_since });
                cx.store(op, Pending::Heads { link });
            }
            _ => {}
        }
    }

    /// The heads are read: whatever is news is owed now.
    pub(crate) fn heads_read(
        &mut self,
        cx: &mut Cx,
        result: Result<Result<SessionState, DeviceError>, EffectError>,
    ) {
        let link = self.link;
        let Stage::Active(session) = &mut self.stage else { return };
        let Heads::Reading { at, again } = session.heads else { return };
        session.heads = if again || result.is_err() { Heads::Due } else { Heads::Known };
        match result {
            Ok(Ok(state)) => {
                let since = std::mem::replace(&mut session.heads_at, at) - RECEIPTS_MARGIN;
                self.hint_inbox(cx, state.inbox.head);
                state.chats.iter().for_each(|chat| self.learn_head(cx, chat, since));
            }
            Ok(Err(error)) => return self.goodbye(cx, device_refusal(error)),
            Err(error) => return cx.after(error.retry_after.max(SPREAD), Timer::Heads(link)),
        }
        if again {
            cx.after(SPREAD, Timer::Heads(link));
        }
    }

    /// `since` is what the read asked for cursors from.
    fn learn_head(&mut self, cx: &mut Cx, state: &ChatState, since: WallTime) {
        let now = cx.now;
        let Stage::Active(session) = &mut self.stage else { return };
        let Session { logs, .. } = &mut **session;
        let since = state.moved.then_some(since);
        let log = LogId::Chat(state.chat);
        match logs.get_mut(&log) {
            Some(delivery) => delivery.catch_up(state, since),
            None if state.head > state.delivered || since.is_some() => {
                let delivery = LogDelivery::at(state, since, now.instant);
                logs.insert(log, delivery);
            }
            None => return,
        }
        self.pump(cx, log);
    }
}
