//! `godwit tail`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use clap::Args;
use client_core::{ClientEvent, MembersChange, Message, Unreadable};
use client_db::{Notice, Said};
use serde_json::{Value, json};
use wire::event::Cursor;
use wire::{AccountId, ChatId, ClientMsgId, Seq, WallTime};

use super::lifecycle::{Change, Lifecycle};
use super::{Common, all_chats};
use crate::error::CliError;
use crate::output::{Form, clock, printable, sent_at_us, text_of};
use crate::session::{Session, micros_now, now};
use crate::words;

/// Stored messages that are read at a time, before they are shown.
const SHOWN_AT_ONCE: u32 = 500;

/// Names of strangers are asked for before their message is shown, if the server is this fast.
const NAME_TIMEOUT: Duration = Duration::from_secs(2);

/// See [`super::Command::Tail`].
#[derive(Debug, Args)]
pub struct Tail {
    #[command(flatten)]
    common: Common,
    /// Mark what is printed as read: the sender sees blue ticks.
    #[arg(long)]
    read: bool,
    /// End after this many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Only this chat.
    #[arg(long, value_name = "ID")]
    chat: Option<ChatId>,
    /// Read `background`, `foreground` and `moved` from standard input, line by line, as a phone's system would tell an
    /// application: in the background the connection is let go when nothing is left to do, and comes back with the next
    /// message; `moved` says that the device has another address.
    #[arg(long)]
    lifecycle: bool,
}

/// What has been printed so far.
struct Tailing<'a> {
    command: &'a Tail,
    form: Form,
    me: Option<AccountId>,
    printed: u64,
    /// People whose names were asked for in vain.
    nameless: BTreeSet<AccountId>,
    /// When this connection's attempt began, until its first tick.
    woken_at: Option<Instant>,
    /// Own messages that this process sent and has not shown in their place yet.
    sent: BTreeSet<ClientMsgId>,
}

impl Tail {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut session = self.common.session()?;
        let me = session.client.identity().map(|(account, _)| account);
        let (form, nameless, sent) = (self.common.form(), BTreeSet::new(), BTreeSet::new());
        let mut tailing = Tailing { command: &self, form, me, printed: 0, nameless, woken_at: None, sent };
        let result = tailing.run(&mut session);
        session.close();
        result
    }
}

