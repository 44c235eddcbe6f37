//! The network without IO: hosts, addresses, and the packets under way, in order of their time.
//!
//! Invariant: a packet goes along its sender's path up, is routed when it leaves that, and goes along its receiver's path
//! down. What is due at the same time leaves in the order in which it was decided.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::counters::{Counters, NatCounters, Totals};
use crate::nat::Nat;
use crate::packet::Packet;
use crate::path::{Direction, Fate, Path};
use crate::settings::Settings;

#[derive(Debug)]
pub(crate) struct Router {
    seed: u64,
    hosts: Vec<HostState>,
    /// Who has an address that others can send to.
    routes: BTreeMap<Ipv4Addr, usize>,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    serial: u64,
    pub(crate) totals: Totals,
}

#[derive(Debug)]
struct HostState {
    address: Ipv4Addr,
    up: Path,
    down: Path,
    nat: Option<Nat>,
}

#[derive(Debug)]
struct UnderWay {
    due: Instant,
    serial: u64,
    host: usize,
    direction: Direction,
    packet: Packet,
}

/// A packet for a host's device.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) host: usize,
    pub(crate) due: Instant,
    pub(crate) packet: Packet,
}

/// Somebody has that address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken;

impl Router {
    pub(crate) fn new(seed: u64) -> Router {
        Router {
            seed,
            hosts: Vec::new(),
            routes: BTreeMap::new(),
            under_way: BinaryHeap::new(),
            serial: 0,
            totals: Totals::default(),
        }
    }

    /// How many hosts there are; the next one's number.
    pub(crate) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    pub(crate) fn attach(&mut self, address: Ipv4Addr) -> Result<usize, Taken> {
        self.must_be_free(address)?;
        let host = self.hosts.len();
        let path = |direction| Path::new(self.seed, host, direction);
        let (up, down) = (path(Direction::Up), path(Direction::Down));
        self.hosts.push(HostState { address, up, down, nat: None });
        self.routes.insert(address, host);
        Ok(host)
    }

    pub(crate) fn path(&mut self, host: usize, direction: Direction) -> &mut Path {
        let host = &mut self.hosts[host];
        match direction {
            Direction::Up => &mut host.up,
            Direction::Down => &mut host.down,
        }
    }

    pub(crate) fn set(&mut self, host: usize, direction: Direction, settings: Settings) {
        self.path(host, direction).set(settings);
    }

    /// The host's own address, which others do not see if it is behind a NAT.
    pub(crate) fn address(&self, host: usize) -> Ipv4Addr {
        self.hosts[host].address
    }

    /// Another address for a host; behind a NAT, its inside address.
    pub(crate) fn change_address(&mut self, host: usize, new: Ipv4Addr) -> Result<(), Taken> {
        if self.hosts[host].nat.is_none() {
            self.reroute(host, new)?;
        }
        self.hosts[host].address = new;
        Ok(())
    }

    /// Puts a host behind a new NAT. Its own address is no longer one that others can send to.
    pub(crate) fn put_behind_nat(
        &mut self,
        host: usize,
        public: Ipv4Addr,
        idle: Option<Duration>,
    ) -> Result<(), Taken> {
        self.reroute(host, public)?;
        self.hosts[host].nat = Some(Nat::new(public, idle));
        Ok(())
    }

    /// Another public address for a host's NAT; false if it is behind none.
    pub(crate) fn move_to(&mut self, host: usize, public: Ipv4Addr) -> Result<bool, Taken> {
        if self.hosts[host].nat.is_none() {
            return Ok(false);
        }
        self.reroute(host, public)?;
        if let Some(nat) = &mut self.hosts[host].nat {
            nat.move_to(public);
        }
        Ok(true)
    }

    /// The host's NAT forgets all mappings; false if it is behind none.
    pub(crate) fn rebind(&mut self, host: usize) -> bool {
        let nat = &mut self.hosts[host].nat;
        if let Some(nat) = nat {
            nat.rebind();
        }
        nat.is_some()
    }

    pub(crate) fn counters(&mut self, host: usize, direction: Direction, now: Instant) -> Counters {
        self.path(host, direction).counters(now)
    }

    pub(crate) fn nat_counters(&self, host: usize) -> Option<NatCounters> {
        self.hosts[host].nat.as_ref().map(Nat::counters)
    }

    /// Takes what a host's device gave. Times must not go backwards, here and in
    /// [`poll_delivery`](Router::poll_delivery) together.
    pub(crate) fn handle_packet(&mut self, host: usize, bytes: Vec<u8>, now: Instant) {
        match Packet::parse(bytes) {
            Some(packet) => self.enter(host, Direction::Up, packet, now),
            None => self.totals.foreign += 1,
        }
    }

    /// The next packet that is due for a device by now.
    pub(crate) fn poll_delivery(&mut self, now: Instant) -> Option<Delivery> {
        while self.next_due()? <= now {
            let Reverse(UnderWay { due, host, direction, packet, .. }) = self.under_way.pop()?;
            self.path(host, direction).leave(due, packet.bytes().len());
            match direction {
                Direction::Up => self.route(host, packet, due),
                Direction::Down => return Some(Delivery { host, due, packet }),
            }
        }
        None
    }

    /// When the next packet reaches the end of a path.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse(first)| first.due)
    }

    /// A packet comes to the beginning of a path.
    fn enter(&mut self, host: usize, direction: Direction, packet: Packet, now: Instant) {
        let fate = self.path(host, direction).decide(now, packet.bytes().len(), packet.protocol());
        let Fate::Passed { due, is_duplicated, .. } = fate else { return };
        let copy = is_duplicated.then(|| packet.clone());
        for packet in [Some(packet), copy].into_iter().flatten() {
            let serial = self.serial;
            self.serial += 1;
            self.under_way.push(Reverse(UnderWay { due, serial, host, direction, packet }));
        }
    }

    /// A packet is between two hosts, and public.
    fn route(&mut self, from: usize, mut packet: Packet, now: Instant) {
        if let Some(nat) = &mut self.hosts[from].nat
            && !nat.go_out(&mut packet, now)
        {
            return;
        }
        let Some(&to) = self.routes.get(&packet.destination()) else {
            self.totals.unroutable += 1;
            return;
        };
        if let Some(nat) = &mut self.hosts[to].nat
            && !nat.come_in(&mut packet, now)
        {
            return;
        }
        self.enter(to, Direction::Down, packet, now);
    }

    fn reroute(&mut self, host: usize, address: Ipv4Addr) -> Result<(), Taken> {
        let state = &self.hosts[host];
        let old = state.nat.as_ref().map_or(state.address, Nat::public);
        if address != old {
            self.must_be_free(address)?;
        }
        self.routes.remove(&old);
        self.routes.insert(address, host);
        Ok(())
    }

    fn must_be_free(&self, address: Ipv4Addr) -> Result<(), Taken> {
        if self.routes.contains_key(&address) { Err(Taken) } else { Ok(()) }
    }
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &UnderWay) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for UnderWay {}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &UnderWay) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnderWay {
    fn cmp(&self, other: &UnderWay) -> std::cmp::Ordering {
        (self.due, self.serial).cmp(&(other.due, other.serial))
    }
}

#[cfg(test)]
mod tests;
