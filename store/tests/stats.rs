//! What a store says of its work (R157): exact figures.

#![cfg(feature = "testing")]

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use store::embedded::{Embedded, EmbeddedConfig};
use store::op::{MoveCursor, Op, OpOutput};
use store::run::{Attempt, Body, OpError};
use store::sim::{Faults, Sim};
use store::testing::{Executor, VirtualClock};
use store::tx::{Backend, Tx};
use store::{Budget, Store, StoreConfig};
use wire::{AccountId, ChatId, DeviceId, LogId, Seq, WallTime};

/// Writes one key.
struct Write;

impl Body for Write {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<(), OpError> {
        tx.set(Bytes::from_static(b"k"), Bytes::new());
        Ok(())
    }
}

#[test]
fn r157_tries_are_counted_by_their_end() {
    let mut executor = Executor::new(1);
    let (clock, sim) = (executor.clock(), Sim::new(1, executor.clock()));
    executor.block_on(async {
        let store = Store::open(sim.clone(), StoreConfig::default(), clock).await.unwrap();
        let before = store.stats();
        store.run(&Write).await.unwrap();
        let after = store.stats();
        assert_eq!(after.transactions - before.transactions, 1);
        assert_eq!((after.retries, after.conflicts, after.unknown), (0, 0, 0));
        let tries = u64::from(Budget::default().attempts_max);
        sim.set_faults(Faults { conflict: 1.0, ..Faults::NONE });
        store.run(&Write).await.unwrap_err();
        let now = store.stats();
        assert_eq!((now.retries, now.conflicts, now.unknown), (tries - 1, tries, 0));
        sim.set_faults(Faults { unknown_lost: 1.0, ..Faults::NONE });
        store.run(&Write).await.unwrap_err();
        let now = store.stats();
        assert_eq!((now.retries, now.conflicts, now.unknown), (2 * (tries - 1), tries, tries));
        assert_eq!(now.transactions, after.transactions, "none of them succeeded");
    });
}

#[test]
fn r157_batches_and_what_is_in_them_are_counted() {
    let mut executor = Executor::new(1);
    let (clock, sim) = (executor.clock(), Sim::<VirtualClock>::new(1, executor.clock()));
    executor.block_on(async {
        let store = Store::open(sim.clone(), StoreConfig::default(), clock).await.unwrap();
        sim.set_faults(Faults { delay_max: Duration::from_millis(10), ..Faults::NONE });
        let moved = MoveCursor {
            log: LogId::Chat(ChatId::new([1; 16])),
            account: AccountId::new([2; 16]),
            device: DeviceId::new([3; 16]),
            delivered: Seq(1),
            read: Seq(0),
            in_doubt: false,
            now: WallTime(1),
        };
        let answers = join_all((0..100).map(|_| store.execute(Op::MoveCursor(moved.clone())))).await;
        assert!(answers.iter().all(|answer| matches!(answer, Ok(OpOutput::MoveCursor(Err(_))))), "no member");
        let stats = store.stats();
        assert_eq!((stats.batches, stats.batched_ops), (2, 100), "the first alone, and then all who waited");
    });
}

#[test]
fn r157_the_embedded_store_s_writes_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Executor::new(1).clock();
    let backend = Embedded::open(dir.path(), &EmbeddedConfig::default(), clock).unwrap();
    let before = backend.write_stats();
    assert_eq!((before.groups, before.transactions), (0, 0));
    // The writer is a thread, which the executor of virtual time does not wait for.
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        for _ in 0..3 {
            let mut tx = backend.begin().await.unwrap();
            tx.set(Bytes::from_static(b"k"), Bytes::new());
            tx.commit().await.unwrap();
        }
    });
    let after = backend.write_stats();
    assert_eq!((after.groups, after.transactions, after.queued_bytes), (3, 3, 0), "one after another");
}
