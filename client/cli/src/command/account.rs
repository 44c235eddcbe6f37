//! `godwit chats`, `devices`, `revoke`, `logout`.

use clap::Args;
use client_db::Summary;
use serde_json::json;
use wire::DeviceId;
use wire::event::Event;
use wire::request::Request;

use super::{Common, all_chats};
use crate::error::CliError;
use crate::output::{clock, printable};

/// See [`super::Command::Chats`].
#[derive(Debug, Args)]
pub struct ChatsCommand {
    #[command(flatten)]
    common: Common,
}

/// See [`super::Command::Devices`].
#[derive(Debug, Args)]
pub struct DevicesCommand {
    #[command(flatten)]
    common: Common,
}

/// See [`super::Command::Revoke`].
#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    common: Common,
    /// The device, as `godwit devices` names it.
    device: DeviceId,
}

/// See [`super::Command::Logout`].
#[derive(Debug, Args)]
pub struct Logout {
    #[command(flatten)]
    common: Common,
}

impl ChatsCommand {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut session = self.common.session()?;
        let mut chats = all_chats(&mut session, self.common.timeout())?;
        // What is a message, and what was read of them, is known here alone.
        session.catch_up(self.common.timeout())?;
        let me = session.client.identity().map(|(account, _)| account).ok_or(CliError::Unexpected)?;
        let here = session.profile.db.summaries(me)?;
        chats.sort_by_key(|chat| std::cmp::Reverse(chat.last_at));
        for chat in &chats {
            self.show(chat, here.iter().find(|summary| summary.chat == chat.chat))?;
        }
        session.close();
        Ok(())
    }

    fn show(&self, chat: &wire::event::Chat, here: Option<&Summary>) -> Result<(), CliError> {
        let name = chat.peer.as_ref().map(|(_, name)| name.clone()).or_else(|| chat.name.clone());
        let (messages, unread) = here.map_or((0, 0), |summary| (summary.messages, summary.unread));
        self.common.form().print(
            || {
                json!({
                    "chat": chat.chat.to_string(), "peer": chat.peer.as_ref().map(|(id, _)| id.to_string()),
                    "name": name, "messages": messages, "unread": unread, "last_at": chat.last_at.as_millis(),
                })
            },
            || {
                let name = printable(name.as_deref().unwrap_or("(chat)"));
                format!(
                    "{}  {name}  {messages} messages, {unread} unread, {}",
                    chat.chat,
                    clock(chat.last_at)
                )
            },
        )?;
        Ok(())
    }
}

impl DevicesCommand {
    pub(super) fn run(self) -> Result<(), CliError> {
        let events = self.common.ask_once(Request::ListDevices)?;
        let [Event::Devices(devices)] = &events[..] else { return Err(CliError::Unexpected) };
        for device in devices {
            self.common.form().print(
                || {
                    json!({
                        "device": device.device.to_string(), "name": device.name,
                        "added_at": device.added_at.as_millis(), "current": device.current,
                    })
                },
                || {
                    let this = if device.current { "  (this one)" } else { "" };
                    format!("{}  {}{this}", device.device, printable(&device.name))
                },
            )?;
        }
        Ok(())
    }
}

impl Revoke {
    pub(super) fn run(self) -> Result<(), CliError> {
        match &self.common.ask_once(Request::RevokeDevice { device: self.device })?[..] {
            [Event::Done] => {
                let device = self.device.to_string();
                let json = || json!({"event": "revoked", "device": device});
                Ok(self.common.form().print(json, || format!("{device} is ended"))?)
            }
            _ => Err(CliError::Unexpected),
        }
    }
}

impl Logout {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut session = self.common.session()?;
        match &session.request(Request::Logout, self.common.timeout())?[..] {
            [Event::Done] => {}
            _ => return Err(CliError::Unexpected),
        }
        session.close();
        let json = || json!({"event": "logged_out"});
        Ok(self.common.form().print(json, || "logged out; messages on this device stay".to_owned())?)
    }
}
