//! A chat's down streams: opened when something is owed, newest activity first, and finished when the chat is quiet or
//! another one needs the room.

use std::cmp::Reverse;
use std::time::Duration;

use wire::{ChatId, CloseCode, Event, limits};

use super::{ChatDelivery, Down};
use crate::conn::{Conn, Stage};
use crate::cx::Cx;
use crate::io::{LinkId, Output, StreamId};
use crate::session::Session;
use crate::timers::Timer;

impl Conn {
    pub(super) fn want_stream(&mut self, cx: &mut Cx, chat: ChatId) {
        let Some((session, link)) = self.chat_mut(chat) else { return };
        let Some(delivery) = session.chats.get_mut(&chat) else { return };
        session.waiting.insert((Reverse(delivery.last_at), chat));
        if session.downs >= limits::CHAT_DOWN_STREAMS_MAX {
            return finish_an_idle_one(cx, link, session);
        }
        self.open_waiting(cx);
    }

    pub(super) fn open_waiting(&mut self, cx: &mut Cx) {
        let link = self.link;
        let Stage::Active(session) = &mut self.stage else { return };
        while session.downs < limits::CHAT_DOWN_STREAMS_MAX {
            let Some((_, chat)) = session.waiting.pop_first() else { return };
            let Some(delivery) = session.chats.get_mut(&chat) else { continue };
            if delivery.down == Down::Closed && delivery.is_sendable() {
                delivery.down = Down::Opening;
                session.downs += 1;
                cx.output(Output::OpenDown { link, chat });
            }
        }
    }

    /// The driver opened a chat's stream, or the peer allows no more now.
    pub(crate) fn down_opened(&mut self, cx: &mut Cx, chat: ChatId, stream: Option<StreamId>) {
        let (now, link) = (cx.now.instant, self.link);
        let Stage::Active(session) = &mut self.stage else { return };
        let Some(delivery) = session.chats.get_mut(&chat) else {
            // Forgotten meanwhile.
            session.downs -= 1;
            if let Some(stream) = stream {
                cx.output(Output::Reset { link, stream, code: CloseCode::Cancelled });
            }
            return self.open_waiting(cx);
        };
        let Some(stream) = stream else {
            delivery.down = Down::Closed;
            session.downs -= 1;
            session.waiting.insert((Reverse(delivery.last_at), chat));
            return finish_an_idle_one(cx, link, session);
        };
        session.streams.insert(stream, chat);
        delivery.down = Down::Open { stream, full: false };
        delivery.active_at = now;
        let from_seq = delivery.sent.next();
        cx.send(link, stream, &Event::ChatDown { chat, from_seq, peer: delivery.peer });
        cx.after(limits::CHAT_STREAM_IDLE, Timer::Chat(link, chat));
        self.pump(cx, chat);
    }

    /// The peer allows more streams.
    pub(crate) fn streams_available(&mut self, cx: &mut Cx) {
        self.open_waiting(cx);
    }

    /// A stream takes more.
    pub(crate) fn drained(&mut self, cx: &mut Cx, stream: StreamId) {
        let Stage::Active(session) = &mut self.stage else { return };
        let Some(&chat) = session.streams.get(&stream) else { return };
        let delivery = session.chats.get_mut(&chat);
        if let Some(Down::Open { full, .. }) = delivery.map(|delivery| &mut delivery.down) {
            *full = false;
        }
        self.pump(cx, chat);
    }

    /// A chat's timer: a failed read is repeated, an idle stream is finished.
    pub(crate) fn chat_timer(&mut self, cx: &mut Cx, chat: ChatId) {
        let now = cx.now.instant;
        let Some((session, link)) = self.chat_mut(chat) else { return };
        let Some(delivery) = session.chats.get_mut(&chat) else { return };
        if std::mem::take(&mut delivery.backing_off) {
            return if delivery.opening { self.open_chat(cx, chat) } else { self.pump(cx, chat) };
        }
        let Down::Open { stream, full } = delivery.down else { return };
        let idle_at = delivery.active_at + limits::CHAT_STREAM_IDLE;
        if idle_at <= now && !full && !delivery.owes() {
            finish_down(cx, link, stream, delivery);
        } else {
            cx.timers.at(idle_at.max(now + Duration::from_secs(1)), Timer::Chat(link, chat));
        }
    }

    /// A stream's end was acknowledged: another may be opened, and a chat that owes nothing is let go.
    pub(crate) fn down_delivered(&mut self, cx: &mut Cx, stream: StreamId) {
        let Stage::Active(session) = &mut self.stage else { return };
        if let Some(chat) = session.streams.remove(&stream) {
            session.downs -= 1;
            if let Some(delivery) = session.chats.get_mut(&chat) {
                delivery.down = Down::Closed;
            }
            self.open_waiting(cx);
            self.pump(cx, chat);
        }
    }

    /// The client does not want a chat's stream: what is owed waits for the next hint or session.
    pub(crate) fn down_reset(&mut self, cx: &mut Cx, stream: StreamId) {
        let link = self.link;
        let Stage::Active(session) = &mut self.stage else { return };
        let Some(chat) = session.streams.remove(&stream) else { return };
        cx.output(Output::Reset { link, stream, code: CloseCode::Cancelled });
        session.downs -= 1;
        session.reads.forget(chat);
        session.chats.remove(&chat);
        self.open_waiting(cx);
        self.settle(cx, chat);
    }
}

pub(super) fn finish_down(cx: &mut Cx, link: LinkId, stream: StreamId, delivery: &mut ChatDelivery) {
    delivery.down = Down::Finishing { stream };
    cx.output(Output::Finish { link, stream });
}

/// All streams are in use and another chat is owed something: the one that was idle longest makes room.
fn finish_an_idle_one(cx: &mut Cx, link: LinkId, session: &mut Session) {
    let idle =
        session.chats.values_mut().filter(|d| matches!(d.down, Down::Open { full: false, .. }) && !d.owes());
    if let Some(delivery) = idle.min_by_key(|d| d.active_at) {
        let Down::Open { stream, .. } = delivery.down else { return };
        finish_down(cx, link, stream, delivery);
    }
}
