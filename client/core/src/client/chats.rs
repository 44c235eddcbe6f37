//! What is heard of chats, and said in them.

use std::time::Duration;

use bytes::Bytes;
use mutation::Mutation;
use wire::event::{Cursor, Event, Kind};
use wire::request::{self, Request};
use wire::{AccountId, ChatId, ClientMsgId, ErrorCode, Refusal, Retry, Role, limits};

use super::entries::Ack;
use super::partial::{Broken, Partial};
use super::plans::direct_chat_id;
use super::{Client, Phase, Stream};
use crate::chat::{Chat, Up};
use crate::group::Stage;
use crate::io::{ClientEvent, Now, Output, StreamTag};
use crate::kept::{ChatRow, Sealed, Write};

impl Client {
    pub(super) fn on_frame(&mut self, stream: StreamTag, body: &Bytes, now: Now) {
        if !matches!(self.phase, Phase::Early { .. } | Phase::Greeting { .. } | Phase::Ready { .. }) {
            return; // Given up already: what is on its way is of no use.
        }
        let Ok(event) = Event::decode(body) else {
            self.close();
            return self.on_lost("the server sent what is no frame".into(), Duration::ZERO, now);
        };
        match self.streams.get_mut(&stream) {
            Some(Stream::Session) => self.on_session(event, now),
            Some(Stream::Request { events, .. }) => events.push(event),
            Some(Stream::Refresh) => self.on_refreshed(stream, event, now),
            Some(&mut Stream::Up { chat }) => self.on_up(chat, stream, event, now),
            Some(Stream::Down { .. }) => self.on_down(stream, event, now),
            Some(Stream::Errand { .. }) => self.on_errand_frame(stream, event),
            Some(Stream::InboxDown) => self.on_inbox_down(event, now),
            // A move that is refused is told again when what it covers comes again.
            Some(Stream::InboxUp) => {}
            Some(&mut Stream::Over { chat }) => {
                if let Event::AppendAck { .. } = event {
                    self.on_up(chat, stream, event, now);
                }
            }
            None => self.on_new_stream(stream, &event, now),
        }
        self.heard(now);
    }

    pub(super) fn on_session(&mut self, event: Event, now: Now) {
        match event {
            Event::Connected(connected) => self.on_connected(&connected, now),
            Event::Refused(refusal) => self.on_hello_refused(refusal, now),
            Event::Goodbye(refusal) => self.on_goodbye(refusal, now),
            Event::Synced { through } => {
                self.receipts_since = self.receipts_since.max(through);
                self.backoff.reset();
                self.persist(Write::ReceiptsSince(self.receipts_since));
                self.notify(ClientEvent::Synced);
            }
            Event::DeviceAdded { name, at, .. } => {
                self.notify(ClientEvent::DeviceAdded { name, at });
                self.list_devices(now);
            }
            _ => {}
        }
    }

    pub(super) fn on_new_stream(&mut self, stream: StreamTag, event: &Event, now: Now) {
        match *event {
            Event::ChatDown { chat, from_seq, peer } => {
                // A chat's id says whose it is: a server that names somebody else is not believed.
                let own = self.own_account();
                self.know_chat(chat, peer.filter(|peer| direct_chat_id(own, *peer) == chat));
                self.streams.insert(stream, Stream::Down { chat, partial: None });
                self.on_begin(chat, from_seq, now);
            }
            Event::InboxDown { from_seq } => self.on_inbox_begin(stream, from_seq),
            _ => self.out.push_back(Output::Abandon { stream }),
        }
    }

    fn on_down(&mut self, stream: StreamTag, event: Event, now: Now) {
        let Some(Stream::Down { chat, partial }) = self.streams.get_mut(&stream) else { return };
        let chat = *chat;
        let event = match Partial::take(partial, event) {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(Broken) => {
                self.close();
                return self.on_lost("the server sent half an entry".into(), Duration::ZERO, now);
            }
        };
        match event {
            Event::Entry(entry) => self.on_entry(chat, entry, now),
            Event::CursorMoved(cursor) => self.on_cursor(chat, cursor),
            Event::Typing { member, typing } => self.on_typing(chat, member, typing, now),
            _ => {}
        }
    }

    pub(super) fn on_cursor(&mut self, chat: ChatId, cursor: Cursor) {
        let mine = self.login.as_ref().is_some_and(|login| login.account == cursor.member);
        if let (true, Some(state)) = (mine, self.chats.get_mut(&chat)) {
            state.read_is_known(cursor.read);
            let (read, delivered, read_known) = (state.read, state.told.0, state.read_known);
            self.persist(Write::Read { chat, read });
            self.persist(Write::Told { chat, delivered, read: read_known });
        }
        let cursor = match self.chats.get_mut(&chat) {
            Some(state) => state.show(cursor),
            None => cursor,
        };
        self.persist(Write::Cursor { chat, cursor: cursor.clone() });
        self.notify(ClientEvent::Cursor { chat, cursor });
    }

