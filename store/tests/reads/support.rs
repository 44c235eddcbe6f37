//! A store that is read over its socket, and raw sockets.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::Clock;
use store::embedded::{Embedded, EmbeddedConfig, Tuning};
use store::reads::{ReadServer, ReadsError, Remote, SOCKET_NAME};
use store::tx::{Backend, Tx, TxError};

/// Real time, which a test may push forward; or time that passes only so.
#[derive(Debug, Clone)]
pub(crate) struct TestClock {
    start: Option<Instant>,
    pushed_ms: Arc<AtomicU64>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "sockets and the store have threads, so these tests run in real time"
)]
impl TestClock {
    pub(crate) fn new() -> TestClock {
        TestClock { start: Some(Instant::now()), pushed_ms: Arc::default() }
    }

    /// No clock does that; it tells what was decided in time from what is decided late.
    pub(crate) fn turn_back(&self, ms: u64) {
        self.pushed_ms.fetch_sub(ms, Ordering::Relaxed);
    }

    /// For tests whose transactions are to live however slow the machine is.
    pub(crate) fn still() -> TestClock {
        TestClock { start: None, pushed_ms: Arc::default() }
    }

    pub(crate) fn push(&self, ms: u64) {
        self.pushed_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "sockets and the store have threads, so these tests run in real time"
)]
impl Clock for TestClock {
    fn now(&self) -> Duration {
        let passed = self.start.map_or(Duration::ZERO, |start| start.elapsed());
        passed + Duration::from_millis(self.pushed_ms.load(Ordering::Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

pub(crate) fn open(path: &Path, clock: TestClock) -> Embedded {
    let tuning = Tuning { sync: false, memtable_bytes: 1 << 20 };
    Embedded::open_tuned(path, &EmbeddedConfig::default(), tuning, clock).unwrap()
}

/// A store that others may read.
pub(crate) struct Served {
    pub(crate) folder: tempfile::TempDir,
    /// The store's and the server's.
    pub(crate) clock: TestClock,
    pub(crate) store: Embedded,
    pub(crate) server: ReadServer,
}

impl Served {
    pub(crate) fn new() -> Served {
        Served::with(TestClock::new())
    }

    pub(crate) fn with(clock: TestClock) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), clock.clone());
        let server = ReadServer::start(store.clone(), 1).unwrap();
        Served { folder, clock, store, server }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn remote(&self) -> Result<Remote, ReadsError> {
        Remote::connect(self.path(), TestClock::new())
    }

    pub(crate) fn raw(&self) -> Raw {
        Raw::connect(&self.path().join(SOCKET_NAME))
    }

    /// That it goes on serving.
    #[track_caller]
    pub(crate) fn serves(&self) {
        put(&self.store, b"serves", b"yes").unwrap();
        let remote = self.remote().unwrap();
        assert_eq!(get(&remote, b"serves").unwrap().unwrap(), b"yes"[..]);
    }
}

pub(crate) fn put(backend: &impl Backend, key: &[u8], value: &[u8]) -> Result<(), TxError> {
    block_on(async {
        let mut tx = backend.begin().await?;
        tx.set(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        tx.commit().await.map(|_| ())
    })
}

pub(crate) fn get(backend: &impl Backend, key: &[u8]) -> Result<Option<Bytes>, TxError> {
    block_on(async { backend.begin().await?.get(key).await })
}

/// A socket without manners.
pub(crate) struct Raw(pub(crate) UnixStream);

impl Raw {
    pub(crate) fn connect(path: &PathBuf) -> Raw {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Raw(stream)
    }

    /// A frame without its length; none if the other side has ended.
    pub(crate) fn frame(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_le_bytes(length) as usize];
        self.read_exact(&mut frame)?;
        Some(frame)
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.0.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                None
            }
            Err(error) => panic!("it was not ended: {error}"),
        }
    }

    /// Sends a frame.
    pub(crate) fn ask(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        self.send(&[&length[..], frame].concat());
    }

    /// Sends bytes; the other side may be gone.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match self.0.write_all(bytes) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// How long something takes.
#[expect(clippy::disallowed_methods, reason = "what is bounded here is real time")]
pub(crate) fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = run();
    (result, began.elapsed())
}

#[expect(clippy::disallowed_methods, reason = "what is waited for is another thread")]
pub(crate) fn wait_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}
