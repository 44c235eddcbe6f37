//! Appends that wait together commit together, whoever of them gives up meanwhile.

#![cfg(feature = "testing")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, join_all, select};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use store::op::*;
use store::sim::{Faults, Sim};
use store::testing::{Executor, VirtualClock};
use store::{BatchConfig, Budget, Clock, Store, StoreConfig, StoreError, keys};
use wire::event::{Event, Kind};
use wire::{
    AccountId, ClientMsgId, DeviceId, Epoch, LogId, PersonName, Phone, RequestId, Secret, Seq, WallTime,
    frame,
};

type SimStore = Store<Sim<VirtualClock>, VirtualClock>;

const NOW: WallTime = WallTime(1_700_000_000_000);

fn account(n: u8) -> AccountId {
    AccountId::new([n; 16])
}

fn log() -> LogId {
    LogId::Chat(keys::direct_chat_id(account(1), account(2)))
}

fn append(n: u64) -> Op {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    let message = Message {
        client_msg_id: ClientMsgId::new(id),
        kind: Kind::Text,
        content: Bytes::from("hi"),
        epoch: Epoch::ZERO,
    };
    Op::Append(Append {
        log: log(),
        peer: Some(account(2)),
        sender: account(1),
        device: DeviceId::new([1; 16]),
        messages: vec![message],
        now: NOW,
    })
}

async fn open(sim: &Sim<VirtualClock>, clock: &VirtualClock, batch: BatchConfig) -> SimStore {
    let budget = Budget { attempts_max: 1000, time_max: Duration::from_secs(60), ..Budget::default() };
    let config = StoreConfig { budget, batch, ..StoreConfig::default() };
    let store = Store::open(sim.clone(), config, clock.clone()).await.unwrap();
    for n in [1, 2] {
        let op = AddDevice {
            phone: Phone::parse(&format!("+4915100000{n}")).unwrap(),
            name: PersonName::parse("Ann").unwrap(),
            new_account: account(n),
            device: DeviceId::new([n; 16]),
            device_key: [n; 32],
            device_name: "phone".into(),
            family: RequestId::new([n; 16]),
            refresh_hash: Secret::new([n; 32]),
            refresh_expires: NOW + Duration::from_secs(60),
            now: NOW,
        };
        store.execute(Op::AddDevice(op)).await.unwrap();
    }
    store
}

async fn entries(store: &SimStore) -> Vec<(Seq, u64)> {
    let mut found: Vec<(Seq, u64)> = Vec::new();
    loop {
        let after = found.last().map_or(Seq::ZERO, |(seq, _)| *seq);
        let (log, account) = (log(), account(1));
        let op = Tail { log, account, member: None, after, entries_max: 10_000, bytes_max: usize::MAX };
        let OpOutput::Tail(tailed) = store.execute(Op::Tail(op)).await.unwrap() else { panic!("no tail") };
        found.extend(tailed.entries.iter().map(entry));
        if found.last().is_none_or(|(seq, _)| *seq == tailed.head) {
            return found;
        }
    }
}

fn entry(stored: &StoredEntry) -> (Seq, u64) {
    match Event::decode(&frame::body_of(&stored.frame)) {
        Ok(Event::Entry(entry)) => {
            let id = *entry.client_msg_id.as_bytes().first_chunk().unwrap();
            (entry.seq, u64::from_be_bytes(id))
        }
        other => panic!("{other:?}"),
    }
}

/// A store whose commits take a while, driven in virtual time.
fn slow(seed: u64) -> (Executor, Sim<VirtualClock>, VirtualClock) {
    let executor = Executor::new(seed);
    let clock = executor.clock();
    (executor, Sim::new(seed, clock.clone()), clock)
}

#[test]
fn a_hot_log_costs_few_commits() {
    let (mut executor, sim, clock) = slow(1);
    executor.block_on(async {
        let store = open(&sim, &clock, BatchConfig::default()).await;
        sim.set_faults(Faults { delay_max: Duration::from_millis(10), ..Faults::NONE });
        let before = clock.now();
        let results = join_all((0..1000).map(|n| store.execute(append(n)))).await;
        assert!(results.iter().all(Result::is_ok));
        let took = clock.now() - before;
        assert!(
            took < Duration::from_secs(60),
            "a thousand appends took {took:?}: they did not share commits"
        );
        let seqs: Vec<_> = entries(&store).await.iter().map(|(seq, _)| seq.0).collect();
        assert_eq!(seqs, (1..=1000).collect::<Vec<_>>());
    });
}

