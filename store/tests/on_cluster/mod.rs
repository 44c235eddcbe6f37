//! Stores on a real FoundationDB cluster, each under a prefix of its own.

#![expect(clippy::disallowed_methods, reason = "a real cluster lives in real time")]

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use loadtest_cluster::{Cluster, Shape};
use store::Clock;
use store::fdb::{Fdb, FdbConfig};

/// The machine's time, and what a test adds to it.
#[derive(Debug, Clone)]
pub(crate) struct TestClock {
    origin: Instant,
    pushed_ms: Arc<AtomicU64>,
}

impl TestClock {
    pub(crate) fn new() -> TestClock {
        TestClock { origin: Instant::now(), pushed_ms: Arc::default() }
    }

    pub(crate) fn push(&self, duration: Duration) {
        let ms = u64::try_from(duration.as_millis()).unwrap();
        self.pushed_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.origin.elapsed() + Duration::from_millis(self.pushed_ms.load(Ordering::Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Clusters that tests of one process share: the first to ask starts it, the last to go stops it.
pub(crate) struct Shared {
    shape: Shape,
    running: Mutex<Weak<Cluster>>,
}

impl Shared {
    pub(crate) const fn new(shape: Shape) -> Shared {
        Shared { shape, running: Mutex::new(Weak::new()) }
    }

    /// The cluster, or nothing where FoundationDB is missing, which is said aloud.
    pub(crate) fn get(&self, test: &str) -> Option<Arc<Cluster>> {
        let programs = loadtest_cluster::can_run(test)?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = running.upgrade() {
            return Some(cluster);
        }
        let cluster = Arc::new(Cluster::start_with(programs, self.shape).unwrap());
        *running = Arc::downgrade(&cluster);
        Some(cluster)
    }
}

/// A store that nobody else is in.
pub(crate) fn open(cluster: &Cluster, clock: TestClock) -> Fdb {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let prefix = format!("test {} {}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    open_as(cluster, &prefix, clock)
}

/// A store under a prefix.
pub(crate) fn open_as(cluster: &Cluster, prefix: &str, clock: TestClock) -> Fdb {
    Fdb::open(&FdbConfig { prefix: prefix.to_owned(), ..FdbConfig::new(cluster.cluster_file()) }, clock)
        .unwrap()
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}
