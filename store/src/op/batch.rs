//! Many appends and cursor moves of one log in one transaction, with one result each.
//!
//! It has two stages. The first gathers what all ops need, in one or two rounds of reads, since each round is a trip
//! over the network where the store is a cluster. The second is a fold over what was found, which waits for nothing:
//! each op sees what the earlier ones did. A refusal of one does not touch the others; a failure of the transaction is a
//! failure of all.

mod fold;
mod gather;

use std::sync::Arc;

use wire::LogId;

use self::gather::Found;
pub(super) use self::{fold::Fold, gather::Place};
use super::append::{self, Append, AppendError, Appended};
use super::cursor::{self, CursorError, CursorMoved, MoveCursor};
use crate::keys;
use crate::record::Record;
use crate::run::{Attempt, Body, OpError};
use crate::tx::Tx;

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
        let found = Found::gather(&*tx, self.log, &self.ops, attempt).await?;
        let mut fold = Fold::new(self.log, self.incarnation, attempt, found);
        let outputs = self.ops.iter().map(|op| match &**op {
            LogOp::Append(op) => LogOutput::Append(append::append(tx, &mut fold, op)),
            LogOp::Move(op) => LogOutput::Move(cursor::move_cursor(tx, &mut fold, op)),
        });
        let outputs = outputs.collect();
        if let Some(head) = fold.changed_head() {
            tx.set(keys::head(self.log), head.encode());
        }
        Ok(Batched { outputs, sure: !attempt.maybe_committed })
    }
}
