//! The second stage of a batch: where everything is after the ops so far. It reads nothing and waits for nothing.

use bytes::Bytes;
use wire::{AccountId, ClientMsgId, DeviceId, LogId, Seq};

use super::gather::{Found, Place};
use crate::keys;
use crate::record::{Cursors, DeviceCursor, Head, Record};
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
        self.found.everyone.clone()
    }

    /// Where a message is, by an earlier transaction or an earlier op of this one.
    pub(in crate::op) fn place(&self, sender: AccountId, id: ClientMsgId) -> Option<&Place> {
        self.found.places.of((sender, id)).as_ref()
    }

    /// A message was given the log's next place.
    pub(in crate::op) fn appended(&mut self, sender: AccountId, id: ClientMsgId, head: Head, frame: Bytes) {
        let place = Place { seq: head.seq, at: head.last_at, frame };
        self.found.places.set((sender, id), Some(place));
        self.found.head = head;
        self.head_changed = true;
    }

    /// Whether an account may append and move cursors.
    pub(in crate::op) fn is_member(&self, account: AccountId) -> bool {
        *self.found.members.of(account)
    }

    /// An account became a member.
    pub(in crate::op) fn joined(&mut self, account: AccountId) {
        self.found.members.set(account, true);
        if let Err(at) = self.found.everyone.binary_search(&account) {
            self.found.everyone.insert(at, account);
        }
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
