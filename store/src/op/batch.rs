//! Many ops of one log in one transaction, with one result each: appends, cursor moves, and what changes a group.
//!
//! It has two stages. The first gathers what all ops need, in one or two rounds of reads, since each round is a trip
//! over the network where the store is a cluster. The second is a fold over what was found, which waits for nothing:
//! each op sees what the earlier ones did. A refusal of one does not touch the others; a failure of the transaction is a
//! failure of all.

mod fold;
mod gather;
mod group;

use std::sync::Arc;

use wire::{LogId, Seq};

use self::gather::Found;
pub(super) use self::{fold::Fold, gather::Place, group::GroupTables, group::leaves};
use super::append::{self, Append, AppendError, Appended};
use super::commit::{self, Commit, CommitError, Committed};
use super::cursor::{self, CursorError, CursorMoved, MoveCursor};
use super::end_device::{self, EndDevice};
use super::leave::{self, Leave, LeaveError, Left};
use super::tail::StoredEntry;
use crate::keys;
use crate::record::Record;
use crate::run::{Attempt, Body, OpError};
use crate::tx::Tx;

/// Bytes of one batch by [`LogOp::bytes`]: what leaves the transaction room under its limit of 1 MB. An op that is larger goes
/// alone; of those there are only commits.
pub(crate) const BATCH_BYTES_MAX: usize = 800_000;

/// An op that goes through the batcher.
#[derive(Debug)]
pub(crate) enum LogOp {
    Append(Append),
    Move(MoveCursor),
    Commit(Commit),
    Leave(Leave),
    EndDevice(EndDevice),
}

impl LogOp {
    pub(crate) fn log(&self) -> LogId {
        match self {
            LogOp::Append(op) => op.log,
            LogOp::Move(op) => op.log,
            LogOp::Commit(op) => op.log,
            LogOp::Leave(op) => op.log,
            LogOp::EndDevice(op) => op.log,
        }
    }

    /// An upper bound of what it writes and reads: an append's keys and values beside the content stay under 600
    /// bytes, a chat's creation or the device's cursor under 700, a move under 900; what a commit has beside its bytes under
    /// 2,000, for each device that it adds under 1,900, and for each leaf that it removes under 500; what marks leaves under 90
    /// for each.
    pub(crate) fn bytes(&self) -> usize {
        const LEAVES_MAX: usize = wire::limits::GROUP_LEAVES_MAX;
        match self {
            LogOp::Append(op) => 700 + op.messages.iter().map(|m| 600 + m.content.len()).sum::<usize>(),
            LogOp::Move(_) => 900,
            LogOp::Commit(op) => 2000 + op.blob_bytes() + 1900 * op.adds.len() + 500 * op.removes.len(),
            LogOp::Leave(_) | LogOp::EndDevice(_) => 2000 + 90 * LEAVES_MAX,
        }
    }

    /// Whether it appends an entry.
    fn appends(&self) -> bool {
        !matches!(self, LogOp::Move(_))
    }

    /// Whether it goes by the group's leaves.
    fn changes_group(&self) -> bool {
        matches!(self, LogOp::Commit(_) | LogOp::Leave(_) | LogOp::EndDevice(_))
    }
}

/// The answer to a [`LogOp`], variant for variant.
#[derive(Debug)]
pub(crate) enum LogOutput {
    Append(Vec<Result<Appended, AppendError>>),
    Move(Result<CursorMoved, CursorError>),
    Commit(Result<Committed, CommitError>),
    Leave(Result<Left, LeaveError>),
    EndDevice(Option<Left>),
}

impl LogOutput {
    /// Entries that it says were appended, in order.
    pub(crate) fn entries(&self) -> Vec<StoredEntry> {
        let whole = |seq, frame: &bytes::Bytes| StoredEntry { seq, frame: frame.clone(), parts: Vec::new() };
        match self {
            LogOutput::Append(results) => {
                let appended = results.iter().flatten().filter(|appended| !appended.frame.is_empty());
                appended.map(|appended| whole(appended.seq, &appended.frame)).collect()
            }
            LogOutput::Move(_) => Vec::new(),
            LogOutput::Commit(result) => result.iter().filter_map(|done| done.entry.clone()).collect(),
            LogOutput::Leave(Ok(left)) | LogOutput::EndDevice(Some(left)) => {
                left.frame.iter().map(|frame| whole(left.seq, frame)).collect()
            }
            LogOutput::Leave(Err(_)) | LogOutput::EndDevice(None) => Vec::new(),
        }
    }
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
    /// The last place at which somebody's membership ended.
    pub(crate) ended: Seq,
}

impl Body for Batch {
    type Output = Batched;

    async fn run<T: Tx>(&self, tx: &mut T, attempt: Attempt) -> Result<Batched, OpError> {
        let found = Found::gather(&*tx, self.log, &self.ops, attempt).await?;
        let mut fold = Fold::new(self.log, self.incarnation, attempt, found);
        let outputs = self.ops.iter().map(|op| match &**op {
            LogOp::Append(op) => LogOutput::Append(append::append(tx, &mut fold, op)),
            LogOp::Move(op) => LogOutput::Move(cursor::move_cursor(tx, &mut fold, op)),
            LogOp::Commit(op) => LogOutput::Commit(commit::commit(tx, &mut fold, op)),
            LogOp::Leave(op) => LogOutput::Leave(leave::leave(tx, &mut fold, op)),
            LogOp::EndDevice(op) => LogOutput::EndDevice(end_device::end_device(tx, &mut fold, op)),
        });
        let outputs = outputs.collect();
        if let Some(head) = fold.changed_head() {
            tx.set(keys::head(self.log), head.encode());
        }
        Ok(Batched { outputs, sure: !attempt.maybe_committed, ended: fold.head().ended })
    }
}
