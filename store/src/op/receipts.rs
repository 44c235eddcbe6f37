//! When each member got and read one entry, from the receipts that their cursors left.

use bytes::Bytes;
use futures_util::future::{try_join, try_join_all, try_join3};
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

    /// Cost: the entry, the members and their cursors together; then one read; then a range of few keys for each member
    /// and kind that has reached it, nearly always one round of them.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let (tx, entry_key) = (&*tx, keys::entry(self.log, self.seq));
        let members = Range::prefix(keys::members(self.log)).snapshot();
        let cursors = Range::prefix(keys::member_cursors(self.log)).snapshot();
        let (members, cursors, entry) =
            try_join3(read::list::<Member, T>(tx, members), read::list::<Cursors, T>(tx, cursors), async {
                Ok(tx.get_snapshot(&entry_key).await?)
            })
            .await?;
        if !members.iter().any(|(id, _)| id == self.account.as_bytes()) {
            return Ok(Err(ReceiptsError::NotMember));
        }
        let Some(entry) = entry else { return Ok(Err(ReceiptsError::NoEntry)) };
        let (sender, committed) = commit_of(tx, self.log, &entry).await?;
        let others = members
            .into_iter()
            .filter(|(_, member)| member.joined < self.seq)
            .map(|(id, _)| AccountId::new(id))
            .filter(|member| *member != sender);
        let receipts = others.map(|member| {
            let at = cursors.binary_search_by_key(member.as_bytes(), |(id, _)| *id);
            let cursors = at.map_or_else(|_| Cursors::default(), |at| cursors[at].1);
            receipt(tx, self.log, (member, cursors), self.seq, &committed)
        });
        try_join_all(receipts).await.map(Ok)
    }
}

/// An entry's sender, and its commit.
async fn commit_of<T: Tx>(tx: &T, log: LogId, value: &Bytes) -> Result<(AccountId, Idempotency), OpError> {
    let damaged = |what| OpError::Record(RecordError::Damaged { record: "entry", what });
    let body = frame::body_of(&record::decode_entry(value)?.0);
    let Ok(Event::Entry(entry)) = Event::decode(&body) else { return Err(damaged("no entry")) };
    let key = keys::idempotency(log, entry.sender, entry.client_msg_id);
    let committed = read::peek(tx, &key).await?.ok_or_else(|| damaged("no idempotency record"))?;
    Ok((entry.sender, committed))
}

async fn receipt<T: Tx>(
    tx: &T,
    log: LogId,
    (member, cursors): (AccountId, Cursors),
    seq: Seq,
    committed: &Idempotency,
) -> Result<Receipt, OpError> {
    let at = async |kind, cursor: Seq| match cursor >= seq {
        true => reached(tx, log, member, kind, seq, committed).await,
        false => Ok(None),
    };
    let delivered = at(ReceiptKind::Delivered, cursors.delivered);
    let (delivered_at, read_at) = try_join(delivered, at(ReceiptKind::Read, cursors.read)).await?;
    Ok(Receipt { member, delivered_at, read_at })
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
