//! Floods of newcomers: past the limits they cost a round trip, or are refused, and who is connected notices none of it
//! (R115, K1). Noise, long floods and handshakes that lead nowhere are `loadtest/hostile`'s.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use support::*;
use wire::event::Event;
use wire_link::CloseReason;

/// RFC 9000, section 20.1.
const CONNECTION_REFUSED: u64 = 2;

/// Alice says something, Bob hears it.
fn assert_chat(a: &mut Raw, b: &mut Raw, chat: wire::ChatId, peer: &Person, n: u64) {
    let up = a.chat_up(chat, Some(peer.account()));
    a.append(up, n, "in spite of it all");
    assert!(matches!(a.next(up), Event::AppendAck { seq, .. } if seq.0 == n));
    b.until(|b| b.seqs(chat).contains(&n));
    assert_eq!((&a.closed, &b.closed), (&None, &None));
}

/// First flights from so many ports, and what the node answers to each; `None`: nothing within a moment, which is one for
/// all of them: what is under way must not be given up meanwhile.
fn flood(node: &TestNode, from: [u8; 4], ports: usize) -> Vec<Option<Answered>> {
    let sockets: Vec<_> = (0..ports).map(|_| UdpSocket::bind(SocketAddr::from((from, 0))).unwrap()).collect();
    sockets.iter().for_each(|socket| poke(socket, node.addr, &node.ca()));
    let end = Instant::now() + Duration::from_secs(3);
    let answer = |socket: &UdpSocket| {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left)).unwrap();
        let mut buffer = [0; 2048];
        let len = socket.recv(&mut buffer).ok()?;
        Some(loop_of_answer(node, &buffer[..len]))
    };
    sockets.iter().map(answer).collect()
}

#[test]
fn c20_a_flood_of_newcomers_must_prove_its_addresses_and_an_honest_one_gets_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = edge_node::Config { loops: 2, ..generous(dir.path()) };
    config.handshakes.retry_past = 16;
    let (node, people, chat) = alice_and_bob(config);
    let mut b = node.online(&people[1]);
    let answers = flood(&node, [127, 0, 0, 1], 120);
    let retried = answers.iter().filter(|answer| **answer == Some(Answered::Retry)).count();
    let begun = answers.iter().filter(|answer| matches!(answer, Some(Answered::Begun { .. }))).count();
    assert!(retried >= 40, "{retried} retried, {begun} begun");
    assert!(begun <= 16, "so many may be under way: {begun}");
    assert_eq!(node.answer_to(local(0)).1, Answered::Retry, "it lasts");
    let mut a = node.online(&people[0]);
    assert_chat(&mut a, &mut b, chat, &people[1], 1);
}

#[test]
fn c20_one_address_must_prove_itself_past_its_burst_and_is_refused_past_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = edge_node::Config { loops: 1, ..generous(dir.path()) };
    config.handshakes.per_address_burst = 4;
    config.handshakes.per_address_per_minute = 1;
    let node = TestNode::start(config);
    // On Linux all of 127/8 is this machine.
    let (mallory, other) = ([127, 0, 0, 3], [127, 0, 0, 4]);
    if cfg!(not(target_os = "linux")) {
        return;
    }
    let connect = |n| Raw::connect_from(SocketAddr::from((mallory, 0)), node.addr, &node.ca(), n);
    let first: Vec<Raw> = (0..4).map(connect).collect();
    let answer = || node.answer_to(SocketAddr::from((mallory, 0))).1;
    assert_eq!(answer(), Answered::Retry);
    let proved: Vec<Raw> = (4..8).map(connect).collect();
    assert_eq!(answer(), Answered::Retry);
    let mut refused = Raw::begin(SocketAddr::from((mallory, 0)), node.addr, &node.ca(), 8);
    refused.until(|raw| raw.closed.is_some());
    let reason = refused.closed.take();
    assert!(matches!(reason, Some(CloseReason::Transport { code: CONNECTION_REFUSED, .. })), "{reason:?}");
    // Those who are in stay in, and another address is another's.
    let all = first.into_iter().chain(proved);
    all.for_each(|mut raw| assert!(matches!(raw.hello(None), Event::Connected(_))));
    assert!(matches!(node.answer_to(SocketAddr::from((other, 0))).1, Answered::Begun { .. }));
}
