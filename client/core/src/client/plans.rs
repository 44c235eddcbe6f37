//! Chats of many: who is in them, as its owner asks for it. A plan is kept until it is done, in as many commits as it takes.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use wire::event::Event;
use wire::request::Request;
use wire::{AccountId, ChatId, ClientMsgId, ErrorCode, Retry, limits};

use super::Client;
use super::errands::Errand;
use crate::group::{Stage, Work};
use crate::io::{ClientEvent, GroupFailure, Now};
use crate::kept::Write;
use crate::plan::{Plan, PlanRow};

/// So often the server is asked again whether this account is out of a chat, before the log of it is given up.
const LOG_AWAITED_MAX: u32 = 5;

/// Why a change of a chat's members was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// This device is no account's.
    #[error("this device is not registered")]
    NotRegistered,
    /// Nobody is named.
    #[error("nobody is named")]
    Nobody,
    /// A group has at most [`limits::GROUP_ACCOUNTS_MAX`] members.
    #[error("a group has at most {} members", limits::GROUP_ACCOUNTS_MAX)]
    TooMany,
    /// Another change of this chat is under way.
    #[error("another change of this chat is under way")]
    UnderWay,
    /// This device is not in the chat's group.
    #[error("this device is not in that chat")]
    NotMember,
}

impl Client {
    /// Makes a group with these members beside this account, and says which chat it is (R59). [`ClientEvent::GroupDone`] or
    /// [`ClientEvent::GroupFailed`] follows.
    ///
    /// # Errors
    /// [`GroupError`]; nothing was begun.
    pub fn create_group(
        &mut self,
        name: String,
        description: String,
        members: &[AccountId],
        now: Now,
    ) -> Result<ChatId, GroupError> {
        let (own, _) = self.identity().ok_or(GroupError::NotRegistered)?;
        let members = self.named(members)?;
        if members.len() >= limits::GROUP_ACCOUNTS_MAX {
            return Err(GroupError::TooMany);
        }
        let client_msg_id = ClientMsgId::new(self.id_by_time(now.wall));
        let chat = group_chat_id(own, client_msg_id);
        self.know_chat(chat, None);
        self.begin_plan(
            PlanRow { chat, client_msg_id, plan: Plan::Create { name, description, members } },
            now,
        );
        Ok(chat)
    }

    /// Adds members to a group (R65). What follows is as of [`Client::create_group`].
    ///
    /// # Errors
    /// [`GroupError`]; nothing was begun.
    pub fn add_members(&mut self, chat: ChatId, accounts: &[AccountId], now: Now) -> Result<(), GroupError> {
        let accounts = self.named(accounts)?;
        self.change(chat, Plan::Add(accounts), now)
    }

    /// Removes members from a group (R67). What follows is as of [`Client::create_group`].
    ///
    /// # Errors
    /// [`GroupError`]; nothing was begun.
    pub fn remove_members(
        &mut self,
        chat: ChatId,
        accounts: &[AccountId],
        now: Now,
    ) -> Result<(), GroupError> {
        let accounts = self.named(accounts)?;
        self.change(chat, Plan::Remove(accounts), now)
    }

    /// Leaves a group (R67). What follows is as of [`Client::create_group`], and [`ClientEvent::Gone`].
    ///
    /// # Errors
    /// [`GroupError`]; nothing was begun.
    pub fn leave_group(&mut self, chat: ChatId, now: Now) -> Result<(), GroupError> {
        self.change(chat, Plan::Leave, now)
    }

    fn named(&self, accounts: &[AccountId]) -> Result<Vec<AccountId>, GroupError> {
        let (own, _) = self.identity().ok_or(GroupError::NotRegistered)?;
        let mut accounts: Vec<AccountId> =
            accounts.iter().copied().filter(|account| *account != own).collect();
        accounts.sort_unstable();
        accounts.dedup();
        match accounts.len() {
            0 => Err(GroupError::Nobody),
            1..=limits::GROUP_ACCOUNTS_MAX => Ok(accounts),
            _ => Err(GroupError::TooMany),
        }
    }

