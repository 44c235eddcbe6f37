//! A client and the script that is its server, in a chat whose group is there already: the other's end of it is real.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client_core::{
    ChatRow, Client, ClientEvent, Config, Input, Login, MemoryKv, Now, Output, Passed, Snapshot, StreamTag,
    Write,
};
use client_core::{KeyPackages, Kv, MlsRow};
use client_crypto::{DeviceKey, GroupName, Lifetime, Mls, Received, Row, Use};
use wire::event::{Connected, Entry, EntryKind, Event, Kind};
use wire::request::Request;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, Epoch, RequestId, Role, Secret, Seq, WallTime};

pub const ME: AccountId = AccountId::new([1; 16]);
pub const PEER: AccountId = AccountId::new([2; 16]);
pub const CHAT: ChatId = ChatId::new([3; 16]);
pub const WALL: WallTime = WallTime(1_700_000_000_000);

pub struct World {
    pub client: Client,
    pub now: Now,
    /// What was said on each stream since it was last looked at.
    pub said: BTreeMap<StreamTag, Vec<Request>>,
    pub roles: BTreeMap<StreamTag, Role>,
    pub kept: Vec<Write>,
    pub told: Vec<ClientEvent>,
    pub connects: usize,
    pub probes: usize,
    /// Whether the last attempt offered early data.
    pub early: bool,
    pub closes: usize,
    server_streams: u64,
    rows: MemoryKv,
    pub peer: Peer,
    /// The device has asked which others there are, and was told that there are none.
    has_listed: bool,
}

/// The other's end of the chat.
pub struct Peer {
    pub mls: Mls,
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What this device has sent, by id: as it was sealed, and what it says.
    pub seen: BTreeMap<ClientMsgId, (Bytes, Bytes)>,
}

pub const DEVICE_KEY: [u8; 32] = [5; 32];
const PEER_KEY: [u8; 32] = [4; 32];
pub const GROUP: GroupName = GroupName::Chat(CHAT);

/// The device that this client's key makes.
pub fn device() -> DeviceId {
    DeviceKey::from_seed(&DEVICE_KEY).device()
}

/// Both ends of a group of two devices, in epoch 1.
fn pair() -> (MemoryKv, Peer) {
    let seconds = WALL.as_millis() / 1000;
    let lifetime = Lifetime { from: seconds - 60, until: seconds + 3600 };
    let (mut own_rows, mut rows) = (BTreeMap::new(), BTreeMap::new());
    let mut own = Mls::new(ME, DeviceKey::from_seed(&DEVICE_KEY), [7; 32]);
    let mut mls = Mls::new(PEER, DeviceKey::from_seed(&PEER_KEY), [8; 32]);
    let package = own.key_packages(&own_rows, 1, lifetime, Use::Once).expect("made");
    keep(&mut own_rows, own.drain());
    let made = mls.create(&rows, GROUP, &package, id(200), seconds).expect("made");
    keep(&mut rows, mls.drain());
    let leaf = mls.own();
    let (account, device, client_msg_id) = (leaf.account, leaf.device, id(200));
    let entry = client_crypto::Entry {
        group: GROUP,
        account,
        device,
        client_msg_id,
        epoch: 0,
        content: &made.commit,
    };
    mls.receive(&rows, &entry).expect("its own commit");
    keep(&mut rows, mls.drain());
    own.join(&own_rows, GROUP, &made.welcomes[0].1, &made.tree.expect("a tree")).expect("joined");
    keep(&mut own_rows, own.drain());
    let kept = MemoryKv::default();
    own_rows.into_iter().for_each(|(key, value)| kept.apply(&Write::Mls(MlsRow { key, value: Some(value) })));
    (kept, Peer { mls, rows, seen: BTreeMap::new() })
}

fn keep(kept: &mut BTreeMap<Vec<u8>, Vec<u8>>, rows: Vec<Row>) {
    for (key, value) in rows {
        match value {
            Some(value) => drop(kept.insert(key, value)),
            None => drop(kept.remove(&key)),
        }
    }
}

impl Peer {
    pub fn seal(&mut self, id: ClientMsgId, content: &[u8]) -> Bytes {
        let sealed = self.mls.encrypt(&self.rows, GROUP, id, content).expect("sealed");
        keep(&mut self.rows, self.mls.drain());
        sealed.into()
    }

    /// What a message of this device says.
    fn opened(&mut self, append: &wire::request::Append) -> Bytes {
        if let Some((sealed, said)) = self.seen.get(&append.client_msg_id) {
            assert_eq!(*sealed, append.content, "of one epoch there is one sealed form");
            return said.clone();
        }
        let entry = client_crypto::Entry {
            group: GROUP,
            account: ME,
            device: device(),
            client_msg_id: append.client_msg_id,
            epoch: append.epoch.0,
            content: &append.content,
        };
        let Received::Message { content, .. } = self.mls.receive(&self.rows, &entry).expect("a message")
        else {
            panic!("no message");
        };
        keep(&mut self.rows, self.mls.drain());
        let said = Bytes::from(content);
        self.seen.insert(append.client_msg_id, (append.content.clone(), said.clone()));
        said
    }
}

