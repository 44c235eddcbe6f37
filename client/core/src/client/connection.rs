//! The connection's life: greet, be accepted or refused, lose it, come back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wire::event::{Connected, Event};
use wire::proof::Exporter;
use wire::request::{self, Credentials, Request};
use wire::{ChatId, ErrorCode, Refusal, Retry, Role, Seq, limits};

use super::{Client, EARLY_PAUSE, HEARTBEAT_GRID, Phase, Probe, RENEW_BEFORE, Stream};
use crate::chat::Chat;
use crate::io::{Ask, AskId, ClientEvent, Now, Output};
use crate::kept::Write;

impl Client {
    pub(super) fn connect(&mut self, now: Now) {
        self.phase = Phase::Connecting { since: now.instant };
        let may = self.early_after.is_none_or(|at| at <= now.instant);
        let early = self.login.is_some() && !self.renew && may;
        self.out.push_back(Output::Connect { early });
        self.notify(ClientEvent::Connecting);
    }

    /// Says `Hello` and what waits in the first flight. A token that has only expired is good enough for it.
    pub(super) fn greet_early(&mut self, now: Now) {
        let Phase::Connecting { since } = self.phase else { return };
        if self.renew {
            return;
        }
        let Some(login) = &self.login else { return };
        let credentials = self.key.early_credentials(&login.access, &self.server_name, now.wall);
        self.phase = Phase::Early { since };
        self.say_hello(Some(credentials));
        self.pump_all(now);
    }

    /// The handshake is complete. What was said early stands, or everything begins anew.
    pub(super) fn on_handshake(&mut self, exporter: Exporter, early: Option<bool>, now: Now) {
        match self.phase {
            Phase::Connecting { since } => self.greet(since, exporter, now),
            Phase::Early { since } if early == Some(true) => {
                self.phase = Phase::Greeting { since, exporter, identified: true, early: true };
            }
            Phase::Early { since } => {
                self.disconnected();
                self.greet(since, exporter, now);
            }
            _ => {}
        }
    }

    /// Whether `Hello` was said as early data on this connection.
    fn is_early(&self) -> bool {
        matches!(self.phase, Phase::Early { .. } | Phase::Greeting { early: true, .. })
    }

    fn greet(&mut self, since: Instant, exporter: Exporter, now: Now) {
        let ends_soon =
            self.login.as_ref().is_some_and(|login| login.access_expires <= now.wall + RENEW_BEFORE);
        self.renew |= ends_soon && !self.renewed_lately(now);
        let identified = self.login.is_some() && !self.renew;
        self.phase = Phase::Greeting { since, exporter, identified, early: false };
        let login = self.login.as_ref().filter(|_| identified);
        let credentials = login.map(|login| self.key.credentials(&exporter, &login.access));
        self.say_hello(credentials);
        // The server reads nothing before it has accepted `Hello`, and then at once: no round trip is waited for.
        self.pump_all(now);
    }

    fn say_hello(&mut self, credentials: Option<Credentials>) {
        let hello = request::Hello {
            version: wire::VERSION,
            cursors: if credentials.is_some() { self.stated_cursors() } else { Vec::new() },
            credentials,
            receipts_since: self.receipts_since,
            client: self.name.clone(),
        };
        let stream = self.open(Role::Session, Stream::Session);
        self.say(stream, &Request::Hello(hello));
    }

    fn pump_all(&mut self, now: Now) {
        let waiting: Vec<ChatId> = self.outbox.waiting().collect();
        waiting.into_iter().for_each(|chat| self.pump_chat(chat, now));
    }

