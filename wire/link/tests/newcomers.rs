//! What one address may do before its handshakes are complete, and that Retry tokens hold on every loop of a node.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use wire_link::testing::{Pair, plain_client, plain_server, secrets};
use wire_link::{ClientConfig, CloseReason, Config, Endpoint, Event, NewcomerLimits, ServerConfig};

mod common;
use common::drain;

fn limited(newcomers: NewcomerLimits) -> Pair {
    let start = common::start();
    let server = ServerConfig { newcomers, ..ServerConfig::new(plain_server()) };
    let server = Endpoint::server(Config::server(secrets(2)), server, start);
    let client = Endpoint::client(Config::client(secrets(1)), ClientConfig::new(plain_client()), start);
    Pair::between(1, start, client, server)
}

/// How the next attempt ends: connected or not.
fn attempt(pair: &mut Pair) -> bool {
    drain(|| pair.client_event());
    let link = pair.connect();
    let (of, event) =
        pair.until_client(|event| matches!(event, Event::Connected { .. } | Event::Closed { .. }));
    assert_eq!(of, link);
    matches!(event, Event::Connected { .. })
}

/// First datagrams of other clients, sent from an address that is not theirs.
fn flood(pair: &mut Pair, from: SocketAddr, newcomers: u64) {
    let mut buf = Vec::new();
    for n in 0..newcomers {
        let config = Config::client(secrets(1000 + n));
        let mut other = Endpoint::client(config, ClientConfig::new(plain_client()), pair.now);
        other.connect(pair.now, pair.server_address(), "localhost").unwrap();
        while let Some(transmit) = other.poll_transmit(pair.now, &mut buf) {
            let data = BytesMut::from(&buf[..transmit.size]);
            pair.server.handle_datagram(pair.now, from, None, None, data);
        }
        while pair.server.poll_transmit(pair.now, &mut buf).is_some() {}
    }
}

#[test]
fn c20_an_address_over_its_rate_proves_itself_first_and_is_refused_then() {
    let limits = NewcomerLimits { per_minute: 6, burst: 3, ..NewcomerLimits::default() };
    let mut pair = limited(limits);
    let admitted = (0..10).filter(|_| attempt(&mut pair)).count();
    // Three at once, and three more by Retry.
    assert_eq!(admitted, 6);
    let counters = pair.server.counters();
    assert_eq!((counters.retried, counters.refused_by_address, counters.refused), (7, 4, 4));

    pair.client_address = "10.0.0.77:1".parse().unwrap();
    assert!(attempt(&mut pair), "another address is another matter");
    pair.client_address = "10.0.0.1:1".parse().unwrap();
    assert!(!attempt(&mut pair));
    pair.run(Duration::from_secs(10));
    assert!(attempt(&mut pair), "one every ten seconds");
}

#[test]
fn c20_a_flood_from_a_forged_address_does_not_lock_its_owner_out() {
    let limits = NewcomerLimits { per_minute: 60, burst: 20, ..NewcomerLimits::default() };
    let mut pair = limited(limits);
    let victim = pair.client_address;
    flood(&mut pair, SocketAddr::new(victim.ip(), 9), 500);
    assert_eq!(pair.server.handshakes(), 20, "no more than the burst cost a handshake");
    assert_eq!(pair.server.counters().refused, 0);
    for _ in 0..5 {
        assert!(attempt(&mut pair));
    }
}

#[test]
fn c20_handshakes_under_way_are_bounded_per_address_and_counted_out() {
    let limits = NewcomerLimits { in_handshake_max: 5, ..NewcomerLimits::default() };
    let mut pair = limited(limits);
    let victim = pair.client_address;
    flood(&mut pair, SocketAddr::new(victim.ip(), 9), 50);
    assert_eq!(pair.server.handshakes(), 5);
    pair.run(Duration::from_secs(15));
    assert_eq!(pair.server.handshakes(), 0);
    for _ in 0..20 {
        assert!(attempt(&mut pair));
    }
    assert_eq!(pair.server.counters().retried, 45, "none but the flood's");
}

/// A server that asks everyone to prove their address; made at this time.
fn retrying(seed: u64, made: Instant, epoch: Option<Instant>) -> Endpoint {
    let server = ServerConfig { handshakes_before_retry: 0, ..ServerConfig::new(plain_server()) };
    let secrets = wire_link::Secrets { seed: [seed as u8; 32], ..secrets(0) };
    Endpoint::server(Config { epoch, ..Config::server(secrets) }, server, made)
}

/// A token of a loop made now, brought to one that was made 100 seconds ago.
fn token_crosses(epoch: Option<Instant>) -> Event {
    let start = common::start();
    let first = retrying(7, start, epoch);
    let client = Endpoint::client(Config::client(secrets(1)), ClientConfig::new(plain_client()), start);
    let mut pair = Pair::between(1, start, client, first);
    pair.run(Duration::from_secs(100));
    let first = std::mem::replace(&mut pair.server, retrying(8, start + Duration::from_secs(100), epoch));
    pair.connect();
    // Until the client has the Retry.
    pair.run(Duration::from_millis(25));
    assert_eq!(pair.server.counters().retried, 1);
    pair.server = first;
    let (_, event) =
        pair.until_client(|event| matches!(event, Event::Connected { .. } | Event::Closed { .. }));
    event
}

#[test]
fn i10_a_retry_token_holds_on_every_loop_of_a_node() {
    let event = token_crosses(Some(common::start()));
    assert!(matches!(event, Event::Connected { .. }), "{event:?}");
    const INVALID_TOKEN: u64 = 0xb;
    let event = token_crosses(None);
    let Event::Closed { reason: CloseReason::Transport { code, .. } } = event else { panic!("{event:?}") };
    assert_eq!(code, INVALID_TOKEN, "what the shared epoch is for");
}
