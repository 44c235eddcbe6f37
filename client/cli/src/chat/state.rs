//! Everything that the screen shows, as a function of what happened. Nothing here reads a clock, a terminal or a disk:
//! events come in, [`Action`]s go out, and the view draws what is left.

mod model;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wire::event::Cursor;
use wire::{AccountId, ChatId, ClientMsgId, Seq};

pub(super) use self::model::{Action, Focus, Item, Link, Open, Seen};
use super::editor::Editor;
use super::layout::{Columns, Layout, input_rows, pieces};
use super::lines::{LINES_MAX, Line, Lines, Older};
use super::text;

/// A word about what just happened stays this long.
const NOTICE_TIME: Duration = Duration::from_secs(6);

/// Who types and says no more about it is taken to have stopped.
const TYPING_MAX: Duration = Duration::from_secs(10);

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct State {
    pub(super) me: AccountId,
    pub(super) now: Instant,
    /// The local time now, as in [`Stamp`](super::lines::Stamp).
    pub(super) local_s: i64,
    pub(super) size: (u16, u16),
    /// Newest first.
    pub(super) chats: Vec<Item>,
    pub(super) selected: usize,
    pub(super) focus: Focus,
    pub(super) open: Option<Open>,
    pub(super) link: Link,
    pub(super) outbox: usize,
    pub(super) notice: Option<(String, Instant)>,
    pub(super) help: bool,
    /// The number of a new chat, while it is typed.
    pub(super) number: Option<Editor>,
    /// Whether the terminal is looked at; one that cannot tell is.
    pub(super) is_foreground: bool,
    pub(super) names: BTreeMap<AccountId, String>,
    typing: BTreeMap<(ChatId, AccountId), Instant>,
    /// Whether there is something to draw.
    pub(super) changed: bool,
}

impl State {
    pub(super) fn new(me: AccountId, mut chats: Vec<Item>, now: Instant, size: (u16, u16)) -> State {
        sort(&mut chats);
        State {
            me,
            now,
            local_s: 0,
            size,
            chats,
            selected: 0,
            focus: Focus::List,
            open: None,
            link: Link::Connecting,
            outbox: 0,
            notice: None,
            help: false,
            number: None,
            is_foreground: true,
            names: BTreeMap::new(),
            typing: BTreeMap::new(),
            changed: true,
        }
    }

    // ---- what the view asks ----

    pub(super) fn layout(&self) -> Layout {
        let screen = ratatui::layout::Rect::new(0, 0, self.size.0, self.size.1);
        let typed = self.open.as_ref().map_or("", |open| open.editor.text());
        Layout::of(screen, self.focus == Focus::List, |width| input_rows(typed, width))
    }

    pub(super) fn open_chat(&self) -> Option<ChatId> {
        self.open.as_ref().map(|open| open.lines.chat)
    }

    pub(super) fn item(&self, chat: ChatId) -> Option<&Item> {
        self.chats.iter().find(|item| item.chat == chat)
    }

    /// What somebody is called: a name, or the start of an id.
    pub(super) fn name_of(&self, account: AccountId) -> String {
        self.names.get(&account).cloned().unwrap_or_else(|| short(&account.to_string()))
    }

    /// What a chat is called.
    pub(super) fn title_of(&self, item: &Item) -> String {
        item.name
            .clone()
            .or_else(|| item.peer.map(|peer| self.name_of(peer)))
            .unwrap_or_else(|| short(&item.chat.to_string()))
    }

    /// Who types in a chat, by name.
    pub(super) fn typists(&self, chat: ChatId) -> Vec<String> {
        let here = self.typing.keys().filter(|(typing_in, _)| *typing_in == chat);
        here.map(|&(_, member)| self.name_of(member)).collect()
    }

    /// When something changes by itself.
    pub(super) fn next_change(&self) -> Option<Instant> {
        let second = match &self.link {
            Link::Waiting { until, .. } => {
                let left = until.saturating_duration_since(self.now);
                Some(self.now + Duration::from_millis(u64::from(left.subsec_millis()) + 1))
            }
            Link::Connecting | Link::Connected => None,
        };
        let typing = self.typing.values().map(|&since| since + TYPING_MAX);
        typing.chain(second).chain(self.notice.as_ref().map(|&(_, until)| until)).min()
    }

