//! The phone's side, without IO: outbox, sync by cursor, receipts, tokens, reconnect.
//!
//! A [`Client`] is fed [`Input`]s and drained of [`Output`]s, as a node is. Time is an argument, randomness a seed. Its
//! owner keeps what [`Output::Persist`] hands it and gives it back at the next start ([`Snapshot`]).
//!
//! The one rule an owner must keep: **what is persisted is durable before any other output of the same drain is
//! performed.** From it follows what users rely on: a message leaves only after it is in the outbox, a delivered
//! cursor moves only after the message is stored, and a crash at any moment loses nothing and doubles nothing. Rows of MLS
//! state are persisted like all else, so a ratchet has moved on the disk before what it sealed leaves; what was persisted is
//! read back through a [`Kv`], which answers from the state in which every earlier drain is kept.
//!
//! Invariants: order per chat is the order of sending; a message that may still be on its way is never overtaken; nothing
//! that a person says leaves in the clear. What it says is opaque here: owners use `wire::content`.

mod backoff;
mod chat;
mod client;
mod crypto;
mod group;
mod held;
mod inbox;
mod io;
mod kept;
mod outbox;
mod plan;
pub mod quic;
mod shown;
mod tokens;
mod typing;

pub use client::{Client, Config, GroupError, SendError};
pub use client_crypto::{CONTENT_BYTES_MAX, Kv, ReadError, Row};
pub use io::{Ask, AskId, ClientEvent, GroupFailure, Input, Now, Output, StreamTag};
pub use kept::{
    ChatRow, CommitRow, KeyPackages, Login, MembersChange, MemoryKv, Message, MlsRow, OutboxRow, Passed,
    Publishing, Sealed, Snapshot, Unreadable, Write,
};
pub use outbox::OUTBOX_MAX;
pub use plan::{Plan, PlanRow};
