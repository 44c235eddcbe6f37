//! People who talk, and what a store must look like whatever was done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use store::op::*;
use store::parsed::{Key, LogKey};
use store::record::{
    Account, AccountChat, Cursors, Device, DeviceCursor, Former, Head, Idempotency, Leaf, Member, Owner,
    Reached, Record, TreeNeeds, decode_entry,
};
use store::run::{Attempt, Body, Budget, OpError};
use store::tx::{Backend, Range, Tx};
use store::{Clock, Store, StoreConfig, StoreError, keys};
use wire::event::{EntryKind, Event, Kind};
use wire::{
    AccountId, ClientMsgId, DeviceId, Epoch, LogId, PersonName, Phone, RequestId, Secret, Seq, WallTime,
    frame,
};

/// What must be in no sealed object.
pub(crate) const CANARY: &str = "a canary in the mine says nothing";

pub(crate) const T0: WallTime = WallTime(1_700_000_000_000);

/// Real time, for stores on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RealClock(pub(crate) Instant);

impl Clock for RealClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(duration)
    }
}

pub(crate) fn silent(_: store_backup::Progress) {}

/// A store, patient with its faults.
pub(crate) async fn open<B: Backend, C: Clock>(backend: B, clock: C) -> Store<B, C> {
    let budget = Budget { attempts_max: 200, time_max: Duration::from_secs(60), ..Budget::default() };
    Store::open(backend, StoreConfig { budget, ..StoreConfig::default() }, clock).await.unwrap()
}

