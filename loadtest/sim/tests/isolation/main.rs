//! A stalled chat never delays another (I10, G15), from one end to the other: real clients, a real node, real QUIC state
//! machines, in one thread and virtual time. The stand-in for TLS hides nothing, so the network can lose exactly those
//! datagrams that carry one chat.
//!
//! What the same loss does to chats that share a stream is the control, in `wire/link/tests/isolation.rs`.

mod edge;
mod phone;
mod shared;
mod time;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::keys::direct_chat_id;
use wire::ChatId;
use wire_link::Endpoint;
use wire_link::testing::{Conditions, Datagram, Network};

use crate::edge::Edge;
use crate::phone::Phone;
use crate::shared::{Loss, Shared};
use crate::time::Time;

/// What clients call the node.
pub(crate) const NAME: &str = "localhost";

const ONE_WAY: Duration = Duration::from_millis(20);

/// Who writes to Bob, each in a chat of their own.
const WRITERS: usize = 6;

/// Bob is the first user, the writers follow.
const BOB: usize = 0;

/// The chat that is held up.
const HELD_UP: usize = 0;

/// Sends all that an endpoint has; true if there was something.
pub(crate) fn flush(from: SocketAddr, endpoint: &mut Endpoint, time: &Time, network: &mut Network) -> bool {
    let mut buf = Vec::new();
    let mut any = false;
    while let Some(transmit) = endpoint.poll_transmit(time.instant(), &mut buf) {
        any = true;
        let bytes = buf[..transmit.size].to_vec();
        network.send(time.instant(), Datagram { from, to: transmit.destination, bytes });
    }
    any
}

struct World {
    time: Time,
    network: Network,
    edge: Edge,
    phones: Vec<Phone>,
    shared: Shared,
    /// When each message was written, by chat, in order.
    written: Vec<Vec<Instant>>,
}

impl World {
    /// With everybody registered and connected.
    fn new(seed: u64) -> World {
        let time = Time::new();
        let shared = Shared::default();
        let mut network = Network::new(seed, Conditions { delay: ONE_WAY, ..Conditions::default() });
        let for_network = shared.clone();
        network.lose_if(move |now, datagram| for_network.borrow_mut().is_lost(now, datagram));
        let edge = Edge::new(seed, &time, shared.clone());
        let phones = (0..=WRITERS).map(|user| Phone::new(seed, user as u8, &time)).collect();
        let written = vec![Vec::new(); WRITERS];
        let mut world = World { time, network, edge, phones, shared, written };
        world.run(Duration::from_secs(3));
        assert!(world.phones.iter().all(Phone::is_ready), "everybody is registered");
        world
    }

    fn chat(&self, writer: usize) -> ChatId {
        direct_chat_id(self.phones[BOB].account(), self.phones[writer + 1].account())
    }

    fn write(&mut self, writer: usize) {
        let (chat, bob) = (self.chat(writer), self.phones[BOB].account());
        let number = self.written[writer].len();
        self.written[writer].push(self.time.instant());
        let content = Bytes::from(format!("{number} {}", "x".repeat(80)));
        self.phones[writer + 1].say(&self.time, chat, bob, content);
    }

    /// Everybody writes, `every` so often, one after the other.
    fn talk(&mut self, duration: Duration, every: Duration) {
        let end = self.time.instant() + duration;
        while self.time.instant() < end {
            for writer in 0..WRITERS {
                self.write(writer);
                self.run(every / WRITERS as u32);
            }
        }
    }

    /// Lets this much time pass.
    fn run(&mut self, duration: Duration) {
        let end = self.time.instant() + duration;
        loop {
            self.settle();
            let Some(next) = self.next_moment().filter(|&next| next <= end) else { break };
            self.time.advance_to(next);
            while let Some(datagram) = self.network.arrived(self.time.instant()) {
                if datagram.to == edge::address() {
                    self.edge.datagram(&self.time, &datagram);
                } else if let Some(user) = (0..self.phones.len()).find(|&u| Phone::address(u as u8) == datagram.to) {
                    self.phones[user].datagram(&self.time, &datagram);
                }
            }
        }
        self.time.advance_to(end);
    }

    fn next_moment(&self) -> Option<Instant> {
        let phones = self.phones.iter().filter_map(Phone::next_timer).min();
        let others = [self.edge.next_timer(), self.network.next_arrival(), self.time.next_timer()];
        others.into_iter().flatten().chain(phones).min()
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut any = self.edge.turn(&self.time, &mut self.network);
            for phone in &mut self.phones {
                any |= phone.turn(&self.time, &self.edge, &mut self.network);
            }
            if !any {
                return;
            }
        }
        panic!("somebody talks to itself for ever");
    }

    /// When each message of a chat reached Bob, in order.
    ///
    /// # Panics
    /// If they are not dense and in the order they were written in.
    fn arrivals(&self, writer: usize) -> Vec<Instant> {
        let chat = self.chat(writer);
        let of_chat = self.phones[BOB].arrived.iter().filter(|(_, message)| message.chat == chat);
        of_chat
            .enumerate()
            .map(|(n, (at, message))| {
                assert_eq!(message.seq.0, n as u64 + 1);
                let content = String::from_utf8_lossy(&message.content);
                assert_eq!(content.split(' ').next(), Some(&*n.to_string()));
                *at
            })
            .collect()
    }

    /// How long each message of a chat took that was written in this time.
    fn took(&self, writer: usize, since: Instant, until: Instant) -> Vec<Duration> {
        let arrived = self.arrivals(writer);
        let written = self.written[writer].iter().zip(arrived);
        written.filter(|(at, _)| (since..until).contains(*at)).map(|(at, arrived)| arrived - *at).collect()
    }
}

fn run(loss: Loss, seed: u64) {
    let mut world = World::new(seed);
    let every = Duration::from_millis(200);
    world.talk(Duration::from_secs(2), every);
    world.run(Duration::from_secs(1));
    let began = world.time.instant();
    let held = Duration::from_secs(10);
    let chat = world.chat(HELD_UP);
    world.shared.borrow_mut().chat = Some((Phone::address(0), chat, loss, began + held));
    world.talk(held, every);
    let ended = world.time.instant();
    for writer in 0..WRITERS {
        eprintln!("{writer}: written {} arrived {}", world.written[writer].len(), world.arrivals(writer).len());
    }
    world.run(Duration::from_secs(2));
    let settled: Vec<bool> = world.phones.iter().map(Phone::is_settled).collect();
    let lost: Vec<u32> = world.phones.iter().map(|phone| phone.lost).collect();
    eprintln!("{loss:?}: {:?} {settled:?} {lost:?}", {
        let s = world.shared.borrow();
        (s.lost, s.lost_with_others, s.others_again, s.streams.len())
    });
    for writer in 0..WRITERS {
        let mut took = world.took(writer, began, ended);
        let n = took.len();
        took.sort();
        eprintln!("{writer}: {n} min {:?} median {:?} p90 {:?} max {:?}  written {} arrived {}", took[0], took[n / 2], took[n * 9 / 10], took[n - 1],
            world.written[writer].len(), world.arrivals(writer).len());
    }
    eprintln!("quic {:?}", world.time.since_start());
}

#[test]
fn g15_i10_first() {
    run(Loss::First, 1);
}

#[test]
fn g15_i10_all() {
    run(Loss::All, 1);
}
