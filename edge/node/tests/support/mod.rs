//! A node on free loopback ports, and a client that speaks frames and nothing more: it does what it is told, right or
//! wrong.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use edge_node::{Config, RunningNode, SmsConfig};
use loadtest_cluster::store_of_node;
use mutation::Mutation;
use wire::event::{Event, InboxEntry, Kind, Verified};
use wire::proof::{self, Exporter, Purpose};
use wire::request::{self, Request};
use wire::{
    AccountId, ChatId, ClientMsgId, Epoch, ErrorCode, InstallId, RegistrationId, RequestId, Role, Secret,
    Seq, WallTime,
};
use wire_link::tls::{SessionStore, Trust};
use wire_link::{ClientConfig, Config as LinkConfig, Endpoint, LinkId, Secrets, StreamId};
use wire_udp::Driver;

mod again;
pub mod hygiene;
mod path;
mod scrape;

pub use again::wall;
pub use path::{Answered, local, loop_of_answer, poke, port_on, steering};
pub use scrape::{Scrape, admin, http, scrape_until};

/// What a test waits for something at most.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration on free ports, everything in `dir`.
pub fn config(dir: &Path) -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        admin: SocketAddr::from(([127, 0, 0, 1], 0)),
        data: dir.to_owned(),
        sms: SmsConfig::File("sms.jsonl".into()),
        ..Config::default()
    }
}

/// A node, the runtime it runs on, and where its text messages are.
pub struct TestNode {
    pub runtime: tokio::runtime::Runtime,
    pub node: Option<RunningNode>,
    pub config: Config,
    pub addr: SocketAddr,
}

impl TestNode {
    pub fn start(config: Config) -> TestNode {
        TestNode::start_with(config, None, None)
    }

    /// A node that is given its memory of sessions, and whose store makes a mistake: its ops run on the runtime's threads.
    pub fn start_with(
        mut config: Config,
        sessions: Option<Arc<SessionStore>>,
        mistake: Option<Mutation>,
    ) -> TestNode {
        hygiene::log();
        if let Some(store) = store_of_node(&config.data) {
            config.store = Some(store.store.parse().expect("GODWIT_TEST_STORE is a place for a store"));
            config.store_prefix = Some(store.prefix);
        }
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        // For as long as each thread lives; a build without debug assertions makes no mistakes.
        #[cfg(debug_assertions)]
        builder.on_thread_start(move || std::mem::forget(mutation::Planted::new(mistake)));
        assert!(mistake.is_none() || cfg!(debug_assertions));
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let node = runtime.block_on(async {
            match sessions {
                Some(sessions) => edge_node::start_with_sessions(&config, sessions).await,
                None => edge_node::start(&config).await,
            }
        });
        let node = node.expect("the node starts");
        let addr = node.listen;
        TestNode { runtime, node: Some(node), config, addr }
    }

    pub fn client(&self, seed: u8) -> Raw {
        Raw::connect(self.addr, &self.config.data.join("certs/ca.pem"), seed)
    }

    /// The digits of the newest message to a number.
    pub fn code(&self, phone: &str) -> String {
        let text = std::fs::read_to_string(self.config.sms_file()).expect("a message was sent");
        let line = text.lines().rev().find(|line| line.contains(phone)).expect("a message to this number");
        let said = line.split("code is: ").nth(1).expect("a code");
        said[..6].to_owned()
    }

    pub fn register(&self, phone: &str, name: &str, seed: u8) -> Person {
        let mut raw = self.client(seed);
        raw.hello(None);
        let registered = raw.ask(&register(phone, name, seed));
        let [Event::Registered { registration, .. }] = registered[..] else { panic!("{registered:?}") };
        let code = self.code(phone);
        let request = raw.verify(registration, &code, seed);
        let verified = raw.ask(&request);
        let [Event::Verified(verified)] = &verified[..] else { panic!("{verified:?}") };
        let person = Person { key: key(seed), verified: verified.clone(), seed };
        hygiene::note(&person);
        person
    }

    pub fn online(&self, person: &Person) -> Raw {
        let mut raw = self.client(person.seed.wrapping_add(100));
        let answer = raw.hello(Some(person));
        assert!(matches!(answer, Event::Connected(_)), "{answer:?}");
        raw
    }

    pub fn ca(&self) -> std::path::PathBuf {
        self.config.data.join("certs/ca.pem")
    }

