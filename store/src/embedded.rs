//! The embedded backend: data on local disk, one process, fsync before any acknowledgement.
//!
//! fjall keeps the keys; what makes it a transactional store is here. Reads come from its snapshots. Commits go through
//! a bounded queue to one writer thread, which checks each for conflicts, folds as many as are waiting into one fjall
//! batch, and answers them after one fsync.
//!
//! Invariants: a commit that was acknowledged is on disk; a crash at any instruction leaves whole batches and nothing
//! else, so opening needs no repair. After a failed write or fsync nothing more is acknowledged or read: what is on
//! disk is then unknown until the process starts again.
//!
//! A read that misses the cache blocks its thread on the disk for a moment, so transactions belong on the threads that
//! run the store, not on those that run connections.

mod lock;
mod view;
mod writer;

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use futures_channel::oneshot;

use crate::buffer::{BufferedTx, Commit, Engine};
use crate::keys;
use crate::record::{Number, Record, RecordError};
use crate::resolver::{self, Resolver};
use crate::run::Clock;
use crate::tx::{Backend, Cause, TxError, Versionstamp};
use crate::watch::Watches;

use lock::LockFile;
use view::SnapshotView;
use writer::Writer;

/// Writes that may be in the journal alone, in bytes: they are what opening reads, so they bound how long it takes.
pub const JOURNAL_BYTES_MAX: u64 = 256 << 20;

/// What an operator may choose of an embedded store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// Memory for blocks that were read, in bytes.
    pub cache_bytes: u64,
    /// Commits that may wait for the writer; more are refused as busy.
    pub queue_max: usize,
    /// Bytes of commits that may wait for the writer.
    pub queue_bytes_max: usize,
}

impl Default for EmbeddedConfig {
    fn default() -> EmbeddedConfig {
        EmbeddedConfig { cache_bytes: 128 << 20, queue_max: 8192, queue_bytes_max: 128 << 20 }
    }
}

/// Why an embedded store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Another process has it open.
    #[error("the store at {} is open in another process{}", path.display(), pid.map(|p| format!(" ({p})")).unwrap_or_default())]
    Locked {
        /// Where.
        path: PathBuf,
        /// Which process, as far as the lock file says.
        pid: Option<u32>,
    },
    /// The directory cannot be used.
    #[error("the store's directory {} cannot be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The storage engine refuses the files.
    #[error("the store at {} cannot be opened", path.display())]
    Engine {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: fjall::Error,
    },
    /// The files are of a newer schema, or damaged.
    #[error("the store at {} cannot be read", path.display())]
    Record {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: RecordError,
    },
}

/// A store on local disk. Cheap to clone; the last clone that goes waits for the commits that were queued, and closes.
#[derive(Clone)]
pub struct Embedded {
    // Dropped in this order: the writer thread ends before the files close.
    writer: Arc<Writer>,
    shared: Arc<Shared>,
}

/// What the writer of an embedded store has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteStats {
    /// Groups written and synced to disk, each by one fsync.
    pub groups: u64,
    /// The transactions in them.
    pub transactions: u64,
    /// The time that writing and syncing them took, in all.
    pub time: Duration,
    /// Bytes of commits that wait for the writer now.
    pub queued_bytes: usize,
}

#[derive(Debug, Default)]
struct Writes {
    groups: AtomicU64,
    transactions: AtomicU64,
    nanos: AtomicU64,
}

/// What transactions and the writer thread share.
struct Shared {
    keys: Keyspace,
    db: Database,
    now: Box<dyn Fn() -> Duration + Send + Sync>,
    /// The newest version that is on disk and visible.
    committed: AtomicU64,
    resolver: Mutex<Resolver>,
    watches: Watches,
    /// The IO error after which nothing is done any more.
    failed: OnceLock<Cause>,
    queued_bytes: AtomicUsize,
    writes: Writes,
    queued_bytes_max: usize,
    fail_next_sync: AtomicBool,
    _lock: LockFile,
}

impl Embedded {
    /// Opens the store in a directory, or makes one. `clock` times transactions.
    ///
    /// Blocks on the disk: after a crash, for as long as it takes to read the journal
    /// (at most [`JOURNAL_BYTES_MAX`]).
    ///
    /// # Errors
    /// [`EmbeddedError`].
    pub fn open(path: &Path, config: &EmbeddedConfig, clock: impl Clock) -> Result<Embedded, EmbeddedError> {
        let lock = LockFile::acquire(path)?;
        let (db, keys) = open_files(path, config)?;
        let engine = |source| EmbeddedError::Engine { path: path.to_owned(), source };
        let version = match keys.get(keys::commit_version()).map_err(engine)? {
            None => 0,
            Some(value) => {
                Number::decode(&value)
                    .map_err(|source| EmbeddedError::Record { path: path.to_owned(), source })?
                    .0
            }
        };
        let shared = Arc::new(Shared {
            keys,
            db,
            now: Box::new(move || clock.now()),
            committed: AtomicU64::new(version),
            resolver: Mutex::new(Resolver::new(version, resolver::KEYS_MAX)),
            watches: Watches::default(),
            failed: OnceLock::new(),
            queued_bytes: AtomicUsize::new(0),
            writes: Writes::default(),
            queued_bytes_max: config.queue_bytes_max,
            fail_next_sync: AtomicBool::new(false),
            _lock: lock,
        });
        let io = |source| EmbeddedError::Io { path: path.to_owned(), source };
        let writer = Writer::start(Arc::clone(&shared), config.queue_max).map_err(io)?;
        Ok(Embedded { writer: Arc::new(writer), shared })
    }

