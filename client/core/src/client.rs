//! The client: one connection at a time, and what goes over it.
//!
//! Life: wait, connect, greet (`Hello`), then be ready until the connection is gone; again after a back-off. A token
//! that has expired is renewed on an anonymous connection in between, and nobody notices.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wire::event::{Connected, Cursor, Entry, Event, Kind};
use wire::limits;
use wire::proof::Exporter;
use wire::request::{self, Request};
use wire::{
    AccountId, ChatId, ClientMsgId, DeviceId, ErrorCode, Refusal, RequestId, Retry, Role, Secret, Seq,
    WallTime,
};

use crate::backoff::Backoff;
use crate::chat::{Arrival, Chat, Up};
use crate::io::{
    Ask, AskId, ChatRow, ClientEvent, Input, Login, Message, Now, OutboxRow, Output, Snapshot, StreamTag,
    Write,
};
use crate::outbox::{OUTBOX_MAX, Outbox};
use crate::tokens::DeviceKey;

/// A connection attempt, greeting included, is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// With something unanswered, this much silence means that the path or the server is gone.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// A token this close to its end is renewed before it is used.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// What a client is made from.
pub struct Config {
    /// Seed of the device's Ed25519 key.
    pub device_key: Secret<[u8; 32]>,
    /// Seed of ids and jitter: from the operating system, or from a simulation.
    pub seed: [u8; 32],
    /// The client's name and version, for people.
    pub name: String,
}

/// Why a message was not taken into the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// [`OUTBOX_MAX`] messages wait already.
    #[error("{OUTBOX_MAX} messages wait to be sent already")]
    OutboxFull,
    /// The sealed content is 64 KiB or more.
    #[error("the message is too long: 64 KiB are too many")]
    TooLarge,
    /// There is nothing in it.
    #[error("the message is empty")]
    Empty,
}

/// A device's side of the protocol. See the [crate] documentation.
pub struct Client {
    name: String,
    key: DeviceKey,
    rng: ChaCha8Rng,
    login: Option<Login>,
    outbox: Outbox,
    chats: BTreeMap<ChatId, Chat>,
    receipts_since: WallTime,
    /// Chats whose entries came with a gap: the next `Hello` states them.
    gaps: BTreeSet<ChatId>,
    asks: BTreeMap<AskId, Ask>,
    asks_made: u64,
    phase: Phase,
    renew: bool,
    renewed_at: Option<Instant>,
    backoff: Backoff,
    streams: BTreeMap<StreamTag, Stream>,
    tags: u64,
    ping_at: Instant,
    /// Since when something is unanswered and nothing was heard.
    silent_since: Option<Instant>,
    out: VecDeque<Output>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Not to connect.
    Stopped,
    /// To connect at a time.
    Waiting { at: Instant },
    /// The handshake is under way.
    Connecting { since: Instant },
    /// `Hello` is said.
    Greeting { since: Instant, exporter: Exporter },
    /// `Hello` is accepted.
    Ready { exporter: Exporter, identified: bool },
}

#[derive(Debug)]
enum Stream {
    Session,
    Request { ask: AskId, events: Vec<Event> },
    Refresh,
    Up { chat: ChatId },
    Down { chat: ChatId },
}

impl Client {
    /// A client with what it kept. It connects when it is [started](Client::start).
    pub fn new(config: &Config, kept: Snapshot, now: Now) -> Client {
        let mut client = Client {
            name: config.name.clone(),
            key: DeviceKey::new(&config.device_key),
            rng: ChaCha8Rng::from_seed(config.seed),
            login: kept.login,
            outbox: Outbox::default(),
            chats: kept.chats.iter().map(|row| (row.chat, Chat::new(row))).collect(),
            receipts_since: kept.receipts_since,
            gaps: BTreeSet::new(),
            asks: BTreeMap::new(),
            asks_made: 0,
            phase: Phase::Stopped,
            renew: false,
            renewed_at: None,
            backoff: Backoff::default(),
            streams: BTreeMap::new(),
            tags: 0,
            ping_at: now.instant,
            silent_since: None,
            out: VecDeque::new(),
        };
        kept.outbox.into_iter().for_each(|row| client.outbox.push(row));
        client
    }

