//! Floods of newcomers, of noise, and of handshakes that lead nowhere: they cost a round trip, or nothing, and who is
//! connected notices none of it (R115, K1).

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use loadtest_relay::Relay;
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

/// A generator of noise: splitmix64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn r152_ten_thousand_datagrams_of_noise_change_nothing_for_a_living_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(edge_node::Config { loops: 2, ..generous(dir.path()) });
    let relay = Relay::start(node.addr).unwrap();
    relay.set_captures(64);
    let mut a = Raw::connect(relay.address(), &node.ca(), 9);
    assert!(matches!(a.hello(Some(&people[0])), Event::Connected(_)));
    let mut b = node.online(&people[1]);
    assert_chat(&mut a, &mut b, chat, &people[1], 1);
    // Ids: Alice's own, and such as name each of the loops.
    let mut noise = Noise(42);
    let steering = steering(&node);
    let captured = relay.captures().pop().expect("captured").datagrams;
    let short = captured.iter().find(|datagram| datagram[0] & 0x80 == 0).expect("she has said something");
    let mut ids = vec![short[1..9].to_vec()];
    while ids.len() < 17 {
        let id = noise.bytes(8);
        if steering.owner(&[&[0x40][..], &id].concat()) == Some((ids.len() % 2) as u8) {
            ids.push(id);
        }
    }
    let sockets: Vec<_> = (0..8).map(|_| UdpSocket::bind(local(0)).unwrap()).collect();
    for n in 0..10_000 {
        let len = 1 + noise.next() as usize % 1400;
        let mut datagram = noise.bytes(len);
        match n % 4 {
            // Anything at all.
            0 => {}
            // A short header with an id that somebody has.
            1 | 2 => {
                let id = &ids[noise.next() as usize % ids.len()];
                datagram = [&[0x40 | noise.next() as u8 & 0x3f][..], id, &datagram].concat();
            }
            // A long header of our version, or nearly.
            _ => {
                let kind = 0xc0 | noise.next() as u8 & 0x3f;
                datagram = [&[kind, 0, 0, 0, 1, 8][..], &datagram].concat();
            }
        }
        // The socket may be full: that is the system's way to say less.
        let _ = sockets[n % sockets.len()].send_to(&datagram, node.addr);
        if n % 500 == 499 {
            a.turn(Instant::now());
            b.turn(Instant::now() + Duration::from_millis(10));
        }
    }
    // What she said before, again from elsewhere: she has not moved.
    for datagram in &captured {
        sockets[0].send_to(datagram, node.addr).unwrap();
    }
    assert_chat(&mut a, &mut b, chat, &people[1], 2);
    assert_chat(&mut b, &mut a, chat, &people[0], 3);
}

#[test]
fn c20_handshakes_that_lead_nowhere_end_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = edge_node::Config { loops: 1, ..generous(dir.path()) };
    config.handshakes.per_address_max = 4;
    let node = TestNode::start(config);
    let begun = flood(&node, [127, 0, 0, 1], 4);
    assert!(begun.iter().all(|answer| matches!(answer, Some(Answered::Begun { .. }))), "{begun:?}");
    assert_eq!(node.answer_to(local(0)).1, Answered::Retry, "its address has as many under way as it may");
    // An honest one gets in meanwhile, by proving its address.
    assert!(matches!(node.client(1).hello(None), Event::Connected(_)));
    let deadline = Instant::now() + 2 * PATIENCE;
    while node.answer_to(local(0)).1 == Answered::Retry {
        assert!(Instant::now() < deadline, "they are never given up");
        std::thread::sleep(Duration::from_millis(500));
    }
}