    fn change(&mut self, chat: ChatId, plan: Plan, now: Now) -> Result<(), GroupError> {
        if self.groups.plans.contains_key(&chat) {
            return Err(GroupError::UnderWay);
        }
        if !matches!(self.stage(chat), Stage::Inside(_)) {
            return Err(GroupError::NotMember);
        }
        let client_msg_id = ClientMsgId::new(self.id_by_time(now.wall));
        self.begin_plan(PlanRow { chat, client_msg_id, plan }, now);
        Ok(())
    }

    fn begin_plan(&mut self, row: PlanRow, now: Now) {
        let chat = row.chat;
        self.persist(Write::Plan(row.clone()));
        self.groups.plans.insert(chat, row);
        self.wake(now);
        self.work_within(chat, Duration::ZERO, now);
    }

    pub(super) fn plan_is_done(&mut self, chat: ChatId) {
        if self.groups.plans.remove(&chat).is_some() {
            let missing = self.groups.missing.remove(&chat).unwrap_or_default().into_iter().collect();
            self.persist(Write::PlanDone { chat });
            self.notify(ClientEvent::GroupDone { chat, missing });
        }
    }

    /// The chat's plan, if there is one, came to nothing.
    pub(super) fn plan_fails(&mut self, chat: ChatId, why: GroupFailure) {
        if self.groups.plans.remove(&chat).is_some() {
            self.groups.missing.remove(&chat);
            self.persist(Write::PlanDone { chat });
            self.notify(ClientEvent::GroupFailed { chat, why });
        }
    }

    // ---- leaving ----

    pub(super) fn ask_to_leave(&mut self, chat: ChatId, now: Now) {
        let Some(row) = self.groups.plans.get(&chat) else { return };
        let request = Request::LeaveGroup { chat, client_msg_id: row.client_msg_id };
        self.set_work(chat, Work::Leaving);
        self.run(Errand::Leave(chat), &request, now);
    }

    /// This account is out. What it said before may be in the log, which says so, up to the entry by which it went; that is
    /// waited for, if there is something to wait for.
    fn has_left(&mut self, chat: ChatId, now: Now) {
        let tries = self.chats.get(&chat).map_or(0, |state| state.group.attempts.failures());
        if self.outbox.is_unsure(chat) && tries < LOG_AWAITED_MAX {
            return self.work_again(chat, Duration::from_secs(1), now);
        }
        self.leave_behind(chat, self.own_account(), now);
    }

    pub(super) fn on_left(&mut self, chat: ChatId, events: &[Event], now: Now) {
        if !self.end_work(chat, |work| matches!(work, Work::Leaving)) {
            return;
        }
        match events {
            [Event::Done] => self.has_left(chat, now),
            [Event::Refused(refusal)] if refusal.code == ErrorCode::NotMember => self.has_left(chat, now),
            [Event::Refused(refusal)] if refusal.retry == Retry::Never => {
                self.plan_fails(chat, GroupFailure::Refused(*refusal));
            }
            [Event::Refused(refusal)] => self.refused_for_now(chat, *refusal, now),
            _ => self.work_again(chat, Duration::ZERO, now),
        }
    }
}

/// The id of the group that an account makes under this `client_msg_id`: see PROTOCOL.md, "Groups".
fn group_chat_id(creator: AccountId, client_msg_id: ClientMsgId) -> ChatId {
    hashed(b"godwit group chat\0", [creator.as_bytes(), client_msg_id.as_bytes()])
}

/// The id of the 1:1 chat of two accounts: see PROTOCOL.md, "Chat up".
pub(super) fn direct_chat_id(a: AccountId, b: AccountId) -> ChatId {
    hashed(b"godwit direct chat\0", [a.min(b).as_bytes(), a.max(b).as_bytes()])
}

fn hashed(label: &[u8], ids: [&[u8; 16]; 2]) -> ChatId {
    let mut context = Context::new(&SHA256);
    context.update(label);
    ids.iter().for_each(|id| context.update(*id));
    let digest = context.finish();
    ChatId::new(*digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
}
