//! One version of an embedded store: a snapshot of the engine's.

use std::sync::Arc;

use bytes::Bytes;
use fjall::{Database, Guard, Keyspace, Readable, Snapshot};

use crate::buffer::View;
use crate::tx::TxError;

/// See the module. Clones are the same snapshot.
#[derive(Clone)]
pub struct SnapshotView(Arc<Version>);

struct Version {
    version: u64,
    snapshot: Snapshot,
    keys: Keyspace,
}

impl SnapshotView {
    /// What the engine holds now, which is this version: nothing is being written.
    pub(super) fn take(version: u64, db: &Database, keys: &Keyspace) -> SnapshotView {
        SnapshotView(Arc::new(Version { version, snapshot: db.snapshot(), keys: keys.clone() }))
    }
}

impl View for SnapshotView {
    fn version(&self) -> u64 {
        self.0.version
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        let value = self.0.snapshot.get(&self.0.keys, key).map_err(unavailable)?;
        Ok(value.map(Bytes::from))
    }

    fn scan(
        &self,
        begin: &Bytes,
        end: &Bytes,
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), TxError> {
        let mut range = self.0.snapshot.range(&self.0.keys, &begin[..]..&end[..]);
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
