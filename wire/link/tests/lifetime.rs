//! How links begin, move and end, and that many of them cost little.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use wire::{CloseCode, Role};
use wire_link::testing::{Pair, plain_client, plain_server, secrets};
use wire_link::{
    ClientConfig, CloseReason, Config, ConnectError, Endpoint, Event, LinkId, ServerConfig, StreamLimits,
};

mod common;
use common::{drain, frame, frame_of};

#[test]
fn r29_silence_ends_a_link_after_the_idle_timeout() {
    let mut pair = Pair::new(1, common::start());
    let (client, _) = pair.connected();
    let began = pair.now;
    pair.network.conditions.is_cut = true;
    let (_, event) = pair.until_server(|event| matches!(event, Event::Closed { .. }));
    assert_eq!(event, Event::Closed { reason: CloseReason::TimedOut });
    let silent = pair.now - began;
    assert!((59..=61).contains(&silent.as_secs()), "{silent:?}");
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.client.remote_address(client), None);
    assert_eq!((pair.client.links(), pair.server.links()), (0, 0));
}

#[test]
fn g24_no_keep_alive_by_default_and_one_if_wanted() {
    for (keep_alive, lives) in [(None, false), (Some(Duration::from_secs(20)), true)] {
        let mut pair = Pair::with(1, common::start(), |client| client.keep_alive = keep_alive, |_| {});
        pair.connected();
        pair.run(Duration::from_secs(200));
        assert_eq!(pair.server.links() == 1, lives, "{keep_alive:?}");
    }
}

#[test]
fn i10_a_new_address_keeps_the_link() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    let stream = pair.client.open(client, Role::ChatUp).unwrap();
    pair.client.send(client, stream, frame(1)).unwrap();
    pair.until_server(|event| *event == frame_of(stream, 1));
    pair.client_address = "10.9.9.9:7".parse().unwrap();
    pair.client.local_address_changed();
    let (_, event) = pair.until_server(|event| matches!(event, Event::Moved { .. }));
    assert_eq!(event, Event::Moved { remote: pair.client_address });
    assert_eq!(pair.server.remote_address(server), Some(pair.client_address));
    for size in [2, 3000] {
        pair.client.send(client, stream, frame(size)).unwrap();
        pair.until_server(|event| *event == frame_of(stream, size));
        pair.server.send(server, stream, frame(size)).unwrap();
        pair.until_client(|event| *event == frame_of(stream, size));
    }
}

#[test]
fn i10_a_new_address_means_nothing_to_a_link_that_is_over() {
    let mut pair = Pair::new(1, common::start());
    let (_, server) = pair.connected();
    pair.client_sleeps = true;
    pair.server.close(server, wire::CloseCode::Refused, "");
    pair.run(Duration::from_secs(1));
    pair.client.local_address_changed();
    pair.run(Duration::from_secs(10));
    pair.client.local_address_changed();
    pair.client_sleeps = false;
    pair.poll();
    let (_, event) = pair.until_client(|event| matches!(event, Event::Closed { .. }));
    assert!(matches!(event, Event::Closed { reason: CloseReason::Peer { .. } }), "{event:?}");
    assert_eq!(pair.client.links(), 0);
}

#[test]
fn a_restarted_server_is_noticed_at_the_next_datagram() {
    let mut pair = Pair::new(1, common::start());
    let (client, _) = pair.connected();
    pair.run(Duration::from_secs(1));
    let config = Config::server(wire_link::Secrets { seed: [9; 32], ..secrets(0) });
    pair.server = Endpoint::server(config, ServerConfig::new(plain_server()), pair.now);
    let began = pair.now;
    let stream = pair.client.open(client, Role::Request).unwrap();
    pair.client.send(client, stream, frame(100)).unwrap();
    let (_, event) = pair.until_client(|event| matches!(event, Event::Closed { .. }));
    assert_eq!(event, Event::Closed { reason: CloseReason::Reset });
    assert!(pair.now - began < Duration::from_millis(100));
}

#[test]
fn a_handshake_that_does_not_come_on_is_given_up() {
    let mut pair = Pair::new(1, common::start());
    let began = pair.now;
    pair.connect();
    pair.poll();
    pair.network.conditions.is_cut = true;
    pair.run(Duration::from_millis(11));
    assert_eq!(pair.server.handshakes(), 1);
    let (_, event) = pair.until_client(|event| matches!(event, Event::Closed { .. }));
    assert_eq!(event, Event::Closed { reason: CloseReason::TimedOut });
    assert!(pair.now - began <= Duration::from_secs(11));
    pair.run(Duration::from_secs(20));
    assert_eq!((pair.server.handshakes(), pair.server.links()), (0, 0));
    assert_eq!(pair.server_event(), None, "the owner never heard of it");
}

