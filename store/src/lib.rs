//! Durable truth: an ordered log per chat, and cursors into it.

pub mod ephemeral;
pub mod keys;
pub mod op;