pub fn login(expires_in: Duration) -> Login {
    Login {
        account: ME,
        device: DeviceId::new([9; 16]),
        access: Secret::new("token".into()),
        access_expires: WALL + expires_in,
        refresh: Secret::new([7; 48]),
        refresh_request: RequestId::new([8; 16]),
    }
}

pub fn known_chat(have: u64, told: u64) -> ChatRow {
    ChatRow { have: Seq(have), told: (Seq(told), Seq(0)), ..ChatRow::new(CHAT, Some(PEER)) }
}

impl World {
    pub fn new(kept: Snapshot) -> World {
        World::at(kept, start())
    }

    pub fn at(kept: Snapshot, instant: Instant) -> World {
        World::with(kept, instant, |rows| Box::new(rows.clone()))
    }

    /// With this to read rows of MLS state from.
    pub fn with(kept: Snapshot, instant: Instant, kv: impl FnOnce(&MemoryKv) -> Box<dyn Kv + Send>) -> World {
        let now = Now { instant, wall: WALL };
        let config = Config {
            device_key: Secret::new(DEVICE_KEY),
            seed: [6; 32],
            name: "test".into(),
            server_name: "edge.test".into(),
            key_packages: 10,
        };
        let (rows, peer) = pair();
        // Its key packages are published.
        let last_resort_until = WALL + Duration::from_secs(80 * 24 * 3600);
        let key_packages = KeyPackages { last_resort_until, publishing: None };
        let kept = Snapshot { key_packages, ..kept };
        let mut client = Client::new(&config, kept, kv(&rows), now);
        client.start(now);
        let (said, roles) = (BTreeMap::new(), BTreeMap::new());
        let mut world = World {
            client,
            now,
            said,
            roles,
            kept: vec![],
            told: vec![],
            connects: 0,
            probes: 0,
            early: false,
            closes: 0,
            server_streams: 1 << 63,
            rows,
            peer,
            has_listed: false,
        };
        world.drain();
        world
    }

