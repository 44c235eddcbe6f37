//! The whole cluster in one thread and virtual time.
//!
//! [`run`] plays one seed: two nodes of two loops each (real `edge-proto` nodes on real QUIC endpoints) over one simulated
//! store, and four people with real clients, through lost datagrams, cut connections, late and lost hints, killed
//! processes, commits of which nobody knows whether they happened, addresses that change, loops that stand still, apps in
//! the background, clocks that are wrong, and first flights that somebody else sends again. The same seed gives the same run, byte for byte. What must
//! always hold is checked while it runs; see [`Violation`]. At the end the faults stop, and everybody must get
//! everything.
//!
//! Invariants: nothing here reads a clock or draws a random number of its own; everything happens in one thread.

mod check;
mod client;
mod counts;
mod disk;
mod node;
mod outside;
mod plan;
mod replay;
mod tamper;
mod tasks;
mod time;
mod timeline;
mod world;

use std::fmt;
use std::time::Duration;

pub use check::Violation;
pub use counts::Counts;

use plan::Plan;
use world::World;

/// How a seed is played.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long people talk and things go wrong, in virtual time.
    pub storm: Duration,
    /// Within which time after it everybody must have everything.
    pub calm: Duration,
    /// A promise that is broken on purpose, to see that it is noticed.
    pub sabotage: Option<Sabotage>,
}

impl Default for Options {
    fn default() -> Self {
        Options { storm: Duration::from_secs(30), calm: Duration::from_secs(120), sabotage: None }
    }
}

/// A promise that is broken on purpose. Nothing of the code under test is changed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The store keeps no idempotency record.
    ForgetIdempotency,
    /// The store says "committed" of an append, now and then, and throws it away.
    DropAcked,
    /// A device loses an entry, now and then, that it said it would keep.
    ForgetfulDisk,
    /// No hint passes between nodes, and nobody sweeps.
    NoHintsNoSweeper,
    /// Loops do not hand each other the datagrams of connections that have moved.
    NoSteering,
    /// A node believes a replayed first flight, as if its handshake were complete.
    BelieveReplays,
    /// What is appended early is appended without a look whether it was before.
    BlindEarly,
    /// An app is not told that it is in the background.
    NeverBackground,
}

/// A seed that was played to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// A checksum of all that happened, and of every datagram: equal for equal runs.
    pub digest: u64,
    /// Virtual time that has passed.
    pub lasted: Duration,
    /// Datagrams sent, and of them lost.
    pub datagrams: (u64, u64),
    /// Whether nothing happened in it but that people talked and addresses changed.
    pub only_moves: bool,
    /// What happened how often.
    pub counts: Counts,
}

/// A seed that broke a promise. Its `Display` tells how to play it again, and how it came to that.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// When, in virtual time.
    pub at: Duration,
    /// Which promise.
    pub violation: Violation,
    /// The end of the timeline, a line for each thing that happened.
    pub timeline: Vec<String>,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.timeline {
            writeln!(f, "{line}")?;
        }
        let at = self.at.as_secs_f64();
        writeln!(f, "seed {} broke a promise after {at:.3} s: {}", self.seed, self.violation)?;
        write!(f, "again: GODWIT_SIM_SEED={} cargo test -p loadtest-sim --test seeds", self.seed)
    }
}

/// Plays one seed.
///
/// # Errors
/// [`Failure`]: a promise was broken.
pub fn run(seed: u64, options: &Options) -> Result<Report, Box<Failure>> {
    let plan = Plan::new(seed, options.storm);
    let mut world = World::new(seed, &plan, options.sabotage);
    let played =
        world.open().and_then(|()| world.storm(&plan, options.storm)).and_then(|()| world.calm(options.calm));
    let out = &mut world.out;
    match played {
        Ok(()) => {
            out.timeline.mix(&out.network.digest().to_le_bytes());
            Ok(Report {
                seed,
                digest: out.timeline.digest(),
                lasted: out.time.since_start(),
                datagrams: out.network.counts(),
                only_moves: plan.only_moves,
                counts: out.counts,
            })
        }
        Err(violation) => {
            let (at, timeline) = (out.time.since_start(), out.timeline.tail());
            Err(Box::new(Failure { seed, at, violation, timeline }))
        }
    }
}
