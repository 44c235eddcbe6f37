//! Copies: of stores on disk, with interruptions, refusals and differences.

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use store::closed::Describe;
use store::embedded::{Embedded, EmbeddedConfig, Tuning};
use store::op::Op;
use store::parsed::Kind;
use store::run::{Attempt, Body, OpError};
use store::tx::Tx;
use store::{OpenError, Store, StoreConfig, keys};
use store_backup::{BackupError, Difference, Differs, Progress, copy, reopen};

use crate::support::{Dump, Log, RealClock, check, open, person, serves, silent, talk};

pub(crate) fn clock() -> RealClock {
    RealClock(Instant::now())
}

pub(crate) fn embedded(path: &Path) -> Embedded {
    let tuning = Tuning { sync: false, ..Tuning::default() };
    Embedded::open_tuned(path, &EmbeddedConfig::default(), tuning, clock()).unwrap()
}

/// Sets keys, or clears one.
pub(crate) struct Set(pub(crate) Bytes, pub(crate) Option<Bytes>);

impl Body for Set {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<(), OpError> {
        match &self.1 {
            Some(value) => tx.set(self.0.clone(), value.clone()),
            None => tx.clear(self.0.clone()),
        }
        Ok(())
    }
}

/// A store in which people have talked, more than a page of a copy.
pub(crate) async fn talked(path: &Path, log: &Log) -> Embedded {
    let backend = embedded(path);
    let store = open(backend.clone(), clock()).await;
    let people = people();
    for who in &people {
        who.register(&store).await;
    }
    talk(&store, &people, (0, 250, 4_000), log).await;
    backend
}

pub(crate) fn people() -> Vec<crate::support::Person> {
    (0..4).map(|n| person(n, 0)).collect()
}

/// Sets or clears keys of a store that is closed.
pub(crate) async fn set(backend: &Embedded, key: Bytes, value: Option<Bytes>) {
    let runner = store::run::Runner::new(backend.clone(), clock(), Default::default(), 0);
    runner.run(&Set(key, value)).await.unwrap();
}

async fn refused(backend: &Embedded) -> OpenError {
    Store::open(backend.clone(), StoreConfig::default(), clock()).await.unwrap_err()
}

#[tokio::test]
async fn r142_a_copy_is_the_store_and_serves() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::default();
    let from = talked(&folder.path().join("a"), &log).await;
    let before = open(from.clone(), clock()).await.run(&Dump).await.unwrap();
    let to = embedded(&folder.path().join("b"));
    let compared = copy(from.clone(), to.clone(), clock(), &silent).await.unwrap();
    assert_eq!(compared.source, compared.target);
    assert_eq!(compared.source.total(), compared.target.total());
    assert_eq!(compared.source.count(Kind::Entry), 250);
    assert_eq!(compared.source.keys(), before.len() as u64);

    assert!(refused(&from).await.to_string().contains("godwit reopen"));
    let store = open(to.clone(), clock()).await;
    assert_eq!(store.run(&Dump).await.unwrap(), before);
    assert_eq!(store.run(&Describe).await.unwrap().incarnation, Some(2));
    check(&before);
    serves(&store, &log.all(), &people()).await;

    let again = copy(from.clone(), to, clock(), &silent).await;
    assert!(matches!(again, Err(BackupError::TargetNotEmpty { .. })), "{again:?}");
    assert!(reopen(from.clone(), clock()).await.unwrap().is_some());
    assert!(reopen(from.clone(), clock()).await.unwrap().is_none());
    open(from, clock()).await;
}

/// Reports until it has heard so much, then panics: an interruption.
pub(crate) fn until(bytes: u64, doing: &'static str) -> impl Fn(Progress) + Send + Sync {
    move |progress| assert!(progress.doing != doing || progress.bytes < bytes, "interrupted")
}

#[tokio::test]
async fn r142_an_interrupted_copy_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::default();
    let from = talked(&folder.path().join("a"), &log).await;
    let to = embedded(&folder.path().join("b"));
    let interrupted = tokio::spawn({
        let (from, to) = (from.clone(), to.clone());
        async move { copy(from, to, clock(), &until(600_000, "copying")).await }
    });
    assert!(interrupted.await.unwrap_err().is_panic());
    let half = refused(&to).await.to_string();
    assert!(half.contains("a copy into it is not complete"), "{half}");
    assert!(matches!(reopen(to.clone(), clock()).await, Err(BackupError::SourceIncomplete(_))));
    let from_half = copy(to.clone(), embedded(&folder.path().join("c")), clock(), &silent).await;
    assert!(matches!(from_half, Err(BackupError::SourceIncomplete(_))), "{from_half:?}");

    let other = talked(&folder.path().join("other"), &Log::default()).await;
    let into_half = copy(other.clone(), to.clone(), clock(), &silent).await;
    assert!(matches!(into_half, Err(BackupError::TargetNotEmpty { .. })), "{into_half:?}");
    open(other, clock()).await;

    // What is already there is not read again.
    let total = std::sync::Mutex::new(0);
    let count = |progress: Progress| {
        if progress.doing == "copying" {
            *total.lock().unwrap() = progress.bytes;
        }
    };
    let compared = copy(from, to.clone(), clock(), &count).await.unwrap();
    assert_eq!(compared.source, compared.target);
    let whole: usize = open(to.clone(), clock())
        .await
        .run(&Dump)
        .await
        .unwrap()
        .iter()
        .map(|(k, v)| k.len() + v.len())
        .sum();
    assert!(*total.lock().unwrap() + 500_000 < whole as u64, "it began anew");
    serves(&open(to, clock()).await, &log.all(), &people()).await;
}