    // ---- what users do ----

    /// Connects, and keeps connecting.
    pub fn start(&mut self, now: Now) {
        if matches!(self.phase, Phase::Stopped) {
            self.phase = Phase::Waiting { at: now.instant };
            self.handle_timeout(now);
        }
    }

    /// Closes the connection and makes no other.
    pub fn stop(&mut self) {
        self.close();
        self.disconnected();
        self.phase = Phase::Stopped;
    }

    /// Who this device is, once it is registered.
    pub fn identity(&self) -> Option<(AccountId, DeviceId)> {
        self.login.as_ref().map(|login| (login.account, login.device))
    }

    /// The device that this client's key makes.
    pub fn device(&self) -> DeviceId {
        self.key.device()
    }

    /// Messages that wait or are under way.
    pub fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    /// Whether `Hello` is accepted.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    /// Whether nothing is left to send or to tell: no message waits, and the server knows every cursor.
    pub fn is_settled(&self) -> bool {
        self.outbox.len() == 0 && self.asks.is_empty() && !self.chats.values().any(Chat::has_news)
    }

    /// Puts a message into the outbox. It leaves when the connection allows, in the order of its chat.
    ///
    /// # Errors
    /// [`SendError`]; nothing was queued.
    pub fn send(
        &mut self,
        chat: ChatId,
        peer: Option<AccountId>,
        content: Bytes,
        now: Now,
    ) -> Result<ClientMsgId, SendError> {
        match content.len() {
            0 => return Err(SendError::Empty),
            1..=limits::CONTENT_BYTES_MAX => {}
            _ => return Err(SendError::TooLarge),
        }
        if self.outbox.len() >= OUTBOX_MAX {
            return Err(SendError::OutboxFull);
        }
        let client_msg_id = ClientMsgId::new(self.id_by_time(now.wall));
        let row = OutboxRow { client_msg_id, chat, peer, content };
        self.persist(Write::Queue(row.clone()));
        self.adopt(row, now);
        Ok(client_msg_id)
    }

    /// Takes a message that is already kept in the outbox, by another process of the same device.
    pub fn adopt(&mut self, row: OutboxRow, now: Now) {
        let chat = row.chat;
        self.outbox.push(row);
        self.pump_chat(chat, now);
    }

    /// Cancels a message that has not left; `false` if it has, or is not there.
    pub fn cancel(&mut self, client_msg_id: ClientMsgId) -> bool {
        let Some(chat) = self.outbox.cancellable(client_msg_id) else { return false };
        self.outbox.remove(chat, client_msg_id);
        self.persist(Write::Cancelled { client_msg_id });
        true
    }

    /// The user has seen everything up to here.
    pub fn mark_read(&mut self, chat: ChatId, seq: Seq, now: Now) {
        let Some(state) = self.chats.get_mut(&chat) else { return };
        if state.mark_read(seq, now.instant) {
            let read = state.read;
            self.persist(Write::Read { chat, read });
            self.tell_due(now);
        }
    }

    /// Asks something; [`ClientEvent::Answer`] follows, after reconnects if need be.
    pub fn ask(&mut self, ask: Ask, now: Now) -> AskId {
        self.asks_made += 1;
        let id = AskId(self.asks_made);
        self.asks.insert(id, ask);
        self.send_ask(id, now);
        id
    }

    /// A fresh idempotency key for a request.
    pub fn request_id(&mut self) -> RequestId {
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        RequestId::new(id)
    }

    // ---- the two doors ----

