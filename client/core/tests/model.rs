//! A client against a model of a server, in random order from a seed: messages typed, answered, refused and lost;
//! entries, cut connections, processes killed before and after their transactions. Whatever happens, in the end what
//! was sent is in the log once and in order, what is in the log is on the disk, and the server knows what was read
//! (I1–I4, R50, G21).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client_core::{
    ChatRow, Client, ClientEvent, Config, Input, Login, MemoryKv, Message, Now, OutboxRow, Output, Snapshot,
    StreamTag, Write,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wire::event::{Connected, Cursor, Entry, EntryKind, Event, Kind};
use wire::request::Request;
use wire::{
    AccountId, ChatId, ClientMsgId, DeviceId, Epoch, ErrorCode, RequestId, Role, Secret, Seq, WallTime,
    limits,
};

const ME: AccountId = AccountId::new([1; 16]);
const PEER: AccountId = AccountId::new([2; 16]);
const DEVICE: DeviceId = DeviceId::new([9; 16]);
const CHATS: [ChatId; 2] = [ChatId::new([3; 16]), ChatId::new([4; 16])];
const SEEDS: u64 = 150;
const STEPS: usize = 600;

/// What outlives the client's process.
#[derive(Default)]
struct Disk {
    login: Option<Login>,
    outbox: Vec<OutboxRow>,
    failed: BTreeSet<ClientMsgId>,
    chats: BTreeMap<ChatId, ChatRow>,
    messages: BTreeMap<(ChatId, Seq), Message>,
    receipts_since: WallTime,
}

