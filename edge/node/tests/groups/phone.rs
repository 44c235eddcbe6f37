//! A device that really encrypts, on a real connection.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use client_crypto::{Committed, DeviceKey, GroupName, Lifetime, Mls, Received, Use, Wanted};
use wire::event::{Entry, Event, InboxItem, KeyPackage, Kind, Welcome};
use wire::request::{self, Action, ClaimKeyPackages, CommitGroup, PublishKeyPackages, Request};
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, Epoch, RequestId, Role, Seq, limits};
use wire_link::StreamId;
use wire_mls::Leaf;

use super::support::{Person, Raw, TestNode, hygiene, random};

/// A person's device, connected.
pub(super) struct Phone {
    pub(super) person: Person,
    pub(super) raw: Raw,
    mls: Mls,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A commit: its header, and the bytes that follow.
pub(super) struct Ask {
    pub(super) header: CommitGroup,
    pub(super) blobs: Vec<u8>,
}

impl Phone {
    /// Registers, connects, and publishes some key packages.
    pub(super) fn new(node: &TestNode, phone: &str, name: &str, seed: u8) -> Phone {
        let person = node.register(phone, name, seed);
        let raw = node.online(&person);
        let mls = Mls::new(person.account(), DeviceKey::from_seed(&[seed; 32]), random());
        let mut phone = Phone { person, raw, mls, rows: BTreeMap::new() };
        let life = Lifetime { from: 0, until: u64::MAX };
        let packages = phone.mls.key_packages(&phone.rows, 3, life, Use::Once).expect("made");
        phone.save();
        let packages = packages.into_iter().map(Bytes::from).collect();
        let request = RequestId::new(random());
        let request = PublishKeyPackages { request, packages, last_resort: None };
        let stored = phone.raw.ask(&Request::PublishKeyPackages(request));
        assert!(matches!(stored[..], [Event::KeyPackagesStored { count: 3 }]), "{stored:?}");
        phone
    }

    /// Connects again.
    pub(super) fn back(&mut self, node: &TestNode) {
        self.raw = node.online(&self.person);
    }

    pub(super) fn account(&self) -> AccountId {
        self.person.account()
    }

    pub(super) fn leaf(&self) -> Leaf {
        self.mls.own()
    }

    pub(super) fn device(&self) -> DeviceId {
        self.person.verified.device
    }

