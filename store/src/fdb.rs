//! The FoundationDB backend: a cluster keeps the log, and any number of nodes serve from it.
//!
//! A transaction is ours until it commits ([`buffer`](crate::buffer)): reads are asked of the cluster by snapshot, what
//! they conflict over is told to it at the commit, together with the writes. So limits, ranges and what a transaction
//! sees of itself are the same on every backend, and nothing is tracked twice.
//!
//! Every key lies under a prefix, the tuple of one string, so that several Godwits share a cluster. A transaction that
//! writes also conflicts with the marker of a store that is closed for writing ([`crate::closed`]), and learns of that
//! marker for nothing: a change of it moves the cluster's metadata version, which comes with each read version.
//!
//! Time: FoundationDB waits for a cluster that is not there, for ever if it may. Here each transaction ends after
//! [`FdbConfig::timeout`], and each op after its budget ([`crate::run`]), whichever comes first.
//!
//! Invariants: an error of a commit counts as "nothing was written" only if FoundationDB says so; every other one is
//! [`TxError::MaybeCommitted`]. No thread but the client library's own waits for the cluster.
//!
//! Source: FoundationDB developer guide and API reference, version 7.3.

mod error;
mod network;
mod view;

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use foundationdb::options::{ConflictRangeType, MutationType, TransactionOption};
use foundationdb::{Database, Transaction};

use crate::buffer::{BufferedTx, Commit, Engine, Mutation};
use crate::keys;
use crate::run::Clock;
use crate::tx::{Atomic, Backend, KEY_BYTES_MAX, TxError, VERSIONSTAMP_BYTES, Versionstamp, after_key};

use error::{at_commit, at_read};
use view::FdbView;

pub use error::{Code, FdbOpenError};
pub use network::Faults;

/// FoundationDB's longest key, in bytes.
const CLUSTER_KEY_BYTES_MAX: usize = 10_000;

/// Longest name of a [`FdbConfig::prefix`], in bytes: what a key of ours leaves of FoundationDB's.
pub const PREFIX_BYTES_MAX: usize = CLUSTER_KEY_BYTES_MAX - KEY_BYTES_MAX - 2;

/// The prefix that is used when none is chosen.
pub const PREFIX_DEFAULT: &str = "godwit";

/// What an operator may choose of a store on FoundationDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdbConfig {
    /// The cluster file: where the cluster's coordinators are.
    pub cluster_file: PathBuf,
    /// Which of the Godwits on the cluster this is: 1 to [`PREFIX_BYTES_MAX`] bytes without a zero byte. Every key begins
    /// with it, as the tuple `(prefix,)`.
    pub prefix: String,
    /// The longest that a transaction waits for the cluster, from its beginning to its commit.
    pub timeout: Duration,
    /// For tools that write to a store which is closed for writing.
    pub even_if_closed: bool,
}

impl FdbConfig {
    /// The defaults, for the cluster of a file.
    pub fn new(cluster_file: impl Into<PathBuf>) -> FdbConfig {
        FdbConfig {
            cluster_file: cluster_file.into(),
            prefix: PREFIX_DEFAULT.to_owned(),
            timeout: Duration::from_secs(5),
            even_if_closed: false,
        }
    }
}

/// A store on a cluster. Cheap to clone; clones share one connection to it.
#[derive(Clone)]
pub struct Fdb {
    shared: Arc<Shared>,
}

struct Shared {
    db: Database,
    prefix: Vec<u8>,
    cluster_file: PathBuf,
    timeout_ms: i32,
    even_if_closed: bool,
    now: Box<dyn Fn() -> Duration + Send + Sync>,
    closed: Mutex<Known>,
}

/// What is known of the marker of a closed store, and since which metadata version of the cluster.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    metadata: Option<Option<i64>>,
    closed: bool,
}

impl Fdb {
    /// Connects to a cluster, whether it is there or not: what is not there shows when it is used. `clock` times
    /// transactions. The first call of a process starts the client library's network thread ([`Fdb::shut_down`] ends it).
    ///
    /// # Errors
    /// [`FdbOpenError`].
    pub fn open(config: &FdbConfig, clock: impl Clock) -> Result<Fdb, FdbOpenError> {
        let prefix = packed(&config.prefix)?;
        readable(&config.cluster_file)?;
        network::start()?;
        let file =
            config.cluster_file.to_str().ok_or_else(|| FdbOpenError::not_text(&config.cluster_file))?;
        let cluster =
            |source| FdbOpenError::Cluster { path: config.cluster_file.clone(), source: Code(source) };
        let db = Database::from_path(file).map_err(cluster)?;
        let shared = Shared {
            db,
            prefix,
            cluster_file: config.cluster_file.clone(),
            timeout_ms: i32::try_from(config.timeout.as_millis()).unwrap_or(i32::MAX).max(1),
            even_if_closed: config.even_if_closed,
            now: Box::new(move || clock.now()),
            closed: Mutex::default(),
        };
        Ok(Fdb { shared: Arc::new(shared) })
    }