    pub fn ready() -> World {
        let mut world =
            World::new(Snapshot { login: Some(login(Duration::from_secs(3600))), ..Snapshot::default() });
        world.accept(true);
        world
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Persist(write @ Write::Mls(_)) => self.rows.apply(&write),
                Output::Persist(Write::Sealed { .. }) => {}
                Output::Persist(write) => self.kept.push(write),
                Output::Notify(ClientEvent::Connecting) => {}
                Output::Notify(event) => self.told.push(event),
                Output::Connect { early } => {
                    self.connects += 1;
                    self.early = early;
                }
                Output::Probe => self.probes += 1,
                Output::Close => self.closes += 1,
                Output::Open { stream, role } => drop(self.roles.insert(stream, role)),
                Output::Send { stream, frame } => {
                    let request =
                        Request::decode(&wire::frame::body_of(&frame)).expect("a client sends what decodes");
                    if request == Request::ListDevices && !std::mem::replace(&mut self.has_listed, true) {
                        self.roles.remove(&stream);
                        let body = wire::frame::body_of(&Event::Devices(vec![]).encode());
                        self.client.handle_input(Input::Frame { stream, body }, self.now);
                        self.client.handle_input(Input::Ended { stream }, self.now);
                        continue;
                    }
                    self.said.entry(stream).or_default().push(request);
                }
                Output::Finish { .. } | Output::Abandon { .. } | Output::Moved => {}
            }
        }
    }

    pub fn input(&mut self, input: Input) {
        self.client.handle_input(input, self.now);
        self.drain();
    }

    pub fn event(&mut self, stream: StreamTag, event: &Event) {
        self.input(Input::Frame { stream, body: wire::frame::body_of(&event.encode()) });
    }

    pub fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some(due) = self.client.poll_timeout().filter(|&due| due <= end) {
            let step = due.saturating_duration_since(self.now.instant);
            self.now = Now { instant: self.now.instant + step, wall: self.now.wall + step };
            self.client.handle_timeout(self.now);
            self.drain();
        }
        let step = end.saturating_duration_since(self.now.instant);
        self.now = Now { instant: end, wall: self.now.wall + step };
    }

    /// Lets time pass, with a server that answers heartbeats.
    pub fn keep_alive(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.now.instant < end {
            self.pass(Duration::from_secs(1));
            let session = self.stream(Role::Session);
            for request in self.said.remove(&session).unwrap_or_default() {
                if let Request::Ping { client_time } = request {
                    self.event(session, &Event::Pong { client_time, server_time: client_time });
                }
            }
        }
    }

    /// The newest stream with a role.
    pub fn stream(&self, role: Role) -> StreamTag {
        *self.roles.iter().rev().find(|(_, r)| **r == role).expect("such a stream").0
    }

    pub fn take(&mut self, role: Role) -> Vec<Request> {
        let stream = self.stream(role);
        self.said.remove(&stream).unwrap_or_default()
    }

    /// Completes the handshake and accepts `Hello`, which is returned.
    pub fn accept(&mut self, identified: bool) -> wire::request::Hello {
        let hello = self.greet();
        let identity = identified.then_some((ME, DeviceId::new([9; 16])));
        let (server_time, token_expires) = (self.now.wall, self.now.wall + Duration::from_secs(3600));
        let connected = Connected {
            version: 1,
            identity,
            server_time,
            token_expires,
            chats: 1,
            refresh: false,
            key_packages: 100,
        };
        self.event(self.stream(Role::Session), &Event::Connected(connected));
        hello
    }

    /// The server says that the session stands.
    pub fn connected(&mut self, refresh: bool) {
        let identity = Some((ME, DeviceId::new([9; 16])));
        let (server_time, token_expires) = (self.now.wall, self.now.wall + Duration::from_secs(3600));
        let connected = Connected {
            version: 1,
            identity,
            server_time,
            token_expires,
            chats: 1,
            refresh,
            key_packages: 100,
        };
        self.event(self.stream(Role::Session), &Event::Connected(connected));
    }

    pub fn greet(&mut self) -> wire::request::Hello {
        self.input(Input::Connected { exporter: [4; 32], early: None });
        match self.take(Role::Session).pop() {
            Some(Request::Hello(hello)) => hello,
            other => panic!("{other:?}"),
        }
    }

    pub fn send(&mut self, text: &'static str) -> ClientMsgId {
        let id =
            self.client.send(CHAT, Some(PEER), Bytes::from_static(text.as_bytes()), self.now).expect("room");
        self.drain();
        id
    }

    /// Messages said on the newest up stream since the last look.
    pub fn appended(&mut self) -> Vec<Bytes> {
        let said = self.take(Role::ChatUp);
        let appends =
            said.iter().filter_map(|said| if let Request::Append(a) = said { Some(a) } else { None });
        appends.map(|append| self.peer.opened(append)).collect()
    }

    pub fn down(&mut self, from_seq: u64) -> StreamTag {
        self.server_streams += 1;
        let stream = StreamTag(self.server_streams);
        self.event(stream, &Event::ChatDown { chat: CHAT, from_seq: Seq(from_seq), peer: Some(PEER) });
        stream
    }

    pub fn entry(&mut self, down: StreamTag, seq: u64, sender: AccountId, id: ClientMsgId) {
        let (at, kind) = (WALL, Kind::Text);
        // What this device has said comes back as it was; what the other says is sealed anew, and of one id once.
        if !self.peer.seen.contains_key(&id) && sender == ME {
            self.appended();
        }
        let sealed = self.peer.seen.get(&id).map(|(sealed, _)| sealed.clone());
        let (device, content) = match sealed {
            Some(content) if sender == ME => (device(), content),
            Some(content) => (self.peer.mls.own().device, content),
            None => {
                let content = self.peer.seal(id, b"said");
                self.peer.seen.insert(id, (content.clone(), Bytes::from_static(b"said")));
                (self.peer.mls.own().device, content)
            }
        };
        let (seq, what, epoch) = (Seq(seq), EntryKind::Message, Epoch(1));
        let entry = Entry { seq, sender, device, client_msg_id: id, at, kind, content, what, epoch };
        self.event(down, &Event::Entry(entry));
    }

    /// Places that were taken, by a message or by one of this device's own that had its tick before.
    pub fn arrived(&self) -> Vec<u64> {
        let place = |write: &Write| match write {
            Write::Arrived(message) => Some(message.seq.0),
            Write::Passed { seq, what: Passed::Own, .. } => Some(seq.0),
            _ => None,
        };
        self.kept.iter().filter_map(place).collect()
    }

    /// How far the chat is kept as read.
    pub fn read(&self) -> u64 {
        let read = |write: &Write| if let Write::Read { read, .. } = write { Some(read.0) } else { None };
        self.kept.iter().filter_map(read).max().unwrap_or(0)
    }
}

#[expect(clippy::disallowed_methods, reason = "a test begins at some time")]
pub fn start() -> Instant {
    Instant::now()
}

/// A message is committed, and the device's cursor is here.
pub fn ack(client_msg_id: ClientMsgId, seq: u64, delivered: u64) -> Event {
    Event::AppendAck { client_msg_id, seq: Seq(seq), at: WALL, delivered: Seq(delivered) }
}

pub fn id(n: u8) -> ClientMsgId {
    ClientMsgId::new([n; 16])
}
