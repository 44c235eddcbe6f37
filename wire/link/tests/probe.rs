//! A dead path told from a slow server.

use std::time::Duration;

use bytes::BytesMut;
use wire::{CloseCode, Role};
use wire_link::Event;
use wire_link::testing::Pair;

mod common;
use common::{drain, frame, frame_of};

fn signs_of_life(pair: &mut Pair) -> usize {
    drain(|| pair.client_event()).iter().filter(|(_, event)| *event == Event::Alive).count()
}

/// What the server would send now; the network never has it.
fn taken_from_server(pair: &mut Pair) -> Vec<Vec<u8>> {
    let mut buf = Vec::new();
    let now = pair.now;
    drain(|| pair.server.poll_transmit(now, &mut buf).map(|transmit| buf[..transmit.size].to_vec()))
}

#[test]
fn i10_a_probe_is_answered_within_a_round_trip_even_if_the_server_is_slow() {
    let mut pair = Pair::new(1, common::start());
    let (client, _) = pair.connected();
    pair.run(Duration::from_secs(5));
    drain(|| pair.client_event());
    pair.server_sleeps = true;
    let began = pair.now;
    pair.client.probe(client);
    pair.client.probe(client);
    pair.until_client(|event| *event == Event::Alive);
    // QUIC may hold an acknowledgement back for 25 ms.
    assert!(pair.now - began <= Duration::from_millis(20 + 25 + 1), "{:?}", pair.now - began);
    pair.run(Duration::from_secs(5));
    assert_eq!(signs_of_life(&mut pair), 0, "once for both");
    assert_eq!(pair.client.counters().probes, 2);
    pair.client.probe(client);
    pair.run(Duration::from_secs(1));
    assert_eq!(signs_of_life(&mut pair), 1, "and again when asked again");
}

#[test]
fn i10_a_dead_path_gives_no_sign_and_one_that_comes_back_does() {
    let mut pair = Pair::new(1, common::start());
    let (client, _) = pair.connected();
    pair.run(Duration::from_secs(1));
    pair.network.conditions.is_cut = true;
    pair.client.probe(client);
    pair.run(Duration::from_secs(10));
    assert_eq!(signs_of_life(&mut pair), 0);
    pair.network.conditions.is_cut = false;
    pair.until_client(|event| *event == Event::Alive);
}

#[test]
fn what_others_send_and_what_is_repeated_is_no_sign_of_life() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    let stream = pair.client.open(client, Role::ChatUp).unwrap();
    pair.client.send(client, stream, frame(1)).unwrap();
    pair.until_server(|event| *event == frame_of(stream, 1));
    pair.run(Duration::from_secs(1));
    let from = pair.server_address();
    pair.server.send(server, stream, frame(100)).unwrap();
    let heard = taken_from_server(&mut pair);
    let give = |pair: &mut Pair, datagrams: &[Vec<u8>]| {
        for bytes in datagrams {
            pair.client.handle_datagram(pair.now, from, None, None, BytesMut::from(&bytes[..]));
        }
        pair.poll();
        signs_of_life(pair)
    };
    give(&mut pair, &heard);
    pair.network.conditions.is_cut = true;
    pair.client.probe(client);
    assert_eq!(give(&mut pair, &heard), 0, "repeated");
    pair.server.send(server, stream, frame(200)).unwrap();
    let whole = taken_from_server(&mut pair);
    assert!(!whole.is_empty());
    let damaged: Vec<Vec<u8>> = whole
        .iter()
        .map(|bytes| {
            let mut bytes = bytes.clone();
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        })
        .collect();
    assert_eq!(give(&mut pair, &damaged), 0, "damaged");
    let garbage = vec![vec![0x41; 200], vec![0xc3; 1200], Vec::new()];
    assert_eq!(give(&mut pair, &garbage), 0, "made up");
    assert_eq!(give(&mut pair, &whole), 1, "the real one");
}

#[test]
fn a_probe_of_a_closed_link_does_nothing() {
    let mut pair = Pair::new(1, common::start());
    let (client, _) = pair.connected();
    pair.client.close(client, CloseCode::Done, "");
    pair.client.probe(client);
    pair.run(Duration::from_secs(5));
    assert_eq!((signs_of_life(&mut pair), pair.client.counters().probes), (0, 0));
}
