//! Nobody's slowness is anybody else's, and nobody's costs more than its bound.

use std::time::Duration;

use wire::{CloseCode, Role};
use wire_link::testing::Pair;
use wire_link::{Event, LinkId, SendError, StreamId};

mod common;
use common::{client_bytes, drain, frame, frame_of};

/// Bytes of each frame sent here; a stream's window holds some 60.
const SIZE: usize = 1000;

/// A link, and streams that the server opened on it.
fn with_downs(pair: &mut Pair, count: usize) -> (LinkId, LinkId, Vec<StreamId>) {
    let (client, server) = pair.connected();
    let streams = (0..count).map(|_| pair.server.open(server, Role::ChatDown).unwrap()).collect();
    (client, server, streams)
}

/// Sends until the queue is full; how many frames it took.
fn fill(pair: &mut Pair, link: LinkId, stream: StreamId) -> usize {
    let mut taken = 0;
    while pair.server.send(link, stream, frame(SIZE)).is_ok() {
        taken += 1;
    }
    taken
}

#[test]
fn r115_pause_pushes_back_on_the_sender() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    let stream = pair.client.open(client, Role::ChatUp).unwrap();
    pair.client.send(client, stream, frame(1)).unwrap();
    pair.until_server(|event| *event == frame_of(stream, 1));
    pair.server.pause(server, stream);

    let mut taken = 0;
    while pair.client.send(client, stream, frame(SIZE)).is_ok() {
        taken += 1;
        pair.run(Duration::from_millis(5));
    }
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.server_event(), None, "a paused stream yields nothing");
    // 64 KiB of window and 896 KiB of queue.
    assert!((950..1000).contains(&taken), "{taken}");
    assert_eq!(pair.client.send(client, stream, frame(SIZE)), Err(SendError::Full));

    pair.server.resume(server, stream);
    pair.run(Duration::from_secs(10));
    let events = drain(|| pair.server_event());
    assert_eq!(events.iter().filter(|(_, event)| *event == frame_of(stream, SIZE)).count(), taken);
    pair.until_client(|event| *event == Event::Drained { stream });
}

#[test]
fn r115_a_pause_in_answer_to_a_frame_holds_before_the_next_frame() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    let stream = pair.client.open(client, Role::ChatUp).unwrap();
    for _ in 0..3 {
        pair.client.send(client, stream, frame(10)).unwrap();
    }
    pair.server_sleeps = true;
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.server.poll_event(), Some((server, Event::Opened { stream })));
    pair.server.pause(server, stream);
    assert_eq!(pair.server.poll_event(), None);
    pair.server.resume(server, stream);
    assert_eq!(pair.server.poll_event(), Some((server, frame_of(stream, 10))));
    pair.server.pause(server, stream);
    assert_eq!(pair.server.poll_event(), None);
}

#[test]
fn r115_stalled_streams_delay_no_other() {
    let mut pair = Pair::new(1, common::start());
    // All but one stalled, and each with more than its window.
    let (client, server, streams) = with_downs(&mut pair, 4);
    let (live, stalled) = streams.split_first().unwrap();
    for &stream in stalled {
        pair.server.send(server, stream, frame(1)).unwrap();
        pair.until_client(|event| *event == frame_of(stream, 1));
        pair.client.pause(client, stream);
        for _ in 0..200 {
            pair.server.send(server, stream, frame(SIZE)).unwrap();
        }
    }
    pair.run(Duration::from_secs(5));
    for round in 0..50 {
        pair.server.send(server, *live, frame(SIZE)).unwrap();
        let bytes = client_bytes(&mut pair, Duration::from_millis(50), &[*live]);
        assert_eq!(bytes, [SIZE], "round {round}");
    }
}

#[test]
fn streams_of_one_priority_share_and_a_higher_one_goes_first() {
    let mut pair = Pair::new(1, common::start());
    let (_, server, streams) = with_downs(&mut pair, 3);
    for &stream in &streams[..2] {
        fill(&mut pair, server, stream);
    }
    let bytes = client_bytes(&mut pair, Duration::from_millis(60), &streams[..2]);
    let (least, most) = (bytes.iter().min().unwrap(), bytes.iter().max().unwrap());
    assert!(*least * 2 > *most, "{bytes:?}");

    pair.server.set_priority(server, streams[2], Role::Session.priority());
    for _ in 0..20 {
        pair.server.send(server, streams[2], frame(SIZE)).unwrap();
    }
    let bytes = client_bytes(&mut pair, Duration::from_millis(60), &streams);
    assert_eq!(bytes[2], 20 * SIZE, "{bytes:?}");
}

#[test]
fn answers_take_the_priority_of_the_role_that_the_first_frame_names() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    let request = pair.client.open(client, Role::Request).unwrap();
    pair.client.send(client, request, frame(1)).unwrap();
    let chat = pair.client.open(client, Role::ChatUp).unwrap();
    let first = wire::Request::ChatUp { chat: wire::ChatId::new([1; 16]), peer: None };
    pair.client.send(client, chat, first.encode()).unwrap();
    pair.until_server(|event| matches!(event, Event::Frame { stream, .. } if *stream == chat));
    fill(&mut pair, server, request);
    pair.run(Duration::from_millis(1));
    for _ in 0..10 {
        pair.server.send(server, chat, frame(SIZE)).unwrap();
    }
    let bytes = client_bytes(&mut pair, Duration::from_millis(45), &[chat, request]);
    assert_eq!(bytes[0], 10 * SIZE, "{bytes:?}");
}

#[test]
fn k1_a_client_that_acknowledges_nothing_costs_no_more_than_the_bounds() {
    let mut pair = Pair::new(1, common::start());
    let (_, server, streams) = with_downs(&mut pair, 4);
    pair.network.conditions.is_cut = true;
    let taken: usize = streams.iter().map(|&stream| fill(&mut pair, server, stream)).sum();
    let bytes = taken * (SIZE + 2);
    assert!(bytes <= (2 << 20) + (256 << 10), "queues and send window: {bytes}");
    assert!(pair.server.queued_bytes(server).unwrap() <= 2 << 20);
    let (_, event) = pair.until_server(|event| matches!(event, Event::Closed { .. }));
    assert_eq!(event, Event::Closed { reason: wire_link::CloseReason::TimedOut });
}

#[test]
fn k1_a_client_that_reads_nothing_costs_no_more_than_the_bounds() {
    let mut pair = Pair::new(1, common::start());
    let (_, server, streams) = with_downs(&mut pair, 4);
    pair.client_sleeps = true;
    let mut taken = 0;
    for _ in 0..20 {
        taken += streams.iter().map(|&stream| fill(&mut pair, server, stream)).sum::<usize>();
        pair.run(Duration::from_secs(1));
    }
    // The client holds one window per stream; the server, its queues.
    let bytes = taken * (SIZE + 2);
    assert!(bytes <= 4 * (64 << 10) + (2 << 20) + (256 << 10), "{bytes}");
}

#[test]
fn what_is_queued_is_dropped_when_the_peer_stops_the_stream() {
    let mut pair = Pair::new(1, common::start());
    let (client, server, streams) = with_downs(&mut pair, 1);
    fill(&mut pair, server, streams[0]);
    pair.run(Duration::from_millis(30));
    pair.client.stop(client, streams[0], CloseCode::Cancelled);
    let code = CloseCode::Cancelled.number().into();
    pair.until_server(|event| *event == Event::Stopped { stream: streams[0], code });
    assert_eq!(pair.server.queued_bytes(server), Some(0));
    assert_eq!(pair.server.send(server, streams[0], frame(1)), Err(SendError::Closed));
}
