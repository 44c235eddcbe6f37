//! What users do and what goes wrong, drawn from the seed before the run begins.
//!
//! Which kinds of fault there are differs from seed to seed (swarm testing): a fault that is always there hides what
//! only happens without it.

mod phones;

use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use store::sim::Faults;
use wire_link::testing::{Conditions, EarlyPolicy};

use crate::client::Death;
use crate::node::LOOPS;
use crate::outside::BusConditions;
use crate::replay::Replay;
use crate::world::{NODES, USERS};

/// Something that happens at its time.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// A user sends so many messages to another.
    Say { user: usize, peer: usize, count: usize },
    /// A user reads part of what it has from another.
    Read { user: usize, peer: usize, part: f64 },
    /// A user leaves the network for a while.
    Offline { user: usize, down: Duration },
    /// A user comes back, with a new process if the old one is gone.
    Online { user: usize },
    /// A client's process dies at its next write, and is started after a while.
    Kill { user: usize, death: Death, down: Duration },
    /// Nothing passes between a user and the world.
    Cut { user: usize, down: Duration },
    /// Nothing passes between a node and the world.
    CutNode { node: usize, down: Duration },
    /// A node's process dies and is started after a while; what it remembers of TLS sessions may survive.
    KillNode { node: usize, down: Duration, memory_too: bool, sessions_kept: bool },
    /// A node takes early data, or takes none.
    Early { node: usize, policy: EarlyPolicy },
    /// A node's loop is not run for a while.
    Stall { node: usize, no: usize, down: Duration },
    /// A user's address changes, and the phone knows or does not.
    Move { user: usize, told: bool },
    /// A user puts the app away, or takes it out.
    Look { user: usize, foreground: bool },
    /// A user's clock is wrong from now on: fast and slow.
    Clock { user: usize, wrong: (Duration, Duration) },
    /// A user opens a chat or closes it; if it is of two others, it has no business there.
    Open { user: usize, of: [usize; 2], open: bool },
    /// A user presses a key in a chat.
    Press { user: usize, of: [usize; 2] },
    /// Somebody copies a user's next first flight, and keeps the original from arriving for so long.
    Capture { user: usize, cut: Duration },
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

/// A seed's plan.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Both loops belong to one process, with one batcher and one cache.
    pub(crate) one_process: bool,
    /// Life of an access token, seconds.
    pub(crate) access_token_s: u32,
    /// Nothing is bad but that addresses change.
    pub(crate) only_moves: bool,
    /// Hints that wait for a loop.
    pub(crate) hints_max: usize,
    /// Both nodes remember the same TLS sessions.
    pub(crate) one_memory: bool,
    /// From the end of registration on.
    pub(crate) actions: Vec<(Duration, Action)>,
}

struct Planner {
    rng: ChaCha8Rng,
    storm: Duration,
    /// Connections and processes last, and hints between nodes do not pass: nothing but the sweeper helps.
    steady: bool,
    actions: Vec<(Duration, Action)>,
}

impl Plan {
    /// Draws a plan for a storm of this length.
    pub(crate) fn new(seed: u64, storm: Duration) -> Plan {
        let rng = ChaCha8Rng::seed_from_u64(seed ^ 0x706c_616e);
        let mut planner = Planner { rng, storm, steady: false, actions: Vec::new() };
        let only_moves = planner.rng.random_bool(0.15);
        planner.steady = !only_moves && planner.rng.random_bool(0.2);
        let one_process = planner.rng.random_bool(if planner.steady { 0.8 } else { 0.4 });
        let access_token_s = if planner.rng.random_bool(0.5) { 75 } else { 3600 };
        let hints_max = if planner.rng.random_bool(0.5) { planner.rng.random_range(1..6) } else { 16 * 1024 };
        let one_memory = planner.rng.random_bool(0.4);
        planner.people(only_moves);
        planner.typing();
        planner.addresses(only_moves);
        if !only_moves {
            planner.weather();
            planner.store();
            planner.processes();
            planner.phones();
            planner.early();
        }
        planner.actions.sort_by_key(|&(at, _)| at);
        let actions = planner.actions;
        Plan { one_process, access_token_s, only_moves, hints_max, one_memory, actions }
    }
}

impl Planner {
    /// Draws moments that are `mean` apart.
    fn moments(&mut self, mean: Duration) -> Vec<Duration> {
        let mut moments = Vec::new();
        let mut at = Duration::ZERO;
        loop {
            at += mean.mul_f64(-self.rng.random_range(0.001f64..1.0).ln());
            if at >= self.storm {
                return moments;
            }
            moments.push(at);
        }
    }

    fn add(&mut self, at: Duration, action: Action) {
        self.actions.push((at, action));
    }

    fn user(&mut self) -> usize {
        self.rng.random_range(0..USERS)
    }

    fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(least..most))
    }

    /// Whether this seed has a kind of fault.
    fn has(&mut self) -> bool {
        self.rng.random_bool(0.65)
    }

    /// Whether it has a kind of fault after which clients connect anew, and so find what they lack.
    fn has_breaks(&mut self) -> bool {
        self.has() && !self.steady
    }

    fn pair(&mut self) -> (usize, usize) {
        let user = self.user();
        (user, (user + self.rng.random_range(1..USERS)) % USERS)
    }

    /// In many seeds people fall silent before the faults end: no later message then helps an earlier one.
    fn people(&mut self, only_moves: bool) {
        let talk =
            if self.steady || self.rng.random_bool(0.5) { self.rng.random_range(0.4..0.9) } else { 1.0 };
        let silence = self.storm.mul_f64(talk);
        // In some they say little, so that apps in the background fall asleep.
        let pause = Duration::from_millis(if self.rng.random_bool(0.3) { 3_000 } else { 200 });
        for at in self.moments(pause) {
            let (user, peer) = self.pair();
            if at > silence {
                break;
            }
            let count = if self.rng.random_bool(0.1) { self.rng.random_range(2..12) } else { 1 };
            self.add(at, Action::Say { user, peer, count });
        }
        for at in self.moments(2 * pause) {
            let (user, peer) = self.pair();
            if at > silence {
                break;
            }
            let part = self.rng.random_range(0.3..1.0);
            self.add(at, Action::Read { user, peer, part });
        }
        if self.steady || only_moves {
            return;
        }
        for at in self.moments(Duration::from_secs(6)) {
            let (user, down) = (self.user(), self.between(100, 8_000));
            self.add(at, Action::Offline { user, down });
        }
    }

    fn weather(&mut self) {
        if self.has() {
            for at in self.moments(Duration::from_secs(5)) {
                let weather = Conditions {
                    delay: self.between(1, 120),
                    jitter: self.between(0, 80),
                    loss: self.rng.random_range(0.0..0.15),
                    duplication: self.rng.random_range(0.0..0.1),
                    is_cut: false,
                };
                self.add(at, Action::Weather(weather));
            }
        }
        if self.has_breaks() {
            for at in self.moments(Duration::from_secs(6)) {
                let (user, down) = (self.user(), self.between(50, 12_000));
                self.add(at, Action::Cut { user, down });
            }
        }
        if self.has_breaks() {
            for at in self.moments(Duration::from_secs(20)) {
                let (node, down) = (self.rng.random_range(0..NODES), self.between(50, 8_000));
                self.add(at, Action::CutNode { node, down });
            }
        }
        if self.steady || self.has() {
            let delay_max = self.between(1, 3_000);
            let loss =
                if self.steady || self.rng.random_bool(0.2) { 1.0 } else { self.rng.random_range(0.0..0.6) };
            let duplication = self.rng.random_range(0.0..0.3);
            self.add(Duration::ZERO, Action::Bus(BusConditions { loss, duplication, delay_max }));
        }
    }

    fn store(&mut self) {
        if self.steady || self.has() {
            for at in self.moments(Duration::from_secs(if self.steady { 3 } else { 8 })) {
                let badness = self.rng.random_range(0.0..3.0);
                let faults = Faults {
                    conflict: 0.1 * badness,
                    unknown_committed: if self.steady { 0.5 } else { 0.1 * badness },
                    unknown_lost: 0.1 * badness,
                    old_read_version: 0.2 * badness,
                    busy: 0.03 * badness,
                    delay_max: self.between(0, 20),
                };
                self.add(at, Action::Faults(faults));
            }
        }
        if self.has_breaks() {
            for at in self.moments(Duration::from_secs(12)) {
                self.add(at, Action::CrashStore);
            }
        }
        if self.has_breaks() {
            for at in self.moments(Duration::from_secs(15)) {
                let down = self.between(20, 4_000);
                self.add(at, Action::Reach(false));
                self.add(at + down, Action::Reach(true));
            }
        }
    }

    fn processes(&mut self) {
        if self.has_breaks() {
            for at in self.moments(Duration::from_secs(5)) {
                let death = if self.rng.random_bool(0.5) { Death::BeforeWrite } else { Death::AfterWrite };
                let (user, down) = (self.user(), self.between(10, 5_000));
                self.add(at, Action::Kill { user, death, down });
            }
        }
        if self.has() {
            for at in self.moments(Duration::from_secs(2)) {
                let (node, no) = (self.rng.random_range(0..NODES), self.rng.random_range(0..LOOPS));
                let down = self.between(2, 800);
                self.add(at, Action::Stall { node, no, down });
            }
        }
        if self.has_breaks() {
            for at in self.moments(Duration::from_secs(10)) {
                let (node, down) = (self.rng.random_range(0..NODES), self.between(10, 5_000));
                let (memory_too, sessions_kept) = (self.rng.random_bool(0.5), self.rng.random_bool(0.5));
                self.add(at, Action::KillNode { node, down, memory_too, sessions_kept });
            }
        }
    }
}
