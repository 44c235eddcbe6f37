//! `godwit group`: who is in a chat of many.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use client_core::ClientEvent;
use serde_json::json;
use wire::event::{Event, Group, GroupMember, MemberRole};
use wire::request::Request;
use wire::{AccountId, ChatId, ErrorCode, Seq};

use super::{Common, all_chats, find};
use crate::error::CliError;
use crate::output::printable;
use crate::session::{Session, now};
use crate::words;

/// See [`super::Command::Group`].
#[derive(Debug, Args)]
pub struct GroupCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a group of up to 256, yourself included; you are its admin.
    Create(Create),
    /// Bring in members, for admins: they read what is said from then on.
    Add(Change),
    /// Remove members, for admins: they get nothing that is said from then on.
    Remove(Change),
    /// Leave a group. If its last admin leaves, who has been in it longest becomes one.
    Leave(Leave),
    /// Show who is in a group.
    Info(Info),
}

/// Makes a group.
#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    common: Common,
    /// What it is called, for everybody in it; the server knows it, too.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What it is about; the server knows it, too.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Who is in it: phone numbers.
    #[arg(long, value_name = "NUMBER", required = true, num_args = 1..)]
    with: Vec<String>,
}

/// Adds or removes members.
#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    common: Common,
    /// The group, as `godwit chats` names it.
    #[arg(long, value_name = "ID")]
    chat: ChatId,
    /// Who: phone numbers.
    #[arg(value_name = "NUMBER", required = true)]
    who: Vec<String>,
}

/// Leaves a group.
#[derive(Debug, Args)]
struct Leave {
    #[command(flatten)]
    common: Common,
    /// The group, as `godwit chats` names it.
    #[arg(long, value_name = "ID")]
    chat: ChatId,
}

/// Shows a group.
#[derive(Debug, Args)]
struct Info {
    #[command(flatten)]
    common: Common,
    /// The group, as `godwit chats` names it.
    #[arg(long, value_name = "ID")]
    chat: ChatId,
}

/// What a change is called when it is done, for scripts and for people.
type Done = (&'static str, &'static str);

impl GroupCommand {
    pub(super) fn run(self) -> Result<(), CliError> {
        match self.action {
            Action::Create(create) => with_session(&create.common, |session| create.run(session)),
            Action::Add(change) => with_session(&change.common, |session| change.add(session)),
            Action::Remove(change) => with_session(&change.common, |session| change.remove(session)),
            Action::Leave(leave) => with_session(&leave.common, |session| leave.run(session)),
            Action::Info(info) => with_session(&info.common, |session| info.run(session)),
        }
    }
}

/// Connected, with everything that was owed: what is to be changed is looked at as it is now.
fn with_session(
    common: &Common,
    run: impl FnOnce(&mut Session) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut session = common.session()?;
    let result = session.catch_up(common.timeout()).and_then(|()| run(&mut session));
    session.close();
    result
}

/// The accounts of these numbers.
fn accounts(
    session: &mut Session,
    numbers: &[String],
    timeout: Duration,
) -> Result<Vec<AccountId>, CliError> {
    numbers.iter().map(|number| find(session, number, timeout).map(|contact| contact.account)).collect()
}

impl Create {
    fn run(&self, session: &mut Session) -> Result<(), CliError> {
        if wire::PersonName::parse(&self.name).is_err() {
            return Err(CliError::Usage(
                "a group's name is 1 to 255 characters, none of them control characters",
            ));
        }
        let members = accounts(session, &self.with, self.common.timeout())?;
        let (name, description) = (self.name.clone(), self.description.clone());
        let chat = session.client.create_group(name, description, &members, now())?;
        session.profile.db.name_group(chat, &self.name)?;
        // From here on it goes on by itself, whatever becomes of this process.
        session.keep()?;
        let begun = || json!({"event": "group_begun", "chat": chat.to_string()});
        self.common.form().print(begun, || format!("making the group ({chat}) …"))?;
        settle(session, &self.common, chat, ("group_created", "the group is made"))
    }
}

impl Change {
    fn add(&self, session: &mut Session) -> Result<(), CliError> {
        let who = accounts(session, &self.who, self.common.timeout())?;
        let members = group(session, self.chat, self.common.timeout())?.members;
        if who.iter().all(|who| members.iter().any(|member| member.account == *who)) {
            return Err(CliError::Group("everybody named is in this group already".into()));
        }
        session.client.add_members(self.chat, &who, now())?;
        settle(session, &self.common, self.chat, ("members_added", "added"))
    }

