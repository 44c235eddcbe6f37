//! Early data (G18, C37): what it may do, what waits for the handshake, what is refused, and what a replay is worth.

mod harness;

use std::time::Duration;

use edge_proto::{Input, Limits, LinkId, StreamId};
use harness::*;
use wire::event::Event;
use wire::request::{self, Request};
use wire::{ErrorCode, Refusal, Seq, WallTime, limits};

/// Says `Hello` on a new connection, as early data.
fn early_hello(world: &mut World, device: &Device, name: &str, at: WallTime) -> Live {
    let link = world.connect_early();
    let session = world.open(link);
    let hello = hello(Some(early_credentials(device, name, at)));
    world.say(link, session, &Request::Hello(hello));
    Live { link, session }
}

fn early(world: &mut World, device: &Device) -> Live {
    let at = world.now.wall;
    early_hello(world, device, NAME, at)
}

fn acks(world: &World, link: LinkId, stream: StreamId) -> Vec<u64> {
    let heard = world.heard_on(link, stream).iter();
    heard.filter_map(|e| if let Event::AppendAck { seq, .. } = e { Some(seq.0) } else { None }).collect()
}

fn refusal(world: &World, live: Live) -> Option<ErrorCode> {
    match world.heard_on(live.link, live.session) {
        [Event::Refused(Refusal { code, .. })] => Some(*code),
        [] => None,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn g18_an_append_in_the_first_flight_is_acknowledged_before_the_handshake() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let b = world.hello(&bob);
    let a = early(&mut world, &alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "awake"));
    assert_eq!(acks(&world, a.link, up), [1]);
    assert_eq!(world.entries(b.link, chat), [(Seq(1), "awake".into())], "others hear of the commit");
    assert_eq!(world.heard_on(a.link, a.session), [], "Connected waits for the handshake");
    world.complete(a.link);
    assert!(matches!(
        world.heard_on(a.link, a.session),
        [Event::Connected(connected), Event::Synced { .. }] if !connected.refresh
    ));
    world.say(a.link, up, &append(2, "still the same stream"));
    assert_eq!(acks(&world, a.link, up), [1, 2]);
}

#[test]
fn g18_delivery_and_the_route_wait_for_the_handshake() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let old = world.hello(&alice);
    let b = world.hello(&bob);
    let up = world.chat_up(b, chat, Some(alice.account()));
    let a = early(&mut world, &alice);
    world.say(b.link, up, &append(1, "not for a replayer"));
    assert_eq!(world.entries(a.link, chat), []);
    assert!(!world.closed.contains(&old.link), "a replay does not push the living session out");
    world.complete(a.link);
    assert_eq!(world.entries(a.link, chat), [(Seq(1), "not for a replayer".into())]);
    world.pass(Duration::from_secs(3));
    assert!(world.closed.contains(&old.link), "the completed one does");
}

#[test]
fn g18_reads_are_answered_and_everything_else_waits() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = early(&mut world, &alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "hello"));
    world.say(a.link, up, &Request::MoveCursor { delivered: Seq(1), read: Seq(1) });
    let page = request::GetMessages { chat, limit: 10, before: Seq(0), after: Seq(0) };
    assert!(matches!(world.ask(a.link, &Request::GetMessages(page))[..], [Event::Entry(_), Event::Page(_)]));
    let phone = wire::Secret::new("+4915100000002".to_owned());
    let waiting = [
        Request::Lookup { phone },
        Request::RevokeDevice { device: bob.verified.device },
        refresh(a.link, &alice, &alice.tokens().refresh, 1),
    ];
    let asked: Vec<StreamId> = waiting
        .iter()
        .map(|request| {
            let stream = world.open(a.link);
            world.say(a.link, stream, request);
            stream
        })
        .collect();
    assert!(asked.iter().all(|&stream| world.heard_on(a.link, stream).is_empty()));
    world.complete(a.link);
    assert!(matches!(world.heard_on(a.link, asked[0]), [Event::Found { .. }]));
    assert!(matches!(world.heard_on(a.link, asked[1]), [Event::Done]));
    assert!(matches!(world.heard_on(a.link, asked[2]), [Event::Refreshed(_)]));
}