    pub fn stop(&mut self) {
        if let Some(node) = self.node.take() {
            self.runtime.block_on(node.stop());
        }
    }

    /// Stops, and reads the log.
    pub fn end(&mut self) {
        self.stop();
        hygiene::check(&self.config.sms_file());
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.stop();
        if !std::thread::panicking() {
            self.end();
        }
    }
}

/// A registered device.
pub struct Person {
    pub key: Ed25519KeyPair,
    pub verified: Verified,
    pub seed: u8,
}

impl Person {
    pub fn account(&self) -> AccountId {
        self.verified.account
    }
}

/// One connection, blocking.
pub struct Raw {
    pub driver: Driver,
    pub link: LinkId,
    pub exporter: Exporter,
    pub session: Option<StreamId>,
    pub closed: Option<wire_link::CloseReason>,
    /// Early data may be said, or was.
    pub is_early: bool,
    /// What became of it.
    pub early: Option<bool>,
    /// Down streams of this chat are not read.
    pub stalled: Option<ChatId>,
    inbox: BTreeMap<StreamId, VecDeque<Event>>,
    ended: BTreeMap<StreamId, Option<u64>>,
}

impl Raw {
    pub fn connect(addr: SocketAddr, ca: &Path, seed: u8) -> Raw {
        Raw::connect_from(local(0), addr, ca, seed)
    }

    /// Connects from an address of its own choice.
    #[track_caller]
    pub fn connect_from(from: SocketAddr, addr: SocketAddr, ca: &Path, seed: u8) -> Raw {
        let mut raw = Raw::begin(from, addr, ca, seed);
        raw.until(|raw| raw.exporter != [0; 32] || raw.closed.is_some());
        assert_eq!(raw.closed, None);
        raw
    }

    /// Begins to connect.
    pub fn begin(from: SocketAddr, addr: SocketAddr, ca: &Path, seed: u8) -> Raw {
        let mut driver = Driver::bind(from, endpoint(ca, seed)).unwrap();
        let link = driver.endpoint().connect(Instant::now(), addr, "localhost").unwrap();
        Raw {
            driver,
            link,
            exporter: [0; 32],
            session: None,
            closed: None,
            is_early: false,
            early: None,
            stalled: None,
            inbox: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    /// Turns until something holds.
    #[track_caller]
    pub fn until(&mut self, done: impl Fn(&Raw) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "waited too long: {:?} {:?}", self.inbox, self.closed);
            self.turn(Instant::now() + Duration::from_millis(50));
        }
    }

    /// One turn: sends what is to be sent, takes what comes.
    pub fn turn(&mut self, until: Instant) {
        self.driver.flush().unwrap();
        self.driver.wait(Some(until)).unwrap();
        while let Some((link, event)) = self.driver.endpoint().poll_event() {
            if link != self.link {
                continue;
            }
            match event {
                wire_link::Event::Early { .. } => self.is_early = true,
                wire_link::Event::Connected { exporter, early, .. } => {
                    self.exporter = exporter;
                    self.early = early;
                }
                wire_link::Event::Frame { stream, body } => {
                    let event = Event::decode(&body).expect("a node sends what decodes");
                    if matches!(event, Event::ChatDown { chat, .. } if Some(chat) == self.stalled) {
                        self.driver.endpoint().pause(link, stream);
                    }
                    self.inbox.entry(stream).or_default().push_back(event);
                }
                wire_link::Event::Finished { stream } => drop(self.ended.insert(stream, None)),
                wire_link::Event::Reset { stream, code } => drop(self.ended.insert(stream, Some(code))),
                wire_link::Event::Closed { reason } => self.closed = Some(reason),
                _ => {}
            }
        }
        self.driver.flush().unwrap();
    }

    pub fn open(&mut self, role: Role) -> StreamId {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.driver.endpoint().open(self.link, role) {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            self.turn(Instant::now() + Duration::from_millis(10));
        }
    }

    pub fn say(&mut self, stream: StreamId, request: &Request) {
        self.send(stream, request.encode());
    }

    pub fn send(&mut self, stream: StreamId, bytes: Bytes) {
        self.driver.endpoint().send(self.link, stream, bytes).unwrap();
        self.driver.flush().unwrap();
    }

