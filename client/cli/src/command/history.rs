//! `godwit history` and `info`.

use clap::Args;
use client_core::Message;
use serde_json::json;
use wire::event::{Cursor, Entry, Event};
use wire::request::{self, Request};
use wire::{AccountId, ChatId, Seq, WallTime, limits};

use super::{Common, all_chats, find};
use crate::error::CliError;
use crate::output::{Form, clock, printable, text_of, ticks};
use crate::session::Session;
use crate::words;

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
    /// At most so many entries, 1 to 500: messages, and what else has a place in the log.
    #[arg(long, value_name = "N", default_value_t = limits::HISTORY_PAGE_DEFAULT, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Only entries before this place.
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

/// One place of a log, as this device has it.
struct Place<'a> {
    chat: ChatId,
    entry: &'a Entry,
    /// The message, if there is one that this device has read.
    text: Option<String>,
    /// What it is else: for scripts, for people.
    other: (&'static str, String),
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
        // What the server has is read here, and only what came in its place can be.
        session.catch_up(self.common.timeout())?;
        self.learn_names(&mut session, &entries)?;
        for place in places(&session, chat, &entries)? {
            self.show(&session, &place, &members)?;
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

    /// As many pages as it takes: the server ends one early when its entries are large.
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

    fn show(&self, session: &Session, place: &Place<'_>, members: &[Cursor]) -> Result<(), CliError> {
        let form = self.common.form();
        let me = session.client.identity().map(|(account, _)| account);
        let entry = place.entry;
        let name = session.profile.db.name(entry.sender)?;
        let mine = me == Some(entry.sender);
        let is_message = place.text.is_some();
        let ticks =
            |form: Form| me.filter(|_| mine && is_message).map(|me| ticks(form, entry.seq, me, members));
        form.print(
            || {
                json!({
                    "chat": place.chat.to_string(), "seq": entry.seq.0, "from": entry.sender.to_string(), "from_name": name,
                    "kind": if is_message { "message" } else { place.other.0 },
                    "mine": mine, "text": place.text, "at": entry.at.as_millis(), "ticks": ticks(form),
                    "client_msg_id": entry.client_msg_id.to_string(),
                })
            },
            || {
                let Some(text) = &place.text else {
                    return format!("{} {} -- {}", entry.seq, clock(entry.at), place.other.1);
                };
                let who = match (mine, &name) {
                    (true, _) => "me".to_owned(),
                    (false, Some(name)) => printable(name),
                    (false, None) => entry.sender.to_string(),
                };
                let ticks = ticks(form).map(|ticks| format!("  {ticks}")).unwrap_or_default();
                format!("{} {} {who}: {}{ticks}", entry.seq, clock(entry.at), printable(text))
            },
        )?;
        Ok(())
    }
}

/// What the profile has of each of these entries.
fn places<'a>(session: &Session, chat: ChatId, entries: &'a [Entry]) -> Result<Vec<Place<'a>>, CliError> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(Vec::new()) };
    let db = &session.profile.db;
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let messages = db.page(chat, last.seq.next(), count)?;
    let passed = db.passed(chat, first.seq, last.seq)?;
    let notices = db.notices(chat, Seq(first.seq.0.saturating_sub(1)), last.seq, count)?;
    let joined = db.joined(chat)?;
    let me = session.client.identity().map(|(account, _)| account).unwrap_or(AccountId::new([0; 16]));
    let name_of = |account: AccountId| {
        let name = db.name(account).ok().flatten();
        name.map_or_else(|| account.to_string(), |name| printable(&name))
    };
    let scene = words::Scene { me, is_direct: session.client.peer(chat).is_some(), name_of: &name_of };
    let place = |entry: &'a Entry| {
        let is_it = |message: &&Message| {
            let id = (message.seq, message.sender, message.client_msg_id);
            id == (entry.seq, entry.sender, entry.client_msg_id)
        };
        let message = messages.iter().find(is_it);
        let text = message.map(|message| text_of(&message.content));
        let what = passed.iter().find(|passed| passed.seq == entry.seq).map(|passed| passed.what);
        let notice = notices.iter().find(|notice| notice.seq == entry.seq);
        let said = notice.and_then(|notice| scene.words(notice));
        let other = match what {
            Some(what) => (words::passed_code(what), said.unwrap_or_else(|| words::passed(what))),
            None if entry.seq <= joined => ("before", said.unwrap_or_else(|| words::BEFORE.into())),
            None => ("missing", words::MISSING.into()),
        };
        Place { chat, entry, text, other }
    };
    Ok(entries.iter().map(place).collect())
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
