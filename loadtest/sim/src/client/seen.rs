//! What a person sees on its phone, and its registration.

use std::time::Duration;

use client_core::{Ask, Client, ClientEvent, MembersChange, Now};
use wire::content::Content;
use wire::event::Event;
use wire::request::{self, Request};
use wire::{InstallId, RequestId, Secret};

use super::{SimClient, name};
use crate::check::Violation;
use crate::outside::Outside;

impl SimClient {
    fn phone(&self) -> String {
        format!("+4915100000{:02}", self.phone.person)
    }

    pub(super) fn notice(&mut self, out: &mut Outside, event: ClientEvent) -> Result<(), Violation> {
        let (user, who) = (self.user, name(self.user));
        match event {
            ClientEvent::Connected { took, early } => {
                out.counts.connected += 1;
                out.say(format_args!("{who} is connected after {} ms, early: {early}", took.as_millis()));
                if self.identity().is_some() {
                    self.ready_since = Some(out.time.since_start());
                }
                self.register(out)?;
            }
            ClientEvent::Disconnected { reason, retry_in } => {
                out.counts.disconnected += 1;
                self.ready_since = None;
                if reason == "entries are missing" || reason == "entries of the inbox are missing" {
                    return Err(Violation::LeftOut { user });
                }
                let ms = retry_in.as_millis();
                out.say(format_args!("{who} lost the connection ({reason}), again in {ms} ms"));
                if self.only_moves {
                    return Err(Violation::LostByMoving { user, reason });
                }
            }
            ClientEvent::Sent(message) => {
                out.counts.acked += 1;
                out.checker.acked(user, &message);
                let chat = out.checker.chat_name(message.chat).to_owned();
                out.say(format_args!("{who} sees one tick at {chat} {}: {}", message.seq, said(&message)));
            }
            ClientEvent::Arrived(message) => {
                let chat = out.checker.chat_name(message.chat).to_owned();
                let sender = out.checker.account_name(message.sender);
                out.say(format_args!("{who} gets {chat} {} from {sender}: {}", message.seq, said(&message)));
            }
            ClientEvent::Delayed { refusal, .. } => {
                out.counts.delayed += 1;
                out.say(format_args!("{who} is told to wait: {}", refusal.code.text()));
            }
            ClientEvent::Failed { refusal, .. } => {
                out.say(format_args!("{who}'s message is refused: {}", refusal.code.text()));
            }
            ClientEvent::Unreadable { .. }
            | ClientEvent::WelcomeUnreadable { .. }
            | ClientEvent::StorageFailed { .. } => {
                return Err(Violation::Undone { user, what: format!("{event:?}") });
            }
            ClientEvent::Gone { chat, by } => {
                out.counts.gone += 1;
                let (chat, by) = (out.checker.chat_name(chat).to_owned(), out.checker.account_name(by));
                out.say(format_args!("{who} is out of {chat}, by {by}"));
            }
            ClientEvent::MembersChanged(MembersChange { chat, by, added, removed, .. }) => {
                let (chat, by) = (out.checker.chat_name(chat).to_owned(), out.checker.account_name(by));
                let names = |accounts: &[wire::AccountId]| -> Vec<_> {
                    accounts.iter().map(|account| out.checker.account_name(*account)).collect()
                };
                let line = format!(
                    "{who} sees {chat} change: {by} has added {:?}, removed {:?}",
                    names(&added),
                    names(&removed)
                );
                out.say(format_args!("{line}"));
            }
            ClientEvent::Unreachable { chat } => {
                out.counts.unreachable += 1;
                let line = format!("{who} can say nothing in {} yet", out.checker.chat_name(chat));
                out.say(format_args!("{line}"));
            }
            ClientEvent::GroupDone { chat, missing } => {
                out.counts.plans += 1;
                let line =
                    format!("{who} is done with {}, but for {}", out.checker.chat_name(chat), missing.len());
                out.say(format_args!("{line}"));
            }
            ClientEvent::GroupFailed { chat, why } => {
                let line = format!("{who} fails with {}: {why:?}", out.checker.chat_name(chat));
                out.say(format_args!("{line}"));
            }
            ClientEvent::LoginNeeded(_) => return Err(Violation::LoggedOut { user }),
            ClientEvent::Replaced => {
                out.counts.replaced += 1;
                self.replaced = true;
                self.ready_since = None;
                out.say(format_args!("{who} was replaced by another connection of the same device"));
            }
            ClientEvent::Answer { events, .. } => self.answered(out, &events)?,
            ClientEvent::Asleep => {
                out.counts.asleep += 1;
                self.ready_since = None;
                out.say(format_args!("{who}'s app sleeps"));
                if let Some(running) = &mut self.running {
                    running.asleep = Some(out.time.instant());
                }
            }
            ClientEvent::Typing { chat, member, typing } => {
                out.checker.typing_seen(user, chat, member)?;
                out.counts.typing_shown += u64::from(typing);
                let member = out.checker.account_name(member);
                out.say(format_args!("{who} sees that {member} types: {typing}"));
            }
            ClientEvent::Connecting
            | ClientEvent::Synced
            | ClientEvent::DeviceAdded { .. }
            | ClientEvent::Passed { .. } => {}
            ClientEvent::Cursor { chat, cursor } => {
                let (chat, member) = (out.checker.chat_name(chat), out.checker.account_name(cursor.member));
                let (delivered, read) = (cursor.delivered, cursor.read);
                let line = format!("{who} sees {member} in {chat} at {delivered}, read {read}");
                out.say(format_args!("{line}"));
            }
        }
        Ok(())
    }

