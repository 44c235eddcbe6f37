//! What a stream is for. The first frame on a stream decides it, and its opener sends that frame first.

/// The role of one stream, which fixes its priority and what may be said on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Client, bidirectional, the first one: `Hello`, then account-wide events and heartbeats.
    Session,
    /// Client, bidirectional, one request and its answer.
    Request,
    /// Client, bidirectional, one per chat while it is in use, and one for its inbox; acks return on it.
    ChatUp,
    /// Server, unidirectional, one per chat, and one for the inbox, while something is owed in it.
    ChatDown,
}

impl Role {
    /// The stream priority (higher goes first). What a person waits for beats what fills a screen later.
    pub const fn priority(self) -> i32 {
        match self {
            Role::Session => 3,
            Role::ChatUp => 2,
            Role::Request => 1,
            Role::ChatDown => 0,
        }
    }
}
