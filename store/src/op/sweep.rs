//! The sweeper's look at the outbox: what was committed a while ago and has not reached every device.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::try_join_all;
use wire::{AccountId, DeviceId, LogId, Seq, WallTime};

use super::{device, read};
use crate::keys;
use crate::record::{DeviceCursor, Head, Member};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// Device cursors that one sweep reads at most, the last log aside: more logs wait for the next sweep, so that groups
/// of 256 accounts do not stretch one transaction past its lifetime.
const CURSORS_MAX: usize = 4096;

/// Looks at outbox keys whose entries were committed before `due`, and says which accounts' devices are behind. It
/// clears nothing: whoever asked first does what follows from it and then clears the keys ([`ClearOutbox`]), so that
/// neither a crash nor a lost answer between the two leaves a device behind for good.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// Which of the [`OUTBOX_SHARDS`](crate::keys::OUTBOX_SHARDS).
    pub shard: u8,
    /// Entries committed before this.
    pub due: WallTime,
    /// At most so many keys.
    pub limit: usize,
}

/// What [`Sweep`] found.
#[derive(Debug, Clone)]
pub struct Swept {
    /// Devices that are behind, one per (log, device).
    pub behind: Vec<Behind>,
    /// The keys that were looked at: to be cleared.
    pub keys: Vec<Bytes>,
    /// Whether there are more keys due, once these are cleared.
    pub has_more: bool,
}

/// Clears outbox keys that a [`Sweep`] looked at, once what it found was acted on. Idempotent; answers how many keys
/// it was given.
#[derive(Debug, Clone)]
pub struct ClearOutbox {
    /// The keys, from [`Swept::keys`].
    pub keys: Vec<Bytes>,
}

/// A device that has not got an entry that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// The log.
    pub log: LogId,
    /// Its head, for the hint: perhaps past what is due.
    pub head: Seq,
    /// Whose device.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
}

impl Body for Sweep {
    type Output = Swept;

    /// Everything is read by snapshot: nothing here decides anything, and two sweepers of one shard only hint twice.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Swept, OpError> {
        let (begin, end) = keys::outbox_due(self.shard, self.due);
        let due = tx.range(Range::new(begin, end).limit(self.limit).snapshot()).await?;
        let mut has_more = due.len() == self.limit;
        let (mut logs, mut seen) = (BTreeMap::<LogId, Due>::new(), Vec::new());
        for (key, _) in due {
            match keys::outbox_entry(&key) {
                Some((log, seq)) => logs.entry(log).or_default().add(seq, key),
                None => seen.push(key),
            }
        }
        let (mut behind, mut looked_at) = (Vec::new(), 0);
        for (log, due) in logs {
            if looked_at >= CURSORS_MAX {
                has_more = true;
                break;
            }
            looked_at += look(tx, log, due.last, &mut behind).await?;
            seen.extend(due.keys);
        }
        Ok(Swept { behind, keys: seen, has_more })
    }
}

impl Body for ClearOutbox {
    type Output = usize;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<usize, OpError> {
        self.keys.iter().for_each(|key| tx.clear(key.clone()));
        Ok(self.keys.len())
    }
}

/// What of one log is due.
#[derive(Default)]
struct Due {
    /// The last of its entries that are.
    last: Seq,
    keys: Vec<Bytes>,
}

impl Due {
    fn add(&mut self, seq: Seq, key: Bytes) {
        self.last = self.last.max(seq);
        self.keys.push(key);
    }
}

/// Adds the devices of one log that have not got what is due, and says how many there are. What came after it has its
/// own grace time: in a chat that never rests, every device is always behind its head.
async fn look<T: Tx>(tx: &T, log: LogId, due: Seq, behind: &mut Vec<Behind>) -> Result<usize, OpError> {
    let head = read::peek::<Head, T>(tx, &keys::head(log)).await?.unwrap_or_default().seq;
    let members = read::list::<Member, T>(tx, Range::prefix(keys::members(log)).snapshot()).await?;
    let cursors = members.into_iter().map(|(id, member)| member_cursors(tx, log, AccountId::new(id), member));
    let cursors: Vec<_> = try_join_all(cursors).await?.into_iter().flatten().collect();
    let looked_at = cursors.len();
    let late = cursors.into_iter().filter(|(.., delivered)| *delivered < due);
    behind.extend(late.map(|(account, device, _)| Behind { log, head, account, device }));
    Ok(looked_at)
}

/// Where each device of a member is.
async fn member_cursors<T: Tx>(
    tx: &T,
    log: LogId,
    account: AccountId,
    member: Member,
) -> Result<Vec<(AccountId, DeviceId, Seq)>, OpError> {
    let devices = device::all(tx, account).await?;
    try_join_all(devices.into_iter().map(async |(device, _)| {
        let key = keys::device_cursor(log, account, device);
        let cursor = read::peek::<DeviceCursor, T>(tx, &key).await?;
        Ok((account, device, cursor.map_or(member.joined, |cursor| cursor.delivered)))
    }))
    .await
}
