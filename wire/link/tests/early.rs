//! Early data: what a client that comes back says in its first flight, and what becomes of it if the server refuses.

use std::sync::Arc;
use std::time::Duration;

use wire::Role;
use wire_link::testing::{EarlyPolicy, secrets};
use wire_link::tls::{self, SessionStore};
use wire_link::{ClientConfig, Config, Endpoint, Event, OpenError, SendError};

mod common;
use common::returning::{Bench, Memory, benches};
use common::tls::trusting;
use common::{frame, frame_of};

/// There and back, by the network's default.
const ROUND_TRIP: Duration = Duration::from_millis(20);

#[test]
fn i10_a_client_that_comes_back_has_its_answer_after_one_round_trip_and_not_two() {
    for mut bench in benches() {
        let began = bench.pair.now;
        let (link, none) = bench.speak(100);
        assert_eq!(none, None, "the first time there is nobody to remember");
        assert_eq!(bench.outcome(), None);
        let stream = bench.pair.client.open(link, Role::Request).unwrap();
        bench.pair.client.send(link, stream, frame(100)).unwrap();
        bench.until(|event| *event == frame_of(stream, 100));
        assert_eq!(bench.pair.now - began, 2 * ROUND_TRIP);
        bench.pair.run(Duration::from_secs(1));

        let began = bench.pair.now;
        let stream = bench.speak(100).1.expect("it is remembered");
        let events = bench.until(|event| *event == frame_of(stream, 100));
        assert_eq!(bench.pair.now - began, ROUND_TRIP);
        assert!(events.iter().any(|e| matches!(e, Event::Connected { early: Some(true), .. })), "{events:?}");
        assert_eq!(bench.pair.client.counters().early_accepted, 1);
        bench.pair.run(ROUND_TRIP);
        assert_eq!(bench.pair.server.counters().early_accepted, 1);
        assert_eq!(bench.pair.server.handshakes(), 0);
    }
}

#[test]
fn g18_a_server_hears_early_frames_between_early_and_connected() {
    for mut bench in benches() {
        bench.introduce();
        let stream = bench.speak(100).1.unwrap();
        bench.pair.run(ROUND_TRIP * 10);
        let events = bench.serve();
        let remote = bench.pair.client_address;
        assert_eq!(events[0], Event::Early { remote });
        assert_eq!(events[1..3], [Event::Opened { stream }, frame_of(stream, 100)]);
        assert!(
            matches!(events[3], Event::Connected { early: Some(true), remote: r, .. } if r == remote),
            "{events:?}"
        );
        assert_eq!(events.len(), 4, "{events:?}");
    }
}

#[test]
fn c37_a_refusal_undoes_what_was_early_and_an_owner_who_repeats_it_loses_nothing() {
    for (mut bench, memory) in benches().into_iter().zip([Memory::Kept, Memory::Lost]) {
        bench.introduce();
        bench.plain.set_policy(EarlyPolicy::Refuse);
        bench.restart(memory);
        let (link, stream) = bench.speak(100);
        let stream = stream.unwrap();
        while bench.pair.client.send(link, stream, frame(10_000)).is_ok() {}
        bench.pair.client.finish(link, stream);
        let second = bench.pair.client.open(link, Role::Session).unwrap();
        bench.pair.client.send(link, second, frame(5)).unwrap();
        bench.pair.client.finish(link, second);
        assert!(bench.pair.client.queued_bytes(link).unwrap() > 100_000);

        let events = bench.until(|event| matches!(event, Event::Connected { .. }));
        assert!(matches!(events.last(), Some(Event::Connected { early: Some(false), .. })), "{events:?}");
        assert_eq!(bench.pair.client.queued_bytes(link), Some(0));
        assert_eq!(bench.pair.client.send(link, stream, frame(1)), Err(SendError::Closed));
        assert_eq!(bench.pair.client.counters().early_refused, 1);
        let again = bench.pair.client.open(link, Role::Request).unwrap();
        assert_eq!(again, stream, "as if the first had never been");
        bench.pair.client.send(link, again, frame(7)).unwrap();
        bench.pair.client.finish(link, again);
        let events = bench.until(|event| matches!(event, Event::Frame { .. }));
        assert_eq!(events.last(), Some(&frame_of(again, 7)));
        let strange = |event: &&Event| matches!(event, Event::Stopped { .. } | Event::Reset { .. });
        assert_eq!(events.iter().find(strange), None);

        let heard = bench.pair.server.counters().frames_in;
        assert_eq!(heard, 1, "nothing of what was refused");
        bench.pair.run(Duration::from_secs(5));
        assert_eq!(bench.pair.client.links(), 1, "the link is sound");
    }
}

#[test]
fn c37_a_refused_client_may_open_all_its_streams_again() {
    let mut bench = Bench::plain(1);
    bench.introduce();
    bench.plain.set_policy(EarlyPolicy::Refuse);
    let (link, _) = bench.speak(1);
    let early = (0..).take_while(|_| bench.pair.client.open(link, Role::Request).is_ok()).count();
    assert_eq!(early, 3, "and the one of `speak`: the remembered initial limit");
    assert_eq!(bench.outcome(), Some(false));
    let event = bench.until(|event| *event == Event::StreamsAvailable);
    assert_eq!(event.len(), 1, "at once");
    for size in 0..4 {
        let stream = bench.pair.client.open(link, Role::Request).unwrap();
        bench.pair.client.send(link, stream, frame(size)).unwrap();
        bench.until(|event| *event == frame_of(stream, size));
    }
}

