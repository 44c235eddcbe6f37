//! What the state is made of, and what it asks for.

use std::time::Instant;

use wire::{AccountId, ChatId, Seq};

use crate::chat::editor::Editor;
use crate::chat::lines::{Lines, Stamp};

/// Something that the state wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::chat) enum Action {
    /// End.
    Quit,
    /// Draw everything anew.
    Redraw,
    /// Load a chat's newest messages, and hear who types there.
    Open(ChatId),
    /// Hear no more who types there.
    Close(ChatId),
    /// Load a chat's newest messages anew.
    Newest(ChatId),
    /// Load messages before a place.
    Older(ChatId, Seq),
    /// Queue a message.
    Send { chat: ChatId, peer: Option<AccountId>, text: String },
    /// Find a person by number.
    Find(String),
    /// Everything up to here was seen; what was not mine up to the second place is read.
    Saw { chat: ChatId, shown: Seq, read: Seq },
    /// Keep what is written.
    Draft(ChatId, String),
    /// A key was pressed in the message.
    Typed(ChatId),
}

/// What has the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::chat) enum Focus {
    List,
    Message,
}

/// How the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::chat) enum Link {
    Connecting,
    Connected,
    /// The next attempt is at a time; and why.
    Waiting {
        until: Instant,
        why: String,
    },
}

/// A chat of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::chat) struct Item {
    pub(in crate::chat) chat: ChatId,
    pub(in crate::chat) peer: Option<AccountId>,
    pub(in crate::chat) name: Option<String>,
    pub(in crate::chat) unread: u64,
    pub(in crate::chat) read: Seq,
    /// When something was said last.
    pub(in crate::chat) last: Stamp,
    /// What was said last, on one line, and whether it was said here.
    pub(in crate::chat) preview: Option<(String, bool)>,
    /// What is written and not sent, while another chat is open.
    pub(in crate::chat) draft: String,
}

/// The open chat.
#[derive(Debug, Clone)]
pub(in crate::chat) struct Open {
    pub(in crate::chat) lines: Lines,
    pub(in crate::chat) editor: Editor,
    /// Rows that are hidden below.
    pub(in crate::chat) scroll: usize,
    /// The first message that was not read when the chat was opened.
    pub(in crate::chat) unread_from: Option<Seq>,
    /// What was reported by [`Action::Saw`].
    pub(in crate::chat) saw: (Seq, Seq),
}

/// What the last drawing showed of the open chat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::chat) struct Seen {
    /// The newest place that was on the screen, anybody's, and not one's own.
    pub(in crate::chat) shown: Seq,
    pub(in crate::chat) read: Seq,
    /// Whether the first message in memory was on the screen.
    pub(in crate::chat) is_top: bool,
    /// How far it can be scrolled, if that is known.
    pub(in crate::chat) scroll_max: Option<usize>,
}

impl Item {
    pub(in crate::chat) fn new(chat: ChatId, peer: Option<AccountId>) -> Item {
        let (last, read) = (Stamp::default(), Seq::ZERO);
        Item { chat, peer, name: None, unread: 0, read, last, preview: None, draft: String::new() }
    }
}
