//! The first stage of a batch: reads all that its ops need, together and each key once.
//!
//! However many ops there are, it takes one round of reads, and a second one where what to read follows from the first:
//! the two accounts of a 1:1 chat that is to be made, and, in a group or after an unknown commit, the entries of what is said again.
//! Some of it is read in vain (the members if nothing is told to anybody); that costs bytes, where asking first would
//! cost a round.
//!
//! What a decision rests on is read with a conflict: idempotency records, membership, cursors, accounts. The head is so
//! only if somebody appends: a batch of cursor moves never conflicts with an append elsewhere. Who hears of it decides
//! nothing, and is read by snapshot.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{try_join_all, try_join3};
use mutation::Mutation;
use wire::event::Entry;
use wire::{AccountId, ClientMsgId, DeviceId, Epoch, Event, LogId, Seq, WallTime, frame};

use super::{GroupTables, LogOp};
use crate::keys;
use crate::op::append::Append;
use crate::op::commit::Action;
use crate::op::standing::Standing;
use crate::op::table::Table;
use crate::op::{read, tail};
use crate::record::{self, Account, Cursors, DeviceCursor, Head, Idempotency, Member, Owner};
use crate::run::{Attempt, OpError};
use crate::tx::{Range, Tx};

/// All that the fold of a batch goes by.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) head: Head,
    /// Every member, in order: for fan-out, and for what changes who is one.
    pub(super) roster: Vec<(AccountId, Member)>,
    /// Where messages are, if they are in the log.
    pub(super) places: Table<(AccountId, ClientMsgId), Option<Place>>,
    /// How those who ask stand to the log; who has left is known only of those who move cursors.
    pub(super) standings: Table<AccountId, Standing>,
    /// Where devices are; `None` if one has no cursor.
    pub(super) devices: Table<(AccountId, DeviceId), Option<Seq>>,
    /// The cursors of those who move theirs.
    pub(super) cursors: Table<AccountId, Cursors>,
    /// Whether the two of a chat that is to be made have accounts.
    pub(super) accounts: Table<AccountId, bool>,
    /// The group, if an op changes it.
    pub(super) group: Option<GroupTables>,
}

/// A message's place in the log.
#[derive(Debug, Clone)]
pub(in crate::op) struct Place {
    pub(in crate::op) seq: Seq,
    pub(in crate::op) at: WallTime,
    /// The entry as a frame; empty if it is not kept any more, or is a message because the log has no group.
    pub(in crate::op) frame: Bytes,
    /// Its further parts, with it.
    pub(in crate::op) parts: Vec<Bytes>,
}

impl Place {
    /// What is there, if it was read. An id that was used for another kind of entry stands for that one:
    /// to answer a message, a commit or a leaving with its place would be a lie.
    pub(in crate::op) fn entry(&self) -> Option<Entry> {
        if self.frame.is_empty() {
            return None;
        }
        match Event::decode(&frame::body_of(&self.frame)) {
            Ok(Event::Entry(entry)) => Some(entry),
            _ => None,
        }
    }
}

/// The keys of the first round.
#[derive(Default)]
struct Wanted {
    appends: bool,
    /// Whose places in the log are asked for by name, so that a repeat is told where it was.
    messages: Vec<(AccountId, ClientMsgId)>,
    askers: Vec<AccountId>,
    devices: Vec<(AccountId, DeviceId)>,
    movers: Vec<AccountId>,
}

