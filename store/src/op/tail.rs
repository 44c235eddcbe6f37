//! Entries after a place: what delivery reads.

use bytes::Bytes;
use futures_util::future::try_join;
use wire::{LogId, Seq};

use super::read;
use crate::keys;
use crate::record::{self, Head, RecordError};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// Entries after a place, oldest first, at most so many and so many bytes (but at least one, if there is one).
#[derive(Debug, Clone)]
pub struct Tail {
    /// The log.
    pub log: LogId,
    /// Entries above this.
    pub after: Seq,
    /// At most so many.
    pub entries_max: usize,
    /// At most so many bytes of frames, the first one aside.
    pub bytes_max: usize,
}

/// What [`Tail`] found.
#[derive(Debug, Clone)]
pub struct Tailed {
    /// Dense from `after + 1`.
    pub entries: Vec<StoredEntry>,
    /// The log's last place.
    pub head: Seq,
}

/// One entry as it goes to a device.
#[derive(Debug, Clone)]
pub struct StoredEntry {
    /// Its place.
    pub seq: Seq,
    /// The frame, prefix included.
    pub frame: Bytes,
}

impl Body for Tail {
    type Output = Tailed;

    /// Cost: one read and a range, together.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Tailed, OpError> {
        let head_key = keys::head(self.log);
        let head = read::peek::<Head, T>(tx, &head_key);
        let (head, entries) = try_join(head, self.entries(tx)).await?;
        Ok(Tailed { entries, head: head.unwrap_or_default().seq })
    }
}

impl Tail {
    async fn entries<T: Tx>(&self, tx: &T) -> Result<Vec<StoredEntry>, OpError> {
        if self.entries_max == 0 || self.after.0 == u64::MAX {
            return Ok(Vec::new());
        }
        let range = Range::new(keys::entry(self.log, self.after.next()), keys::entries_end(self.log))
            .limit(self.entries_max)
            .bytes_max(self.bytes_max)
            .snapshot();
        entries(tx, range).await
    }
}

/// The entries of a range, in its order.
pub(super) async fn entries<T: Tx>(tx: &T, range: Range) -> Result<Vec<StoredEntry>, OpError> {
    let pairs = tx.range(range).await?;
    let entries = pairs.into_iter().map(|(key, value)| {
        let seq = keys::entry_seq(&key).ok_or(RecordError::Damaged { record: "entry", what: "its key" })?;
        Ok(StoredEntry { seq, frame: record::decode_entry(&value)? })
    });
    entries.collect()
}