    /// What the writer has done.
    pub fn write_stats(&self) -> WriteStats {
        let writes = &self.shared.writes;
        WriteStats {
            groups: writes.groups.load(Ordering::Relaxed),
            transactions: writes.transactions.load(Ordering::Relaxed),
            time: Duration::from_nanos(writes.nanos.load(Ordering::Relaxed)),
            queued_bytes: self.shared.queued_bytes.load(Ordering::Relaxed),
        }
    }

    /// Makes the next group commit fail as if its fsync had.
    #[cfg(any(test, feature = "testing"))]
    pub fn fail_next_sync(&self) {
        self.shared.fail_next_sync.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let committed = self.shared.committed.load(Ordering::Relaxed);
        f.debug_struct("Embedded").field("committed", &committed).finish_non_exhaustive()
    }
}

/// Opens the engine's files. New ones are made beside their place and moved there whole, so that a crash on the way
/// leaves nothing that looks like a store.
fn open_files(path: &Path, config: &EmbeddedConfig) -> Result<(Database, Keyspace), EmbeddedError> {
    let io = |source| EmbeddedError::Io { path: path.to_owned(), source };
    let engine = |source| EmbeddedError::Engine { path: path.to_owned(), source };
    let (place, making) = (path.join("data"), path.join("data.new"));
    if !place.try_exists().map_err(io)? {
        if making.try_exists().map_err(io)? {
            std::fs::remove_dir_all(&making).map_err(io)?;
        }
        let (db, keys) = open_engine(&making, config).map_err(engine)?;
        db.persist(PersistMode::SyncAll).map_err(engine)?;
        drop((keys, db));
        std::fs::rename(&making, &place).map_err(io)?;
        std::fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(io)?;
    }
    open_engine(&place, config).map_err(engine)
}

fn open_engine(path: &Path, config: &EmbeddedConfig) -> fjall::Result<(Database, Keyspace)> {
    let db = Database::builder(path)
        .cache_size(config.cache_bytes)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .manual_journal_persist(true)
        .open()?;
    let keys = db.keyspace("keys", KeyspaceCreateOptions::default)?;
    Ok((db, keys))
}

impl Shared {
    fn alive(&self) -> Result<(), TxError> {
        self.failed.get().map_or(Ok(()), |cause| Err(TxError::Unavailable(Arc::clone(cause))))
    }

    /// The newest version. The number is read before the snapshot is taken, so the snapshot is never older than it
    /// says; a newer one can only cause a conflict that was none.
    fn view(&self) -> SnapshotView {
        let version = self.committed.load(Ordering::Acquire);
        SnapshotView::new(version, self.db.snapshot(), self.keys.clone())
    }

    fn resolver(&self) -> std::sync::MutexGuard<'_, Resolver> {
        self.resolver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Embedded {
    type Tx = BufferedTx<Embedded>;

    async fn begin(&self) -> Result<Self::Tx, TxError> {
        self.shared.alive()?;
        Ok(BufferedTx::new(self.clone(), self.shared.view()))
    }

    fn exclusive(&self) -> bool {
        true
    }
}

impl Engine for Embedded {
    type View = SnapshotView;

    fn now(&self) -> Duration {
        (self.shared.now)()
    }

    async fn before_read(&self, _: &SnapshotView) -> Result<(), TxError> {
        self.shared.alive()
    }

    async fn commit(&self, view: SnapshotView, commit: Commit) -> Result<Option<Versionstamp>, TxError> {
        drop(view);
        self.shared.alive()?;
        let answer = self.writer.submit(&self.shared, commit)?;
        // The writer answers everything it takes; if it is gone instead, so is the knowledge of what it did.
        answer.await.unwrap_or(Err(TxError::MaybeCommitted))
    }

    fn watch(&self, key: Bytes, version: u64) -> impl Future<Output = Result<(), TxError>> + Send + 'static {
        let changed = self.shared.watches.register(key.clone());
        let already = self.shared.resolver().written_since(&key, version);
        async move {
            match changed? {
                _ if already => Ok(()),
                changed => changed.await.map_err(|oneshot::Canceled| TxError::Unavailable(Arc::new(Closed))),
            }
        }
    }
}

/// The store was closed.
#[derive(Debug, thiserror::Error)]
#[error("the embedded store is closed")]
struct Closed;