    /// Takes one input. Drain [`Client::poll_output`] after it.
    pub fn handle_input(&mut self, input: Input, now: Now) {
        match input {
            Input::Connected { exporter } => self.greet(exporter, now),
            Input::Frame { stream, body } => self.on_frame(stream, &body, now),
            Input::Ended { stream } => self.on_ended(stream, now),
            Input::Closed { reason } => self.on_lost(reason, Duration::ZERO, now),
        }
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Now) {
        match self.phase {
            Phase::Stopped => {}
            Phase::Waiting { at } if at <= now.instant => {
                self.phase = Phase::Connecting { since: now.instant };
                self.out.push_back(Output::Connect);
            }
            Phase::Connecting { since } | Phase::Greeting { since, .. }
                if since + CONNECT_TIMEOUT <= now.instant =>
            {
                self.close();
                self.on_lost("the server does not answer".into(), Duration::ZERO, now);
            }
            Phase::Waiting { .. } | Phase::Connecting { .. } | Phase::Greeting { .. } => {}
            Phase::Ready { .. } => self.ready_timeout(now),
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Client::handle_timeout`] is next to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Stopped => None,
            Phase::Waiting { at } => Some(at),
            Phase::Connecting { since } | Phase::Greeting { since, .. } => Some(since + CONNECT_TIMEOUT),
            Phase::Ready { .. } => {
                let silence = self.silent_since.map(|since| since + SILENCE_MAX);
                let chats = self.chats.values().flat_map(|chat| {
                    let idle = chat.up.as_ref().map(|up| up.used_at + limits::CHAT_STREAM_IDLE);
                    [chat.tell_at, chat.blocked_until, idle]
                });
                chats.chain([silence, Some(self.ping_at)]).flatten().min()
            }
        }
    }

    // ---- the connection ----

    fn greet(&mut self, exporter: Exporter, now: Now) {
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
    fn stated_cursors(&self) -> Vec<(ChatId, Seq)> {
        let differs = |(&chat, state): (&ChatId, &Chat)| {
            (state.have > state.told.0 || self.gaps.contains(&chat)).then_some((chat, state.have))
        };
        self.chats.iter().filter_map(differs).take(limits::HELLO_CURSORS_MAX).collect()
    }

    fn on_connected(&mut self, connected: &Connected, now: Now) {
        let Phase::Greeting { since, exporter } = self.phase else { return };
        let identified = connected.identity.is_some();
        self.phase = Phase::Ready { exporter, identified };
        self.ping_at = now.instant + limits::HEARTBEAT_INTERVAL;
        if self.renew && !identified {
            return self.ask_refresh(&exporter, now);
        }
        self.backoff.reset();
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

    fn on_hello_refused(&mut self, refusal: Refusal, now: Now) {
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

    fn login_needed(&mut self, refusal: Refusal) {
        self.stop();
        if matches!(refusal.retry, Retry::Reauthenticate) {
            self.login = None;
            self.persist(Write::LoggedOut);
        }
        self.notify(ClientEvent::LoginNeeded(refusal));
    }

    fn on_goodbye(&mut self, refusal: Refusal, now: Now) {
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
    fn answer_logout(&mut self, now: Now) -> bool {
        let is_logout = |ask: &Ask| matches!(ask, Ask::Plain(Request::Logout));
        let Some(ask) = self.asks.iter().find(|(_, ask)| is_logout(ask)).map(|(&id, _)| id) else {
            return false;
        };
        self.on_answer(ask, vec![Event::Done], now);
        self.stop();
        true
    }

    /// The connection is gone: what was unanswered goes again over the next one.
    fn on_lost(&mut self, reason: String, at_least: Duration, now: Now) {
        if matches!(self.phase, Phase::Stopped | Phase::Waiting { .. }) {
            return;
        }
        self.disconnected();
        let retry_in = self.backoff.next(&mut self.rng, at_least);
        self.phase = Phase::Waiting { at: now.instant + retry_in };
        self.notify(ClientEvent::Disconnected { reason, retry_in });
    }

    fn disconnected(&mut self) {
        self.streams.clear();
        self.silent_since = None;
        self.outbox.restart_all();
        self.chats.values_mut().for_each(Chat::disconnected);
    }

    fn close(&mut self) {
        if !matches!(self.phase, Phase::Stopped | Phase::Waiting { .. }) {
            self.out.push_back(Output::Close);
        }
    }

    fn ready_timeout(&mut self, now: Now) {
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

    // ---- frames ----

    fn on_frame(&mut self, stream: StreamTag, body: &Bytes, now: Now) {
        let Ok(event) = Event::decode(body) else {
            self.close();
            return self.on_lost("the server sent what is no frame".into(), Duration::ZERO, now);
        };
        match self.streams.get_mut(&stream) {
            Some(Stream::Session) => self.on_session(event, now),
            Some(Stream::Request { events, .. }) => events.push(event),
            Some(Stream::Refresh) => self.on_refreshed(stream, event, now),
            Some(&mut Stream::Up { chat }) => self.on_up(chat, stream, event, now),
            Some(&mut Stream::Down { chat }) => self.on_down(chat, event, now),
            None => self.on_new_stream(stream, &event, now),
        }
        self.heard(now);
    }

    fn on_session(&mut self, event: Event, now: Now) {
        match event {
            Event::Connected(connected) => self.on_connected(&connected, now),
            Event::Refused(refusal) => self.on_hello_refused(refusal, now),
            Event::Goodbye(refusal) => self.on_goodbye(refusal, now),
            Event::Synced { through } => {
                self.receipts_since = self.receipts_since.max(through);
                self.persist(Write::ReceiptsSince(self.receipts_since));
                self.notify(ClientEvent::Synced);
            }
            Event::DeviceAdded { name, at, .. } => self.notify(ClientEvent::DeviceAdded { name, at }),
            _ => {}
        }
    }

    fn on_new_stream(&mut self, stream: StreamTag, event: &Event, now: Now) {
        let &Event::ChatDown { chat, from_seq, peer } = event else {
            return self.out.push_back(Output::Abandon { stream });
        };
        self.know_chat(chat, peer);
        self.streams.insert(stream, Stream::Down { chat });
        if self.chats.get(&chat).is_some_and(|state| from_seq > state.have.next()) {
            self.on_gap(chat, now);
        }
    }

    fn on_down(&mut self, chat: ChatId, event: Event, now: Now) {
        match event {
            Event::Entry(entry) => self.on_entry(chat, entry, now),
            Event::CursorMoved(cursor) => self.on_cursor(chat, cursor, now),
            _ => {}
        }
    }

    fn on_entry(&mut self, chat: ChatId, entry: Entry, now: Now) {
        let Some(state) = self.chats.get_mut(&chat) else { return };
        match state.arrive(entry.seq, now.instant) {
            Arrival::Gap => self.on_gap(chat, now),
            Arrival::Repeat => {}
            Arrival::Next => {
                let message = Message {
                    chat,
                    seq: entry.seq,
                    sender: entry.sender,
                    client_msg_id: entry.client_msg_id,
                    at: entry.at,
                    content: entry.content,
                };
                // One's own message may come back before its ack, or instead of one that was lost.
                if self.outbox.remove(chat, entry.client_msg_id).is_some() {
                    self.persist(Write::Sent(message.clone()));
                    self.notify(ClientEvent::Sent(message.clone()));
                }
                self.persist(Write::Arrived(message.clone()));
                self.notify(ClientEvent::Arrived(message));
                // A message that is answered this way makes room for the next.
                self.pump_chat(chat, now);
            }
        }
    }

    /// Entries are missing: the next `Hello` says from where.
    fn on_gap(&mut self, chat: ChatId, now: Now) {
        self.gaps.insert(chat);
        self.close();
        self.on_lost("entries are missing".into(), Duration::ZERO, now);
    }

    fn on_cursor(&mut self, chat: ChatId, cursor: Cursor, _now: Now) {
        let mine = self.login.as_ref().is_some_and(|login| login.account == cursor.member);
        if let (true, Some(state)) = (mine, self.chats.get_mut(&chat)) {
            // Another device of this account has read further.
            state.read = state.read.max(cursor.read.min(state.have));
            state.told.1 = state.told.1.max(cursor.read);
            let read = state.read;
            self.persist(Write::Read { chat, read });
        }
        self.persist(Write::Cursor { chat, cursor: cursor.clone() });
        self.notify(ClientEvent::Cursor { chat, cursor });
    }

    fn on_up(&mut self, chat: ChatId, stream: StreamTag, event: Event, now: Now) {
        match event {
            Event::AppendAck { client_msg_id, seq, at } => self.on_ack(chat, client_msg_id, seq, at, now),
            Event::AppendRefused { client_msg_id, refusal } => {
                self.on_append_refused(chat, stream, client_msg_id, refusal, now);
            }
            Event::Refused(refusal) => self.on_chat_refused(chat, stream, refusal, now),
            _ => {}
        }
    }

    fn on_ack(&mut self, chat: ChatId, client_msg_id: ClientMsgId, seq: Seq, at: WallTime, now: Now) {
        let Some(row) = self.outbox.remove(chat, client_msg_id) else { return };
        let Some((sender, _)) = self.identity() else { return };
        let message = Message { chat, seq, sender, client_msg_id, at, content: row.content };
        self.persist(Write::Sent(message.clone()));
        self.notify(ClientEvent::Sent(message));
        self.pump_chat(chat, now);
    }

    fn on_append_refused(
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
    fn on_chat_refused(&mut self, chat: ChatId, stream: StreamTag, refusal: Refusal, now: Now) {
        match refusal.retry {
            Retry::After(after) => self.end_up(chat, stream, after, now),
            _ if refusal.code == ErrorCode::CursorAhead => {}
            _ => {
                self.outbox.restart(chat);
                while let Some(id) = self.outbox.start_next(chat).map(|row| row.client_msg_id) {
                    self.fail(chat, id, refusal);
                }
                self.end_up(chat, stream, Duration::ZERO, now);
            }
        }
    }

    fn fail(&mut self, chat: ChatId, client_msg_id: ClientMsgId, refusal: Refusal) {
        if self.outbox.remove(chat, client_msg_id).is_some() {
            self.persist(Write::Failed { client_msg_id, code: refusal.code });
            self.notify(ClientEvent::Failed { client_msg_id, chat, refusal });
        }
    }

    // ---- chats ----

    fn know_chat(&mut self, chat: ChatId, peer: Option<AccountId>) {
        let known = self.chats.get(&chat).is_some_and(|state| state.peer.is_some() || peer.is_none());
        if !known {
            let row = ChatRow { chat, peer, have: Seq::ZERO, read: Seq::ZERO, told: (Seq::ZERO, Seq::ZERO) };
            self.chats.entry(chat).or_insert_with(|| Chat::new(&row)).peer = peer;
            self.persist(Write::Chat { chat, peer });
        }
    }

    /// Sends what waits in a chat, as far as its stream may carry it.
    fn pump_chat(&mut self, chat: ChatId, now: Now) {
        if !self.is_identified() || !self.outbox.waiting().any(|waiting| waiting == chat) {
            return;
        }
        let peer = self.outbox.peer(chat);
        self.know_chat(chat, peer);
        if self.chats.get(&chat).is_some_and(|state| state.blocked_until.is_some()) {
            return;
        }
        let stream = self.up_stream(chat, peer, now);
        while self.outbox.may_start(chat) {
            let Some(row) = self.outbox.start_next(chat) else { break };
            let (client_msg_id, content) = (row.client_msg_id, row.content.clone());
            let append = request::Append { client_msg_id, content, kind: Kind::Unsaid };
            self.say(stream, &Request::Append(append));
            self.expect_answer(now);
        }
    }

    /// The chat's up stream, opened if there is none.
    fn up_stream(&mut self, chat: ChatId, peer: Option<AccountId>, now: Now) -> StreamTag {
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
    fn end_up(&mut self, chat: ChatId, stream: StreamTag, after: Duration, now: Now) {
        self.streams.remove(&stream);
        self.out.push_back(Output::Finish { stream });
        self.outbox.restart(chat);
        if let Some(state) = self.chats.get_mut(&chat) {
            state.up = None;
            state.blocked_until = Some(now.instant + after.max(Duration::from_millis(20)));
        }
    }

    fn tell_due(&mut self, now: Now) {
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
            self.say(stream, &Request::MoveCursor { delivered, read });
            self.persist(Write::Told { chat, delivered, read });
        }
    }

    fn finish_idle(&mut self, now: Now) {
        let mut idle = Vec::new();
        for (&chat, state) in &mut self.chats {
            let is_idle = |up: &mut Up| up.used_at + limits::CHAT_STREAM_IDLE <= now.instant;
            if self.outbox.under_way(chat) == 0 {
                idle.extend(state.up.take_if(is_idle));
            } else if let Some(up) =
                state.up.as_mut().filter(|up| up.used_at + limits::CHAT_STREAM_IDLE <= now.instant)
            {
                up.used_at = now.instant;
            }
        }
        for up in idle {
            self.streams.remove(&up.stream);
            self.out.push_back(Output::Finish { stream: up.stream });
        }
    }

    // ---- questions ----

    fn send_ask(&mut self, id: AskId, now: Now) {
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

    fn on_ended(&mut self, stream: StreamTag, now: Now) {
        match self.streams.remove(&stream) {
            Some(Stream::Request { ask, events }) => self.on_answer(ask, events, now),
            Some(Stream::Up { chat }) => self.end_up(chat, stream, Duration::ZERO, now),
            Some(Stream::Session | Stream::Refresh) => {
                self.close();
                self.on_lost("the server ended the session".into(), Duration::ZERO, now);
            }
            Some(Stream::Down { .. }) | None => {}
        }
        self.heard(now);
    }

    fn on_answer(&mut self, ask: AskId, events: Vec<Event>, now: Now) {
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
            self.reconnect_at_once(now);
        }
        self.notify(ClientEvent::Answer { ask, events });
    }

    fn ask_refresh(&mut self, exporter: &Exporter, now: Now) {
        let Some(login) = &self.login else { return };
        let request = self.key.refresh(exporter, login);
        let stream = self.open(Role::Request, Stream::Refresh);
        self.say(stream, &request);
        self.out.push_back(Output::Finish { stream });
        self.expect_answer(now);
    }

    fn on_refreshed(&mut self, stream: StreamTag, event: Event, now: Now) {
        self.streams.remove(&stream);
        match (event, self.login.take()) {
            (Event::Refreshed(tokens), Some(login)) => {
                let renewed = login.renewed(tokens, self.request_id());
                self.login = Some(renewed.clone());
                self.persist(Write::Login(renewed));
                self.renew = false;
                self.renewed_at = Some(now.instant);
                self.reconnect_at_once(now);
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

    fn reconnect_at_once(&mut self, now: Now) {
        self.close();
        self.disconnected();
        self.phase = Phase::Waiting { at: now.instant };
    }

    // ---- small things ----

    fn renewed_lately(&self, now: Now) -> bool {
        self.renewed_at.is_some_and(|at| now.instant < at + RENEW_BEFORE)
    }

    fn is_identified(&self) -> bool {
        matches!(self.phase, Phase::Ready { identified: true, .. })
    }

    /// Whether something was asked that is not answered.
    fn is_waiting(&self) -> bool {
        let unanswered = |stream: &Stream| match stream {
            Stream::Request { .. } | Stream::Refresh => true,
            Stream::Up { chat } => self.outbox.under_way(*chat) > 0,
            Stream::Session | Stream::Down { .. } => false,
        };
        self.is_ready() && self.streams.values().any(unanswered)
    }

    /// The server is there: whatever is still unanswered may take its time anew.
    fn heard(&mut self, now: Now) {
        self.silent_since = self.is_waiting().then_some(now.instant);
    }

    fn expect_answer(&mut self, now: Now) {
        self.silent_since.get_or_insert(now.instant);
    }

    fn session_stream(&self) -> Option<StreamTag> {
        self.streams.iter().find(|(_, stream)| matches!(stream, Stream::Session)).map(|(&tag, _)| tag)
    }

    fn open(&mut self, role: Role, is: Stream) -> StreamTag {
        self.tags += 1;
        let stream = StreamTag(self.tags);
        self.streams.insert(stream, is);
        self.out.push_back(Output::Open { stream, role });
        stream
    }

    fn say(&mut self, stream: StreamTag, request: &Request) {
        self.out.push_back(Output::Send { stream, frame: request.encode() });
    }

    fn persist(&mut self, write: Write) {
        self.out.push_back(Output::Persist(write));
    }

    fn notify(&mut self, event: ClientEvent) {
        self.out.push_back(Output::Notify(event));
    }

    /// A random id that sorts by the time it was made.
    fn id_by_time(&mut self, wall: WallTime) -> [u8; 16] {
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        id[..6].copy_from_slice(&wall.as_millis().to_be_bytes()[2..]);
        id
    }
}