/// Performs an op; a busy store is asked again, as a client would.
pub(crate) async fn execute<B: Backend, C: Clock>(store: &Store<B, C>, op: Op) -> OpOutput {
    loop {
        match store.execute(op.clone()).await {
            Ok(output) => return output,
            Err(StoreError::Busy { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Somebody's device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person {
    pub(crate) n: u8,
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
}

/// The `n`-th person with device `d`; ids are spread as random ones are.
pub(crate) fn person(n: u8, d: u8) -> Person {
    let spread = |salt: u8| {
        let mut id = [n.wrapping_mul(67).wrapping_add(salt); 16];
        id[1] = n;
        id[15] = d;
        id
    };
    let mut account = spread(11);
    account[15] = 0;
    Person { n, account: AccountId::new(account), device: DeviceId::new(spread(29)) }
}

impl Person {
    pub(crate) fn phone(&self) -> Phone {
        Phone::parse(&format!("+49151{:07}", self.n)).unwrap()
    }

    pub(crate) fn log(&self, other: &Person) -> LogId {
        LogId::Chat(keys::direct_chat_id(self.account, other.account))
    }

    pub(crate) async fn register<B: Backend, C: Clock>(&self, store: &Store<B, C>) {
        let mut family = *self.device.as_bytes();
        family[0] ^= 0xff;
        let op = AddDevice {
            phone: self.phone(),
            name: PersonName::parse(&format!("Person {}", self.n)).unwrap(),
            new_account: self.account,
            device: self.device,
            device_key: [self.n; 32],
            device_name: "phone".into(),
            family: RequestId::new(family),
            refresh_hash: Secret::new([self.n; 32]),
            refresh_expires: T0 + Duration::from_secs(86_400),
            now: T0,
        };
        match execute(store, Op::AddDevice(op)).await {
            OpOutput::AddDevice(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// An append that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) from: Person,
    pub(crate) to: Person,
    pub(crate) id: u64,
    pub(crate) bytes: usize,
    pub(crate) seq: Seq,
}

pub(crate) fn content(id: u64, bytes: usize) -> Bytes {
    let mut content = format!("{CANARY} {id} ").into_bytes();
    content.resize(content.len().max(bytes), b'.');
    Bytes::from(content)
}

fn message(id: u64, bytes: usize) -> Message {
    let mut key = [0; 16];
    key[8..].copy_from_slice(&id.to_be_bytes());
    let (client_msg_id, content) = (ClientMsgId::new(key), content(id, bytes));
    Message { client_msg_id, kind: Kind::Text, content, epoch: Epoch::ZERO }
}

/// The op that says it.
pub(crate) fn append(said: &Said) -> Append {
    Append {
        log: said.from.log(&said.to),
        peer: Some(said.to.account),
        sender: said.from.account,
        device: said.from.device,
        messages: vec![message(said.id, said.bytes)],
        now: T0 + Duration::from_millis(said.id),
    }
}

/// Says one thing; answers what the store acknowledged, and whether it was a repeat.
pub(crate) async fn say<B: Backend, C: Clock>(store: &Store<B, C>, said: &Said) -> (Seq, bool) {
    match execute(store, Op::Append(append(said))).await {
        OpOutput::Append(mut results) => {
            let appended = results.pop().unwrap().unwrap();
            (appended.seq, appended.repeat)
        }
        other => panic!("{other:?}"),
    }
}

/// Reads up to `seq` of a chat.
pub(crate) async fn reads<B: Backend, C: Clock>(
    store: &Store<B, C>,
    who: &Person,
    log: LogId,
    seq: Seq,
    read: bool,
) {
    let op = MoveCursor {
        log,
        account: who.account,
        device: who.device,
        delivered: seq,
        read: if read { seq } else { Seq::ZERO },
        in_doubt: false,
        now: T0 + Duration::from_secs(seq.0),
    };
    match execute(store, Op::MoveCursor(op)).await {
        OpOutput::MoveCursor(Ok(_)) => {}
        other => panic!("{other:?}"),
    }
}

/// What was acknowledged, in order.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<Said>>);

impl Log {
    pub(crate) fn all(&self) -> Vec<Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, said: Said) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }
}

/// People talk in pairs: `rounds` messages in all, each acknowledged one told to `log`, with cursors that follow.
pub(crate) async fn talk<B: Backend, C: Clock>(
    store: &Store<B, C>,
    people: &[Person],
    (first_id, rounds, bytes): (u64, u64, usize),
    log: &Log,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(first_id);
    for id in first_id..first_id + rounds {
        let from = people[rng.random_range(0..people.len())];
        let to = loop {
            let to = people[rng.random_range(0..people.len())];
            if to.account != from.account {
                break to;
            }
        };
        let mut said = Said { from, to, id, bytes, seq: Seq::ZERO };
        said.seq = say(store, &said).await.0;
        log.push(said.clone());
        if rng.random_bool(0.5) {
            reads(store, &to, from.log(&to), said.seq, rng.random_bool(0.5)).await;
        }
    }
}

/// Every key and value, at one version.
pub(crate) struct Dump;

impl Body for Dump {
    type Output = Vec<(Bytes, Bytes)>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let range = Range::new(Bytes::from_static(b"1"), Bytes::from_static(b"\xff")).snapshot();
        Ok(tx.range(range).await?)
    }
}

/// What `check` counted, so that no test passes on an empty store.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) entries: u64,
    pub(crate) receipts: u64,
    pub(crate) cursors: u64,
    pub(crate) outbox: u64,
    pub(crate) devices: u64,
    pub(crate) parts: u64,
    pub(crate) leaves: u64,
    pub(crate) formers: u64,
    pub(crate) trees: u64,
    pub(crate) key_packages: u64,
}

/// Whether an entry is a commit, which then has all of its parts.
fn is_commit(all: &BTreeMap<&[u8], &Bytes>, log: LogId, seq: Seq, value: &Bytes) -> bool {
    let (frame, _) = decode_entry(value).unwrap();
    let Ok(Event::Entry(entry)) = Event::decode(&frame::body_of(&frame)) else { return false };
    let EntryKind::Commit { parts } = entry.what else { return false };
    assert!((1..=parts).all(|part| all.contains_key(&keys::entry_part(log, seq, part)[..])));
    true
}

/// Holds every key of a store against the others: dense seqs, cursors within heads, each record's companions.
pub(crate) fn check(pairs: &[(Bytes, Bytes)]) -> Seen {
    let all: BTreeMap<&[u8], &Bytes> = pairs.iter().map(|(key, value)| (&key[..], value)).collect();
    let has = |key: Bytes| all.contains_key(&key[..]);
    let head = |log| all.get(&keys::head(log)[..]).map(|value| Head::decode(value).unwrap().seq);
    let (mut entries, mut commits) = (BTreeMap::<LogId, Seq>::new(), BTreeMap::<LogId, u64>::new());
    let mut seen = Seen::default();
    for (key, value) in pairs {
        match Key::parse(key).unwrap_or_else(|| panic!("an unknown key {key:?}")) {
            Key::Account(account) => {
                let phone = Account::decode(value).unwrap().phone;
                assert_eq!(Owner::decode(all[&keys::phone(&phone)[..]]).unwrap().0, account);
            }
            Key::Phone => assert!(has(keys::account(Owner::decode(value).unwrap().0))),
            Key::AccountDevice(account, device) => {
                seen.devices += 1;
                assert!(
                    has(keys::account(account)) && has(keys::family(Device::decode(value).unwrap().family))
                );
                assert_eq!(Owner::decode(all[&keys::device_owner(device)[..]]).unwrap().0, account);
            }
            Key::DeviceOwner(device) => {
                assert!(has(keys::account_device(Owner::decode(value).unwrap().0, device)));
            }
            Key::AccountChat(_, chat) => {
                assert!(head(LogId::Chat(chat)).is_some());
                let peer = AccountChat::decode(value).unwrap().peer;
                assert!(peer.is_none_or(|peer| has(keys::account(peer))));
            }
            Key::KeyPackageStock(device) | Key::KeyPackage(device) | Key::LastResort(device) => {
                seen.key_packages += 1;
                assert!(has(keys::device_owner(device)));
            }
            Key::Outbox(log, seq) => {
                seen.outbox += 1;
                assert!(has(keys::entry(log, seq)), "an outbox key of no entry");
            }
            Key::Log(log, of) => {
                let head = head(log).expect("a log has a head");
                match of {
                    LogKey::Entry(seq) => {
                        let last = entries.entry(log).or_default();
                        assert_eq!(seq, last.next(), "I2: dense");
                        *last = seq;
                        seen.entries += u64::from(!matches!(log, LogId::Device(_)));
                        *commits.entry(log).or_default() += u64::from(is_commit(&all, log, seq, value));
                    }
                    LogKey::EntryPart(seq) => {
                        seen.parts += 1;
                        assert!(has(keys::entry(log, seq)), "a part of no entry");
                    }
                    LogKey::Group => {}
                    LogKey::Leaf => {
                        seen.leaves += 1;
                        let leaf = Leaf::decode(value).unwrap();
                        assert!(has(keys::member(log, leaf.account)), "whoever goes is gone with the commit");
                    }
                    LogKey::Former => {
                        seen.formers += 1;
                        assert!(Former::decode(value).unwrap().left <= head);
                    }
                    LogKey::TreeNeeds(epoch) => {
                        assert!(TreeNeeds::decode(value).unwrap().seq <= head);
                        assert!(has(keys::tree_part(log, epoch, 0)), "a need of no tree");
                    }
                    LogKey::Tree(epoch) => {
                        seen.trees += 1;
                        assert!(has(keys::tree_needs(log, epoch)), "a tree that nobody needs");
                    }
                    LogKey::Head | LogKey::CursorsMoved => {}
                    LogKey::Idempotency => {
                        assert!(has(keys::entry(log, Idempotency::decode(value).unwrap().seq)));
                    }
                    LogKey::Member => assert!(Member::decode(value).unwrap().joined <= head),
                    LogKey::DeviceCursor => {
                        seen.cursors += 1;
                        assert!(DeviceCursor::decode(value).unwrap().delivered <= head);
                    }
                    LogKey::MemberCursor => {
                        let cursors = Cursors::decode(value).unwrap();
                        assert!(cursors.read <= cursors.delivered && cursors.delivered <= head, "I4");
                    }
                    LogKey::Receipt(..) => {
                        seen.receipts += 1;
                        assert!(Reached::decode(value).unwrap().seq <= head);
                    }
                }
            }
            Key::LastSeen(_) | Key::Family(_) | Key::FamilyUsed(_) => {}
        }
    }
    for (log, last) in entries {
        assert_eq!(head(log), Some(last), "I2: up to the head");
    }
    for (log, commits) in commits {
        let epoch = Head::decode(all[&keys::head(log)[..]]).unwrap().epoch;
        assert_eq!(epoch, Epoch(commits), "I6: the head has the epoch that its last commit began");
    }
    seen
}

/// What a restored store does for its people: all that was acknowledged is there, a repeat finds its place, receipts tell
/// times, sessions open, and the next message comes right after the last.
pub(crate) async fn serves<B: Backend, C: Clock>(store: &Store<B, C>, said: &[Said], people: &[Person]) {
    let mut of_log = BTreeMap::<LogId, Vec<&Said>>::new();
    for one in said {
        of_log.entry(one.from.log(&one.to)).or_default().push(one);
    }
    let mut read = 0;
    for (log, said) in &of_log {
        let entries = entries(store, said[0].from.account, *log).await;
        for one in said {
            assert_eq!(entries[&one.seq], (one.id, content(one.id, one.bytes)), "I1");
        }
        let one = said.last().unwrap();
        let op = Receipts { log: *log, account: one.from.account, seq: one.seq };
        let OpOutput::Receipts(Ok(receipts)) = execute(store, Op::Receipts(op)).await else {
            panic!("receipts")
        };
        let op = MemberCursors { log: *log, account: one.from.account, since: WallTime(0) };
        let OpOutput::MemberCursors(Ok(cursors)) = execute(store, Op::MemberCursors(op)).await else {
            panic!()
        };
        for receipt in receipts {
            let Some(cursor) = cursors.iter().find(|cursor| cursor.member == receipt.member) else {
                continue;
            };
            assert_eq!(receipt.delivered_at.is_some(), cursor.delivered >= one.seq, "a tick has its time");
            assert_eq!(receipt.read_at.is_some(), cursor.read >= one.seq, "a blue tick has its time");
            read += usize::from(receipt.delivered_at.is_some());
        }
    }
    assert!(read > 0, "no receipt was read");
    for one in said {
        assert_eq!(say(store, one).await, (one.seq, true), "I3");
    }
    for who in people {
        let op = OpenSession { account: who.account, device: who.device, receipts_since: WallTime(0) };
        assert!(matches!(execute(store, Op::OpenSession(op)).await, OpOutput::OpenSession(Ok(_))));
    }
    let (log, last) =
        of_log.iter().next().map(|(log, said)| (*log, (*said.last().unwrap()).clone())).unwrap();
    let head = *entries(store, last.from.account, log).await.last_key_value().unwrap().0;
    let next = Said { id: u64::MAX, seq: Seq::ZERO, ..last };
    assert_eq!(say(store, &next).await, (head.next(), false));
}

async fn entries<B: Backend, C: Clock>(
    store: &Store<B, C>,
    account: AccountId,
    log: LogId,
) -> BTreeMap<Seq, (u64, Bytes)> {
    let after = Seq::ZERO;
    let op = Tail { log, account, member: None, after, entries_max: usize::MAX, bytes_max: usize::MAX };
    let OpOutput::Tail(tailed) = execute(store, Op::Tail(op)).await else { panic!("tail") };
    let entries = tailed.entries.iter().map(|stored| match Event::decode(&frame::body_of(&stored.frame)) {
        Ok(Event::Entry(entry)) => {
            let id = u64::from_be_bytes(*entry.client_msg_id.as_bytes().last_chunk().unwrap());
            (entry.seq, (id, entry.content))
        }
        other => panic!("no entry: {other:?}"),
    });
    entries.collect()
}

/// The kinds of keys that a dump has.
pub(crate) fn kinds(pairs: &[(Bytes, Bytes)]) -> BTreeSet<store::parsed::Kind> {
    pairs.iter().map(|(key, _)| store::parsed::Kind::of(key)).collect()
}
