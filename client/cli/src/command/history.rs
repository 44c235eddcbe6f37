//! `godwit history` and `info`.

use clap::Args;
use serde_json::json;
use wire::event::{Cursor, Entry, Event};
use wire::request::{self, Request};
use wire::{ChatId, Seq, WallTime, limits};

use super::{Common, all_chats, find};
use crate::error::CliError;
use crate::output::{Form, clock, printable, text_of, ticks};
use crate::session::Session;

/// See [`super::Command::History`].
#[derive(Debug, Args)]
pub struct History {
    #[command(flatten)]
    common: Common,
    /// This chat.
    #[arg(long, value_name = "ID", required_unless_present = "with", conflicts_with = "with")]
    chat: Option<ChatId>,
    /// The chat with this person.
    #[arg(long, value_name = "NUMBER")]
    with: Option<String>,
    /// At most so many messages, 1 to 500.
    #[arg(long, value_name = "N", default_value_t = limits::HISTORY_PAGE_DEFAULT, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Only messages before this place.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    before: u64,
}

/// See [`super::Command::Info`].
#[derive(Debug, Args)]
pub struct Info {
    #[command(flatten)]
    common: Common,
    /// The chat.
    #[arg(long, value_name = "ID")]
    chat: ChatId,
    /// The message's place in it.
    #[arg(long, value_name = "SEQ")]
    seq: u64,
}

impl History {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut session = self.common.session()?;
        let chat = match (&self.with, self.chat) {
            (Some(phone), _) => find(&mut session, phone, self.common.timeout())?.chat,
            (None, Some(chat)) => chat,
            (None, None) => return Err(CliError::Usage("say --chat ID or --with NUMBER")),
        };
        let (entries, members) = self.pages(&mut session, chat)?;
        self.learn_names(&mut session, &entries)?;
        for entry in &entries {
            self.show(&session, chat, entry, &members)?;
        }
        session.close();
        Ok(())
    }

    /// Names of senders that this profile has not met.
    fn learn_names(&self, session: &mut Session, entries: &[Entry]) -> Result<(), CliError> {
        let me = session.client.identity().map(|(account, _)| account);
        for entry in entries.iter().filter(|entry| Some(entry.sender) != me) {
            if session.profile.db.name(entry.sender)?.is_none() {
                return all_chats(session, self.common.timeout()).map(drop);
            }
        }
        Ok(())
    }

    /// As many pages as it takes: the server ends one early when its messages are large.
    fn pages(&self, session: &mut Session, chat: ChatId) -> Result<(Vec<Entry>, Vec<Cursor>), CliError> {
        let (mut entries, mut before) = (Vec::new(), Seq(self.before));
        loop {
            let limit = self.limit - entries.len() as u16;
            let get = request::GetMessages { chat, limit, before, after: Seq::ZERO };
            let mut events = session.request(Request::GetMessages(get), self.common.timeout())?;
            let Some(Event::Page(page)) = events.pop() else { return Err(CliError::Unexpected) };
            let older = events
                .into_iter()
                .filter_map(|event| if let Event::Entry(entry) = event { Some(entry) } else { None });
            entries.splice(0..0, older);
            before = page.next_cursor;
            if !page.has_more || page.count == 0 || entries.len() >= usize::from(self.limit) {
                return Ok((entries, page.members));
            }
        }
    }

    fn show(
        &self,
        session: &Session,
        chat: ChatId,
        entry: &Entry,
        members: &[Cursor],
    ) -> Result<(), CliError> {
        let form = self.common.form();
        let me = session.client.identity().map(|(account, _)| account);
        let name = session.profile.db.name(entry.sender)?;
        let mine = me == Some(entry.sender);
        let text = text_of(&entry.content);
        let ticks = |form: Form| me.filter(|_| mine).map(|me| ticks(form, entry.seq, me, members));
        form.print(
            || {
                json!({
                    "chat": chat.to_string(), "seq": entry.seq.0, "from": entry.sender.to_string(), "from_name": name,
                    "mine": mine, "text": text, "at": entry.at.as_millis(), "ticks": ticks(form),
                    "client_msg_id": entry.client_msg_id.to_string(),
                })
            },
            || {
                let who = match (mine, &name) {
                    (true, _) => "me".to_owned(),
                    (false, Some(name)) => printable(name),
                    (false, None) => entry.sender.to_string(),
                };
                let ticks = ticks(form).map(|ticks| format!("  {ticks}")).unwrap_or_default();
                format!("{} {} {who}: {}{ticks}", entry.seq, clock(entry.at), printable(&text))
            },
        )?;
        Ok(())
    }
}

impl Info {
    pub(super) fn run(self) -> Result<(), CliError> {
        let events = self.common.ask_once(Request::GetReceipts { chat: self.chat, seq: Seq(self.seq) })?;
        let [Event::Receipts(receipts)] = &events[..] else { return Err(CliError::Unexpected) };
        for receipt in receipts {
            let ms = |at: Option<WallTime>| at.map(WallTime::as_millis);
            let shown = |at: Option<WallTime>| at.map_or("not yet".to_owned(), clock);
            self.common.form().print(
                || {
                    json!({
                        "member": receipt.member.to_string(), "delivered_at": ms(receipt.delivered_at),
                        "read_at": ms(receipt.read_at),
                    })
                },
                || {
                    let (delivered, read) = (shown(receipt.delivered_at), shown(receipt.read_at));
                    format!("{}  delivered {delivered}, read {read}", receipt.member)
                },
            )?;
        }
        Ok(())
    }
}
