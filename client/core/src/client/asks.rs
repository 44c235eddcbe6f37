//! Questions and their answers, the device's own among them: a new login, new tokens.

use std::time::Duration;

use wire::event::Event;
use wire::proof::Exporter;
use wire::request::Request;
use wire::{Refusal, Retry, Role};

use super::{Client, Phase, RENEW_BEFORE, Stream};
use crate::io::{Ask, AskId, ClientEvent, Now, Output, StreamTag};
use crate::kept::{Login, Write};

/// A renewal that the server had no time for is asked for again after this, or later if the server says so.
const RENEW_AGAIN_MIN: Duration = Duration::from_secs(5);

impl Client {
    pub(super) fn send_ask(&mut self, id: AskId, now: Now) {
        let Phase::Ready { exporter, .. } = self.phase else { return };
        let Some(ask) = self.asks.get(&id) else { return };
        let request = match ask.clone() {
            Ask::Plain(request) => request,
            Ask::Verify { registration, otp, device_name } => {
                self.key.verify(&exporter, registration, otp, device_name)
            }
        };
        let stream = self.open(Role::Request, Stream::Request { ask: id, events: Vec::new() });
        self.say(stream, &request);
        self.out.push_back(Output::Finish { stream });
        self.expect_answer(now);
    }

    pub(super) fn on_ended(&mut self, stream: StreamTag, now: Now) {
        match self.streams.remove(&stream) {
            Some(Stream::Request { ask, events }) => self.on_answer(ask, events, now),
            Some(Stream::Errand { errand, events }) => self.on_errand(errand, events, now),
            Some(Stream::InboxUp) => self.inbox_up_ended(stream),
            Some(Stream::Up { chat }) => self.end_up(chat, stream, Duration::ZERO, now),
            // Its answer has come, or it is asked for again with the next connection.
            Some(Stream::Refresh) if self.is_identified() => {}
            Some(Stream::Session | Stream::Refresh) => {
                self.close();
                self.on_lost("the server ended the session".into(), Duration::ZERO, now);
            }
            Some(Stream::Down { .. } | Stream::Over { .. } | Stream::InboxDown) | None => {}
        }
        self.heard(now);
    }

    pub(super) fn on_answer(&mut self, ask: AskId, events: Vec<Event>, now: Now) {
        let asked = self.asks.remove(&ask);
        if let (Some(Ask::Plain(Request::Logout)), [Event::Done]) = (asked, &events[..]) {
            self.login = None;
            self.persist(Write::LoggedOut);
        }
        if let [Event::Verified(verified)] = &events[..] {
            let refresh_request = self.request_id();
            let tokens = verified.tokens.clone();
            let login = Login {
                account: verified.account,
                device: verified.device,
                access: tokens.access,
                access_expires: tokens.access_expires,
                refresh: tokens.refresh,
                refresh_request,
            };
            self.login = Some(login.clone());
            self.persist(Write::Login(login));
            self.begin_anew();
            self.reconnect_at_once(now);
        }
        self.notify(ClientEvent::Answer { ask, events });
    }

    pub(super) fn ask_refresh(&mut self, exporter: &Exporter, now: Now) {
        let Some(login) = &self.login else { return };
        let request = self.key.refresh(exporter, login);
        let stream = self.open(Role::Request, Stream::Refresh);
        self.say(stream, &request);
        self.out.push_back(Output::Finish { stream });
        self.expect_answer(now);
    }

    pub(super) fn on_refreshed(&mut self, stream: StreamTag, event: Event, now: Now) {
        self.streams.remove(&stream);
        match (event, self.login.take()) {
            (Event::Refreshed(tokens), Some(login)) => {
                let renewed = login.renewed(tokens, self.request_id());
                self.login = Some(renewed.clone());
                let left = renewed.access_expires.saturating_since(self.server_now(now));
                self.persist(Write::Login(renewed));
                self.renew = false;
                self.renewed_at = Some(now.instant);
                if self.is_identified() {
                    self.renew_at = Some(now.instant + left.saturating_sub(RENEW_BEFORE).max(RENEW_BEFORE));
                } else {
                    self.reconnect_at_once(now);
                }
            }
            (Event::Refused(Refusal { retry: Retry::After(after), .. }), login) if self.is_identified() => {
                // The connection is good without it: a server that is busy is not made busier by another one.
                self.login = login;
                self.renew_at = Some(now.instant + after.max(RENEW_AGAIN_MIN));
            }
            (Event::Refused(refusal), login) => {
                self.login = login;
                self.on_hello_refused(refusal, now);
            }
            (_, login) => {
                self.login = login;
                self.close();
                self.on_lost("the refresh was not answered".into(), Duration::from_secs(1), now);
            }
        }
    }

    pub(super) fn reconnect_at_once(&mut self, now: Now) {
        self.close();
        self.disconnected();
        self.phase = Phase::Waiting { at: now.instant, not_before: now.instant };
    }
}
