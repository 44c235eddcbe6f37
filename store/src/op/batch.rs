//! Many appends and cursor moves of one log in one transaction, with one result each.
//!
//! The batch is a fold: each op sees what the earlier ones did. A refusal of one does not touch the others; a failure
//! of the transaction is a failure of all.

use std::collections::BTreeMap;
use std::sync::Arc;

use mutation::Mutation;
use wire::{AccountId, ClientMsgId, DeviceId, LogId, Seq, WallTime};

use super::append::{self, Append, AppendError, Appended};
use super::cursor::{self, CursorError, CursorMoved, MoveCursor};
use super::read;
use crate::keys;
use crate::record::{DeviceCursor, Head, Member, Record};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// Bytes of one batch by [`LogOp::bytes`]: what leaves the transaction room under its limit of 1 MB.
pub(crate) const BATCH_BYTES_MAX: usize = 800_000;

/// An op that goes through the batcher.
#[derive(Debug)]
pub(crate) enum LogOp {
    Append(Append),
    Move(MoveCursor),
}

impl LogOp {
    pub(crate) fn log(&self) -> LogId {
        match self {
            LogOp::Append(op) => op.log,
            LogOp::Move(op) => op.log,
        }
    }

    /// An upper bound of what it writes and reads: an append's keys and values beside the content stay under 600
    /// bytes, a chat's creation or the device's cursor under 700, a move under 900.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            LogOp::Append(op) => 700 + op.messages.iter().map(|m| 600 + m.content.len()).sum::<usize>(),
            LogOp::Move(_) => 900,
        }
    }
}

/// The answer to a [`LogOp`], variant for variant.
#[derive(Debug)]
pub(crate) enum LogOutput {
    Append(Vec<Result<Appended, AppendError>>),
    Move(Result<CursorMoved, CursorError>),
}

/// Ops of one log that commit together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) log: LogId,
    pub(crate) incarnation: u64,
    pub(crate) ops: Vec<Arc<LogOp>>,
}

/// What a batch did.
#[derive(Debug)]
pub(crate) struct Batched {
    /// One output per op.
    pub(crate) outputs: Vec<LogOutput>,
    /// Whether the outputs tell all that was appended; after an unknown commit an earlier try may have done more.
    pub(crate) sure: bool,
}

impl Body for Batch {
    type Output = Batched;

    async fn run<T: Tx>(&self, tx: &mut T, attempt: Attempt) -> Result<Batched, OpError> {
        let mut fold = Fold::new(self.incarnation, attempt);
        let mut outputs = Vec::with_capacity(self.ops.len());
        for op in &self.ops {
            outputs.push(match &**op {
                LogOp::Append(op) => LogOutput::Append(append::append(tx, &mut fold, op).await?),
                LogOp::Move(op) => LogOutput::Move(cursor::move_cursor(tx, &mut fold, op).await?),
            });
        }
        if let Some(head) = fold.changed_head() {
            tx.set(keys::head(self.log), head.encode());
        }
        Ok(Batched { outputs, sure: !attempt.maybe_committed })
    }
}

/// What the ops of one transaction have done so far.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) incarnation: u64,
    pub(super) attempt: Attempt,
    head: Option<Head>,
    head_changed: bool,
    members: Option<Vec<AccountId>>,
    written: BTreeMap<(AccountId, ClientMsgId), (Seq, WallTime)>,
    /// Where devices are after the ops so far; `None` if one has no cursor.
    devices: BTreeMap<(AccountId, DeviceId), Option<Seq>>,
    index: u16,
}

impl Fold {
    fn new(incarnation: u64, attempt: Attempt) -> Fold {
        let (written, devices) = (BTreeMap::new(), BTreeMap::new());
        Fold {
            incarnation,
            attempt,
            head: None,
            head_changed: false,
            members: None,
            written,
            devices,
            index: 0,
        }
    }

    /// The head to append to: whoever appends meanwhile conflicts.
    pub(super) async fn head<T: Tx>(&mut self, tx: &T, log: LogId) -> Result<Head, OpError> {
        if let Some(head) = self.head {
            return Ok(head);
        }
        let head = if mutation::on(Mutation::HeadBySnapshot) {
            self.head_snapshot(tx, log).await?
        } else {
            read::get::<Head, T>(tx, &keys::head(log)).await?.unwrap_or_default()
        };
        Ok(*self.head.insert(head))
    }

    /// The head to compare with: it only grows, so an older one errs on the safe side.
    pub(super) async fn head_snapshot<T: Tx>(&self, tx: &T, log: LogId) -> Result<Head, OpError> {
        match self.head {
            Some(head) => Ok(head),
            None => Ok(read::peek::<Head, T>(tx, &keys::head(log)).await?.unwrap_or_default()),
        }
    }

    /// Every member, for fan-out: read by snapshot, since it decides nothing.
    pub(super) async fn members<T: Tx>(&mut self, tx: &T, log: LogId) -> Result<&[AccountId], OpError> {
        if self.members.is_none() {
            let range = Range::prefix(keys::members(log)).snapshot();
            let members = read::list::<Member, T>(tx, range).await?;
            self.members = Some(members.into_iter().map(|(id, _)| AccountId::new(id)).collect());
        }
        Ok(self.members.as_deref().unwrap_or_default())
    }

    /// Where a device is, if it has a cursor: after what earlier ops of this transaction did, and else as it is stored.
    pub(super) async fn device_cursor<T: Tx>(
        &self,
        tx: &T,
        log: LogId,
        account: AccountId,
        device: DeviceId,
    ) -> Result<Option<Seq>, OpError> {
        if let Some(known) = self.devices.get(&(account, device)) {
            return Ok(*known);
        }
        let key = keys::device_cursor(log, account, device);
        Ok(read::get::<DeviceCursor, T>(tx, &key).await?.map(|cursor| cursor.delivered))
    }

    /// Where a device is was read: it is not read again in this transaction.
    pub(super) fn know_device(&mut self, account: AccountId, device: DeviceId, delivered: Option<Seq>) {
        self.devices.insert((account, device), delivered);
    }

    /// Keeps a device's cursor, which the caller has compared with where it was.
    pub(super) fn move_device<T: Tx>(
        &mut self,
        tx: &mut T,
        log: LogId,
        account: AccountId,
        device: DeviceId,
        delivered: Seq,
    ) {
        self.devices.insert((account, device), Some(delivered));
        tx.set(keys::device_cursor(log, account, device), DeviceCursor { delivered }.encode());
    }

    /// Where an earlier op of this transaction put a message.
    pub(super) fn written(&self, sender: AccountId, id: ClientMsgId) -> Option<(Seq, WallTime)> {
        self.written.get(&(sender, id)).copied()
    }

    pub(super) fn wrote(&mut self, sender: AccountId, id: ClientMsgId, head: Head) {
        self.written.insert((sender, id), (head.seq, head.last_at));
        self.head = Some(head);
        self.head_changed = true;
    }

    fn changed_head(&self) -> Option<Head> {
        self.head.filter(|_| self.head_changed)
    }

    /// A number for each receipt of the transaction; a batch is far too small to use them up.
    pub(super) fn next_index(&mut self) -> u16 {
        let index = self.index;
        self.index = self.index.wrapping_add(1);
        index
    }
}
