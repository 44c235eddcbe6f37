//! The phone's side, without IO: outbox, sync by cursor, receipts, tokens, reconnect.
//!
//! A [`Client`] is fed [`Input`]s and drained of [`Output`]s, as a node is. Time is an argument, randomness a seed. Its
//! owner keeps what [`Output::Persist`] hands it and gives it back at the next start ([`Snapshot`]).
//!
//! The one rule an owner must keep: **what is persisted is durable before any other output of the same drain is
//! performed.** From it follows what users rely on: a message leaves only after it is in the outbox, a delivered
//! cursor moves only after the message is stored, and a crash at any moment loses nothing and doubles nothing.
//!
//! Invariants: order per chat is the order of sending; a message that may still be on its way is never overtaken; the
//! content of messages is opaque here but for [`seal`].

mod backoff;
mod chat;
mod client;
mod held;
mod io;
mod outbox;
pub mod quic;
pub mod seal;
mod tokens;
mod typing;

pub use client::{Client, Config, SendError};
pub use io::{
    Ask, AskId, ChatRow, ClientEvent, Input, Login, Message, Now, OutboxRow, Output, Snapshot, StreamTag,
    Write,
};
pub use outbox::OUTBOX_MAX;
