//! The client: one connection at a time, and what goes over it.
//!
//! Life: wait, connect, greet (`Hello`), then be ready until the connection is gone; again after a back-off. With a server
//! that is remembered, `Hello` and what waits in the outbox leave in the first flight. A token that ends soon is renewed
//! on the connection, and so is one that has expired if early data was taken; else it is renewed on an anonymous connection
//! in between, and nobody notices. In the background
//! the connection is let go when nothing is left to do.

mod asks;
mod chats;
mod commits;
mod connection;
mod devices;
mod entries;
mod errands;
mod groups;
mod inbox;
mod opening;
mod packages;
mod partial;
mod plans;
mod presence;
mod sealing;
mod state;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client_crypto::{CONTENT_BYTES_MAX, Kv};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wire::limits;
use wire::request::Request;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, RequestId, Role, Secret, Seq, WallTime};

use crate::backoff::Backoff;
use crate::chat::Chat;
use crate::crypto::Crypto;
use crate::group::Groups;
use crate::inbox::Inbox;
use crate::io::{Ask, AskId, ClientEvent, Input, Now, Output, StreamTag};
use crate::kept::{ChatRow, KeyPackages, Login, MlsRow, OutboxRow, Snapshot, Write};
use crate::outbox::{OUTBOX_MAX, Outbox};
use crate::tokens::DeviceKey;
use crate::typing::Shown;

use self::devices::OwnDevices;
pub use self::plans::GroupError;
use self::state::{Phase, Probe, Stream};

/// A connection attempt, greeting included, is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// With something unanswered, this much silence makes the path suspect: it is probed.
const PROBE_AFTER: Duration = Duration::from_secs(2);

/// A path that answers no probe by then, counted from the beginning of the silence, is dead.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// On a path that is alive, a server that answers nothing for this long is given up.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// In the background, a connection with nothing left to do is kept for this long: an answer may come.
const BACKGROUND_LINGER: Duration = Duration::from_secs(5);

/// Heartbeats fall on multiples of this, so that a device that keeps several connections wakes its radio once.
const HEARTBEAT_GRID: Duration = Duration::from_secs(5);

/// Early data that the server did not take is not tried again for this long: clocks and names do not mend themselves.
const EARLY_PAUSE: Duration = Duration::from_secs(600);

/// Chats that may be open on a screen at a time; the one opened first makes room.
const OPEN_CHATS_MAX: usize = 8;

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
    /// Whom its servers are taken for: the name their certificates are judged by. Early data is signed for it.
    pub server_name: String,
    /// Key packages made and published at a time, at most [`limits::KEY_PACKAGES_PUBLISHED_MAX`]; again when fewer than half
    /// of them are left, or a quarter of what the server stores.
    pub key_packages: usize,
}

/// Why a message was not taken into the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// [`OUTBOX_MAX`] messages wait already.
    #[error("{OUTBOX_MAX} messages wait to be sent already")]
    OutboxFull,
    /// The content is larger than [`CONTENT_BYTES_MAX`].
    #[error("the message is too long: {CONTENT_BYTES_MAX} bytes are the most")]
    TooLarge,
    /// There is nothing in it.
    #[error("the message is empty")]
    Empty,
}

/// A device's side of the protocol. See the [crate] documentation.
pub struct Client {
    name: String,
    server_name: String,
    key: DeviceKey,
    key_seed: Secret<[u8; 32]>,
    crypto: Crypto,
    groups: Groups,
    inbox: Inbox,
    own_devices: OwnDevices,
    key_packages: KeyPackages,
    key_packages_batch: usize,
    /// The server was too busy to take them: they are published again then.
    publish_again_at: Option<Instant>,
    rng: ChaCha8Rng,
    login: Option<Login>,
    outbox: Outbox,
    chats: BTreeMap<ChatId, Chat>,
    receipts_since: WallTime,
    /// Chats whose entries came with a gap: the next `Hello` states them.
    gaps: BTreeSet<ChatId>,
    /// Those that this connection's `Hello` has stated for that reason.
    stated: BTreeSet<ChatId>,
    asks: BTreeMap<AskId, Ask>,
    asks_made: u64,
    phase: Phase,
    renew: bool,
    renewed_at: Option<Instant>,
    /// When the access token is to be renewed on the connection.
    renew_at: Option<Instant>,
    /// Until then no early data is tried: the server did not take it, for the clock, the name, or a rate.
    early_after: Option<Instant>,
    /// The server's time, and ours when it said so.
    server_time: Option<(WallTime, WallTime)>,
    backoff: Backoff,
    foreground: bool,
    /// In the background: since when nothing is left to do.
    idle_since: Option<Instant>,
    open_chats: VecDeque<ChatId>,
    shown: Shown,
    streams: BTreeMap<StreamTag, Stream>,
    tags: u64,
    ping_at: Instant,
    /// Since when something is unanswered and nothing was heard.
    silent_since: Option<Instant>,
    probe: Probe,
    out: VecDeque<Output>,
}

