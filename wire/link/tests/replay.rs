//! A first flight that others have: what they can make of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use wire::Role;
use wire_link::testing::Datagram;
use wire_link::tls::SessionStore;
use wire_link::{CloseReason, Event};

mod common;
use common::returning::{Bench, Memory, benches};
use common::{drain, frame, frame_of};

#[test]
fn c37_a_ticket_is_good_for_one_connection() {
    let sessions = Arc::new(SessionStore::default());
    let mut bench = Bench::tls(1, sessions.clone());
    bench.introduce();
    assert_eq!(sessions.stats().sessions, 1, "one ticket per connection");
    for n in 1..4 {
        bench.speak(1).1.unwrap();
        assert_eq!(bench.outcome(), Some(true));
        bench.pair.run(Duration::from_secs(1));
        let stats = sessions.stats();
        assert_eq!((stats.sessions, stats.taken, stats.missed), (1, n, 0), "the next ticket");
    }
    // Two at once have one ticket between them.
    assert!(bench.speak(1).1.is_some());
    assert!(bench.speak(1).1.is_none());
}

/// An attacker who has a first flight, and sends it from an address of its own.
fn replay(bench: &mut Bench, flight: &[Datagram]) {
    let from = "10.6.6.6:666".parse().unwrap();
    for datagram in flight {
        let data = BytesMut::from(&datagram.bytes[..]);
        bench.pair.server.handle_datagram(bench.pair.now, from, None, None, data);
    }
    bench.pair.poll();
}

#[test]
fn g18_a_first_flight_that_is_repeated_says_nothing_twice() {
    for restarts in [false, true] {
        for mut bench in benches() {
            bench.introduce();
            let stream = bench.speak(100).1.unwrap();
            let flight = bench.capture();
            for datagram in &flight {
                bench.pair.network.send(bench.pair.now, datagram.clone());
            }
            bench.until(|event| *event == frame_of(stream, 100));
            bench.pair.run(Duration::from_secs(1));
            bench.drop_events();
            let heard = bench.pair.server.counters().frames_in;
            assert_eq!(heard, 1);
            if restarts {
                // It remembers what is left of the sessions, and this one was taken.
                bench.restart(Memory::Kept);
            }
            replay(&mut bench, &flight);
            bench.pair.run(Duration::from_secs(15));
            let events = bench.serve();
            let is_of_the_flight = |event: &&Event| {
                matches!(event, Event::Early { .. } | Event::Opened { .. } | Event::Frame { .. })
            };
            assert_eq!(events.iter().find(is_of_the_flight), None);
            assert_eq!(bench.pair.server.counters().frames_in, if restarts { 0 } else { heard });
            assert_eq!(bench.pair.server.handshakes(), 0);
        }
    }
}

#[test]
fn g18_a_stolen_first_flight_is_early_once_and_never_connected() {
    for mut bench in benches() {
        bench.introduce();
        let stream = bench.speak(100).1.unwrap();
        let flight = bench.capture();
        // The client's own datagrams are lost; the thief's arrive, at two servers that remember the same.
        replay(&mut bench, &flight);
        assert_eq!(bench.pair.server.handshakes(), 1);
        let events = bench.serve();
        let remote = "10.6.6.6:666".parse().unwrap();
        assert_eq!(events, [Event::Early { remote }, Event::Opened { stream }, frame_of(stream, 100)]);
        bench.pair.network.conditions.is_cut = true;
        bench.pair.run(Duration::from_secs(60));
        let events = bench.serve();
        let reason = CloseReason::TimedOut;
        let told = |event: &&Event| !matches!(event, Event::Drained { .. });
        assert_eq!(events.iter().filter(told).collect::<Vec<_>>(), [&Event::Closed { reason }]);
        assert_eq!((bench.pair.server.handshakes(), bench.pair.server.links()), (0, 0));

        bench.restart(Memory::Kept);
        replay(&mut bench, &flight);
        bench.pair.run(Duration::from_secs(15));
        assert_eq!(bench.serve(), [], "its ticket is used up");
        assert_eq!(bench.pair.server.counters().accepted, 1);
        assert_eq!(bench.pair.server.links(), 0);
    }
}

#[test]
fn g18_early_answers_go_to_an_unproved_address_three_times_over_at_most() {
    let mut bench = Bench::plain(1);
    bench.introduce();
    bench.speak(100);
    let flight = bench.capture();
    let arrived: usize = flight.iter().map(|datagram| datagram.bytes.len()).sum();
    replay(&mut bench, &flight);
    let (link, _) = bench.pair.until_server(|event| matches!(event, Event::Frame { .. }));
    let stream = bench.pair.server.open(link, Role::ChatDown).unwrap();
    let mut sent = 0;
    let mut buf = Vec::new();
    for _ in 0..2000 {
        let _ = bench.pair.server.send(link, stream, frame(1000));
        let now = bench.pair.now;
        if bench.pair.server.poll_timeout().is_some_and(|at| at <= now) {
            bench.pair.server.handle_timeout(now);
        }
        sent +=
            drain(|| bench.pair.server.poll_transmit(now, &mut buf)).iter().map(|t| t.size).sum::<usize>();
        bench.pair.now += Duration::from_millis(10);
    }
    // And the datagram that goes over it, as in `migration.rs`.
    assert!(sent > 0 && sent < 3 * arrived + 1200, "{sent} for {arrived}");
}
