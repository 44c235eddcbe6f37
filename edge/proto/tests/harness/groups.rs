//! People whose devices really encrypt, and what they ask of the node for that.

use std::collections::BTreeMap;

use bytes::Bytes;
use client_crypto::{Committed, DeviceKey, GroupName, Lifetime, Mls, Use, Wanted};
use edge_proto::StreamId;
use store::keys::{direct_chat_id, group_chat_id};
use store::op::{self, NewLeaf, Op, OpOutput};
use wire::event::{Entry, EntryKind, Event, InboxEntry, InboxItem, KeyPackage, Kind, Welcome};
use wire::request::{self, Action, ClaimKeyPackages, CommitGroup, PublishKeyPackages, Request};
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, Epoch, ErrorCode, LogId, RequestId, Seq, limits};

use super::{Device, Live, START, World, backend};

/// A device with its end of all groups, connected.
pub struct Phone {
    pub device: Device,
    pub live: Live,
    pub mls: Mls,
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A commit as it is asked for: its header, and the bytes that follow.
#[derive(Clone)]
pub struct Ask {
    pub header: CommitGroup,
    pub blobs: Vec<u8>,
}

pub const LIFE: Lifetime = Lifetime { from: 0, until: u64::MAX };

pub fn id(n: u8) -> ClientMsgId {
    ClientMsgId::new([n; 16])
}

/// Now, in wall seconds.
pub fn now_s() -> u64 {
    START.as_millis() / 1000
}

impl Phone {
    /// Registers, connects, and publishes some key packages.
    pub fn new(world: &mut World, name: &str, seed: u8) -> Phone {
        let device = world.register(&format!("+49151000001{seed:02}"), name, seed);
        let live = world.hello(&device);
        let mut phone = Phone::of(device, live, seed);
        phone.publish(world, 4);
        phone
    }

    pub fn of(device: Device, live: Live, seed: u8) -> Phone {
        let mls = Mls::new(device.account(), DeviceKey::from_seed(&[seed; 32]), [seed; 32]);
        Phone { device, live, mls, rows: BTreeMap::new() }
    }

    pub fn account(&self) -> AccountId {
        self.device.account()
    }

    pub fn id(&self) -> DeviceId {
        self.device.verified.device
    }

