//! Traffic that means harm, against a real node: noise and damaged datagrams ([`datagrams`]), wrong frames in right
//! connections ([`frames`]), floods of newcomers ([`flood`]), handshakes that are begun and dripped ([`slow_loris`]).
//!
//! Each attack is a function that blocks its thread until its [`Dose`] is used up, from sockets that it binds in the
//! network namespace which that thread is in, and returns a report of what it did and what it was answered. What a
//! node must do meanwhile (go on, serve the honest, count what it refuses) is for whoever starts the attack to watch.
//!
//! Invariants: the seed decides what is said, as far as it does not depend on what the node answers and when; memory does
//! not grow with the dose; nothing is sent to anybody but the [`Target`]'s server.

mod datagrams;
mod dose;
mod error;
mod flood;
mod frames;
mod mutate;
mod slow_loris;
mod tally;
mod target;
mod victim;
mod wrong;

pub use datagrams::{Datagrams, DatagramsReport, datagrams};
pub use dose::Dose;
pub use error::HostileError;
pub use flood::{Flood, FloodReport, flood};
pub use frames::{Frames, FramesReport, frames};
pub use mutate::Kind;
pub use slow_loris::{SlowLoris, SlowLorisReport, slow_loris};
pub use tally::{Answers, Ends, Tally};
pub use target::{Identity, Target};
pub use victim::VictimReport;
pub use wrong::FrameKind;
