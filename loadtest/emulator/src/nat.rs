//! A NAT in front of one host, without IO: RFC 4787's endpoint-independent mapping, and anybody may answer.
//!
//! Invariant: a public port of a protocol belongs to at most one inside socket, and the other way round; ports are given
//! out upwards, so that no port comes back soon after its mapping was forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::counters::NatCounters;
use crate::packet::{End, Packet, Transport};

/// Mappings of one NAT at a time; the oldest goes for a new one.
pub const MAPPINGS_MAX: usize = 4096;

const PORTS: RangeInclusive<u16> = 20_000..=59_999;

/// The host's side of a mapping.
type Inside = (Transport, SocketAddrV4);

#[derive(Debug)]
pub(crate) struct Nat {
    public: Ipv4Addr,
    idle: Option<Duration>,
    by_inside: BTreeMap<Inside, Mapping>,
    by_port: BTreeMap<(Transport, u16), Inside>,
    /// Each inside socket that has a mapping, once, oldest first.
    by_age: VecDeque<Inside>,
    next_port: u16,
    counters: NatCounters,
}

#[derive(Debug)]
struct Mapping {
    port: u16,
    used_at: Instant,
}

impl Nat {
    /// A mapping is forgotten once it was not used for `idle`, in either direction.
    pub(crate) fn new(public: Ipv4Addr, idle: Option<Duration>) -> Nat {
        Nat {
            public,
            idle,
            by_inside: BTreeMap::new(),
            by_port: BTreeMap::new(),
            by_age: VecDeque::new(),
            next_port: *PORTS.start(),
            counters: NatCounters::default(),
        }
    }

    pub(crate) fn public(&self) -> Ipv4Addr {
        self.public
    }

    /// Another public address; mappings keep their ports.
    pub(crate) fn move_to(&mut self, public: Ipv4Addr) {
        self.public = public;
    }

    /// Forgets every mapping. Ports that were given out do not come back before all others were.
    pub(crate) fn rebind(&mut self) {
        self.by_inside.clear();
        self.by_port.clear();
        self.by_age.clear();
    }

    pub(crate) fn counters(&self) -> NatCounters {
        NatCounters { mappings: self.by_inside.len(), ..self.counters }
    }

    /// Gives a packet of the host a public source; false if it cannot go out.
    pub(crate) fn go_out(&mut self, packet: &mut Packet, now: Instant) -> bool {
        let Some(inside) = packet.socket(End::Source) else {
            self.counters.untranslatable += 1;
            return false;
        };
        let port = self.map(inside, now);
        packet.rewrite(End::Source, SocketAddrV4::new(self.public, port));
        true
    }

    /// Gives a packet to the public address its inside destination; false if it has none.
    pub(crate) fn come_in(&mut self, packet: &mut Packet, now: Instant) -> bool {
        let Some((transport, public)) = packet.socket(End::Destination) else {
            self.counters.untranslatable += 1;
            return false;
        };
        let idle = self.idle;
        let inside = self.by_port.get(&(transport, public.port()));
        let mapping = inside.and_then(|inside| Some((*inside, self.by_inside.get_mut(inside)?)));
        match mapping {
            Some(((_, address), mapping)) if !mapping.is_idle(idle, now) => {
                mapping.used_at = now;
                packet.rewrite(End::Destination, address);
                true
            }
            _ => {
                self.counters.unmapped += 1;
                false
            }
        }
    }

    /// The public port of an inside socket.
    fn map(&mut self, inside: Inside, now: Instant) -> u16 {
        match self.by_inside.get_mut(&inside) {
            Some(mapping) if !mapping.is_idle(self.idle, now) => {
                mapping.used_at = now;
                return mapping.port;
            }
            // Forgotten, but for its place among the ages.
            Some(mapping) => {
                self.by_port.remove(&(inside.0, mapping.port));
            }
            None => {
                if self.by_age.len() >= MAPPINGS_MAX {
                    self.evict();
                }
                self.by_age.push_back(inside);
            }
        }
        let port = self.free_port(inside.0);
        self.by_port.insert((inside.0, port), inside);
        self.by_inside.insert(inside, Mapping { port, used_at: now });
        port
    }

    fn evict(&mut self) {
        let Some(oldest) = self.by_age.pop_front() else { return };
        if let Some(mapping) = self.by_inside.remove(&oldest) {
            self.by_port.remove(&(oldest.0, mapping.port));
        }
        self.counters.evicted += 1;
    }

    /// There is one: ports are ten times as many as mappings.
    fn free_port(&mut self, transport: Transport) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = if port == *PORTS.end() { *PORTS.start() } else { port + 1 };
            if !self.by_port.contains_key(&(transport, port)) {
                return port;
            }
        }
    }
}

impl Mapping {
    fn is_idle(&self, idle: Option<Duration>, now: Instant) -> bool {
        idle.is_some_and(|idle| now.saturating_duration_since(self.used_at) >= idle)
    }
}

#[cfg(test)]
mod tests;
