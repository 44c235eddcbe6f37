//! Whether somebody looks: foreground and background, chats that are open, and who types in them.

use wire::request::Request;
use wire::{AccountId, ChatId};

use super::{BACKGROUND_LINGER, Client, OPEN_CHATS_MAX, PROBE_AFTER, Phase, Probe};
use crate::io::{ClientEvent, Now, Output};

impl Client {
    /// Says whether the app is in the foreground; it is at the start. In the background no heartbeat is sent, and the
    /// connection is closed when nothing is left to do: a phone's radio then sleeps, a push or the next message wakes it,
    /// and early data makes the return cheap (G24). In the foreground a lost connection is tried again at
    /// once, unless the server asked for time.
    pub fn set_foreground(&mut self, foreground: bool, now: Now) {
        if std::mem::replace(&mut self.foreground, foreground) == foreground {
            return;
        }
        if foreground {
            self.idle_since = None;
            self.ping_at = self.ping_at.max(now.instant);
            self.wake(now);
            self.hurry(now);
        }
        self.note_idle(now);
        self.handle_timeout(now);
    }

    /// Time has passed that this process did not see, or the network has changed: the connection may be dead without a
    /// word. It is probed at once, and a connection that was waited for is tried at once.
    pub fn suspect(&mut self, now: Now) {
        match self.phase {
            Phase::Waiting { .. } => self.hurry(now),
            // A probe that is under way is not asked anew: a dead path would never be left.
            Phase::Ready { .. } if self.probe != Probe::Sent => {
                self.silent_since = now.instant.checked_sub(PROBE_AFTER).or(Some(now.instant));
                self.probe = Probe::Unsent;
            }
            _ => {}
        }
        self.handle_timeout(now);
    }

    /// The device has another address (Wi-Fi to cellular). The connection goes on over the new path, if there is one: what
    /// the server sends would go to the old address until it hears from the new one.
    pub fn network_changed(&mut self, now: Now) {
        if matches!(self.phase, Phase::Ready { .. } | Phase::Greeting { .. } | Phase::Early { .. }) {
            self.out.push_back(Output::Moved);
        }
        self.suspect(now);
    }

    /// The user opens a chat: its stream is kept, and typing in it is told and heard until it is [closed](Self::close_chat).
    /// `peer` is needed until a 1:1 chat exists.
    pub fn open_chat(&mut self, chat: ChatId, peer: Option<AccountId>, now: Now) {
        self.know_chat(chat, peer);
        if let Some(state) = self.chats.get_mut(&chat) {
            state.open.get_or_insert_default();
        }
        if !self.open_chats.contains(&chat) {
            self.open_chats.push_back(chat);
        }
        while self.open_chats.len() > OPEN_CHATS_MAX {
            self.close_chat(self.open_chats[0], now);
        }
        self.keep_open(now);
    }

    /// The user leaves a chat.
    pub fn close_chat(&mut self, chat: ChatId, now: Now) {
        self.open_chats.retain(|&open| open != chat);
        let keys = self.chats.get_mut(&chat).and_then(|state| state.open.take());
        if keys.is_some_and(|mut keys| keys.stop()) {
            self.tell_typing(chat, false, now);
        }
    }

    /// A key was pressed in an open chat. The server is told at most every three seconds, and of the end by itself.
    pub fn typing(&mut self, chat: ChatId, now: Now) {
        let is_identified = self.is_identified();
        let Some(keys) = self.chats.get_mut(&chat).and_then(|state| state.open.as_mut()) else { return };
        if is_identified && keys.pressed(now.instant) {
            self.tell_typing(chat, true, now);
        }
    }

    /// Waits no longer than the server asked for.
    fn hurry(&mut self, now: Now) {
        if let Phase::Waiting { at, not_before } = &mut self.phase {
            *at = now.instant.max(*not_before).min(*at);
        }
    }

    /// Comes back from sleep, if there is a reason to.
    pub(super) fn wake(&mut self, now: Now) {
        if matches!(self.phase, Phase::Asleep) {
            self.phase = Phase::Waiting { at: now.instant, not_before: now.instant };
            self.backoff.reset();
            self.handle_timeout(now);
        }
    }

    pub(super) fn sleep(&mut self) {
        self.phase = Phase::Asleep;
        self.notify(ClientEvent::Asleep);
    }

    /// Notes since when a client in the background has nothing to do.
    pub(super) fn note_idle(&mut self, now: Now) {
        let idle = !self.foreground && self.is_ready() && self.is_settled() && !self.is_waiting();
        self.idle_since = if idle { self.idle_since.or(Some(now.instant)) } else { None };
    }

    pub(super) fn sleep_if_idle(&mut self, now: Now) {
        self.note_idle(now);
        if self.idle_since.is_some_and(|since| since + BACKGROUND_LINGER <= now.instant) {
            self.close();
            self.disconnected();
            self.sleep();
        }
    }

    /// Chats that are open have a stream, as soon as there can be one.
    pub(super) fn keep_open(&mut self, now: Now) {
        if !self.is_identified() {
            return;
        }
        for chat in self.open_chats.clone() {
            let wanting = |state: &crate::chat::Chat| state.up.is_none() && state.blocked_until.is_none();
            if self.chats.get(&chat).is_some_and(wanting) {
                self.up_stream(chat, None, now);
            }
        }
    }

    /// Ends what this person has ended by pressing no key, and what others have by saying nothing more.
    pub(super) fn typing_due(&mut self, now: Now) {
        for chat in self.open_chats.clone() {
            let Some(keys) = self.chats.get_mut(&chat).and_then(|state| state.open.as_mut()) else {
                continue;
            };
            if keys.stops_at().is_some_and(|at| at <= now.instant) && keys.stop() {
                self.tell_typing(chat, false, now);
            }
        }
        for (chat, member) in self.shown.take_due(now.instant) {
            self.notify(ClientEvent::Typing { chat, member, typing: false });
        }
    }

    pub(super) fn on_typing(&mut self, chat: ChatId, member: AccountId, typing: bool, now: Now) {
        if self.shown.set(chat, member, typing, now.instant) {
            self.notify(ClientEvent::Typing { chat, member, typing });
        }
    }

    pub(super) fn show_nobody(&mut self) {
        for (chat, member) in self.shown.take_all() {
            self.notify(ClientEvent::Typing { chat, member, typing: false });
        }
    }

    fn tell_typing(&mut self, chat: ChatId, typing: bool, now: Now) {
        if !self.is_identified() {
            return;
        }
        let is_blocked = self.chats.get(&chat).is_some_and(|state| state.blocked_until.is_some());
        if !is_blocked {
            let stream = self.up_stream(chat, None, now);
            self.say(stream, &Request::Typing { typing });
        }
    }
}
