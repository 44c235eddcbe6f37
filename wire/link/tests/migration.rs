//! Addresses change, and lie: what a link survives, and what nobody gets out of a server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use wire::Role;
use wire_link::testing::{Pair, plain_client, plain_server, secrets};
use wire_link::{ClientConfig, Config, Endpoint, Event, LinkId, ServerConfig, StreamId, tls};

mod common;
use common::tls::{One, certificate, trusting};
use common::{drain, frame, frame_of};

const FRAMES: usize = 200;

/// QUIC sends to an address that is not proved three times what came from it. quinn-proto begins a datagram while any
/// of that is left, so the last one may go over it (quinn-rs/quinn#1082).
const AMPLIFICATION: usize = 3;
const DATAGRAM_BYTES: usize = 1200;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A link with a stream that both sides use.
fn talking(pair: &mut Pair) -> (LinkId, LinkId, StreamId) {
    let (client, server) = pair.connected();
    let stream = pair.client.open(client, Role::ChatUp).unwrap();
    pair.client.send(client, stream, frame(1)).unwrap();
    pair.until_server(|event| *event == frame_of(stream, 1));
    (client, server, stream)
}

/// The sizes of all frames in these events, in order. A link that ends is no link that goes on.
fn sizes(events: Vec<(LinkId, Event)>) -> Vec<usize> {
    events
        .into_iter()
        .filter_map(|(_, event)| match event {
            Event::Frame { body, .. } => Some(body.len()),
            Event::Closed { reason } => panic!("{reason}"),
            _ => None,
        })
        .collect()
}

/// Both sides send a burst, and the client's address changes again and again within it.
fn burst_while_moving(seed: u64, is_noticed: bool) {
    let mut pair = Pair::new(seed, common::start());
    let (client, server, stream) = talking(&mut pair);
    let expected: Vec<usize> = (0..FRAMES).map(|n| 100 + n).collect();
    for (n, &size) in expected.iter().enumerate() {
        pair.client.send(client, stream, frame(size)).unwrap();
        pair.server.send(server, stream, frame(size)).unwrap();
        pair.run(Duration::from_millis(3));
        if n % 50 == 25 {
            pair.client_address = SocketAddr::from(([10, 9, seed as u8, n as u8], 7));
            if is_noticed {
                pair.client.local_address_changed();
            }
        }
    }
    pair.run(Duration::from_secs(20));
    let at_server = drain(|| pair.server_event());
    let moved = at_server.iter().filter(|(_, event)| matches!(event, Event::Moved { .. })).count();
    assert_eq!(moved, 4);
    assert_eq!(sizes(at_server), expected);
    assert_eq!(sizes(drain(|| pair.client_event())), expected);
    assert_eq!((pair.server.links(), pair.server.counters().connected), (1, 1), "one link all along");
    assert_eq!(pair.server.counters().moved, 4);
    assert_eq!(pair.server.remote_address(server), Some(pair.client_address));
}

#[test]
fn i10_a_phone_that_changes_networks_in_mid_burst_leaves_no_gap() {
    (0..5).for_each(|seed| burst_while_moving(seed, true));
}

#[test]
fn i10_a_nat_that_rebinds_in_mid_burst_leaves_no_gap() {
    (0..5).for_each(|seed| burst_while_moving(seed, false));
}

#[test]
fn i10_a_rebinding_is_noticed_by_the_server_and_its_path_validated() {
    let mut pair = Pair::new(1, common::start());
    let (client, server, stream) = talking(&mut pair);
    pair.run(Duration::from_secs(1));
    let before = pair.server.link_stats(server).unwrap();
    pair.client_address = address("10.0.0.1:2000");
    pair.client.send(client, stream, frame(2)).unwrap();
    let (_, event) = pair.until_server(|event| matches!(event, Event::Moved { .. }));
    assert_eq!(event, Event::Moved { remote: pair.client_address });
    pair.run(Duration::from_secs(1));
    let after = pair.server.link_stats(server).unwrap();
    assert!(after.frame_tx.path_challenge > before.frame_tx.path_challenge);
    assert!(after.frame_rx.path_response > before.frame_rx.path_response);
    // Proved, it has the whole window: far more than three times what came.
    for _ in 0..100 {
        pair.server.send(server, stream, frame(1000)).unwrap();
    }
    pair.run(Duration::from_secs(2));
    assert_eq!(sizes(drain(|| pair.client_event())).len(), 100);
}

