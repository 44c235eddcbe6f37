//! What an op may ask of a transaction, and how a transaction fails.
//!
//! The semantics are FoundationDB's on every backend: reads come from one version of the whole store, writes are kept
//! back until the commit, and a commit succeeds only if nothing that was read (other than by a snapshot read) has been
//! written since that version. A transaction reads its own writes. So do the limits: code that passes on one backend
//! passes on all, and `conformance` says so.
//!
//! A backend that shares its cluster puts a prefix of its own before every key and takes it off again: ops never see it.
//!
//! Source: FoundationDB developer guide, "Transactions" and "Known limitations".

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// Longest key, in bytes: FoundationDB's 10,000, less what a prefix before every key may take.
pub const KEY_BYTES_MAX: usize = 9_900;

/// Largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 100_000;

/// Largest transaction: keys and values written and keys of conflict ranges, in bytes. FoundationDB would take ten
/// times as much; a tenth keeps commits fast.
pub const TRANSACTION_BYTES_MAX: usize = 1_000_000;

/// How long a read version may be read at and committed against.
pub const LIFETIME_MAX: Duration = Duration::from_secs(5);

/// The place of a committed transaction in the order of all: ten bytes, a commit version and an index within it.
pub const VERSIONSTAMP_BYTES: usize = 10;

/// See [`VERSIONSTAMP_BYTES`].
pub type Versionstamp = [u8; VERSIONSTAMP_BYTES];

/// A store of ordered keys that begins transactions. Cheap to clone; clones are the same store.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Its transactions.
    type Tx: Tx + 'static;

    /// Begins a transaction at the newest committed version.
    ///
    /// # Errors
    /// [`TxError::Unavailable`] if the store cannot be reached.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx, TxError>> + Send;

    /// Whether this process alone writes to the store, so that what it committed last is the newest there is.
    fn exclusive(&self) -> bool;
}

/// One transaction. Reads take `&self` so that several may be under way together.
pub trait Tx: Send + Sync {
    /// The value of a key at the read version, or what this transaction wrote over it. A later write of the key by
    /// anyone else before the commit is a conflict.
    ///
    /// # Errors
    /// [`TxError::TooOld`], [`TxError::Unavailable`], [`TxError::KeyTooLarge`], or [`TxError::Unreadable`] for a key
    /// to which this transaction gave a value that is only known after the commit.
    fn get(&self, key: &[u8]) -> impl Future<Output = Result<Option<Bytes>, TxError>> + Send;

    /// As [`get`](Tx::get), without the conflict.
    ///
    /// # Errors
    /// As [`get`](Tx::get).
    fn get_snapshot(&self, key: &[u8]) -> impl Future<Output = Result<Option<Bytes>, TxError>> + Send;

    /// Keys and values of a range, in the asked order. The conflict covers what was read: up to the last key returned
    /// if a limit ended it, else the whole range. Keys with a versionstamp of this transaction are not yet in it.
    ///
    /// # Errors
    /// As [`get`](Tx::get).
    fn range(&self, range: Range) -> impl Future<Output = Result<Vec<(Bytes, Bytes)>, TxError>> + Send;

    /// Writes a value. A limit that is broken shows at the commit, as for every write below.
    fn set(&mut self, key: Bytes, value: Bytes);

    /// Removes a key.
    fn clear(&mut self, key: Bytes);

    /// Removes every key from `begin` up to but not including `end`.
    fn clear_range(&mut self, begin: Bytes, end: Bytes);

    /// Changes a value without reading it, so without a conflict. A value that is not there counts as zero.
    fn atomic(&mut self, op: Atomic, key: Bytes, operand: u64);

    /// Writes a key that will contain this transaction's [`Versionstamp`].
    fn set_stamped_key(&mut self, key: Stamped, value: Bytes);

    /// Writes a value that will contain this transaction's [`Versionstamp`].
    fn set_stamped_value(&mut self, key: Bytes, value: Stamped);

    /// Resolves when a key's value is no longer what it was at this transaction's read version; spurious wake-ups are
    /// possible. Dropping the future ends the watch.
    ///
    /// # Errors
    /// [`TxError::TooManyWatches`] or [`TxError::Unavailable`].
    fn watch(&self, key: &[u8]) -> impl Future<Output = Result<(), TxError>> + Send + 'static;

