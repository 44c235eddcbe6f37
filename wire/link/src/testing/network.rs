//! An emulated network in virtual time: delay, jitter (and so reordering), loss and duplication, from a seed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What happens to datagrams on their way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// One way.
    pub delay: Duration,
    /// Added to the delay, up to this much; it reorders.
    pub jitter: Duration,
    /// Lost, of 1.
    pub loss: f64,
    /// Delivered twice, of 1.
    pub duplication: f64,
    /// Nothing passes.
    pub is_cut: bool,
}

impl Default for Conditions {
    /// 10 ms each way and nothing bad.
    fn default() -> Self {
        Conditions {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            is_cut: false,
        }
    }
}

/// One datagram under way.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// From where.
    pub from: SocketAddr,
    /// To where.
    pub to: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Datagrams under way, by time of arrival; equal times keep the order of sending.
#[derive(Debug)]
pub struct Network {
    /// May be changed at any time; datagrams under way keep their fate.
    pub conditions: Conditions,
    rng: StdRng,
    under_way: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
    lost: u64,
    /// Numbers the datagrams that are not lost.
    delivered: u64,
    digest: u64,
    filter: Option<Filter>,
}

/// Says of a datagram that is sent whether it is lost.
type IsLost = dyn FnMut(Instant, &Datagram) -> bool;

struct Filter(Box<IsLost>);

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter(..)")
    }
}

impl Network {
    /// A quiet network.
    pub fn new(seed: u64, conditions: Conditions) -> Network {
        Network {
            conditions,
            rng: StdRng::seed_from_u64(seed),
            under_way: BTreeMap::new(),
            sent: 0,
            lost: 0,
            delivered: 0,
            digest: 0,
            filter: None,
        }
    }

    /// From now on every datagram that is sent is shown to `filter`, with the time, and is lost if that says so; the
    /// conditions are for the others.
    pub fn lose_if(&mut self, filter: impl FnMut(Instant, &Datagram) -> bool + 'static) {
        self.filter = Some(Filter(Box::new(filter)));
    }

    /// Sends one datagram.
    pub fn send(&mut self, now: Instant, datagram: Datagram) {
        let conditions = self.conditions;
        self.sent += 1;
        self.digest = datagram.bytes.iter().fold(self.digest, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(7)
        });
        let filtered = self.filter.as_mut().is_some_and(|Filter(is_lost)| is_lost(now, &datagram));
        if filtered || conditions.is_cut || self.rng.random_bool(conditions.loss) {
            self.lost += 1;
            return;
        }
        if self.rng.random_bool(conditions.duplication) {
            let again = datagram.clone();
            self.deliver(now, again);
        }
        self.deliver(now, datagram);
    }

    fn deliver(&mut self, now: Instant, datagram: Datagram) {
        let jitter = self.rng.random_range(0..=self.conditions.jitter.as_micros() as u64);
        let at = now + self.conditions.delay + Duration::from_micros(jitter);
        self.under_way.insert((at, self.delivered), datagram);
        self.delivered += 1;
    }

    /// When the next one arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|(&(at, _), _)| at)
    }

    /// The next one that has arrived by `now`.
    pub fn arrived(&mut self, now: Instant) -> Option<Datagram> {
        (self.next_arrival()? <= now).then(|| self.under_way.pop_first().map(|(_, datagram)| datagram))?
    }

    /// A checksum of every byte that was sent, in order: equal for equal runs.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Datagrams sent, and of them lost.
    pub fn counts(&self) -> (u64, u64) {
        (self.sent, self.lost)
    }
}