#[test]
fn g18_whoever_replays_a_flight_is_answered_nothing_that_is_not_named_here() {
    let mut world = World::new();
    let Pair { alice, chat, .. } = pair(&mut world);
    let a = early(&mut world, &alice);
    let mut waiting = Vec::new();
    for (name, request) in wire::testing::every_request(chat) {
        let stream = world.open(a.link);
        world.say(a.link, stream, &request);
        let answered = !world.heard_on(a.link, stream).is_empty();
        let is_reset = world.reset.contains(&(a.link, stream));
        match request {
            Request::GetMessages(_)
            | Request::GetReceipts { .. }
            | Request::GetChats { .. }
            | Request::ListDevices => assert!(answered && !is_reset, "{name}"),
            // Another chat than the two's: refused at once, and the store is not asked.
            Request::ChatUp { .. } => assert!(answered, "{name}"),
            Request::Hello(_)
            | Request::Ping { .. }
            | Request::Append(_)
            | Request::MoveCursor { .. }
            | Request::Typing { .. }
            | Request::Part { .. } => assert!(is_reset && !answered, "{name}"),
            // On it only cursors move; whoever replays them moves nothing back.
            Request::InboxUp => assert!(!is_reset && !answered, "{name}"),
            // What it states follows: see below.
            Request::CommitGroup(_) => {
                assert!(!answered && !is_reset && world.paused.contains(&(a.link, stream)), "{name}");
            }
            // Anything that is added later, too.
            _ => {
                assert!(!answered && !is_reset, "{name}");
                waiting.push(stream);
            }
        }
    }
    assert!(waiting.len() >= 6, "{} wait", waiting.len());
    world.complete(a.link);
    assert!(
        waiting.iter().all(|&stream| !world.heard_on(a.link, stream).is_empty()),
        "and then they are not"
    );
    assert!(world.paused.iter().all(|(link, _)| *link != a.link), "nor is a commit");
}

#[test]
fn i3_a_replayed_flight_commits_nothing_and_is_charged_once() {
    let mut limits = Limits::default();
    limits.rates.messages_per_minute = 2;
    let mut world = World::with(limits);
    let Pair { alice, bob, chat } = pair(&mut world);
    let at = world.now.wall;
    for replay in 0..5 {
        let a = early_hello(&mut world, &alice, NAME, at);
        let up = world.chat_up(a, chat, Some(bob.account()));
        world.say(a.link, up, &append(1, "once"));
        assert_eq!(acks(&world, a.link, up), [1], "replay {replay}");
        world.input(Input::Closed { link: a.link });
    }
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, None);
    world.say(a.link, up, &append(2, "the quota is still there"));
    assert_eq!(acks(&world, a.link, up), [2]);
}

#[test]
fn g18_a_proof_for_another_server_or_another_time_is_no_use() {
    let mut world = World::new();
    let Pair { alice, .. } = pair(&mut world);
    let now = world.now.wall;
    let far = limits::EARLY_CLOCK_MAX + Duration::from_secs(1);
    for (name, at, code) in [
        ("other.test", now, Some(ErrorCode::EarlyRefused)),
        (NAME, now + far, Some(ErrorCode::EarlyRefused)),
        (NAME, now - far, Some(ErrorCode::EarlyRefused)),
        ("EDGE.test", now, None),
        (NAME, now - limits::EARLY_CLOCK_MAX, None),
    ] {
        let a = early_hello(&mut world, &alice, name, at);
        assert_eq!(refusal(&world, a), code, "{name} {at:?}");
    }
}