    fn remove(&self, session: &mut Session) -> Result<(), CliError> {
        let who = accounts(session, &self.who, self.common.timeout())?;
        let members = group(session, self.chat, self.common.timeout())?.members;
        if !who.iter().any(|who| members.iter().any(|member| member.account == *who)) {
            return Err(CliError::Group("nobody named is in this group".into()));
        }
        session.client.remove_members(self.chat, &who, now())?;
        settle(session, &self.common, self.chat, ("members_removed", "removed"))
    }
}

impl Leave {
    fn run(&self, session: &mut Session) -> Result<(), CliError> {
        session.client.leave_group(self.chat, now())?;
        settle(session, &self.common, self.chat, ("left", "you left the group"))
    }
}

/// Waits until a change has gone through, or has not, and says so.
fn settle(session: &mut Session, common: &Common, chat: ChatId, done: Done) -> Result<(), CliError> {
    let deadline = Instant::now() + common.timeout();
    let outcome = session.wait_for(common.timeout(), |_, event| match event? {
        ClientEvent::GroupDone { chat: of, missing } if *of == chat => Some(Ok(missing.clone())),
        ClientEvent::GroupFailed { chat: of, why } if *of == chat => Some(Err(*why)),
        _ => None,
    })?;
    let missing = outcome.map_err(|why| CliError::Group(words::failure(why)))?;
    // The log's own word of it is nice to have here, too; what is done is done.
    let left = deadline.saturating_duration_since(Instant::now());
    match session.wait_for(left, |session, _| session.client.is_settled().then_some(())) {
        Ok(()) | Err(CliError::Unreachable { .. }) => {}
        Err(error) => return Err(error),
    }
    let ids: Vec<String> = missing.iter().map(ToString::to_string).collect();
    common.form().print(
        || json!({"event": done.0, "chat": chat.to_string(), "missing": ids}),
        || match &ids[..] {
            [] => format!("{} ({chat})", done.1),
            ids => format!(
                "{} ({chat}); without {}: no device of theirs can be encrypted for yet",
                done.1,
                ids.join(", ")
            ),
        },
    )?;
    if missing.is_empty() { Ok(()) } else { Err(CliError::Group("not everybody could be added".into())) }
}

/// A group as the server knows it.
fn group(session: &mut Session, chat: ChatId, timeout: Duration) -> Result<Group, CliError> {
    match session.request(Request::GetGroup { chat }, timeout) {
        Ok(events) => match <[Event; 1]>::try_from(events) {
            Ok([Event::Group(group)]) => Ok(group),
            _ => Err(CliError::Unexpected),
        },
        Err(CliError::Refused(refusal)) if refusal.code == ErrorCode::NotMember => {
            Err(CliError::Group("you are not in this group".into()))
        }
        Err(error) => Err(error),
    }
}

impl Info {
    fn run(&self, session: &mut Session) -> Result<(), CliError> {
        let group = group(session, self.chat, self.common.timeout())?;
        all_chats(session, self.common.timeout())?;
        let Some(about) = &group.about else {
            return Err(CliError::Group("this is a chat of two, not a group".into()));
        };
        let me = session.client.identity().map(|(account, _)| account);
        let name_of = |account: AccountId| -> Result<Option<String>, CliError> {
            Ok(session.profile.db.name(account)?.map(|name| printable(&name)))
        };
        let form = self.common.form();
        form.print(
            || {
                json!({
                    "event": "group", "chat": group.chat.to_string(), "name": about.name, "description": about.description,
                    "created_by": about.created_by.to_string(), "created_at": about.created_at.as_millis(),
                    "members": group.members.len(), "devices": group.leaves.len(), "epoch": group.epoch.0,
                })
            },
            || {
                let what = if about.description.is_empty() { "" } else { ": " };
                format!("{}{what}{}", printable(&about.name), printable(&about.description))
            },
        )?;
        for &GroupMember { account, joined, role } in &group.members {
            let (name, mine) = (name_of(account)?, me == Some(account));
            let is_admin = role == MemberRole::Admin;
            form.print(
                || {
                    json!({
                        "event": "member", "account": account.to_string(), "name": name, "mine": mine,
                        "admin": is_admin, "reads_after": joined.0,
                    })
                },
                || member_line(account, name.as_deref(), mine, is_admin, joined),
            )?;
        }
        Ok(())
    }
}

fn member_line(account: AccountId, name: Option<&str>, mine: bool, is_admin: bool, joined: Seq) -> String {
    let who = if mine { "you".to_owned() } else { name.map_or_else(|| account.to_string(), str::to_owned) };
    let admin = if is_admin { "  admin" } else { "" };
    let since = if joined > Seq(1) { format!("  since {joined}") } else { String::new() };
    format!("{who}{admin}{since}")
}