#[tokio::test]
async fn a_source_that_was_used_meanwhile_is_not_copied_on() {
    let folder = tempfile::tempdir().unwrap();
    let from = talked(&folder.path().join("a"), &Log::default()).await;
    let to = embedded(&folder.path().join("b"));
    let interrupted = tokio::spawn({
        let (from, to) = (from.clone(), to.clone());
        async move { copy(from, to, clock(), &until(600_000, "copying")).await }
    });
    assert!(interrupted.await.unwrap_err().is_panic());
    reopen(from.clone(), clock()).await.unwrap();
    let again = copy(from, to, clock(), &silent).await;
    assert!(matches!(again, Err(BackupError::TargetNotEmpty { .. })), "{again:?}");
}

#[tokio::test]
async fn a_difference_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::default();
    let from = talked(&folder.path().join("a"), &log).await;
    let said = &log.all()[100];
    let chat = said.from.log(&said.to);
    let entry = keys::entry(chat, said.seq);
    for (n, key, value, kind, what) in [
        (0, entry.clone(), Some(Bytes::from_static(b"\x01x")), Kind::Entry, Differs::Value),
        (1, entry, None, Kind::Entry, Differs::Missing),
        (2, keys::account(said.from.account), None, Kind::Account, Differs::Missing),
        (
            3,
            keys::cursors_moved(wire::LogId::Call(wire::ChatId::new([9; 16]))),
            Some(Bytes::new()),
            Kind::CursorsMoved,
            Differs::Extra,
        ),
        (
            4,
            keys::outbox(wire::WallTime(u64::MAX), chat, said.seq),
            Some(Bytes::new()),
            Kind::Outbox,
            Differs::Extra,
        ),
    ] {
        let to = embedded(&folder.path().join(format!("to-{n}")));
        let interrupted = tokio::spawn({
            let (from, to) = (from.clone(), to.clone());
            async move { copy(from, to, clock(), &until(0, "comparing")).await }
        });
        // Everything is written by then, and nothing compared.
        assert!(interrupted.await.unwrap_err().is_panic());
        set(&to, key, value).await;
        let found = copy(from.clone(), to.clone(), clock(), &silent).await;
        match found {
            Err(BackupError::Difference(found)) => assert_eq!(found, Difference { kind, what }, "{n}"),
            other => panic!("{n}: {other:?}"),
        }
        assert!(matches!(refused(&to).await, OpenError::Closed { .. }));
    }
}

#[tokio::test]
async fn what_is_no_store_or_not_empty_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = embedded(&folder.path().join("nothing"));
    let used = talked(&folder.path().join("used"), &Log::default()).await;
    let from_nothing = copy(nothing.clone(), embedded(&folder.path().join("x")), clock(), &silent).await;
    assert!(matches!(from_nothing, Err(BackupError::NoStore)), "{from_nothing:?}");
    let other = talked(&folder.path().join("other"), &Log::default()).await;
    let onto_used = copy(other.clone(), used.clone(), clock(), &silent).await;
    assert!(matches!(onto_used, Err(BackupError::TargetNotEmpty { .. })), "{onto_used:?}");
    let onto_itself = copy(used.clone(), used.clone(), clock(), &silent).await;
    assert!(matches!(onto_itself, Err(BackupError::TargetNotEmpty { .. })), "{onto_itself:?}");
    // Neither was closed for it.
    let store = open(used, clock()).await;
    open(other, clock()).await;
    let _ = store
        .execute(Op::Sweep(store::op::Sweep { shard: 0, due: wire::WallTime(0), limit: 1 }))
        .await
        .unwrap();

    set(&nothing, keys::schema_version(), Some(Bytes::from_static(b"\x01\0\0\0\0\0\0\0\x02"))).await;
    let newer = copy(nothing, embedded(&folder.path().join("y")), clock(), &silent).await;
    assert!(matches!(newer, Err(BackupError::NewerSchema { found: 2 })), "{newer:?}");
}
