//! The same on the simulated backend, with conflicts, unknown commits, old read versions and full queues, from fixed
//! seeds: backups while people talk, copies, restores.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use store::Clock;
use store::closed::Describe;
use store::sim::{Faults, Sim};
use store::testing::{Executor, VirtualClock};
use store::tx::{Backend, TxError};
use store_backup::{BackupConfig, Key, Place, backup, copy, restore};

use crate::support::{Dump, Log, check, open, person, serves, silent, talk};

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) fn faults() -> Faults {
    Faults { delay_max: Duration::from_millis(3), ..Faults::HOSTILE }
}

pub(crate) fn sim(seed: u64, clock: &VirtualClock) -> Sim<VirtualClock> {
    Sim::new(seed, clock.clone())
}

/// A store far away from whoever makes backups, so that much is said between any two of its transactions.
#[derive(Clone)]
pub(crate) struct Far(pub(crate) Sim<VirtualClock>, pub(crate) VirtualClock);

impl Backend for Far {
    type Tx = <Sim<VirtualClock> as Backend>::Tx;

    async fn begin(&self) -> Result<Self::Tx, TxError> {
        self.1.sleep(Duration::from_millis(50)).await;
        self.0.begin().await
    }

    fn exclusive(&self) -> bool {
        false
    }
}

/// A store with some talk in it, one of the logs longer than a page.
async fn begun(store: &store::Store<Sim<VirtualClock>, VirtualClock>, log: &Log) {
    let people = people();
    for who in &people {
        who.register(store).await;
    }
    talk(store, &people[..2], (0, 100, 4_000), log).await;
    talk(store, &people, (1_000, 60, 30), log).await;
}

fn people() -> Vec<crate::support::Person> {
    (0..4).map(|n| person(n, 0)).collect()
}

#[test]
fn p6_a_backup_of_a_store_with_faults_while_people_talk_r142() {
    let mut between = 0;
    for seed in 0..12 {
        between += backed_up(seed);
    }
    assert!(between > 0, "no backup ended within what was said meanwhile");
}

/// Answers how many entries that were said meanwhile the backup has not.
fn backed_up(seed: u64) -> u64 {
    let mut executor = Executor::new(seed);
    let clock = executor.clock();
    let (old, new) = (sim(seed, &clock), sim(seed + 100, &clock));
    let (log, place) = (Arc::new(Log::default()), Place::of(Arc::new(InMemory::new())));
    let store = executor.block_on(open(old.clone(), clock.clone()));
    executor.block_on(begun(&store, &log));
    let acknowledged = log.all();
    old.set_faults(faults());
    let config =
        BackupConfig { key: Some(Key::new([1; 32])), object_bytes: 50_000, at_once: 3, verify: true };
    let tasks: Vec<Task> = {
        let talker = |first_id| {
            let (store, log) = (store.clone(), Arc::clone(&log));
            Box::pin(async move { talk(&store, &people()[..2], (first_id, 60, 1_000), &log).await })
        };
        let newcomer = {
            let (store, log) = (store.clone(), Arc::clone(&log));
            async move {
                let newcomer = person(50, 0);
                newcomer.register(&store).await;
                talk(&store, &[people()[3], newcomer], (20_000, 10, 30), &log).await;
            }
        };
        let (old, clock, place, config) = (old.clone(), clock.clone(), place.clone(), config.clone());
        let backing = async move {
            backup(Far(old, clock.clone()), clock, &place, &config, &silent).await.unwrap();
        };
        // Many at once, so that cursors and heads move between any two reads.
        let talkers = (1..=8).map(|n| -> Task { talker(n * 10_000 + 100_000) });
        talkers.chain([Box::pin(newcomer) as Task, Box::pin(backing)]).collect()
    };
    executor.run(tasks);

    new.set_faults(faults());
    let restored = restore(&place, config.key.as_ref(), new.clone(), clock.clone(), &silent);
    let compared = executor.block_on(restored).unwrap();
    assert_eq!(compared.source, compared.target, "seed {seed}");
    new.set_faults(Faults::NONE);
    let store = executor.block_on(open(new, clock));
    let seen = check(&executor.block_on(store.run(&Dump)).unwrap());
    let all = log.all().len() as u64;
    assert!(seen.entries >= acknowledged.len() as u64 && seen.entries <= all, "seed {seed}: {seen:?}");
    executor.block_on(serves(&store, &acknowledged, &people()));
    all - seen.entries
}

#[test]
fn r142_a_copy_between_stores_with_faults() {
    for seed in 0..6 {
        let mut executor = Executor::new(seed);
        let clock = executor.clock();
        let (from, to) = (sim(seed, &clock), sim(seed + 100, &clock));
        let log = Log::default();
        let store = executor.block_on(open(from.clone(), clock.clone()));
        executor.block_on(begun(&store, &log));
        let before = executor.block_on(store.run(&Dump)).unwrap();
        from.set_faults(faults());
        to.set_faults(faults());
        let compared = executor.block_on(copy(from, to.clone(), clock.clone(), &silent)).unwrap();
        assert_eq!(compared.source, compared.target, "seed {seed}");
        to.set_faults(Faults::NONE);
        let store = executor.block_on(open(to, clock));
        assert_eq!(executor.block_on(store.run(&Dump)).unwrap(), before);
        let found = executor.block_on(store.run(&Describe)).unwrap();
        assert_eq!((found.incarnation, found.closed, found.progress), (Some(2), None, None));
        executor.block_on(serves(&store, &log.all(), &people()));
    }
}
