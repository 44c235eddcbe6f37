//! The second stage of a batch: where everything is after the ops so far. It reads nothing and waits for nothing.

use wire::{AccountId, ClientMsgId, DeviceId, LogId, Seq};

use super::GroupTables;
use super::gather::{Found, Place};
use crate::keys;
use crate::op::standing::Standing;
use crate::record::{Cursors, DeviceCursor, Former, Head, Member, Record};
use crate::run::Attempt;
use crate::tx::Tx;

/// What the ops of one transaction have done so far, over what it found.
#[derive(Debug)]
pub(in crate::op) struct Fold {
    log: LogId,
    incarnation: u64,
    attempt: Attempt,
    found: Found,
    head_changed: bool,
    index: u16,
}

impl Fold {
    pub(super) fn new(log: LogId, incarnation: u64, attempt: Attempt, found: Found) -> Fold {
        Fold { log, incarnation, attempt, found, head_changed: false, index: 0 }
    }

    /// The store's incarnation.
    pub(in crate::op) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Whether an earlier try may have done all of it.
    pub(in crate::op) fn maybe_committed(&self) -> bool {
        self.attempt.maybe_committed
    }

    /// Where the log ends.
    pub(in crate::op) fn head(&self) -> Head {
        self.found.head
    }

    /// Every member, for fan-out.
    pub(in crate::op) fn everyone(&self) -> Vec<AccountId> {
        self.found.roster.iter().map(|(account, _)| *account).collect()
    }

    /// Every member, in order.
    pub(in crate::op) fn roster(&self) -> &[(AccountId, Member)] {
        &self.found.roster
    }

    /// A member, looked for among all: for ops that change who is one.
    pub(in crate::op) fn member(&self, account: AccountId) -> Option<Member> {
        let at = self.found.roster.binary_search_by_key(&account, |(id, _)| *id).ok()?;
        Some(self.found.roster[at].1)
    }

    /// The group, for ops that change it.
    pub(in crate::op) fn group(&self) -> &GroupTables {
        self.found.group.as_ref().expect("whatever changes a group has its tables read")
    }

    /// See [`group`](Fold::group).
    pub(in crate::op) fn group_mut(&mut self) -> &mut GroupTables {
        self.found.group.as_mut().expect("whatever changes a group has its tables read")
    }

    /// Where a message is, by an earlier transaction or an earlier op of this one.
    pub(in crate::op) fn place(&self, sender: AccountId, id: ClientMsgId) -> Option<&Place> {
        self.found.places.of((sender, id)).as_ref()
    }

    /// A message was given the log's next place.
    pub(in crate::op) fn appended(&mut self, sender: AccountId, id: ClientMsgId, place: Place) {
        (self.found.head.seq, self.found.head.last_at) = (place.seq, place.at);
        self.found.places.set((sender, id), Some(place));
        self.head_changed = true;
    }

    /// Changes what the head says beside the log's last place. Whoever does appends, too.
    pub(in crate::op) fn change_head(&mut self, change: impl FnOnce(&mut Head)) {
        change(&mut self.found.head);
        self.head_changed = true;
    }

    /// Whether an account may append and move cursors.
    pub(in crate::op) fn is_member(&self, account: AccountId) -> bool {
        matches!(self.found.standings.of(account), Standing::Member(_))
    }

    /// The last place that an account may know of; `None` if it never was a member.
    pub(in crate::op) fn may_know(&self, account: AccountId) -> Option<Seq> {
        let standing = self.found.standings.of(account);
        standing.joined().map(|_| standing.head(&self.found.head).0)
    }

    /// An account became a member, or another kind of one.
    pub(in crate::op) fn join<T: Tx>(&mut self, tx: &mut T, account: AccountId, member: Member) {
        tx.set(keys::member(self.log, account), member.encode());
        self.found.standings.set(account, Standing::Member(member));
        match self.found.roster.binary_search_by_key(&account, |(id, _)| *id) {
            Ok(at) => self.found.roster[at].1 = member,
            Err(at) => self.found.roster.insert(at, (account, member)),
        }
    }

    /// A member's membership ends with the log's last entry.
    pub(in crate::op) fn end<T: Tx>(&mut self, tx: &mut T, account: AccountId) {
        let Ok(at) = self.found.roster.binary_search_by_key(&account, |(id, _)| *id) else { return };
        let (_, member) = self.found.roster.remove(at);
        let Head { seq, last_at, .. } = self.found.head;
        let former = Former { joined: member.joined, left: seq, left_at: last_at };
        tx.clear(keys::member(self.log, account));
        tx.set(keys::former(self.log, account), former.encode());
        self.found.standings.set(account, Standing::Former(former));
        self.change_head(|head| head.ended = seq);
    }

    /// Whether one of the two of a chat that is to be made has an account.
    pub(in crate::op) fn has_account(&self, account: AccountId) -> bool {
        *self.found.accounts.of(account)
    }

    /// Where a device is, if it has a cursor.
    pub(in crate::op) fn device(&self, account: AccountId, device: DeviceId) -> Option<Seq> {
        *self.found.devices.of((account, device))
    }

    /// Keeps a device's cursor, which the caller has compared with where it was.
    pub(in crate::op) fn move_device<T: Tx>(
        &mut self,
        tx: &mut T,
        account: AccountId,
        device: DeviceId,
        delivered: Seq,
    ) {
        self.found.devices.set((account, device), Some(delivered));
        tx.set(keys::device_cursor(self.log, account, device), DeviceCursor { delivered }.encode());
    }

    /// Where a member is.
    pub(in crate::op) fn cursors(&self, account: AccountId) -> Cursors {
        *self.found.cursors.of(account)
    }

    /// Keeps a member's cursors, which the caller has compared with where they were.
    pub(in crate::op) fn move_member<T: Tx>(&mut self, tx: &mut T, account: AccountId, cursors: Cursors) {
        self.found.cursors.set(account, cursors);
        tx.set(keys::member_cursor(self.log, account), cursors.encode());
    }

    /// A number for each receipt of the transaction; a batch is far too small to use them up.
    pub(in crate::op) fn next_index(&mut self) -> u16 {
        let index = self.index;
        self.index = self.index.wrapping_add(1);
        index
    }

    /// The head to be stored, if something was appended.
    pub(super) fn changed_head(&self) -> Option<Head> {
        self.head_changed.then_some(self.found.head)
    }
}
