//! The embedded backend passes the suite, and keeps what it acknowledged through every way of ending.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::conformance::{self, Env};
use store::embedded::{Embedded, EmbeddedConfig, EmbeddedError, Tuning};
use store::run::{Attempt, Body, OpError};
use store::tx::{Backend, Range, Tx, TxError};
use store::{Clock, OpenError, Store, StoreConfig, StoreError, keys};

/// Real time, which a test may push forward.
#[derive(Debug, Clone)]
struct TestClock {
    start: Instant,
    pushed_ms: Arc<AtomicU64>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the embedded store has a thread, so its tests run in real time"
)]
impl TestClock {
    fn new() -> TestClock {
        TestClock { start: Instant::now(), pushed_ms: Arc::default() }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the embedded store has a thread, so its tests run in real time"
)]
impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.start.elapsed() + Duration::from_millis(self.pushed_ms.load(Ordering::Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

struct EmbeddedEnv {
    backend: Embedded,
    clock: TestClock,
}

impl Env for EmbeddedEnv {
    type Backend = Embedded;
    type Clock = TestClock;

    fn backend(&self) -> Embedded {
        self.backend.clone()
    }

    fn clock(&self) -> TestClock {
        self.clock.clone()
    }

    async fn advance(&self, duration: Duration) {
        let ms = u64::try_from(duration.as_millis()).unwrap();
        self.clock.pushed_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn open(path: &Path) -> Result<Embedded, EmbeddedError> {
    Embedded::open(path, &EmbeddedConfig::default(), TestClock::new())
}

fn run(case: &str) {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let backend = Embedded::open(directory.path(), &EmbeddedConfig::default(), clock.clone()).unwrap();
    block_on(conformance::run(&EmbeddedEnv { backend, clock }, case));
}

mod transactions {
    store::conformance_tests!(super::run);
}

mod ops {
    store::op_conformance_tests!(super::run);
}

async fn put(backend: &Embedded, key: u8) -> Result<(), TxError> {
    let mut tx = backend.begin().await?;
    tx.set(Bytes::copy_from_slice(&[b'k', key]), Bytes::from(vec![key; 100]));
    tx.commit().await.map(|_| ())
}

async fn stored(backend: &Embedded) -> Vec<u8> {
    let pairs = backend.begin().await.unwrap().range(Range::prefix(Bytes::from_static(b"k"))).await.unwrap();
    pairs
        .iter()
        .map(|(key, value)| if value[..] == [key[1]; 100] { key[1] } else { panic!("{key:?}") })
        .collect()
}

#[test]
fn what_was_committed_is_there_after_a_clean_close() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let backend = open(directory.path()).unwrap();
        block_on(async {
            assert_eq!(stored(&backend).await, (0..round * 10).collect::<Vec<_>>());
            for n in 0..10 {
                put(&backend, round * 10 + n).await.unwrap();
            }
        });
    }
}

#[test]
fn versionstamps_rise_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = None;
    for _ in 0..3 {
        let backend = open(directory.path()).unwrap();
        let stamp = block_on(async {
            let mut tx = backend.begin().await.unwrap();
            tx.set(Bytes::from_static(b"a"), Bytes::new());
            tx.commit().await.unwrap()
        });
        assert!(stamp > last);
        last = stamp;
    }
}

#[test]
fn a_store_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).unwrap();
    match open(directory.path()) {
        Err(error @ EmbeddedError::Locked { pid, .. }) => {
            assert_eq!(pid, Some(std::process::id()));
            assert!(error.to_string().contains(&format!("({})", std::process::id())), "{error}");
        }
        other => panic!("opened twice: {other:?}"),
    }
    drop(first);
    open(directory.path()).unwrap();
}

/// Writes a schema version as a newer build would.
struct Newer;

impl Body for Newer {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<(), OpError> {
        tx.set(keys::schema_version(), Bytes::from_static(&[1, 0, 0, 0, 0, 0, 0, 0, 2]));
        Ok(())
    }
}

#[test]
fn a_newer_schema_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let config = EmbeddedConfig::default();
        block_on(Store::open_embedded(directory.path(), &config, StoreConfig::default(), TestClock::new()))
    };
    let store = open().unwrap();
    block_on(store.run(&Newer)).unwrap();
    drop(store);
    assert!(matches!(open(), Err(OpenError::NewerSchema { found: 2 })));
}

