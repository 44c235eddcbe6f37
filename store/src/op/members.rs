//! Who is in a log.

use mutation::Mutation;
use wire::{AccountId, LogId};

use super::{NotMember, read};
use crate::keys;
use crate::record::Member;
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// A log's members, for somebody who is one.
#[derive(Debug, Clone)]
pub struct Members {
    /// The log.
    pub log: LogId,
    /// Who asks; must be a member.
    pub account: AccountId,
}

impl Body for Members {
    type Output = Result<Vec<AccountId>, NotMember>;

    /// Cost: one range of as many keys as members.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let range = Range::prefix(keys::members(self.log)).snapshot();
        let members = read::list::<Member, T>(&*tx, range).await?.into_iter();
        let members: Vec<AccountId> = members.map(|(id, _)| AccountId::new(id)).collect();
        let is_member = members.contains(&self.account) || mutation::on(Mutation::MembersForAnybody);
        Ok(if is_member { Ok(members) } else { Err(NotMember) })
    }
}
