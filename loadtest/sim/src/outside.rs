//! What nodes and clients share: time, the network, the bus between nodes, tasks, and the record of what happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_proto::{EffectError, EffectOutput, Hint, OpId};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use store::Store;
use store::ephemeral::memory::Memory;
use store::op::OpOutput;
use store::testing::VirtualClock;
use wire_link::Endpoint;
use wire_link::testing::{Conditions, Datagram, Network};

use crate::check::{Checker, Violation};
use crate::counts::Counts;
use crate::replay::{Flight, Thief};
use crate::tamper::Tampered;
use crate::tasks::Tasks;
use crate::time::Time;
use crate::timeline::Timeline;

/// A process' store.
pub(crate) type SimStore = Store<Tampered, VirtualClock>;

/// A process' store, and the one that breaks a promise about early data, if that is the test.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) store: SimStore,
    pub(crate) blind: Option<SimStore>,
}

impl Stores {
    /// Where what is said early goes.
    pub(crate) fn for_early(&self) -> SimStore {
        self.blind.as_ref().unwrap_or(&self.store).clone()
    }
}

/// How a task ended.
pub(crate) enum Outcome {
    /// An effect of a node's loop.
    Done { node: usize, no: usize, op: OpId, result: Result<EffectOutput, EffectError> },
    /// A process has opened its store.
    Booted { process: usize, stores: Stores },
    /// A process' sweeper has paused.
    Paused { process: usize },
    /// A process' sweeper has asked its store something; `None` if the store did not answer.
    Swept { process: usize, output: Option<OpOutput> },
}

/// Everything that nodes and clients share.
pub(crate) struct Outside {
    pub(crate) time: Time,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) tasks: Tasks<Outcome>,
    pub(crate) network: Network,
    pub(crate) weather: Conditions,
    /// Whose datagrams are dropped, and until when.
    pub(crate) cuts: BTreeMap<SocketAddr, Instant>,
    pub(crate) bus: Bus,
    pub(crate) thief: Thief,
    /// While somebody listens: a copy of what is sent.
    tap: Option<Flight>,
    /// The first promise that was broken where nothing can be returned.
    pub(crate) broken: Option<Violation>,
    pub(crate) memory: Arc<Memory>,
    /// The last code that was sent to each number.
    pub(crate) texts: BTreeMap<String, String>,
    pub(crate) timeline: Timeline,
    pub(crate) checker: Checker,
    pub(crate) counts: Counts,
}

impl Outside {
    pub(crate) fn new(seed: u64, checker: Checker) -> Outside {
        let weather = Conditions::default();
        Outside {
            time: Time::new(),
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x6f75_7473),
            tasks: Tasks::new(seed ^ 0x7461_736b),
            network: Network::new(seed ^ 0x6e65_7477, weather),
            weather,
            cuts: BTreeMap::new(),
            bus: Bus::default(),
            thief: Thief::default(),
            tap: None,
            broken: None,
            memory: Arc::default(),
            texts: BTreeMap::new(),
            timeline: Timeline::default(),
            checker,
            counts: Counts::default(),
        }
    }

    /// Adds a line to the timeline.
    pub(crate) fn say(&mut self, what: std::fmt::Arguments<'_>) {
        self.timeline.say(self.time.since_start(), what);
    }

    /// A promise was broken. The first counts.
    pub(crate) fn fail(&mut self, violation: Violation) {
        self.broken.get_or_insert(violation);
    }

    /// As [`flush`](Outside::flush), with a copy of what was sent.
    pub(crate) fn flush_copied(&mut self, from: SocketAddr, endpoint: &mut Endpoint) -> Flight {
        self.tap = Some(Vec::new());
        self.flush(from, endpoint);
        self.tap.take().unwrap_or_default()
    }

    /// Sends all that an endpoint has; true if there was something.
    pub(crate) fn flush(&mut self, from: SocketAddr, endpoint: &mut Endpoint) -> bool {
        let now = self.time.instant();
        let mut buf = Vec::new();
        let mut any = false;
        while let Some(transmit) = endpoint.poll_transmit(now, &mut buf) {
            any = true;
            let bytes = buf[..transmit.size].to_vec();
            if let Some(tap) = &mut self.tap {
                tap.push(bytes.clone());
            }
            self.send(Datagram { from, to: transmit.destination, bytes });
        }
        any
    }

    /// Sends one datagram.
    pub(crate) fn send(&mut self, datagram: Datagram) {
        let is_cut = self.is_cut(datagram.from) || self.is_cut(datagram.to);
        self.network.conditions = Conditions { is_cut, ..self.weather };
        self.network.send(self.time.instant(), datagram);
    }

    pub(crate) fn is_cut(&self, address: SocketAddr) -> bool {
        self.cuts.get(&address).is_some_and(|&until| self.time.instant() < until)
    }

    /// Hands a node's hint to the other nodes.
    pub(crate) fn publish(&mut self, from: usize, nodes: usize, hint: &Hint) {
        for to in (0..nodes).filter(|&to| to != from) {
            self.post(from, to, hint);
        }
    }

    /// Puts a hint on the bus from one node to another.
    pub(crate) fn post(&mut self, from: usize, to: usize, hint: &Hint) {
        if self.bus.post(self.time.instant(), &mut self.rng, from, to, hint) {
            self.counts.hints_lost += 1;
        }
    }
}

