//! Leaving a group: delivery ends at once, and the next commit must remove the leaves (G16).

use bytes::Bytes;
use wire::event::{Control, ControlKind, Entry, EntryKind, Kind};
use wire::{AccountId, ClientMsgId, DeviceId, LogId, MemberRole, Seq, WallTime};

use super::append::write_entry;
use super::batch::Fold;
use crate::keys;
use crate::record::{Leaf, Member, Record};
use crate::tx::{Tx, after_prefix};

/// Ends an account's own membership in a group, with an entry that says so: the last that it may read.
///
/// If no admin is left, who joined first becomes one; if nobody is left, the group is closed.
#[derive(Debug, Clone)]
pub struct Leave {
    /// The group's log.
    pub log: LogId,
    /// Who leaves.
    pub account: AccountId,
    /// The idempotency key, as of a message.
    pub client_msg_id: ClientMsgId,
    /// The server's wall time.
    pub now: WallTime,
}

/// Somebody has gone, and the log says so.
#[derive(Debug, Clone)]
pub struct Left {
    /// The log.
    pub log: LogId,
    /// The entry's place.
    pub seq: Seq,
    /// Its time.
    pub at: WallTime,
    /// The entry as a frame; `None` for a repeat.
    pub frame: Option<Bytes>,
    /// Every member account, and whoever left: whom fan-out hints. Empty for a repeat.
    pub members: Vec<AccountId>,
    /// Whether it was said before.
    pub repeat: bool,
}

/// Why nobody left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaveError {
    /// The account is not a member.
    #[error("not a member of this log")]
    NotMember,
    /// The account used this `client_msg_id` for something else.
    #[error("its id was used for something else")]
    IdUsed,
    /// It is a 1:1 chat.
    #[error("a chat of two cannot be left")]
    Direct,
}

/// Lets an account leave; the fold holds what was read, and what earlier ops of the same transaction did.
///
/// Shape: those of an append; `l log m account`, `l log v account`, `l log n leaf` for each of its leaves.
pub(super) fn leave<T: Tx>(tx: &mut T, fold: &mut Fold, op: &Leave) -> Result<Left, LeaveError> {
    if let Some(place) = fold.place(op.account, op.client_msg_id) {
        if place.entry().is_some_and(|entry| !says_left(&entry)) {
            return Err(LeaveError::IdUsed);
        }
        let again = fold.maybe_committed();
        let mut members = if again { fold.everyone() } else { Vec::new() };
        members.extend(again.then_some(op.account));
        let frame = again.then(|| place.frame.clone());
        return Ok(Left { log: op.log, seq: place.seq, at: place.at, frame, members, repeat: !again });
    }
    let member = fold.member(op.account).filter(|_| fold.is_member(op.account));
    let member = member.ok_or(LeaveError::NotMember)?;
    if member.peer.is_some() {
        return Err(LeaveError::Direct);
    }
    let admin = heir(fold, op.account);
    let control = Control { kind: ControlKind::Left, account: op.account, device: None, admin };
    let left = tell(tx, fold, op.log, control, op.client_msg_id, op.now);
    fold.end(tx, op.account);
    if let Some((account, member)) = admin.and_then(|admin| Some((admin, fold.member(admin)?))) {
        fold.join(tx, account, Member { role: MemberRole::Admin, ..member });
    }
    mark(tx, fold, op.log, |leaf| leaf.account == op.account);
    if fold.roster().is_empty() {
        close(tx, fold, op.log);
    }
    Ok(left)
}

fn says_left(entry: &Entry) -> bool {
    matches!(entry.what, EntryKind::Control(Control { kind: ControlKind::Left, .. }))
}

/// Who becomes admin when an account leaves: the member that joined first, if no other admin is left.
fn heir(fold: &Fold, leaving: AccountId) -> Option<AccountId> {
    let others = || fold.roster().iter().filter(|(account, _)| *account != leaving);
    if others().any(|(_, member)| member.role == MemberRole::Admin) {
        return None;
    }
    others().min_by_key(|(account, member)| (member.joined, *account)).map(|(account, _)| *account)
}

/// Appends what the server has to say; it lies under the account that it is about.
pub(super) fn tell<T: Tx>(
    tx: &mut T,
    fold: &mut Fold,
    log: LogId,
    control: Control,
    client_msg_id: ClientMsgId,
    now: WallTime,
) -> Left {
    let entry = Entry {
        seq: fold.head().seq.next(),
        sender: control.account,
        device: control.device.unwrap_or(DeviceId::new([0; 16])),
        client_msg_id,
        at: now.max(fold.head().last_at),
        kind: Kind::Unsaid,
        content: Bytes::new(),
        what: EntryKind::Control(control),
        epoch: fold.head().epoch,
    };
    let (seq, at, members) = (entry.seq, entry.at, fold.everyone());
    let frame = Some(write_entry(tx, fold, log, &entry, Vec::new()));
    Left { log, seq, at, frame, members, repeat: false }
}

/// Marks leaves that are to go; until a commit removes them nothing else is appended.
pub(super) fn mark<T: Tx>(tx: &mut T, fold: &mut Fold, log: LogId, goes: impl Fn(&Leaf) -> bool) {
    let group = fold.group_mut();
    for (leaf, of) in group.leaves.iter_mut().filter(|(_, of)| goes(of)) {
        of.pending = true;
        tx.set(keys::leaf(log, *leaf), of.encode());
    }
    let is_pending = group.leaves.values().any(|leaf| leaf.pending);
    fold.change_head(|head| head.commit_first = is_pending);
}

/// Nobody is left who could commit anything, or read it.
fn close<T: Tx>(tx: &mut T, fold: &mut Fold, log: LogId) {
    for prefix in [keys::leaves(log), keys::all_tree_needs(log), keys::trees(log)] {
        let end = after_prefix(&prefix);
        tx.clear_range(prefix, end);
    }
    let group = fold.group_mut();
    group.leaves.clear();
    if let Some(record) = &mut group.record {
        record.closed = true;
        tx.set(keys::group(log), record.encode());
    }
    fold.change_head(|head| head.commit_first = false);
}
