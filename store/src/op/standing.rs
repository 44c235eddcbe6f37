//! How an account stands to a log: a member, one that has gone, or neither. What may be read of a log is bounded by it (I5).

use wire::{AccountId, LogId, Seq, WallTime};

use super::read;
use crate::keys;
use crate::record::{Former, Head, Member, Owner};
use crate::run::OpError;
use crate::tx::Tx;

/// An account's standing in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::op) enum Standing {
    /// It is a member.
    Member(Member),
    /// It was one.
    Former(Former),
    /// It is nobody to it.
    Stranger,
}

impl Standing {
    /// Reads it by snapshot: one read, and another for who is no member. A device's inbox is for whoever has the device.
    pub(in crate::op) async fn peek<T: Tx>(
        tx: &T,
        log: LogId,
        account: AccountId,
    ) -> Result<Standing, OpError> {
        if let LogId::Device(device) = log {
            let owner = read::peek::<Owner, T>(tx, &keys::device_owner(device)).await?;
            let is_own = owner.is_some_and(|owner| owner.0 == account);
            return Ok(if is_own { Standing::Member(Member::default()) } else { Standing::Stranger });
        }
        match read::peek::<Member, T>(tx, &keys::member(log, account)).await? {
            Some(member) => Ok(Standing::Member(member)),
            None => Standing::former(tx, log, account).await,
        }
    }

    /// Of an account that is known to be no member.
    pub(in crate::op) async fn former<T: Tx>(
        tx: &T,
        log: LogId,
        account: AccountId,
    ) -> Result<Standing, OpError> {
        let former = read::peek::<Former, T>(tx, &keys::former(log, account)).await?;
        Ok(former.map_or(Standing::Stranger, Standing::Former))
    }

    /// Where what it may read begins, not included.
    pub(in crate::op) fn joined(&self) -> Option<Seq> {
        match self {
            Standing::Member(member) => Some(member.joined),
            Standing::Former(former) => Some(former.joined),
            Standing::Stranger => None,
        }
    }

    /// The last place that it may know of, and its time.
    pub(in crate::op) fn head(&self, head: &Head) -> (Seq, WallTime) {
        match self {
            Standing::Member(_) => (head.seq, head.last_at),
            Standing::Former(former) => (former.left.min(head.seq), former.left_at),
            Standing::Stranger => (Seq::ZERO, WallTime::default()),
        }
    }
}
