//! The tree of an epoch, for the devices that the commit which began it has added.

use bytes::Bytes;
use futures_util::future::try_join;
use wire::{AccountId, DeviceId, Epoch, LogId};

use super::read;
use crate::keys;
use crate::record::{self, TreeNeeds};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// Reads the tree of an epoch.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The log.
    pub log: LogId,
    /// Who asks.
    pub account: AccountId,
    /// From which device: one that the commit added.
    pub device: DeviceId,
    /// The epoch that began with the commit.
    pub epoch: Epoch,
}

/// The tree is not there, or not for this device: all that need it have passed it, or the commit did not add the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no tree of this epoch for this device")]
pub struct NoTree;

impl Body for Tree {
    /// Its bytes, in pieces of at most [`PART_BYTES_MAX`](wire::limits::PART_BYTES_MAX).
    type Output = Result<Vec<Bytes>, NoTree>;

    /// Cost: one read and a range, together.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let (tx, needs_key) = (&*tx, keys::tree_needs(self.log, self.epoch));
        let pieces = Range::prefix(keys::tree(self.log, self.epoch)).snapshot();
        let needs = read::peek::<TreeNeeds, T>(tx, &needs_key);
        let (needs, pieces) = try_join(needs, async { Ok(tx.range(pieces).await?) }).await?;
        if !needs.is_some_and(|needs| needs.devices.contains(&(self.account, self.device))) {
            return Ok(Err(NoTree));
        }
        let pieces = pieces.into_iter().map(|(_, value)| Ok(record::decode_entry(&value)?.0));
        pieces.collect::<Result<_, OpError>>().map(Ok)
    }
}