    /// Cursors that the server may have otherwise: it is told where this device is, not where it was, nor where it would
    /// be with the answers that it has not heard: a lost ack may have moved the stored one over own messages. First those
    /// that would make a gap. A device that has nothing of a chat yet does not know where it begins.
    pub(super) fn stated_cursors(&self) -> Vec<(ChatId, Seq)> {
        let begun = |chat: &ChatId| self.chats.get(chat).is_some_and(|state| state.have > Seq::ZERO);
        let untold = self.chats.iter().filter(|(_, state)| state.have > state.told.0).map(|(&chat, _)| chat);
        let all = self.gaps.iter().copied().chain(self.outbox.unsure().filter(begun)).chain(untold);
        let mut stated = BTreeMap::new();
        for chat in all {
            if let Some(state) = self.chats.get(&chat) {
                stated.insert(chat, state.have);
            }
            if stated.len() == limits::HELLO_CURSORS_MAX {
                break;
            }
        }
        stated.into_iter().collect()
    }

    pub(super) fn on_connected(&mut self, connected: &Connected, now: Now) {
        let Phase::Greeting { since, exporter, early, .. } = self.phase else { return };
        let identified = connected.identity.is_some();
        self.phase = Phase::Ready { exporter, identified };
        self.ping_at = next_heartbeat(now);
        self.server_time = Some((connected.server_time, now.wall));
        let left = connected.token_expires.saturating_since(connected.server_time);
        self.renew_at = identified.then(|| now.instant + left.saturating_sub(RENEW_BEFORE));
        if connected.refresh {
            self.ask_refresh(&exporter, now);
            self.renew_at = None;
        }
        if self.renew && !identified {
            return self.ask_refresh(&exporter, now);
        }
        if !identified {
            self.backoff.reset();
        }
        self.stated = std::mem::take(&mut self.gaps);
        self.notify(ClientEvent::Connected { took: now.instant - since, early });
        let asks: Vec<AskId> = self.asks.keys().copied().collect();
        asks.into_iter().for_each(|ask| self.send_ask(ask, now));
        if identified {
            self.publish_if_few(connected.key_packages, now);
            self.list_devices_if_old(now);
            for chat in self.chats.values_mut().filter(|chat| chat.has_news()) {
                chat.tell_at = Some(now.instant);
            }
            self.pump_all(now);
            self.work_due(now);
            self.tell_due(now);
            self.keep_open(now);
        }
        self.note_idle(now);
    }

    pub(super) fn on_hello_refused(&mut self, refusal: Refusal, now: Now) {
        match refusal.retry {
            _ if refusal.code == ErrorCode::EarlyRefused && self.is_early() => {
                // The clock, the name or a rate: none of them mends itself at once, and a full handshake needs none.
                self.early_after = Some(now.instant + EARLY_PAUSE);
                self.reconnect_at_once(now);
            }
            Retry::Reauthenticate if refusal.code == ErrorCode::TokenExpired => {
                let again = self.renewed_lately(now);
                self.renew = true;
                if again {
                    // A token that ends as soon as it is made: not as fast as the server answers.
                    self.close();
                    self.on_lost(refusal.to_string(), Duration::ZERO, now);
                } else {
                    self.reconnect_at_once(now);
                }
            }
            Retry::Reauthenticate | Retry::Never => self.login_needed(refusal),
            Retry::After(after) => {
                self.close();
                self.on_lost(refusal.to_string(), after, now);
            }
        }
    }

    pub(super) fn login_needed(&mut self, refusal: Refusal) {
        self.stop();
        if matches!(refusal.retry, Retry::Reauthenticate) {
            self.login = None;
            self.persist(Write::LoggedOut);
        }
        self.notify(ClientEvent::LoginNeeded(refusal));
    }

    pub(super) fn on_goodbye(&mut self, refusal: Refusal, now: Now) {
        match (refusal.code, refusal.retry) {
            (ErrorCode::SessionReplaced, _) => {
                self.stop();
                self.notify(ClientEvent::Replaced);
            }
            (_, Retry::After(after)) => {
                self.close();
                self.on_lost(refusal.code.text().into(), after, now);
            }
            // The device is still one: it renews its token and comes back.
            (ErrorCode::TokenExpired, _) => self.on_hello_refused(refusal, now),
            (ErrorCode::TokenRevoked, _) if self.answer_logout(now) => {}
            _ => self.login_needed(refusal),
        }
    }

