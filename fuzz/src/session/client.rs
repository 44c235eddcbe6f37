//! What clients do: acts become inputs.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use edge_proto::{Input, LinkId, StreamId};
use store::keys::direct_chat_id;
use wire::event::Kind as Hinted;
use wire::proof::Purpose;
use wire::request::{self, Request};
use wire::{AccountId, ClientMsgId, Epoch, Secret};

use super::act::{Act, At, Greeting, Place, Size, Time};
use super::link::{Asked, Kind, Link, STREAMS_MAX, Said, Stream};
use super::model::Device;
use super::request::{exporter, hello, key, register, seq_of, sign, verify};
use super::world::World;

/// Messages with ids from here on are sealed for an epoch that is not there yet.
const EARLY_IDS: u8 = 0xF0;

const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Alice has two devices, Bob and Carol one each.
pub(super) const NUMBERS: [&str; 4] =
    ["+4915100000001", "+4915100000001", "+4915100000002", "+4915100000003"];

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
        if self.devices.len() < NUMBERS.len() {
            let key = key(self.devices.len() as u8 + 1);
            self.devices.push(Device { key, verified });
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
            Act::Commit { link, group, id, change, fault } => {
                if let Some(link) = self.pick(link) {
                    self.commit(link, group, id, &change, &fault);
                }
            }
            Act::GroupUp { link, group } => {
                if let Some(link) = self.pick(link) {
                    let caller = self.caller(link);
                    let chat = self.group(caller, group);
                    self.begin_up(link, &Request::ChatUp { chat, peer: None });
                }
            }
            Act::InboxUp { link } => {
                if let Some(link) = self.pick(link) {
                    self.begin_up(link, &Request::InboxUp);
                }
            }
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

    // ---- Connections.

    /// The device that a number stands for.
    pub(super) fn device(&self, number: u8) -> usize {
        usize::from(number) % self.devices.len()
    }

    pub(super) fn account(&self, number: u8) -> AccountId {
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
            Request::GetGroup { chat } => Asked::Group(*chat),
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
        let chat = direct_chat_id(self.caller(link), peer);
        self.begin_up(link, &Request::ChatUp { chat, peer: named.then_some(peer) });
    }

    /// Whose link it is. Somebody who is nobody says things, too.
    pub(super) fn caller(&mut self, link: LinkId) -> AccountId {
        let claims = self.link(link).and_then(|link| link.claims).unwrap_or_default();
        self.devices[claims].account()
    }

    /// A stream that begins with this, and on which more is said.
    fn begin_up(&mut self, link: LinkId, role: &Request) {
        let first = self.link(link).is_some_and(|link| link.streams.is_empty());
        let kind = if first { Kind::Session } else { Kind::Other };
        if let Some(stream) = self.open(link, kind) {
            self.tell(link, stream, role);
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
        let epoch = self.epoch_on(link, stream, id);
        self.tell(
            link,
            stream,
            &Request::Append(request::Append { client_msg_id, content, kind: Hinted::Text, epoch }),
        );
    }

    /// The epoch that a device says its message is sealed for: the chat's, but for some ids the one after it.
    fn epoch_on(&mut self, link: LinkId, stream: StreamId, id: u8) -> Epoch {
        let account = self.caller(link);
        let found = self.link(link).and_then(|link| link.stream(stream));
        let Some(Kind::Chat { chat, .. }) = found.map(|stream| &stream.kind) else { return Epoch::ZERO };
        let chat = *chat;
        let epoch = self.group_state(chat, account).map_or(Epoch::ZERO, |state| state.epoch);
        if id < EARLY_IDS { epoch } else { epoch.next() }
    }

    fn move_cursor(&mut self, at: At, delivered: Place, read: Place) {
        let Some((link, stream)) = self.place(at) else { return };
        let Some(found) = self.link(link) else { return };
        let inbox = found.inbox;
        let last = match found.stream(stream).map(|stream| &stream.kind) {
            Some(Kind::Chat { chat, .. }) => {
                let chat = *chat;
                self.model.last(chat)
            }
            Some(Kind::InboxUp) => inbox,
            _ => wire::Seq::ZERO,
        };
        let (delivered, read) = (seq_of(last, delivered), seq_of(last, read));
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
}

fn duration(time: Time) -> Duration {
    match time {
        Time::Millis(ms) => Duration::from_millis(ms.into()),
        Time::Seconds(s) => Duration::from_secs(s.into()),
        Time::Minutes(minutes) => Duration::from_secs(60 * u64::from(minutes)),
    }
}
