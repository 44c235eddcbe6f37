//! Early data: what a client that comes back says in its first flight, and what nobody else can make of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::CertificateDer;
use wire::{CloseCode, Role};
use wire_link::testing::{
    Datagram, EarlyPolicy, Pair, PlainSessions, plain_client, plain_server_sharing, secrets,
};
use wire_link::tls::{self, SessionStore};
use wire_link::{
    ClientConfig, CloseReason, Config, Endpoint, Event, LinkId, OpenError, SendError, ServerConfig, StreamId,
};

mod common;
use common::tls::{One, certificate, trusting};
use common::{drain, frame, frame_of};

/// There and back, by the network's default.
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// A pair whose server can be made again, with its memory of sessions or without.
struct Bench {
    pair: Pair,
    plain: Arc<PlainSessions>,
    serve: Box<dyn Fn(Memory) -> ServerConfig>,
    made: u8,
    /// Whom clients of TLS trust.
    root: Option<CertificateDer<'static>>,
}

/// Whether a server that starts again has kept its sessions.
#[derive(Clone, Copy, PartialEq)]
enum Memory {
    Kept,
    Lost,
}

impl Bench {
    fn plain(seed: u64) -> Bench {
        let plain = PlainSessions::new(EarlyPolicy::Accept);
        let sessions = plain.clone();
        let serve = move |memory| {
            if memory == Memory::Lost {
                sessions.forget();
            }
            ServerConfig::new(plain_server_sharing(sessions.clone()))
        };
        Bench::new(seed, ClientConfig::new(plain_client()), plain, Box::new(serve))
    }

    fn tls(seed: u64, sessions: Arc<SessionStore>) -> Bench {
        let (root, serving) = certificate("localhost");
        let serve = move |memory| {
            let sessions = if memory == Memory::Kept { sessions.clone() } else { Arc::default() };
            ServerConfig::new(tls::server(Arc::new(One(serving.clone())), sessions).unwrap())
        };
        let client = ClientConfig::new(tls::client(trusting(&root)).unwrap());
        let bench = Bench::new(seed, client, PlainSessions::new(EarlyPolicy::Accept), Box::new(serve));
        Bench { root: Some(root), ..bench }
    }

    fn new(
        seed: u64,
        client: ClientConfig,
        plain: Arc<PlainSessions>,
        serve: Box<dyn Fn(Memory) -> ServerConfig>,
    ) -> Bench {
        let start = common::start();
        let client = Endpoint::client(Config::client(secrets(seed)), client, start);
        let server = Endpoint::server(Config::server(secrets(seed + 1000)), serve(Memory::Kept), start);
        Bench { pair: Pair::between(seed, start, client, server), plain, serve, made: 0, root: None }
    }

    /// Kills the server and starts another in its place.
    fn restart(&mut self, memory: Memory) {
        self.restart_with(memory, |_| {});
    }

    fn restart_with(&mut self, memory: Memory, change: impl FnOnce(&mut ServerConfig)) {
        self.made += 1;
        let mut seed = secrets(2000);
        seed.seed[31] = self.made;
        let mut server = (self.serve)(memory);
        change(&mut server);
        self.pair.server = Endpoint::server(Config::server(seed), server, self.pair.now);
    }

    /// Connects, gets a ticket, says goodbye.
    fn introduce(&mut self) {
        let (client, _) = self.pair.connected();
        self.pair.run(Duration::from_secs(1));
        self.pair.client.close(client, CloseCode::Done, "");
        self.pair.run(Duration::from_secs(5));
        self.drop_events();
    }

    fn drop_events(&mut self) {
        drain(|| self.pair.client_event());
        drain(|| self.pair.server_event());
    }

    /// Connects as an owner does that speaks early if it can: a stream with one frame.
    fn speak(&mut self, bytes: usize) -> (LinkId, Option<StreamId>) {
        let link = self.pair.connect();
        let mut events = drain(|| self.pair.client.poll_event());
        events.retain(|(of, _)| *of == link);
        if events.is_empty() {
            return (link, None);
        }
        assert!(matches!(events[..], [(_, Event::Early { .. })]), "{events:?}");
        let stream = self.pair.client.open(link, Role::Request).unwrap();
        self.pair.client.send(link, stream, frame(bytes)).unwrap();
        (link, Some(stream))
    }

    /// The client's datagrams, taken from the wire before the network has them.
    fn capture(&mut self) -> Vec<Datagram> {
        let mut buf = Vec::new();
        let pair = &mut self.pair;
        drain(|| {
            let transmit = pair.client.poll_transmit(pair.now, &mut buf)?;
            let bytes = buf[..transmit.size].to_vec();
            Some(Datagram { from: pair.client_address, to: transmit.destination, bytes })
        })
    }

    /// The server's events so far, each frame on a bidirectional stream answered with the same.
    fn serve(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some((link, event)) = self.pair.server_event() {
            if let Event::Frame { stream, body } = &event {
                self.pair.server.send(link, *stream, frame(body.len())).unwrap();
            }
            events.push(event);
        }
        self.pair.poll();
        events
    }

    /// Lets time pass, the server answering, until the client has an event like this; all the client's till then.
    fn until(&mut self, like: impl Fn(&Event) -> bool) -> Vec<Event> {
        let end = self.pair.now + Duration::from_secs(60);
        let mut events = Vec::new();
        loop {
            self.serve();
            while let Some((_, event)) = self.pair.client_event() {
                let is_it = like(&event);
                events.push(event);
                if is_it {
                    return events;
                }
            }
            assert!(self.pair.step(end), "no such event within a virtual minute, but {events:?}");
        }
    }

    /// What became of early data on the client's next link to complete its handshake.
    fn outcome(&mut self) -> Option<bool> {
        let events = self.until(|event| matches!(event, Event::Connected { .. }));
        let Some(Event::Connected { early, .. }) = events.last() else { unreachable!("asked for above") };
        *early
    }
}

fn benches() -> [Bench; 2] {
    [Bench::plain(1), Bench::tls(1, Arc::default())]
}

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
    // 64 KiB of the remembered window, 512 KiB of queue.
    assert!((560..600).contains(&taken), "{taken}");
    assert_eq!(bench.pair.client.send(link, stream, frame(1000)), Err(SendError::Full));
    let mut answers = 0;
    while answers < taken {
        bench.until(|event| matches!(event, Event::Frame { .. }));
        answers += 1;
    }
}

#[test]
fn r50_early_data_survives_loss_and_a_retry() {
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

#[test]
fn k1_a_real_session_costs_what_is_said() {
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
    assert!((310..340).contains(&each), "{each} bytes per session: correct the doc of `SessionStore`");
}
