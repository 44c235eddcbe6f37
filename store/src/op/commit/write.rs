//! What a commit that is taken writes, all of it in one transaction.

use bytes::Bytes;
use wire::event::{Entry, EntryKind, EntryPart, Event, InboxEntry, InboxItem, Kind, Welcome};
use wire::{AccountId, Epoch, LogId, MemberRole, Seq, limits};

use super::check::Plan;
use super::{Action, Commit, Committed, NewLeaf, Welcomed};
use crate::keys;
use crate::op::append::{make_direct, write_entry};
use crate::op::batch::Fold;
use crate::op::tail::StoredEntry;
use crate::record::{self, AccountChat, Group, Head, Leaf, Member, Present, Record, TreeNeeds};
use crate::tx::{Tx, after_prefix};

/// Shape: those of an append; `l log n leaf`, `l log m account`, `l log v account`, `a account c chat`, `l log g`; for each
/// device that is added `l log d account device` and in its inbox `e`, `h` and `o …`; `l log w epoch`, `l log y epoch part`.
pub(super) fn write<T: Tx>(tx: &mut T, fold: &mut Fold, op: &Commit, plan: Plan) -> Committed {
    if let (Some(peer), LogId::Chat(chat)) = (plan.makes_direct, op.log) {
        make_direct(tx, fold, chat, (op.sender, peer));
    }
    // The committer's cursor stays: its device has the commit by the log alone, where it sees that it was taken.
    let entry = append(tx, fold, op);
    let epoch = op.epoch.next();
    fold.change_head(|head| (head.epoch, head.commit_first) = (epoch, false));
    let mut members = fold.everyone();
    change_members(tx, fold, op, &plan, entry.seq);
    members.extend(plan.joins.iter().map(|(account, _)| *account));
    members.sort_unstable();
    change_leaves(tx, fold, op, plan.first);
    clear_spent_trees(tx, fold, op.log);
    keep_tree(tx, op, epoch, entry.seq);
    let inboxes = op.adds.iter().map(|add| welcome(tx, fold, op, add, (epoch, entry.seq))).collect();
    let Head { seq, last_at: at, .. } = fold.head();
    Committed { seq, at, epoch, entry: Some(entry), members, inboxes, repeat: false }
}

/// The entry, cut into pieces that frames and values can hold.
fn append<T: Tx>(tx: &mut T, fold: &mut Fold, op: &Commit) -> StoredEntry {
    let seq = fold.head().seq.next();
    let (first, rest) = op.handshake.split_at(op.handshake.len().min(limits::PART_BYTES_MAX));
    let pieces = rest.chunks(limits::PART_BYTES_MAX).map(|piece| op.handshake.slice_ref(piece));
    let parts: Vec<Bytes> = (1..)
        .zip(pieces)
        .map(|(part, bytes)| Event::EntryPart(EntryPart { seq, part, bytes }).encode())
        .collect();
    let entry = Entry {
        seq,
        sender: op.sender,
        device: op.device,
        client_msg_id: op.client_msg_id,
        at: op.now.max(fold.head().last_at),
        kind: Kind::Unsaid,
        content: op.handshake.slice_ref(first),
        what: EntryKind::Commit {
            parts: u16::try_from(parts.len()).expect("a commit has eight pieces at most"),
        },
        epoch: op.epoch,
    };
    let frame = write_entry(tx, fold, op.log, &entry, parts.clone());
    StoredEntry { seq, frame, parts }
}

/// Who joins may read the commit, too: so the first entry that a new device is sent shows it where it is.
fn change_members<T: Tx>(tx: &mut T, fold: &mut Fold, op: &Commit, plan: &Plan, seq: Seq) {
    if let Action::Create { name, description, .. } = &op.action {
        let group = Group {
            created_by: op.sender,
            created_at: fold.head().last_at,
            closed: false,
            name: name.as_str().to_owned(),
            description: description.as_str().to_owned(),
        };
        tx.set(keys::group(op.log), group.encode());
        fold.group_mut().record = Some(group);
    }
    for account in &plan.ends {
        fold.end(tx, *account);
    }
    for (account, role) in &plan.joins {
        join(tx, fold, op.log, (*account, *role), seq);
    }
}

