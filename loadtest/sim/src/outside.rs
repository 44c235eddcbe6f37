//! What nodes and clients share: time, the network, the bus between nodes, tasks, and the record of what happened.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_proto::{EffectError, EffectOutput, Hint, OpId};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use store::Store;
use store::ephemeral::memory::Memory;
use store::op::Swept;
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
    /// A sweeper has looked at one shard; `None` if the store did not answer.
    Swept { process: usize, store: SimStore, shard: u8, swept: Option<Swept> },
    /// A sweeper has cleared what it had looked at, or tried to.
    Cleared { process: usize, store: SimStore, next: u8 },
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
            if self.bus.post(self.time.instant(), &mut self.rng, to, hint) {
                self.counts.hints_lost += 1;
            }
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

/// Hints under way between nodes: lost, repeated, late and out of order.
pub(crate) struct Bus {
    pub(crate) conditions: BusConditions,
    under_way: BTreeMap<(Instant, u64), (usize, Hint)>,
    posted: u64,
}

impl Default for Bus {
    fn default() -> Self {
        Bus { conditions: BusConditions::GOOD, under_way: BTreeMap::new(), posted: 0 }
    }
}

impl Bus {
    /// True if the hint was lost.
    fn post(&mut self, now: Instant, rng: &mut ChaCha8Rng, to: usize, hint: &Hint) -> bool {
        if rng.random_bool(self.conditions.loss) {
            return true;
        }
        let copies = if rng.random_bool(self.conditions.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = self.conditions.delay_max.mul_f64(rng.random_range(0.0..1.0));
            self.under_way.insert((now + delay, self.posted), (to, hint.clone()));
            self.posted += 1;
        }
        false
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|(&(at, _), _)| at)
    }

    pub(crate) fn arrived(&mut self, now: Instant) -> VecDeque<(usize, Hint)> {
        let mut arrived = VecDeque::new();
        while self.next_arrival().is_some_and(|at| at <= now) {
            arrived.extend(self.under_way.pop_first().map(|(_, hint)| hint));
        }
        arrived
    }
}
