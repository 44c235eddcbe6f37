//! A QUIC connection without IO: typed streams, frames, priorities, on quinn-proto.
//!
//! An [`Endpoint`] is one loop's state: its UDP port and every connection on it, each called a *link*. It is a state
//! machine: datagrams, time and the owner's commands go in; datagrams, events and a deadline come out. A driver
//! (`wire-udp`, or a simulation in virtual time) repeats:
//!
//! 1. [`Endpoint::handle_datagram`] for what arrived, [`Endpoint::handle_timeout`] if [`Endpoint::poll_timeout`] is due;
//! 2. [`Endpoint::poll_event`] until `None`, acting on each event ([`Endpoint::send`], [`Endpoint::pause`], …) before
//!    polling the next;
//! 3. [`Endpoint::poll_transmit`] until `None`, sending each datagram.
//!
//! Invariants: nothing here reads a clock, a socket or ambient randomness, so the same inputs give the same outputs
//! (the keys and the clock of TLS itself are the one exception; the module `testing` replaces them). Every queue has a bound. A stream
//! that its owner does not read is held back by QUIC's flow control and never delays another. The last event of every
//! link is one [`Event::Closed`].

mod cid;
mod config;
mod endpoint;
mod error;
mod event;
mod id;
mod link;
mod newcomers;
mod reassembly;
mod seeded;
mod stream;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;

pub use cid::{CidConfig, Steering};
pub use config::{ClientConfig, ClientCrypto, Config, Secrets, ServerConfig, StreamLimits};
pub use endpoint::{Counters, Endpoint};
pub use error::{ConnectError, OpenError, SendError};
pub use event::{CloseReason, Event};
pub use id::{LinkId, StreamId};
pub use newcomers::NewcomerLimits;

pub use quinn_proto::{ConnectionStats, Dir, EcnCodepoint, Transmit, crypto};
