//! Joins the state to the session and the profile: events become transitions, actions are performed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use client_core::{Ask, AskId, ClientEvent, Message, OutboxRow};
use wire::content::{Content, Text};
use wire::event::Event;
use wire::request::Request;
use wire::{AccountId, ChatId, ErrorCode, Phone, Secret, Seq, WallTime};

use super::keys::Input;
use super::lines::{Line, Lines, Older, Stamp, Standing};
use super::state::{Action, Item, Link, PAGE, Seen, State};
use super::{text, typing};
use crate::error::CliError;
use crate::output::{sent_at_us, text_of};
use crate::session::{Session, micros_now, now};
use crate::words;
use client_db::{Notice, Said, Summary};

/// What is written is kept so long after a key, at most.
const DRAFT_DELAY: Duration = Duration::from_millis(300);

/// Waiting and failed messages of a chat that are shown at most.
const QUEUED_MAX: u32 = 500;

/// What a question was about.
#[derive(Debug)]
enum Pending {
    /// A page of the list of chats.
    Chats,
    /// A person by number.
    Find(String),
}

/// How the loop goes on after an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    Redraw,
    Quit,
}

/// The chat, without its terminal.
pub(super) struct App {
    session: Session,
    state: State,
    pending: BTreeMap<AskId, Pending>,
    /// When to keep what is written.
    draft_due: Option<Instant>,
}

