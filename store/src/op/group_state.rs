//! A group as the log knows it, for a member.

use futures_util::future::{try_join, try_join3};
use wire::event::{Group, GroupAbout, GroupLeaf, GroupMember};
use wire::{AccountId, ChatId, LogId};

use super::batch::leaves;
use super::{NotMember, read};
use crate::keys;
use crate::record::{self, Head, Member};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// The epoch, members and leaves of a chat. A full group fits one frame, so there are no pages.
#[derive(Debug, Clone)]
pub struct GroupState {
    /// The chat.
    pub chat: ChatId,
    /// Who asks; must be a member.
    pub account: AccountId,
}

impl Body for GroupState {
    type Output = Result<Group, NotMember>;

    /// Cost: two reads and two ranges, together.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let (tx, log) = (&*tx, LogId::Chat(self.chat));
        let (head_key, group_key) = (keys::head(log), keys::group(log));
        let members = Range::prefix(keys::members(log)).snapshot();
        let of_log = try_join3(
            read::peek::<Head, T>(tx, &head_key),
            read::peek::<record::Group, T>(tx, &group_key),
            read::list::<Member, T>(tx, members),
        );
        let ((head, about, members), leaves) = try_join(of_log, leaves(tx, log)).await?;
        if !members.iter().any(|(id, _)| id == self.account.as_bytes()) {
            return Ok(Err(NotMember));
        }
        let head = head.unwrap_or_default();
        let members = members.into_iter().map(|(id, Member { joined, role, .. })| GroupMember {
            account: AccountId::new(id),
            joined,
            role,
        });
        let leaves = leaves.into_iter().map(|(leaf, of)| GroupLeaf {
            leaf,
            account: of.account,
            device: of.device,
            pending: of.pending,
        });
        Ok(Ok(Group {
            chat: self.chat,
            epoch: head.epoch,
            commit_first: head.commit_first,
            about: about.map(about_of),
            members: members.collect(),
            leaves: leaves.collect(),
        }))
    }
}

fn about_of(group: record::Group) -> GroupAbout {
    let record::Group { name, description, created_by, created_at, .. } = group;
    GroupAbout { name, description, created_by, created_at }
}
