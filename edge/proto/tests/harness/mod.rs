//! A node without sockets: its effects are performed at once on a simulated store, its streams are lists of events.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use edge_proto::{
    Effect, EffectError, EffectOutput, Input, KeyMaterial, Keys, Limits, LinkId, Node, NodeConfig, Now, OpId,
    Output, StreamId, TokenKey,
};
use store::ephemeral::Ephemeral;
use store::ephemeral::memory::Memory;
use store::keys::direct_chat_id;
use store::testing::SetMember;
use wire::event::{Event, Kind, Tokens, Verified};
use wire::proof::{self, Purpose};
use wire::request::{self, Request};
use wire::{
    AccountId, ChatId, ClientMsgId, CloseCode, Epoch, ErrorCode, InstallId, LogId, Refusal, RequestId,
    Secret, Seq, WallTime,
};

use self::backend::TestStore;

pub mod backend;
pub mod groups;

pub const START: WallTime = WallTime(1_700_000_000_000);

/// What clients call the node.
pub const NAME: &str = "edge.test";

/// One node and everything around it.
pub struct World {
    pub node: Node,
    pub store: TestStore,
    pub ephemeral: Memory,
    pub now: Now,
    /// What each stream carried, in order.
    pub heard: BTreeMap<(LinkId, StreamId), Vec<Event>>,
    pub texts: Vec<(String, String)>,
    pub closed: BTreeSet<LinkId>,
    pub reset: BTreeSet<(LinkId, StreamId)>,
    /// The codes that connections were closed with, and streams reset.
    pub close_codes: BTreeMap<LinkId, CloseCode>,
    pub reset_codes: BTreeMap<(LinkId, StreamId), CloseCode>,
    pub finished: BTreeSet<(LinkId, StreamId)>,
    pub paused: BTreeSet<(LinkId, StreamId)>,
    /// When whom the store was told to have seen last.
    pub seen: Vec<(AccountId, WallTime)>,
    /// What the store was asked, by the names of its ops.
    pub asked: Vec<&'static str>,
    /// Frames that wait for their stream to be resumed.
    unread: Vec<(LinkId, StreamId, Bytes)>,
    /// Streams whose reader does not read.
    pub stalled: BTreeSet<(LinkId, StreamId)>,
    /// Streams that the node opens are stalled from the beginning.
    pub stalls_new: bool,
    /// Bytes of frames that stalled streams have not taken.
    pub unsent: BTreeMap<(LinkId, StreamId), usize>,
    /// Store ops fail with this while it is set; what may be done all the same is done.
    pub outage: Option<EffectError>,
    /// Effects are held back while it is set.
    pub hold: bool,
    held: VecDeque<(OpId, Effect)>,
    links: u64,
    streams: u64,
}

/// One device: its key and what it was told.
pub struct Device {
    pub key: Ed25519KeyPair,
    pub public: [u8; 32],
    pub verified: Verified,
}

impl Device {
    pub fn account(&self) -> AccountId {
        self.verified.account
    }

    pub fn tokens(&self) -> &Tokens {
        &self.verified.tokens
    }
}

/// A session of a device.
#[derive(Clone, Copy)]
pub struct Live {
    pub link: LinkId,
    pub session: StreamId,
}

impl World {
    pub fn new() -> World {
        World::with(Limits::default())
    }

    #[expect(clippy::disallowed_methods, reason = "a test begins at some time")]
    pub fn with(limits: Limits) -> World {
        let token_keys = vec![TokenKey { kid: "test".into(), seed: Secret::new([1; 32]) }];
        let keys = Keys::new(&KeyMaterial { token_keys, secret: Secret::new([2; 32]) }).unwrap();
        let now = Now { instant: Instant::now(), wall: START };
        let config = NodeConfig {
            limits,
            keys: Arc::new(keys),
            node: 1,
            app_name: "Godwit".into(),
            names: vec![NAME.into()],
            seed: [3; 32],
        };
        World {
            node: Node::new(config, now),
            store: backend::store(),
            ephemeral: Memory::default(),
            now,
            heard: BTreeMap::new(),
            texts: Vec::new(),
            closed: BTreeSet::new(),
            reset: BTreeSet::new(),
            close_codes: BTreeMap::new(),
            reset_codes: BTreeMap::new(),
            finished: BTreeSet::new(),
            paused: BTreeSet::new(),
            seen: Vec::new(),
            asked: Vec::new(),
            unread: Vec::new(),
            stalled: BTreeSet::new(),
            stalls_new: false,
            unsent: BTreeMap::new(),
            outage: None,
            hold: false,
            held: VecDeque::new(),
            links: 0,
            streams: 0,
        }
    }