#[test]
fn what_waits_is_bounded() {
    let (mut executor, sim, clock) = slow(1);
    executor.block_on(async {
        let batch = BatchConfig { waiting_per_log: 10, ..BatchConfig::default() };
        let store = open(&sim, &clock, batch).await;
        sim.set_faults(Faults { delay_max: Duration::from_millis(10), ..Faults::NONE });
        let results = join_all((0..50).map(|n| store.execute(append(n)))).await;
        let busy = results.iter().filter(|r| matches!(r, Err(error @ StoreError::Busy { source: None, .. }) if !error.maybe_committed())).count();
        assert_eq!(busy, 39, "one leads, ten wait, and the rest is told at once");
        assert!(results.iter().flatten().count() == 11);
    });
}

/// Callers give up at random moments, the store fails at random, and everybody asks again until answered.
#[test]
fn i2_i3_nobody_is_stuck_or_doubled_when_callers_give_up() {
    for seed in 0..40 {
        let (mut executor, sim, clock) = slow(seed);
        let store = executor.block_on(open(&sim, &clock, BatchConfig::default()));
        sim.set_faults(Faults::HOSTILE);
        let answers = Arc::new(Mutex::new(BTreeMap::new()));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let tasks = (0..60).map(|n| {
            let (store, clock, answers) = (store.clone(), clock.clone(), Arc::clone(&answers));
            let patience = rng.random_range(1..40);
            Box::pin(async move {
                let seq = insist(&store, &clock, n, Duration::from_millis(patience)).await;
                answers.lock().unwrap().insert(n, seq);
            }) as std::pin::Pin<Box<dyn Future<Output = ()> + Send>>
        });
        executor.run(tasks.collect());
        sim.set_faults(Faults::NONE);
        let stored = executor.block_on(entries(&store));
        assert_eq!(
            stored.iter().map(|(seq, _)| seq.0).collect::<Vec<_>>(),
            (1..=60).collect::<Vec<_>>(),
            "{seed}"
        );
        let stored: BTreeMap<_, _> = stored.into_iter().map(|(seq, n)| (n, seq)).collect();
        assert_eq!(stored, *answers.lock().unwrap(), "each is where it was said to be, seed {seed}");
    }
}

/// Asks again until there is an answer, with a little more patience each time.
async fn insist(store: &SimStore, clock: &VirtualClock, n: u64, mut patience: Duration) -> Seq {
    loop {
        let asked = std::pin::pin!(store.execute(append(n)));
        let gave_up = std::pin::pin!(clock.sleep(patience));
        match select(asked, gave_up).await {
            Either::Left((Ok(OpOutput::Append(results)), _)) => return results[0].as_ref().unwrap().seq,
            Either::Left((Ok(other), _)) => panic!("{other:?}"),
            Either::Left((Err(error), _)) => assert!(error.retry_after().is_some(), "{error:?}"),
            Either::Right(_) => patience += Duration::from_millis(5),
        }
    }
}

/// Two nodes share one store, and it crashes under them.
#[test]
fn i1_i2_i3_two_nodes_and_crashes_keep_the_log_whole() {
    for seed in 0..20 {
        let (mut executor, sim, clock) = slow(seed);
        let nodes = [
            executor.block_on(open(&sim, &clock, BatchConfig::default())),
            executor.block_on(open(&sim, &clock, BatchConfig::default())),
        ];
        sim.set_faults(Faults::HOSTILE);
        let answers = Arc::new(Mutex::new(BTreeMap::new()));
        let mut tasks: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
        for n in 0..40 {
            let (store, clock, answers) =
                (nodes[n as usize % 2].clone(), clock.clone(), Arc::clone(&answers));
            tasks.push(Box::pin(async move {
                let seq = insist(&store, &clock, n, Duration::from_secs(5)).await;
                answers.lock().unwrap().insert(n, seq);
            }));
        }
        let (crashing, ticking) = (sim.clone(), clock.clone());
        tasks.push(Box::pin(async move {
            for _ in 0..10 {
                ticking.sleep(Duration::from_millis(7)).await;
                crashing.crash();
            }
        }));
        executor.run(tasks);
        sim.set_faults(Faults::NONE);
        for node in &nodes {
            let stored: BTreeMap<_, _> =
                executor.block_on(entries(node)).into_iter().map(|(seq, n)| (n, seq)).collect();
            assert_eq!(stored.values().map(|seq| seq.0).collect::<std::collections::BTreeSet<_>>().len(), 40);
            assert_eq!(stored, *answers.lock().unwrap(), "seed {seed}");
        }
    }
}