    /// Ends the client library of this process, for good: a program does so after its last store is gone, before it ends.
    /// Nothing happens if no store was opened.
    pub fn shut_down() {
        network::stop();
    }

    /// Makes the client library of this process fail on purpose, as it does in FoundationDB's own tests ("buggify").
    ///
    /// # Errors
    /// [`FdbOpenError::Network`] if a store was opened before.
    #[cfg(any(test, feature = "testing"))]
    pub fn inject_faults(faults: Faults) -> Result<(), FdbOpenError> {
        network::inject(faults)
    }

    /// A transaction of FoundationDB's with our options.
    fn transaction(&self) -> Result<Transaction, TxError> {
        let tx = self.shared.db.create_trx().map_err(at_read)?;
        // What a transaction sees of itself is kept in `BufferedTx`; the cluster is not asked to remember it too.
        tx.set_option(TransactionOption::ReadYourWritesDisable).map_err(at_read)?;
        tx.set_option(TransactionOption::Timeout(self.shared.timeout_ms)).map_err(at_read)?;
        Ok(tx)
    }

    /// Whether the store is closed for writing, as of a transaction. Reads the marker only if something was changed in the
    /// cluster's metadata since it was last read.
    async fn is_closed(&self, tx: &Transaction) -> Result<bool, TxError> {
        let metadata = tx.get_metadata_version(true).await.map_err(at_read)?;
        let known = *self.known();
        if known.metadata == Some(metadata) {
            return Ok(known.closed);
        }
        let marker = tx.get(&self.shared.key(&keys::closed()), true).await.map_err(at_read)?;
        let closed = marker.is_some();
        let mut known = self.known();
        // Transactions may come here out of order; the newest one knows best.
        if known.metadata.is_none_or(|newest| newest <= metadata) {
            *known = Known { metadata: Some(metadata), closed };
        }
        Ok(closed)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.shared.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Fdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fdb").field("cluster_file", &self.shared.cluster_file).finish_non_exhaustive()
    }
}

impl Shared {
    /// A key of ours as the cluster has it.
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix[..], key].concat()
    }
}

/// The tuple of one string (FoundationDB's tuple layer, which other tools read): no such tuple begins another.
fn packed(prefix: &str) -> Result<Vec<u8>, FdbOpenError> {
    if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || prefix.contains('\0') {
        return Err(FdbOpenError::Prefix);
    }
    Ok([&[2], prefix.as_bytes(), &[0]].concat())
}

/// The client library only says that something is wrong with the file; this says what.
fn readable(cluster_file: &Path) -> Result<(), FdbOpenError> {
    let text = std::fs::read_to_string(cluster_file)
        .map_err(|source| FdbOpenError::Io { path: cluster_file.to_owned(), source })?;
    let described = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let well_formed = described.and_then(|line| line.split_once('@')).is_some_and(|(name, addresses)| {
        name.split_once(':').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty()) && addresses.contains(':')
    });
    if well_formed { Ok(()) } else { Err(FdbOpenError::NoCluster { path: cluster_file.to_owned() }) }
}

impl Backend for Fdb {
    type Tx = BufferedTx<Fdb>;

    async fn begin(&self) -> Result<Self::Tx, TxError> {
        let tx = self.transaction()?;
        let closed = self.is_closed(&tx).await?;
        let version = tx.get_read_version().await.map_err(at_read)?;
        let version = u64::try_from(version).unwrap_or_default();
        let view = FdbView::new(tx, Arc::clone(&self.shared), version, closed && !self.shared.even_if_closed);
        Ok(BufferedTx::new(self.clone(), view))
    }

    fn exclusive(&self) -> bool {
        false
    }
}

impl Engine for Fdb {
    type View = FdbView;

    fn now(&self) -> Duration {
        (self.shared.now)()
    }

    async fn before_read(&self, _: &FdbView) -> Result<(), TxError> {
        Ok(())
    }

    async fn commit(&self, view: FdbView, commit: Commit) -> Result<Option<Versionstamp>, TxError> {
        if view.is_closed() {
            return Err(TxError::Closed);
        }
        let tx = view.into_transaction();
        self.conflicts(&tx, &commit)?;
        commit.writes.into_iter().for_each(|write| self.write(&tx, write));
        let stamp = tx.get_versionstamp();
        tx.commit().await.map_err(|error| at_commit(*error))?;
        // The commit succeeded: without its stamp all else holds, so that is nobody's failure.
        let stamp = stamp.await.ok().and_then(|stamp| <[u8; VERSIONSTAMP_BYTES]>::try_from(&stamp[..]).ok());
        Ok(stamp)
    }

