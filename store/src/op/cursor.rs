//! Cursors: what a device has, and what its person has got and read.
//!
//! Each only ever moves forward, and READ implies DELIVERED (I4). Every move of a member's cursor leaves a receipt, so
//! that the exact time of each entry can be told later (C15).

use futures_util::future::try_join;
use mutation::Mutation;
use wire::{AccountId, DeviceId, LogId, Seq, WallTime};

use super::batch::Fold;
use super::{NotMember, read};
use crate::keys::{self, ReceiptKind};
use crate::record::{Cursors, Member, Reached, Record};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Atomic, Range, Tx};

/// Moves one device's delivered cursor and its account's delivered and read cursors; each only ever forward.
#[derive(Debug, Clone)]
pub struct MoveCursor {
    /// The log.
    pub log: LogId,
    /// Whose cursors.
    pub account: AccountId,
    /// Which device's.
    pub device: DeviceId,
    /// Everything up to here is on the device.
    pub delivered: Seq,
    /// Everything up to here was read. READ implies DELIVERED: the member's delivered cursor is at least this. The device's
    /// is not: it may have been read on another one.
    pub read: Seq,
    /// The same was asked before, and may have been done unheard of: whom it concerns is told either way.
    pub in_doubt: bool,
    /// The server's wall time.
    pub now: WallTime,
}

/// What a move changed.
#[derive(Debug, Clone)]
pub struct CursorMoved {
    /// The member's cursors after it.
    pub cursor: MemberCursor,
    /// Whether the member's cursors (not only the device's) moved, or may have by an earlier try, so that others are told.
    pub moved: bool,
    /// Every member account: whom fan-out hints. Empty if not `moved`, as nothing is of an inbox.
    pub members: Vec<AccountId>,
}

/// Why nothing moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// The account is not a member.
    #[error("not a member of this log")]
    NotMember,
    /// The cursor is past the log's head.
    #[error("the cursor is past the last entry")]
    Ahead,
}

/// One member's cursors: the furthest of its devices, and when each last moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberCursor {
    /// Whose.
    pub member: AccountId,
    /// Delivered up to here.
    pub delivered: Seq,
    /// When it got there.
    pub delivered_at: WallTime,
    /// Read up to here.
    pub read: Seq,
    /// When it got there.
    pub read_at: WallTime,
}

/// Where every member's cursors stand.
#[derive(Debug, Clone)]
pub struct MemberCursors {
    /// The log.
    pub log: LogId,
    /// Who asks; must be a member.
    pub account: AccountId,
    /// Only cursors that moved at or after this.
    pub since: WallTime,
}

impl MemberCursor {
    pub(super) fn new(member: AccountId, cursors: Cursors) -> MemberCursor {
        let Cursors { delivered, delivered_at, read, read_at } = cursors;
        MemberCursor { member, delivered, delivered_at, read, read_at }
    }
}

/// Moves cursors forward; the fold holds what was read, and what earlier ops of the same transaction did.
///
/// Who has left may still say what has arrived of what was theirs. A device's inbox is its own: nobody else is told.
///
/// Shape: `l log d account device`, `l log c account`, and per cursor that moved `l log r …`; `l log t`.
/// Cost: four reads and all members, of which none conflicts with an append.
pub(super) fn move_cursor<T: Tx>(
    tx: &mut T,
    fold: &mut Fold,
    op: &MoveCursor,
) -> Result<CursorMoved, CursorError> {
    let last = fold.may_know(op.account).ok_or(CursorError::NotMember)?;
    if matches!(op.log, LogId::Device(device) if device != op.device) {
        return Err(CursorError::NotMember);
    }
    let delivered = op.delivered.max(op.read);
    if delivered > last {
        return Err(CursorError::Ahead);
    }
    if fold.device(op.account, op.device).is_none_or(|device| device < op.delivered) {
        fold.move_device(tx, op.account, op.device, op.delivered);
    }
    if matches!(op.log, LogId::Device(_)) {
        let cursor = MemberCursor::new(op.account, Cursors::default());
        return Ok(CursorMoved { cursor, moved: false, members: Vec::new() });
    }
    let old = fold.cursors(op.account);
    let read = if mutation::on(Mutation::DeliveredIsRead) { delivered } else { op.read };
    let new = advanced(old, delivered, read, op.now);
    if new != old {
        fold.move_member(tx, op.account, new);
        leave_receipts(tx, fold, op, old, new);
        tx.atomic(Atomic::Max, keys::cursors_moved(op.log), op.now.0);
    }
    // An earlier try whose answer was lost may have been the one that moved it: whom it concerns is told either way.
    let moved = new != old || op.in_doubt || fold.maybe_committed();
    let members = if moved { fold.everyone() } else { Vec::new() };
    Ok(CursorMoved { cursor: MemberCursor::new(op.account, new), moved, members })
}

fn advanced(old: Cursors, delivered: Seq, read: Seq, now: WallTime) -> Cursors {
    let mut new = old;
    let set = mutation::on(Mutation::CursorMayGoBack);
    if delivered > old.delivered || set {
        new.delivered = delivered;
        new.delivered_at = now.max(old.delivered_at);
    }
    if read > old.read {
        new.read = read;
        new.read_at = now.max(old.read_at);
    }
    new
}

fn leave_receipts<T: Tx>(tx: &mut T, fold: &mut Fold, op: &MoveCursor, old: Cursors, new: Cursors) {
    for (kind, moved, seq, at) in [
        (ReceiptKind::Delivered, new.delivered > old.delivered, new.delivered, new.delivered_at),
        (ReceiptKind::Read, new.read > old.read, new.read, new.read_at),
    ] {
        if moved {
            let index = fold.next_index();
            let key = keys::receipt(op.log, op.account, kind, fold.incarnation(), index);
            tx.set_stamped_key(key, Reached { seq, at }.encode());
        }
    }
}

/// Every member's cursors; members whose cursors never moved are left out.
pub(super) async fn all<T: Tx>(tx: &T, log: LogId) -> Result<Vec<MemberCursor>, OpError> {
    let range = Range::prefix(keys::member_cursors(log)).snapshot();
    let cursors = read::list::<Cursors, T>(tx, range).await?;
    Ok(cursors.into_iter().map(|(id, cursors)| MemberCursor::new(AccountId::new(id), cursors)).collect())
}

impl Body for MemberCursors {
    type Output = Result<Vec<MemberCursor>, NotMember>;

    /// Cost: one read and a range, together.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let key = keys::member(self.log, self.account);
        let (member, mut cursors) = try_join(read::peek::<Member, T>(tx, &key), all(&*tx, self.log)).await?;
        if member.is_none() {
            return Ok(Err(NotMember));
        }
        cursors.retain(|cursor| cursor.delivered_at.max(cursor.read_at) >= self.since);
        Ok(Ok(cursors))
    }
}
