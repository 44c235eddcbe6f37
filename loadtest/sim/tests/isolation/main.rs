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

/// Of each way, at most.
const JITTER: Duration = Duration::from_millis(2);

/// What a message takes at most from a writer to Bob that waits for no other, and something for the timers.
const UNDELAYED: Duration = Duration::from_millis(46);

/// Everybody writes five messages a second, for ten seconds while one chat is held up.
const EVERY: Duration = Duration::from_millis(200);
const ROUNDS: u32 = 50;

/// Within which the held up chat must have caught up.
const CATCH_UP: Duration = Duration::from_secs(2);

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
    fn new(seed: u64, jitter: Duration) -> World {
        let time = Time::new();
        let shared = Shared::default();
        let weather = Conditions { delay: ONE_WAY, jitter, ..Conditions::default() };
        let mut network = Network::new(seed, weather);
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

    /// Everybody writes so many messages.
    fn talk(&mut self, pace: Pace, rounds: u32) {
        for _ in 0..rounds {
            let end = self.time.instant() + EVERY;
            for writer in 0..WRITERS {
                self.write(writer);
                if pace == Pace::Staggered {
                    self.run(EVERY / WRITERS as u32);
                }
            }
            self.run(end - self.time.instant());
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
                } else if let Some(user) =
                    (0..self.phones.len()).find(|&u| Phone::address(u as u8) == datagram.to)
                {
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
                // The first place is the commit's that made the chat's group.
                assert_eq!(message.seq.0, n as u64 + 2);
                let content = String::from_utf8_lossy(&message.content);
                assert_eq!(content.split(' ').next(), Some(&*n.to_string()));
                *at
            })
            .collect()
    }

    /// How long each message of a chat took, the first few left out.
    fn took(&self, writer: usize, skipped: usize) -> Vec<Duration> {
        let written = self.written[writer].iter().zip(self.arrivals(writer));
        written.skip(skipped).map(|(written, arrived)| arrived - *written).collect()
    }
}

/// How the writers keep time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// One after the other.
    Staggered,
    /// All at the same moment, so that their messages share datagrams.
    InStep,
}

/// What Bob saw of a chat.
#[derive(Debug)]
struct Seen {
    /// How long each message took that was written while one chat was held up.
    took: Vec<Duration>,
    /// How many of them had arrived when that ended.
    in_time: usize,
}

impl Seen {
    fn latest(&self) -> Duration {
        self.took.iter().copied().max().expect("somebody wrote")
    }
}

/// Everybody writes for a while, one chat is held up for ten seconds of it, and two seconds later all is there.
fn play(seed: u64, pace: Pace, loss: Loss) -> (World, Vec<Seen>) {
    let jitter = if pace == Pace::Staggered { JITTER } else { Duration::ZERO };
    let mut world = World::new(seed, jitter);
    world.talk(pace, 10);
    world.run(Duration::from_secs(1));
    let before = world.written[HELD_UP].len();
    let until = world.time.instant() + EVERY * ROUNDS;
    world.shared.borrow_mut().hold_up(Phone::address(BOB as u8), world.chat(HELD_UP), loss, until);
    world.talk(pace, ROUNDS);
    let in_time: Vec<usize> = (0..WRITERS).map(|writer| world.arrivals(writer).len() - before).collect();
    world.run(CATCH_UP);
    let seen: Vec<Seen> = (in_time.into_iter().enumerate())
        .map(|(writer, in_time)| Seen { took: world.took(writer, before), in_time })
        .collect();
    let shared = world.shared.borrow();
    let latest: Vec<(usize, Duration)> = seen.iter().map(|seen| (seen.in_time, seen.latest())).collect();
    eprintln!(
        "{pace:?}, lost {loss:?}: {} datagrams, {} of them with others; in time of {ROUNDS}, and latest: {latest:?}",
        shared.lost, shared.lost_with_others
    );
    drop(shared);
    for seen in &seen {
        assert_eq!(seen.took.len(), ROUNDS as usize, "everything has arrived");
    }
    assert!(world.phones.iter().all(|phone| phone.lost == 0 && phone.is_settled()), "no connection was lost");
    (world, seen)
}

#[test]
fn g15_i10_a_chat_whose_packets_are_lost_delays_no_other() {
    for seed in 1..=2 {
        let (world, seen) = play(seed, Pace::Staggered, Loss::First);
        let [held_up, others @ ..] = &seen[..] else { unreachable!("there are six") };
        assert!(world.shared.borrow().lost >= u64::from(ROUNDS), "each of its messages was lost once");
        assert!(held_up.took.iter().all(|took| *took > UNDELAYED * 3 / 2), "{:?}", held_up.took);
        for other in others {
            assert!(other.latest() <= UNDELAYED, "{:?}", other.took);
        }
    }
}

#[test]
fn g15_i10_chats_that_share_the_lost_packets_wait_for_their_own_bytes_alone() {
    let (world, seen) = play(1, Pace::InStep, Loss::First);
    assert!(world.shared.borrow().lost_with_others >= u64::from(ROUNDS));
    for seen in seen {
        assert!(seen.latest() < Duration::from_secs(1), "{:?}", seen.took);
    }
}

/// Losing what is sent again as well is what no network does: it would have to read. What is owed of the chat then fills up
/// every datagram, and a congestion window that is at its floor of two; the others get on all the same. The control
/// shows what becomes of them on one stream.
#[test]
fn g15_i10_a_chat_that_nothing_gets_through_of_leaves_the_others_going() {
    for seed in 1..=2 {
        let (_, seen) = play(seed, Pace::Staggered, Loss::All);
        let [held_up, others @ ..] = &seen[..] else { unreachable!("there are six") };
        assert_eq!(held_up.in_time, 0);
        assert!(held_up.took[0] > EVERY * (ROUNDS - 1), "{:?}", held_up.took);
        for other in others {
            assert!(other.took[0] <= UNDELAYED, "{:?}", other.took);
            assert!(other.in_time > ROUNDS as usize / 2, "{other:?}");
        }
    }
}
