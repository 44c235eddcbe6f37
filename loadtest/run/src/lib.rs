//! The workload on real QUIC: a real node in a process of its own, and many phones in this one.
//!
//! [`Server`] is the node, [`Fleet`] the phones: real clients of `client-core` on few sockets, what they keep in memory.
//! [`Play`] plays the workload of `loadtest-workload` on them under an [`Oracle`], `bench` measures. Arrivals are open-loop and every latency counts from the moment that was
//! planned, so a stall is in the figures of all that it held up.
//!
//! Invariant: a run in which a message was lost, doubled or reordered has no figures.

pub mod bench;
pub mod fleet;
pub mod oracle;
pub mod play;
pub mod server;
mod texts;

pub use fleet::{Fleet, FleetError, Happened, JoinError, Target};
pub use oracle::{Oracle, Violation};
pub use play::{Play, PlayError, Played};
pub use server::{Metrics, Server, ServerError};
