//! What people do with groups.

use client_core::{Client, GroupError, Now};
use wire::{AccountId, ChatId};

use super::World;
use crate::check::Violation;
use crate::client::name;
use crate::plan::GroupAct;

impl World {
    /// A person does something with a group, as far as there is one and it lets them: who is no admin is told so.
    pub(super) fn does_in_group(&mut self, phone: usize, act: GroupAct) -> Result<(), Violation> {
        match act {
            GroupAct::Make { with } => self.make_group(phone, &with),
            GroupAct::Say { group, count } => match self.group(phone, group) {
                Some(chat) => self.say_in(phone, chat, None, count),
                None => Ok(()),
            },
            GroupAct::Add { group, who } => {
                let who = self.account(who);
                self.change(phone, group, |client, chat, now| client.add_members(chat, &[who], now))
            }
            GroupAct::Remove { group, who } => {
                let who = self.account(who);
                self.change(phone, group, |client, chat, now| client.remove_members(chat, &[who], now))
            }
            GroupAct::Leave { group } => {
                self.change(phone, group, |client, chat, now| client.leave_group(chat, now))
            }
        }
    }

    /// A group that a phone knows, by its number.
    fn group(&self, phone: usize, number: usize) -> Option<ChatId> {
        let known = |chat: &ChatId| self.clients[phone].disk.knows(*chat);
        let groups: Vec<ChatId> = self.out.checker.groups().into_iter().filter(known).collect();
        if groups.is_empty() { None } else { Some(groups[number % groups.len()]) }
    }

    fn make_group(&mut self, phone: usize, with: &[usize]) -> Result<(), Violation> {
        let members: Vec<AccountId> = with.iter().map(|&who| self.account(who)).collect();
        if members.is_empty() || !self.clients[phone].is_registered() {
            return Ok(());
        }
        self.out.say(format_args!("{} makes a group with {with:?}", name(phone)));
        self.clients[phone].with(&mut self.out, |client, now| {
            // There are few enough of them.
            let _ = client.create_group("Owls".into(), "At night.".into(), &members, now);
        })
    }

    fn change(
        &mut self,
        phone: usize,
        group: usize,
        act: impl FnOnce(&mut Client, ChatId, Now) -> Result<(), GroupError>,
    ) -> Result<(), Violation> {
        let Some(chat) = self.group(phone, group) else { return Ok(()) };
        let line = format!("{} changes {}", name(phone), self.out.checker.chat_name(chat));
        self.out.say(format_args!("{line}"));
        self.clients[phone].with(&mut self.out, |client, now| {
            // It may be another's turn, or this one out of the group by now.
            let _ = act(client, chat, now);
        })
    }
}