/// What happens to hints between nodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BusConditions {
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    pub(crate) delay_max: Duration,
}

impl BusConditions {
    pub(crate) const GOOD: BusConditions =
        BusConditions { loss: 0.0, duplication: 0.0, delay_max: Duration::from_millis(2) };
}

/// A link of the bus says at least this often that it is there, and where its numbers are.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// What a node hears on the bus.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    /// A hint.
    Hint(Hint),
    /// By their numbers, hints were lost.
    Gap,
}

/// Hints under way between nodes: lost, repeated, late and out of order. A link numbers its hints, so its end sees from
/// the next one, or from a sign of life in the next second, that some were lost; of a link that carries nothing at all it
/// learns when that is over.
pub(crate) struct Bus {
    conditions: BusConditions,
    under_way: BTreeMap<(Instant, u64), (usize, Heard)>,
    posted: u64,
    /// Nodes that hints were lost for while nothing passed.
    deaf: BTreeSet<usize>,
}

impl Default for Bus {
    fn default() -> Self {
        Bus { conditions: BusConditions::GOOD, under_way: BTreeMap::new(), posted: 0, deaf: BTreeSet::new() }
    }
}

impl Bus {
    /// Changes what happens on it.
    pub(crate) fn set(&mut self, now: Instant, conditions: BusConditions) {
        self.conditions = conditions;
        if conditions.loss < 1.0 {
            for to in std::mem::take(&mut self.deaf) {
                self.carry(now + SIGN_OF_LIFE, to, Heard::Gap);
            }
        }
    }

    fn carry(&mut self, at: Instant, to: usize, what: Heard) {
        self.under_way.insert((at, self.posted), (to, what));
        self.posted += 1;
    }

    /// True if the hint was lost.
    fn post(&mut self, now: Instant, rng: &mut ChaCha8Rng, from: usize, to: usize, hint: &Hint) -> bool {
        debug_assert_ne!(from, to);
        if rng.random_bool(self.conditions.loss) {
            if self.conditions.loss < 1.0 {
                self.carry(now + self.conditions.delay_max + SIGN_OF_LIFE, to, Heard::Gap);
            } else {
                self.deaf.insert(to);
            }
            return true;
        }
        let copies = if rng.random_bool(self.conditions.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = self.conditions.delay_max.mul_f64(rng.random_range(0.0..1.0));
            self.carry(now + delay, to, Heard::Hint(hint.clone()));
        }
        false
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|(&(at, _), _)| at)
    }

    pub(crate) fn arrived(&mut self, now: Instant) -> VecDeque<(usize, Heard)> {
        let mut arrived = VecDeque::new();
        while self.next_arrival().is_some_and(|at| at <= now) {
            arrived.extend(self.under_way.pop_first().map(|(_, hint)| hint));
        }
        arrived
    }
}