impl Tailing<'_> {
    fn run(&mut self, session: &mut Session) -> Result<(), CliError> {
        self.show_stored(session)?;
        let life = self.command.lifecycle.then(|| Lifecycle::read(session.waker()));
        let mut named = false;
        let mut since = Instant::now();
        while !self.is_done(session, since) {
            if !self.is_full() {
                since = Instant::now();
            }
            for change in life.iter().flat_map(Lifecycle::changes) {
                match change {
                    Change::Foreground => session.client.set_foreground(true, now()),
                    Change::Background => session.client.set_foreground(false, now()),
                    Change::Moved => session.client.network_changed(now()),
                }
            }
            let events = session.turn(Instant::now() + Duration::from_secs(1))?;
            for event in events {
                // Names are asked for when somebody is there to answer, and not waited for before messages are shown.
                if !named && matches!(event, ClientEvent::Synced) {
                    named = true;
                    all_chats(session, self.command.common.timeout()).map(drop).or_else(
                        |error| match error {
                            CliError::Unreachable { .. } | CliError::Refused(_) => Ok(()),
                            error => Err(error),
                        },
                    )?;
                }
                self.see(session, &event)?;
            }
        }
        Ok(())
    }

    /// What arrived while nobody looked.
    fn show_stored(&mut self, session: &mut Session) -> Result<(), CliError> {
        while !self.is_full() {
            let stored = session.profile.db.unshown(self.command.chat, SHOWN_AT_ONCE)?;
            if stored.is_empty() {
                break;
            }
            stored.iter().try_for_each(|message| self.show(session, message, false))?;
        }
        Ok(())
    }

    /// As many as were asked for are printed; the others wait for the next `tail`.
    fn is_full(&self) -> bool {
        self.command.count.is_some_and(|count| self.printed >= count)
    }

    /// Enough was printed, and the server knows that it arrived: waited for in vain, it is told the next time.
    fn is_done(&self, session: &Session, full_since: Instant) -> bool {
        self.is_full()
            && (session.client.is_settled() || full_since.elapsed() >= self.command.common.timeout())
    }

    fn see(&mut self, session: &mut Session, event: &ClientEvent) -> Result<(), CliError> {
        match event {
            ClientEvent::Arrived(message) => {
                if self.was_told(session, message)? {
                    Ok(())
                } else {
                    self.show(session, message, true)
                }
            }
            ClientEvent::Cursor { chat, cursor } => self.status(*chat, cursor),
            ClientEvent::Connected { took, early } => {
                let ms = took.as_secs_f64() * 1000.0;
                let json = || json!({"event": "connected", "resume_ms": ms, "early": early});
                let how = if *early { ", the first flight was taken" } else { "" };
                Ok(self.form.print(json, || format!("-- connected in {ms:.0} ms{how}"))?)
            }
            ClientEvent::Connecting => {
                self.woken_at = Some(Instant::now());
                Ok(())
            }
            ClientEvent::Asleep => {
                Ok(self.form.print(|| json!({"event": "asleep"}), || "-- asleep".to_owned())?)
            }
            ClientEvent::Synced => {
                Ok(self.form.print(|| json!({"event": "synced"}), || "-- up to date".to_owned())?)
            }
            ClientEvent::Disconnected { reason, retry_in } => {
                let ms = retry_in.as_millis() as u64;
                let json = || json!({"event": "disconnected", "reason": reason, "retry_in_ms": ms});
                Ok(self.form.print(json, || format!("-- disconnected ({reason}), again in {ms} ms"))?)
            }
            ClientEvent::Sent(message) => self.sent(message),
            ClientEvent::DeviceAdded { name, at } => {
                let json = || json!({"event": "device_added", "name": name, "at": at.as_millis()});
                Ok(self.form.print(json, || {
                    format!("-- a new device was added to your account: {}", printable(name))
                })?)
            }
            event => self.see_group(session, event),
        }
    }

    /// What has to do with who is in a chat.
    fn see_group(&self, session: &Session, event: &ClientEvent) -> Result<(), CliError> {
        match event {
            ClientEvent::MembersChanged(change) => self.members(session, change),
            ClientEvent::Unreadable { chat, seq, sender, why } => {
                self.unreadable(session, *chat, *seq, *sender, *why)
            }
            ClientEvent::Gone { chat, by } => self.gone(session, *chat, *by),
            // What another process of this profile has begun.
            ClientEvent::GroupDone { chat, missing } => self.note(
                *chat,
                || {
                    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
                    json!({"event": "group_done", "chat": chat.to_string(), "missing": missing})
                },
                || Some("the change of the group's members is done".into()),
            ),
            ClientEvent::GroupFailed { chat, why } => self.note(
                *chat,
                || {
                    let why = words::failure(*why);
                    json!({"event": "group_failed", "chat": chat.to_string(), "reason": why})
                },
                || Some(format!("the group's members are as they were: {}", words::failure(*why))),
            ),
            ClientEvent::Unreachable { chat } => self.note(
                *chat,
                || json!({"event": "unreachable", "chat": chat.to_string()}),
                || Some("nothing can be said yet: no device of the other can be encrypted for".into()),
            ),
            ClientEvent::WelcomeUnreadable { chat } => self.note(
                *chat,
                || json!({"event": "welcome_unreadable", "chat": chat.to_string()}),
                || Some("this device was added to a chat in a way that it cannot read".into()),
            ),
            _ => Ok(()),
        }
    }

    /// Whether an own message was told of by the `send` that sent it, and only now comes back from the server.
    fn was_told(&mut self, session: &Session, m: &Message) -> Result<bool, CliError> {
        let mine = Some(m.sender) == self.me && !self.sent.remove(&m.client_msg_id);
        Ok(mine && session.profile.db.is_shown(m.chat, m.seq)?)
    }

    fn show(&mut self, session: &mut Session, m: &Message, live: bool) -> Result<(), CliError> {
        if self.is_full() || self.command.chat.is_some_and(|chat| chat != m.chat) {
            return Ok(());
        }
        let mine = Some(m.sender) == self.me;
        let name = if live && !mine {
            self.ask_name(session, m.sender)?
        } else {
            session.profile.db.name(m.sender)?
        };
        let text = text_of(&m.content);
        let latency_us = sent_at_us(&m.content).filter(|_| live).map(|at| micros_now().saturating_sub(at));
        self.form.print(
            || {
                json!({
                    "event": "message", "chat": m.chat.to_string(), "seq": m.seq.0, "from": m.sender.to_string(),
                    "from_name": name, "mine": mine, "text": text, "at": m.at.as_millis(),
                    "client_msg_id": m.client_msg_id.to_string(), "latency_us": latency_us,
                })
            },
            || {
                let who = match (mine, &name) {
                    (true, _) => "me".to_owned(),
                    (false, Some(name)) => printable(name),
                    (false, None) => m.sender.to_string(),
                };
                format!("{} {who}: {}", clock(m.at), printable(&text))
            },
        )?;
        session.profile.db.mark_shown(m.chat, m.seq)?;
        if self.command.read && !mine {
            session.client.mark_read(m.chat, m.seq, now());
        }
        self.printed += 1;
        Ok(())
    }

    /// What a sender is called. Somebody new is looked for among the chats once.
    fn ask_name(&mut self, session: &mut Session, sender: AccountId) -> Result<Option<String>, CliError> {
        let known = session.profile.db.name(sender)?;
        if known.is_some() || !session.client.is_ready() || !self.nameless.insert(sender) {
            return Ok(known);
        }
        match all_chats(session, NAME_TIMEOUT) {
            Ok(_) => Ok(session.profile.db.name(sender)?),
            Err(CliError::Unreachable { .. } | CliError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Who is in a chat has changed; of one of two, people are told only where a later device begins to read.
    fn members(&self, session: &Session, change: &MembersChange) -> Result<(), CliError> {
        let joined = self.me.is_some_and(|me| change.added.contains(&me));
        let ids = |accounts: &[AccountId]| accounts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let json = || {
            json!({
                "event": "members", "chat": change.chat.to_string(), "seq": change.seq.0, "joined": joined,
                "by": change.by.to_string(), "added": ids(&change.added), "removed": ids(&change.removed),
                "at": change.at.as_millis(),
            })
        };
        self.note(change.chat, json, || self.scene(session, change.chat, |scene| scene.change(change)))
    }

    fn unreadable(
        &self,
        session: &Session,
        chat: ChatId,
        seq: Seq,
        sender: AccountId,
        why: Unreadable,
    ) -> Result<(), CliError> {
        let json = || {
            json!({
                "event": "unreadable", "chat": chat.to_string(), "seq": seq.0, "from": sender.to_string(),
                "why": words::reason_code(why),
            })
        };
        let (at, what) = (WallTime(0), Said::Unreadable(sender, why));
        let notice = Notice { chat, seq, number: 0, at, what };
        self.note(chat, json, || self.scene(session, chat, |scene| scene.words(&notice)))
    }

    fn gone(&self, session: &Session, chat: ChatId, by: AccountId) -> Result<(), CliError> {
        let json = || json!({"event": "gone", "chat": chat.to_string(), "by": by.to_string()});
        let notice = Notice { chat, seq: Seq::ZERO, number: 0, at: WallTime(0), what: Said::Gone(by) };
        self.note(chat, json, || self.scene(session, chat, |scene| scene.words(&notice)))
    }

    fn scene<T>(
        &self,
        session: &Session,
        chat: ChatId,
        say: impl FnOnce(&words::Scene<'_>) -> Option<T>,
    ) -> Option<T> {
        let me = self.me?;
        let is_direct = session.client.peer(chat).is_some();
        let name_of = |account: AccountId| {
            let name = session.profile.db.name(account).ok().flatten();
            name.map_or_else(|| account.to_string(), |name| printable(&name))
        };
        say(&words::Scene { me, is_direct, name_of: &name_of })
    }

    /// Prints what is no message, if it is of a chat that is shown; people are spared what says nothing to them.
    fn note(
        &self,
        chat: ChatId,
        json: impl FnOnce() -> Value,
        text: impl FnOnce() -> Option<String>,
    ) -> Result<(), CliError> {
        if self.command.chat.is_some_and(|only| only != chat) {
            return Ok(());
        }
        if let Form::Json = self.form {
            return Ok(self.form.print(json, String::new)?);
        }
        match text() {
            Some(text) => Ok(self.form.print(|| Value::Null, || format!("-- {text}"))?),
            None => Ok(()),
        }
    }

    fn status(&self, chat: ChatId, cursor: &Cursor) -> Result<(), CliError> {
        if self.command.chat.is_some_and(|only| only != chat) {
            return Ok(());
        }
        let json = || {
            json!({
                "event": "status", "chat": chat.to_string(), "member": cursor.member.to_string(),
                "delivered": cursor.delivered.0, "read": cursor.read.0,
                "delivered_at": cursor.delivered_at.as_millis(), "read_at": cursor.read_at.as_millis(),
            })
        };
        let text = || format!("-- ✓✓ up to {}, read up to {}", cursor.delivered, cursor.read);
        Ok(self.form.print(json, text)?)
    }

    /// With the time from the attempt to connect to the first tick.
    fn sent(&mut self, m: &Message) -> Result<(), CliError> {
        self.sent.insert(m.client_msg_id);
        let tick_ms = self.woken_at.take().map(|at| at.elapsed().as_secs_f64() * 1000.0);
        let json = || {
            json!({
                "event": "sent", "chat": m.chat.to_string(), "client_msg_id": m.client_msg_id.to_string(),
                "seq": m.seq.0, "at": m.at.as_millis(), "tick_ms": tick_ms,
            })
        };
        Ok(self.form.print(json, || format!("{} ✓ {}", clock(m.at), m.seq))?)
    }
}
