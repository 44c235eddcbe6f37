//! The sweeper's look at the outbox: what was committed a while ago and has not reached every device.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::{try_join_all, try_join3};
use wire::{AccountId, DeviceId, LogId, Seq, WallTime};

use super::table::Table;
use super::{device, read};
use crate::keys;
use crate::record::{DeviceCursor, Former, Head, Member, Owner, Record, RecordError};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// Devices that one sweep looks at at most, the logs aside that were begun: more logs wait for the next sweep, so that
/// groups of 256 accounts do not stretch one transaction past its lifetime.
const CURSORS_MAX: usize = 4096;

/// Logs that are looked at together before it is known how large they are.
const LOGS_AT_FIRST: usize = 8;

/// Logs that are ever looked at together.
const LOGS_MAX: usize = 64;

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
    /// Devices that have ended, of which chats may still have to be told.
    pub ended: Vec<EndedDevice>,
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

/// A device that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedDevice {
    /// Whose it was.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// When it ended.
    pub at: WallTime,
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
    ///
    /// Cost: a range per lane, together; then for some logs at a time a read and two ranges of each together, and the
    /// devices of each member, together.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Swept, OpError> {
        let tx = &*tx;
        let (due, mut has_more) = self.due(tx).await?;
        let (mut logs, mut seen) = (BTreeMap::<LogId, Due>::new(), Vec::new());
        for (key, _) in due {
            match keys::outbox_entry(&key) {
                Some((log, seq, _)) => logs.entry(log).or_default().add(seq, key),
                None => seen.push(key),
            }
        }
        let (mut logs, mut pace) = (logs.into_iter(), Pace::default());
        let (mut behind, mut ended) = (Vec::new(), Vec::new());
        while let Some(logs_max) = pace.next() {
            let some: Vec<_> = logs.by_ref().take(logs_max).collect();
            if some.is_empty() {
                break;
            }
            pace.looked(some.len(), look(tx, &some, &mut behind, &mut ended).await?);
            seen.extend(some.into_iter().flat_map(|(_, due)| due.keys));
        }
        has_more |= logs.len() > 0;
        Ok(Swept { behind, ended, keys: seen, has_more })
    }
}

impl Sweep {
    /// The keys that are due, of all lanes the oldest, and whether there are more.
    async fn due<T: Tx>(&self, tx: &T) -> Result<(Vec<(Bytes, Bytes)>, bool), OpError> {
        let lanes = keys::outbox_due(self.shard, self.due)
            .map(|(begin, end)| tx.range(Range::new(begin, end).limit(self.limit).snapshot()));
        let lanes = try_join_all(lanes).await?;
        let full = lanes.iter().any(|lane| lane.len() >= self.limit);
        let mut due: Vec<_> = lanes.into_iter().flatten().collect();
        due.sort_by_key(|(key, _)| keys::outbox_entry(key).map(|(.., at)| at));
        let has_more = full || due.len() > self.limit;
        due.truncate(self.limit);
        Ok((due, has_more))
    }
}

/// How many logs are looked at together: as many as would use up [`CURSORS_MAX`], were they like those so far. What
/// follows may be larger, so it is never many more than before.
#[derive(Debug, Default)]
struct Pace {
    logs: usize,
    cursors: usize,
    last: usize,
}

impl Pace {
    /// How many are next, unless it is enough.
    fn next(&self) -> Option<usize> {
        let left = CURSORS_MAX.checked_sub(self.cursors).filter(|left| *left > 0)?;
        let mean = self.cursors.div_ceil(self.logs.max(1)).max(1);
        Some((left / mean).clamp(1, (4 * self.last).clamp(LOGS_AT_FIRST, LOGS_MAX)))
    }