    /// Commits. A transaction without writes always succeeds.
    ///
    /// # Errors
    /// [`TxError::Conflict`]: nothing was written. [`TxError::MaybeCommitted`]: everything or nothing was. Any other:
    /// nothing was.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the same doubt as [`TxError::MaybeCommitted`].
    fn commit(self) -> impl Future<Output = Result<Option<Versionstamp>, TxError>> + Send;
}

/// Which keys [`Tx::range`] reads, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first key, included.
    pub begin: Bytes,
    /// The last key, not included.
    pub end: Bytes,
    /// At most so many pairs.
    pub limit: usize,
    /// No further pair once keys and values reach so many bytes; the first one always comes.
    pub bytes_max: usize,
    /// From the end backwards.
    pub reverse: bool,
    /// Without conflicts.
    pub snapshot: bool,
}

impl Range {
    /// All keys from `begin` up to `end`, with conflicts.
    pub fn new(begin: Bytes, end: Bytes) -> Range {
        Range { begin, end, limit: usize::MAX, bytes_max: usize::MAX, reverse: false, snapshot: false }
    }

    /// All keys that begin with `prefix` and are longer.
    pub fn prefix(prefix: Bytes) -> Range {
        let end = after_prefix(&prefix);
        Range::new(prefix, end)
    }

    /// At most so many pairs.
    #[must_use]
    pub fn limit(self, limit: usize) -> Range {
        Range { limit, ..self }
    }

    /// At most about so many bytes.
    #[must_use]
    pub fn bytes_max(self, bytes_max: usize) -> Range {
        Range { bytes_max, ..self }
    }

    /// From the end backwards.
    #[must_use]
    pub fn reverse(self) -> Range {
        Range { reverse: true, ..self }
    }

    /// Without conflicts.
    #[must_use]
    pub fn snapshot(self) -> Range {
        Range { snapshot: true, ..self }
    }
}

/// The first key after every key that begins with `prefix`, which has a byte other than `0xff`.
pub fn after_prefix(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|&b| b != 0xff).map_or(0, |last| last + 1);
    let mut end = prefix[..kept].to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Bytes::from(end)
}

/// The first key after `key`.
pub fn after_key(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}

/// Bytes in which a commit fills in its [`Versionstamp`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    bytes: Vec<u8>,
    offset: usize,
}

impl Stamped {
    /// `before`, the versionstamp, `after`.
    pub fn new(before: &[u8], after: &[u8]) -> Stamped {
        let mut bytes = Vec::with_capacity(before.len() + VERSIONSTAMP_BYTES + after.len());
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(&[0xff; VERSIONSTAMP_BYTES]);
        bytes.extend_from_slice(after);
        Stamped { bytes, offset: before.len() }
    }

    /// Where the versionstamp goes.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The bytes with a placeholder in the versionstamp's place.
    pub fn placeholder(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes with the versionstamp in its place.
    pub fn fill(mut self, stamp: &Versionstamp) -> Bytes {
        self.bytes[self.offset..self.offset + VERSIONSTAMP_BYTES].copy_from_slice(stamp);
        Bytes::from(self.bytes)
    }
}

/// Operations on a little-endian `u64` value; shorter values are extended by zeros, longer ones cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Atomic {
    /// Adds, wrapping.
    Add,
    /// Keeps the larger.
    Max,
    /// Keeps the smaller; a value that is not there becomes the operand, as in FoundationDB.
    Min,
}

impl Atomic {
    /// The new value of a key that had this one.
    pub fn apply(self, old: Option<&[u8]>, operand: u64) -> Bytes {
        let old = old.map(little_endian);
        let new = match (self, old) {
            (Atomic::Add, old) => old.unwrap_or(0).wrapping_add(operand),
            (Atomic::Max, old) => old.unwrap_or(0).max(operand),
            (Atomic::Min, Some(old)) => old.min(operand),
            (Atomic::Min, None) => operand,
        };
        Bytes::copy_from_slice(&new.to_le_bytes())
    }
}

/// A value that [`Atomic`] made.
pub fn little_endian(value: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let n = value.len().min(8);
    bytes[..n].copy_from_slice(&value[..n]);
    u64::from_le_bytes(bytes)
}

