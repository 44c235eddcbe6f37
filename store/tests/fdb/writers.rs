//! People who write all the time, repeat what was not answered, and remember what was.

#![expect(clippy::disallowed_methods, reason = "a real cluster lives in real time")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use store::op::{AddDevice, Append, Message, Op, OpOutput, StoredEntry, Tail};
use store::tx::Backend;
use store::{Store, StoreError, keys};
use wire::event::{Event, Kind};
use wire::{
    AccountId, ClientMsgId, DeviceId, Epoch, LogId, PersonName, Phone, RequestId, Secret, Seq, WallTime,
    frame,
};

use crate::on_cluster::TestClock;

const WRITERS: u8 = 6;

/// A writer and its own number of a message.
type Said = (u8, u64);

/// What the store answered.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) acknowledged: BTreeMap<Said, Seq>,
    /// Answers that said to try again later.
    pub(crate) later: u64,
}

/// The account that a writer talks to: the first half of them to the same, from the same.
fn pair(writer: u8) -> (AccountId, AccountId) {
    let n = if writer < WRITERS / 2 { 0 } else { writer };
    (AccountId::new([100 + n; 16]), AccountId::new([200 + n; 16]))
}

fn log(writer: u8) -> LogId {
    let (a, b) = pair(writer);
    LogId::Chat(keys::direct_chat_id(a, b))
}

/// Makes everybody's account; the store is in order.
pub(crate) async fn register<B: Backend>(store: &Store<B, TestClock>) {
    for writer in 0..WRITERS {
        for account in <[AccountId; 2]>::from(pair(writer)) {
            let n = account.as_bytes()[0];
            let op = AddDevice {
                phone: Phone::parse(&format!("+49151000{n:03}")).unwrap(),
                name: PersonName::parse("Ann").unwrap(),
                new_account: account,
                device: DeviceId::new([n; 16]),
                device_key: [n; 32],
                device_name: "phone".into(),
                family: RequestId::new([n; 16]),
                refresh_hash: Secret::new([n; 32]),
                refresh_expires: WallTime(1),
                now: WallTime(0),
            };
            store.execute(Op::AddDevice(op)).await.unwrap();
        }
    }
}

/// Everybody, writing until they are stopped.
pub(crate) struct Writers {
    tasks: Vec<tokio::task::JoinHandle<Heard>>,
    stop: Arc<AtomicBool>,
    heard: Arc<AtomicU64>,
    told_later: Arc<AtomicU64>,
}

impl Writers {
    pub(crate) fn start<B: Backend>(store: &Store<B, TestClock>) -> Writers {
        let (stop, heard, told_later) = (Arc::default(), Arc::default(), Arc::default());
        let mut writers = Writers { tasks: Vec::new(), stop, heard, told_later };
        for writer in 0..WRITERS {
            let (store, stop) = (store.clone(), Arc::clone(&writers.stop));
            let (heard, told_later) = (Arc::clone(&writers.heard), Arc::clone(&writers.told_later));
            writers
                .tasks
                .push(tokio::spawn(async move { write(store, writer, &stop, &heard, &told_later).await }));
        }
        writers
    }

    /// Waits until so many more messages were acknowledged.
    ///
    /// # Panics
    /// None was for two minutes.
    pub(crate) async fn hear(&self, more: u64) {
        self.wait(&self.heard, more, "an acknowledgement").await;
    }

    /// Waits until somebody was so often told to come back later.
    ///
    /// # Panics
    /// Nobody was for two minutes.
    pub(crate) async fn are_told_later(&self, times: u64) {
        self.wait(&self.told_later, times, "being told to come back later").await;
    }

    async fn wait(&self, count: &AtomicU64, more: u64, what: &str) {
        let wanted = count.load(Ordering::Relaxed) + more;
        for _ in 0..2_400 {
            if count.load(Ordering::Relaxed) >= wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("two minutes without {what}");
    }

    /// Lets everybody finish what they are saying.
    pub(crate) async fn stop(self) -> Heard {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Heard::default();
        for task in self.tasks {
            let heard = task.await.unwrap();
            all.acknowledged.extend(heard.acknowledged);
            all.later += heard.later;
        }
        all
    }
}

async fn write<B: Backend>(
    store: Store<B, TestClock>,
    writer: u8,
    stop: &AtomicBool,
    count: &AtomicU64,
    told_later: &AtomicU64,
) -> Heard {
    let mut heard = Heard::default();
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        loop {
            match store.execute(Op::Append(append(writer, next))).await {
                Ok(OpOutput::Append(results)) => {
                    heard.acknowledged.insert((writer, next), results[0].as_ref().unwrap().seq);
                    count.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => {
                    assert!(
                        matches!(error, StoreError::Busy { .. } | StoreError::Unavailable { .. }),
                        "{error:?}"
                    );
                    assert!(error.retry_after().is_some());
                    heard.later += 1;
                    told_later.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        next += 1;
    }
    heard
}

fn append(writer: u8, n: u64) -> Append {
    let (sender, peer) = pair(writer);
    let mut id = [writer; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    let message = Message {
        client_msg_id: ClientMsgId::new(id),
        kind: Kind::Text,
        content: Bytes::from(vec![writer; 200]),
        epoch: Epoch::ZERO,
    };
    let device = DeviceId::new([sender.as_bytes()[0]; 16]);
    Append { log: log(writer), peer: Some(peer), sender, device, messages: vec![message], now: WallTime(n) }
}

/// A log's entries: place, writer and the writer's number.
async fn entries<B: Backend>(store: &Store<B, TestClock>, writer: u8) -> Vec<(Seq, Said)> {
    let (log, account, after) = (log(writer), pair(writer).0, Seq::ZERO);
    let op = Tail { log, account, member: None, after, entries_max: usize::MAX, bytes_max: usize::MAX };
    let OpOutput::Tail(tailed) = store.execute(Op::Tail(op)).await.unwrap() else { panic!() };
    let entry = |stored: &StoredEntry| match Event::decode(&frame::body_of(&stored.frame)) {
        Ok(Event::Entry(entry)) => {
            let id = entry.client_msg_id.as_bytes();
            assert_eq!(entry.seq, stored.seq);
            (entry.seq, (id[0], u64::from_be_bytes(*id.last_chunk().unwrap())))
        }
        other => panic!("{other:?}"),
    };
    tailed.entries.iter().map(entry).collect()
}

/// Every log is dense, holds nothing twice, and holds what was acknowledged in the place that was told.
pub(crate) async fn check<B: Backend>(store: &Store<B, TestClock>, heard: &Heard) {
    let mut stored = BTreeMap::new();
    for writer in (0..WRITERS).filter(|w| *w == 0 || *w >= WRITERS / 2) {
        let log = entries(store, writer).await;
        let seqs: Vec<_> = log.iter().map(|(seq, _)| seq.0).collect();
        assert_eq!(seqs, (1..=log.len() as u64).collect::<Vec<_>>(), "I2: dense");
        for (seq, said) in log {
            assert_eq!(stored.insert(said, seq), None, "I3: {said:?} is there twice");
        }
    }
    for (said, seq) in &heard.acknowledged {
        assert_eq!(stored.get(said), Some(seq), "I1: {said:?} was acknowledged at {seq}");
    }
    assert_eq!(stored.len(), heard.acknowledged.len(), "everybody was answered in the end");
}