/// Bytes that the server sends to each address while time passes; nothing is delivered.
fn sent_by_server(pair: &mut Pair, duration: Duration) -> BTreeMap<SocketAddr, usize> {
    let end = pair.now + duration;
    let mut sent = BTreeMap::new();
    let mut buf = Vec::new();
    loop {
        while pair.server.poll_event().is_some() {}
        while let Some(transmit) = pair.server.poll_transmit(pair.now, &mut buf) {
            *sent.entry(transmit.destination).or_default() += transmit.size;
        }
        let Some(next) = pair.server.poll_timeout().filter(|&at| at <= end) else { break };
        pair.now = pair.now.max(next);
        pair.server.handle_timeout(pair.now);
    }
    pair.now = end;
    sent
}

/// What the client would send now.
fn sent_by_client(pair: &mut Pair) -> Vec<Vec<u8>> {
    let mut buf = Vec::new();
    let now = pair.now;
    drain(|| pair.client.poll_transmit(now, &mut buf).map(|transmit| buf[..transmit.size].to_vec()))
}

fn deliver(pair: &mut Pair, from: SocketAddr, datagrams: &[Vec<u8>]) -> usize {
    for datagram in datagrams {
        pair.server.handle_datagram(pair.now, from, None, None, BytesMut::from(&datagram[..]));
    }
    datagrams.iter().map(Vec::len).sum()
}

#[test]
fn i10_an_address_that_was_not_proved_gets_three_times_what_came_from_it_and_loses_the_link() {
    let mut pair = Pair::new(1, common::start());
    let (client, server, stream) = talking(&mut pair);
    pair.run(Duration::from_secs(1));
    let home = pair.client_address;
    for _ in 0..200 {
        pair.server.send(server, stream, frame(1000)).unwrap();
    }
    // Somebody on the path takes a datagram of the client's and sends it from elsewhere.
    pair.client.send(client, stream, frame(100)).unwrap();
    let stolen = sent_by_client(&mut pair);
    let thief = address("10.6.6.6:666");
    let came = deliver(&mut pair, thief, &stolen);
    assert_eq!(pair.server.remote_address(server), Some(thief), "one cannot tell yet");
    let sent = sent_by_server(&mut pair, Duration::from_secs(5));
    let to_thief = sent.get(&thief).copied().unwrap_or_default();
    assert!(to_thief > 0 && to_thief < AMPLIFICATION * came + DATAGRAM_BYTES, "{to_thief} for {came}");
    assert!(sent.contains_key(&home), "the old path is asked too");
    // Nobody answered from there: the link is where it was, and what was sent arrives.
    pair.client.send(client, stream, frame(2)).unwrap();
    pair.until_server(|event| *event == frame_of(stream, 2));
    assert_eq!(pair.server.remote_address(server), Some(home));
    pair.run(Duration::from_secs(20));
    assert_eq!(sizes(drain(|| pair.client_event())).len(), 200);
}

fn newcomers(now: Instant) -> [Pair; 2] {
    let (root, serving) = certificate("localhost");
    let server_tls = tls::server(Arc::new(One(serving)), Arc::default()).unwrap();
    let pairs = [
        (ClientConfig::new(plain_client()), ServerConfig::new(plain_server())),
        (ClientConfig::new(tls::client(trusting(&root)).unwrap()), ServerConfig::new(server_tls)),
    ];
    pairs.map(|(client, server)| {
        let client = Endpoint::client(Config::client(secrets(1)), client, now);
        Pair::between(1, now, client, Endpoint::server(Config::server(secrets(2)), server, now))
    })
}

#[test]
fn k1_a_newcomer_that_never_answers_gets_three_times_its_bytes_at_most() {
    for mut pair in newcomers(common::start()) {
        pair.connect();
        let first = sent_by_client(&mut pair);
        let forged = address("10.5.5.5:555");
        let came = deliver(&mut pair, forged, &first);
        assert_eq!(pair.server.handshakes(), 1);
        let sent = sent_by_server(&mut pair, Duration::from_secs(60));
        let to_forged = sent.get(&forged).copied().unwrap_or_default();
        assert!(to_forged > 0 && to_forged < AMPLIFICATION * came + DATAGRAM_BYTES, "{to_forged} for {came}");
        assert_eq!(sent.len(), 1, "and nobody else anything");
        assert_eq!(pair.server.links(), 0, "it is given up");
    }
}