    fn save(&mut self) {
        for (key, value) in self.mls.drain() {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }

    pub fn key_packages(&mut self, count: usize, life: Lifetime, used: Use) -> Vec<Bytes> {
        let made = self.mls.key_packages(&self.rows, count, life, used).expect("made");
        self.save();
        made.into_iter().map(Bytes::from).collect()
    }

    pub fn publish(&mut self, world: &mut World, count: usize) {
        let packages = self.key_packages(count, LIFE, Use::Once);
        let request = PublishKeyPackages {
            request: RequestId::new([world.asked.len() as u8; 16]),
            packages,
            last_resort: None,
        };
        let stored = world.ask(self.live.link, &Request::PublishKeyPackages(request));
        assert!(matches!(stored[..], [Event::KeyPackagesStored { .. }]), "{stored:?}");
    }

    /// One key package of each device of some accounts.
    pub fn claim(&self, world: &mut World, accounts: &[AccountId]) -> Vec<KeyPackage> {
        let request = ClaimKeyPackages { accounts: accounts.to_vec(), after: None };
        match &world.ask(self.live.link, &Request::ClaimKeyPackages(request))[..] {
            [Event::KeyPackages { packages, has_more: false }] => packages.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn wanted(packages: &[KeyPackage]) -> Vec<Vec<u8>> {
        packages.iter().map(|package| package.bytes.as_ref().expect("some are left").to_vec()).collect()
    }

    /// The first commit of a group of this device and some others.
    pub fn make_group(&mut self, world: &mut World, others: &[&Phone], n: u8) -> (ChatId, Ask) {
        let members: Vec<AccountId> = others.iter().map(|other| other.account()).collect();
        let packages = Phone::wanted(&self.claim(world, &members));
        let chat = group_chat_id(self.account(), id(n));
        let made =
            self.mls.create(&self.rows, GroupName::Chat(chat), &packages, id(n), now_s()).expect("created");
        self.save();
        let action = Action::MakeGroup { name: "Friends".into(), description: String::new(), members };
        (chat, Ask::new(chat, n, action, &made))
    }

    /// The first commit of the 1:1 chat with somebody.
    pub fn make_direct(&mut self, world: &mut World, other: &Phone, n: u8) -> (ChatId, Ask) {
        let peer = other.account();
        let packages = Phone::wanted(&self.claim(world, &[peer]));
        let chat = direct_chat_id(self.account(), peer);
        let made = self.mls.create(&self.rows, GroupName::Chat(chat), &packages, id(n), now_s());
        self.save();
        (chat, Ask::new(chat, n, Action::MakeDirect { peer }, &made.expect("created")))
    }

    /// A further commit.
    pub fn commit(
        &mut self,
        chat: ChatId,
        action: Action,
        adds: &[KeyPackage],
        removes: &[DeviceId],
        n: u8,
    ) -> Ask {
        let wanted = Wanted { adds: &Phone::wanted(adds), removes };
        let made = self.mls.commit(&self.rows, GroupName::Chat(chat), &wanted, id(n), now_s()).expect("made");
        self.save();
        Ask::new(chat, n, action, &made)
    }

    /// Forgets a commit that the server has refused.
    pub fn drop_pending(&mut self, chat: ChatId) {
        self.mls.drop_pending(&self.rows, GroupName::Chat(chat)).expect("there was one");
        self.save();
    }

    /// Takes an entry of the log.
    pub fn receive(&mut self, chat: ChatId, entry: &Entry) -> client_crypto::Received {
        let received =
            self.mls.receive(&self.rows, &client_crypto::Entry::of(chat, entry)).expect("it is right");
        self.save();
        received
    }

    pub fn join(&mut self, chat: ChatId, welcome: &[u8], tree: &[u8]) {
        self.mls.join(&self.rows, GroupName::Chat(chat), welcome, tree).expect("joined");
        self.save();
    }

    pub fn encrypt(&mut self, chat: ChatId, n: u8, epoch: u64, text: &[u8]) -> Request {
        let content = self.mls.encrypt(&self.rows, GroupName::Chat(chat), id(n), text).expect("encrypted");
        self.save();
        sealed(n, epoch, content)
    }
}

/// What an append in an epoch holds, whether it could be opened or not.
pub fn sealed(n: u8, epoch: u64, content: impl Into<Bytes>) -> Request {
    let (client_msg_id, epoch) = (id(n), Epoch(epoch));
    Request::Append(request::Append { client_msg_id, content: content.into(), kind: Kind::Unsaid, epoch })
}

impl Ask {
    pub fn new(chat: ChatId, n: u8, action: Action, made: &Committed) -> Ask {
        let (header, blobs) = made.request(chat, id(n), action);
        Ask { header, blobs }
    }

    /// The commit, as it is asked for.
    pub fn commit(&self) -> &[u8] {
        &self.blobs[..self.header.commit_bytes as usize]
    }

    /// The same with so many bytes of commit, by that phone: only members would notice.
    pub fn inflated(mut self, by: &Phone, bytes: usize) -> Ask {
        let rest = self.blobs.split_off(self.header.commit_bytes as usize);
        self.blobs = wire_mls::testing::inflated(&self.blobs, by.mls.own(), bytes);
        self.header.commit_bytes = bytes as u32;
        self.blobs.extend(rest);
        self
    }

    pub fn parts(&self, piece_bytes: usize) -> Vec<Request> {
        let mut left = self.blobs.len();
        let part = |piece: &[u8]| {
            left -= piece.len();
            Request::Part { bytes: Bytes::copy_from_slice(piece), left: left as u32 }
        };
        self.blobs.chunks(piece_bytes).map(part).collect()
    }

    /// Says all of it.
    pub fn say(&self, world: &mut World, live: Live) -> StreamId {
        let stream = world.open(live.link);
        world.say(live.link, stream, &Request::CommitGroup(self.header.clone()));
        for part in self.parts(limits::PART_BYTES_MAX) {
            world.say(live.link, stream, &part);
        }
        stream
    }

    /// What is in the log of it.
    pub fn entry(&self, by: &Phone, seq: u64) -> Entry {
        Entry {
            seq: Seq(seq),
            sender: by.account(),
            device: by.id(),
            client_msg_id: self.header.client_msg_id,
            at: START,
            kind: Kind::Unsaid,
            content: Bytes::copy_from_slice(self.commit()),
            what: EntryKind::Commit { parts: 0 },
            epoch: self.header.epoch,
        }
    }

    /// Commits it on another node, of which this one does not hear.
    pub fn commit_elsewhere(&self, world: &World, by: &Phone) {
        let mut bytes = Bytes::copy_from_slice(&self.blobs);
        let handshake = bytes.split_to(self.header.commit_bytes as usize);
        let tree = bytes.split_to(self.header.tree_bytes as usize);
        let seen = wire_mls::inspect::commit(&handshake).expect("a commit");
        let adds = seen.adds.iter().zip(&self.header.adds).map(|(add, stated)| NewLeaf {
            key: add.leaf.key,
            account: stated.account,
            device: stated.device,
            welcome: bytes.split_to(stated.welcome_bytes as usize),
        });
        let action = match &self.header.action {
            Action::AddMembers { accounts } => op::Action::Add { accounts: accounts.clone() },
            Action::RemoveMembers { accounts } => op::Action::Remove { accounts: accounts.clone() },
            other => panic!("nobody asks for {other:?} elsewhere"),
        };
        let commit = op::Commit {
            log: LogId::Chat(self.header.chat),
            sender: by.account(),
            device: by.id(),
            client_msg_id: self.header.client_msg_id,
            epoch: self.header.epoch,
            handshake,
            action,
            adds: adds.collect(),
            removes: seen.removes.clone(),
            leaf: Some(seen.sender),
            tree: (!tree.is_empty()).then_some(tree),
            now: world.now.wall,
        };
        let committed = backend::execute(&world.store, Op::Commit(Box::new(commit)));
        assert!(matches!(committed, OpOutput::Commit(Ok(_))), "{committed:?}");
    }

    /// Says all of it, and reads the answer.
    pub fn ask(&self, world: &mut World, live: Live) -> Result<(u64, u64), ErrorCode> {
        let stream = self.say(world, live);
        match world.heard_on(live.link, stream) {
            [Event::Committed { seq, epoch, .. }] => Ok((seq.0, epoch.0)),
            [Event::Refused(refusal)] => Err(refusal.code),
            other => panic!("{other:?}, reset: {}", world.reset.contains(&(live.link, stream))),
        }
    }
}

impl World {
    /// What a link heard of a chat on all its down streams: entries whole, their parts put together.
    pub fn whole_entries(&self, link: super::LinkId, chat: ChatId) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for (_, events) in self.heard.range((link, StreamId(0))..=(link, StreamId(u64::MAX))) {
            if !matches!(events.first(), Some(Event::ChatDown { chat: c, .. }) if *c == chat) {
                continue;
            }
            let mut parts_due = 0;
            for event in events {
                match event {
                    Event::Entry(entry) => {
                        assert_eq!(parts_due, 0, "an entry in the middle of another");
                        parts_due = entry.what.parts();
                        entries.push(entry.clone());
                    }
                    Event::EntryPart(part) => {
                        let entry = entries.last_mut().expect("parts follow their entry");
                        assert_eq!(part.seq, entry.seq);
                        assert_eq!(part.part, entry.what.parts() - parts_due + 1, "in order");
                        entry.content = [&entry.content[..], &part.bytes].concat().into();
                        parts_due -= 1;
                    }
                    other => assert_eq!(parts_due, 0, "{other:?} in the middle of an entry"),
                }
            }
            assert_eq!(parts_due, 0, "an entry without its end");
        }
        entries
    }

    /// The places of the entries that a link heard of a chat.
    pub fn places(&self, live: Live, chat: ChatId) -> Vec<u64> {
        self.whole_entries(live.link, chat).iter().map(|entry| entry.seq.0).collect()
    }

    /// What a link heard of its device's inbox.
    pub fn inbox(&self, live: Live) -> Vec<InboxEntry> {
        let mut entries = Vec::new();
        for (_, events) in self.heard.range((live.link, StreamId(0))..=(live.link, StreamId(u64::MAX))) {
            if matches!(events.first(), Some(Event::InboxDown { .. })) {
                entries.extend(events.iter().filter_map(|event| match event {
                    Event::InboxEntry(entry) => Some(entry.clone()),
                    _ => None,
                }));
            }
        }
        entries
    }

    /// The newest welcome that a link heard of.
    pub fn welcome(&self, live: Live) -> Welcome {
        match self.inbox(live).pop() {
            Some(InboxEntry { what: InboxItem::Welcome(welcome), .. }) => welcome,
            other => panic!("{other:?}"),
        }
    }

    /// Fetches the tree of an epoch.
    pub fn tree(&mut self, live: Live, chat: ChatId, epoch: u64) -> Vec<u8> {
        let mut tree = Vec::new();
        for event in self.ask(live.link, &Request::GetTree { chat, epoch: Epoch(epoch) }) {
            match event {
                Event::Part { bytes, .. } => tree.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
        }
        tree
    }
}

/// Alice, and Bob, whom she has made a group with: both are in epoch 1.
pub fn friends(world: &mut World) -> (Phone, Phone, ChatId) {
    let (mut alice, mut bob) = (Phone::new(world, "Alice", 1), Phone::new(world, "Bob", 2));
    let (chat, ask) = alice.make_group(world, &[&bob], 200);
    assert_eq!(ask.ask(world, alice.live), Ok((1, 1)));
    let entry = world.whole_entries(alice.live.link, chat).remove(0);
    alice.receive(chat, &entry);
    let welcome = world.welcome(bob.live);
    let tree = world.tree(bob.live, chat, 1);
    bob.join(chat, &welcome.bytes, &tree);
    (alice, bob, chat)
}
