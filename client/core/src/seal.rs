//! The one place where content is sealed and opened. So far the seal is none: MLS comes with its own issue, and nothing
//! outside this module will notice.

use bytes::Bytes;
use wire::content::Content;
use wire::{ChatId, DecodeError};

/// What a message says, made into what the server carries.
pub fn seal(_chat: ChatId, content: &Content) -> Bytes {
    content.encode()
}

/// What the server carried, made into what a message says.
///
/// # Errors
/// [`DecodeError`]: whoever sent it sent no content of ours. It is shown as unreadable and never wedges a chat.
pub fn open(_chat: ChatId, sealed: &[u8]) -> Result<Content, DecodeError> {
    Content::decode(sealed)
}
