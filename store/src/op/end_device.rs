//! A device has ended: a chat whose group it was in is told so, and the next commit must remove its leaf.

use wire::event::{Control, ControlKind};
use wire::{AccountId, ClientMsgId, DeviceId, LogId, WallTime};

use super::batch::Fold;
use super::leave::{Left, mark, tell};
use crate::tx::Tx;

/// A part of [`RevokeDevice`](super::RevokeDevice), for each chat: see [`Store::execute`](crate::Store::execute).
#[derive(Debug)]
pub(crate) struct EndDevice {
    pub(crate) log: LogId,
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) now: WallTime,
}

/// Marks the device's leaf and appends an entry that says so; nothing if it has none, or it is marked already.
pub(super) fn end_device<T: Tx>(tx: &mut T, fold: &mut Fold, op: &EndDevice) -> Option<Left> {
    let is_its = |leaf: &crate::record::Leaf| leaf.device == op.device && !leaf.pending;
    if !fold.group().leaves.values().any(is_its) {
        return None;
    }
    let device = Some(op.device);
    let control = Control { kind: ControlKind::DeviceEnded, account: op.account, device, admin: None };
    let client_msg_id = own_id(fold);
    let told = tell(tx, fold, op.log, control, client_msg_id, op.now);
    mark(tx, fold, op.log, is_its);
    Some(told)
}

/// The id of an entry that nobody asked for: its place, so that no two are the same. What a repeat of the op finds is the mark.
fn own_id(fold: &Fold) -> ClientMsgId {
    let mut id = [0xff; 16];
    id[8..].copy_from_slice(&fold.head().seq.next().0.to_be_bytes());
    ClientMsgId::new(id)
}
