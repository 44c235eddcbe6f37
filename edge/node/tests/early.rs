//! Early data on real sockets and with the real TLS: what a first flight carries, what it must not, and what becomes of
//! it when it is late, expired or said again by somebody else (C37, G18).

mod support;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use loadtest_relay::Relay;
use support::*;
use wire::event::{Connected, Event};
use wire::request::{GetMessages, Request};
use wire::{ChatId, ErrorCode, Role, Secret, Seq};

/// Alice, who was here before: through a relay where each flight is on its way for a while.
fn was_here(node: &TestNode, alice: &Person) -> (Relay, Raw) {
    let relay = Relay::start(node.addr).unwrap();
    let mut raw = Raw::connect(relay.address(), &node.ca(), 9);
    assert!(matches!(raw.hello(Some(alice)), Event::Connected(_)));
    relay.set_delay(Duration::from_millis(20));
    (relay, raw)
}

fn connected(event: Event) -> Connected {
    match event {
        Event::Connected(connected) => connected,
        other => panic!("{other:?}"),
    }
}

fn entries(raw: &mut Raw, chat: ChatId) -> Vec<u64> {
    let get = GetMessages { chat, limit: 500, before: Seq::ZERO, after: Seq::ZERO };
    let seq = |event| if let Event::Entry(entry) = event { Some(entry.seq.0) } else { None };
    raw.ask(&Request::GetMessages(get)).into_iter().filter_map(seq).collect()
}

/// Turns until the relay has swallowed something that was said after the first flight.
fn until_swallowed(raw: &mut Raw, relay: &Relay, more_than: u64) {
    let deadline = Instant::now() + PATIENCE;
    while relay.counts().swallowed <= more_than {
        assert!(Instant::now() < deadline, "{:?}", relay.counts());
        raw.turn(Instant::now() + Duration::from_millis(20));
    }
}

#[test]
fn c37_g18_what_a_returning_device_says_in_its_first_flight_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(generous(dir.path()));
    let [alice, bob] = &*people;
    let (relay, mut raw) = was_here(&node, alice);
    // Nothing but the first flight reaches the node: no handshake can be completed there.
    relay.set_first_flight_only(true);
    raw.again_early(relay.address());
    let session = raw.say_early_hello(alice, wall());
    let up = raw.chat_up(chat, Some(bob.account()));
    raw.append(up, 1, "before the handshake");
    assert!(matches!(raw.next(up), Event::AppendAck { seq: Seq(1), .. }));
    assert_eq!(raw.early, Some(true));
    until_swallowed(&mut raw, &relay, 2);
    assert_eq!(raw.waiting(session), 0, "the session begins after the handshake");
    relay.set_first_flight_only(false);
    connected(raw.next(session));
    assert_eq!(entries(&mut raw, chat), [1]);
}

#[test]
fn c37_without_early_data_a_first_flight_brings_nothing_yet() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(generous(dir.path()));
    let (relay, mut raw) = was_here(&node, &people[0]);
    relay.set_first_flight_only(true);
    raw.again(relay.address(), false);
    raw.connected();
    assert_eq!(raw.early, None);
    let token = people[0].verified.tokens.access.expose().clone();
    let session = raw.say_hello(Some(&people[0]), Some(token));
    let up = raw.chat_up(chat, Some(people[1].account()));
    raw.append(up, 1, "after the handshake");
    until_swallowed(&mut raw, &relay, 2);
    assert_eq!((raw.waiting(session), raw.waiting(up)), (0, 0));
    relay.set_first_flight_only(false);
    assert!(matches!(raw.next(up), Event::AppendAck { seq: Seq(1), .. }));
}

#[test]
fn g18_a_lookup_in_early_data_is_answered_after_the_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(generous(dir.path()));
    let [alice, bob] = &*people;
    let (relay, mut raw) = was_here(&node, alice);
    relay.set_first_flight_only(true);
    raw.again_early(relay.address());
    raw.say_early_hello(alice, wall());
    let lookup = raw.open(Role::Request);
    raw.say(lookup, &Request::Lookup { phone: Secret::new("+4915100000002".to_owned()) });
    let up = raw.chat_up(chat, Some(bob.account()));
    raw.append(up, 1, "said after the question");
    assert!(matches!(raw.next(up), Event::AppendAck { .. }), "the node has read the first flight");
    until_swallowed(&mut raw, &relay, 2);
    assert_eq!(raw.waiting(lookup), 0);
    relay.set_first_flight_only(false);
    let found = raw.next(lookup);
    assert!(matches!(found, Event::Found { account, .. } if account == bob.account()), "{found:?}");
}