/// Why a transaction failed. The first six may succeed if it is begun anew.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TxError {
    /// Something that was read has been written since.
    #[error("the transaction conflicts with another")]
    Conflict,
    /// The commit's answer was lost: everything was written, or nothing (FoundationDB's `commit_unknown_result`).
    #[error("it is not known whether the transaction was committed")]
    MaybeCommitted,
    /// The read version is older than [`LIFETIME_MAX`], or than what the store still remembers.
    #[error("the transaction's read version is too old")]
    TooOld,
    /// The store's queue of commits is full.
    #[error("the store's commit queue is full")]
    Busy,
    /// The store cannot be reached, or an earlier IO error made it refuse all work.
    #[error("the store is unavailable")]
    Unavailable(#[source] Cause),
    /// The store is closed for writing; nothing was written.
    #[error("the store is closed for writing")]
    Closed,
    /// A key over [`KEY_BYTES_MAX`].
    #[error("a key of {bytes} bytes is over the limit")]
    KeyTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A value over [`VALUE_BYTES_MAX`].
    #[error("a value of {bytes} bytes is over the limit")]
    ValueTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Writes and conflict ranges over [`TRANSACTION_BYTES_MAX`].
    #[error("a transaction of {bytes} bytes is over the limit")]
    TransactionTooLarge {
        /// Their size.
        bytes: usize,
    },
    /// The key's value in this transaction is known only after its commit.
    #[error("a versionstamped value was read in the transaction that writes it")]
    Unreadable,
    /// More watches than the store keeps.
    #[error("too many watches")]
    TooManyWatches,
    /// The store is only read from here; nothing was written.
    #[error("the store is only read from here")]
    ReadOnly,
    /// Whoever let the store be read does so no longer.
    #[error("the process that has the store open no longer lets it be read")]
    Gone(#[source] Cause),
}

/// A backend's own error, kept in the chain.
pub type Cause = Arc<dyn Error + Send + Sync>;

impl TxError {
    /// Whether the same transaction, begun anew, may succeed.
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            TxError::Conflict
                | TxError::MaybeCommitted
                | TxError::TooOld
                | TxError::Busy
                | TxError::Unavailable(_)
                | TxError::Closed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_prefix_is_the_next_prefix() {
        for (prefix, end) in [(&b"a"[..], &b"b"[..]), (b"a\xff", b"b"), (b"a\x00", b"a\x01"), (b"\xff", b"")]
        {
            assert_eq!(after_prefix(prefix), end, "{prefix:?}");
        }
    }

    #[test]
    fn atomics_follow_foundationdb() {
        let le = |n: u64| n.to_le_bytes();
        for (op, old, operand, new) in [
            (Atomic::Add, None, 5, 5),
            (Atomic::Add, Some(7), 5, 12),
            (Atomic::Add, Some(u64::MAX), 1, 0),
            (Atomic::Max, None, 5, 5),
            (Atomic::Max, Some(7), 5, 7),
            (Atomic::Max, Some(256), 255, 256),
            (Atomic::Min, None, 5, 5),
            (Atomic::Min, Some(7), 5, 5),
            (Atomic::Min, Some(3), 5, 3),
        ] {
            let old = old.map(le);
            assert_eq!(
                op.apply(old.as_ref().map(|b| &b[..]), operand)[..],
                le(new),
                "{op:?} {old:?} {operand}"
            );
        }
        assert_eq!(Atomic::Add.apply(Some(&[1]), 1)[..], le(2));
    }

    #[test]
    fn a_stamp_fills_its_place() {
        let stamped = Stamped::new(b"ab", b"c");
        assert_eq!(stamped.offset(), 2);
        assert_eq!(stamped.fill(b"0123456789")[..], *b"ab0123456789c");
    }

    #[test]
    fn only_passing_failures_are_retried() {
        for (error, retryable) in [
            (TxError::Conflict, true),
            (TxError::MaybeCommitted, true),
            (TxError::TooOld, true),
            (TxError::Busy, true),
            (TxError::Unavailable(Arc::new(std::io::Error::other("disk"))), true),
            (TxError::KeyTooLarge { bytes: 1 }, false),
            (TxError::TransactionTooLarge { bytes: 1 }, false),
            (TxError::Unreadable, false),
            (TxError::ReadOnly, false),
            (TxError::Gone(Arc::new(std::io::Error::other("socket"))), false),
        ] {
            assert_eq!(error.is_retryable(), retryable, "{error}");
        }
    }
}