    fn watch(&self, key: Bytes, version: u64) -> impl Future<Output = Result<(), TxError>> + Send + 'static {
        // It lives beyond the transaction it was asked of: one of its own, at the same version.
        let watch = self.watch_at(&key, version);
        async move {
            let (tx, watch) = watch?;
            match tx.commit().await {
                Ok(_) => {}
                // Whoever waits looks again: a version that is gone is one since which much may have changed.
                Err(error) if matches!(at_read(*error), TxError::TooOld) => return Ok(()),
                Err(error) => return Err(at_read(*error)),
            }
            match watch.await.map_err(at_read) {
                Err(TxError::TooOld) => Ok(()),
                result => result,
            }
        }
    }
}

impl Fdb {
    fn watch_at(
        &self,
        key: &Bytes,
        version: u64,
    ) -> Result<(Transaction, impl Future<Output = foundationdb::FdbResult<()>> + Send + use<>), TxError>
    {
        let tx = self.shared.db.create_trx().map_err(at_read)?;
        tx.set_read_version(i64::try_from(version).unwrap_or(i64::MAX));
        let watch = tx.watch(&self.shared.key(key));
        Ok((tx, watch))
    }

    /// Tells the cluster what the transaction read, and that it must not meet a closing of the store.
    fn conflicts(&self, tx: &Transaction, commit: &Commit) -> Result<(), TxError> {
        let read = |begin: &[u8], end: &[u8]| {
            let (begin, end) = (self.shared.key(begin), self.shared.key(end));
            tx.add_conflict_range(&begin, &end, ConflictRangeType::Read).map_err(at_read)
        };
        commit.reads.keys.iter().try_for_each(|key| read(key, &after_key(key)))?;
        let ranges = commit.reads.ranges.iter().filter(|(begin, end)| begin < end);
        ranges.into_iter().try_for_each(|(begin, end)| read(begin, end))?;
        let marker = keys::closed();
        read(&marker, &after_key(&marker))
    }

    fn write(&self, tx: &Transaction, write: Mutation) {
        let key = |key: &[u8]| self.shared.key(key);
        match write {
            Mutation::Set(name, value) => {
                self.announce(tx, &name);
                tx.set(&key(&name), &value);
            }
            Mutation::Clear(name) => {
                self.announce(tx, &name);
                tx.clear(&key(&name));
            }
            Mutation::ClearRange(begin, end) => tx.clear_range(&key(&begin), &key(&end)),
            Mutation::Atomic(op, name, operand) => {
                let kind = match op {
                    Atomic::Add => MutationType::Add,
                    Atomic::Max => MutationType::Max,
                    Atomic::Min => MutationType::Min,
                };
                tx.atomic_op(&key(&name), &operand.to_le_bytes(), kind);
            }
            Mutation::StampedKey(name, value) => {
                let offset = self.shared.prefix.len() + name.offset();
                let name = stamped(key(name.placeholder()), offset);
                tx.atomic_op(&name, &value, MutationType::SetVersionstampedKey);
            }
            Mutation::StampedValue(name, value) => {
                let value = stamped(value.placeholder().to_vec(), value.offset());
                tx.atomic_op(&key(&name), &value, MutationType::SetVersionstampedValue);
            }
        }
    }

    /// A change of the closed marker is made known to all nodes.
    fn announce(&self, tx: &Transaction, written: &[u8]) {
        if written == keys::closed() {
            tx.update_metadata_version();
        }
    }
}

/// FoundationDB's form of a key or value with a place for the versionstamp: its offset at the end.
fn stamped(mut bytes: Vec<u8>, offset: usize) -> Vec<u8> {
    // Keys and values are far below 4 GiB.
    bytes.extend_from_slice(&(offset as u32).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prefix_begins_another() {
        let (a, ab) = (packed("a").unwrap(), packed("ab").unwrap());
        assert!(!ab.starts_with(&a) && !a.starts_with(&ab));
        assert_eq!(a, b"\x02a\x00");
        for wrong in ["", "a\0b", &"p".repeat(PREFIX_BYTES_MAX + 1)] {
            assert!(matches!(packed(wrong), Err(FdbOpenError::Prefix)));
        }
        let longest = packed(&"p".repeat(PREFIX_BYTES_MAX)).unwrap();
        assert_eq!(longest.len() + KEY_BYTES_MAX, CLUSTER_KEY_BYTES_MAX);
    }

    #[test]
    fn a_cluster_file_is_looked_at_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fdb.cluster");
        assert!(matches!(readable(&file), Err(FdbOpenError::Io { .. })));
        for (text, ok) in [
            ("godwit:x1@127.0.0.1:4500\n", true),
            ("# made by us\n\ngodwit:x1@10.0.0.1:4500,10.0.0.2:4500:tls\n", true),
            ("", false),
            ("# nothing\n", false),
            ("godwit@127.0.0.1:4500", false),
            ("godwit:x1@", false),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(readable(&file).is_ok(), ok, "{text:?}");
        }
    }
}