    /// Opens a stream, says something on it and abandons it; `false` if the node has closed the connection meanwhile.
    pub fn blurt(&mut self, bytes: Bytes) -> bool {
        let link = self.link;
        self.turn(Instant::now());
        match self.driver.endpoint().open(link, Role::Request) {
            Ok(stream) => {
                let said = self.driver.endpoint().send(link, stream, bytes).is_ok();
                self.driver.flush().unwrap();
                self.driver.endpoint().abandon(link, stream, wire::CloseCode::Cancelled);
                said
            }
            Err(wire_link::OpenError::Closed) => false,
            Err(wire_link::OpenError::Exhausted) => {
                self.turn(Instant::now() + Duration::from_millis(10));
                self.closed.is_none() && self.blurt(bytes)
            }
        }
    }

    /// The next event on a stream.
    #[track_caller]
    pub fn next(&mut self, stream: StreamId) -> Event {
        self.until(|raw| {
            raw.inbox.get(&stream).is_some_and(|queue| !queue.is_empty()) || raw.closed.is_some()
        });
        self.inbox
            .get_mut(&stream)
            .and_then(VecDeque::pop_front)
            .unwrap_or_else(|| panic!("closed: {:?}", self.closed))
    }

    /// What was heard on a stream and not taken yet.
    pub fn waiting(&self, stream: StreamId) -> usize {
        self.inbox.get(&stream).map_or(0, VecDeque::len)
    }

    /// Chats in the order in which the node opened their down streams.
    pub fn chats_opened(&self) -> Vec<ChatId> {
        let first = |events: &VecDeque<Event>| match events.front() {
            Some(Event::ChatDown { chat, .. }) => Some(*chat),
            _ => None,
        };
        self.inbox.values().filter_map(first).collect()
    }

    /// How the node ended a stream: finished, or reset with a code.
    #[track_caller]
    pub fn end_of(&mut self, stream: StreamId) -> Option<u64> {
        self.until(|raw| raw.ended.contains_key(&stream));
        self.ended[&stream]
    }

    pub fn hello(&mut self, person: Option<&Person>) -> Event {
        let token = person.map(|person| person.verified.tokens.access.expose().clone());
        self.hello_with(person, token)
    }

    pub fn hello_with(&mut self, person: Option<&Person>, token: Option<String>) -> Event {
        let session = self.say_hello(person, token);
        self.next(session)
    }

    /// Says `Hello` and does not wait for the answer.
    pub fn say_hello(&mut self, person: Option<&Person>, token: Option<String>) -> StreamId {
        let credentials = person.zip(token).map(|(person, token)| {
            let proof = sign(&person.key, Purpose::Hello, &self.exporter, &[token.as_bytes()]);
            request::Credentials { token: Secret::new(token), proof, early: None }
        });
        self.greet(credentials)
    }

    fn greet(&mut self, credentials: Option<request::Credentials>) -> StreamId {
        let client = "raw".to_owned();
        let hello =
            request::Hello { version: 1, credentials, receipts_since: WallTime(0), cursors: vec![], client };
        let session = self.open(Role::Session);
        self.session = Some(session);
        self.say(session, &Request::Hello(hello));
        session
    }

    /// Asks, and hears the whole answer.
    #[track_caller]
    pub fn ask(&mut self, request: &Request) -> Vec<Event> {
        let stream = self.open(Role::Request);
        self.say(stream, request);
        self.driver.endpoint().finish(self.link, stream);
        self.end_of(stream);
        let answer: Vec<Event> = self.inbox.remove(&stream).unwrap_or_default().into();
        for event in &answer {
            if let Event::Refreshed(tokens) = event {
                hygiene::secrets().word("a token", tokens.access.expose());
                hygiene::secrets().bytes("a token", tokens.refresh.expose());
            }
        }
        answer
    }

    pub fn chat_up(&mut self, chat: ChatId, peer: Option<AccountId>) -> StreamId {
        let stream = self.open(Role::ChatUp);
        self.say(stream, &Request::ChatUp { chat, peer });
        stream
    }

