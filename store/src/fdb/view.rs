//! One read version of the cluster.

use std::sync::Arc;

use bytes::Bytes;
use foundationdb::options::StreamingMode;
use foundationdb::{RangeOption, Transaction};

use super::Shared;
use super::error::at_read;
use crate::buffer::{Source, Stored, Wanted};
use crate::tx::TxError;

/// A transaction of FoundationDB's that has read and not written.
pub struct FdbView {
    tx: Transaction,
    shared: Arc<Shared>,
    version: u64,
    closed: bool,
}

impl FdbView {
    pub(super) fn new(tx: Transaction, shared: Arc<Shared>, version: u64, closed: bool) -> FdbView {
        FdbView { tx, shared, version, closed }
    }

    /// Whether the store was closed for writing at this version, and to whoever reads here.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn into_transaction(self) -> Transaction {
        self.tx
    }
}

impl Source for FdbView {
    fn version(&self) -> u64 {
        self.version
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        let value = self.tx.get(&self.shared.key(key), true).await.map_err(at_read)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    async fn page(
        &self,
        begin: &Bytes,
        end: &Bytes,
        reverse: bool,
        wanted: Wanted,
    ) -> Result<Stored, TxError> {
        let (begin, end) = (self.shared.key(begin), self.shared.key(end));
        let range = RangeOption {
            // Both are caps, and zero is none.
            limit: (wanted.pairs < i32::MAX as usize).then_some(wanted.pairs.max(1)),
            target_bytes: if wanted.bytes < i32::MAX as usize { wanted.bytes.max(1) } else { 0 },
            mode: StreamingMode::WantAll,
            reverse,
            ..RangeOption::from((begin, end))
        };
        let values = self.tx.get_range(&range, 1, true).await.map_err(at_read)?;
        let prefix = self.shared.prefix.len();
        let pair = |pair: &foundationdb::future::FdbKeyValue| {
            (Bytes::copy_from_slice(&pair.key()[prefix..]), Bytes::copy_from_slice(pair.value()))
        };
        Ok(Stored { pairs: values.iter().map(pair).collect(), more: values.more() })
    }
}
