//! What the keyboard says, in the words of the chat.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Something from the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// A key.
    Key(Key),
    /// A whole paste.
    Paste(String),
    /// So many columns and rows now.
    Resize(u16, u16),
    /// Whether the terminal is looked at.
    Focus(bool),
    /// There is no terminal any more.
    Gone,
}

/// A key, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    PageUp,
    PageDown,
    /// The chat above, or below, whatever has the focus.
    PreviousChat,
    NextChat,
    Tab,
    Enter,
    Newline,
    Esc,
    Backspace,
    Delete,
    DeleteWord,
    DeleteToStart,
    NewChat,
    Help,
    Redraw,
    Quit,
}

/// What the help shows.
pub(super) const HELP: [(&str, &str); 14] = [
    ("↑ ↓", "choose a chat; move in a message"),
    ("Ctrl-P Ctrl-N", "the chat above, below"),
    ("Enter", "open the chat; send the message"),
    ("Alt-Enter Ctrl-J", "a new line in the message"),
    ("Tab", "list or message"),
    ("Esc", "back"),
    ("PgUp PgDn", "older, newer messages"),
    ("Ctrl-T, n", "a new chat, by number"),
    ("/new +49151…", "the same, as a message"),
    ("Ctrl-A Ctrl-E", "start, end of the line"),
    ("Ctrl-W Ctrl-U", "delete a word, to the start"),
    ("Ctrl-L", "draw everything anew"),
    ("F1 ?", "these keys"),
    ("Ctrl-C Ctrl-Q", "quit; nothing is lost"),
];

/// Reads one event of the terminal; `None` if it means nothing here.
pub(super) fn read(event: Event) -> Option<Input> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => read_key(key).map(Input::Key),
        Event::Paste(text) => Some(Input::Paste(text)),
        Event::Resize(columns, rows) => Some(Input::Resize(columns, rows)),
        Event::FocusGained => Some(Input::Focus(true)),
        Event::FocusLost => Some(Input::Focus(false)),
        Event::Key(_) | Event::Mouse(_) => None,
    }
}

fn read_key(key: KeyEvent) -> Option<Key> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    Some(match key.code {
        KeyCode::Char(c) if control && !alt => return read_control(c),
        KeyCode::Char(c) if !alt || control => Key::Char(c),
        KeyCode::Enter if alt || key.modifiers.contains(KeyModifiers::SHIFT) => Key::Newline,
        KeyCode::Enter => Key::Enter,
        KeyCode::Backspace if alt || control => Key::DeleteWord,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Tab | KeyCode::BackTab => Key::Tab,
        KeyCode::Esc => Key::Esc,
        KeyCode::F(1) => Key::Help,
        _ => return None,
    })
}

fn read_control(c: char) -> Option<Key> {
    Some(match c.to_ascii_lowercase() {
        'a' => Key::Home,
        'b' => Key::Left,
        'c' | 'q' => Key::Quit,
        'd' => Key::Delete,
        'e' => Key::End,
        'f' => Key::Right,
        'h' => Key::Backspace,
        'j' => Key::Newline,
        'l' => Key::Redraw,
        'n' => Key::NextChat,
        'p' => Key::PreviousChat,
        't' => Key::NewChat,
        'u' => Key::DeleteToStart,
        'w' => Key::DeleteWord,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Option<Input> {
        read(Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn r1_keys_mean_what_the_help_says() {
        use KeyModifiers as M;
        let table = [
            (KeyCode::Enter, M::NONE, Some(Key::Enter)),
            (KeyCode::Enter, M::ALT, Some(Key::Newline)),
            (KeyCode::Char('j'), M::CONTROL, Some(Key::Newline)),
            (KeyCode::Char('c'), M::CONTROL, Some(Key::Quit)),
            (KeyCode::Char('ש'), M::NONE, Some(Key::Char('ש'))),
            (KeyCode::Char('A'), M::SHIFT, Some(Key::Char('A'))),
            (KeyCode::Char('@'), M::CONTROL | M::ALT, Some(Key::Char('@'))),
            (KeyCode::Char('x'), M::ALT, None),
            (KeyCode::Char('k'), M::CONTROL, None),
            (KeyCode::F(1), M::NONE, Some(Key::Help)),
            (KeyCode::F(2), M::NONE, None),
            (KeyCode::BackTab, M::SHIFT, Some(Key::Tab)),
        ];
        for (code, modifiers, expected) in table {
            assert_eq!(key(code, modifiers), expected.map(Input::Key), "{code:?} {modifiers:?}");
        }
        assert_eq!(read(Event::FocusLost), Some(Input::Focus(false)));
        assert_eq!(read(Event::Paste("a\nb".into())), Some(Input::Paste("a\nb".into())));
    }
}
