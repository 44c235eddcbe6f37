//! How streams begin and end, and how many there may be.

use std::time::Duration;

use wire::{CloseCode, Role};
use wire_link::testing::Pair;
use wire_link::{Event, OpenError, SendError};

mod common;
use common::{drain, frame, frame_of};

#[test]
fn roles_decide_direction_and_priority() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    for role in [Role::Session, Role::ChatUp, Role::Request] {
        let stream = pair.client.open(client, role).unwrap();
        assert!(stream.is_bidirectional() && stream.is_client_initiated());
    }
    let down = pair.server.open(server, Role::ChatDown).unwrap();
    assert!(!down.is_bidirectional() && !down.is_client_initiated());
    assert_eq!(pair.client.open(client, Role::ChatDown), Err(OpenError::Exhausted), "a server allows none");
}

#[test]
fn a_request_and_its_answer() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    let stream = pair.client.open(client, Role::Request).unwrap();
    pair.client.send(client, stream, frame(20)).unwrap();
    pair.client.finish(client, stream);
    pair.run(Duration::from_secs(1));
    let events: Vec<Event> = drain(|| pair.server_event()).into_iter().map(|(_, event)| event).collect();
    assert_eq!(events, [Event::Opened { stream }, frame_of(stream, 20), Event::Finished { stream }]);
    for size in [1, 2] {
        pair.server.send(server, stream, frame(size)).unwrap();
    }
    pair.server.finish(server, stream);
    assert_eq!(pair.server.send(server, stream, frame(3)), Err(SendError::Closed));
    pair.run(Duration::from_secs(1));
    let events: Vec<Event> = drain(|| pair.client_event()).into_iter().map(|(_, event)| event).collect();
    assert_eq!(
        events,
        [Event::Delivered { stream }, frame_of(stream, 1), frame_of(stream, 2), Event::Finished { stream }]
    );
    pair.until_server(|event| *event == Event::Delivered { stream });
}

#[test]
fn every_send_is_followed_by_one_drained() {
    let mut pair = Pair::new(1, common::start());
    let (client, _) = pair.connected();
    let stream = pair.client.open(client, Role::ChatUp).unwrap();
    let mut drained = || drain(|| pair.client.poll_event()).len();
    assert_eq!(drained(), 0);
    for _ in 0..3 {
        pair.client.send(client, stream, frame(10)).unwrap();
    }
    let events = drain(|| pair.client.poll_event());
    assert_eq!(events, [(client, Event::Drained { stream })]);
    pair.client.send(client, stream, frame(10)).unwrap();
    assert_eq!(pair.client.poll_event(), Some((client, Event::Drained { stream })));
}

#[test]
fn reset_stop_and_abandon_are_told_with_their_codes() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    let code = |code: CloseCode| u64::from(code.number());

    let stream = pair.client.open(client, Role::Request).unwrap();
    pair.client.send(client, stream, frame(1)).unwrap();
    pair.until_server(|event| *event == frame_of(stream, 1));
    pair.client.reset(client, stream, CloseCode::Cancelled);
    pair.until_server(|event| *event == Event::Reset { stream, code: code(CloseCode::Cancelled) });
    pair.server.stop(server, stream, CloseCode::Done);
    pair.server.abandon(server, stream, CloseCode::Unexpected);
    pair.until_client(|event| *event == Event::Reset { stream, code: code(CloseCode::Unexpected) });

    let stream = pair.client.open(client, Role::Request).unwrap();
    pair.client.send(client, stream, frame(1)).unwrap();
    pair.until_server(|event| *event == frame_of(stream, 1));
    pair.server.abandon(server, stream, CloseCode::Flood);
    pair.until_client(|event| *event == Event::Stopped { stream, code: code(CloseCode::Flood) });
    pair.until_client(|event| *event == Event::Reset { stream, code: code(CloseCode::Flood) });
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.server_event(), None);
}

#[test]
fn a_reset_is_told_even_of_a_paused_stream() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    let stream = pair.client.open(client, Role::ChatUp).unwrap();
    pair.client.send(client, stream, frame(1)).unwrap();
    pair.until_server(|event| *event == frame_of(stream, 1));
    pair.server.pause(server, stream);
    pair.client.send(client, stream, frame(2)).unwrap();
    pair.run(Duration::from_secs(1));
    pair.client.reset(client, stream, CloseCode::Cancelled);
    let (_, event) = pair.until_server(|_| true);
    assert_eq!(event, Event::Reset { stream, code: CloseCode::Cancelled.number().into() });
}

