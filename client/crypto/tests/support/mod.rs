//! Devices with stores that can be copied, and a log that keeps the epoch rule as a server does.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;

use client_crypto::{
    Committed, DeviceKey, Entry, GroupName, Leaf, Leaves, Lifetime, Mls, MlsError, Received, Row, Use, Wanted,
};
use wire::{AccountId, ChatId, ClientMsgId, DeviceId};

/// A wall second far from any machine's clock.
pub const NOW: u64 = 40_000_000_000;
pub const LIFE: Lifetime = Lifetime { from: NOW - 3600, until: NOW + 90 * 24 * 3600 };

pub type Store = BTreeMap<Vec<u8>, Vec<u8>>;

pub const CHAT: GroupName = GroupName::Chat(ChatId::new([0xC4; 16]));

pub fn id(n: u64) -> ClientMsgId {
    let mut bytes = [0xAA; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    ClientMsgId::new(bytes)
}

/// A phone: what it stored, and what runs on it.
pub struct Phone {
    pub number: u16,
    pub store: Store,
    pub mls: Mls,
    pub starts: u8,
}

pub fn key(number: u16) -> DeviceKey {
    let mut seed = [3; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    DeviceKey::from_seed(&seed)
}

pub fn account(number: u16) -> AccountId {
    let mut bytes = [0xA0; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    AccountId::new(bytes)
}

fn start(number: u16, starts: u8) -> Mls {
    let mut seed = [5; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    seed[2] = starts;
    Mls::new(account(number), key(number), seed)
}

pub fn persist(store: &mut Store, rows: Vec<Row>) {
    for (key, value) in rows {
        match value {
            Some(value) => store.insert(key, value),
            None => store.remove(&key),
        };
    }
}

impl Phone {
    pub fn new(number: u16) -> Phone {
        Phone { number, store: Store::new(), mls: start(number, 0), starts: 0 }
    }

    /// From what an older or other state of this phone had stored.
    pub fn from_store(number: u16, store: Store) -> Phone {
        Phone { number, store, mls: start(number, 0xEE), starts: 0xEE }
    }

    pub fn own(&self) -> Leaf {
        self.mls.own()
    }

    pub fn device(&self) -> DeviceId {
        self.own().device
    }

    /// Persists what the calls so far changed.
    pub fn save(&mut self) {
        persist(&mut self.store, self.mls.drain());
    }

    /// Dies without persisting, and starts again.
    pub fn crash(&mut self) {
        self.starts += 1;
        self.mls = start(self.number, self.starts);
    }

    pub fn key_package(&mut self) -> Vec<u8> {
        let made = self.mls.key_packages(&self.store, 1, LIFE, Use::Once).expect("made");
        self.save();
        made.into_iter().next().expect("one")
    }

    pub fn commit(&mut self, adds: &[Vec<u8>], removes: &[DeviceId], n: u64) -> Committed {
        let made =
            self.mls.commit(&self.store, CHAT, &Wanted { adds, removes }, id(n), NOW).expect("committed");
        self.save();
        made
    }

    pub fn encrypt(&mut self, content: &[u8], n: u64) -> Vec<u8> {
        let made = self.mls.encrypt(&self.store, CHAT, id(n), content).expect("encrypted");
        self.save();
        made
    }

    /// Receives an entry; a failure must have changed nothing.
    pub fn receive(&mut self, entry: &Owned) -> Result<Received, MlsError> {
        let received = self.mls.receive(&self.store, &entry.entry());
        let rows = self.mls.drain();
        if received.is_err() {
            assert!(rows.is_empty(), "a failure left rows");
        }
        persist(&mut self.store, rows);
        received
    }

    pub fn epoch(&mut self) -> u64 {
        self.mls.epoch(&self.store, CHAT).expect("a member")
    }

    pub fn table(&mut self) -> Leaves {
        self.mls.members(&self.store, CHAT).expect("a member")
    }

    pub fn members(&mut self) -> Vec<(u32, DeviceId)> {
        self.table().iter().map(|(at, leaf)| (at, leaf.device)).collect()
    }

    pub fn secret(&mut self) -> Vec<u8> {
        self.mls.export(&self.store, CHAT, "test", b"", 32).expect("exported")
    }
}

/// An entry that owns its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    pub group: GroupName,
    pub from: Leaf,
    pub id: ClientMsgId,
    pub epoch: u64,
    pub content: Vec<u8>,
}

impl Owned {
    pub fn entry(&self) -> Entry<'_> {
        Entry {
            group: self.group,
            account: self.from.account,
            device: self.from.device,
            client_msg_id: self.id,
            epoch: self.epoch,
            content: &self.content,
        }
    }
}

/// The entry as an honest server says it.
pub fn entry(from: &Phone, n: u64, epoch: u64, content: &[u8]) -> Owned {
    Owned { group: CHAT, from: from.own(), id: id(n), epoch, content: content.to_vec() }
}

/// A group of phones 0, 1, … in epoch 1 or later, all at the same place.
pub fn group_of(count: u16) -> Vec<Phone> {
    let mut phones: Vec<Phone> = (0..count).map(Phone::new).collect();
    let packages: Vec<Vec<u8>> = phones[1..].iter_mut().map(Phone::key_package).collect();
    let mut joined = 1;
    for chunk in packages.chunks(wire::limits::COMMIT_ADDS_MAX) {
        let n = 1_000_000 + joined as u64;
        let made = if joined == 1 {
            let creator = &mut phones[0];
            let made = creator.mls.create(&creator.store, CHAT, chunk, id(n), NOW).expect("created");
            creator.save();
            made
        } else {
            phones[0].commit(chunk, &[], n)
        };
        let said = entry(&phones[0], n, made.epoch, &made.commit);
        for phone in &mut phones[..joined] {
            phone.receive(&said).expect("the commit");
        }
        join_all(&mut phones[joined..joined + chunk.len()], &made);
        joined += chunk.len();
    }
    phones
}

pub fn join_all(phones: &mut [Phone], made: &Committed) {
    let tree = made.tree.as_ref().expect("somebody was added");
    for (phone, (leaf, welcome)) in phones.iter_mut().zip(&made.welcomes) {
        assert_eq!(*leaf, phone.own());
        phone.mls.join(&phone.store, CHAT, welcome, tree).expect("joined");
        phone.save();
    }
}

/// Said by one, opened by all others, in order.
pub fn say(phones: &mut [Phone], from: usize, n: u64, content: &[u8]) {
    let epoch = phones[from].epoch();
    let bytes = phones[from].encrypt(content, n);
    let said = entry(&phones[from], n, epoch, &bytes);
    let sender = phones[from].own();
    for (at, phone) in phones.iter_mut().enumerate() {
        let received = phone.receive(&said).unwrap_or_else(|error| panic!("phone {at}: {error}"));
        let expected = if at == from {
            Received::OwnMessage
        } else {
            Received::Message { content: content.to_vec(), from: sender }
        };
        assert_eq!(received, expected, "phone {at}");
    }
}

/// Committed by one and received by all.
pub fn commit(
    phones: &mut [Phone],
    from: usize,
    n: u64,
    adds: &[Vec<u8>],
    removes: &[DeviceId],
) -> Committed {
    let made = phones[from].commit(adds, removes, n);
    let said = entry(&phones[from], n, made.epoch, &made.commit);
    for (at, phone) in phones.iter_mut().enumerate() {
        phone.receive(&said).unwrap_or_else(|error| panic!("phone {at}: {error}"));
    }
    made
}
