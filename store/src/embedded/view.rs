//! One version of an embedded store: a snapshot of the engine's.

use std::sync::Arc;

use bytes::Bytes;
use fjall::{Guard, Keyspace, Readable, Snapshot};

use crate::buffer::View;
use crate::tx::TxError;

/// See the module.
pub struct SnapshotView {
    version: u64,
    snapshot: Snapshot,
    keys: Keyspace,
}

impl SnapshotView {
    pub(super) fn new(version: u64, snapshot: Snapshot, keys: Keyspace) -> SnapshotView {
        SnapshotView { version, snapshot, keys }
    }
}

impl View for SnapshotView {
    fn version(&self) -> u64 {
        self.version
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        let value = self.snapshot.get(&self.keys, key).map_err(unavailable)?;
        Ok(value.map(Bytes::from))
    }

    fn scan(
        &self,
        begin: &Bytes,
        end: &Bytes,
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), TxError> {
        let mut range = self.snapshot.range(&self.keys, &begin[..]..&end[..]);
        let mut next = || if reverse { range.next_back() } else { range.next() };
        while let Some(pair) = next().map(Guard::into_inner) {
            let (key, value) = pair.map_err(unavailable)?;
            if !visit(key.into(), value.into()) {
                break;
            }
        }
        Ok(())
    }
}

/// A read that the disk or a checksum refused.
pub(super) fn unavailable(error: fjall::Error) -> TxError {
    TxError::Unavailable(Arc::new(error))
}
