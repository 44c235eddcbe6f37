//! The connection's life: greet, be accepted or refused, lose it, come back.

use std::time::Duration;

use wire::event::{Connected, Event};
use wire::proof::Exporter;
use wire::request::{self, Request};
use wire::{ChatId, ErrorCode, Refusal, Retry, Role, Seq, limits};

use super::{Client, Phase, RENEW_BEFORE, SILENCE_MAX, Stream};
use crate::chat::Chat;
use crate::io::{Ask, AskId, ClientEvent, Now, Output, Write};

impl Client {
    pub(super) fn greet(&mut self, exporter: Exporter, now: Now) {
        let Phase::Connecting { since } = self.phase else { return };
        self.phase = Phase::Greeting { since, exporter };
        let ends_soon =
            self.login.as_ref().is_some_and(|login| login.access_expires <= now.wall + RENEW_BEFORE);
        self.renew |= ends_soon && !self.renewed_lately(now);
        let identified = self.login.is_some() && !self.renew;
        let credentials = self.login.as_ref().filter(|_| identified);
        let hello = request::Hello {
            version: wire::VERSION,
            credentials: credentials.map(|login| self.key.credentials(&exporter, &login.access)),
            receipts_since: self.receipts_since,
            cursors: if identified { self.stated_cursors() } else { Vec::new() },
            client: self.name.clone(),
        };
        let stream = self.open(Role::Session, Stream::Session);
        self.say(stream, &Request::Hello(hello));
    }

    /// Cursors that the server may not know: it is told where this device is, not where it was.
    pub(super) fn stated_cursors(&self) -> Vec<(ChatId, Seq)> {
        let differs = |(&chat, state): (&ChatId, &Chat)| {
            (state.have > state.told.0 || self.gaps.contains(&chat)).then_some((chat, state.have))
        };
        self.chats.iter().filter_map(differs).take(limits::HELLO_CURSORS_MAX).collect()
    }

    pub(super) fn on_connected(&mut self, connected: &Connected, now: Now) {
        let Phase::Greeting { since, exporter } = self.phase else { return };
        let identified = connected.identity.is_some();
        self.phase = Phase::Ready { exporter, identified };
        self.ping_at = now.instant + limits::HEARTBEAT_INTERVAL;
        if self.renew && !identified {
            return self.ask_refresh(&exporter, now);
        }
        if !identified {
            self.backoff.reset();
        }
        self.gaps.clear();
        self.notify(ClientEvent::Connected { took: now.instant - since });
        let asks: Vec<AskId> = self.asks.keys().copied().collect();
        asks.into_iter().for_each(|ask| self.send_ask(ask, now));
        if identified {
            for chat in self.chats.values_mut().filter(|chat| chat.has_news()) {
                chat.tell_at = Some(now.instant);
            }
            let waiting: Vec<ChatId> = self.outbox.waiting().collect();
            waiting.into_iter().for_each(|chat| self.pump_chat(chat, now));
            self.tell_due(now);
        }
    }

    pub(super) fn on_hello_refused(&mut self, refusal: Refusal, now: Now) {
        match refusal.retry {
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
        if matches!(self.phase, Phase::Stopped | Phase::Waiting { .. }) {
            return;
        }
        self.disconnected();
        let retry_in = self.backoff.next(&mut self.rng, at_least);
        self.phase = Phase::Waiting { at: now.instant + retry_in };
        self.notify(ClientEvent::Disconnected { reason, retry_in });
    }

    pub(super) fn disconnected(&mut self) {
        self.streams.clear();
        self.silent_since = None;
        self.outbox.restart_all();
        self.chats.values_mut().for_each(Chat::disconnected);
    }

    pub(super) fn close(&mut self) {
        if !matches!(self.phase, Phase::Stopped | Phase::Waiting { .. }) {
            self.out.push_back(Output::Close);
        }
    }

    pub(super) fn ready_timeout(&mut self, now: Now) {
        if self.silent_since.is_some_and(|since| since + SILENCE_MAX <= now.instant) {
            self.close();
            return self.on_lost("no answer".into(), Duration::ZERO, now);
        }
        if self.ping_at <= now.instant {
            self.ping_at = now.instant + limits::HEARTBEAT_INTERVAL;
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
        self.tell_due(now);
        self.finish_idle(now);
    }
}
