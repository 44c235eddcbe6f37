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

mod journal;
mod lock;
mod manifest;
mod view;
mod writer;

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use futures_channel::oneshot;

use crate::buffer::{BufferedTx, Commit, Engine, View};
use crate::record::{Number, Record, RecordError};
use crate::resolver::{self, Resolver};
use crate::run::Clock;
use crate::tx::{Backend, Cause, TxError, Versionstamp};
use crate::watch::Watches;
use crate::{durable, keys};

use lock::LockFile;
pub(crate) use view::SnapshotView;
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

/// What only tests choose: how soon the engine moves its data between files, and whether it syncs at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Bytes of writes in memory before they become a table.
    pub memtable_bytes: u64,
    /// Whether a group is synced before it is acknowledged. Without, acknowledged means nothing.
    pub sync: bool,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning { memtable_bytes: 64 << 20, sync: true }
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
    /// A file is not what was written to it, and no power loss explains it.
    #[error("the store's file {} is damaged at byte {at}: {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where in it, in bytes.
        at: u64,
        /// What is wrong.
        what: &'static str,
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
    /// The newest version that is on disk. Every transaction until the next commit begins with this one snapshot, which the writer
    /// took between two of its groups: the engine's own newest is not of one version while a group is being written, since a
    /// flush or compaction that ends meanwhile makes it visible as far as it has come.
    current: RwLock<SnapshotView>,
    path: PathBuf,
    seal: journal::Seal,
    keys: Keyspace,
    db: Database,
    now: Box<dyn Fn() -> Duration + Send + Sync>,
    resolver: Mutex<Resolver>,
    watches: Watches,
    /// The IO error after which nothing is done any more.
    failed: OnceLock<Cause>,
    queued_bytes: AtomicUsize,
    writes: Writes,
    queued_bytes_max: usize,
    fail_next_sync: AtomicBool,
    persist: PersistMode,
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
        Embedded::open_with(path, config, Tuning::default(), clock)
    }

    /// As [`open`](Embedded::open), with an engine that moves its data sooner or does not sync.
    ///
    /// # Errors
    /// As [`open`](Embedded::open).
    #[cfg(any(test, feature = "testing"))]
    pub fn open_tuned(
        path: &Path,
        config: &EmbeddedConfig,
        tuning: Tuning,
        clock: impl Clock,
    ) -> Result<Embedded, EmbeddedError> {
        Embedded::open_with(path, config, tuning, clock)
    }

    fn open_with(
        path: &Path,
        config: &EmbeddedConfig,
        tuning: Tuning,
        clock: impl Clock,
    ) -> Result<Embedded, EmbeddedError> {
        let lock = LockFile::acquire(path)?;
        let Files { db, keys, seal, journal_version } = open_files(path, config, tuning)?;
        let version = match keys.get(keys::commit_version()).map_err(|source| refused(path, source))? {
            None => 0,
            Some(value) => {
                Number::decode(&value)
                    .map_err(|source| EmbeddedError::Record { path: path.to_owned(), source })?
                    .0
            }
        };
        if journal_version > Some(version) {
            let (path, what) = (path.join("data"), "the engine does not show what its journal holds");
            return Err(EmbeddedError::Damaged { path, at: 0, what });
        }
        let shared = Arc::new(Shared {
            current: RwLock::new(SnapshotView::take(version, &db, &keys)),
            path: path.to_owned(),
            seal,
            keys,
            db,
            now: Box::new(move || clock.now()),
            resolver: Mutex::new(Resolver::new(version, resolver::KEYS_MAX)),
            watches: Watches::default(),
            failed: OnceLock::new(),
            queued_bytes: AtomicUsize::new(0),
            writes: Writes::default(),
            queued_bytes_max: config.queue_bytes_max,
            fail_next_sync: AtomicBool::new(false),
            persist: if tuning.sync { PersistMode::SyncAll } else { PersistMode::Buffer },
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

    /// The directory it is in, as it was opened.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The newest version, for readers that keep no transaction here.
    #[cfg(unix)]
    pub(crate) fn snapshot(&self) -> Result<SnapshotView, TxError> {
        self.shared.alive()?;
        Ok(self.shared.view())
    }

    /// Whether what is on disk is still known; see the module.
    #[cfg(unix)]
    pub(crate) fn alive(&self) -> Result<(), TxError> {
        self.shared.alive()
    }

    /// Makes the next group commit fail as if its fsync had.
    #[cfg(any(test, feature = "testing"))]
    pub fn fail_next_sync(&self) {
        self.shared.fail_next_sync.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let committed = View::version(&self.shared.view());
        f.debug_struct("Embedded").field("committed", &committed).finish_non_exhaustive()
    }
}

/// The engine, open.
struct Files {
    db: Database,
    keys: Keyspace,
    seal: journal::Seal,
    /// The newest version that is in a journal, if one is.
    journal_version: Option<u64>,
}

/// Opens the engine's files. New ones are made beside their place and moved there whole, so that a crash on the way
/// leaves nothing that looks like a store.
fn open_files(path: &Path, config: &EmbeddedConfig, tuning: Tuning) -> Result<Files, EmbeddedError> {
    let io = |source| EmbeddedError::Io { path: path.to_owned(), source };
    let engine = |source| EmbeddedError::Engine { path: path.to_owned(), source };
    let (place, making) = (path.join("data"), path.join("data.new"));
    if !place.try_exists().map_err(io)? {
        if making.try_exists().map_err(io)? {
            std::fs::remove_dir_all(&making).map_err(io)?;
        }
        let (db, keys) = open_engine(&making, config, tuning).map_err(engine)?;
        db.persist(PersistMode::SyncAll).map_err(engine)?;
        drop((keys, db));
        // The engine syncs no folder that holds its keyspaces' folders.
        durable::sync_dirs(&making).map_err(io)?;
        std::fs::rename(&making, &place).map_err(io)?;
    }
    // Also those of a store that was there: an earlier version may have left them to luck.
    durable::sync_dirs(path).map_err(io)?;
    manifest::check(&place)?;
    let seal = journal::seal(&place)?;
    let journal_version = journal::mend(&place, &seal)?;
    let (db, keys) = open_engine(&place, config, tuning).map_err(|source| refused(path, source))?;
    Ok(Files { db, keys, seal, journal_version })
}

/// What the engine refuses at the start. It says what is wrong and not where.
fn refused(path: &Path, source: fjall::Error) -> EmbeddedError {
    let what = "its checksum is wrong, and the engine cannot open it";
    match manifest::damaged_table(&path.join("data")) {
        Some(path) => EmbeddedError::Damaged { path, at: 0, what },
        None => EmbeddedError::Engine { path: path.to_owned(), source },
    }
}

fn open_engine(path: &Path, config: &EmbeddedConfig, tuning: Tuning) -> fjall::Result<(Database, Keyspace)> {
    let db = Database::builder(path)
        .cache_size(config.cache_bytes)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .manual_journal_persist(true)
        .open()?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(tuning.memtable_bytes);
    let keys = db.keyspace("keys", options)?;
    Ok((db, keys))
}

impl Shared {
    fn alive(&self) -> Result<(), TxError> {
        self.failed.get().map_or(Ok(()), |cause| Err(TxError::Unavailable(Arc::clone(cause))))
    }

    /// The newest version.
    fn view(&self) -> SnapshotView {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets readers see what the writer has written. It alone calls this, and nothing is being written.
    fn publish(&self, version: u64) {
        let next = SnapshotView::take(version, &self.db, &self.keys);
        let before =
            std::mem::replace(&mut *self.current.write().unwrap_or_else(PoisonError::into_inner), next);
        // Giving it back may be work for the engine; nobody waits for that.
        drop(before);
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