    fn save(&mut self) {
        for (key, value) in self.mls.drain() {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }

    pub(super) fn claim(&mut self, accounts: &[AccountId]) -> Vec<KeyPackage> {
        let request = ClaimKeyPackages { accounts: accounts.to_vec(), after: None };
        match &self.raw.ask(&Request::ClaimKeyPackages(request))[..] {
            [Event::KeyPackages { packages, has_more: false }] => packages.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The first commit of a group with others.
    pub(super) fn make_group(&mut self, members: &[AccountId]) -> (ChatId, Ask) {
        let packages = bytes_of(&self.claim(members));
        let id = ClientMsgId::new(random());
        let chat = store::keys::group_chat_id(self.account(), id);
        let made = self.mls.create(&self.rows, GroupName::Chat(chat), &packages, id, now_s());
        let made = made.expect("created");
        self.save();
        let (name, description, members) = ("Friends".to_owned(), String::new(), members.to_vec());
        (chat, Ask::new(chat, id, Action::MakeGroup { name, description, members }, &made))
    }

    /// A further commit.
    pub(super) fn commit(
        &mut self,
        chat: ChatId,
        action: Action,
        adds: &[KeyPackage],
        removes: &[DeviceId],
    ) -> Ask {
        let id = ClientMsgId::new(random());
        let wanted = Wanted { adds: &bytes_of(adds), removes };
        let made = self.mls.commit(&self.rows, GroupName::Chat(chat), &wanted, id, now_s()).expect("made");
        self.save();
        Ask::new(chat, id, action, &made)
    }

    /// Says all of a commit, and hears the answer.
    #[track_caller]
    pub(super) fn ask(&mut self, ask: &Ask) -> Event {
        let stream = self.say(ask);
        self.raw.next(stream)
    }

    pub(super) fn say(&mut self, ask: &Ask) -> StreamId {
        let stream = self.raw.open(Role::Request);
        self.raw.say(stream, &Request::CommitGroup(ask.header.clone()));
        let mut left = ask.blobs.len();
        for piece in ask.blobs.chunks(limits::PART_BYTES_MAX) {
            left -= piece.len();
            let bytes = Bytes::copy_from_slice(piece);
            self.raw.say(stream, &Request::Part { bytes, left: left as u32 });
        }
        stream
    }

    /// Takes the entry of a chat at a place, once it is here.
    #[track_caller]
    pub(super) fn receive(&mut self, chat: ChatId, seq: u64) -> Received {
        self.raw.until(|raw| raw.seqs(chat).contains(&seq));
        let entry = entries(&self.raw, chat).into_iter().find(|entry| entry.seq == Seq(seq)).unwrap();
        let received =
            self.mls.receive(&self.rows, &client_crypto::Entry::of(chat, &entry)).expect("it is right");
        self.save();
        received
    }

    /// Waits for a welcome, fetches its tree, joins, and says that it has it.
    #[track_caller]
    pub(super) fn join(&mut self) -> Welcome {
        self.raw.until(|raw| welcome(raw).is_some());
        let (seq, welcome) = welcome(&self.raw).unwrap();
        let mut tree = Vec::new();
        for event in self.raw.ask(&Request::GetTree { chat: welcome.chat, epoch: welcome.epoch }) {
            let Event::Part { bytes, .. } = event else { panic!("{event:?}") };
            tree.extend_from_slice(&bytes);
        }
        self.mls.join(&self.rows, GroupName::Chat(welcome.chat), &welcome.bytes, &tree).expect("joined");
        self.save();
        let up = self.raw.open(Role::ChatUp);
        self.raw.say(up, &Request::InboxUp);
        self.raw.say(up, &Request::MoveCursor { delivered: seq, read: Seq::ZERO });
        welcome
    }

    pub(super) fn encrypt(&mut self, chat: ChatId, epoch: u64, text: &str) -> Request {
        hygiene::secrets().text(text);
        let id = ClientMsgId::new(random());
        let content = self.mls.encrypt(&self.rows, GroupName::Chat(chat), id, text.as_bytes());
        self.save();
        sealed(id, epoch, content.expect("encrypted"))
    }
}

pub(super) fn sealed(client_msg_id: ClientMsgId, epoch: u64, content: impl Into<Bytes>) -> Request {
    let (content, kind, epoch) = (content.into(), Kind::Unsaid, Epoch(epoch));
    Request::Append(request::Append { client_msg_id, content, kind, epoch })
}

/// What a connection heard of a chat, entries whole.
pub(super) fn entries(raw: &Raw, chat: ChatId) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for event in raw.heard(chat) {
        match event {
            Event::Entry(entry) => entries.push(entry),
            Event::EntryPart(part) => {
                let entry = entries.last_mut().expect("parts follow their entry");
                assert_eq!(part.seq, entry.seq);
                entry.content = [&entry.content[..], &part.bytes].concat().into();
            }
            _ => {}
        }
    }
    entries
}

/// The newest welcome in what was heard of the inbox, and its place.
pub(super) fn welcome(raw: &Raw) -> Option<(Seq, Welcome)> {
    let items = raw.heard_of_inbox().into_iter().filter_map(|entry| match entry.what {
        InboxItem::Welcome(welcome) => Some((entry.seq, welcome)),
        InboxItem::Unknown => None,
    });
    items.max_by_key(|(seq, _)| *seq)
}

fn bytes_of(packages: &[KeyPackage]) -> Vec<Vec<u8>> {
    packages.iter().map(|package| package.bytes.as_ref().expect("some are left").to_vec()).collect()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

impl Ask {
    fn new(chat: ChatId, client_msg_id: ClientMsgId, action: Action, made: &Committed) -> Ask {
        let (header, blobs) = made.request(chat, client_msg_id, action);
        Ask { header, blobs }
    }

    /// The same with so many bytes of commit, by that device: only members would notice.
    pub(super) fn inflated(mut self, by: Leaf, bytes: usize) -> Ask {
        let rest = self.blobs.split_off(self.header.commit_bytes as usize);
        self.blobs = wire_mls::testing::inflated(&self.blobs, by, bytes);
        self.header.commit_bytes = bytes as u32;
        self.blobs.extend(rest);
        self
    }
}
