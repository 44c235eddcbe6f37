//! Frames over links: whole, in order, whatever the network does.

use std::time::Duration;

use bytes::Bytes;
use wire::limits::FRAME_BYTES_MAX;
use wire::{CloseCode, Role};
use wire_link::testing::{Conditions, Pair};
use wire_link::{CloseReason, Event, StreamId};

mod common;
use common::{body, drain, frame, frame_of};

#[test]
fn r115_frames_of_every_size_arrive_whole_and_in_order() {
    let mut pair = Pair::new(1, common::start());
    let (client, _) = pair.connected();
    let stream = pair.client.open(client, Role::ChatUp).unwrap();
    let sizes = [0, 1, 62, 63, 64, 65, 1000, 1199, 1200, 1201, 16_383, 16_384, 65_535, FRAME_BYTES_MAX];
    for &size in &sizes {
        pair.client.send(client, stream, frame(size)).unwrap();
    }
    pair.client.finish(client, stream);
    for &size in &sizes {
        let (_, event) = pair.until_server(|event| matches!(event, Event::Frame { .. }));
        assert_eq!(event, Event::Frame { stream, body: body(size).into() });
    }
    pair.until_server(|event| *event == Event::Finished { stream });
    pair.until_client(|event| *event == Event::Delivered { stream });
}

#[test]
fn r50_loss_reordering_and_repetition_change_nothing() {
    for seed in 0..20 {
        let mut pair = Pair::new(seed, common::start());
        pair.network.conditions = Conditions {
            jitter: Duration::from_millis(40),
            loss: 0.1,
            duplication: 0.1,
            ..Conditions::default()
        };
        let (client, server) = pair.connected();
        let streams: Vec<StreamId> =
            (0..3).map(|_| pair.client.open(client, Role::Request).unwrap()).collect();
        for (n, &stream) in streams.iter().enumerate() {
            for size in [10, 3000, 1 + 900 * n] {
                pair.client.send(client, stream, frame(size)).unwrap();
            }
            pair.client.finish(client, stream);
        }
        let mut received = vec![Vec::new(); streams.len()];
        let mut finished = 0;
        while finished < streams.len() {
            let (link, event) = pair.until_server(|_| true);
            assert_eq!(link, server);
            match event {
                Event::Frame { stream, body } => {
                    let n = streams.iter().position(|&s| s == stream).unwrap();
                    received[n].push(body.len());
                }
                Event::Finished { .. } => finished += 1,
                _ => {}
            }
        }
        let expected: Vec<Vec<usize>> = (0..3).map(|n| vec![10, 3000, 1 + 900 * n]).collect();
        assert_eq!(received, expected, "seed {seed}");
    }
}

#[test]
fn one_seed_gives_one_run_datagram_for_datagram() {
    let run = |seed| {
        let mut pair = Pair::new(seed, common::start());
        pair.network.conditions.loss = 0.2;
        let (client, _) = pair.connected();
        let stream = pair.client.open(client, Role::Request).unwrap();
        for size in 0..50 {
            pair.client.send(client, stream, frame(size * 100)).unwrap();
        }
        pair.client.finish(client, stream);
        pair.until_server(|event| *event == Event::Finished { stream });
        pair.run(Duration::from_secs(5));
        (pair.now.duration_since(common::start()), pair.network.counts(), pair.network.digest())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn r115_a_frame_over_the_cap_closes_the_connection() {
    for announced in [[0x80, 0x01, 0x20, 0x01].as_slice(), &[0xc0, 0, 0, 0, 0, 0, 0, 1]] {
        let mut pair = Pair::new(1, common::start());
        let (client, server) = pair.connected();
        let stream = pair.client.open(client, Role::Request).unwrap();
        pair.client.send(client, stream, Bytes::copy_from_slice(announced)).unwrap();
        let (link, event) = pair.until_server(|event| matches!(event, Event::Closed { .. }));
        assert_eq!(link, server);
        assert_eq!(event, Event::Closed { reason: CloseReason::Here(CloseCode::TooLarge) });
        let (_, event) = pair.until_client(|event| matches!(event, Event::Closed { .. }));
        let code = CloseCode::TooLarge.number().into();
        assert!(matches!(event, Event::Closed { reason: CloseReason::Peer { code: c, .. } } if c == code));
        assert_eq!(pair.server.counters().oversized, 1);
    }
}

#[test]
fn a_fin_within_a_frame_ends_the_stream_as_malformed_and_not_the_link() {
    let mut pair = Pair::new(1, common::start());
    let (client, _) = pair.connected();
    let torn = pair.client.open(client, Role::Request).unwrap();
    pair.client.send(client, torn, frame(100).slice(..50)).unwrap();
    pair.client.finish(client, torn);
    let code = CloseCode::Malformed.number().into();
    pair.until_server(|event| *event == Event::Reset { stream: torn, code });
    let whole = pair.client.open(client, Role::Request).unwrap();
    pair.client.send(client, whole, frame(3)).unwrap();
    pair.until_server(|event| *event == Event::Frame { stream: whole, body: body(3).into() });
}

#[test]
fn frames_that_arrived_before_the_close_are_still_handed_on() {
    let mut pair = Pair::new(1, common::start());
    let (client, _) = pair.connected();
    let stream = pair.client.open(client, Role::Request).unwrap();
    pair.server_sleeps = true;
    for size in [1, 2, 3] {
        pair.client.send(client, stream, frame(size)).unwrap();
    }
    pair.run(Duration::from_secs(1));
    pair.client.close(client, CloseCode::Done, "bye");
    pair.run(Duration::from_secs(1));
    pair.server_sleeps = false;
    pair.poll();
    let events: Vec<Event> = drain(|| pair.server_event()).into_iter().map(|(_, event)| event).collect();
    let reason = CloseReason::Peer { code: CloseCode::Done.number().into(), reason: "bye".into() };
    assert_eq!(
        events,
        [
            Event::Opened { stream },
            frame_of(stream, 1),
            frame_of(stream, 2),
            frame_of(stream, 3),
            Event::Closed { reason }
        ]
    );
}

#[test]
fn the_exporter_is_the_same_on_both_sides_and_on_no_other_connection() {
    let mut pair = Pair::new(1, common::start());
    let mut seen = Vec::new();
    for _ in 0..2 {
        pair.connect();
        let (_, here) = pair.until_client(|event| matches!(event, Event::Connected { .. }));
        let (_, there) = pair.until_server(|event| matches!(event, Event::Connected { .. }));
        let (Event::Connected { exporter: a, .. }, Event::Connected { exporter: b, .. }) = (here, there)
        else {
            unreachable!("asked for above")
        };
        assert_eq!(a, b);
        seen.push(a);
    }
    assert_ne!(seen[0], seen[1]);
}