#[test]
fn c37_an_owner_who_looks_only_after_the_refusal_never_hears_of_early_data() {
    let mut bench = Bench::plain(1);
    bench.introduce();
    bench.plain.set_policy(EarlyPolicy::Refuse);
    bench.pair.client_sleeps = true;
    let link = bench.pair.connect();
    bench.pair.run(Duration::from_secs(1));
    bench.pair.client_sleeps = false;
    let event = bench.pair.client.poll_event();
    assert!(matches!(event, Some((_, Event::Connected { early: Some(false), .. }))), "{event:?}");
    let stream = bench.pair.client.open(link, Role::Request).unwrap();
    bench.pair.client.send(link, stream, frame(3)).unwrap();
    bench.until(|event| *event == frame_of(stream, 3));
}

#[test]
fn c37_a_node_that_starts_again_costs_a_full_handshake_and_no_error() {
    for mut bench in benches() {
        bench.introduce();
        bench.restart(Memory::Lost);
        let began = bench.pair.now;
        let (link, stream) = bench.speak(100);
        assert!(stream.is_some(), "the client cannot know");
        assert_eq!(bench.outcome(), Some(false));
        let stream = bench.pair.client.open(link, Role::Request).unwrap();
        bench.pair.client.send(link, stream, frame(100)).unwrap();
        bench.until(|event| *event == frame_of(stream, 100));
        assert_eq!(bench.pair.now - began, 2 * ROUND_TRIP);
        // The new node remembers from here on.
        bench.pair.run(Duration::from_secs(1));
        bench.speak(1).1.unwrap();
        assert_eq!(bench.outcome(), Some(true));
    }
}

#[test]
fn a_client_that_offers_none_resumes_without_early_data() {
    for mut bench in benches() {
        bench.introduce();
        let to = bench.pair.server_address();
        let now = bench.pair.now;
        let link = bench.pair.client.connect_with(now, to, "localhost", false).unwrap();
        assert_eq!(bench.pair.client.poll_event(), None);
        assert_eq!(bench.pair.client.open(link, Role::Request), Err(OpenError::Exhausted));
        let events = bench.until(|event| *event == Event::StreamsAvailable);
        assert!(matches!(events[0], Event::Connected { early: None, .. }), "{events:?}");
        let stream = bench.pair.client.open(link, Role::Request).unwrap();
        bench.pair.client.send(link, stream, frame(100)).unwrap();
        bench.until(|event| *event == frame_of(stream, 100));
        assert_eq!(bench.pair.server.counters().early_accepted, 0);
    }
}

#[test]
fn an_owner_who_does_not_care_for_early_data_sees_links_as_before() {
    for mut bench in benches() {
        bench.introduce();
        let (client, server) = bench.pair.connected();
        let stream = bench.pair.client.open(client, Role::Request).unwrap();
        bench.pair.client.send(client, stream, frame(3)).unwrap();
        assert_eq!(bench.pair.until_server(|_| true), (server, Event::Opened { stream }), "no `Early`");
        bench.until(|event| *event == frame_of(stream, 3));
    }
}

#[test]
fn k1_early_streams_have_the_bounds_of_others() {
    let mut bench = Bench::plain(1);
    bench.introduce();
    let (link, stream) = bench.speak(1000);
    let stream = stream.unwrap();
    let mut taken = 1;
    while bench.pair.client.send(link, stream, frame(1000)).is_ok() {
        taken += 1;
    }
    // 64 KiB of the remembered window, 896 KiB of queue.
    assert!((950..1000).contains(&taken), "{taken}");
    assert_eq!(bench.pair.client.send(link, stream, frame(1000)), Err(SendError::Full));
    let mut answers = 0;
    while answers < taken {
        bench.until(|event| matches!(event, Event::Frame { .. }));
        answers += 1;
    }
}

#[test]
fn c37_early_data_survives_loss_and_a_retry() {
    for seed in 0..20 {
        let mut bench = Bench::plain(seed);
        bench.introduce();
        if seed % 2 == 0 {
            bench.restart_with(Memory::Kept, |server| server.handshakes_before_retry = 0);
        }
        bench.pair.network.conditions.loss = 0.15;
        bench.pair.network.conditions.jitter = Duration::from_millis(5);
        let stream = bench.speak(5_000).1.unwrap();
        let events = bench.until(|event| *event == frame_of(stream, 5_000));
        let accepted = |event: &Event| matches!(event, Event::Connected { early: Some(true), .. });
        assert!(events.iter().any(accepted), "{events:?}");
        assert_eq!(bench.pair.server.counters().retried > 0, seed % 2 == 0);
    }
}

#[test]
fn c37_a_real_session_costs_what_is_said() {
    const PHONES: usize = 20;
    let sessions = Arc::new(SessionStore::default());
    let mut bench = Bench::tls(1, sessions.clone());
    let root = bench.root.clone().expect("TLS has an authority");
    for n in 0..PHONES {
        let crypto = tls::client(trusting(&root)).unwrap();
        let config = Config::client(secrets(100 + n as u64));
        bench.pair.client = Endpoint::client(config, ClientConfig::new(crypto), bench.pair.now);
        bench.introduce();
    }
    let stats = sessions.stats();
    assert_eq!(stats.sessions, PHONES);
    let each = stats.bytes / PHONES;
    assert!((295..325).contains(&each), "{each} bytes per session: correct the doc of `SessionStore`");
}
