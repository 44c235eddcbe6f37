//! What clients do: acts become inputs, signed as devices sign them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use edge_proto::{Hint, Input, LinkId, StreamId};
use store::keys::{OUTBOX_SHARDS, direct_chat_id};
use store::op::{ClearOutbox, Op, OpOutput, Sweep};
use wire::event::Kind as Hinted;
use wire::proof::{self, Purpose};
use wire::request::{self, Request};
use wire::{
    AccountId, ChatId, ClientMsgId, InstallId, LogId, RegistrationId, RequestId, Secret, Seq, WallTime,
};

use super::act::{Act, Ask, At, Greeting, Place, Size, Time};
use super::link::{Asked, Kind, Link, STREAMS_MAX, Said, Stream};
use super::model::Device;
use super::world::{NAME, World, failure};

const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Alice has two devices, Bob and Carol one each.
const NUMBERS: [&str; 4] = ["+4915100000001", "+4915100000001", "+4915100000002", "+4915100000003"];

/// Hints that are kept to be told again.
const HINTS_MAX: usize = 64;

impl World {
    /// Registers the devices, as clients do.
    pub(super) fn enrol(&mut self) {
        for (place, number) in NUMBERS.into_iter().enumerate() {
            let seed = place as u8 + 1;
            let Some(link) = self.connect(0, false) else { continue };
            let session = self.open(link, Kind::Session).expect("a new link has room");
            self.tell(link, session, &Request::Hello(hello(None)));
            self.ask(link, register(number, seed));
            let registration = *self.registrations.last().expect("a registration was made");
            let code = self.code.clone();
            let key = key(seed);
            let verify = verify(&key, link, registration, &code);
            self.ask(link, verify);
            assert_eq!(self.devices.len(), place + 1, "a device was enrolled");
            self.close(link);
        }
    }

    /// Keeps what a device was told when it was enrolled.
    pub(super) fn enrolled(&mut self, verified: wire::event::Verified) {
        // Later ones, of keys that are made up, are devices too, but nobody's here.
        let key = key(self.devices.len() as u8 + 1);
        if self.devices.len() < NUMBERS.len() {
            self.devices.push(Device { key, verified, is_ended: false });
        } else {
            self.model.strangers_enrolled = true;
        }
    }

