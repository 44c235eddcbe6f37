//! A phone: a client's process that can die, what outlives it, and the streams of its connection.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use client_core::{
    Client, ClientEvent, Config, Input, Login, MemoryKv, Message, Now, Output, Passed, Snapshot, StreamTag,
    Write,
};
use client_crypto::DeviceKey;
use wire::event::Event;
use wire::request::{CommitGroup, Request};
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, RequestId, Role, Secret, Seq};

/// When a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Just before this many more drains are kept.
    Before(usize),
    /// Just after.
    After(usize),
}

/// What outlives the process.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) kept: Snapshot,
    pub(crate) rows: MemoryKv,
    pub(crate) messages: BTreeMap<(ChatId, Seq), Message>,
    pub(crate) passed: BTreeMap<(ChatId, Seq), Passed>,
    pub(crate) sent: BTreeMap<ClientMsgId, Message>,
    pub(crate) failed: Vec<ClientMsgId>,
}

impl Disk {
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Arrived(Message { chat, seq, .. }) | Write::Passed { chat, seq, .. } => {
                let have = self.have(*chat);
                assert!(*seq == have.next() || have == Seq::ZERO, "{seq} is kept after {have}");
            }
            _ => {}
        }
        match write {
            Write::Arrived(message) => {
                drop(self.messages.insert((message.chat, message.seq), message.clone()))
            }
            Write::Passed { chat, seq, what, .. } => drop(self.passed.insert((*chat, *seq), *what)),
            Write::Sent(message) => drop(self.sent.insert(message.client_msg_id, message.clone())),
            Write::Failed { client_msg_id, .. } => self.failed.push(*client_msg_id),
            _ => {}
        }
        self.kept.apply(write);
        self.rows.apply(write);
    }

    pub(crate) fn have(&self, chat: ChatId) -> Seq {
        self.kept.chat(chat).map_or(Seq::ZERO, |row| row.have)
    }
}

/// One stream, with what is on its way in both directions.
pub(crate) struct Stream {
    pub(crate) role: Role,
    pub(crate) chat: Option<ChatId>,
    pub(crate) inbox: bool,
    pub(crate) up: VecDeque<Request>,
    /// `None` is the end.
    pub(crate) down: VecDeque<Option<Event>>,
    /// A refusal ended it: what still comes is not looked at.
    pub(crate) ended: bool,
    pub(crate) over_by_client: bool,
    pub(crate) over: bool,
    /// A commit whose parts are coming.
    pub(crate) commit: Option<(CommitGroup, Vec<u8>)>,
}

pub(crate) struct Phone {
    pub(crate) account: AccountId,
    seed: [u8; 32],
    pub(crate) client: Option<Client>,
    pub(crate) disk: Disk,
    pub(crate) streams: Option<BTreeMap<StreamTag, Stream>>,
    pub(crate) greeted: bool,
    /// What was put on its way down, of chats and of the inbox.
    pub(crate) sent_down: BTreeMap<ChatId, Seq>,
    pub(crate) inbox_sent: Seq,
    pub(crate) told: Vec<ClientEvent>,
    pub(crate) dies: Option<Death>,
    /// Drains that were kept.
    pub(crate) drains: usize,
    /// It is not to be connected.
    pub(crate) away: bool,
    pub(crate) connects: usize,
    starts: u8,
    server_tags: u64,
    /// All that was said by this phone, as bytes: what a server could look through.
    pub(crate) frames: Vec<Bytes>,
}

impl Phone {
    pub(crate) fn new(number: u8, account: AccountId, now: Now) -> Phone {
        let mut seed = [3; 32];
        seed[0] = number;
        let login = Login {
            account,
            device: DeviceKey::from_seed(&seed).device(),
            access: Secret::new("token".into()),
            access_expires: now.wall + Duration::from_secs(10_000_000),
            refresh: Secret::new([7; 48]),
            refresh_request: RequestId::new([8; 16]),
        };
        let mut disk = Disk::default();
        disk.kept.login = Some(login);
        Phone {
            account,
            seed,
            client: None,
            disk,
            streams: None,
            greeted: false,
            sent_down: BTreeMap::new(),
            inbox_sent: Seq::ZERO,
            told: Vec::new(),
            dies: None,
            drains: 0,
            away: false,
            connects: 0,
            starts: 0,
            server_tags: 1 << 63,
            frames: Vec::new(),
        }
    }

    pub(crate) fn key(&self) -> DeviceKey {
        DeviceKey::from_seed(&self.seed)
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.key().device()
    }

    pub(crate) fn start(&mut self, now: Now) {
        self.starts += 1;
        let mut seed = self.seed;
        seed[1] = self.starts;
        let config = Config {
            device_key: Secret::new(self.seed),
            seed,
            name: "test".into(),
            server_name: "edge.test".into(),
            key_packages: crate::world::KEY_PACKAGES,
        };
        let mut client = Client::new(&config, self.disk.kept.clone(), Box::new(self.disk.rows.clone()), now);
        client.start(now);
        self.client = Some(client);
        self.drain();
    }

    /// The process is gone, and its connection.
    pub(crate) fn kill(&mut self) {
        self.client = None;
        self.streams = None;
        self.dies = None;
    }

    pub(crate) fn with<T>(&mut self, now: Now, f: impl FnOnce(&mut Client, Now) -> T) -> Option<T> {
        let done = f(self.client.as_mut()?, now);
        self.drain();
        Some(done)
    }