/// The engine makes what is being written visible when it has moved data meanwhile; a transaction must not see that.
#[test]
fn a_transaction_reads_one_version_while_groups_are_written_and_the_engine_moves_its_data() {
    let directory = tempfile::tempdir().unwrap();
    let tuning = Tuning { memtable_bytes: 32 << 10, sync: true };
    let config = EmbeddedConfig::default();
    let backend = Embedded::open_tuned(directory.path(), &config, tuning, TestClock::new()).unwrap();
    let both = [Bytes::from_static(b"left"), Bytes::from_static(b"right")];
    let write = async |n: u64| {
        let mut tx = backend.begin().await.unwrap();
        both.iter().for_each(|key| tx.set(key.clone(), Bytes::from(n.to_le_bytes().to_vec())));
        tx.set(Bytes::from_static(b"padding"), Bytes::from(vec![0; 20_000]));
        tx.commit().await.unwrap();
    };
    let read = async || {
        let tx = backend.begin().await.unwrap();
        let first = tx.get(&both[0]).await.unwrap();
        TestClock::new().sleep(Duration::from_millis(1)).await;
        for key in [&both[1], &both[0]] {
            assert_eq!(tx.get(key).await.unwrap(), first, "two versions in one transaction");
        }
    };
    block_on(write(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reads = || {
            block_on(async {
                while !stop.load(Ordering::Relaxed) {
                    read().await
                }
            })
        };
        let readers = [scope.spawn(reads), scope.spawn(reads)];
        block_on(async {
            for n in 1..200 {
                write(n).await
            }
        });
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn after_a_failed_fsync_nothing_is_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(directory.path()).unwrap();
    block_on(async {
        put(&backend, 1).await.unwrap();
        let reader = backend.begin().await.unwrap();
        backend.fail_next_sync();
        assert!(matches!(put(&backend, 2).await, Err(TxError::MaybeCommitted)));
        assert!(matches!(put(&backend, 3).await, Err(TxError::Unavailable(_))));
        assert!(matches!(reader.get(b"k").await, Err(TxError::Unavailable(_))));
        let store = Store::open(backend.clone(), StoreConfig::default(), TestClock::new()).await;
        let Err(OpenError::Store(error @ StoreError::Unavailable { .. })) = store else {
            panic!("{store:?}")
        };
        assert!(std::error::Error::source(&error).is_some(), "the cause stays in the chain");
    });
    drop(backend);
    block_on(async { assert_eq!(stored(&open(directory.path()).unwrap()).await, [1]) });
}

#[test]
fn a_queue_that_is_full_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { queue_bytes_max: 1000, ..EmbeddedConfig::default() };
    let backend = Embedded::open(directory.path(), &config, TestClock::new()).unwrap();
    block_on(async {
        let mut tx = backend.begin().await.unwrap();
        tx.set(Bytes::from_static(b"k"), Bytes::from(vec![0; 2000]));
        assert!(matches!(tx.commit().await, Err(TxError::Busy)));
        put(&backend, 1).await.unwrap();
    });
}

/// The journal that takes writes: the last by number.
fn active_journal(directory: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(directory.join("data")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "jnl")).max().unwrap()
}

#[test]
fn a_torn_journal_tail_opens_without_repair() {
    for (cut, garbage, kept) in [(1, 0, 9), (40, 0, 9), (150, 0, 9), (0, 1, 10), (0, 300, 10), (7, 300, 9)] {
        let directory = tempfile::tempdir().unwrap();
        let backend = open(directory.path()).unwrap();
        block_on(async {
            for n in 0..10 {
                put(&backend, n).await.unwrap();
            }
        });
        drop(backend);
        let journal = active_journal(directory.path());
        let mut bytes = std::fs::read(&journal).unwrap();
        bytes.truncate(bytes.len() - cut);
        bytes.extend((0..garbage).map(|n: u32| (n * 7 + 5) as u8));
        std::fs::write(&journal, bytes).unwrap();
        for round in 0..2 {
            let backend = open(directory.path()).unwrap();
            block_on(async {
                assert_eq!(stored(&backend).await, (0..kept + round).collect::<Vec<_>>(), "{cut} {garbage}");
                put(&backend, kept + round).await.unwrap();
            });
        }
    }
}

#[test]
fn a_half_made_store_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("data.new/keyspaces")).unwrap();
    std::fs::write(directory.path().join("data.new/0.jnl"), b"half").unwrap();
    let backend = open(directory.path()).unwrap();
    block_on(put(&backend, 1)).unwrap();
    assert!(!directory.path().join("data.new").exists());
}
