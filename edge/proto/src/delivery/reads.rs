//! What delivery reads: a chat that it does not know, entries, members' cursors.
//!
//! Invariant: one read of a kind at a time for each chat; one that fails is repeated after a while, and what is owed stays owed.

use std::time::Duration;

use store::op::{ChatState, MemberCursor, NotMember, Op, OpenChat, Tailed};
use wire::ChatId;

use super::hints::keep_newest;
use super::{Down, confirm_unasked, handed};
use crate::conn::{Conn, Stage};
use crate::cx::{Cx, Pending};
use crate::io::EffectError;
use crate::timers::Timer;

impl Conn {
    /// Reads a chat that the session does not know; while the session itself is being read, that read will tell.
    pub(super) fn open_chat(&mut self, cx: &mut Cx, chat: ChatId) {
        let link = self.link;
        let Stage::Active(session) = &self.stage else { return };
        if !cx.may_read() {
            return self.wait_for_turn(cx, chat);
        }
        let (account, device) = (session.account, session.device);
        cx.store(Op::OpenChat(OpenChat { account, device, chat }), Pending::OpenChat { link, chat });
    }

    /// A chat was read.
    pub(crate) fn chat_opened(
        &mut self,
        cx: &mut Cx,
        chat: ChatId,
        result: Result<Result<ChatState, NotMember>, EffectError>,
    ) {
        let Some((session, _)) = self.chat_mut(chat) else { return };
        match result {
            Ok(Ok(state)) => {
                if let Some(delivery) = session.chats.get_mut(&chat) {
                    delivery.learn(&state, None);
                }
                self.pump(cx, chat);
            }
            Ok(Err(NotMember)) => self.forget(cx, chat),
            Err(error) => self.back_off(cx, chat, error),
        }
    }

    /// Entries were read.
    pub(crate) fn tailed(&mut self, cx: &mut Cx, chat: ChatId, result: Result<Tailed, EffectError>) {
        let Some((session, link)) = self.chat_mut(chat) else { return };
        let Some(delivery) = session.chats.get_mut(&chat) else { return };
        delivery.tailing = false;
        let tailed = match result {
            Ok(tailed) => tailed,
            Err(error) => return self.back_off(cx, chat, error),
        };
        delivery.member = tailed.member;
        // Nothing is owed to who has left beyond where they did, whatever hints said.
        delivery.head = match tailed.member {
            Some(_) => delivery.head.max(tailed.head),
            None => tailed.head,
        };
        if let Down::Open { stream, .. } = delivery.down {
            for entry in tailed.entries {
                if entry.seq == delivery.sent.next() {
                    delivery.sent = entry.seq;
                    confirm_unasked(cx, (session.account, session.device), (link, stream), chat, entry.seq);
                    delivery.down = Down::Open { stream, full: true };
                    let hinted = delivery.hinted.take_if(|(seq, _)| *seq <= entry.seq);
                    handed(cx, hinted.filter(|(seq, _)| *seq == entry.seq).map(|(_, at)| at));
                    entry.into_frames().for_each(|frame| cx.send_frame(link, stream, frame));
                }
            }
        }
        self.pump(cx, chat);
    }

    /// Members' cursors were read.
    pub(crate) fn cursors_read(
        &mut self,
        cx: &mut Cx,
        chat: ChatId,
        result: Result<Result<Vec<MemberCursor>, NotMember>, EffectError>,
    ) {
        let Some((session, _)) = self.chat_mut(chat) else { return };
        let Some(delivery) = session.chats.get_mut(&chat) else { return };
        delivery.reading_cursors = false;
        match result {
            Ok(Ok(cursors)) => {
                delivery.cursors_since = None;
                cursors.into_iter().for_each(|moved| keep_newest(&mut delivery.cursors, moved));
                self.pump(cx, chat);
            }
            Ok(Err(NotMember)) => self.forget(cx, chat),
            Err(error) => self.back_off(cx, chat, error),
        }
    }

    /// The store could not be read: what is owed stays owed, and is read again.
    fn back_off(&mut self, cx: &mut Cx, chat: ChatId, error: EffectError) {
        let Some((session, link)) = self.chat_mut(chat) else { return };
        if let Some(delivery) = session.chats.get_mut(&chat) {
            delivery.backing_off = true;
            cx.after(error.retry_after.max(Duration::from_millis(50)), Timer::Chat(link, chat));
        }
    }
}
