//! A thief: somebody on the way who has a client's first flight, and sends it again from elsewhere.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::Rng;

use crate::outside::Outside;
use crate::world::NODES;

/// Flights that the thief keeps, to send them when a node has started again.
const KEPT_MAX: usize = 8;

/// What a client says before it has heard anything, datagram by datagram.
pub(crate) type Flight = Vec<Vec<u8>>;

/// A flight that is to be sent again.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    pub(crate) flight: Flight,
    pub(crate) node: usize,
}

/// What the thief has.
#[derive(Debug, Default)]
pub(crate) struct Thief {
    kept: Vec<Flight>,
    replays: u64,
    /// To be put on the agenda.
    pub(crate) plans: Vec<(Duration, Replay)>,
}

impl Thief {
    /// An address for the next replay.
    pub(crate) fn address(&mut self) -> SocketAddr {
        self.replays += 1;
        SocketAddr::from(([10, 66, 0, 1], 1_000 + (self.replays % 60_000) as u16))
    }
}

/// Whether a thief is there.
pub(crate) fn is_thief(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V4(ip) if ip.octets()[..2] == [10, 66])
}

impl Outside {
    /// The thief has a flight: it will be sent again, soon and late, to the node it was for and to others.
    pub(crate) fn captured(&mut self, flight: Flight, node: usize) {
        for n in 0..3 {
            let after = Duration::from_millis(self.rng.random_range(1..12_000u64 >> (4 * (2 - n))));
            let to = if self.rng.random_bool(0.7) { node } else { self.rng.random_range(0..NODES) };
            self.thief.plans.push((after, Replay { flight: flight.clone(), node: to }));
        }
        if self.thief.kept.len() == KEPT_MAX {
            self.thief.kept.remove(0);
        }
        self.thief.kept.push(flight);
    }

    /// A node has started: it may have forgotten what it had taken.
    pub(crate) fn replay_all(&mut self, node: usize) {
        for flight in self.thief.kept.clone() {
            let after = Duration::from_millis(self.rng.random_range(1..300));
            self.thief.plans.push((after, Replay { flight, node }));
        }
    }
}
