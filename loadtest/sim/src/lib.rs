//! The whole cluster in one thread and virtual time.
//!
//! [`run`] plays one seed: three nodes of two loops each (real `edge-proto` nodes on real QUIC endpoints) over one
//! simulated store, and four people with four to six phones and real clients, through lost datagrams, cut connections,
//! late and lost hints, killed processes, commits of which nobody knows whether they happened, addresses that change,
//! loops that stand still, apps in the background and apps that do not read, clocks that are wrong or jump, and first
//! flights that somebody else sends again. What people do comes from [`loadtest_workload`]. The same seed gives the same
//! run, byte for byte. What must always hold is checked while it runs; see [`Violation`]. At the end the faults stop, and
//! everybody must get everything.
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
pub use mutation::Mutation;

pub use plan::Kind;

use plan::Plan;
use world::World;

/// How a seed is played.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long people talk and things go wrong, in virtual time.
    pub storm: Duration,
    /// Within which time after it everybody must have everything.
    pub calm: Duration,
    /// Of which kind every seed is; `None` lets the seed decide.
    pub kind: Option<Kind>,
    /// A mistake that the product's code makes, to see that it is noticed.
    pub mutation: Option<Mutation>,
    /// A promise that the world breaks, to see that it is noticed.
    pub sabotage: Option<Sabotage>,
    /// Keep the whole timeline, and not its end alone.
    pub whole_timeline: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            storm: Duration::from_secs(30),
            calm: Duration::from_secs(120),
            kind: None,
            mutation: None,
            sabotage: None,
            whole_timeline: false,
        }
    }
}

/// A promise that the world around the code under test breaks. What the code itself may break is a [`Mutation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The store says "committed" of an append, now and then, and throws it away.
    DropAcked,
    /// A device loses an entry, now and then, that it said it would keep.
    ForgetfulDisk,
    /// What is appended early is appended without a look whether it was before.
    BlindEarly,
    /// An app is not told that it is in the background.
    NeverBackground,
}

/// A seed that was played to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// A checksum of all that happened, and of every datagram: equal for equal runs.
    pub digest: u64,
    /// Virtual time that has passed.
    pub lasted: Duration,
    /// Datagrams sent, and of them lost.
    pub datagrams: (u64, u64),
    /// What kind of seed it was.
    pub kind: Kind,
    /// What happened how often.
    pub counts: Counts,
    /// All that happened, if it was asked for.
    pub timeline: Vec<String>,
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
    /// The end of the timeline, or all of it: a line for each thing that happened, who said what to whom.
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
        write!(f, "again, from the beginning: cargo xtask sim --first {} --seeds 1 --timeline", self.seed)
    }
}

/// Plays one seed.
///
/// # Errors
/// [`Failure`]: a promise was broken.
pub fn run(seed: u64, options: &Options) -> Result<Report, Box<Failure>> {
    let _mistake = mutation::Planted::new(options.mutation);
    let plan = Plan::new(seed, options);
    let mut world = World::new(seed, &plan, options);
    let played = world
        .open(&plan)
        .and_then(|()| world.storm(&plan, options.storm))
        .and_then(|()| world.calm(&plan, options.calm));
    let out = &mut world.out;
    match played {
        Ok(()) => {
            out.timeline.mix(&out.network.digest().to_le_bytes());
            Ok(Report {
                seed,
                digest: out.timeline.digest(),
                lasted: out.time.since_start(),
                datagrams: out.network.counts(),
                kind: plan.kind,
                counts: out.counts,
                timeline: if options.whole_timeline { out.timeline.tail() } else { Vec::new() },
            })
        }
        Err(violation) => {
            let (at, timeline) = (out.time.since_start(), out.timeline.tail());
            Err(Box::new(Failure { seed, at, violation, timeline }))
        }
    }
}