#[test]
fn r36_a_draining_server_refuses_newcomers_and_keeps_the_others() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    pair.server.set_accepting(false);
    let refused = pair.connect();
    let (link, event) = pair.until_client(|event| matches!(event, Event::Closed { .. }));
    assert_eq!(link, refused);
    assert!(matches!(event, Event::Closed { reason: CloseReason::Transport { code: 2, .. } }), "{event:?}");
    let stream = pair.client.open(client, Role::Request).unwrap();
    pair.client.send(client, stream, frame(1)).unwrap();
    pair.until_server(|event| *event == frame_of(stream, 1));
    pair.server.close_all(CloseCode::ShuttingDown, "moving");
    let (_, event) = pair.until_client(|event| matches!(event, Event::Closed { .. }));
    let code = CloseCode::ShuttingDown.number().into();
    assert_eq!(event, Event::Closed { reason: CloseReason::Peer { code, reason: "moving".into() } });
    assert_eq!(
        pair.server_event(),
        Some((server, Event::Closed { reason: CloseReason::Here(CloseCode::ShuttingDown) }))
    );
}

#[test]
fn k1_past_a_bound_newcomers_prove_their_address_and_past_another_are_refused() {
    let start = common::start();
    let mut server = ServerConfig::new(plain_server());
    (server.handshakes_before_retry, server.handshakes_max) = (0, 4_000);
    let endpoint = Endpoint::server(Config::server(secrets(2)), server, start);
    let client = Endpoint::client(Config::client(secrets(1)), ClientConfig::new(plain_client()), start);
    let mut pair = Pair::between(1, start, client, endpoint);
    pair.connected();
    assert_eq!(pair.server.counters().retried, 1);

    let mut pair = Pair::with(1, start, |_| {}, |server| server.links_max = 1);
    pair.connected();
    pair.connect();
    pair.until_client(|event| matches!(event, Event::Closed { .. }));
    assert_eq!(pair.server.counters().refused, 1);
}

#[test]
fn a_client_of_nobody_and_a_server_cannot_connect() {
    let start = common::start();
    let mut pair = Pair::with(1, start, |client| client.links_max = 1, |_| {});
    let address = "10.0.0.2:4433".parse().unwrap();
    assert_eq!(pair.server.connect(start, address, "localhost"), Err(ConnectError::NotAClient));
    let nowhere = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(pair.client.connect(start, nowhere, "localhost"), Err(ConnectError::Invalid(_))));
    pair.connect();
    assert_eq!(pair.client.connect(start, address, "localhost"), Err(ConnectError::Full));
}

#[test]
fn a_link_id_is_never_used_again() {
    let mut pair = Pair::new(1, common::start());
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let (client, _) = pair.connected();
        assert!(seen.insert(client));
        pair.client.close(client, CloseCode::Done, "");
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.client.links(), 0);
    }
    assert_eq!(pair.client.counters().closed, 20);
}

#[test]
fn noise_is_ignored() {
    let mut pair = Pair::new(1, common::start());
    let (client, _) = pair.connected();
    let from = "10.6.6.6:666".parse().unwrap();
    for bytes in [0, 1, 20, 100, 1200, 1500] {
        for first in [0x00, 0x40, 0x80, 0xc0, 0xff] {
            let mut noise = BytesMut::zeroed(bytes);
            noise.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 7) as u8);
            noise.iter_mut().take(1).for_each(|byte| *byte = first);
            pair.server.handle_datagram(pair.now, from, None, None, noise.clone());
            pair.client.handle_datagram(pair.now, from, None, None, noise);
        }
    }
    let stream = pair.client.open(client, Role::Request).unwrap();
    pair.client.send(client, stream, frame(1)).unwrap();
    pair.until_server(|event| *event == frame_of(stream, 1));
}

/// Thousands of links in one endpoint: each timer is found without looking at the others, and idle ones cost nothing.
#[test]
fn k1_thousands_of_links_and_their_timers() {
    const LINKS: usize = 3000;
    let mut pair = Pair::with(
        1,
        common::start(),
        |client| {
            client.links_max = LINKS;
            client.peer_uni = StreamLimits { initial: 1, max: 1 };
        },
        |server| server.peer_bidi = StreamLimits { initial: 1, max: 1 },
    );
    let links: Vec<LinkId> = (0..LINKS)
        .map(|_| {
            let link = pair.connect();
            pair.run(Duration::from_micros(500));
            link
        })
        .collect();
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.server.counters().connected, LINKS as u64);
    let connected = drain(|| pair.client_event()).len();
    assert!(connected >= LINKS);

    // One speaks, the others sleep: only its datagrams go.
    let (before, _) = pair.network.counts();
    let stream = pair.client.open(links[7], Role::Session).unwrap();
    for n in 0..20 {
        pair.client.send(links[7], stream, frame(n)).unwrap();
        pair.run(Duration::from_secs(1));
    }
    let (after, _) = pair.network.counts();
    assert!(after - before < 100, "{}", after - before);

    // All but that one time out, each at its own time.
    let end: Instant = pair.now + Duration::from_secs(46);
    while pair.step(end) {}
    assert_eq!(pair.server.links(), 1, "of {LINKS}");
}