    /// Performs what the client asks: first what is to be kept, all of it or nothing. A process may die before that, or
    /// after.
    pub(crate) fn drain(&mut self) {
        let Some(client) = &mut self.client else { return };
        let outputs: Vec<Output> = std::iter::from_fn(|| client.poll_output()).collect();
        let writes = outputs.iter().any(|output| matches!(output, Output::Persist(_)));
        self.drains += usize::from(writes);
        let dies =
            writes && self.dies.is_some_and(|death| matches!(death, Death::Before(0) | Death::After(0)));
        if dies && matches!(self.dies, Some(Death::Before(_))) {
            return self.kill();
        }
        for output in &outputs {
            if let Output::Persist(write) = output {
                self.disk.apply(write);
            }
        }
        if dies {
            return self.kill();
        }
        if let (true, Some(Death::Before(more) | Death::After(more))) = (writes, &mut self.dies) {
            *more -= 1;
        }
        outputs.into_iter().for_each(|output| self.perform(output));
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Connect { .. } => {
                assert!(self.streams.is_none(), "one connection at a time");
                self.connects += 1;
                (self.streams, self.greeted) = (Some(BTreeMap::new()), false);
            }
            Output::Close => self.streams = None,
            Output::Open { stream, role } => self.open(stream, role, None),
            Output::Send { stream, frame } => {
                let request =
                    Request::decode(&wire::frame::body_of(&frame)).expect("a client's frame decodes");
                self.frames.push(frame);
                if let Some(stream) = self.stream(stream) {
                    assert!(!stream.over_by_client, "nothing is said after the end");
                    stream.up.push_back(request);
                }
            }
            Output::Finish { stream } => {
                self.stream(stream).into_iter().for_each(|stream| stream.over_by_client = true);
            }
            Output::Abandon { stream } => {
                self.streams.as_mut().into_iter().for_each(|streams| drop(streams.remove(&stream)));
            }
            Output::Notify(event) => self.told.push(event),
            Output::Probe | Output::Moved | Output::Persist(_) => {}
        }
    }

    pub(crate) fn stream(&mut self, tag: StreamTag) -> Option<&mut Stream> {
        self.streams.as_mut()?.get_mut(&tag)
    }

    pub(crate) fn tags(&self) -> Vec<StreamTag> {
        self.streams.iter().flatten().map(|(&tag, _)| tag).collect()
    }

    pub(crate) fn open(&mut self, tag: StreamTag, role: Role, chat: Option<ChatId>) {
        let (up, down) = (VecDeque::new(), VecDeque::new());
        let (ended, over_by_client, over, inbox) = (false, false, false, false);
        let stream = Stream { role, chat, inbox, up, down, ended, over_by_client, over, commit: None };
        if let Some(streams) = &mut self.streams {
            streams.insert(tag, stream);
        }
    }

    pub(crate) fn answer(&mut self, tag: StreamTag, event: Event) {
        if let Some(stream) = self.stream(tag) {
            stream.down.push_back(Some(event));
        }
    }

    /// The answer, and the end.
    pub(crate) fn answer_all(&mut self, tag: StreamTag, events: Vec<Event>) {
        let Some(stream) = self.stream(tag) else { return };
        stream.down.extend(events.into_iter().map(Some));
        stream.down.push_back(None);
        stream.over = true;
    }

    /// A down stream of a chat, or of the inbox, opened if there is none.
    pub(crate) fn down_stream(&mut self, chat: Option<ChatId>, first: Event) -> StreamTag {
        let is_its = |s: &Stream| s.role == Role::ChatDown && s.chat == chat && !s.over;
        if let Some(tag) = self.streams.iter().flatten().find(|(_, s)| is_its(s)).map(|(&tag, _)| tag) {
            return tag;
        }
        self.server_tags += 1;
        let tag = StreamTag(self.server_tags);
        self.open(tag, Role::ChatDown, chat);
        self.answer(tag, first);
        tag
    }

    /// The client hears the next thing of a stream; `false` if there is none.
    pub(crate) fn hear(&mut self, tag: StreamTag, now: Now) -> bool {
        let Some(event) = self.stream(tag).and_then(|stream| stream.down.pop_front()) else { return false };
        let input = match event {
            None => Input::Ended { stream: tag },
            Some(event) => Input::Frame { stream: tag, body: wire::frame::body_of(&event.encode()) },
        };
        if let (Input::Ended { .. }, Some(streams)) = (&input, &mut self.streams) {
            streams.remove(&tag);
        }
        self.with(now, |client, now| client.handle_input(input, now));
        true
    }

    pub(crate) fn lose(&mut self, now: Now) {
        self.streams = None;
        self.with(now, |client, now| client.handle_input(Input::Closed { reason: "cut".into() }, now));
    }

    pub(crate) fn pass(&mut self, now: Now) {
        if self.client.as_ref().and_then(Client::poll_timeout).is_some_and(|due| due <= now.instant) {
            self.with(now, |client, now| client.handle_timeout(now));
        }
        let begun = self.streams.as_ref().is_some_and(BTreeMap::is_empty) && !self.greeted;
        if begun && self.client.is_some() {
            let connected = Input::Connected { exporter: [4; 32], early: None };
            self.with(now, |client, now| client.handle_input(connected, now));
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.is_settled() && client.is_ready())
    }

    /// What this phone's person has read in a chat, in its order, what they said themselves included.
    pub(crate) fn read(&self, chat: ChatId) -> Vec<(Seq, Bytes)> {
        let all = self.disk.messages.range((chat, Seq(0))..=(chat, Seq(u64::MAX)));
        let sent = self.disk.sent.values().filter(|message| message.chat == chat);
        let all = all.map(|(_, message)| message).chain(sent);
        let read: BTreeMap<Seq, Bytes> = all.map(|message| (message.seq, message.content.clone())).collect();
        read.into_iter().collect()
    }
}
