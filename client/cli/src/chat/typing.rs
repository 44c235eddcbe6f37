//! The one place that joins typing and presence to `client-core`, which does not have them yet.

use client_core::ClientEvent;
use wire::{AccountId, ChatId};

use crate::session::Session;

/// The user has opened a chat: it hears who types.
pub(super) fn opened(_session: &mut Session, _chat: ChatId, _peer: Option<AccountId>) {
    // joined when client-core has it: session.client.open_chat(chat, peer, now());
}

/// The user has left a chat.
pub(super) fn closed(_session: &mut Session, _chat: ChatId) {
    // joined when client-core has it: session.client.close_chat(chat, now());
}

/// A key was pressed in a chat's message: it throttles and stops by itself.
pub(super) fn key_pressed(_session: &mut Session, _chat: ChatId) {
    // joined when client-core has it: session.client.typing(chat, now());
}

/// Whether the terminal is looked at.
pub(super) fn foreground(_session: &mut Session, _focused: bool) {
    // joined when client-core has it: session.client.set_foreground(focused, now());
}

/// Who began or stopped typing where, if that is what happened.
pub(super) fn heard(_event: &ClientEvent) -> Option<(ChatId, AccountId, bool)> {
    // joined when client-core has it:
    // match *event { ClientEvent::Typing { chat, member, typing } => Some((chat, member, typing)), _ => None }
    None
}

/// Whether a connection attempt has begun.
pub(super) fn is_connecting(_event: &ClientEvent) -> bool {
    // joined when client-core has it: matches!(event, ClientEvent::Connecting)
    false
}