impl Client {
    /// A client with what it kept; `kv` answers from the rows of MLS state among it, then and later. It connects when it is
    /// [started](Client::start).
    pub fn new(config: &Config, kept: Snapshot, kv: Box<dyn Kv + Send>, now: Now) -> Client {
        let mut client = Client {
            name: config.name.clone(),
            server_name: config.server_name.clone(),
            key: DeviceKey::new(&config.device_key),
            key_seed: config.device_key.clone(),
            crypto: Crypto::new(kv),
            groups: Groups::new(kept.commits, kept.plans),
            inbox: Inbox::new(kept.inbox),
            own_devices: OwnDevices::new(kept.own_devices),
            key_packages: kept.key_packages,
            key_packages_batch: config.key_packages.clamp(1, limits::KEY_PACKAGES_PUBLISHED_MAX),
            publish_again_at: None,
            rng: ChaCha8Rng::from_seed(config.seed),
            login: kept.login,
            outbox: Outbox::default(),
            chats: kept.chats.iter().map(|row| (row.chat, Chat::new(row))).collect(),
            receipts_since: kept.receipts_since,
            gaps: BTreeSet::new(),
            stated: BTreeSet::new(),
            asks: BTreeMap::new(),
            asks_made: 0,
            phase: Phase::Stopped,
            renew: false,
            renewed_at: None,
            renew_at: None,
            early_after: None,
            server_time: None,
            backoff: Backoff::default(),
            foreground: true,
            idle_since: None,
            open_chats: VecDeque::new(),
            shown: Shown::default(),
            streams: BTreeMap::new(),
            tags: 0,
            ping_at: now.instant,
            silent_since: None,
            probe: Probe::Unsent,
            out: VecDeque::new(),
        };
        for row in kept.outbox {
            client.outbox.push_kept(row);
        }
        for chat in client.groups.under_way() {
            client
                .chats
                .entry(chat)
                .or_insert_with(|| Chat::new(&ChatRow::new(chat, None)))
                .group
                .due(now.instant);
        }
        client.begin_crypto();
        client
    }

    /// It is known whose device this is.
    fn begin_crypto(&mut self) {
        let Some(login) = &self.login else { return };
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        self.crypto.login(login.account, &self.key_seed, seed);
    }

    /// A registration is a new beginning, whatever the device was before: no group has it, nobody has its key packages, and
    /// its inbox is empty. What it has read stays.
    fn begin_anew(&mut self) {
        self.begin_crypto();
        let chats: Vec<ChatId> = self.chats.keys().copied().collect();
        chats.into_iter().for_each(|chat| self.forget_group(chat));
        let have = Seq::ZERO;
        if self.inbox.have > have {
            self.inbox = Inbox::new(have);
            self.persist(Write::Inbox { have });
        }
        if self.key_packages != KeyPackages::default() {
            self.keep_key_packages(KeyPackages::default());
        }
        self.own_devices_unseen();
        self.own_devices = OwnDevices::default();
    }

    // ---- what users do ----

