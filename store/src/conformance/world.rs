//! People, and what they do, for the cases of ops.

use std::time::Duration;

use bytes::Bytes;
use wire::event::{Entry, Event, Kind};
use wire::{
    AccountId, ChatId, ClientMsgId, DeviceId, Epoch, LogId, PersonName, Phone, RequestId, Secret, Seq,
    WallTime, frame,
};

use super::Env;
use crate::keys::direct_chat_id;
use crate::op::*;
use crate::run::{Attempt, Body, Budget, OpError, StoreError};
use crate::store::{Store, StoreConfig};
use crate::tx::Tx;

/// A moment that all cases begin at.
pub(super) const T0: WallTime = WallTime(1_700_000_000_000);

/// A store and short ways to use it. A busy store is asked again, as a client would.
pub(super) struct World<E: Env> {
    pub(super) store: Store<E::Backend, E::Clock>,
}

/// Someone with one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) account: AccountId,
    pub(super) device: DeviceId,
    n: u16,
}

impl Person {
    /// The `n`-th person, with device `d`.
    pub(super) fn new(n: u16, d: u8) -> Person {
        let mut device = sixteen(n);
        device[15] = d;
        Person { account: AccountId::new(sixteen(n)), device: DeviceId::new(device), n }
    }

    /// The Ed25519 public key of each of their devices.
    pub(super) fn key(&self) -> [u8; 32] {
        [self.n as u8; 32]
    }

    pub(super) fn phone(&self) -> Phone {
        Phone::parse(&format!("+49151{:07}", self.n)).unwrap()
    }

    /// The 1:1 chat with somebody.
    pub(super) fn chat(&self, other: &Person) -> ChatId {
        direct_chat_id(self.account, other.account)
    }

    pub(super) fn log(&self, other: &Person) -> LogId {
        LogId::Chat(self.chat(other))
    }
}

/// Sixteen bytes for a number, which is each of them if it fits.
fn sixteen(n: u16) -> [u8; 16] {
    match u8::try_from(n) {
        Ok(n) => [n; 16],
        Err(_) => {
            let mut bytes = [0xee; 16];
            bytes[..2].copy_from_slice(&n.to_be_bytes());
            bytes
        }
    }
}

pub(super) fn at(seconds: u64) -> WallTime {
    T0 + Duration::from_secs(seconds)
}

pub(super) fn msg(n: u64) -> Message {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    Message {
        client_msg_id: ClientMsgId::new(id),
        kind: Kind::Text,
        content: Bytes::from(format!("content {n}")),
        epoch: Epoch::ZERO,
    }
}

pub(super) fn hash(n: u16) -> Secret<[u8; 32]> {
    Secret::new([n as u8; 32])
}

pub(super) fn family(n: u16) -> RequestId {
    RequestId::new(sixteen(n))
}

/// The entry in a frame.
pub(super) fn entry(frame: &Bytes) -> Entry {
    match Event::decode(&frame::body_of(frame)) {
        Ok(Event::Entry(entry)) => entry,
        other => panic!("no entry: {other:?}"),
    }
}

/// Reads a key as it is.
struct Stored(Bytes);

impl Body for Stored {
    type Output = Option<Bytes>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Option<Bytes>, OpError> {
        Ok(tx.get_snapshot(&self.0).await?)
    }
}

macro_rules! answer {
    ($world:expr, $variant:ident, $op:expr) => {
        match $world.execute(Op::$variant($op.into())).await {
            OpOutput::$variant(output) => output,
            other => panic!("the answer is another op's: {other:?}"),
        }
    };
}
pub(super) use answer;

impl<E: Env> World<E> {
    pub(super) async fn open(env: &E) -> World<E> {
        let budget = Budget { attempts_max: 200, time_max: Duration::from_secs(60), ..Budget::default() };
        let config = StoreConfig { budget, ..StoreConfig::default() };
        World { store: Store::open(env.backend(), config, env.clock()).await.unwrap() }
    }

    pub(super) async fn execute(&self, op: Op) -> OpOutput {
        loop {
            // On the heap: a case is one future, and a test's thread has a stack of 2 MiB.
            match Box::pin(self.store.execute(op.clone())).await {
                Ok(output) => return output,
                Err(StoreError::Busy { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    pub(super) fn add_device(&self, person: &Person, token_family: u16, now: WallTime) -> AddDevice {
        AddDevice {
            phone: person.phone(),
            name: PersonName::parse(&format!("Person {}", person.n)).unwrap(),
            new_account: person.account,
            device: person.device,
            device_key: person.key(),
            device_name: "phone".into(),
            family: family(token_family),
            refresh_hash: hash(token_family),
            refresh_expires: now + Duration::from_secs(30 * 86_400),
            now,
        }
    }

    /// Registers the `n`-th person.
    pub(super) async fn person(&self, n: u16) -> Person {
        let person = Person::new(n, 0);
        let added = answer!(self, AddDevice, self.add_device(&person, n, T0)).unwrap();
        assert_eq!(added.account.account, person.account);
        person
    }

    /// Registers a second device of a person.
    pub(super) async fn second_device(&self, person: &Person, d: u8) -> Person {
        let other = Person::new(person.n, d);
        answer!(self, AddDevice, self.add_device(&other, 1000 * (person.n - 1) + 100 + u16::from(d), T0))
            .unwrap();
        other
    }

    pub(super) fn append(&self, from: &Person, to: &Person, messages: Vec<Message>, now: WallTime) -> Append {
        Append {
            log: from.log(to),
            peer: Some(to.account),
            sender: from.account,
            device: from.device,
            messages,
            now,
        }
    }

    /// Sends one message and returns its place.
    pub(super) async fn send(&self, from: &Person, to: &Person, n: u64, now: WallTime) -> Appended {
        let op = self.append(from, to, vec![msg(n)], now);
        answer!(self, Append, op).pop().unwrap().unwrap()
    }

    pub(super) async fn move_cursor(
        &self,
        who: &Person,
        log: LogId,
        (delivered, read): (u64, u64),
        now: WallTime,
    ) -> Result<CursorMoved, CursorError> {
        let (delivered, read) = (Seq(delivered), Seq(read));
        answer!(
            self,
            MoveCursor,
            MoveCursor {
                log,
                account: who.account,
                device: who.device,
                delivered,
                read,
                in_doubt: false,
                now
            }
        )
    }

    /// What is stored under a key.
    pub(super) async fn stored(&self, key: Bytes) -> Option<Bytes> {
        self.store.run(&Stored(key)).await.unwrap()
    }

    /// What somebody may read of a log above a place.
    pub(super) async fn tail(&self, who: &Person, log: LogId, after: u64) -> Vec<Entry> {
        let account = who.account;
        let op =
            Tail { log, account, member: None, after: Seq(after), entries_max: 1000, bytes_max: usize::MAX };
        answer!(self, Tail, op).entries.iter().map(|stored| entry(&stored.frame)).collect()
    }
}
