//! What a node decides, without IO, clocks or randomness of its own.
//!
//! One [`Node`] belongs to one loop. Its driver feeds it [`Input`]s (frames, finished effects, hints from elsewhere) and
//! performs its [`Output`]s; after every input it drains [`Node::poll_output`], and it calls [`Node::handle_timeout`]
//! when [`Node::poll_timeout`] has come. Time is an argument ([`Now`]), randomness a seed.
//!
//! The journey of a message: [`Input::Frame`] -> `command/append.rs` -> [`Output::Perform`] of one store op ->
//! [`Input::Done`] -> the ack, then `fanout.rs` chooses who hears of it and `delivery.rs` carries it.
//!
//! Invariants: an ack leaves only after the store said "committed"; a session owes numbers, not buffers; nothing is
//! read from a connection before its `Hello` is accepted, and early data only appends, moves cursors and reads; every queue here has a bound from [`Limits`] or
//! [`wire::limits`].

mod collect;
mod command;
mod conn;
mod counters;
mod cx;
mod delivery;
mod early;
mod fanout;
mod heads;
mod io;
mod limits;
mod moves;
mod node;
mod presence;
pub mod quic;
mod session;
pub mod sweeper;
mod timers;
mod token;

pub use counters::{ByCode, Counters, Timing};
pub use fanout::Hint;
pub use io::{Effect, EffectError, EffectOutput, Input, LinkId, Now, OpId, Output, Sms, StreamId};
pub use limits::{Limits, Rates};
pub use node::{Node, NodeConfig, Stats};
pub use token::{KeyError, KeyMaterial, Keys, TokenKey};