    /// Connects, and keeps connecting.
    pub fn start(&mut self, now: Now) {
        if matches!(self.phase, Phase::Stopped) {
            self.phase = Phase::Waiting { at: now.instant, not_before: now.instant };
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
        self.outbox.len() == 0
            && self.asks.is_empty()
            && !self.chats.values().any(Chat::has_news)
            && self.groups.under_way().is_empty()
            && !self.inbox.has_news()
    }

    /// Whether others can encrypt for this device: the server has said that it has its key packages.
    pub fn is_reachable(&self) -> bool {
        self.key_packages.publishing.is_none() && self.key_packages.last_resort_until > WallTime(0)
    }

    /// The other account of a 1:1 chat.
    pub fn peer(&self, chat: ChatId) -> Option<AccountId> {
        self.chats.get(&chat).and_then(|state| state.peer)
    }

    /// Whether nothing that has come waits for something else to be readable: no welcome is still to be seen to.
    pub fn is_caught_up(&self) -> bool {
        self.inbox.first().is_none()
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
            1..=CONTENT_BYTES_MAX => {}
            _ => return Err(SendError::TooLarge),
        }
        if self.outbox.len() >= OUTBOX_MAX {
            return Err(SendError::OutboxFull);
        }
        let client_msg_id = ClientMsgId::new(self.id_by_time(now.wall));
        let row = OutboxRow { client_msg_id, chat, peer, content, sealed: None };
        self.persist(Write::Queue(row.clone()));
        self.adopt(row, now);
        Ok(client_msg_id)
    }

    /// Takes a message that is already kept in the outbox, by another process of the same device. One that is here
    /// already is left as it is.
    pub fn adopt(&mut self, row: OutboxRow, now: Now) {
        let chat = row.chat;
        if self.outbox.push(row) {
            if let Some(keys) = self.chats.get_mut(&chat).and_then(|state| state.open.as_mut()) {
                // The message itself says that the person types no more.
                keys.stop();
            }
            self.wake(now);
            self.pump_chat(chat, now);
        }
    }

    /// Cancels a message that has not left; `false` if it has, may have by an earlier process, or is not there.
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
            self.wake(now);
            self.tell_due(now);
        }
    }

    /// Asks something; [`ClientEvent::Answer`] follows, after reconnects if need be.
    pub fn ask(&mut self, ask: Ask, now: Now) -> AskId {
        self.asks_made += 1;
        let id = AskId(self.asks_made);
        self.asks.insert(id, ask);
        self.wake(now);
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
            Input::Early => self.greet_early(now),
            Input::Connected { exporter, early } => self.on_handshake(exporter, early, now),
            Input::Frame { stream, body } => self.on_frame(stream, &body, now),
            Input::Ended { stream } => self.on_ended(stream, now),
            Input::Alive => {
                if self.probe == Probe::Sent {
                    self.probe = Probe::Answered;
                }
                if !self.is_waiting() {
                    self.heard(now);
                }
            }
            Input::Closed { reason } => self.on_lost(reason, Duration::ZERO, now),
        }
        self.note_idle(now);
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Now) {
        match self.phase {
            Phase::Stopped | Phase::Asleep => {}
            Phase::Waiting { at, .. } if at <= now.instant => self.connect(now),
            Phase::Connecting { since } | Phase::Early { since } | Phase::Greeting { since, .. }
                if since + CONNECT_TIMEOUT <= now.instant =>
            {
                self.close();
                self.on_lost("the server does not answer".into(), Duration::ZERO, now);
            }
            Phase::Waiting { .. }
            | Phase::Connecting { .. }
            | Phase::Early { .. }
            | Phase::Greeting { .. } => {}
            Phase::Ready { .. } => self.ready_timeout(now),
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        // Before anything that was made with it.
        for (key, value) in self.crypto.drain().into_iter().rev() {
            self.out.push_front(Output::Persist(Write::Mls(MlsRow { key, value })));
        }
        self.out.pop_front()
    }

    // ---- small things ----

    fn renewed_lately(&self, now: Now) -> bool {
        self.renewed_at.is_some_and(|at| now.instant < at + RENEW_BEFORE)
    }

    fn is_identified(&self) -> bool {
        matches!(self.phase, Phase::Ready { identified: true, .. })
    }

    /// Whether messages may leave: a device has said `Hello`, accepted or not. The server reads none before it is.
    fn may_send(&self) -> bool {
        self.is_identified()
            || matches!(self.phase, Phase::Early { .. } | Phase::Greeting { identified: true, .. })
    }

    /// The server's time, as far as it is known: this device's clock may be wrong.
    fn server_now(&self, now: Now) -> WallTime {
        self.server_time.map_or(now.wall, |(server, ours)| server + now.wall.saturating_since(ours))
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