fn join<T: Tx>(tx: &mut T, fold: &mut Fold, log: LogId, (account, role): (AccountId, MemberRole), seq: Seq) {
    fold.join(tx, account, Member { joined: before(seq), peer: None, role });
    if let LogId::Chat(chat) = log {
        tx.set(keys::account_chat(account, chat), AccountChat { peer: None }.encode());
    }
}

/// The place before an entry.
fn before(seq: Seq) -> Seq {
    Seq(seq.0.saturating_sub(1))
}

/// Blanks what is removed, then gives each device that is added the leftmost blank leaf (RFC 9420, sections 12.4.2 and 7.7).
fn change_leaves<T: Tx>(tx: &mut T, fold: &mut Fold, op: &Commit, first: bool) {
    for leaf in &op.removes {
        tx.clear(keys::leaf(op.log, *leaf));
        fold.group_mut().leaves.remove(leaf);
    }
    let committer = first.then_some((op.sender, op.device));
    let added = op.adds.iter().map(|add| (add.account, add.device));
    for (account, device) in committer.into_iter().chain(added) {
        let group = fold.group_mut();
        let (leaf, of) = (group.first_blank(), Leaf { account, device, pending: false });
        group.leaves.insert(leaf, of);
        tx.set(keys::leaf(op.log, leaf), of.encode());
    }
}

fn clear_spent_trees<T: Tx>(tx: &mut T, fold: &mut Fold, log: LogId) {
    for epoch in std::mem::take(&mut fold.group_mut().spent) {
        tx.clear(keys::tree_needs(log, epoch));
        let tree = keys::tree(log, epoch);
        let end = after_prefix(&tree);
        tx.clear_range(tree, end);
    }
}

fn keep_tree<T: Tx>(tx: &mut T, op: &Commit, epoch: Epoch, seq: Seq) {
    let Some(tree) = &op.tree else { return };
    let devices = op.adds.iter().map(|add| (add.account, add.device)).collect();
    tx.set(keys::tree_needs(op.log, epoch), TreeNeeds { seq, devices }.encode());
    for (part, piece) in (0..).zip(tree.chunks(limits::PART_BYTES_MAX)) {
        tx.set(keys::tree_part(op.log, epoch, part), record::encode_entry(piece).0);
    }
}

/// Tells a device that it was added, and lets delivery of the chat begin for it at the commit: it could not open what is before, but
/// for what was said before there was a group, which is still owed.
fn welcome<T: Tx>(
    tx: &mut T,
    fold: &mut Fold,
    op: &Commit,
    add: &NewLeaf,
    (epoch, commit): (Epoch, Seq),
) -> Welcomed {
    if op.epoch > Epoch::ZERO || commit == Seq(1) {
        fold.move_device(tx, add.account, add.device, before(commit));
    }
    let (log, old) = (LogId::Device(add.device), *fold.group().inboxes.of(add.device));
    let (seq, at) = (old.seq.next(), op.now.max(old.last_at));
    let LogId::Chat(chat) = op.log else { unreachable!("commits of other logs are refused") };
    let adder = (op.sender, op.device);
    let welcome = Welcome { chat, epoch, seq: commit, adder, bytes: add.welcome.clone() };
    let entry = Event::InboxEntry(InboxEntry { seq, at, what: InboxItem::Welcome(welcome) });
    let (value, frame) = record::encode_entry(&entry.encode());
    let head = Head { seq, last_at: at, ..old };
    tx.set(keys::entry(log, seq), value);
    tx.set(keys::head(log), head.encode());
    tx.set(keys::outbox(at, log, seq), Present.encode());
    fold.group_mut().inboxes.set(add.device, head);
    Welcomed { account: add.account, device: add.device, seq, at, frame }
}