    pub(super) fn on_up(&mut self, chat: ChatId, stream: StreamTag, event: Event, now: Now) {
        match event {
            Event::AppendAck { client_msg_id, seq, at, delivered } => {
                self.on_ack(chat, &Ack { client_msg_id, seq, at, delivered }, now);
            }
            Event::AppendRefused { refusal, epoch, .. }
                if matches!(refusal.code, ErrorCode::StaleEpoch | ErrorCode::CommitFirst) =>
            {
                self.on_epoch_refused(chat, stream, refusal, epoch, now);
            }
            Event::AppendRefused { client_msg_id, refusal, .. } => {
                self.on_append_refused(chat, stream, client_msg_id, refusal, now);
            }
            Event::Refused(refusal) => self.on_chat_refused(chat, stream, refusal, now),
            _ => {}
        }
    }

    pub(super) fn on_append_refused(
        &mut self,
        chat: ChatId,
        stream: StreamTag,
        id: ClientMsgId,
        refusal: Refusal,
        now: Now,
    ) {
        match refusal.retry {
            Retry::Never => {
                self.fail(chat, id, refusal);
                self.release(chat, now);
                self.pump_chat(chat, now);
            }
            Retry::After(after) => {
                self.notify(ClientEvent::Delayed { client_msg_id: id, refusal });
                self.end_up(chat, stream, after, now);
            }
            Retry::Reauthenticate => self.on_hello_refused(ErrorCode::TokenExpired.refuse(), now),
        }
    }

    /// The stream itself was refused, or a cursor on it. What cannot succeed fails with everything behind it.
    pub(super) fn on_chat_refused(&mut self, chat: ChatId, stream: StreamTag, refusal: Refusal, now: Now) {
        match refusal.retry {
            Retry::After(after) => self.end_up(chat, stream, after, now),
            Retry::Reauthenticate => self.on_hello_refused(ErrorCode::TokenExpired.refuse(), now),
            _ if refusal.code == ErrorCode::CursorAhead => {}
            _ if refusal.code == ErrorCode::NotMember => self.on_not_member(chat, stream, refusal, now),
            _ => {
                self.fail_all(chat, refusal);
                self.end_up(chat, stream, Duration::ZERO, now);
                self.release(chat, now);
            }
        }
    }

    pub(super) fn fail(&mut self, chat: ChatId, client_msg_id: ClientMsgId, refusal: Refusal) {
        if self.outbox.remove(chat, client_msg_id).is_some() {
            self.persist(Write::Failed { client_msg_id, code: refusal.code });
            self.notify(ClientEvent::Failed { client_msg_id, chat, refusal });
        }
    }

    pub(super) fn know_chat(&mut self, chat: ChatId, peer: Option<AccountId>) {
        let known = self.chats.get(&chat).is_some_and(|state| state.peer.is_some() || peer.is_none());
        if !known {
            let row = ChatRow::new(chat, peer);
            self.chats.entry(chat).or_insert_with(|| Chat::new(&row)).peer = peer;
            self.persist(Write::Chat { chat, peer });
            self.check_group(chat);
        }
    }

    /// It is known only now that a chat is one of two: a group with others in it is not the chat's.
    fn check_group(&mut self, chat: ChatId) {
        if !matches!(self.stage(chat), Stage::Inside(_)) {
            return;
        }
        let accounts: Vec<AccountId> = self.leaves(chat).into_iter().map(|(account, _)| account).collect();
        if !self.fits_chat(chat, &accounts) {
            self.forget_group(chat);
            self.notify(ClientEvent::WelcomeUnreadable { chat });
        }
    }

    /// Sends what waits in a chat, as far as its stream may carry it.
    pub(super) fn pump_chat(&mut self, chat: ChatId, now: Now) {
        if !self.may_send() || !self.outbox.waiting().any(|waiting| waiting == chat) {
            return;
        }
        let peer = self.outbox.peer(chat);
        self.know_chat(chat, peer);
        if !self.may_append(chat, now) {
            return;
        }
        while self.outbox.may_start(chat) {
            let Some(row) = self.outbox.peek_next(chat).cloned() else { break };
            let client_msg_id = row.client_msg_id;
            let Some(Sealed { epoch, content }) = self.sealed(&row, now) else {
                // One that can never leave has failed, and the next one may.
                match self.outbox.peek_next(chat) {
                    Some(next) if next.client_msg_id != client_msg_id => continue,
                    _ => break,
                }
            };
            self.outbox.start_next(chat);
            if mutation::on(Mutation::OutboxForgetsOnSend) {
                self.persist(Write::Cancelled { client_msg_id });
            }
            let stream = self.up_stream(chat, peer, now);
            let append = request::Append { client_msg_id, content, kind: Kind::Unsaid, epoch };
            self.say(stream, &Request::Append(append));
            self.expect_answer(now);
        }
    }