    /// Performs one act.
    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Connect { node, early } => drop(self.connect(node.into(), early)),
            Act::SignIn { node, device } => drop(self.sign_in(node.into(), self.device(device))),
            Act::Pass(time) => self.pass(duration(time)),
            Act::Append { at, id, size } => self.append(at, id, size),
            Act::Burst { at, count } => (0..count).for_each(|id| self.append(at, id, Size::Word)),
            Act::Sweep => self.sweep(),
            Act::Drain { node } => self.input(node.into(), Input::Drain),
            act @ (Act::Hold(_)
            | Act::Perform { .. }
            | Act::Answer { .. }
            | Act::Fail { .. }
            | Act::Release
            | Act::HoldHints(_)
            | Act::Hint { .. }
            | Act::LoseHints) => self.outside(act),
            act => self.said(act),
        }
    }

    /// Acts on a connection.
    fn said(&mut self, act: Act) {
        match act {
            Act::Complete { link } => self.complete(link),
            Act::Close { link } => {
                if let Some(link) = self.pick(link) {
                    self.close(link);
                }
            }
            Act::Open { link } => {
                if let Some(link) = self.pick(link) {
                    let first = self.link(link).is_some_and(|link| link.streams.is_empty());
                    self.open(link, if first { Kind::Session } else { Kind::Other });
                }
            }
            Act::Hello { link, device, how } => self.greet(link, device, how),
            Act::ChatUp { link, with, named } => self.chat_up(link, with, named),
            Act::Move { at, delivered, read } => self.move_cursor(at, delivered, read),
            Act::Typing { at, typing } => self.tell_at(at, &Request::Typing { typing }),
            Act::Ask { link, ask } => {
                if let Some(link) = self.pick(link) {
                    let request = self.request(link, ask);
                    self.ask(link, request);
                }
            }
            Act::Misplaced { at, ask } => {
                if let Some((link, _)) = self.place(at) {
                    let request = self.request(link, ask);
                    self.tell_at(at, &request);
                }
            }
            Act::Raw { at, body } => {
                if let Some((link, stream)) = self.place(at) {
                    self.say(link, stream, Said::Frame(body.into()));
                }
            }
            Act::Finish { at } => {
                if let Some((link, stream)) = self.place(at) {
                    self.say(link, stream, Said::Finished);
                }
            }
            Act::Reset { at } => self.reset(at),
            Act::Stall { at, stalled } => self.stall(at, stalled),
            Act::StallNew { link, stalled } => {
                if let Some(link) = self.pick(link).and_then(|link| self.link(link)) {
                    link.stalls_new = stalled;
                }
            }
            Act::Allow { link, streams } => self.allow(link, streams.into()),
            _ => {}
        }
    }

    /// Acts of the world around the nodes.
    fn outside(&mut self, act: Act) {
        match act {
            Act::Hold(true) => self.holds = true,
            Act::Hold(false) | Act::Release => self.release(),
            Act::Perform { effect } => {
                if let Some((node, op, effect)) = take(&mut self.effects, effect) {
                    let result = self.perform(effect);
                    self.answers.push_back((node, op, result));
                }
            }
            Act::Fail { effect, happened } => {
                if let Some((node, op, effect)) = take(&mut self.effects, effect) {
                    if happened {
                        drop(self.perform(effect));
                    }
                    self.answer((node, op, Err(failure())));
                }
            }
            Act::Answer { answer } => {
                if let Some(answer) = take(&mut self.answers, answer) {
                    self.answer(answer);
                }
            }
            Act::HoldHints(holds) => {
                self.holds_hints = holds;
                while !holds && let Some((node, hint)) = self.hints.pop_front() {
                    self.input(node, Input::Hint(hint));
                }
            }
            Act::Hint { hint } => {
                if let Some((node, hint)) = take(&mut self.hints, hint) {
                    self.hints.push_back((node, hint.clone()));
                    self.hints.truncate(HINTS_MAX);
                    self.input(node, Input::Hint(hint));
                }
            }
            Act::LoseHints => self.hints.clear(),
            _ => {}
        }
    }

    // ---- Connections.

    /// The device that a number stands for.
    pub(super) fn device(&self, number: u8) -> usize {
        usize::from(number) % self.devices.len()
    }

    fn account(&self, number: u8) -> AccountId {
        self.devices[self.device(number)].account()
    }

    /// A link that is open.
    fn pick(&self, number: u8) -> Option<LinkId> {
        let open: Vec<LinkId> = self.links.iter().filter(|link| !link.closed).map(|link| link.id).collect();
        open.get(usize::from(number) % open.len().max(1)).copied()
    }

    fn place(&self, at: At) -> Option<(LinkId, StreamId)> {
        let id = self.pick(at.link)?;
        let link = self.links.iter().find(|link| link.id == id)?;
        let stream = link.streams.get(usize::from(at.stream) % link.streams.len().max(1))?;
        Some((id, stream.id))
    }

    /// A connection to a node; `None` if the node refuses it.
    pub(super) fn connect(&mut self, node: usize, early: bool) -> Option<LinkId> {
        let link = LinkId(self.number());
        self.links.retain(|link| !link.closed);
        self.links.push(Link::new(link, node, !early));
        let input = match early {
            true => Input::Early { link, remote: REMOTE },
            false => Input::Connected { link, remote: REMOTE, exporter: exporter(link), early: false },
        };
        self.input(node, input);
        self.link(link).map(|link| link.id)
    }

    fn complete(&mut self, link: u8) {
        let Some(link) = self.pick(link) else { return };
        let Some(found) = self.link(link).filter(|link| !link.complete) else { return };
        found.complete = true;
        let node = found.node;
        self.input(node, Input::Connected { link, remote: REMOTE, exporter: exporter(link), early: true });
    }

    /// Connects, and says who is there.
    pub(super) fn sign_in(&mut self, node: usize, device: usize) -> Option<LinkId> {
        let link = self.connect(node, false)?;
        self.greet_as(link, device);
        Some(link)
    }

    /// Says a good `Hello` on a new link.
    pub(super) fn greet_as(&mut self, link: LinkId, device: usize) {
        let Some(session) = self.open(link, Kind::Session) else { return };
        let said = hello(Some(self.credentials(link, device)));
        if let Some(found) = self.link(link) {
            found.claims = Some(device);
            self.tell(link, session, &Request::Hello(said));
        }
    }

    /// Renews a device's tokens, on a connection of its own.
    pub(super) fn renew(&mut self, device: usize) {
        let Some(link) = self.connect(device % 2, false) else { return };
        let Some(session) = self.open(link, Kind::Session) else { return };
        self.tell(link, session, &Request::Hello(hello(None)));
        let request = self.refresh(link, device, u8::MAX);
        self.ask(link, request);
        self.close(link);
    }

    fn refresh(&self, link: LinkId, device: usize, request: u8) -> Request {
        let device = &self.devices[device];
        let token = device.verified.tokens.refresh.clone();
        let request = RequestId::new([request; 16]);
        let proof = sign(&device.key, Purpose::Refresh, link, &[token.expose(), request.as_bytes()]);
        Request::Refresh(request::Refresh { token, request, device_key: device.public(), proof })
    }

    fn greet(&mut self, link: u8, device: u8, how: Greeting) {
        let Some(link) = self.pick(link) else { return };
        let device = self.device(device);
        let mut said = hello(Some(self.credentials(link, device)));
        let mut is_good = true;
        match how {
            Greeting::Good => {}
            Greeting::Anonymous => (said.credentials, is_good) = (None, false),
            Greeting::Early { late_s } => said.credentials = Some(self.early_credentials(device, late_s)),
            Greeting::Stating(places) => {
                said.cursors = places
                    .into_iter()
                    .take(wire::limits::HELLO_CURSORS_MAX)
                    .map(|(with, place)| {
                        let chat = direct_chat_id(self.devices[device].account(), self.account(with));
                        (chat, self.seq(chat, place))
                    })
                    .collect();
            }
            Greeting::Version(version) => said.version = version,
            Greeting::BadProof => {
                said.credentials.as_mut().expect("just put there").proof[7] ^= 1;
                is_good = false;
            }
            Greeting::BadToken { byte } => {
                let credentials = said.credentials.as_mut().expect("just put there");
                let mut token: Vec<u8> = credentials.token.expose().clone().into_bytes();
                let place = usize::from(byte) % token.len();
                // Another digit of its alphabet; the last may differ in bits that mean nothing.
                token[place] = if token[place] == b'A' { b'B' } else { b'A' };
                credentials.token = Secret::new(String::from_utf8(token).expect("ASCII"));
                is_good = false;
            }
            Greeting::WrongToken => {
                let other = (device + 1) % self.devices.len();
                let token = self.devices[other].verified.tokens.access.clone();
                let key = &self.devices[device].key;
                let proof = sign(key, Purpose::Hello, link, &[token.expose().as_bytes()]);
                said.credentials = Some(request::Credentials { token, proof, early: None });
                is_good = false;
            }
        }
        let Some(found) = self.link(link) else { return };
        let Some(session) = found.streams.first().map(|stream| stream.id) else { return };
        if !found.greeted {
            found.claims = is_good.then_some(device);
        }
        self.tell(link, session, &Request::Hello(said));
    }

    fn credentials(&self, link: LinkId, device: usize) -> request::Credentials {
        let Device { key, verified, .. } = &self.devices[device];
        let token = verified.tokens.access.clone();
        let proof = sign(key, Purpose::Hello, link, &[token.expose().as_bytes()]);
        request::Credentials { token, proof, early: None }
    }

    fn early_credentials(&self, device: usize, late_s: i16) -> request::Credentials {
        let Device { key, verified, .. } = &self.devices[device];
        let token = verified.tokens.access.clone();
        let off = Duration::from_secs(late_s.unsigned_abs().into());
        let at = if late_s < 0 { self.now.wall - off } else { self.now.wall + off };
        let proof = bytes_of(key.sign(&proof::early_message(token.expose(), NAME, at)).as_ref());
        let early = Some(request::EarlyProof { signed_at: at, server_name: NAME.into() });
        request::Credentials { token, proof, early }
    }

    // ---- Streams.

    /// Opens a stream, if the client has one left.
    pub(super) fn open(&mut self, id: LinkId, kind: Kind) -> Option<StreamId> {
        let stream = StreamId(self.number());
        let link = self.link(id)?;
        if link.open_streams() >= STREAMS_MAX {
            return None;
        }
        let session_is_open = |link: &Link| link.streams.first().map(|stream| stream.id);
        let first = session_is_open(link);
        link.streams.retain(|stream| Some(stream.id) == first || !(stream.up_over && stream.down_over));
        link.streams.push(Stream::new(stream, kind));
        let node = link.node;
        self.input(node, Input::Opened { link: id, stream });
        Some(stream)
    }

    /// Says a request on a stream.
    pub(super) fn tell(&mut self, link: LinkId, stream: StreamId, request: &Request) {
        self.say(link, stream, Said::Frame(wire::frame::body_of(&request.encode())));
    }

    fn tell_at(&mut self, at: At, request: &Request) {
        if let Some((link, stream)) = self.place(at) {
            self.tell(link, stream, request);
        }
    }

    /// A request on a stream of its own.
    pub(super) fn ask(&mut self, link: LinkId, request: Request) {
        let asked = match &request {
            Request::GetMessages(get) => Asked::Messages(get.chat),
            Request::Refresh(refresh) => {
                let of = |device: &Device| device.public() == refresh.device_key;
                self.devices.iter().position(of).map_or(Asked::Else, |device| Asked::Refresh { device })
            }
            _ => Asked::Else,
        };
        // The first stream of a link is its session, whatever is said on it.
        let first = self.link(link).is_some_and(|link| link.streams.is_empty());
        let kind = if first { Kind::Session } else { Kind::Asked(asked) };
        if let Some(stream) = self.open(link, kind) {
            self.tell(link, stream, &request);
            self.say(link, stream, Said::Finished);
        }
    }

    fn chat_up(&mut self, link: u8, with: u8, named: bool) {
        let Some(link) = self.pick(link) else { return };
        let peer = self.account(with);
        let Some(found) = self.link(link) else { return };
        // Somebody who is nobody says it too.
        let (claims, first) = (found.claims.unwrap_or_default(), found.streams.is_empty());
        let chat = direct_chat_id(self.devices[claims].account(), peer);
        let kind = if first { Kind::Session } else { Kind::Other };
        if let Some(stream) = self.open(link, kind) {
            self.tell(link, stream, &Request::ChatUp { chat, peer: named.then_some(peer) });
        }
    }

    fn append(&mut self, at: At, id: u8, size: Size) {
        let Some((link, stream)) = self.place(at) else { return };
        let client_msg_id = ClientMsgId::new([id; 16]);
        let bytes = match size {
            Size::Nothing => 0,
            Size::Word => 5,
            Size::Page => 3000,
            Size::Most => wire::limits::CONTENT_BYTES_MAX,
            Size::TooMuch => wire::limits::CONTENT_BYTES_MAX + 1,
        };
        let content = Bytes::from(vec![id; bytes]);
        self.tell(
            link,
            stream,
            &Request::Append(request::Append { client_msg_id, content, kind: Hinted::Text }),
        );
    }

    fn move_cursor(&mut self, at: At, delivered: Place, read: Place) {
        let Some((link, stream)) = self.place(at) else { return };
        let chat = match self.link(link).and_then(|link| link.stream(stream)).map(|stream| &stream.kind) {
            Some(Kind::Chat { chat, .. }) => *chat,
            _ => ChatId::new([0; 16]),
        };
        let (delivered, read) = (self.seq(chat, delivered), self.seq(chat, read));
        self.tell(link, stream, &Request::MoveCursor { delivered, read });
    }

    fn reset(&mut self, at: At) {
        let Some((id, stream)) = self.place(at) else { return };
        let Some(link) = self.link(id) else { return };
        let node = link.node;
        if let Some(found) = link.stream(stream)
            && !(found.up_over && found.down_over)
        {
            found.is_over();
            if let Kind::Down { chat, .. } = found.kind {
                // What was on its way may come again.
                link.delivered.remove(&chat);
            }
            self.input(node, Input::Reset { link: id, stream });
        }
    }

    fn stall(&mut self, at: At, stalled: bool) {
        let Some((id, stream)) = self.place(at) else { return };
        let Some(link) = self.link(id) else { return };
        let node = link.node;
        if let Some(found) = link.stream(stream) {
            found.stalled = stalled;
        }
        self.run(node);
    }

    pub(super) fn allow(&mut self, link: u8, streams: usize) {
        let Some(id) = self.pick(link) else { return };
        self.allow_streams(id, streams);
    }

    /// The client allows the server so many streams.
    pub(super) fn allow_streams(&mut self, id: LinkId, streams: usize) {
        let Some(link) = self.link(id) else { return };
        let (node, more) = (link.node, streams > link.allowed);
        // QUIC takes no stream back.
        link.allowed = link.allowed.max(streams);
        if more && std::mem::take(&mut link.wants_streams) {
            self.input(node, Input::StreamsAvailable { link: id });
        }
    }

    // ---- Requests.

    fn seq(&self, chat: ChatId, place: Place) -> Seq {
        let last = self.model.last(chat).0;
        Seq(match place {
            Place::Zero => 0,
            Place::Back(by) => last.saturating_sub(by.into()),
            Place::Ahead(by) => last.saturating_add(by.into()),
            Place::Any(seq) => seq,
        })
    }

    fn request(&mut self, link: LinkId, ask: Ask) -> Request {
        let me = self.link(link).and_then(|link| link.claims).unwrap_or_default();
        let account = self.devices[me].account();
        match ask {
            Ask::Ping => Request::Ping { client_time: self.now.wall },
            Ask::Register { number, request } => {
                register(NUMBERS[usize::from(number) % NUMBERS.len()], request)
            }
            Ask::VerifyOtp { registration, right, key: seed } => {
                let places = self.registrations.len().max(1);
                let registration = self.registrations.get(usize::from(registration) % places);
                let registration = registration.copied().unwrap_or(RegistrationId::new([seed; 16]));
                let code = if right { self.code.clone() } else { "000000".to_owned() };
                verify(&key(seed.max(100)), link, registration, &code)
            }
            Ask::Refresh { device, request } => self.refresh(link, self.device(device), request),
            Ask::Logout => Request::Logout,
            Ask::ListDevices => Request::ListDevices,
            Ask::RevokeDevice { device } => {
                Request::RevokeDevice { device: self.devices[self.device(device)].verified.device }
            }
            Ask::Lookup { person } => {
                Request::Lookup { phone: self.devices[self.device(person)].verified.phone.clone() }
            }
            Ask::GetMessages { with, limit, before, after } => {
                let chat = direct_chat_id(account, self.account(with));
                let (before, after) = (self.seq(chat, before), self.seq(chat, after));
                Request::GetMessages(request::GetMessages { chat, limit, before, after })
            }
            Ask::GetChats { after } => Request::GetChats { after: after.map(|byte| ChatId::new([byte; 16])) },
            Ask::GetReceipts { with, seq } => {
                let chat = direct_chat_id(account, self.account(with));
                Request::GetReceipts { chat, seq: self.seq(chat, seq) }
            }
            Ask::Hello => Request::Hello(hello(None)),
            Ask::ChatUp { with } => {
                Request::ChatUp { chat: direct_chat_id(account, self.account(with)), peer: None }
            }
        }
    }

    /// What `edge/node/src/sweeper.rs` does, in one round.
    fn sweep(&mut self) {
        for shard in 0..OUTBOX_SHARDS {
            let due = self.now.wall - Duration::from_secs(5);
            let OpOutput::Sweep(swept) = self.execute(Op::Sweep(Sweep { shard, due, limit: 256 })) else {
                continue;
            };
            for behind in swept.behind {
                let LogId::Chat(chat) = behind.log else { continue };
                let (head, account, device) = (behind.head, behind.account, behind.device);
                for node in 0..2 {
                    self.input(node, Input::Hint(Hint::Behind { chat, head, account, device }));
                }
            }
            if !swept.keys.is_empty() {
                self.execute(Op::ClearOutbox(ClearOutbox { keys: swept.keys }));
            }
        }
    }
}

