//! What ops that change a group need beside what all ops of a log do: the leaf table, whose devices are current, inboxes, and
//! which trees nobody needs any more.
//!
//! The leaf table, the group's record and the members are written only by transactions that write the log's head, too: so
//! they are read by snapshot, and whoever changes them meanwhile conflicts on the head.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{try_join_all, try_join3};
use wire::{AccountId, DeviceId, Epoch, LogId};

use super::LogOp;
use crate::keys;
use crate::op::read;
use crate::op::table::Table;
use crate::record::{Device, DeviceCursor, Group, Head, Leaf, Record, RecordError, TreeNeeds};
use crate::run::OpError;
use crate::tx::{Range, Tx};

/// Trees that are looked for: a group whose newest devices stay away keeps at most one for each commit that added some.
const TREES_LISTED_MAX: usize = 64;

/// Trees of which one transaction finds out whether somebody needs them.
const TREES_CHECKED: usize = 2;

/// A group, as the ops of a batch find it.
#[derive(Debug)]
pub(in crate::op) struct GroupTables {
    /// What it is; `None` for a 1:1 chat.
    pub(in crate::op) record: Option<Group>,
    /// Whose each leaf is.
    pub(in crate::op) leaves: BTreeMap<u32, Leaf>,
    /// The devices that commits come from, add, and remove; `None` if one is not current.
    pub(in crate::op) devices: Table<(AccountId, DeviceId), Option<Device>>,
    /// The inboxes of the devices that are added.
    pub(in crate::op) inboxes: Table<DeviceId, Head>,
    /// Epochs whose trees nobody needs any more.
    pub(in crate::op) spent: Vec<Epoch>,
    needs: Vec<(Epoch, TreeNeeds)>,
}

impl GroupTables {
    /// The first round of reads; nothing if no op of the batch changes a group.
    pub(super) async fn read<T: Tx>(
        tx: &T,
        log: LogId,
        ops: &[Arc<LogOp>],
    ) -> Result<Option<GroupTables>, OpError> {
        if !ops.iter().any(|op| op.changes_group()) {
            return Ok(None);
        }
        let group_key = keys::group(log);
        let needs = Range::prefix(keys::all_tree_needs(log)).limit(TREES_LISTED_MAX).snapshot();
        let (record, leaves, needs) = try_join3(
            read::peek::<Group, T>(tx, &group_key),
            leaves(tx, log),
            read::pairs::<TreeNeeds, T>(tx, needs),
        )
        .await?;
        let needs = needs.into_iter().map(|(key, needs)| {
            let damaged = RecordError::Damaged { record: TreeNeeds::NAME, what: "its key" };
            Ok((keys::tree_epoch(&key).ok_or(damaged)?, needs))
        });
        let needs = needs.collect::<Result<_, RecordError>>()?;
        let (devices, inboxes) = (Table::none(), Table::none());
        Ok(Some(GroupTables { record, leaves, devices, inboxes, spent: Vec::new(), needs }))
    }

    /// The second round: what follows from whose the leaves are. Whether a device is current decides, and conflicts with its
    /// end; so does an inbox's head.
    pub(super) async fn read_more<T: Tx>(
        &mut self,
        tx: &T,
        log: LogId,
        epoch: Epoch,
        ops: &[Arc<LogOp>],
    ) -> Result<(), OpError> {
        let (mut devices, mut inboxes) = (Vec::new(), Vec::new());
        for op in ops {
            let LogOp::Commit(op) = &**op else { continue };
            devices.push((op.sender, op.device));
            devices.extend(op.adds.iter().map(|add| (add.account, add.device)));
            let removed = op.removes.iter().filter_map(|leaf| self.leaves.get(leaf));
            devices.extend(removed.map(|leaf| (leaf.account, leaf.device)));
            inboxes.extend(op.adds.iter().map(|add| add.device));
        }
        let devices = Table::read(devices, |(account, device)| async move {
            read::get::<Device, T>(tx, &keys::account_device(account, device)).await
        });
        let inboxes = Table::read(inboxes, |device| async move {
            let head = read::get::<Head, T>(tx, &keys::head(LogId::Device(device))).await?;
            Ok(head.unwrap_or_default())
        });
        (self.devices, self.inboxes, self.spent) =
            try_join3(devices, inboxes, self.spent(tx, log, epoch)).await?;
        Ok(())
    }

    /// Of some trees, in turn, those that all devices have passed that need them and are still in the group.
    async fn spent<T: Tx>(&self, tx: &T, log: LogId, epoch: Epoch) -> Result<Vec<Epoch>, OpError> {
        let from = self.needs.len().checked_sub(1).map_or(0, |last| epoch.0 as usize % (last + 1));
        let turn = self.needs.iter().cycle().skip(from).take(TREES_CHECKED.min(self.needs.len()));
        let checked = try_join_all(turn.map(async |(epoch, needs)| {
            let waiting = needs.devices.iter().filter(|(_, device)| self.has_device(*device));
            let passed = waiting.map(async |(account, device)| {
                let key = keys::device_cursor(log, *account, *device);
                let cursor = read::peek::<DeviceCursor, T>(tx, &key).await?;
                Ok::<_, OpError>(cursor.is_some_and(|cursor| cursor.delivered >= needs.seq))
            });
            let passed = try_join_all(passed).await?;
            Ok::<_, OpError>((*epoch, passed.into_iter().all(|passed| passed)))
        }));
        Ok(checked.await?.into_iter().filter(|(_, spent)| *spent).map(|(epoch, _)| epoch).collect())
    }

    /// Whether a device has a leaf that stays.
    fn has_device(&self, device: DeviceId) -> bool {
        self.leaves.values().any(|leaf| leaf.device == device && !leaf.pending)
    }

    /// The leftmost leaf that is nobody's (RFC 9420, section 7.7).
    pub(in crate::op) fn first_blank(&self) -> u32 {
        let taken = self.leaves.keys().zip(0..).take_while(|(leaf, n)| *leaf == n);
        taken.count() as u32
    }
}

/// Whose each leaf of a log's group is.
pub(in crate::op) async fn leaves<T: Tx>(tx: &T, log: LogId) -> Result<BTreeMap<u32, Leaf>, OpError> {
    let range = Range::prefix(keys::leaves(log)).snapshot();
    let leaves = read::pairs::<Leaf, T>(tx, range).await?.into_iter().map(|(key, leaf)| {
        let damaged = RecordError::Damaged { record: Leaf::NAME, what: "its key" };
        Ok((keys::leaf_index(&key).ok_or(damaged)?, leaf))
    });
    Ok(leaves.collect::<Result<_, RecordError>>()?)
}
