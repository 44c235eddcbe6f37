//! The one place that joins typing and the state of the connection to `client-core`.
//!
//! A terminal that loses the focus is not in the background as an application on a phone is: whoever works in another
//! window wants to hear that a message came. So the focus decides what counts as read, and the connection stays.

use client_core::ClientEvent;
use wire::{AccountId, ChatId};

use crate::session::{Session, now};

/// The user has opened a chat: it hears who types.
pub(super) fn opened(session: &mut Session, chat: ChatId, peer: Option<AccountId>) {
    session.client.open_chat(chat, peer, now());
}

/// The user has left a chat.
pub(super) fn closed(session: &mut Session, chat: ChatId) {
    session.client.close_chat(chat, now());
}

/// A key was pressed in a chat's message: it throttles and stops by itself.
pub(super) fn key_pressed(session: &mut Session, chat: ChatId) {
    session.client.typing(chat, now());
}

/// Who began or stopped typing where, if that is what happened.
pub(super) fn heard(event: &ClientEvent) -> Option<(ChatId, AccountId, bool)> {
    match *event {
        ClientEvent::Typing { chat, member, typing } => Some((chat, member, typing)),
        _ => None,
    }
}

/// Whether a connection attempt has begun.
pub(super) fn is_connecting(event: &ClientEvent) -> bool {
    matches!(event, ClientEvent::Connecting)
}
