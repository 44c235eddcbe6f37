//! Durable truth: an ordered log per chat, and cursors into it.

mod buffer;
pub mod ephemeral;
pub mod keys;
pub mod op;
pub mod record;
mod resolver;
pub mod run;
pub mod tx;