/// The same seed gives the same run, to the byte.
#[test]
fn a_simulation_repeats_itself() {
    let run = |seed| {
        let (mut executor, sim, clock) = slow(seed);
        let store = executor.block_on(open(&sim, &clock, BatchConfig::default()));
        sim.set_faults(Faults::HOSTILE);
        let task = |n| {
            let (store, clock) = (store.clone(), clock.clone());
            Box::pin(async move {
                insist(&store, &clock, n, Duration::from_millis(20)).await;
            }) as std::pin::Pin<Box<dyn Future<Output = ()> + Send>>
        };
        executor.run((0..30).map(task).collect());
        (clock.now(), sim.dump())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
}

/// An op that no transaction could hold is refused alone, and not with those that waited beside it.
#[test]
fn one_that_asks_too_much_is_refused_alone() {
    let (mut executor, sim, clock) = slow(1);
    executor.block_on(async {
        let store = open(&sim, &clock, BatchConfig::default()).await;
        sim.set_faults(Faults { delay_max: Duration::from_millis(10), ..Faults::NONE });
        let ops = (0..20).map(|n| match append(n) {
            Op::Append(mut op) if n == 7 => {
                op.messages[0].content = Bytes::from(vec![0; 60_000]);
                let (first, id) = (op.messages[0].clone(), |n| ClientMsgId::new([n; 16]));
                op.messages = (100..120).map(|n| Message { client_msg_id: id(n), ..first.clone() }).collect();
                Op::Append(op)
            }
            op => op,
        });
        let results = join_all(ops.map(|op| store.execute(op))).await;
        for (n, result) in results.iter().enumerate() {
            assert_eq!(matches!(result, Err(StoreError::Limit(_))), n == 7, "{n} {result:?}");
        }
        assert_eq!(entries(&store).await.len(), 19);
    });
}

/// The commit's answer is lost; the retry finds the message in the log and still tells whom to hint.
#[test]
fn an_unknown_commit_does_not_lose_its_fan_out() {
    let (mut executor, sim, clock) = slow(1);
    executor.block_on(async {
        let store = open(&sim, &clock, BatchConfig::default()).await;
        store.execute(append(1)).await.unwrap();
        sim.set_faults(Faults { unknown_committed: 1.0, ..Faults::NONE });
        let OpOutput::Append(results) = store.execute(append(2)).await.unwrap() else { panic!("no append") };
        let appended = results[0].as_ref().unwrap();
        assert_eq!((appended.seq, appended.repeat, appended.members.len()), (Seq(2), false, 2));
        assert_eq!(
            entry(&StoredEntry { seq: appended.seq, frame: appended.frame.clone(), parts: vec![] }),
            (Seq(2), 2)
        );
        let read = MoveCursor {
            log: log(),
            account: account(2),
            device: DeviceId::new([2; 16]),
            delivered: Seq(2),
            read: Seq(2),
            in_doubt: false,
            now: NOW,
        };
        let OpOutput::MoveCursor(moved) = store.execute(Op::MoveCursor(read)).await.unwrap() else {
            panic!()
        };
        let moved = moved.unwrap();
        assert!(moved.moved && moved.members.len() == 2);
        sim.set_faults(Faults::NONE);
        let again = store.execute(append(2)).await.unwrap();
        let OpOutput::Append(results) = again else { panic!("no append") };
        assert!(results[0].as_ref().unwrap().repeat);
        assert_eq!(entries(&store).await, [(Seq(1), 1), (Seq(2), 2)]);
    });
}

#[test]
fn execute_can_run_on_any_thread() {
    fn assert_send<T: Send>(_: T) {}
    let (mut executor, sim, clock) = slow(1);
    let store = executor.block_on(open(&sim, &clock, BatchConfig::default()));
    assert_send(store.execute(append(1)));
}