fn take<T>(queue: &mut std::collections::VecDeque<T>, number: u8) -> Option<T> {
    queue.remove(usize::from(number) % queue.len().max(1))
}

fn duration(time: Time) -> Duration {
    match time {
        Time::Millis(ms) => Duration::from_millis(ms.into()),
        Time::Seconds(s) => Duration::from_secs(s.into()),
        Time::Minutes(minutes) => Duration::from_secs(60 * u64::from(minutes)),
    }
}

fn exporter(link: LinkId) -> proof::Exporter {
    let mut exporter = [7; 32];
    exporter[..8].copy_from_slice(&link.0.to_le_bytes());
    exporter
}

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any seed is a key")
}

fn sign(key: &Ed25519KeyPair, purpose: Purpose, link: LinkId, fields: &[&[u8]]) -> [u8; 64] {
    bytes_of(key.sign(&proof::message(purpose, &exporter(link), fields)).as_ref())
}

/// Keys and signatures have their size.
pub(super) fn bytes_of<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("of this size")
}

fn hello(credentials: Option<request::Credentials>) -> request::Hello {
    let (version, receipts_since) = (1, WallTime(0));
    request::Hello { version, credentials, receipts_since, cursors: Vec::new(), client: "fuzz".into() }
}

fn register(phone: &str, request: u8) -> Request {
    Request::Register(request::Register {
        phone: Secret::new(phone.into()),
        name: "Somebody".into(),
        install: InstallId::new([request; 16]),
        request: RequestId::new([request; 16]),
    })
}

fn verify(key: &Ed25519KeyPair, link: LinkId, registration: RegistrationId, otp: &str) -> Request {
    let device_key: [u8; 32] = bytes_of(key.public_key().as_ref());
    let proof = sign(key, Purpose::VerifyOtp, link, &[registration.as_bytes(), &device_key]);
    let (otp, device_name) = (Secret::new(otp.to_owned()), "fuzz".into());
    Request::VerifyOtp(request::VerifyOtp { registration, otp, device_key, device_name, proof })
}