impl App {
    pub(super) fn new(session: Session) -> Result<App, CliError> {
        let me = session.client.identity().map(|(account, _)| account);
        let me = me.ok_or_else(|| CliError::LoginNeeded {
            why: "this profile is not logged in".to_owned(),
            profile: session.profile.dir().to_owned(),
        })?;
        let state = State::new(me, Vec::new(), Instant::now(), (80, 24));
        let mut app = App { session, state, pending: BTreeMap::new(), draft_due: None };
        for summary in app.session.profile.db.summaries(me)? {
            let item = app.item_of(summary)?;
            app.state.on_chat(item);
        }
        app.state.selected = 0;
        app.look_at_clock()?;
        Ok(app)
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn state(&mut self) -> &mut State {
        &mut self.state
    }

    /// When there is something to do without an event.
    pub(super) fn next_change(&self) -> Option<Instant> {
        [self.draft_due, self.state.next_change()].into_iter().flatten().min()
    }

    /// Waits for the network until then at most, and takes what has happened.
    pub(super) fn turn(&mut self, until: Instant) -> Result<(), CliError> {
        let events = self.session.turn(until)?;
        self.state.tick(Instant::now());
        self.look_at_clock()?;
        for event in events {
            self.see(event)?;
        }
        self.state.on_outbox(self.session.client.outbox_len());
        if self.draft_due.is_some_and(|due| due <= Instant::now()) {
            self.keep_draft()?;
        }
        Ok(())
    }

    /// Something came from the terminal.
    pub(super) fn on_input(&mut self, input: Input) -> Result<Next, CliError> {
        self.state.tick(Instant::now());
        let actions = self.state.on_input(input);
        self.perform(actions)
    }

    /// Something was drawn.
    pub(super) fn on_seen(&mut self, seen: Seen) -> Result<(), CliError> {
        let actions = self.state.on_seen(seen);
        self.perform(actions).map(drop)
    }

    /// Keeps what is written, and ends in order.
    pub(super) fn close(mut self) -> Result<(), CliError> {
        let kept = self.keep_draft();
        self.session.close();
        kept
    }

    fn perform(&mut self, actions: Vec<Action>) -> Result<Next, CliError> {
        let mut next = Next::GoOn;
        for action in actions {
            match action {
                Action::Quit => return Ok(Next::Quit),
                Action::Redraw => next = Next::Redraw,
                Action::Open(chat) => {
                    self.load(chat)?;
                    let peer = self.state.item(chat).and_then(|item| item.peer);
                    typing::opened(&mut self.session, chat, peer);
                }
                Action::Close(chat) => typing::closed(&mut self.session, chat),
                Action::Newest(chat) => self.load(chat)?,
                Action::Older(chat, before) => self.load_older(chat, before)?,
                Action::Send { chat, peer, text } => self.send(chat, peer, text)?,
                Action::Find(number) => self.find(&number)?,
                Action::Saw { chat, shown, read } => {
                    self.session.profile.db.mark_shown_up_to(chat, shown)?;
                    self.session.client.mark_read(chat, read, now());
                }
                Action::Draft(chat, text) => self.session.profile.db.set_draft(chat, &text)?,
                Action::Typed(chat) => {
                    self.draft_due.get_or_insert(Instant::now() + DRAFT_DELAY);
                    typing::key_pressed(&mut self.session, chat);
                }
            }
        }
        Ok(next)
    }

    /// The turn that follows puts it on disk before anything else; only then it is shown.
    fn send(&mut self, chat: ChatId, peer: Option<AccountId>, text: String) -> Result<(), CliError> {
        let said = Text { text: text.clone(), sent_at_us: micros_now(), reply_to: None };
        let content = Content::Text(said).encode();
        let id = match self.session.client.send(chat, peer, content, now()) {
            Ok(id) => id,
            Err(error) => {
                self.state.on_notice(error.to_string());
                return Ok(());
            }
        };
        let events = self.session.turn(Instant::now())?;
        let stamp = self.stamp(now().wall)?;
        self.state.on_queued(chat, Line::new(id, self.state.me, &text, stamp, Standing::Waiting));
        self.session.profile.db.set_draft(chat, "")?;
        self.draft_due = None;
        for event in events {
            self.see(event)?;
        }
        self.state.on_outbox(self.session.client.outbox_len());
        Ok(())
    }

    fn keep_draft(&mut self) -> Result<(), CliError> {
        self.draft_due = None;
        match self.state.draft() {
            Some((chat, text)) => Ok(self.session.profile.db.set_draft(chat, text)?),
            None => Ok(()),
        }
    }

    // ---- what happens ----

    fn see(&mut self, event: ClientEvent) -> Result<(), CliError> {
        if let Some((chat, member, typing)) = typing::heard(&event) {
            self.state.on_typing(chat, member, typing);
        }
        if typing::is_connecting(&event) {
            self.state.on_link(Link::Connecting);
        }
        match event {
            ClientEvent::Connected { .. } => self.state.on_link(Link::Connected),
            ClientEvent::Synced => self.ask_chats(None),
            ClientEvent::Disconnected { reason, retry_in } => {
                let why = text::clean(&reason);
                self.state.on_link(Link::Waiting { until: Instant::now() + retry_in, why });
            }
            ClientEvent::Sent(message) | ClientEvent::Arrived(message) => {
                let line = self.line_of(&message)?;
                let is_unknown = line.sender != self.state.me && !self.state.names.contains_key(&line.sender);
                self.state.on_message(message.chat, self.session.client.peer(message.chat), line);
                if is_unknown {
                    self.ask_chats(None);
                }
            }
            ClientEvent::Failed { client_msg_id, chat, refusal } => {
                self.state.on_failed(chat, client_msg_id, &refusal.to_string());
            }
            ClientEvent::Delayed { refusal, .. } => {
                self.state.on_notice(format!("a message waits: {refusal}"));
            }
            ClientEvent::Cursor { chat, cursor } => {
                let me = self.state.me;
                let mine = cursor.member == me;
                let unread = if mine { Some(self.session.profile.db.unread(chat, me)?) } else { None };
                self.state.on_cursor(chat, &cursor, unread);
            }
            ClientEvent::MembersChanged(change) => self.said_of(change.chat)?,
            ClientEvent::Unreadable { chat, .. } | ClientEvent::Gone { chat, .. } => self.said_of(chat)?,
            ClientEvent::GroupFailed { why, .. } => {
                self.state
                    .on_notice(format!("the group's members are as they were: {}", words::failure(why)));
            }
            ClientEvent::Unreachable { .. } => {
                self.state.on_notice("a message waits: no device of the other can be encrypted for yet");
            }
            ClientEvent::WelcomeUnreadable { .. } => {
                self.state.on_notice("this device was added to a chat in a way that it cannot read");
            }
            ClientEvent::DeviceAdded { name, .. } => {
                let name = text::one_line(&text::clean(&name));
                self.state.on_notice(format!("a new device was added to your account: {name}"));
            }
            ClientEvent::Answer { ask, events } => {
                if let Some(pending) = self.pending.remove(&ask) {
                    self.on_answer(pending, events)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_answer(&mut self, pending: Pending, events: Vec<Event>) -> Result<(), CliError> {
        match (pending, &events[..]) {
            (Pending::Chats, [Event::Chats { chats, has_more }]) => {
                for chat in chats {
                    self.on_server_chat(chat)?;
                }
                if let Some(last) = chats.last().filter(|_| *has_more) {
                    self.ask_chats(Some(last.chat));
                }
            }
            (Pending::Find(number), [Event::Found { account, name, chat }]) => {
                self.session.profile.db.learn(Some(&number), *account, name, *chat)?;
                self.found(*account, name, *chat)?;
            }
            (Pending::Find(_), [Event::Refused(refusal)]) if refusal.code == ErrorCode::NotFound => {
                self.state.on_notice("nobody with this number is on this server");
            }
            (Pending::Find(_), [Event::Refused(refusal)]) => self.state.on_notice(refusal.to_string()),
            _ => {}
        }
        Ok(())
    }

    fn on_server_chat(&mut self, chat: &wire::event::Chat) -> Result<(), CliError> {
        let mut item = Item::new(chat.chat, chat.peer.as_ref().map(|(account, _)| *account));
        item.last = self.stamp(chat.last_at)?;
        item.read = chat.read;
        if let Some((account, name)) = &chat.peer {
            if self.state.names.get(account) != Some(name) {
                self.session.profile.db.learn(None, *account, name, chat.chat)?;
            }
            self.state.on_name(*account, name);
            item.name = self.state.names.get(account).cloned();
        }
        if let Some(name) = &chat.name {
            self.session.profile.db.name_group(chat.chat, name)?;
            item.name = Some(text::one_line(&text::clean(name)));
        }
        self.state.on_chat(item);
        Ok(())
    }

    // ---- what is asked ----

    fn ask(&mut self, request: Request, about: Pending) {
        let id = self.session.client.ask(Ask::Plain(request), now());
        self.pending.insert(id, about);
    }

    /// One page after another, once at a time.
    fn ask_chats(&mut self, after: Option<ChatId>) {
        if !self.pending.values().any(|pending| matches!(pending, Pending::Chats)) {
            self.ask(Request::GetChats { after }, Pending::Chats);
        }
    }

    fn find(&mut self, number: &str) -> Result<(), CliError> {
        let phone = Phone::parse(number).map_err(|_| CliError::Usage("this is no phone number"))?;
        if let Some(contact) = self.session.profile.db.contact(phone.expose())? {
            return self.found(contact.account, &contact.name, contact.chat);
        }
        if !self.session.client.is_ready() {
            self.state.on_notice("not connected: somebody new can be looked for only then");
            return Ok(());
        }
        // Only the last one that was asked for opens.
        self.pending.retain(|_, pending| !matches!(pending, Pending::Find(_)));
        let number = phone.expose().to_owned();
        self.ask(Request::Lookup { phone: Secret::new(number.clone()) }, Pending::Find(number));
        Ok(())
    }

    fn found(&mut self, account: AccountId, name: &str, chat: ChatId) -> Result<(), CliError> {
        self.state.notice = None;
        let mut item = Item::new(chat, Some(account));
        item.name = Some(text::one_line(&text::clean(name)));
        self.state.on_chat(item);
        self.state.on_name(account, name);
        let actions = self.state.go_to(chat);
        self.perform(actions).map(drop)
    }

    // ---- what the profile has ----

    fn load(&mut self, chat: ChatId) -> Result<(), CliError> {
        let messages = self.session.profile.db.page(chat, Seq(u64::MAX), PAGE)?;
        let mut lines = self.lines_of(&messages)?;
        let is_all = lines.len() < PAGE as usize;
        let after = lines.first().and_then(Line::seq).filter(|_| !is_all).unwrap_or(Seq::ZERO);
        lines.extend(self.notices(chat, after, Seq(u64::MAX))?);
        for (row, failed) in self.session.profile.db.queued(chat, QUEUED_MAX)? {
            lines.push(self.queued_line(&row, failed)?);
        }
        let cursors = self.session.profile.db.cursors(chat)?;
        self.state.on_opened(Lines::new(chat, lines, cursors));
        Ok(())
    }

    /// What is older is in the profile or nowhere: the server's copy is ciphertext that was read once.
    fn load_older(&mut self, chat: ChatId, before: Seq) -> Result<(), CliError> {
        let stored = self.session.profile.db.page(chat, before, PAGE)?;
        let is_all = stored.len() < PAGE as usize;
        let mut older = self.lines_of(&stored)?;
        let after = older.first().and_then(Line::seq).filter(|_| !is_all).unwrap_or(Seq::ZERO);
        older.extend(self.notices(chat, after, Seq(before.0.saturating_sub(1)))?);
        self.state.on_older(chat, older, if is_all { Older::Nowhere } else { Older::There });
        Ok(())
    }

    fn lines_of(&mut self, messages: &[Message]) -> Result<Vec<Line>, CliError> {
        messages.iter().map(|message| self.line_of(message)).collect()
    }

    /// What is said between the messages of a chat, behind one place and up to another; the newest of it.
    fn notices(&mut self, chat: ChatId, after: Seq, to: Seq) -> Result<Vec<Line>, CliError> {
        let mut lines = Vec::new();
        for notice in self.session.profile.db.notices(chat, after, to, PAGE)? {
            if let Some(words) = self.words(&notice)? {
                let stamp = self.stamp(notice.at)?;
                lines.push(Line::notice(notice.seq, notice.number, &words, stamp));
            }
        }
        Ok(lines)
    }

    fn words(&mut self, notice: &Notice) -> Result<Option<String>, CliError> {
        let people = match &notice.what {
            Said::Members(by, added, removed) => [&[*by][..], added, removed].concat(),
            Said::Gone(by) | Said::Unreadable(by, _) => vec![*by],
        };
        for account in people {
            self.learn_name(account)?;
        }
        let is_direct = self.session.client.peer(notice.chat).is_some();
        let name_of = |account| self.state.name_of(account);
        Ok(words::Scene { me: self.state.me, is_direct, name_of: &name_of }.words(notice))
    }

    /// Something was said between the messages of a chat.
    fn said_of(&mut self, chat: ChatId) -> Result<(), CliError> {
        let is_new = self.state.item(chat).is_none();
        let peer = self.session.client.peer(chat);
        for line in self.notices(chat, Seq::ZERO, Seq(u64::MAX))? {
            self.state.on_said(chat, peer, line);
        }
        if is_new {
            self.ask_chats(None);
        }
        Ok(())
    }

    fn item_of(&mut self, summary: Summary) -> Result<Item, CliError> {
        let mut item = Item::new(summary.chat, summary.peer);
        (item.unread, item.read, item.draft) = (summary.unread, summary.read, summary.draft);
        match (summary.peer, summary.name) {
            (Some(account), Some(name)) => {
                self.state.on_name(account, &name);
                item.name = self.state.names.get(&account).cloned();
            }
            (None, Some(name)) => item.name = Some(text::one_line(&text::clean(&name))),
            (_, None) => {}
        }
        if let Some(last) = &summary.last {
            let line = self.line_of(last)?;
            item.last = line.stamp;
            item.preview = Some((text::one_line(&line.text), line.sender == self.state.me));
        }
        Ok(item)
    }

    fn line_of(&mut self, message: &Message) -> Result<Line, CliError> {
        let sender = message.sender;
        self.learn_name(sender)?;
        let raw = text_of(&message.content);
        let stamp = self.stamp(message.at)?;
        Ok(Line::new(message.client_msg_id, sender, &raw, stamp, Standing::Committed(message.seq)))
    }

    fn learn_name(&mut self, account: AccountId) -> Result<(), CliError> {
        if account != self.state.me
            && !self.state.names.contains_key(&account)
            && let Some(name) = self.session.profile.db.name(account)?
        {
            self.state.on_name(account, &name);
        }
        Ok(())
    }

    fn queued_line(&self, row: &OutboxRow, failed: Option<u16>) -> Result<Line, CliError> {
        let standing = failed.map_or(Standing::Waiting, |code| {
            let why = ErrorCode::from_number(code).map_or("it was refused", ErrorCode::text);
            Standing::Failed(why.to_owned())
        });
        let at = WallTime(sent_at_us(&row.content).unwrap_or(0) / 1000);
        let raw = text_of(&row.content);
        Ok(Line::new(row.client_msg_id, self.state.me, &raw, self.stamp(at)?, standing))
    }

    fn stamp(&self, at: WallTime) -> Result<Stamp, CliError> {
        let seconds = i64::try_from(at.as_millis() / 1000).unwrap_or(i64::MAX / 2);
        Ok(Stamp { at, local_s: seconds.saturating_add(self.session.profile.db.local_offset_s(at)?) })
    }

    fn look_at_clock(&mut self) -> Result<(), CliError> {
        let local_s = self.stamp(now().wall)?.local_s;
        self.state.on_clock(local_s);
        Ok(())
    }
}
