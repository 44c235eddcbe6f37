//! What a store has done, as plain numbers: whoever runs it publishes them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::tx::TxError;

/// What a store has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Transactions that succeeded, those that only read included.
    pub transactions: u64,
    /// Tries that failed and were made again, for whatever reason.
    pub retries: u64,
    /// Tries that lost against another transaction.
    pub conflicts: u64,
    /// Tries of which nobody knows whether they were committed.
    pub unknown: u64,
    /// Batches of one log's appends and cursor moves, each one transaction.
    pub batches: u64,
    /// The ops in them.
    pub batched_ops: u64,
}

/// The counts, while they grow.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    transactions: AtomicU64,
    retries: AtomicU64,
    conflicts: AtomicU64,
    unknown: AtomicU64,
    batches: AtomicU64,
    batched_ops: AtomicU64,
}

impl Counts {
    pub(crate) fn succeeded(&self) {
        add(&self.transactions, 1);
    }

    pub(crate) fn failed(&self, error: &TxError) {
        match error {
            TxError::Conflict => add(&self.conflicts, 1),
            TxError::MaybeCommitted => add(&self.unknown, 1),
            _ => {}
        }
    }

    pub(crate) fn retried(&self) {
        add(&self.retries, 1);
    }

    pub(crate) fn batched(&self, ops: usize) {
        add(&self.batches, 1);
        add(&self.batched_ops, ops as u64);
    }

    pub(crate) fn read(&self) -> StoreStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StoreStats {
            transactions: read(&self.transactions),
            retries: read(&self.retries),
            conflicts: read(&self.conflicts),
            unknown: read(&self.unknown),
            batches: read(&self.batches),
            batched_ops: read(&self.batched_ops),
        }
    }
}

pub(crate) fn add(count: &AtomicU64, n: u64) {
    count.fetch_add(n, Ordering::Relaxed);
}
