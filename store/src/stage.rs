//! What a group of transactions changes: their writes, applied in order over the newest version.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::buffer::{Mutation, View};
use crate::resolver::WriteSet;
use crate::tx::{TxError, Versionstamp};

/// The last value of each key that a group changes.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) changes: BTreeMap<Bytes, Option<Bytes>>,
}

impl Staged {
    /// Applies one transaction's writes and says what later transactions conflict with.
    ///
    /// # Errors
    /// Those of reading `newest`; the staged changes are then incomplete.
    pub(crate) fn apply(
        &mut self,
        newest: &impl View,
        writes: Vec<Mutation>,
        stamp: &Versionstamp,
    ) -> Result<WriteSet, TxError> {
        let mut written = WriteSet::default();
        for mutation in writes {
            match mutation {
                Mutation::Set(key, value) => self.change(&mut written, key, Some(value)),
                Mutation::Clear(key) => self.change(&mut written, key, None),
                Mutation::ClearRange(begin, end) => {
                    self.clear_range(newest, &begin, &end)?;
                    written.ranges.push((begin, end));
                }
                Mutation::Atomic(op, key, operand) => {
                    let old = match self.changes.get(&key) {
                        Some(staged) => staged.clone(),
                        None => newest.get(&key)?,
                    };
                    self.change(&mut written, key, Some(op.apply(old.as_deref(), operand)));
                }
                Mutation::StampedKey(key, value) => self.change(&mut written, key.fill(stamp), Some(value)),
                Mutation::StampedValue(key, value) => self.change(&mut written, key, Some(value.fill(stamp))),
            }
        }
        Ok(written)
    }

    fn change(&mut self, written: &mut WriteSet, key: Bytes, value: Option<Bytes>) {
        written.keys.push(key.clone());
        self.changes.insert(key, value);
    }

    fn clear_range(&mut self, newest: &impl View, begin: &Bytes, end: &Bytes) -> Result<(), TxError> {
        let bounds = (Bound::Included(begin.clone()), Bound::Excluded(end.clone()));
        for (_, value) in self.changes.range_mut(bounds) {
            *value = None;
        }
        newest.scan(begin, end, false, &mut |key, _| {
            self.changes.insert(key, None);
            true
        })
    }
}

/// The versionstamp of the transaction with this index in this version's group.
pub(crate) fn stamp(version: u64, index: u16) -> Versionstamp {
    let mut stamp = [0; 10];
    stamp[..8].copy_from_slice(&version.to_be_bytes());
    stamp[8..].copy_from_slice(&index.to_be_bytes());
    stamp
}
