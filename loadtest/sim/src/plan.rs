//! What people do and what goes wrong, drawn from the seed before the run begins.
//!
//! People come from [`loadtest_workload`]. Which kinds of fault there are differs from seed to seed (swarm testing): a
//! fault that is always there hides what only happens without it.

mod faults;
mod groups;

use std::time::Duration;

use loadtest_workload::{Act, Shape};
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use store::sim::Faults;
use wire_link::testing::{Conditions, EarlyPolicy};

use crate::Options;
use crate::client::Death;
use crate::outside::BusConditions;
use crate::replay::Replay;
use crate::world::USERS;

pub(crate) use self::groups::GroupAct;

/// Something that happens at its time.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// A person does something with a phone.
    Act { phone: usize, act: Act },
    /// A person does something with a group.
    Group { phone: usize, act: GroupAct },
    /// A phone comes back, with a new process if the old one is gone.
    Online { phone: usize },
    /// An app is in the foreground again.
    Look { phone: usize },
    /// A chat is closed on a phone.
    Close { phone: usize, of: [usize; 2] },
    /// A key is pressed.
    Press { phone: usize, of: [usize; 2] },
    /// A client's process dies at its next write, and is started after a while.
    Kill { phone: usize, death: Death, down: Duration },
    /// An app does not read what has come for it.
    Dawdle { phone: usize, down: Duration },
    /// Nothing passes between a phone and the world.
    Cut { phone: usize, down: Duration },
    /// Nothing passes between a node and the world.
    CutNode { node: usize, down: Duration },
    /// A node's process dies and is started after a while; what it remembers of TLS sessions may survive.
    KillNode { node: usize, down: Duration, memory_too: bool, sessions_kept: bool },
    /// A node takes early data, or takes none.
    Early { node: usize, policy: EarlyPolicy },
    /// A node's loop is not run for a while.
    Stall { node: usize, no: usize, down: Duration },
    /// A node's wall clock jumps, to so much ahead.
    NodeClock { node: usize, skew: Duration },
    /// A phone's address changes, and it knows or does not.
    Move { phone: usize, told: bool },
    /// A phone's clock is wrong from now on: fast and slow.
    Clock { phone: usize, wrong: (Duration, Duration) },
    /// Somebody copies a phone's next first flight, and keeps the original from arriving for so long.
    Capture { phone: usize, cut: Duration },
    /// A copied flight is sent again.
    Replay(Replay),
    /// A node's process starts.
    Boot { process: usize },
    /// The network changes.
    Weather(Conditions),
    /// The store changes.
    Faults(Faults),
    /// The store's process dies and is back at once.
    CrashStore,
    /// The store cannot be reached, or can again.
    Reach(bool),
    /// The bus between the nodes changes.
    Bus(BusConditions),
}

/// What kind of seed it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing is bad but that addresses change: no connection may be lost.
    OnlyMoves,
    /// Nothing is bad at all, but phones come and go: nobody may wait for the sweeper.
    Gentle,
    /// Connections and processes last, and hints between nodes do not pass: nothing but the sweeper helps.
    Steady,
    /// Anything.
    Stormy,
}

/// A seed's plan.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    /// All nodes' loops belong to one process, with one batcher and one cache.
    pub(crate) one_process: bool,
    /// Second phones are added while things go wrong, and not before.
    pub(crate) late_phones: bool,
    /// Life of an access token, seconds.
    pub(crate) access_token_s: u32,
    /// Hints that wait for a loop.
    pub(crate) hints_max: usize,
    /// Effects that a node has in work at most, but for a few that never wait.
    pub(crate) effects_max: usize,
    /// All nodes remember the same TLS sessions.
    pub(crate) one_memory: bool,
    /// From the end of registration on.
    pub(crate) actions: Vec<(Duration, Action)>,
}

struct Planner {
    rng: ChaCha8Rng,
    storm: Duration,
    kind: Kind,
    phones: usize,
    actions: Vec<(Duration, Action)>,
}

impl Plan {
    /// Draws a plan.
    pub(crate) fn new(seed: u64, options: &Options) -> Plan {
        let storm = options.storm;
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x706c_616e);
        let drawn = match rng.random_range(0..100) {
            0..13 => Kind::OnlyMoves,
            13..28 => Kind::Gentle,
            28..45 => Kind::Steady,
            _ => Kind::Stormy,
        };
        let kind = options.kind.unwrap_or(drawn);
        let shape = shape(&mut rng, storm, kind);
        // A sweeper hints its own process' sessions; for others' there is the bus, of which nothing passes here.
        let one_process = kind == Kind::Steady || rng.random_bool(0.4);
        let access_token_s = if rng.random_bool(0.5) { 75 } else { 3600 };
        let few = match kind {
            Kind::Gentle => None,
            Kind::Steady => Some(1..3),
            _ => rng.random_bool(0.5).then_some(1..6),
        };
        let hints_max = few.map_or(16 * 1024, |few| rng.random_range(few));
        let one_memory = rng.random_bool(0.4);
        let late_phones = rng.random_bool(0.5);
        let busy = kind == Kind::Stormy && rng.random_bool(0.3);
        let effects_max = if busy { rng.random_range(8..40) } else { 100_000 };
        let mut planner = Planner { rng, storm, kind, phones: shape.phones().count(), actions: Vec::new() };
        for phone in shape.phones() {
            let acts = shape.acts(seed, phone);
            planner.actions.extend(acts.map(|(at, act)| (at, Action::Act { phone: phone.number, act })));
        }
        planner.faults();
        planner.groups(seed);
        for phone in USERS..planner.phones {
            if late_phones {
                let at = planner.rng.random_range(Duration::ZERO..storm.mul_f64(0.6));
                planner.actions.push((at, Action::Online { phone }));
            }
        }
        planner.actions.sort_by_key(|&(at, _)| at);
        let actions = planner.actions;
        Plan {
            kind,
            shape,
            one_process,
            late_phones,
            access_token_s,
            hints_max,
            effects_max,
            one_memory,
            actions,
        }
    }
}

/// In many seeds people fall silent before the faults end; in some they say little, so that apps in the background fall
/// asleep.
fn shape(rng: &mut ChaCha8Rng, storm: Duration, kind: Kind) -> Shape {
    let steady = kind == Kind::Steady;
    let talk = if steady || rng.random_bool(0.5) { rng.random_range(0.4..0.9) } else { 1.0 };
    let pause = match kind {
        Kind::Gentle => 3_000,
        _ if rng.random_bool(0.3) => 12_000,
        _ => 800,
    };
    let pause = Duration::from_millis(pause);
    let stays = steady || kind == Kind::OnlyMoves;
    let hides = !stays && kind != Kind::Gentle && rng.random_bool(0.65);
    let (often, long) = if kind == Kind::Gentle { (3, 3) } else { (24, 8) };
    Shape {
        people: USERS,
        second_phones: [0, 0, 1, 2][rng.random_range(0..4)],
        contacts: USERS - 1,
        lasts: storm,
        quiet_after: storm.mul_f64(talk),
        says_every: pause,
        bursts: (0.1, 12),
        reads_every: 2 * pause,
        types_every: rng.random_bool(0.65).then_some(Duration::from_secs(8)),
        snoops: 0.15,
        leaves_every: (!stays).then_some((Duration::from_secs(often), Duration::from_secs(long))),
        hides_every: hides.then_some((Duration::from_secs(16), Duration::from_secs(20))),
    }
}
