//! What a client waits for, and until when.

use std::time::Instant;

use wire::limits;

use super::state::{Phase, Probe, Stream};
use super::{ANSWER_MAX, BACKGROUND_LINGER, CONNECT_TIMEOUT, Client, PROBE_AFTER, SILENCE_MAX};
use crate::io::Now;
use crate::typing::Keys;

impl Client {
    /// When [`Client::handle_timeout`] is next to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Stopped | Phase::Asleep => None,
            Phase::Waiting { at, .. } => Some(at),
            Phase::Connecting { since } | Phase::Early { since } | Phase::Greeting { since, .. } => {
                Some(since + CONNECT_TIMEOUT)
            }
            Phase::Ready { .. } => {
                // Until the device has said who it is, no chat has anything to do.
                let chats = self.chats.values().filter(|_| self.is_identified()).flat_map(|chat| {
                    let idle = chat.up.as_ref().map(|up| up.used_at + limits::CHAT_STREAM_IDLE);
                    let typing = chat.open.as_ref().and_then(Keys::stops_at);
                    let idle = idle.filter(|_| chat.open.is_none());
                    [chat.tell_at, chat.blocked_until, idle, typing, chat.held_ends_at(), chat.group.next()]
                });
                let heartbeat = self.foreground.then_some(self.ping_at);
                let asleep = self.idle_since.map(|since| since + BACKGROUND_LINGER);
                let inbox = self.inbox.next().filter(|_| self.is_identified());
                let own = [
                    self.silence_ends(),
                    heartbeat,
                    asleep,
                    self.shown.next(),
                    self.renew_at,
                    inbox,
                    self.publish_again_at,
                    self.own_devices.again_at,
                ];
                chats.chain(own).flatten().min()
            }
        }
    }

    pub(super) fn silence_ends(&self) -> Option<Instant> {
        let limit = match self.probe {
            Probe::Unsent => PROBE_AFTER,
            Probe::Sent => SILENCE_MAX,
            Probe::Answered => ANSWER_MAX,
        };
        self.silent_since.map(|since| since + limit)
    }

    /// Whether something was asked that is not answered.
    pub(super) fn is_waiting(&self) -> bool {
        let unanswered = |stream: &Stream| match stream {
            Stream::Request { .. } | Stream::Refresh | Stream::Errand { .. } => true,
            Stream::Up { chat } => self.outbox.under_way(*chat) > 0,
            Stream::Session
            | Stream::Down { .. }
            | Stream::Over { .. }
            | Stream::InboxUp
            | Stream::InboxDown => false,
        };
        self.is_ready() && self.streams.values().any(unanswered)
    }

    /// The server is there: whatever is still unanswered may take its time anew.
    pub(super) fn heard(&mut self, now: Now) {
        self.silent_since = self.is_waiting().then_some(now.instant);
        self.probe = Probe::Unsent;
    }

    pub(super) fn expect_answer(&mut self, now: Now) {
        self.silent_since.get_or_insert(now.instant);
    }
}