    /// The device was ended because this client asked for it: that is the answer, whether or not another one comes.
    pub(super) fn answer_logout(&mut self, now: Now) -> bool {
        let is_logout = |ask: &Ask| matches!(ask, Ask::Plain(Request::Logout));
        let Some(ask) = self.asks.iter().find(|(_, ask)| is_logout(ask)).map(|(&id, _)| id) else {
            return false;
        };
        self.on_answer(ask, vec![Event::Done], now);
        self.stop();
        true
    }

    /// The connection is gone: what was unanswered goes again over the next one.
    pub(super) fn on_lost(&mut self, reason: String, at_least: Duration, now: Now) {
        if matches!(self.phase, Phase::Stopped | Phase::Asleep | Phase::Waiting { .. }) {
            return;
        }
        self.disconnected();
        if !self.foreground && self.is_settled() {
            // Nobody looks and nothing waits: there is no reason to come back before there is one.
            return self.sleep();
        }
        let retry_in = self.backoff.next(&mut self.rng, at_least);
        self.phase = Phase::Waiting { at: now.instant + retry_in, not_before: now.instant + at_least };
        self.notify(ClientEvent::Disconnected { reason, retry_in });
    }

    pub(super) fn disconnected(&mut self) {
        self.inbox.disconnected();
        self.publish_again_at = None;
        self.own_devices.again_at = None;
        self.streams.clear();
        self.silent_since = None;
        self.probe = Probe::Unsent;
        self.idle_since = None;
        self.renew_at = None;
        self.show_nobody();
        self.outbox.restart_all();
        self.chats.values_mut().for_each(Chat::disconnected);
    }

    pub(super) fn close(&mut self) {
        if !matches!(self.phase, Phase::Stopped | Phase::Asleep | Phase::Waiting { .. }) {
            self.out.push_back(Output::Close);
        }
    }

    pub(super) fn ready_timeout(&mut self, now: Now) {
        if self.silence_ends().is_some_and(|at| at <= now.instant) {
            if self.probe != Probe::Unsent {
                self.close();
                return self.on_lost("no answer".into(), Duration::ZERO, now);
            }
            self.probe = Probe::Sent;
            self.out.push_back(Output::Probe);
        }
        if self.foreground && self.ping_at <= now.instant {
            self.ping_at = next_heartbeat(now);
            if let Some(session) = self.session_stream() {
                self.say(session, &Request::Ping { client_time: now.wall });
                self.expect_answer(now);
            }
        }
        let unblocked = |(&id, chat): (&ChatId, &mut Chat)| {
            chat.blocked_until.take_if(|until| *until <= now.instant).map(|_| id)
        };
        let unblocked: Vec<ChatId> = self.chats.iter_mut().filter_map(unblocked).collect();
        unblocked.into_iter().for_each(|chat| self.pump_chat(chat, now));
        if self.give_up_held(now) {
            return;
        }
        self.renew_due(now);
        self.work_due(now);
        self.inbox_due(now);
        self.ask_again_due(now);
        self.tell_due(now);
        self.keep_open(now);
        self.typing_due(now);
        self.finish_idle(now);
        self.sleep_if_idle(now);
    }

    /// Renews a token that ends soon on the connection itself.
    fn renew_due(&mut self, now: Now) {
        let Phase::Ready { exporter, identified: true } = self.phase else { return };
        if self.renew_at.take_if(|at| *at <= now.instant).is_some() && !self.renewed_lately(now) {
            self.ask_refresh(&exporter, now);
        }
    }
}

/// The last multiple of the grid that is at most one interval away.
fn next_heartbeat(now: Now) -> Instant {
    let grid = HEARTBEAT_GRID.as_millis() as u64;
    let past = Duration::from_millis((now.wall + limits::HEARTBEAT_INTERVAL).as_millis() % grid);
    now.instant + limits::HEARTBEAT_INTERVAL - past
}