    /// The chat's up stream, opened if there is none.
    pub(super) fn up_stream(&mut self, chat: ChatId, peer: Option<AccountId>, now: Now) -> StreamTag {
        let known_peer = self.chats.get(&chat).and_then(|state| state.peer);
        if let Some(up) = self.chats.get_mut(&chat).and_then(|state| state.up.as_mut()) {
            up.used_at = now.instant;
            return up.stream;
        }
        let stream = self.open(Role::ChatUp, Stream::Up { chat });
        self.say(stream, &Request::ChatUp { chat, peer: peer.or(known_peer) });
        if let Some(state) = self.chats.get_mut(&chat) {
            state.up = Some(Up { stream, used_at: now.instant });
        }
        stream
    }

    /// The chat's stream is over; what was unanswered on it goes again, in order, after a while.
    pub(super) fn end_up(&mut self, chat: ChatId, stream: StreamTag, after: Duration, now: Now) {
        self.finish(stream);
        self.outbox.restart(chat);
        if let Some(state) = self.chats.get_mut(&chat) {
            let due = now.instant + after.max(Duration::from_millis(20));
            state.up = None;
            state.blocked_until = Some(due);
            state.untold(due);
        }
    }

    pub(super) fn tell_due(&mut self, now: Now) {
        if !self.is_identified() {
            return;
        }
        let is_due = |state: &Chat| state.tell_at.is_some_and(|at| at <= now.instant);
        let due: Vec<ChatId> =
            self.chats.iter().filter(|(_, state)| is_due(state)).map(|(&chat, _)| chat).collect();
        for chat in due {
            let stream = self.up_stream(chat, None, now);
            let Some(state) = self.chats.get_mut(&chat) else { continue };
            let (delivered, read) = state.tell(now.instant);
            let read_known = state.read_known;
            self.say(stream, &Request::MoveCursor { delivered, read });
            self.persist(Write::Told { chat, delivered, read: read_known });
        }
    }

    /// Says on every chat's stream that nothing more comes, for an orderly end: the server answers that it has all of it
    /// by finishing too, and then [`Client::is_wound_down`]. Streams with unanswered messages are left alone; no chat is
    /// open on a screen any more.
    pub fn wind_down(&mut self) {
        let mut ended = Vec::new();
        self.open_chats.clear();
        for (&chat, state) in &mut self.chats {
            state.open = None;
            if self.outbox.under_way(chat) == 0 {
                ended.extend(state.up.take());
            }
        }
        ended.into_iter().for_each(|up| self.finish(up.stream));
        if let Some(up) = self.inbox.up.take() {
            self.finish(up.stream);
        }
    }

    /// Whether no chat's stream is open or on its way to its end.
    pub fn is_wound_down(&self) -> bool {
        let is_up =
            |stream: &Stream| matches!(stream, Stream::Up { .. } | Stream::Over { .. } | Stream::InboxUp);
        !self.streams.values().any(is_up)
    }

    /// Finishes our side of a chat's stream; the server's end of it is still to come, and before it the acks that are due.
    pub(super) fn finish(&mut self, stream: StreamTag) {
        if let Some(is) = self.streams.get_mut(&stream)
            && let Stream::Up { chat } = *is
        {
            *is = Stream::Over { chat };
        }
        self.out.push_back(Output::Finish { stream });
    }

    pub(super) fn finish_idle(&mut self, now: Now) {
        let mut idle = Vec::new();
        for (&chat, state) in &mut self.chats {
            let is_idle = |up: &mut Up| up.used_at + limits::CHAT_STREAM_IDLE <= now.instant;
            if state.open.is_some() {
                continue;
            }
            if self.outbox.under_way(chat) == 0 {
                idle.extend(state.up.take_if(is_idle));
            } else if let Some(up) =
                state.up.as_mut().filter(|up| up.used_at + limits::CHAT_STREAM_IDLE <= now.instant)
            {
                up.used_at = now.instant;
            }
        }
        idle.into_iter().for_each(|up| self.finish(up.stream));
    }
}