#[test]
fn c1_c37_an_expired_token_is_good_for_early_data_and_renewed_on_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = generous(dir.path());
    config.limits.access_token_s = 2;
    let (node, mut people, chat) = alice_and_bob(config);
    let [alice, bob] = std::sync::Arc::get_mut(&mut people).unwrap();
    // A fresh one, however long the registrations took.
    let mut first = node.client(9);
    first.hello(None);
    let renewed = first.refresh(alice);
    let [Event::Refreshed(tokens)] = &renewed[..] else { panic!("{renewed:?}") };
    alice.verified.tokens = tokens.clone();
    let mut raw = Raw::connect(node.addr, &node.ca(), 9);
    connected(raw.hello(Some(alice)));
    while wall() <= alice.verified.tokens.access_expires {
        raw.turn(Instant::now() + Duration::from_millis(50));
    }
    raw.again_early(node.addr);
    let session = raw.say_early_hello(alice, wall());
    let up = raw.chat_up(chat, Some(bob.account()));
    raw.append(up, 1, "late, and in time");
    assert!(matches!(raw.next(up), Event::AppendAck { seq: Seq(1), .. }));
    assert!(connected(raw.next(session)).refresh);
    assert_eq!(raw.early, Some(true));
    let renewed = raw.refresh(alice);
    assert!(matches!(renewed[..], [Event::Refreshed(_)]), "{renewed:?}");
    raw.append(up, 2, "on the same connection");
    assert!(matches!(raw.next(up), Event::AppendAck { seq: Seq(2), .. }));
}

#[test]
fn c37_a_node_that_was_restarted_asks_for_a_full_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, people, chat) = alice_and_bob(generous(dir.path()));
    let mut raw = Raw::connect(node.addr, &node.ca(), 9);
    connected(raw.hello(Some(&people[0])));
    let config = edge_node::Config { listen: node.addr, ..node.config.clone() };
    raw.turn(Instant::now() + Duration::from_millis(50));
    node.stop();
    let node = TestNode::start(config);
    raw.again_early(node.addr);
    raw.say_early_hello(&people[0], wall());
    raw.connected();
    assert_eq!(raw.early, Some(false), "it remembers nobody");
    connected(raw.hello(Some(&people[0])));
    let up = raw.chat_up(chat, Some(people[1].account()));
    raw.append(up, 1, "hello again");
    assert!(matches!(raw.next(up), Event::AppendAck { seq: Seq(1), .. }));
}

#[test]
fn c37_a_wrong_clock_is_told_and_a_full_handshake_needs_none() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(generous(dir.path()));
    let mut raw = Raw::connect(node.addr, &node.ca(), 9);
    connected(raw.hello(Some(&people[0])));
    for signed_at in [wall() - Duration::from_secs(1200), wall() + Duration::from_secs(1200)] {
        raw.again_early(node.addr);
        let session = raw.say_early_hello(&people[0], signed_at);
        let up = raw.chat_up(chat, Some(people[1].account()));
        raw.append(up, 1, "from another time");
        let answer = raw.next(session);
        assert!(matches!(answer, Event::Refused(r) if r.code == ErrorCode::EarlyRefused), "{answer:?}");
        raw.until(|raw| raw.closed.is_some());
        assert_eq!(raw.waiting(up), 0);
        raw.again(node.addr, false);
        raw.connected();
        connected(raw.hello(Some(&people[0])));
        assert_eq!(entries(&mut raw, chat), [0; 0]);
    }
}

#[test]
fn g18_i3_a_first_flight_that_was_captured_and_said_again_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(edge_node::Config { loops: 2, ..generous(dir.path()) });
    let [alice, bob] = &*people;
    let (relay, mut raw) = was_here(&node, alice);
    relay.set_first_flight_only(true);
    relay.set_captures(16);
    raw.again_early(relay.address());
    let session = raw.say_early_hello(alice, wall());
    let up = raw.chat_up(chat, Some(bob.account()));
    raw.append(up, 1, "once");
    assert!(matches!(raw.next(up), Event::AppendAck { seq: Seq(1), .. }));
    relay.set_captures(0);
    relay.set_first_flight_only(false);
    connected(raw.next(session));
    let flight = relay.captures().pop().expect("captured").datagrams;
    assert!(flight.len() >= 2, "a ClientHello with a post-quantum share, and what was said");
    // While her connection lives, and by which loop it is read is the kernel's choice: from many ports.
    let replay = |times| (0..times).map(|_| say_again(&node, &flight)).sum::<usize>();
    let answered = replay(8);
    assert_eq!(entries(&mut raw, chat), [1]);
    assert_eq!(raw.closed, None, "and she was not replaced");
    // After it has ended, when nothing of it is remembered but the ticket that is used up.
    raw.again(relay.address(), false);
    raw.connected();
    connected(raw.hello(Some(alice)));
    let answered = answered + replay(8);
    assert!(answered > 0, "the node took some for newcomers");
    assert_eq!(entries(&mut raw, chat), [1]);
    assert_eq!(raw.closed, None, "no session began but hers");
}

/// A replay from an address of its own; how many datagrams came back within a moment.
fn say_again(node: &TestNode, flight: &[Vec<u8>]) -> usize {
    let socket = UdpSocket::bind(local(0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    for datagram in flight {
        socket.send_to(datagram, node.addr).unwrap();
    }
    let mut buffer = [0; 2048];
    let mut count = 0;
    while count < 3 && socket.recv_from(&mut buffer).is_ok() {
        count += 1;
    }
    count
}
