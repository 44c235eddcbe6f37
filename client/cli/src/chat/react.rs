//! What keys do to the state.

use wire::ChatId;

use super::editor::{Editor, TEXT_BYTES_MAX, TooLong};
use super::keys::{Input, Key};
use super::layout::input_columns;
use super::state::{Action, Focus, State};

impl State {
    /// Something came from the terminal.
    pub(super) fn on_input(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Key(key) => self.on_key(key),
            Input::Paste(pasted) => self.on_paste(&pasted),
            Input::Resize(columns, rows) => {
                self.on_resize(columns, rows);
                Vec::new()
            }
            Input::Focus(focused) => {
                self.on_foreground(focused);
                Vec::new()
            }
            Input::Gone => vec![Action::Quit],
        }
    }

    pub(super) fn on_key(&mut self, key: Key) -> Vec<Action> {
        self.changed = true;
        match key {
            Key::Quit => return vec![Action::Quit],
            Key::Redraw => return vec![Action::Redraw],
            _ if self.help => {
                self.help = false;
                return Vec::new();
            }
            Key::Help => {
                self.help = true;
                return Vec::new();
            }
            Key::NewChat => {
                self.number = Some(Editor::with("+".into()));
                return Vec::new();
            }
            _ if self.number.is_some() => return self.on_number_key(key),
            Key::PreviousChat => return self.choose(-1),
            Key::NextChat => return self.choose(1),
            Key::PageUp => self.scroll(self.page()),
            Key::PageDown => self.scroll(-self.page()),
            _ => {
                return match self.focus {
                    Focus::List => self.on_list_key(key),
                    Focus::Message => self.on_message_key(key),
                };
            }
        }
        Vec::new()
    }

    fn on_paste(&mut self, pasted: &str) -> Vec<Action> {
        self.changed = true;
        if let Some(number) = &mut self.number {
            // A number that is too long is none.
            let _ = number.insert(pasted.trim());
            return Vec::new();
        }
        let Some(open) = &mut self.open else { return Vec::new() };
        let taken = open.editor.insert(pasted);
        self.focus = Focus::Message;
        self.typed(taken)
    }

    fn on_number_key(&mut self, key: Key) -> Vec<Action> {
        let Some(number) = &mut self.number else { return Vec::new() };
        match key {
            Key::Esc => self.number = None,
            Key::Enter => {
                let number = number.text().trim().to_owned();
                self.number = None;
                return self.find(&number);
            }
            Key::Char(c) => {
                // A number that is too long is none.
                let _ = number.insert(c.encode_utf8(&mut [0; 4]));
            }
            other => edit(number, other, usize::MAX),
        }
        Vec::new()
    }

    fn on_list_key(&mut self, key: Key) -> Vec<Action> {
        match key {
            Key::Up => self.select(self.selected.saturating_sub(1)),
            Key::Down => self.select(self.selected + 1),
            Key::Home => self.select(0),
            Key::End => self.select(usize::MAX),
            Key::Enter | Key::Right => {
                let chosen = self.chats.get(self.selected).map(|item| item.chat);
                return chosen.map(|chat| self.go_to(chat)).unwrap_or_default();
            }
            Key::Tab | Key::Esc if self.open.is_some() => self.focus = Focus::Message,
            Key::Char('?') => self.help = true,
            Key::Char('n' | '+') => self.number = Some(Editor::with("+".into())),
            _ => {}
        }
        Vec::new()
    }

    fn on_message_key(&mut self, key: Key) -> Vec<Action> {
        let columns = input_columns(self.layout().input.width);
        let Some(open) = &mut self.open else {
            self.focus = Focus::List;
            return Vec::new();
        };
        match key {
            Key::Tab | Key::Esc => self.focus = Focus::List,
            Key::Enter => return self.send(),
            Key::Char(c) => {
                let taken = open.editor.insert(c.encode_utf8(&mut [0; 4]));
                return self.typed(taken);
            }
            Key::Newline => {
                let taken = open.editor.insert("\n");
                return self.typed(taken);
            }
            Key::Up if !open.editor.up(columns) => self.scroll(1),
            Key::Down if !open.editor.down(columns) => self.scroll(-1),
            Key::Up | Key::Down => {}
            other => {
                let before = open.editor.text().len();
                edit(&mut open.editor, other, columns);
                if open.editor.text().len() != before {
                    return self.typed(Ok(()));
                }
            }
        }
        Vec::new()
    }

    /// The message has changed.
    fn typed(&mut self, taken: Result<(), TooLong>) -> Vec<Action> {
        if taken.is_err() {
            self.on_notice(format!("too long: a message has at most {TEXT_BYTES_MAX} bytes of text"));
        }
        self.open_chat().map(Action::Typed).into_iter().collect()
    }

    fn send(&mut self) -> Vec<Action> {
        let Some(open) = &mut self.open else { return Vec::new() };
        let text = open.editor.text().trim_end();
        if let Some(number) = text.strip_prefix("/new ").filter(|number| !number.contains('\n')) {
            let number = number.trim().to_owned();
            open.editor.clear();
            return self.find(&number);
        }
        if text.trim().is_empty() {
            return Vec::new();
        }
        let (chat, text) = (open.lines.chat, text.to_owned());
        let peer = self.item(chat).and_then(|item| item.peer);
        vec![Action::Send { chat, peer, text }]
    }

    fn find(&mut self, number: &str) -> Vec<Action> {
        match wire::Phone::parse(number) {
            Ok(_) => {
                self.on_notice(format!("looking for {number} …"));
                vec![Action::Find(number.to_owned())]
            }
            Err(_) => {
                self.on_notice("a phone number is '+', country code and number, like +4915112345678");
                Vec::new()
            }
        }
    }

    fn select(&mut self, to: usize) {
        self.selected = to.min(self.chats.len().saturating_sub(1));
    }

    /// The chat above or below: chosen, and opened if one was being written in.
    fn choose(&mut self, step: isize) -> Vec<Action> {
        self.select(self.selected.saturating_add_signed(step));
        let chosen = self.chats.get(self.selected).map(|item| item.chat);
        match chosen {
            Some(chat) if self.focus == Focus::Message && self.open_chat() != Some(chat) => self.go_to(chat),
            _ => Vec::new(),
        }
    }

    /// Opens a chat, or goes back to it. What was written in the other one stays there.
    pub(super) fn go_to(&mut self, chat: ChatId) -> Vec<Action> {
        self.focus = Focus::Message;
        self.changed = true;
        if let Some(place) = self.chats.iter().position(|item| item.chat == chat) {
            self.selected = place;
        }
        if self.open_chat() == Some(chat) {
            return Vec::new();
        }
        let mut actions = Vec::new();
        if let Some(left) = self.open.take() {
            let (was, draft) = (left.lines.chat, left.editor.text().to_owned());
            if let Some(item) = self.chats.iter_mut().find(|item| item.chat == was) {
                item.draft.clone_from(&draft);
            }
            actions.extend([Action::Draft(was, draft), Action::Close(was)]);
        }
        actions.push(Action::Open(chat));
        actions
    }

    /// Up is positive. What is too far is put right when it is drawn.
    fn scroll(&mut self, rows: isize) {
        if let Some(open) = &mut self.open {
            open.scroll = open.scroll.saturating_add_signed(rows);
        }
    }

    fn page(&self) -> isize {
        isize::try_from(self.layout().chat.height).unwrap_or(1).saturating_sub(2).max(1)
    }
}

/// What the keys of an editor do in any of them.
fn edit(editor: &mut Editor, key: Key, columns: usize) {
    match key {
        Key::Left => editor.left(),
        Key::Right => editor.right(),
        Key::Home => editor.home(),
        Key::End => editor.end(),
        Key::Up => {
            editor.up(columns);
        }
        Key::Down => {
            editor.down(columns);
        }
        Key::Backspace => editor.backspace(),
        Key::Delete => editor.delete(),
        Key::DeleteWord => editor.delete_word(),
        Key::DeleteToStart => editor.delete_to_start(),
        _ => {}
    }
}
