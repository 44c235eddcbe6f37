//! P6: a store on disk is backed up while people talk, destroyed, restored, and compared (R142, R151).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::support::{
    CANARY, Dump, Log, RealClock, check, execute, kinds, open, person, serves, silent, talk,
};
use store::closed::Describe;
use store::embedded::{Embedded, EmbeddedConfig, Tuning};
use store::op::{ClearOutbox, Op, OpOutput, Sweep};
use store::parsed::Kind;
use store_backup::{BackupConfig, Key, Place, backup, restore};
use wire::WallTime;

fn clock() -> RealClock {
    RealClock(Instant::now())
}

fn embedded(path: &Path) -> Embedded {
    let tuning = Tuning { sync: false, ..Tuning::default() };
    Embedded::open_tuned(path, &EmbeddedConfig::default(), tuning, clock()).unwrap()
}

fn place(folder: &Path) -> Place {
    Place::parse(folder.to_str().unwrap(), [], true).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_store_is_backed_up_while_people_talk_destroyed_and_restored_r142_r151() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let backend = embedded(&old);
    let store = open(backend.clone(), clock()).await;
    let mut people: Vec<_> = (0..6).map(|n| person(n, 0)).collect();
    people.push(person(0, 1));
    for who in &people {
        who.register(&store).await;
    }
    let log = Arc::new(Log::default());
    // Two of them say more than fits into one read.
    talk(&store, &people[..2], (1_000, 150, 4_000), &log).await;
    talk(&store, &people, (0, 300, 50), &log).await;
    sweep(&store).await;
    let before = log.all();

    let stop = Arc::new(AtomicBool::new(false));
    let talking = tokio::spawn({
        let (store, log, people, stop) = (store.clone(), Arc::clone(&log), people.clone(), Arc::clone(&stop));
        async move {
            let mut id = 10_000;
            while !stop.load(Ordering::Relaxed) {
                talk(&store, &people[..2], (id, 2, 4_000), &log).await;
                talk(&store, &people, (id + 2, 2, 50), &log).await;
                let newcomer = person(u8::try_from(100 + id % 100).unwrap(), 0);
                newcomer.register(&store).await;
                talk(&store, &[people[2], newcomer], (id + 4, 1, 50), &log).await;
                id += 5;
            }
        }
    });
    while log.all().len() < before.len() + 10 {
        tokio::task::yield_now().await;
    }
    let acknowledged = log.all();
    let key = Key::new([7; 32]);
    let config = BackupConfig { key: Some(key.clone()), object_bytes: 100_000, ..BackupConfig::default() };
    let at = folder.path().join("backup");
    let manifest = backup(backend.clone(), clock(), &place(&at), &config, &silent).await.unwrap();
    let until = log.all().len();
    stop.store(true, Ordering::Relaxed);
    talking.await.unwrap();
    assert!(until > acknowledged.len(), "nobody talked meanwhile");
    assert!(manifest.objects() > 5 && manifest.kinds().count(Kind::Entry) >= acknowledged.len() as u64);
    no_canary(&at);

    let lost = store.run(&Dump).await.unwrap();
    drop((store, backend));
    std::fs::remove_dir_all(&old).unwrap();

    let compared = restore(&place(&at), Some(&key), embedded(&new), clock(), &silent).await.unwrap();
    assert_eq!(compared.source, compared.target);
    let backend = embedded(&new);
    let store = open(backend.clone(), clock()).await;
    let described = store.run(&Describe).await.unwrap();
    assert_eq!((described.incarnation, described.closed, described.progress), (Some(2), None, None));
    let restored = store.run(&Dump).await.unwrap();
    let seen = check(&restored);
    assert!(seen.entries >= acknowledged.len() as u64 && seen.receipts > 50, "{seen:?}");
    assert!(seen.cursors > 10 && seen.outbox > 0 && seen.devices >= 7, "{seen:?}");
    assert_eq!(kinds(&restored), kinds(&lost));
    serves(&store, &acknowledged, &people).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_backup_of_a_store_that_is_open_elsewhere_is_the_same_r142() {
    let folder = tempfile::tempdir().unwrap();
    let backend = embedded(&folder.path().join("store"));
    let store = open(backend.clone(), clock()).await;
    let people = [person(1, 0), person(2, 0), person(3, 0)];
    for who in &people {
        who.register(&store).await;
    }
    talk(&store, &people[..2], (1_000, 150, 4_000), &Log::default()).await;
    talk(&store, &people, (0, 100, 50), &Log::default()).await;
    let _server = store::reads::ReadServer::start(backend.clone(), 1).unwrap();
    let remote = store::reads::Remote::connect(backend.path(), clock()).unwrap();
    let config = BackupConfig { object_bytes: 100_000, ..BackupConfig::default() };
    let (here, there) = (place(&folder.path().join("here")), place(&folder.path().join("there")));
    let here = backup(backend, clock(), &here, &config, &silent).await.unwrap();
    let there = backup(remote, clock(), &there, &config, &silent).await.unwrap();
    assert!(there.kinds().count(Kind::Entry) == 250 && there.kinds() == here.kinds(), "{:?}", there.kinds());
}

/// Some of the outbox is gone, as after a sweep.
async fn sweep<C: store::Clock>(store: &store::Store<Embedded, C>) {
    for shard in 0..8 {
        let sweep = Op::Sweep(Sweep { shard, due: WallTime(u64::MAX), limit: 100 });
        let OpOutput::Sweep(swept) = execute(store, sweep).await else { panic!("sweep") };
        execute(store, Op::ClearOutbox(ClearOutbox { keys: swept.keys })).await;
    }
}

/// Nothing that people said is in the folder in the clear.
fn no_canary(folder: &Path) {
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for planted in [CANARY, "Person ", "+49151", "accounts-"] {
            let found = bytes.windows(planted.len()).any(|window| window == planted.as_bytes());
            assert!(!found, "R151: {planted:?} is in the clear");
        }
        files += 1;
    }
    assert!(files > 5);
}

#[tokio::test]
async fn r151_the_canary_is_found_where_nothing_is_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let backend = embedded(&folder.path().join("store"));
    let store = open(backend.clone(), clock()).await;
    let people = [person(1, 0), person(2, 0)];
    for who in &people {
        who.register(&store).await;
    }
    talk(&store, &people, (0, 5, 50), &Log::default()).await;
    let at = folder.path().join("backup");
    backup(backend, clock(), &place(&at), &BackupConfig::default(), &silent).await.unwrap();
    let found = std::fs::read_dir(&at).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
    });
    assert!(found, "a search that finds nothing anywhere proves nothing");
}