#[test]
fn commands_on_what_is_over_do_nothing() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    let stream = pair.client.open(client, Role::Request).unwrap();
    pair.client.close(client, CloseCode::Done, "bye");
    pair.client.close(client, CloseCode::Done, "bye");
    for link in [client, server] {
        pair.client.finish(link, stream);
        pair.client.abandon(link, stream, CloseCode::Done);
        pair.client.pause(link, stream);
        pair.client.resume(link, stream);
        pair.client.set_priority(link, stream, 1);
    }
    assert_eq!(pair.client.send(client, stream, frame(1)), Err(SendError::Closed));
    assert_eq!(pair.client.open(client, Role::Request), Err(OpenError::Closed));
    pair.run(Duration::from_secs(5));
    let closed = drain(|| pair.client_event());
    assert_eq!(closed.len(), 1, "{closed:?}");
    assert_eq!((pair.client.links(), pair.server.links()), (0, 0), "both are forgotten");
}

#[test]
fn k1_limits_begin_tiny_and_grow_with_use() {
    let mut pair = Pair::new(1, common::start());
    let (client, _) = pair.connected();
    let mut open = 0;
    let mut refused = 0;
    while open < 128 {
        match pair.client.open(client, Role::Request) {
            Ok(stream) => {
                pair.client.send(client, stream, frame(1)).unwrap();
                open += 1;
            }
            Err(_) => {
                refused += 1;
                assert!(refused > 1 || open == 4, "four at first, not {open}");
                pair.until_client(|event| *event == Event::StreamsAvailable);
            }
        }
    }
    assert!((1..10).contains(&refused), "doubled each time: {refused}");
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.client.open(client, Role::Request), Err(OpenError::Exhausted), "128 at most");
}

#[test]
fn k1_streams_that_are_not_read_earn_no_more() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    for _ in 0..4 {
        let stream = pair.client.open(client, Role::Request).unwrap();
        pair.client.send(client, stream, frame(1)).unwrap();
    }
    pair.server_sleeps = true;
    pair.step(pair.now + Duration::from_millis(20));
    let mut held = Vec::new();
    while let Some((_, event)) = pair.server.poll_event() {
        if let Event::Opened { stream } = event {
            pair.server.pause(server, stream);
            held.push(stream);
        }
    }
    pair.run(Duration::from_secs(1));
    // Three were open before the owner could say that it reads none: eight are allowed, and no more.
    let more = (0..).take_while(|_| pair.client.open(client, Role::Request).is_ok()).count();
    assert!(held.len() + more <= 8, "{} and {more}", held.len());
}

#[test]
fn streams_come_and_go_without_end() {
    let mut pair = Pair::new(1, common::start());
    let (client, server) = pair.connected();
    for n in 0..500 {
        let stream = pair.client.open(client, Role::Request).unwrap();
        pair.client.send(client, stream, frame(n)).unwrap();
        pair.client.finish(client, stream);
        pair.until_server(|event| *event == Event::Finished { stream });
        pair.server.send(server, stream, frame(n)).unwrap();
        pair.server.finish(server, stream);
        pair.until_client(|event| *event == Event::Finished { stream });
    }
}

#[test]
fn i2_a_second_stream_that_followed_the_first_s_acknowledged_end_is_read_after_it() {
    let mut pair = Pair::new(1, common::start());
    let (_, server) = pair.connected();
    pair.client_sleeps = true;
    let first = pair.server.open(server, Role::ChatDown).unwrap();
    for size in 1..=5 {
        pair.server.send(server, first, frame(size)).unwrap();
    }
    pair.server.finish(server, first);
    pair.until_server(|event| *event == Event::Delivered { stream: first });
    let second = pair.server.open(server, Role::ChatDown).unwrap();
    for size in 6..=9 {
        pair.server.send(server, second, frame(size)).unwrap();
    }
    pair.run(Duration::from_secs(1));
    pair.client_sleeps = false;
    let frames: Vec<Event> = drain(|| pair.client.poll_event())
        .into_iter()
        .map(|(_, event)| event)
        .filter(|event| matches!(event, Event::Frame { .. }))
        .collect();
    let (one, two) = ((1..=5).map(|n| frame_of(first, n)), (6..=9).map(|n| frame_of(second, n)));
    assert_eq!(frames, one.chain(two).collect::<Vec<_>>());
}
