//! Hints: what somebody says is new, told on at once where it is the next thing that a session is owed.
//!
//! Invariant: a hint is believed in that there is something to look at, and that the frame it carries is that entry's; what is
//! between is read.

use std::collections::BTreeMap;

use bytes::Bytes;
use mutation::Mutation;
use store::op::MemberCursor;
use wire::{AccountId, ChatId, DeviceId, Seq, WallTime, limits};

use super::{ChatDelivery, Down, confirm_unasked, handed};
use crate::conn::{Conn, Stage, Up};
use crate::cx::Cx;

impl Conn {
    /// A hint: the chat has an entry at `seq`, perhaps with it.
    pub(crate) fn hint_entry(
        &mut self,
        cx: &mut Cx,
        chat: ChatId,
        seq: Seq,
        at: WallTime,
        frame: Option<&Bytes>,
    ) {
        let (now, link) = (cx.now.instant, self.link);
        let Some(session) = self.hinted_session() else { return };
        let Some(delivery) = session.chats.get_mut(&chat) else {
            let mut delivery = ChatDelivery::unknown(seq, at, now);
            delivery.hinted = frame.map(|_| (seq, at));
            session.chats.insert(chat, delivery);
            return self.open_chat(cx, chat);
        };
        if seq > delivery.head {
            // A repeat, which the sweeper's hints often are, makes an old chat no newer than others.
            delivery.head = seq;
            delivery.last_at = delivery.last_at.max(at);
        }
        let follows =
            seq == delivery.sent.next() || seq > delivery.sent && mutation::on(Mutation::HintWithoutReread);
        let next = !delivery.opening && !delivery.tailing && follows;
        if let (Down::Open { stream, full: false }, Some(frame), true) = (delivery.down, frame, next) {
            delivery.sent = seq;
            confirm_unasked(cx, (session.account, session.device), (link, stream), chat, seq);
            delivery.active_at = now;
            delivery.down = Down::Open { stream, full: true };
            handed(cx, Some(at));
            return cx.send_frame(link, stream, frame.clone());
        }
        // The sweeper's hint comes without an entry and says nothing of a commit.
        if frame.is_some() && seq > delivery.sent {
            delivery.hinted.get_or_insert((seq, at));
        }
        self.pump(cx, chat);
    }

    /// A hint: a member's cursors moved.
    pub(crate) fn hint_cursor(&mut self, cx: &mut Cx, chat: ChatId, moved: MemberCursor, except: DeviceId) {
        let now = cx.now;
        let Some(session) = self.hinted_session() else { return };
        if session.device == except {
            return;
        }
        let known = session.chats.contains_key(&chat);
        let unknown = || ChatDelivery::unknown(Seq::ZERO, now.wall, now.instant);
        let delivery = session.chats.entry(chat).or_insert_with(unknown);
        keep_newest(&mut delivery.cursors, moved);
        if known { self.pump(cx, chat) } else { self.open_chat(cx, chat) }
    }

    /// A hint: a member types, or has stopped. Only who has the chat open hears it, and only what goes at once; nobody
    /// hears of oneself, on whichever device.
    pub(crate) fn hint_typing(
        &mut self,
        cx: &mut Cx,
        chat: ChatId,
        member: AccountId,
        typing: bool,
        except: DeviceId,
    ) {
        let is_open = self.streams.values().any(|up| matches!(up, Up::Chat(up) if up.chat() == chat));
        let now = cx.now;
        let Stage::Active(session) = &mut self.stage else { return };
        if !is_open || session.device == except || session.account == member {
            return;
        }
        if cx.is_loaded() {
            cx.counters.typing_dropped += 1;
            return;
        }
        let full = session.downs >= limits::CHAT_DOWN_STREAMS_MAX;
        let known = session.chats.contains_key(&chat);
        let unknown = || ChatDelivery::unknown(Seq::ZERO, now.wall, now.instant);
        let delivery = session.chats.entry(chat).or_insert_with(unknown);
        match delivery.down {
            Down::Open { full: false, .. } => {}
            Down::Closed | Down::Opening if !full => {}
            _ => {
                cx.counters.typing_dropped += 1;
                return;
            }
        }
        delivery.typing.insert(member, typing);
        if known { self.pump(cx, chat) } else { self.open_chat(cx, chat) }
    }
}

pub(super) fn keep_newest(cursors: &mut BTreeMap<AccountId, MemberCursor>, moved: MemberCursor) {
    let kept = cursors.entry(moved.member).or_insert(moved);
    if (moved.delivered, moved.read) >= (kept.delivered, kept.read) {
        *kept = moved;
    }
}