    pub fn append(&mut self, stream: StreamId, n: u64, text: &str) -> ClientMsgId {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&n.to_be_bytes());
        let client_msg_id = ClientMsgId::new(id);
        hygiene::secrets().text(text);
        let content = Bytes::copy_from_slice(text.as_bytes());
        let (kind, epoch) = (Kind::Text, Epoch::ZERO);
        self.say(stream, &Request::Append(request::Append { client_msg_id, content, kind, epoch }));
        client_msg_id
    }

    /// Everything heard on the chat's down streams so far.
    pub fn heard(&self, chat: ChatId) -> Vec<Event> {
        let of_chat = |events: &&VecDeque<Event>| matches!(events.front(), Some(Event::ChatDown { chat: c, .. }) if *c == chat);
        self.inbox.values().filter(of_chat).flatten().cloned().collect()
    }

    /// Everything heard of the device's inbox so far.
    pub fn heard_of_inbox(&self) -> Vec<InboxEntry> {
        let of_inbox = |events: &&VecDeque<Event>| matches!(events.front(), Some(Event::InboxDown { .. }));
        let entry =
            |event: &Event| if let Event::InboxEntry(entry) = event { Some(entry.clone()) } else { None };
        self.inbox.values().filter(of_inbox).flatten().filter_map(entry).collect()
    }

    /// The one refusal that a request is answered with.
    #[track_caller]
    pub fn refused(&mut self, request: &Request) -> ErrorCode {
        match &self.ask(request)[..] {
            [Event::Refused(refusal)] => refusal.code,
            other => panic!("{other:?}"),
        }
    }

    pub fn seqs(&self, chat: ChatId) -> Vec<u64> {
        let seq = |event| if let Event::Entry(entry) = event { Some(entry.seq.0) } else { None };
        self.heard(chat).into_iter().filter_map(seq).collect()
    }

    pub fn cursor(&self, chat: ChatId, member: AccountId) -> (Seq, Seq) {
        let cursor = |event| match event {
            Event::CursorMoved(c) if c.member == member => Some((c.delivered, c.read)),
            _ => None,
        };
        self.heard(chat).into_iter().filter_map(cursor).max().unwrap_or_default()
    }

    pub fn verify(&self, registration: RegistrationId, code: &str, seed: u8) -> Request {
        let key = key(seed);
        let device_key: [u8; 32] = key.public_key().as_ref().try_into().unwrap();
        let proof = sign(&key, Purpose::VerifyOtp, &self.exporter, &[registration.as_bytes(), &device_key]);
        let (otp, device_name) = (Secret::new(code.to_owned()), "raw".to_owned());
        Request::VerifyOtp(request::VerifyOtp { registration, otp, device_key, device_name, proof })
    }
}

/// A client's endpoint that trusts the node's CA.
pub fn endpoint(ca: &Path, seed: u8) -> Endpoint {
    let trust = Trust::roots(certs::load_roots(ca).expect("the node made its CA"));
    let crypto = wire_link::tls::client(trust).unwrap();
    let secrets =
        Secrets { seed: random(), reset_key: [seed; 32], token_key: [seed; 32], cid_key: [seed; 32] };
    Endpoint::client(LinkConfig::client(secrets), ClientConfig::new(crypto), Instant::now())
}

pub fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn sign(key: &Ed25519KeyPair, purpose: Purpose, exporter: &Exporter, fields: &[&[u8]]) -> [u8; 64] {
    key.sign(&proof::message(purpose, exporter, fields)).as_ref().try_into().unwrap()
}

pub fn register(phone: &str, name: &str, seed: u8) -> Request {
    Request::Register(request::Register {
        phone: Secret::new(phone.into()),
        name: name.into(),
        install: InstallId::new([seed; 16]),
        request: RequestId::new(random()),
    })
}

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// A configuration whose rates are out of a burst's way; the limiter stays in the path.
pub fn generous(dir: &Path) -> Config {
    let mut config = config(dir);
    let rates = &mut config.limits.rates;
    rates.messages_per_minute = 1_000_000;
    rates.requests_per_minute = 1_000_000;
    rates.anonymous_per_minute = 1_000_000;
    rates.otp_per_hour = 1_000_000;
    rates.registrations_per_hour = 1_000_000;
    // Clients that have gone without a word are not waited for at the end.
    config.stop_timeout_ms = 500;
    config
}

/// A node with Alice and Bob on it.
pub fn alice_and_bob(config: Config) -> (TestNode, Arc<[Person; 2]>, ChatId) {
    let node = TestNode::start(config);
    let (people, chat) = node.alice_and_bob();
    (node, people, chat)
}

impl TestNode {
    /// Registers Alice and Bob.
    pub fn alice_and_bob(&self) -> (Arc<[Person; 2]>, ChatId) {
        let people = [self.register("+4915100000001", "Alice", 1), self.register("+4915100000002", "Bob", 2)];
        let chat = store::keys::direct_chat_id(people[0].account(), people[1].account());
        (Arc::new(people), chat)
    }
}