    fn looked(&mut self, logs: usize, cursors: usize) {
        self.logs += logs;
        self.cursors += cursors;
        self.last = logs;
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

/// Adds the devices of some logs that have not got what is due, and says how many there are. What came after it has its
/// own grace time: in a chat that never rests, every device is always behind its head.
async fn look<T: Tx>(
    tx: &T,
    logs: &[(LogId, Due)],
    behind: &mut Vec<Behind>,
    ended: &mut Vec<EndedDevice>,
) -> Result<usize, OpError> {
    let (inboxes, logs): (Vec<_>, Vec<_>) = logs.iter().partition(|(log, _)| matches!(log, LogId::Device(_)));
    let own = try_join_all(inboxes.into_iter().map(|(log, due)| inbox(tx, *log, due.last))).await?;
    let mut looked_at = own.len();
    for inbox in own {
        behind.extend(inbox.behind);
        ended.extend(inbox.ended);
    }
    let found = try_join_all(logs.iter().map(|(log, _)| Found::read(tx, *log))).await?;
    let accounts = found.iter().flat_map(|found| found.members.iter().map(|(account, _)| *account)).collect();
    let devices = Table::read(accounts, |account| device::all(tx, account)).await?;
    for ((log, due), Found { head, members, cursors }) in logs.into_iter().zip(found) {
        for (account, member) in members {
            for (device, _) in devices.of(account) {
                looked_at += 1;
                let at = cursors.binary_search_by_key(&(account, *device), |(whose, _)| *whose);
                let delivered = at.map_or(member.joined, |at| cursors[at].1.delivered);
                if delivered < due.last {
                    behind.push(Behind { log: *log, head, account, device: *device });
                }
            }
        }
    }
    Ok(looked_at)
}

/// What a look at an inbox that is due finds.
#[derive(Default)]
struct Inbox {
    behind: Option<Behind>,
    ended: Vec<EndedDevice>,
}

/// The device of an inbox, if it has not got what is due of it; or whose it was.
async fn inbox<T: Tx>(tx: &T, log: LogId, due: Seq) -> Result<Inbox, OpError> {
    let LogId::Device(device) = log else { return Ok(Inbox::default()) };
    let (owner, head) = (keys::device_owner(device), keys::head(log));
    let formers = Range::prefix(keys::formers(log)).snapshot();
    let (owner, head, formers) = try_join3(
        read::peek::<Owner, T>(tx, &owner),
        read::peek::<Head, T>(tx, &head),
        read::list::<Former, T>(tx, formers),
    )
    .await?;
    let ended = formers.into_iter().map(|(id, former)| EndedDevice {
        account: AccountId::new(id),
        device,
        at: former.left_at,
    });
    let ended = ended.collect();
    let (Some(Owner(account)), Some(head)) = (owner, head) else { return Ok(Inbox { behind: None, ended }) };
    let cursor = read::peek::<DeviceCursor, T>(tx, &keys::device_cursor(log, account, device)).await?;
    let is_behind = cursor.map_or(Seq::ZERO, |cursor| cursor.delivered) < due;
    let behind = is_behind.then_some(Behind { log, head: head.seq, account, device });
    Ok(Inbox { behind, ended })
}

/// What is stored of one log that is due.
struct Found {
    head: Seq,
    members: Vec<(AccountId, Member)>,
    /// Cursors of devices, in order, those that nobody has any more included.
    cursors: Vec<((AccountId, DeviceId), DeviceCursor)>,
}

impl Found {
    async fn read<T: Tx>(tx: &T, log: LogId) -> Result<Found, OpError> {
        let head_key = keys::head(log);
        let (head, members, cursors) = try_join3(
            read::peek::<Head, T>(tx, &head_key),
            read::list::<Member, T>(tx, Range::prefix(keys::members(log)).snapshot()),
            read::pairs::<DeviceCursor, T>(tx, Range::prefix(keys::device_cursors(log)).snapshot()),
        )
        .await?;
        let members = members.into_iter().map(|(id, member)| (AccountId::new(id), member)).collect();
        let cursors = cursors.into_iter().map(|(key, cursor)| {
            let damaged = RecordError::Damaged { record: DeviceCursor::NAME, what: "its key" };
            Ok((keys::cursor_owner(&key).ok_or(damaged)?, cursor))
        });
        let cursors = cursors.collect::<Result<_, RecordError>>()?;
        Ok(Found { head: head.unwrap_or_default().seq, members, cursors })
    }
}