impl Wanted {
    fn of(ops: &[Arc<LogOp>]) -> Wanted {
        let mut wanted = Wanted::default();
        for op in ops {
            wanted.appends |= op.appends();
            match &**op {
                LogOp::Append(op) => {
                    wanted.askers.push(op.sender);
                    wanted.devices.push((op.sender, op.device));
                    wanted.messages.extend(op.messages.iter().map(|m| (op.sender, m.client_msg_id)));
                }
                LogOp::Move(op) => {
                    wanted.askers.push(op.account);
                    wanted.devices.push((op.account, op.device));
                    wanted.movers.push(op.account);
                }
                LogOp::Commit(op) => {
                    wanted.askers.push(op.sender);
                    wanted.devices.push((op.sender, op.device));
                    wanted.messages.push((op.sender, op.client_msg_id));
                }
                LogOp::Leave(op) => {
                    wanted.askers.push(op.account);
                    wanted.messages.push((op.account, op.client_msg_id));
                }
                LogOp::EndDevice(op) => wanted.askers.push(op.account),
            }
        }
        wanted
    }
}

impl Found {
    /// Reads what the ops of a batch need.
    pub(super) async fn gather<T: Tx>(
        tx: &T,
        log: LogId,
        ops: &[Arc<LogOp>],
        attempt: Attempt,
    ) -> Result<Found, OpError> {
        let Wanted { appends, messages, askers, devices, movers } = Wanted::of(ops);
        let of_log = try_join3(head(tx, log, appends), roster(tx, log), places(tx, log, messages));
        let of_askers = try_join3(
            standings(tx, log, askers),
            device_cursors(tx, log, devices),
            cursors(tx, log, &movers),
        );
        let group = GroupTables::read(tx, log, ops);
        let ((head, roster, places), (standings, devices, cursors), group) =
            try_join3(of_log, of_askers, group).await?;
        let accounts = Table::none();
        let mut found = Found { head, roster, places, standings, devices, cursors, accounts, group };
        found.second_round(tx, log, ops, attempt).await?;
        found.formers(tx, log, movers).await?;
        Ok(found)
    }

    /// Which of those that move cursors and are no members were some.
    async fn formers<T: Tx>(&mut self, tx: &T, log: LogId, movers: Vec<AccountId>) -> Result<(), OpError> {
        let is_stranger = |account: &AccountId| *self.standings.of(*account) == Standing::Stranger;
        let strangers = movers.into_iter().filter(is_stranger).collect::<Vec<_>>();
        for account in strangers {
            self.standings.set(account, Standing::former(tx, log, account).await?);
        }
        Ok(())
    }

    async fn second_round<T: Tx>(
        &mut self,
        tx: &T,
        log: LogId,
        ops: &[Arc<LogOp>],
        attempt: Attempt,
    ) -> Result<(), OpError> {
        let founders = self.founders(log, ops);
        // What an id was used for, and which epoch a commit began, the entry says. In a log without a group that can only be a
        // message, so its repeat costs no second round.
        let told = attempt.maybe_committed || self.group.is_some() || self.head.epoch > Epoch::ZERO;
        let repeats = self.places.values_mut().flatten().filter(|_| told);
        let frames = try_join_all(repeats.map(async |place| {
            let value = tx.get_snapshot(&keys::entry(log, place.seq)).await?;
            let Some((frame, parts_bytes)) = value.map(|value| record::decode_entry(&value)).transpose()?
            else {
                return Ok(());
            };
            place.frame = frame;
            if parts_bytes > 0 && attempt.maybe_committed {
                place.parts = tail::parts(tx, log, place.seq).await?;
            }
            Ok::<_, OpError>(())
        }));
        let accounts = Table::read(founders, |account| async move {
            Ok(read::get::<Account, T>(tx, &keys::account(account)).await?.is_some())
        });
        let epoch = self.head.epoch;
        let group = async {
            match &mut self.group {
                Some(group) => group.read_more(tx, log, epoch, ops).await,
                None => Ok(()),
            }
        };
        (self.accounts, _, ()) = try_join3(accounts, frames, group).await?;
        Ok(())
    }

