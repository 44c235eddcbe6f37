//! A real session on a path that dies, a phone that sleeps and wakes, and a node that is restarted (R33, G24, C37, I10).

mod support;

use std::time::{Duration, Instant};

use client_cli::session::now;
use client_core::ClientEvent;
use loadtest_relay::Relay;
use support::*;

const BOB: &str = "+4915100000002";

/// Alice behind a relay, and Bob.
fn alice_and_bob(dir: &std::path::Path) -> (Node, Relay, Person, Person) {
    let node = Node::start(&dir.join("node"));
    let relay = Relay::start(node.addr).unwrap();
    let mut bob = node.person(&dir.join("bob"), BOB, node.addr);
    let mut alice = node.person(&dir.join("alice"), "+4915100000001", relay.address());
    for person in [&mut alice, &mut bob] {
        person.until(|event| *event == ClientEvent::Synced);
    }
    (node, relay, alice, bob)
}

fn is_failure(event: &ClientEvent) -> bool {
    matches!(event, ClientEvent::Failed { .. } | ClientEvent::LoginNeeded(_) | ClientEvent::Replaced)
}

#[test]
fn r33_a_path_that_dies_is_noticed_and_what_was_said_arrives_once_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, relay, mut alice, mut bob) = alice_and_bob(dir.path());
    let chat = alice.chat_with(BOB);
    relay.set_blackhole(true);
    alice.events.clear();
    let (said_at, id) = (Instant::now(), alice.send(chat, "into the dark"));
    let is_lost = |event: &ClientEvent| matches!(event, ClientEvent::Disconnected { .. });
    let lost_at = alice.until(is_lost);
    let took = lost_at - said_at;
    assert!(took < Duration::from_secs(9), "two seconds of silence, three for a probe: {took:?}");
    while said_at.elapsed() < Duration::from_secs(30) {
        alice.turn(Duration::from_millis(100));
    }
    assert_eq!(alice.when(is_sent(id)), None);
    assert!(alice.count(is_lost) >= 2, "it has tried again");
    relay.set_blackhole(false);
    until(&mut [&mut alice, &mut bob], |people| {
        people[0].when(is_sent(id)).and(people[1].when(is_arrived(id)))
    });
    let after = alice.send(chat, "and light");
    until(&mut [&mut alice, &mut bob], |people| people[1].when(is_arrived(after)));
    assert_eq!((alice.count(is_sent(id)), bob.count(is_arrived(id))), (1, 1), "once");
    let arrived = |event: &ClientEvent| matches!(event, ClientEvent::Arrived(_));
    assert_eq!(bob.count(arrived), 2, "and nothing else");
    assert_eq!(alice.count(is_failure), 0);
}

#[test]
fn g24_c37_a_phone_in_the_background_sleeps_and_a_message_wakes_it_with_early_data() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, relay, mut alice, mut bob) = alice_and_bob(dir.path());
    let chat = alice.chat_with(BOB);
    for round in 0..2 {
        alice.session.client.set_foreground(false, now());
        alice.until(|event| *event == ClientEvent::Asleep);
        // Nothing is said while it sleeps.
        alice.turn(Duration::from_millis(500));
        let quiet = relay.counts();
        alice.turn(Duration::from_millis(1000));
        assert_eq!(relay.counts().to_server, quiet.to_server, "round {round}");
        alice.events.clear();
        let id = alice.send(chat, "from sleep");
        until(&mut [&mut alice, &mut bob], |people| {
            people[0].when(is_sent(id)).and(people[1].when(is_arrived(id)))
        });
        alice.until(|event| matches!(event, ClientEvent::Connected { .. }));
        let early = |event: &ClientEvent| matches!(event, ClientEvent::Connected { early: true, .. });
        assert_eq!(alice.count(early), 1, "round {round}: {:?}", alice.events);
        assert_eq!(bob.count(is_arrived(id)), 1);
    }
}

#[test]
fn c37_a_node_that_was_restarted_is_met_by_a_full_handshake_and_nobody_notices() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, _relay, mut alice, mut bob) = alice_and_bob(dir.path());
    let chat = alice.chat_with(BOB);
    // A phone that sleeps learns of the restart only by waking: it offers early data to a node that forgot it.
    alice.session.client.set_foreground(false, now());
    alice.until(|event| *event == ClientEvent::Asleep);
    node.restart();
    alice.events.clear();
    let id = alice.send(chat, "hello again");
    until(&mut [&mut alice, &mut bob], |people| {
        people[0].when(is_sent(id)).and(people[1].when(is_arrived(id)))
    });
    let connected = |event: &ClientEvent| matches!(event, ClientEvent::Connected { early: false, .. });
    assert_eq!(alice.count(connected), 1, "{:?}", alice.events);
    assert_eq!(alice.count(is_failure), 0);
    let is_lost = |event: &ClientEvent| matches!(event, ClientEvent::Disconnected { .. });
    assert_eq!(alice.count(is_lost), 0, "the same attempt went on");
    assert_eq!((alice.count(is_sent(id)), bob.count(is_arrived(id))), (1, 1), "once");
}
