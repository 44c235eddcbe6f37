//! What delivery reads: a chat that it does not know, entries, members' cursors.
//!
//! Invariant: one read of a kind at a time for each log; one that fails is repeated after a while, and what is owed stays owed.

use std::time::Duration;

use store::op::{ChatState, MemberCursor, NotMember, Op, OpenChat, Tailed};
use wire::{LogId, Seq};

use super::hints::keep_newest;
use super::{Down, LogDelivery, confirm_unasked, finish_down, handed};
use crate::conn::{Conn, Stage};
use crate::cx::{Cx, Pending};
use crate::io::{EffectError, LinkId};
use crate::session::Session;
use crate::timers::Timer;

impl Conn {
    /// Reads a log that the session does not know; while the session itself is being read, that read will tell. Of its
    /// inbox an active session always knows enough.
    pub(super) fn open_log(&mut self, cx: &mut Cx, log: LogId) {
        let link = self.link;
        let Stage::Active(session) = &self.stage else { return };
        let LogId::Chat(chat) = log else { return self.pump(cx, log) };
        if !cx.may_read() {
            return self.wait_for_turn(cx, log);
        }
        let (account, device) = (session.account, session.device);
        cx.store(Op::OpenChat(OpenChat { account, device, chat }), Pending::OpenChat { link, log });
    }

    /// A chat was read.
    pub(crate) fn chat_opened(
        &mut self,
        cx: &mut Cx,
        log: LogId,
        result: Result<Result<ChatState, NotMember>, EffectError>,
    ) {
        let Some((session, link)) = self.log_mut(log) else { return };
        match result {
            Ok(Ok(state)) => {
                if let Some(delivery) = session.logs.get_mut(&log) {
                    let before = delivery.sent;
                    delivery.learn(&state, None);
                    begin_anew(cx, link, delivery, before);
                }
                self.pump(cx, log);
            }
            Ok(Err(NotMember)) => self.forget(cx, log),
            Err(error) => self.back_off(cx, log, error),
        }
    }

    /// Entries were read.
    pub(crate) fn tailed(&mut self, cx: &mut Cx, log: LogId, result: Result<Tailed, EffectError>) {
        if let Some((session, link)) = self.log_mut(log) {
            match result {
                Ok(tailed) => {
                    send_tailed(cx, session, link, log, tailed);
                    self.pump(cx, log);
                }
                Err(error) => {
                    if let Some(delivery) = session.logs.get_mut(&log) {
                        delivery.tailing = false;
                    }
                    self.back_off(cx, log, error);
                }
            }
        }
        self.next_large(cx);
    }

    /// Members' cursors were read.
    pub(crate) fn cursors_read(
        &mut self,
        cx: &mut Cx,
        log: LogId,
        result: Result<Result<Vec<MemberCursor>, NotMember>, EffectError>,
    ) {
        let Some((session, _)) = self.log_mut(log) else { return };
        let Some(delivery) = session.logs.get_mut(&log) else { return };
        delivery.reading_cursors = false;
        match result {
            Ok(Ok(cursors)) => {
                delivery.cursors_since = None;
                if !delivery.ended {
                    cursors.into_iter().for_each(|moved| keep_newest(&mut delivery.cursors, moved));
                }
                self.pump(cx, log);
            }
            Ok(Err(NotMember)) => {
                // What of the log is still owed, the next tail says.
                delivery.stands(None, delivery.head);
                self.pump(cx, log);
            }
            Err(error) => self.back_off(cx, log, error),
        }
    }

    /// The store could not be read: what is owed stays owed, and is read again.
    fn back_off(&mut self, cx: &mut Cx, log: LogId, error: EffectError) {
        let Some((session, link)) = self.log_mut(log) else { return };
        if let Some(delivery) = session.logs.get_mut(&log) {
            delivery.backing_off = true;
            cx.after(error.retry_after.max(Duration::from_millis(50)), Timer::Log(link, log));
        }
    }
}

/// Sends what was read, as far as it follows what was sent.
fn send_tailed(cx: &mut Cx, session: &mut Session, link: LinkId, log: LogId, tailed: Tailed) {
    let Session { logs, large, account, device, .. } = session;
    let Some(delivery) = logs.get_mut(&log) else { return };
    let (Tailed { entries, head, member }, before) = (tailed, delivery.sent);
    delivery.tailing = false;
    delivery.stands(member, head);
    // It has joined again meanwhile, and may not have what lies between.
    delivery.sent = member.map_or(before, |member| before.max(member.joined));
    begin_anew(cx, link, delivery, before);
    let Down::Open { stream, .. } = delivery.down else { return };
    for mut entry in entries {
        if entry.seq != delivery.sent.next() {
            continue;
        }
        let goes_on = !entry.parts.is_empty();
        if goes_on && !large.begin(log, &mut entry.parts) {
            return;
        }
        delivery.sent = entry.seq;
        confirm_unasked(cx, (*account, *device), (link, stream), log, entry.seq);
        delivery.down = Down::Open { stream, full: true };
        let hinted = delivery.hinted.take_if(|(seq, _)| *seq <= entry.seq);
        handed(cx, hinted.filter(|(seq, _)| *seq == entry.seq).map(|(_, at)| at));
        cx.send_frame(link, stream, entry.frame);
        if goes_on {
            return;
        }
    }
}

/// What is to be sent begins further on than the stream that is open says: the next one says it.
fn begin_anew(cx: &mut Cx, link: LinkId, delivery: &mut LogDelivery, before: Seq) {
    if let Down::Open { stream, .. } = delivery.down
        && delivery.sent > before
    {
        finish_down(cx, link, stream, delivery);
    }
}