    /// Whose accounts a chat that is to be made rests on.
    fn founders(&self, log: LogId, ops: &[Arc<LogOp>]) -> Vec<AccountId> {
        let pair = |op: &Append| {
            let new = |id| self.places.of((op.sender, id)).is_none();
            let stranger = *self.standings.of(op.sender) == Standing::Stranger;
            let makes = stranger && op.messages.iter().any(|m| new(m.client_msg_id));
            op.peer.filter(|_| makes && matches!(log, LogId::Chat(_))).map(|peer| [op.sender, peer])
        };
        let pairs = ops.iter().filter_map(|op| match &**op {
            LogOp::Append(op) => pair(op),
            LogOp::Commit(op) => match op.action {
                Action::Direct { peer } => Some([op.sender, peer]),
                _ => None,
            },
            LogOp::Move(_) | LogOp::Leave(_) | LogOp::EndDevice(_) => None,
        });
        pairs.flatten().collect()
    }
}

/// The head. To append to it: whoever appends meanwhile conflicts. To compare with it: it only grows, so an older one
/// errs on the safe side.
async fn head<T: Tx>(tx: &T, log: LogId, appends: bool) -> Result<Head, OpError> {
    let key = keys::head(log);
    let head = if appends && !mutation::on(Mutation::HeadBySnapshot) {
        read::get::<Head, T>(tx, &key).await?
    } else {
        read::peek::<Head, T>(tx, &key).await?
    };
    Ok(head.unwrap_or_default())
}

async fn roster<T: Tx>(tx: &T, log: LogId) -> Result<Vec<(AccountId, Member)>, OpError> {
    let range = Range::prefix(keys::members(log)).snapshot();
    let members = read::list::<Member, T>(tx, range).await?;
    Ok(members.into_iter().map(|(id, member)| (AccountId::new(id), member)).collect())
}

/// Where each message went, if it was appended by an earlier transaction.
async fn places<T: Tx>(
    tx: &T,
    log: LogId,
    messages: Vec<(AccountId, ClientMsgId)>,
) -> Result<Table<(AccountId, ClientMsgId), Option<Place>>, OpError> {
    Table::read(messages, |(sender, id)| async move {
        if mutation::on(Mutation::NoIdempotencyRead) {
            return Ok(None);
        }
        let record = read::get::<Idempotency, T>(tx, &keys::idempotency(log, sender, id)).await?;
        Ok(record.map(|record| Place {
            seq: record.seq,
            at: record.at,
            frame: Bytes::new(),
            parts: Vec::new(),
        }))
    })
    .await
}

/// Whether those who ask are members; of an inbox it is whoever has the device.
async fn standings<T: Tx>(
    tx: &T,
    log: LogId,
    askers: Vec<AccountId>,
) -> Result<Table<AccountId, Standing>, OpError> {
    Table::read(askers, |account| async move {
        let member = match log {
            LogId::Device(device) => {
                let owner = read::get::<Owner, T>(tx, &keys::device_owner(device)).await?;
                owner.filter(|owner| owner.0 == account).map(|_| Member::default())
            }
            LogId::Chat(_) | LogId::Call(_) => read::get(tx, &keys::member(log, account)).await?,
        };
        Ok(member.map_or(Standing::Stranger, Standing::Member))
    })
    .await
}

async fn device_cursors<T: Tx>(
    tx: &T,
    log: LogId,
    devices: Vec<(AccountId, DeviceId)>,
) -> Result<Table<(AccountId, DeviceId), Option<Seq>>, OpError> {
    Table::read(devices, |(account, device)| async move {
        let key = keys::device_cursor(log, account, device);
        Ok(read::get::<DeviceCursor, T>(tx, &key).await?.map(|cursor| cursor.delivered))
    })
    .await
}

async fn cursors<T: Tx>(
    tx: &T,
    log: LogId,
    movers: &[AccountId],
) -> Result<Table<AccountId, Cursors>, OpError> {
    let movers = if matches!(log, LogId::Device(_)) { &[] } else { movers };
    Table::read(movers.to_vec(), |account| async move {
        Ok(read::get::<Cursors, T>(tx, &keys::member_cursor(log, account)).await?.unwrap_or_default())
    })
    .await
}