impl Disk {
    fn apply(&mut self, write: Write) {
        let row = |chat| ChatRow::new(chat, Some(PEER));
        match write {
            Write::Queue(row) => self.outbox.push(row),
            Write::Sent(message) => self.outbox.retain(|row| row.client_msg_id != message.client_msg_id),
            Write::Failed { client_msg_id, .. } => {
                self.outbox.retain(|row| row.client_msg_id != client_msg_id);
                self.failed.insert(client_msg_id);
            }
            Write::Arrived(m) => {
                let row = self.chats.entry(m.chat).or_insert(row(m.chat));
                assert_eq!(m.seq, row.have.next(), "stored densely, each once");
                row.have = m.seq;
                self.messages.insert((m.chat, m.seq), m);
            }
            Write::Chat { chat, .. } => drop(self.chats.entry(chat).or_insert(row(chat))),
            Write::Told { chat, delivered, read } => {
                self.chats.entry(chat).or_insert(row(chat)).told = (delivered, read);
            }
            Write::Read { chat, read } => {
                let row = self.chats.entry(chat).or_insert(row(chat));
                row.read = row.read.max(read);
            }
            Write::ReceiptsSince(since) => self.receipts_since = since,
            Write::Cancelled { .. } | Write::Cursor { .. } | Write::Login(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn have(&self, chat: ChatId) -> Seq {
        self.chats.get(&chat).map_or(Seq::ZERO, |row| row.have)
    }
}

/// A chat as the server has it.
#[derive(Default)]
struct Log {
    entries: Vec<(ClientMsgId, AccountId, Bytes)>,
    delivered: Seq,
    read: Seq,
}

/// One stream of the connection, with what is on its way in both directions.
struct Stream {
    role: Role,
    chat: Option<ChatId>,
    up: VecDeque<Request>,
    /// `None` is the end.
    down: VecDeque<Option<Event>>,
    /// A retryable refusal was said: what still comes is not looked at.
    ended: bool,
    finished_by_client: bool,
    finished: bool,
    /// Appends said and not answered, as the client can know it.
    unanswered: usize,
}

struct World {
    rng: ChaCha8Rng,
    now: Now,
    client: Option<Client>,
    disk: Disk,
    logs: BTreeMap<ChatId, Log>,
    refused: BTreeSet<ClientMsgId>,
    typed: BTreeMap<ChatId, Vec<ClientMsgId>>,
    /// The connection, from `Connect` on; `greeted` once `Hello` was accepted.
    streams: Option<BTreeMap<StreamTag, Stream>>,
    greeted: bool,
    sent_down: BTreeMap<ChatId, Seq>,
    server_tags: u64,
    starts: u8,
    faults: bool,
    /// Connections that were given up for an answer that others waited for.
    waited: usize,
}

impl World {
    fn new(seed: u64) -> World {
        #[expect(clippy::disallowed_methods, reason = "a test begins at some time")]
        let now = Now { instant: Instant::now(), wall: WallTime(1_700_000_000_000) };
        let login = Login {
            account: ME,
            device: DEVICE,
            access: Secret::new("token".into()),
            access_expires: now.wall + Duration::from_secs(10_000_000),
            refresh: Secret::new([7; 48]),
            refresh_request: RequestId::new([8; 16]),
        };
        World {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now,
            client: None,
            disk: Disk { login: Some(login), ..Disk::default() },
            logs: CHATS.iter().map(|&chat| (chat, Log::default())).collect(),
            refused: BTreeSet::new(),
            typed: BTreeMap::new(),
            streams: None,
            greeted: false,
            sent_down: BTreeMap::new(),
            server_tags: 1 << 63,
            starts: 0,
            faults: true,
            waited: 0,
        }
    }

    // ---- the client's process ----

    fn start(&mut self) {
        self.starts += 1;
        let seed = [self.starts; 32];
        let config = Config {
            device_key: Secret::new([5; 32]),
            seed,
            name: "test".into(),
            server_name: "edge.test".into(),
            key_packages: 10,
        };
        let kept = Snapshot {
            login: self.disk.login.clone(),
            outbox: self.disk.outbox.clone(),
            chats: self.disk.chats.values().copied().collect(),
            receipts_since: self.disk.receipts_since,
            ..Snapshot::default()
        };
        let mut client = Client::new(&config, kept, Box::new(MemoryKv::default()), self.now);
        client.start(self.now);
        self.client = Some(client);
        self.drain();
    }

    fn kill(&mut self) {
        self.client = None;
        self.cut();
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Client, Now) -> T) -> T {
        let now = self.now;
        let out = f(self.client.as_mut().expect("a running client"), now);
        self.drain();
        out
    }

    /// Performs what the client asks: first what is to be kept. A process may die before that, or after.
    fn drain(&mut self) {
        let Some(client) = &mut self.client else { return };
        let outputs: Vec<Output> = std::iter::from_fn(|| client.poll_output()).collect();
        let writes = outputs.iter().any(|output| matches!(output, Output::Persist(_)));
        let dies = self.faults && writes && self.rng.random_ratio(1, 100);
        if dies && self.rng.random() {
            return self.kill();
        }
        let mut rest = Vec::new();
        for output in outputs {
            match output {
                Output::Persist(write) => self.keep(write),
                other => rest.push(other),
            }
        }
        if dies {
            return self.kill();
        }
        rest.into_iter().for_each(|output| self.perform(output));
    }

    fn keep(&mut self, write: Write) {
        if let Write::Queue(row) = &write {
            self.typed.entry(row.chat).or_default().push(row.client_msg_id);
        }
        self.disk.apply(write);
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Probe | Output::Moved => {}
            Output::Connect { .. } => {
                assert!(self.streams.is_none(), "one connection at a time");
                (self.streams, self.greeted) = (Some(BTreeMap::new()), false);
            }
            Output::Close => self.cut(),
            Output::Open { stream, role } => self.open(stream, role, None),
            Output::Send { stream, frame } => {
                let request =
                    Request::decode(&wire::frame::body_of(&frame)).expect("a client's frame decodes");
                self.said(stream, request);
            }
            Output::Finish { stream } => {
                if let Some(stream) = self.streams.as_mut().and_then(|streams| streams.get_mut(&stream)) {
                    stream.finished_by_client = true;
                }
            }
            Output::Notify(ClientEvent::Disconnected { reason, .. }) => {
                assert_ne!(reason, "entries are missing", "the server leaves nothing out");
                self.waited += usize::from(reason == "an answer is missing");
            }
            Output::Abandon { .. } | Output::Notify(_) => {}
            Output::Persist(_) => unreachable!("kept before"),
        }
    }

    fn open(&mut self, tag: StreamTag, role: Role, chat: Option<ChatId>) {
        let (up, down) = (VecDeque::new(), VecDeque::new());
        let (ended, finished_by_client, finished, unanswered) = (false, false, false, 0);
        let stream = Stream { role, chat, up, down, ended, finished_by_client, finished, unanswered };
        if let Some(streams) = &mut self.streams {
            streams.insert(tag, stream);
        }
    }

    /// The client says something: what the protocol forbids is found here.
    fn said(&mut self, tag: StreamTag, request: Request) {
        let Some(streams) = &mut self.streams else { return };
        if let Request::ChatUp { chat, .. } = request {
            let others = streams.iter().filter(|&(&t, s)| t != tag && s.chat == Some(chat));
            let busy = others.filter(|(_, s)| s.role == Role::ChatUp && s.unanswered > 0 && !s.ended).count();
            assert_eq!(busy, 0, "a chat's next up stream only after all answers of the last");
        }
        let Some(stream) = streams.get_mut(&tag) else { return };
        assert!(!stream.finished_by_client, "nothing is said after the end");
        match request {
            Request::ChatUp { chat, .. } => stream.chat = Some(chat),
            Request::Append(_) => {
                stream.unanswered += 1;
                assert!(stream.unanswered <= limits::APPENDS_IN_FLIGHT_MAX);
            }
            Request::MoveCursor { delivered, read } => {
                let chat = stream.chat.expect("a chat");
                assert!(delivered.max(read) <= self.disk.have(chat), "I4: kept before it is said");
            }
            _ => {}
        }
        stream.up.push_back(request);
    }

    // ---- the server ----

    /// The connection is gone; of what was on its way the server gets some.
    fn cut(&mut self) {
        let tags: Vec<_> = self.streams.iter().flatten().map(|(&tag, _)| tag).collect();
        for tag in tags {
            while self.rng.random_ratio(1, 2) && self.serve(tag) {}
        }
        self.streams = None;
    }

    fn lose(&mut self) {
        self.cut();
        self.with(|client, now| client.handle_input(Input::Closed { reason: "cut".into() }, now));
    }

    /// The server takes the next thing of a stream; `false` if there is none.
    fn serve(&mut self, tag: StreamTag) -> bool {
        let Some(stream) = self.streams.as_mut().and_then(|streams| streams.get_mut(&tag)) else {
            return false;
        };
        let Some(request) = stream.up.pop_front() else {
            let over = stream.finished_by_client && !stream.finished;
            if over {
                stream.finished = true;
                stream.down.push_back(None);
            }
            return over;
        };
        let (ended, chat) = (stream.ended, stream.chat);
        match (request, chat) {
            (Request::Hello(hello), _) => self.hello(tag, &hello),
            (Request::Ping { client_time }, _) => {
                let server_time = self.now.wall;
                self.answer(tag, Event::Pong { client_time, server_time });
            }
            (Request::Append(append), Some(chat)) if !ended => self.append(tag, chat, append),
            (Request::MoveCursor { delivered, read }, Some(chat)) => {
                let log = self.logs.get_mut(&chat).expect("a chat");
                log.delivered = log.delivered.max(delivered);
                log.read = log.read.max(read);
            }
            _ => {}
        }
        true
    }

    fn hello(&mut self, tag: StreamTag, hello: &wire::request::Hello) {
        let stated: BTreeMap<_, _> = hello.cursors.iter().copied().collect();
        self.sent_down =
            self.logs.iter().map(|(c, log)| (*c, stated.get(c).copied().unwrap_or(log.delivered))).collect();
        let (server_time, token_expires) = (self.now.wall, self.now.wall + Duration::from_secs(3600));
        let connected = Connected {
            version: 1,
            identity: Some((ME, DEVICE)),
            server_time,
            token_expires,
            chats: 2,
            refresh: false,
            key_packages: 0,
        };
        self.answer(tag, Event::Connected(connected));
        self.greeted = true;
        // Where this person's cursors stand is owed, as is every other move since the last time.
        for chat in CHATS {
            let (delivered, read) = (self.logs[&chat].delivered, self.logs[&chat].read);
            let at = self.now.wall;
            let cursor =
                Cursor { member: ME, delivered, delivered_at: at, read, read_at: at, withheld: vec![] };
            let down = self.down_stream(chat);
            self.answer(down, Event::CursorMoved(cursor));
        }
        self.answer(tag, Event::Synced { through: self.now.wall });
    }

    fn append(&mut self, tag: StreamTag, chat: ChatId, append: wire::request::Append) {
        let client_msg_id = append.client_msg_id;
        let log = self.logs.get_mut(&chat).expect("a chat");
        let there = log.entries.iter().position(|(id, ..)| *id == client_msg_id);
        let fate = if there.is_none() && self.faults { self.rng.random_range(0..30) } else { 30 };
        if self.refused.contains(&client_msg_id) || fate == 0 {
            self.refused.insert(client_msg_id);
            let refusal = ErrorCode::RecipientUnknown.refuse();
            return self.answer(tag, Event::AppendRefused { client_msg_id, refusal, epoch: Epoch::ZERO });
        }
        if fate == 1 {
            let refusal = ErrorCode::RateLimited.after(Duration::from_millis(self.rng.random_range(1..2000)));
            self.answer(tag, Event::AppendRefused { client_msg_id, refusal, epoch: Epoch::ZERO });
            let stream = self.streams.as_mut().and_then(|s| s.get_mut(&tag)).expect("it was just there");
            (stream.ended, stream.finished) = (true, true);
            return stream.down.push_back(None);
        }
        let place = there.unwrap_or_else(|| {
            log.entries.push((client_msg_id, ME, append.content));
            log.entries.len() - 1
        });
        let (seq, at) = (Seq(place as u64 + 1), self.now.wall);
        // The device has what it says: its cursor moves along, and what it is owed with it.
        if there.is_none() && log.delivered > Seq::ZERO && log.delivered.next() == seq {
            log.delivered = seq;
            let sent = self.sent_down.entry(chat).or_default();
            if sent.next() == seq {
                *sent = seq;
            }
        }
        let delivered = log.delivered;
        self.answer(tag, Event::AppendAck { client_msg_id, seq, at, delivered });
    }

    fn answer(&mut self, tag: StreamTag, event: Event) {
        if let Some(stream) = self.streams.as_mut().and_then(|streams| streams.get_mut(&tag)) {
            stream.down.push_back(Some(event));
        }
    }

    /// The chat's down stream, opened if there is none.
    fn down_stream(&mut self, chat: ChatId) -> StreamTag {
        let is_its = |s: &Stream| s.role == Role::ChatDown && s.chat == Some(chat) && !s.finished;
        if let Some(tag) = self.streams.iter().flatten().find(|(_, s)| is_its(s)).map(|(&tag, _)| tag) {
            return tag;
        }
        self.server_tags += 1;
        let tag = StreamTag(self.server_tags);
        self.open(tag, Role::ChatDown, Some(chat));
        self.answer(tag, Event::ChatDown { chat, from_seq: self.sent_down[&chat].next(), peer: Some(PEER) });
        tag
    }

    /// Puts the next entry of a chat on its way, and now and then one that was sent before.
    fn deliver(&mut self, chat: ChatId) -> bool {
        if !self.greeted || self.streams.is_none() {
            return false;
        }
        let sent = self.sent_down[&chat];
        let repeat = sent > Seq::ZERO && self.faults && self.rng.random_ratio(1, 10);
        let seq = if repeat { sent } else { sent.next() };
        let Some((id, sender, content)) = self.logs[&chat].entries.get(seq.0 as usize - 1).cloned() else {
            return false;
        };
        let down = self.down_stream(chat);
        let (device, at, kind) = (DEVICE, self.now.wall, Kind::Text);
        let (what, epoch) = (EntryKind::Message, Epoch::ZERO);
        let entry = Entry { seq, sender, device, client_msg_id: id, at, kind, content, what, epoch };
        self.answer(down, Event::Entry(entry));
        self.sent_down.insert(chat, seq);
        true
    }

    /// The client hears the next thing of a stream; `false` if there is none.
    fn hear(&mut self, tag: StreamTag) -> bool {
        let Some(stream) = self.streams.as_mut().and_then(|streams| streams.get_mut(&tag)) else {
            return false;
        };
        let Some(event) = stream.down.pop_front() else { return false };
        let Some(event) = event else {
            self.with(|client, now| client.handle_input(Input::Ended { stream: tag }, now));
            return true;
        };
        if matches!(event, Event::AppendAck { .. } | Event::AppendRefused { .. }) {
            stream.unanswered -= 1;
        }
        let body = wire::frame::body_of(&event.encode());
        self.with(|client, now| client.handle_input(Input::Frame { stream: tag, body }, now));
        true
    }

    // ---- what happens ----

    fn pass(&mut self, time: Duration) {
        self.now = Now { instant: self.now.instant + time, wall: self.now.wall + time };
        if self.client.as_ref().and_then(Client::poll_timeout).is_some_and(|due| due <= self.now.instant) {
            self.with(|client, now| client.handle_timeout(now));
        }
        // A handshake takes no time here, but does not always come to its end.
        let begun = self.streams.as_ref().is_some_and(BTreeMap::is_empty) && !self.greeted;
        if begun && self.client.is_some() {
            if self.faults && self.rng.random_ratio(1, 5) {
                return self.lose();
            }
            self.with(|client, now| {
                client.handle_input(Input::Connected { exporter: [4; 32], early: None }, now)
            });
        }
    }

    fn any_stream(&mut self) -> Option<StreamTag> {
        let count = self.streams.as_ref().map_or(0, BTreeMap::len);
        let nth = if count == 0 { return None } else { self.rng.random_range(0..count) };
        self.streams.as_ref()?.keys().nth(nth).copied()
    }

    fn step(&mut self) {
        let chat = CHATS[self.rng.random_range(0..CHATS.len())];
        if self.client.is_none() {
            return self.start();
        }
        match self.rng.random_range(0..100) {
            0..15 => {
                let content = Bytes::from(vec![b'x'; self.rng.random_range(1..40)]);
                self.with(|client, now| client.send(chat, Some(PEER), content, now).expect("room"));
            }
            15..25 => {
                let id = ClientMsgId::new(self.rng.random());
                let log = self.logs.get_mut(&chat).expect("a chat");
                log.entries.push((id, PEER, Bytes::from_static(b"hi")));
            }
            25..30 => {
                let seq = Seq(self.rng.random_range(0..=self.disk.have(chat).0));
                self.with(|client, now| client.mark_read(chat, seq, now));
            }
            30..50 => drop(self.any_stream().map(|tag| self.serve(tag))),
            50..72 => drop(self.any_stream().map(|tag| self.hear(tag))),
            72..85 => drop(self.deliver(chat)),
            85..94 => {
                let most = if self.rng.random_ratio(1, 10) { 8000 } else { 300 };
                let time = Duration::from_millis(self.rng.random_range(1..most));
                self.pass(time);
            }
            94..97 => self.rest(),
            97 => self.kill(),
            _ if self.streams.is_some() => self.lose(),
            _ => {}
        }
    }

    /// For a moment nobody says anything: all that is on its way comes, and the server hears of it. Then both say things.
    fn rest(&mut self) {
        for _ in 0..20 {
            self.carry();
            self.pass(Duration::from_millis(10));
        }
        let chat = CHATS[self.rng.random_range(0..CHATS.len())];
        for _ in 0..self.rng.random_range(1..4) {
            if self.client.is_some() {
                let content = Bytes::from_static(b"burst");
                self.with(|client, now| client.send(chat, Some(PEER), content, now).expect("room"));
            }
        }
        while self.any_stream().is_some_and(|tag| self.serve(tag)) {}
        let id = ClientMsgId::new(self.rng.random());
        self.logs.get_mut(&chat).expect("a chat").entries.push((id, PEER, Bytes::from_static(b"back")));
    }

    /// Carries everything that is on its way one step on; `true` if there was something.
    fn carry(&mut self) -> bool {
        let tags: Vec<_> = self.streams.iter().flatten().map(|(&tag, _)| tag).collect();
        let mut busy = false;
        for &tag in &tags {
            busy |= self.serve(tag);
            busy |= self.hear(tag);
        }
        for chat in CHATS {
            busy |= self.deliver(chat);
        }
        busy
    }

    /// Everything works again: all of it comes to rest.
    fn settle(&mut self) {
        self.faults = false;
        if self.client.is_none() {
            self.start();
        }
        for _ in 0..3000 {
            let busy = self.carry();
            let settled = self.client.as_ref().is_some_and(|client| client.is_settled() && client.is_ready());
            if !busy && settled {
                return;
            }
            self.pass(Duration::from_millis(if busy { 1 } else { 200 }));
        }
        panic!("it never comes to rest");
    }

    /// A person reads everything, just as the connection goes, and is never heard of again but for one connection.
    fn last_look(&mut self) {
        for chat in CHATS {
            let seq = self.disk.have(chat);
            self.with(|client, now| client.mark_read(chat, seq, now));
        }
        self.pass(limits::READ_RECEIPT_INTERVAL);
        if self.rng.random_ratio(1, 4) {
            self.kill();
        } else if self.streams.is_some() {
            self.lose();
        }
        self.settle();
        self.check();
    }

    fn check(&self) {
        for (chat, log) in &self.logs {
            let mine: Vec<_> =
                log.entries.iter().filter(|(_, who, _)| *who == ME).map(|(id, ..)| *id).collect();
            let typed = self.typed.get(chat).into_iter().flatten().copied();
            let expected: Vec<_> = typed.filter(|id| !self.refused.contains(id)).collect();
            assert_eq!(mine, expected, "each once, in the order they were typed");
            let kept = self.disk.messages.range((*chat, Seq(0))..=(*chat, Seq(u64::MAX)));
            let kept: Vec<_> = kept.map(|(_, m)| m.client_msg_id).collect();
            assert_eq!(kept, log.entries.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), "all of the log");
            assert_eq!(log.delivered.0 as usize, log.entries.len(), "and the server knows");
            let read = self.disk.chats.get(chat).map_or(Seq::ZERO, |row| row.read);
            assert_eq!(log.read, read, "and knows what was read");
        }
        assert_eq!(self.disk.failed, self.refused, "what was refused for good is marked so");
        assert!(self.disk.outbox.is_empty());
    }
}

#[test]
fn i1_i4_r50_g21_random_faults_lose_nothing_double_nothing_and_keep_order() {
    for seed in 0..SEEDS {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..STEPS).for_each(|_| world.step());
            world.settle();
            world.check();
            world.last_look();
            world.logs.values().map(|log| log.entries.len()).sum::<usize>()
        });
        match result {
            Ok(entries) => assert!(entries > 20, "seed {seed} did nothing"),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}
