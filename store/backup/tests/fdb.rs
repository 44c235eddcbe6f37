//! The same on a real FoundationDB cluster: a hot backup, a restore, copies there and back, and nodes that are told that
//! their store was closed.

#[path = "stores/support.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use loadtest_cluster::{Cluster, Shape};
use store::embedded::{Embedded, EmbeddedConfig};
use store::fdb::{Fdb, FdbConfig};
use store::op::Op;
use store::tx::TxError;
use store::{OpenError, Store, StoreConfig, StoreError};
use store_backup::{BackupConfig, Key, Place, backup, copy, reopen, restore};
use support::{Dump, Log, RealClock, check, kinds, open, person, serves, silent, talk};

fn clock() -> RealClock {
    RealClock(Instant::now())
}

/// A store under a prefix of its own; tools write to it also while it is closed.
fn on(cluster: &Cluster, prefix: &str, even_if_closed: bool) -> Fdb {
    let config = FdbConfig::new(cluster.cluster_file());
    Fdb::open(&FdbConfig { prefix: prefix.to_owned(), even_if_closed, ..config }, clock()).unwrap()
}

fn embedded(path: &Path) -> Embedded {
    Embedded::open(path, &EmbeddedConfig::default(), clock()).unwrap()
}

fn people() -> Vec<support::Person> {
    (0..4).map(|n| person(n, 0)).collect()
}

async fn talked(store: &Store<Fdb, RealClock>, log: &Log) {
    for who in &people() {
        who.register(store).await;
    }
    talk(store, &people()[..2], (0, 120, 4_000), log).await;
    talk(store, &people(), (1_000, 60, 50), log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_cluster_is_backed_up_while_people_talk_and_restored_r142() {
    let Some(programs) = loadtest_cluster::can_run("backup::p6") else { return };
    let cluster = Cluster::start_with(programs, Shape::One).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(Log::default());
    let store = open(on(&cluster, "old", false), clock()).await;
    talked(&store, &log).await;
    let acknowledged = log.all();
    let stop = Arc::new(AtomicBool::new(false));
    let talking = tokio::spawn({
        let (store, log, stop) = (store.clone(), Arc::clone(&log), Arc::clone(&stop));
        async move {
            let mut id = 10_000;
            while !stop.load(Ordering::Relaxed) {
                talk(&store, &people()[..2], (id, 1, 4_000), &log).await;
                id += 1;
            }
        }
    });
    while log.all().len() < acknowledged.len() + 5 {
        tokio::task::yield_now().await;
    }
    let key = Key::new([3; 32]);
    let config = BackupConfig { key: Some(key.clone()), ..BackupConfig::default() };
    let place = Place::parse(folder.path().join("backup").to_str().unwrap(), [], true).unwrap();
    backup(on(&cluster, "old", true), clock(), &place, &config, &silent).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    talking.await.unwrap();

    let compared = restore(&place, Some(&key), on(&cluster, "new", true), clock(), &silent).await.unwrap();
    assert_eq!(compared.source, compared.target);
    let restored = open(on(&cluster, "new", false), clock()).await;
    let seen = check(&restored.run(&Dump).await.unwrap());
    assert!(seen.entries >= acknowledged.len() as u64 && seen.receipts > 10, "{seen:?}");
    assert_eq!(kinds(&restored.run(&Dump).await.unwrap()), kinds(&store.run(&Dump).await.unwrap()));
    serves(&restored, &acknowledged, &people()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r142_copies_from_a_cluster_to_disk_and_back_and_nodes_are_told() {
    let Some(programs) = loadtest_cluster::can_run("backup::copies") else { return };
    let cluster = Cluster::start_with(programs, Shape::One).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = Log::default();
    let store = open(on(&cluster, "old", false), clock()).await;
    talked(&store, &log).await;
    let before = store.run(&Dump).await.unwrap();
    let disk = folder.path().join("disk");
    let compared = copy(on(&cluster, "old", true), embedded(&disk), clock(), &silent).await.unwrap();
    assert_eq!(compared.source, compared.target);

    // A node that has the source open is refused; reading goes on.
    let said = &log.all()[0];
    let new = support::append(&support::Said { id: 99_999, ..said.clone() });
    let refused = store.execute(Op::Append(new)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { source: TxError::Closed, .. })), "{refused:?}");
    assert_eq!(store.run(&Dump).await.unwrap(), before);
    let again = Store::open(on(&cluster, "old", false), StoreConfig::default(), clock()).await;
    assert!(matches!(again, Err(OpenError::Closed { .. })));

    let back = copy(embedded(&disk), on(&cluster, "back", true), clock(), &silent).await.unwrap();
    assert_eq!(
        (back.source.total(), back.target.total()),
        (compared.source.total(), compared.target.total())
    );
    let served = open(on(&cluster, "back", false), clock()).await;
    assert_eq!(served.run(&Dump).await.unwrap(), before);
    serves(&served, &log.all(), &people()).await;
    assert!(reopen(on(&cluster, "old", true), clock()).await.unwrap().is_some());
    serves(&store, &log.all(), &people()).await;
}
