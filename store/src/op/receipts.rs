//! When each member got and read one entry, from the receipts that their cursors left.

use futures_util::future::try_join_all;
use wire::event::Event;
use wire::{AccountId, LogId, Seq, WallTime, frame};

use super::read;
use crate::keys::{self, ReceiptKind};
use crate::record::{self, Cursors, Idempotency, Member, Reached, RecordError};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx, after_key};

/// Receipts read at a time. The first is nearly always the one: only moves that fell short of the entry come before.
const PAGE: usize = 8;

/// When each member got and read one entry (C15): exact, from the receipt log.
#[derive(Debug, Clone)]
pub struct Receipts {
    /// The log.
    pub log: LogId,
    /// Who asks; must be a member.
    pub account: AccountId,
    /// Which entry.
    pub seq: Seq,
}

/// One member's receipt for one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Whose.
    pub member: AccountId,
    /// When it reached a device of theirs, if it has.
    pub delivered_at: Option<WallTime>,
    /// When they read it, if they have.
    pub read_at: Option<WallTime>,
}

/// Why there are no receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptsError {
    /// The asker is not a member.
    #[error("not a member of this log")]
    NotMember,
    /// The log has no such entry.
    #[error("no such entry")]
    NoEntry,
}

impl Body for Receipts {
    type Output = Result<Vec<Receipt>, ReceiptsError>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let tx = &*tx;
        let members = read::list::<Member, T>(tx, Range::prefix(keys::members(self.log)).snapshot()).await?;
        if !members.iter().any(|(id, _)| id == self.account.as_bytes()) {
            return Ok(Err(ReceiptsError::NotMember));
        }
        let Some((sender, committed)) = find_entry(tx, self.log, self.seq).await? else {
            return Ok(Err(ReceiptsError::NoEntry));
        };
        let others = members
            .into_iter()
            .filter(|(_, member)| member.joined < self.seq)
            .map(|(id, _)| AccountId::new(id))
            .filter(|member| *member != sender);
        let receipts = others.map(|member| receipt(tx, self.log, member, self.seq, &committed));
        try_join_all(receipts).await.map(Ok)
    }
}

/// An entry's sender, and its commit.
async fn find_entry<T: Tx>(
    tx: &T,
    log: LogId,
    seq: Seq,
) -> Result<Option<(AccountId, Idempotency)>, OpError> {
    let Some(value) = tx.get_snapshot(&keys::entry(log, seq)).await? else { return Ok(None) };
    let damaged = |what| OpError::Record(RecordError::Damaged { record: "entry", what });
    let body = frame::body_of(&record::decode_entry(&value)?);
    let Ok(Event::Entry(entry)) = Event::decode(&body) else { return Err(damaged("no entry")) };
    let key = keys::idempotency(log, entry.sender, entry.client_msg_id);
    let committed = read::peek(tx, &key).await?.ok_or_else(|| damaged("no idempotency record"))?;
    Ok(Some((entry.sender, committed)))
}

async fn receipt<T: Tx>(
    tx: &T,
    log: LogId,
    member: AccountId,
    seq: Seq,
    committed: &Idempotency,
) -> Result<Receipt, OpError> {
    let cursors = read::peek::<Cursors, T>(tx, &keys::member_cursor(log, member)).await?.unwrap_or_default();
    let mut receipt = Receipt { member, delivered_at: None, read_at: None };
    if cursors.delivered >= seq {
        receipt.delivered_at = reached(tx, log, member, ReceiptKind::Delivered, seq, committed).await?;
    }
    if cursors.read >= seq {
        receipt.read_at = reached(tx, log, member, ReceiptKind::Read, seq, committed).await?;
    }
    Ok(receipt)
}

/// When a member's cursor first reached a place, at or after the commit that made it.
async fn reached<T: Tx>(
    tx: &T,
    log: LogId,
    member: AccountId,
    kind: ReceiptKind,
    seq: Seq,
    committed: &Idempotency,
) -> Result<Option<WallTime>, OpError> {
    let (mut begin, end) = keys::receipts_from(log, member, kind, committed.incarnation, &committed.stamp);
    loop {
        let range = Range::new(begin, end.clone()).limit(PAGE).snapshot();
        let page = read::pairs::<Reached, T>(tx, range).await?;
        if let Some((_, reached)) = page.iter().find(|(_, reached)| reached.seq >= seq) {
            return Ok(Some(reached.at));
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => begin = after_key(last),
            _ => return Ok(None),
        }
    }
}