    /// Registers with its person's number, if it has not begun to. After a failure it is another request.
    pub(super) fn register(&mut self, out: &mut Outside) -> Result<(), Violation> {
        let (id, mut request) = ([self.user as u8 + 1; 16], [self.user as u8 + 1; 16]);
        request[..8].copy_from_slice(&self.registrations.to_le_bytes());
        let register = request::Register {
            phone: Secret::new(self.phone()),
            name: loadtest_workload::name(self.phone.person).into_owned(),
            install: InstallId::new(id),
            request: RequestId::new(request),
        };
        match &mut self.running {
            Some(running) if self.disk.login().is_none() && !running.asked => running.asked = true,
            _ => return Ok(()),
        }
        self.with_later(out, |client, now| {
            client.ask(Ask::Plain(Request::Register(register)), now);
        });
        Ok(())
    }

    fn answered(&mut self, out: &mut Outside, events: &[Event]) -> Result<(), Violation> {
        match events {
            &[Event::Registered { registration, .. }] => {
                let otp =
                    out.texts.get(&self.phone()).cloned().ok_or(Violation::NoCode { user: self.user })?;
                let (otp, device_name) = (Secret::new(otp), "phone".to_owned());
                self.with_later(out, |client, now| {
                    client.ask(Ask::Verify { registration, otp, device_name }, now);
                });
                Ok(())
            }
            [Event::Verified(_)] => {
                out.counts.late_phones += u64::from(self.is_late);
                out.say(format_args!("{} is a device of its account", name(self.user)));
                Ok(())
            }
            // While things go wrong it may be refused; people try again.
            _ if self.is_late => {
                self.registrations += 1;
                self.registers_at = Some(out.time.instant() + Duration::from_secs(1));
                if let Some(running) = &mut self.running {
                    running.asked = false;
                }
                Ok(())
            }
            _ => {
                out.say(format_args!("{events:?}"));
                Err(Violation::NotRegistered { user: self.user })
            }
        }
    }

    /// As `with`, within a drain: its loop takes the outputs.
    fn with_later(&mut self, out: &Outside, f: impl FnOnce(&mut Client, Now)) {
        let now = self.now(out);
        if let Some(running) = &mut self.running {
            f(&mut running.client, now);
        }
    }
}

/// What a message says, as far as a line has room: its words say who wrote it and how many came before.
fn said(message: &client_core::Message) -> String {
    match Content::decode(&message.content) {
        Ok(Content::Text(text)) => text.text.chars().take(24).collect(),
        _ => "nothing readable".into(),
    }
}