#[test]
fn g18_forged_and_misplaced_proofs_are_refused() {
    let mut world = World::new();
    let Pair { alice, bob, .. } = pair(&mut world);
    let now = world.now.wall;
    let mut forged = early_credentials(&alice, NAME, now);
    forged.proof = early_credentials(&bob, NAME, now).proof;
    let link = world.connect_early();
    let session = world.open(link);
    world.say(link, session, &Request::Hello(hello(Some(forged))));
    assert_eq!(refusal(&world, Live { link, session }), Some(ErrorCode::ProofInvalid));
    // Early credentials on a connection without early data, an exporter's proof before there is one, and nobody's Hello.
    let link = world.connect();
    let session = world.open(link);
    world.say(link, session, &Request::Hello(hello(Some(early_credentials(&alice, NAME, now)))));
    assert_eq!(refusal(&world, Live { link, session }), Some(ErrorCode::EarlyRefused));
    let token = alice.tokens().access.expose().clone();
    for (said, code) in [
        (hello(Some(credentials(LinkId(99), &alice, &token))), ErrorCode::ProofInvalid),
        (hello(None), ErrorCode::EarlyRefused),
    ] {
        let link = world.connect_early();
        let session = world.open(link);
        world.say(link, session, &Request::Hello(said));
        assert_eq!(refusal(&world, Live { link, session }), Some(code));
    }
}

#[test]
fn g18_early_data_is_counted_by_address_before_it_is_looked_at() {
    let mut limits = Limits::default();
    limits.rates.early_per_minute = 2;
    let mut world = World::with(limits);
    let Pair { alice, .. } = pair(&mut world);
    let mut next = || {
        let a = early(&mut world, &alice);
        refusal(&world, a)
    };
    let codes = [next(), next(), next()];
    assert_eq!(codes, [None, None, Some(ErrorCode::EarlyRefused)]);
    let a = world.hello(&alice);
    assert!(matches!(world.heard_on(a.link, a.session)[0], Event::Connected(_)), "a full handshake goes on");
}

#[test]
fn c1_an_expired_token_gets_early_appends_and_is_told_to_refresh() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    world.pass(Duration::from_secs(2 * 3600));
    let a = early(&mut world, &alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "after a night"));
    assert_eq!(acks(&world, a.link, up), [1]);
    world.complete(a.link);
    let [Event::Connected(connected), ..] = world.heard_on(a.link, a.session) else { panic!("connected") };
    assert!(connected.refresh);
    let refreshed = world.ask(a.link, &refresh(a.link, &alice, &alice.tokens().refresh, 1));
    assert!(matches!(refreshed[..], [Event::Refreshed(_)]));
    world.pass(Duration::from_secs(120));
    assert!(!world.closed.contains(&a.link), "renewed on the same connection");
    // One that does not renew is ended.
    let b = early(&mut world, &bob);
    world.complete(b.link);
    world.pass(Duration::from_secs(120));
    assert!(matches!(
        world.heard_on(b.link, b.session).last(),
        Some(Event::Goodbye(Refusal { code: ErrorCode::TokenExpired, .. }))
    ));
    assert!(world.closed.contains(&b.link));
}

#[test]
fn c1_an_expired_token_of_an_ended_family_or_device_gets_nothing() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let b = world.hello(&bob);
    assert!(matches!(world.ask(b.link, &Request::Logout)[..], [Event::Done]));
    // Reuse: the first refresh token again, after its successor was used.
    let link = world.anonymous();
    let first = alice.tokens().refresh.clone();
    let refreshed = world.ask(link, &refresh(link, &alice, &first, 1));
    let [Event::Refreshed(tokens)] = &refreshed[..] else { panic!("refreshed") };
    world.ask(link, &refresh(link, &alice, &tokens.refresh, 2));
    assert_eq!(world.refused(link, &refresh(link, &alice, &first, 3)), ErrorCode::RefreshReused);
    world.pass(Duration::from_secs(2 * 3600));
    for device in [&alice, &bob] {
        let live = early(&mut world, device);
        let up = world.chat_up(live, chat, None);
        world.say(live.link, up, &append(1, "no"));
        assert_eq!(refusal(&world, live), Some(ErrorCode::TokenRevoked));
        assert!(acks(&world, live.link, up).is_empty());
    }
}

#[test]
fn g18_a_handshake_faster_than_the_device_check_loses_nothing() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    world.hold = true;
    let a = early(&mut world, &alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "held"));
    world.complete(a.link);
    assert!(acks(&world, a.link, up).is_empty());
    world.release();
    assert_eq!(acks(&world, a.link, up), [1]);
    assert!(matches!(world.heard_on(a.link, a.session)[..], [Event::Connected(_), Event::Synced { .. }]));
}
