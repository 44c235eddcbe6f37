//! Logs' down streams: opened when something is owed, the inbox first, then newest activity, and finished when the log is quiet or
//! another one needs the room.

use std::cmp::Reverse;
use std::time::Duration;

use wire::{CloseCode, Event, LogId, limits};

use super::{Down, LogDelivery};
use crate::conn::{Conn, Stage};
use crate::cx::Cx;
use crate::io::{LinkId, Output, StreamId};
use crate::session::Session;
use crate::timers::Timer;

impl Conn {
    pub(super) fn want_stream(&mut self, cx: &mut Cx, log: LogId) {
        let Some((session, link)) = self.log_mut(log) else { return };
        let Some(delivery) = session.logs.get_mut(&log) else { return };
        session.waiting.insert((Reverse(delivery.last_at), log));
        if session.downs >= limits::CHAT_DOWN_STREAMS_MAX {
            return finish_an_idle_one(cx, link, session);
        }
        self.open_waiting(cx);
    }

    pub(super) fn open_waiting(&mut self, cx: &mut Cx) {
        let link = self.link;
        let Stage::Active(session) = &mut self.stage else { return };
        while session.downs < limits::CHAT_DOWN_STREAMS_MAX {
            let Some((_, log)) = session.waiting.pop_first() else { return };
            let Some(delivery) = session.logs.get_mut(&log) else { continue };
            if delivery.down == Down::Closed && delivery.is_sendable() {
                delivery.down = Down::Opening;
                session.downs += 1;
                cx.output(Output::OpenDown { link, log });
            }
        }
    }

    /// The driver opened a log's stream, or the peer allows no more now.
    pub(crate) fn down_opened(&mut self, cx: &mut Cx, log: LogId, stream: Option<StreamId>) {
        let (now, link) = (cx.now.instant, self.link);
        let Stage::Active(session) = &mut self.stage else { return };
        let Some(delivery) = session.logs.get_mut(&log) else {
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
            session.waiting.insert((Reverse(delivery.last_at), log));
            return finish_an_idle_one(cx, link, session);
        };
        session.streams.insert(stream, log);
        delivery.down = Down::Open { stream, full: false };
        delivery.active_at = now;
        cx.send(link, stream, &begins(log, delivery));
        cx.after(limits::CHAT_STREAM_IDLE, Timer::Log(link, log));
        self.pump(cx, log);
    }

    /// The peer allows more streams.
    pub(crate) fn streams_available(&mut self, cx: &mut Cx) {
        self.open_waiting(cx);
    }

    /// A stream takes more.
    pub(crate) fn drained(&mut self, cx: &mut Cx, stream: StreamId) {
        let Stage::Active(session) = &mut self.stage else { return };
        let Some(&log) = session.streams.get(&stream) else { return };
        if self.send_rest(cx, log, stream) {
            return;
        }
        let Stage::Active(session) = &mut self.stage else { return };
        let delivery = session.logs.get_mut(&log);
        if let Some(Down::Open { full, .. }) = delivery.map(|delivery| &mut delivery.down) {
            *full = false;
        }
        self.pump(cx, log);
    }

    /// A log's timer: a failed read is repeated, an idle stream is finished.
    pub(crate) fn log_timer(&mut self, cx: &mut Cx, log: LogId) {
        let now = cx.now.instant;
        let Some((session, link)) = self.log_mut(log) else { return };
        let Some(delivery) = session.logs.get_mut(&log) else { return };
        if std::mem::take(&mut delivery.backing_off) {
            return if delivery.opening { self.open_log(cx, log) } else { self.pump(cx, log) };
        }
        let Down::Open { stream, full } = delivery.down else { return };
        let idle_at = delivery.active_at + limits::CHAT_STREAM_IDLE;
        if idle_at <= now && !full && !delivery.owes() {
            finish_down(cx, link, stream, delivery);
        } else {
            cx.timers.at(idle_at.max(now + Duration::from_secs(1)), Timer::Log(link, log));
        }
    }

    /// A stream's end was acknowledged: another may be opened, and a log that owes nothing is let go.
    pub(crate) fn down_delivered(&mut self, cx: &mut Cx, stream: StreamId) {
        let Stage::Active(session) = &mut self.stage else { return };
        if let Some(log) = session.streams.remove(&stream) {
            session.downs -= 1;
            if let Some(delivery) = session.logs.get_mut(&log) {
                delivery.down = Down::Closed;
            }
            self.open_waiting(cx);
            self.pump(cx, log);
        }
    }

    /// The client does not want a log's stream: what is owed waits for the next hint or session.
    pub(crate) fn down_reset(&mut self, cx: &mut Cx, stream: StreamId) {
        let link = self.link;
        let Stage::Active(session) = &mut self.stage else { return };
        let Some(log) = session.streams.remove(&stream) else { return };
        cx.output(Output::Reset { link, stream, code: CloseCode::Cancelled });
        session.downs -= 1;
        session.reads.forget(log);
        session.large.give_up(log);
        session.logs.remove(&log);
        self.open_waiting(cx);
        self.settle(cx, log);
        self.next_large(cx);
    }
}

/// The first frame of a log's stream.
fn begins(log: LogId, delivery: &LogDelivery) -> Event {
    let from_seq = delivery.sent.next();
    match log {
        LogId::Chat(chat) | LogId::Call(chat) => Event::ChatDown { chat, from_seq, peer: delivery.peer },
        LogId::Device(_) => Event::InboxDown { from_seq },
    }
}

pub(super) fn finish_down(cx: &mut Cx, link: LinkId, stream: StreamId, delivery: &mut LogDelivery) {
    delivery.down = Down::Finishing { stream };
    cx.output(Output::Finish { link, stream });
}

/// All streams are in use and another log is owed something: the one that was idle longest makes room.
fn finish_an_idle_one(cx: &mut Cx, link: LinkId, session: &mut Session) {
    let idle =
        session.logs.values_mut().filter(|d| matches!(d.down, Down::Open { full: false, .. }) && !d.owes());
    if let Some(delivery) = idle.min_by_key(|d| d.active_at) {
        let Down::Open { stream, .. } = delivery.down else { return };
        finish_down(cx, link, stream, delivery);
    }
}