    // ---- what happens ----

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.next_change().is_none_or(|due| due > now) {
            self.now = now;
            return;
        }
        self.now = now;
        self.changed = true;
        self.typing.retain(|_, since| *since + TYPING_MAX > now);
        self.notice.take_if(|(_, until)| *until <= now);
        if matches!(self.link, Link::Waiting { until, .. } if until <= now) {
            self.link = Link::Connecting;
        }
    }

    /// What the clock on the wall says.
    pub(super) fn on_clock(&mut self, local_s: i64) {
        self.changed |= self.local_s.div_euclid(86_400) != local_s.div_euclid(86_400);
        self.local_s = local_s;
    }

    pub(super) fn on_resize(&mut self, columns: u16, rows: u16) {
        self.size = (columns, rows);
        self.changed = true;
    }

    pub(super) fn on_foreground(&mut self, is_foreground: bool) {
        self.is_foreground = is_foreground;
        self.changed = true;
    }

    pub(super) fn on_link(&mut self, link: Link) {
        if link != Link::Connected {
            self.typing.clear();
        }
        self.changed |= self.link != link;
        self.link = link;
    }

    pub(super) fn on_outbox(&mut self, waiting: usize) {
        self.changed |= self.outbox != waiting;
        self.outbox = waiting;
    }

    pub(super) fn on_notice(&mut self, words: impl Into<String>) {
        self.notice = Some((words.into(), self.now + NOTICE_TIME));
        self.changed = true;
    }

    /// Somebody begins or stops typing.
    pub(super) fn on_typing(&mut self, chat: ChatId, member: AccountId, typing: bool) {
        self.changed = true;
        match typing {
            true if member != self.me => {
                self.typing.insert((chat, member), self.now);
            }
            _ => {
                self.typing.remove(&(chat, member));
            }
        }
    }

    pub(super) fn on_name(&mut self, account: AccountId, name: &str) {
        let name = text::one_line(&text::clean(name));
        for item in self.chats.iter_mut().filter(|item| item.peer == Some(account)) {
            item.name = Some(name.clone());
        }
        self.names.insert(account, name);
        self.changed = true;
    }

    /// A chat that was not in the list, or more about one that is.
    pub(super) fn on_chat(&mut self, new: Item) {
        match self.chats.iter_mut().find(|item| item.chat == new.chat) {
            Some(item) => {
                item.peer = item.peer.or(new.peer);
                item.name = new.name.or(item.name.take());
                item.last = if new.last.at > item.last.at { new.last } else { item.last };
            }
            None => self.chats.push(new),
        }
        self.resort();
    }

    /// A chat's newest messages were loaded: it is the open one.
    pub(super) fn on_opened(&mut self, lines: Lines) {
        let chat = lines.chat;
        let Some(item) = self.chats.iter_mut().find(|item| item.chat == chat) else { return };
        let editor = match self.open.take() {
            Some(open) if open.lines.chat == chat => open.editor,
            _ => Editor::with(std::mem::take(&mut item.draft)),
        };
        let me = self.me;
        let unread = |line: &&Line| line.is_from_others(me) && line.seq().is_some_and(|seq| seq > item.read);
        let unread_from = lines.all().iter().find(unread).and_then(Line::seq);
        let newest = lines.all().iter().rfind(|line| !line.is_notice);
        if let Some(newest) = newest.filter(|line| lines.is_at_end && line.stamp.at >= item.last.at) {
            item.last = newest.stamp;
            item.preview = Some((text::one_line(&newest.text), newest.sender == me));
        }
        let saw = (Seq::ZERO, item.read);
        self.open = Some(Open { lines, editor, scroll: 0, unread_from, saw });
        self.resort();
    }

    /// Older messages were loaded.
    pub(super) fn on_older(&mut self, chat: ChatId, older: Vec<Line>, more: Older) {
        let columns = self.columns();
        let Some(open) = self.open.as_mut().filter(|open| open.lines.chat == chat) else { return };
        open.lines.older = more;
        let gone = open.lines.put_older(older);
        for (n, line) in gone.iter().enumerate() {
            let above = n.checked_sub(1).map_or(open.lines.all().last(), |above| gone.get(above));
            open.scroll = open.scroll.saturating_sub(pieces(above, line, false, columns).len());
        }
        self.changed = true;
    }

    /// A message is safe in the outbox.
    pub(super) fn on_queued(&mut self, chat: ChatId, line: Line) {
        if let Some(open) = self.open.as_mut().filter(|open| open.lines.chat == chat) {
            open.editor.clear();
            open.scroll = 0;
            // Who answers has read.
            open.unread_from = None;
        }
        self.on_message(chat, None, line);
    }

    /// A message arrived, was queued, or is committed.
    pub(super) fn on_message(&mut self, chat: ChatId, peer: Option<AccountId>, line: Line) {
        let mine = line.sender == self.me;
        self.typing.remove(&(chat, line.sender));
        if self.item(chat).is_none() {
            self.on_chat(Item::new(chat, peer));
        }
        let names = &self.names;
        if let Some(item) = self.chats.iter_mut().find(|item| item.chat == chat) {
            if line.stamp.at >= item.last.at {
                item.last = line.stamp;
                item.preview = Some((text::one_line(&line.text), mine));
            }
            item.unread += u64::from(!mine && line.seq().is_some_and(|seq| seq > item.read));
            item.name = item.name.take().or_else(|| item.peer.and_then(|peer| names.get(&peer).cloned()));
        }
        self.put(chat, line);
        self.resort();
    }

    /// Something is to be said between the messages of a chat.
    pub(super) fn on_said(&mut self, chat: ChatId, peer: Option<AccountId>, line: Line) {
        if self.item(chat).is_none() {
            self.on_chat(Item::new(chat, peer));
        }
        self.put(chat, line);
        self.changed = true;
    }

    fn put(&mut self, chat: ChatId, line: Line) {
        let columns = self.columns();
        if let Some(open) = self.open.as_mut().filter(|open| open.lines.chat == chat) {
            let at = open.lines.put(line);
            // Who reads what is older goes on reading it.
            if let Some(at) = at.filter(|_| open.scroll > 0) {
                let all = open.lines.all();
                let above = at.checked_sub(1).map(|above| &all[above]);
                open.scroll += pieces(above, &all[at], false, columns).len();
            }
            open.lines.trim_oldest();
        }
    }

    /// A message was refused for good.
    pub(super) fn on_failed(&mut self, chat: ChatId, id: ClientMsgId, why: &str) {
        if let Some(open) = self.open.as_mut().filter(|open| open.lines.chat == chat) {
            open.lines.fail(id, text::clean(why));
        }
        self.on_notice(format!("a message was refused: {}", text::clean(why)));
    }

    /// A member's cursors moved; how many are unread now, if that member is the user on another device.
    pub(super) fn on_cursor(&mut self, chat: ChatId, cursor: &Cursor, unread: Option<u64>) {
        if let Some(open) = self.open.as_mut().filter(|open| open.lines.chat == chat) {
            open.lines.on_cursor(cursor);
        }
        let mine = cursor.member == self.me;
        if let Some(item) = self.chats.iter_mut().find(|item| item.chat == chat).filter(|_| mine) {
            item.read = item.read.max(cursor.read);
            item.unread = unread.unwrap_or(item.unread);
        }
        self.changed = true;
    }

    /// What the last drawing showed. The terminal's focus decides whether anybody read it.
    pub(super) fn on_seen(&mut self, seen: Seen) -> Vec<Action> {
        let Some(open) = &mut self.open else { return Vec::new() };
        let chat = open.lines.chat;
        let mut actions = Vec::new();
        if let Some(max) = seen.scroll_max.filter(|&max| max < open.scroll) {
            open.scroll = max;
            self.changed = true;
        }
        if seen.is_top && open.lines.older == Older::There {
            open.lines.older = Older::Asked;
            actions.push(Action::Older(chat, open.lines.first_seq().unwrap_or(Seq::ZERO)));
        }
        if open.scroll == 0 && !open.lines.is_at_end {
            actions.push(Action::Newest(chat));
        }
        let saw = (open.saw.0.max(seen.shown), open.saw.1.max(seen.read));
        if self.is_foreground && saw != open.saw {
            open.saw = saw;
            actions.push(Action::Saw { chat, shown: saw.0, read: saw.1 });
            let left =
                |line: &&Line| line.is_from_others(self.me) && line.seq().is_some_and(|seq| seq > saw.1);
            let left = open.lines.all().iter().filter(left).count() as u64;
            if let Some(item) = self.chats.iter_mut().find(|item| item.chat == chat) {
                self.changed |= item.unread != left;
                (item.unread, item.read) = (left, item.read.max(saw.1));
            }
        }
        actions
    }

    /// What is written in the open chat.
    pub(super) fn draft(&self) -> Option<(ChatId, &str)> {
        self.open.as_ref().map(|open| (open.lines.chat, open.editor.text()))
    }

    pub(super) fn columns(&self) -> Columns {
        Columns::of(self.layout().chat.width)
    }

    /// Sorts the list; what was chosen stays chosen.
    fn resort(&mut self) {
        let chosen = self.chats.get(self.selected).map(|item| item.chat);
        sort(&mut self.chats);
        let place = self.chats.iter().position(|item| Some(item.chat) == chosen);
        self.selected = place.unwrap_or(0);
        self.changed = true;
    }
}

fn sort(chats: &mut [Item]) {
    chats.sort_by_key(|item| (std::cmp::Reverse(item.last.at), item.chat));
}

fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

/// Messages that a page has.
pub(super) const PAGE: u32 = 100;
const _: () = assert!((PAGE as usize) < LINES_MAX);

#[cfg(test)]
pub(in crate::chat) mod tests;
