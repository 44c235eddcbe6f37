//! From wake-up to tick: a phone is asleep, a message is put into its outbox, and the time until the server's
//! acknowledgement is measured, over a path with a real delay (`loadtest-relay`) to a real node in this process.
//!
//! `cargo bench -p client-cli --bench wake`, about two minutes. Two ways: *early*, where the device remembers the server
//! and what it has to say leaves in the first flight (0-RTT), one round trip; and *full*, where the process has just
//! started and remembers no ticket, two. Both are the real client with its outbox on disk and the node's log synced before
//! it acknowledges, so a few milliseconds of each figure are disks and signatures. Divided by the round trip, the figure
//! says how many of them the way takes.
//!
//! A phone falls asleep after five seconds with nothing to do; the bench ends its connection at once, which is the same
//! thing to the one that wakes. A run whose early column says over 1.5 round trips at 300 ms took another way than it
//! should and says nothing; the bench counts and prints how many wake-ups were early.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use client_cli::session::now;
use client_core::ClientEvent;
use loadtest_relay::Relay;
use support::*;
use wire::{AccountId, ChatId};

const SAMPLES: usize = 20;

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(&dir.path().join("node"));
    let relay = Relay::start(node.addr).expect("a relay");
    let bob = "+4915100000002";
    node.person(&dir.path().join("bob"), bob, node.addr).session.close();
    let mut alice = node.person(&dir.path().join("alice"), "+4915100000001", relay.address());
    let chat = alice.chat_with(bob);
    println!("| round trip | way | median | smallest | largest | median in round trips | early |");
    println!("|---|---|---|---|---|---|---|");
    for rtt_ms in [20, 80, 300] {
        let rtt = Duration::from_millis(rtt_ms);
        relay.set_delay(rtt / 2);
        let early = (0..SAMPLES).map(|_| wake(&mut alice, chat, rtt)).collect();
        print_row(rtt, "early", early);
        let mut full = Vec::new();
        for _ in 0..SAMPLES {
            alice = alice.reopen();
            full.push(tick(&mut alice, chat));
        }
        print_row(rtt, "full", full);
    }
}

/// What one wake-up took, and whether its early data was taken.
type Sample = (Duration, bool);

/// Falls asleep, and wakes up with something to say.
fn wake(alice: &mut Person, chat: (ChatId, AccountId), rtt: Duration) -> Sample {
    // The ticket for the next time follows the handshake, and the end of the connection reaches the node.
    rest(alice, 2 * rtt + Duration::from_millis(50));
    alice.session.client.stop();
    rest(alice, 2 * rtt + Duration::from_millis(50));
    alice.session.client.start(now());
    tick(alice, chat)
}

fn rest(alice: &mut Person, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        alice.turn(until.saturating_duration_since(Instant::now()));
    }
}

/// Says something; nothing has left before.
fn tick(alice: &mut Person, chat: (ChatId, AccountId)) -> Sample {
    alice.events.clear();
    let began = Instant::now();
    let id = alice.send(chat, "good morning");
    let took = alice.until(is_sent(id)) - began;
    alice.until(|event| *event == ClientEvent::Synced);
    let early = |event: &ClientEvent| matches!(event, ClientEvent::Connected { early: true, .. });
    (took, alice.count(early) == 1)
}

fn print_row(rtt: Duration, way: &str, mut samples: Vec<Sample>) {
    samples.sort_unstable();
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    let median = ms(samples[samples.len() / 2].0);
    let (smallest, largest) = (ms(samples[0].0), ms(samples[samples.len() - 1].0));
    let early = samples.iter().filter(|(_, early)| *early).count();
    println!(
        "| {} ms | {way} | {median:.1} ms | {smallest:.1} ms | {largest:.1} ms | {:.2} | {early} of {} |",
        rtt.as_millis(),
        median / ms(rtt),
        samples.len()
    );
}
