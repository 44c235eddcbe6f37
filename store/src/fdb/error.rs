//! What FoundationDB's error codes mean to a transaction.
//!
//! Source: FoundationDB API reference, "Error codes"; `flow/error_definitions.h` of version 7.3.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use foundationdb::FdbError;

use crate::tx::TxError;

/// An error of FoundationDB's, with its number.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("FoundationDB error {}: {}", .0.code(), .0.message())]
pub struct Code(pub(super) FdbError);

/// Why a store on FoundationDB was not opened.
#[derive(Debug, thiserror::Error)]
pub enum FdbOpenError {
    /// The cluster file.
    #[error("the cluster file {} cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The cluster file says nothing, or something else.
    #[error("the file {} names no cluster: it should say DESCRIPTION:ID@ADDRESS:PORT,…", path.display())]
    NoCluster {
        /// Which.
        path: PathBuf,
    },
    /// The client library refuses the cluster file.
    #[error("FoundationDB cannot use the cluster file {}", path.display())]
    Cluster {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Code,
    },
    /// The prefix.
    #[error("a prefix has 1 to {} bytes, none of them zero", super::PREFIX_BYTES_MAX)]
    Prefix,
    /// The client library does not start, or is of another version than this build wants.
    #[error("FoundationDB's client library does not start")]
    Client(#[source] Code),
    /// Its network thread: it was there before, or could not be made.
    #[error("FoundationDB's network thread: {0}")]
    Network(&'static str),
}

impl FdbOpenError {
    pub(super) fn not_text(path: &Path) -> FdbOpenError {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "its name is not valid UTF-8");
        FdbOpenError::Io { path: path.to_owned(), source }
    }
}

/// `transaction_too_old`.
const TOO_OLD: i32 = 1007;
/// `future_version`: the storage servers are behind the read version.
const FUTURE_VERSION: i32 = 1009;
/// `not_committed`.
const NOT_COMMITTED: i32 = 1020;
/// `process_behind`.
const PROCESS_BEHIND: i32 = 1037;
/// `commit_proxy_memory_limit_exceeded`.
const PROXY_MEMORY: i32 = 1042;
/// `batch_transaction_throttled`.
const BATCH_THROTTLED: i32 = 1051;
/// `grv_proxy_memory_limit_exceeded`.
const GRV_PROXY_MEMORY: i32 = 1078;
/// `tag_throttled`, and the same by the proxies.
const TAG_THROTTLED: i32 = 1213;
const PROXY_TAG_THROTTLED: i32 = 1223;
/// `database_locked`: by an operator, for all who do not know of it.
const DATABASE_LOCKED: i32 = 1038;
/// `too_many_watches`.
const TOO_MANY_WATCHES: i32 = 1032;
/// `transaction_too_large`, `key_too_large`, `value_too_large`.
const TRANSACTION_TOO_LARGE: i32 = 2101;
const KEY_TOO_LARGE: i32 = 2102;
const VALUE_TOO_LARGE: i32 = 2103;

/// What an error means before anything was asked to be committed.
pub(super) fn at_read(error: FdbError) -> TxError {
    definite(error).unwrap_or_else(|| TxError::Unavailable(Arc::new(Code(error))))
}

/// What an error of a commit means. FoundationDB's own retry loops treat a timeout or a cancelled commit as failed; the
/// cluster may have it all the same, so here that is doubt.
pub(super) fn at_commit(error: FdbError) -> TxError {
    definite(error).unwrap_or(TxError::MaybeCommitted)
}

/// The errors after which nothing was written.
fn definite(error: FdbError) -> Option<TxError> {
    // What is larger than FoundationDB takes was refused by our own, lower limits.
    Some(match error.code() {
        NOT_COMMITTED => TxError::Conflict,
        TOO_OLD | FUTURE_VERSION => TxError::TooOld,
        PROCESS_BEHIND | PROXY_MEMORY | BATCH_THROTTLED | GRV_PROXY_MEMORY | TAG_THROTTLED
        | PROXY_TAG_THROTTLED => TxError::Busy,
        TOO_MANY_WATCHES => TxError::TooManyWatches,
        DATABASE_LOCKED => TxError::Unavailable(Arc::new(Code(error))),
        TRANSACTION_TOO_LARGE => TxError::TransactionTooLarge { bytes: 0 },
        KEY_TOO_LARGE => TxError::KeyTooLarge { bytes: 0 },
        VALUE_TOO_LARGE => TxError::ValueTooLarge { bytes: 0 },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_in_doubt_unless_foundationdb_is_sure() {
        for (code, read, commit) in [
            (1020, "conflict", "conflict"),
            (1007, "too old", "too old"),
            (1009, "too old", "too old"),
            (1042, "busy", "busy"),
            // commit_unknown_result, cluster_version_changed
            (1021, "unavailable", "doubt"),
            (1039, "unavailable", "doubt"),
            // transaction_timed_out, operation_cancelled, transaction_cancelled, broken_promise, internal_error
            (1031, "unavailable", "doubt"),
            (1101, "unavailable", "doubt"),
            (1025, "unavailable", "doubt"),
            (1100, "unavailable", "doubt"),
            (4100, "unavailable", "doubt"),
            (1038, "unavailable", "unavailable"),
        ] {
            let name = |error| match error {
                TxError::Conflict => "conflict",
                TxError::TooOld => "too old",
                TxError::Busy => "busy",
                TxError::Unavailable(_) => "unavailable",
                TxError::MaybeCommitted => "doubt",
                _ => "other",
            };
            let error = FdbError::from_code(code);
            assert_eq!((name(at_read(error)), name(at_commit(error))), (read, commit), "{code}");
        }
    }
}