    // ---- time and effects ----

    pub fn input(&mut self, input: Input) {
        self.node.handle_input(input, self.now);
        self.run();
    }

    /// Lets time pass, stopping at every timer.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some(due) = self.node.poll_timeout().filter(|&due| due <= end) {
            self.step_to(due.max(self.now.instant));
        }
        self.step_to(end);
    }

    fn step_to(&mut self, instant: Instant) {
        self.now.wall = self.now.wall + (instant - self.now.instant);
        self.now.instant = instant;
        self.node.handle_timeout(self.now);
        self.run();
    }

    pub fn release(&mut self) {
        self.hold = false;
        while let Some((op, effect)) = self.held.pop_front() {
            self.perform(op, effect);
        }
        self.run();
    }

    /// Performs the oldest effect that is held back; `false` if there is none.
    pub fn perform_one(&mut self) -> bool {
        let Some((op, effect)) = self.held.pop_front() else { return false };
        self.perform(op, effect);
        self.run();
        true
    }

    fn run(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Perform { op, effect } if self.hold => self.held.push_back((op, effect)),
                Output::Perform { op, effect } => self.perform(op, effect),
                Output::Publish(_) => {}
                Output::OpenDown { link, log } => {
                    let stream = self.next_stream();
                    if self.stalls_new {
                        self.stalled.insert((link, stream));
                    }
                    let stream = Some(stream);
                    self.node.handle_input(Input::DownOpened { link, log, stream }, self.now);
                }
                Output::Send { link, stream, frame } => self.sent(link, stream, &frame),
                Output::Finish { link, stream } => {
                    self.finished.insert((link, stream));
                    if !self.stalled.contains(&(link, stream)) {
                        self.node.handle_input(Input::Delivered { link, stream }, self.now);
                    }
                }
                Output::Reset { link, stream, code } => {
                    self.reset.insert((link, stream));
                    self.reset_codes.insert((link, stream), code);
                }
                Output::Stop { .. } => {}
                Output::Pause { link, stream } => drop(self.paused.insert((link, stream))),
                Output::Resume { link, stream } => self.resume(link, stream),
                Output::Close { link, code } => {
                    if self.closed.insert(link) {
                        self.close_codes.insert(link, code);
                        self.node.handle_input(Input::Closed { link }, self.now);
                    }
                }
            }
        }
    }

    fn resume(&mut self, link: LinkId, stream: StreamId) {
        self.paused.remove(&(link, stream));
        let of_it = |(l, s, _): &mut (LinkId, StreamId, Bytes)| (*l, *s) == (link, stream);
        for (link, stream, body) in self.unread.extract_if(.., of_it).collect::<Vec<_>>() {
            self.node.handle_input(Input::Frame { link, stream, body }, self.now);
        }
    }

    fn perform(&mut self, op: OpId, effect: Effect) {
        if let Effect::Store(op) = &effect {
            self.asked.push(op.kind().name());
        }
        let result = match effect {
            Effect::Store(_) if self.outage.is_some_and(|outage| !outage.maybe_done) => {
                Err(self.outage.expect("just looked"))
            }
            Effect::Store(op) => {
                if let store::op::Op::SawLast(saw) = &op {
                    self.seen.push((saw.account, saw.at));
                }
                let output = EffectOutput::Store(backend::execute(&self.store, op));
                self.outage.map_or(Ok(output), Err)
            }
            Effect::Ephemeral(op) => {
                let output = backend::block_on(self.ephemeral.execute(op, self.now.wall));
                Ok(EffectOutput::Ephemeral(output.expect("the in-process side does not fail")))
            }
            Effect::Sms(sms) => {
                self.texts.push((sms.to.expose().to_owned(), sms.text.expose().clone()));
                Ok(EffectOutput::Sms)
            }
        };
        self.node.handle_input(Input::Done { op, result }, self.now);
    }

    fn sent(&mut self, link: LinkId, stream: StreamId, frame: &Bytes) {
        let event = Event::decode(&wire::frame::body_of(frame)).expect("a node sends what decodes");
        self.heard.entry((link, stream)).or_default().push(event);
        if self.stalled.contains(&(link, stream)) {
            *self.unsent.entry((link, stream)).or_default() += frame.len();
        } else {
            self.node.handle_input(Input::Drained { link, stream }, self.now);
        }
    }

    /// What of a link's streams waits to be taken.
    pub fn stalled_frames(&self, link: LinkId) -> Vec<(StreamId, usize)> {
        let unsent = self.unsent.range((link, StreamId(0))..=(link, StreamId(u64::MAX)));
        unsent.map(|((_, stream), bytes)| (*stream, *bytes)).collect()
    }

    /// A stalled stream takes what waits for it.
    pub fn drain(&mut self, link: LinkId, stream: StreamId) {
        self.unsent.remove(&(link, stream));
        self.input(Input::Drained { link, stream });
    }

    // ---- what clients do ----

    fn next_stream(&mut self) -> StreamId {
        self.streams += 1;
        StreamId(self.streams)
    }

    pub fn exporter(link: LinkId) -> proof::Exporter {
        [link.0 as u8; 32]
    }

    pub fn connect_from(&mut self, remote: IpAddr) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        self.input(Input::Connected { link, remote, exporter: World::exporter(link), early: false });
        link
    }

    /// A connection whose handshake is under way.
    pub fn connect_early(&mut self) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        self.input(Input::Early { link, remote: Ipv4Addr::LOCALHOST.into() });
        link
    }

    /// The handshake of an early connection is complete.
    pub fn complete(&mut self, link: LinkId) {
        let (remote, exporter) = (Ipv4Addr::LOCALHOST.into(), World::exporter(link));
        self.input(Input::Connected { link, remote, exporter, early: true });
    }

    /// A device of an account is connected to another node.
    pub fn elsewhere(&mut self, account: AccountId, device: u8) {
        let device = wire::DeviceId::new([device; 16]);
        let route = store::ephemeral::Route { account, device, node: 99, connection: 1 };
        let put = store::ephemeral::EphemeralOp::PutRoute(route);
        backend::block_on(self.ephemeral.execute(put, self.now.wall))
            .expect("the in-process side does not fail");
    }

    pub fn connect(&mut self) -> LinkId {
        self.connect_from(Ipv4Addr::LOCALHOST.into())
    }

    pub fn open(&mut self, link: LinkId) -> StreamId {
        let stream = self.next_stream();
        self.input(Input::Opened { link, stream });
        stream
    }

    pub fn say(&mut self, link: LinkId, stream: StreamId, request: &Request) {
        let body = wire::frame::body_of(&request.encode());
        if self.paused.contains(&(link, stream)) {
            return self.unread.push((link, stream, body));
        }
        self.input(Input::Frame { link, stream, body });
    }

    pub fn heard_on(&self, link: LinkId, stream: StreamId) -> &[Event] {
        self.heard.get(&(link, stream)).map_or(&[], Vec::as_slice)
    }

    pub fn ask(&mut self, link: LinkId, request: &Request) -> Vec<Event> {
        let stream = self.open(link);
        self.say(link, stream, request);
        self.input(Input::Finished { link, stream });
        self.heard_on(link, stream).to_vec()
    }

    /// The one refusal that a request was answered with.
    pub fn refused(&mut self, link: LinkId, request: &Request) -> ErrorCode {
        match self.ask(link, request).as_slice() {
            [Event::Refused(Refusal { code, .. })] => *code,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    pub fn anonymous(&mut self) -> LinkId {
        let link = self.connect();
        let session = self.open(link);
        self.say(link, session, &Request::Hello(hello(None)));
        assert!(matches!(self.heard_on(link, session), [Event::Connected(_)]));
        link
    }

    /// The digits of the newest message.
    pub fn code(&self) -> String {
        let (_, text) = self.texts.last().expect("a message was sent");
        text.rsplit(' ').next().expect("a last word").to_owned()
    }

    pub fn register(&mut self, phone: &str, name: &str, seed: u8) -> Device {
        let link = self.anonymous();
        let registered = self.ask(link, &register(phone, name, seed));
        let [Event::Registered { registration, .. }] = registered[..] else { panic!("{registered:?}") };
        let code = self.code();
        let request = verify(link, registration, &code, seed);
        let verified = self.ask(link, &request);
        let [Event::Verified(verified)] = &verified[..] else { panic!("{verified:?}") };
        let key = key(seed);
        let public = key.public_key().as_ref().try_into().unwrap();
        Device { key, public, verified: verified.clone() }
    }

    pub fn hello(&mut self, device: &Device) -> Live {
        let token = device.tokens().access.expose().clone();
        self.hello_with(device, &token, WallTime(0))
    }

    /// Says `Hello`, and holds back every effect from when it is answered.
    pub fn hello_held(&mut self, device: &Device) -> Live {
        self.hold = true;
        let live = self.hello(device);
        while self.heard_on(live.link, live.session).is_empty() {
            assert!(self.perform_one(), "it is answered");
        }
        live
    }

    /// Says `Hello` with cursors.
    pub fn hello_stating(&mut self, device: &Device, cursors: Vec<(ChatId, Seq)>) -> Live {
        let link = self.connect();
        let session = self.open(link);
        let credentials = credentials(link, device, device.tokens().access.expose());
        let request = request::Hello { cursors, ..hello(Some(credentials)) };
        self.say(link, session, &Request::Hello(request));
        Live { link, session }
    }

    /// Makes an account a member from a place on, or none.
    pub fn join(&mut self, chat: ChatId, account: AccountId, joined: Option<Seq>) {
        let member = SetMember { log: LogId::Chat(chat), account, joined };
        backend::block_on(self.store.run(&member)).expect("a store without faults answers");
    }

    pub fn hello_with(&mut self, device: &Device, token: &str, receipts_since: WallTime) -> Live {
        let link = self.connect();
        let session = self.open(link);
        let request = request::Hello { receipts_since, ..hello(Some(credentials(link, device, token))) };
        self.say(link, session, &Request::Hello(request));
        Live { link, session }
    }

    pub fn chat_up(&mut self, live: Live, chat: ChatId, peer: Option<AccountId>) -> StreamId {
        let stream = self.open(live.link);
        self.say(live.link, stream, &Request::ChatUp { chat, peer });
        stream
    }

    /// All entries of a chat that a link heard, over all of the chat's down streams.
    pub fn entries(&self, link: LinkId, chat: ChatId) -> Vec<(Seq, Bytes)> {
        let mut entries = Vec::new();
        for (_, events) in self.heard.range((link, StreamId(0))..=(link, StreamId(u64::MAX))) {
            if matches!(events.first(), Some(Event::ChatDown { chat: c, .. }) if *c == chat) {
                entries.extend(events.iter().filter_map(|event| match event {
                    Event::Entry(entry) => Some((entry.seq, entry.content.clone())),
                    _ => None,
                }));
            }
        }
        entries
    }

    /// The stream that a link hears a chat on.
    pub fn down_stream(&self, link: LinkId, chat: ChatId) -> Option<StreamId> {
        let mut heard = self.heard.range((link, StreamId(0))..=(link, StreamId(u64::MAX))).rev();
        let is_chats =
            |events: &[Event]| matches!(events.first(), Some(Event::ChatDown { chat: c, .. }) if *c == chat);
        heard.find(|(_, events)| is_chats(events)).map(|((_, stream), _)| *stream)
    }

    /// The newest cursors of a member that a link heard.
    pub fn cursor(&self, link: LinkId, member: AccountId) -> Option<(Seq, Seq)> {
        let heard = self.heard.range((link, StreamId(0))..=(link, StreamId(u64::MAX)));
        let moves = heard.flat_map(|(_, events)| events).filter_map(|event| match event {
            Event::CursorMoved(c) if c.member == member => Some((c.delivered, c.read)),
            _ => None,
        });
        moves.max()
    }
}

pub fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

pub fn sign(key: &Ed25519KeyPair, purpose: Purpose, link: LinkId, fields: &[&[u8]]) -> [u8; 64] {
    key.sign(&proof::message(purpose, &World::exporter(link), fields)).as_ref().try_into().unwrap()
}

pub fn credentials(link: LinkId, device: &Device, token: &str) -> request::Credentials {
    let proof = sign(&device.key, Purpose::Hello, link, &[token.as_bytes()]);
    request::Credentials { token: Secret::new(token.to_owned()), proof, early: None }
}

/// Credentials for early data, signed for a server and a time.
pub fn early_credentials(device: &Device, name: &str, at: WallTime) -> request::Credentials {
    let token = device.tokens().access.clone();
    let message = proof::early_message(token.expose(), name, at);
    let proof = device.key.sign(&message).as_ref().try_into().unwrap();
    let early = Some(request::EarlyProof { signed_at: at, server_name: name.to_owned() });
    request::Credentials { token, proof, early }
}

pub fn hello(credentials: Option<request::Credentials>) -> request::Hello {
    request::Hello {
        version: 1,
        credentials,
        receipts_since: WallTime(0),
        cursors: vec![],
        client: "test".into(),
    }
}

pub fn register(phone: &str, name: &str, seed: u8) -> Request {
    Request::Register(request::Register {
        phone: Secret::new(phone.into()),
        name: name.into(),
        install: InstallId::new([seed; 16]),
        request: RequestId::new([seed; 16]),
    })
}

pub fn verify(link: LinkId, registration: wire::RegistrationId, otp: &str, seed: u8) -> Request {
    let key = key(seed);
    let device_key: [u8; 32] = key.public_key().as_ref().try_into().unwrap();
    let proof = sign(&key, Purpose::VerifyOtp, link, &[registration.as_bytes(), &device_key]);
    let otp = Secret::new(otp.to_owned());
    Request::VerifyOtp(request::VerifyOtp {
        registration,
        otp,
        device_key,
        device_name: "test".into(),
        proof,
    })
}

pub fn refresh(link: LinkId, device: &Device, token: &Secret<[u8; 48]>, request: u8) -> Request {
    let request = RequestId::new([request; 16]);
    let proof = sign(&device.key, Purpose::Refresh, link, &[token.expose(), request.as_bytes()]);
    Request::Refresh(request::Refresh { token: token.clone(), request, device_key: device.public, proof })
}

pub fn seqs(entries: &[(Seq, Bytes)]) -> Vec<u64> {
    entries.iter().map(|(seq, _)| seq.0).collect()
}

/// The places that appends got, in the order of their acks.
pub fn acked(events: &[Event]) -> Vec<u64> {
    let seqs = events.iter().filter_map(|event| match event {
        Event::AppendAck { seq, .. } => Some(seq.0),
        _ => None,
    });
    seqs.collect()
}

pub fn append(n: u8, text: &'static str) -> Request {
    Request::Append(request::Append {
        client_msg_id: ClientMsgId::new([n; 16]),
        content: Bytes::from_static(text.as_bytes()),
        kind: Kind::Text,
        epoch: Epoch::ZERO,
    })
}

/// Alice and Bob, and the chat that will be theirs.
pub struct Pair {
    pub alice: Device,
    pub bob: Device,
    pub chat: ChatId,
}

pub fn pair(world: &mut World) -> Pair {
    let (alice, bob) =
        (world.register("+4915100000001", "Alice", 1), world.register("+4915100000002", "Bob", 2));
    let chat = direct_chat_id(alice.account(), bob.account());
    Pair { alice, bob, chat }
}
