//! A connection that survives the day: early data, probes, sleep, typing, tokens renewed in place.

mod support;

use std::time::Duration;

use client_core::{ClientEvent, Input, Snapshot, Write};
use support::*;
use wire::event::{Event, Tokens};
use wire::request::Request;
use wire::{ErrorCode, Refusal, Role, Secret, Seq, WallTime, limits};

fn kept(expires_in: Duration) -> Snapshot {
    Snapshot { login: Some(login(expires_in)), ..Snapshot::default() }
}

const HOUR: Duration = Duration::from_secs(3600);

fn hello(world: &mut World) -> wire::request::Hello {
    match world.take(Role::Session).pop() {
        Some(Request::Hello(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

fn typed(world: &mut World) -> Vec<bool> {
    let typing = |request| if let Request::Typing { typing } = request { Some(typing) } else { None };
    world.take(Role::ChatUp).into_iter().filter_map(typing).collect()
}

fn shown(world: &World) -> Vec<bool> {
    let typing = |event: &ClientEvent| {
        if let ClientEvent::Typing { typing, .. } = event { Some(*typing) } else { None }
    };
    world.told.iter().filter_map(typing).collect()
}

#[test]
fn i10_hello_and_the_outbox_leave_in_the_first_flight() {
    let mut world = World::new(kept(HOUR));
    world.send("waiting");
    assert!(world.early, "early data is offered");
    world.input(Input::Early);
    let early = hello(&mut world).credentials.expect("a device").early.expect("an early proof");
    assert_eq!((early.signed_at, early.server_name.as_str()), (WALL, "edge.test"));
    assert_eq!(world.appended(), ["waiting"]);
    world.input(Input::Connected { exporter: [4; 32], early: Some(true) });
    assert!(world.appended().is_empty(), "nothing goes twice");
    world.connected(false);
    assert!(matches!(world.told[..], [ClientEvent::Connected { early: true, .. }]), "{:?}", world.told);
}

#[test]
fn c37_a_refused_first_flight_goes_again_in_order_and_nobody_notices() {
    let mut world = World::new(kept(HOUR));
    world.send("1");
    world.send("2");
    world.input(Input::Early);
    assert_eq!(world.appended(), ["1", "2"]);
    hello(&mut world);
    world.input(Input::Connected { exporter: [4; 32], early: Some(false) });
    assert!(hello(&mut world).credentials.expect("a device").early.is_none(), "signed for the connection");
    assert_eq!(world.appended(), ["1", "2"]);
    world.connected(false);
    assert!(matches!(world.told[..], [ClientEvent::Connected { early: false, .. }]), "{:?}", world.told);
}

#[test]
fn c37_a_clock_or_name_that_does_not_serve_means_a_full_handshake_at_once_and_from_then_on() {
    let mut world = World::new(kept(HOUR));
    world.send("1");
    world.input(Input::Early);
    world.input(Input::Connected { exporter: [4; 32], early: Some(true) });
    let session = world.stream(Role::Session);
    world.event(session, &Event::Refused(ErrorCode::EarlyRefused.refuse()));
    world.pass(Duration::ZERO);
    assert_eq!((world.connects, world.early), (2, false));
    assert!(world.told.is_empty(), "{:?}", world.told);
    world.accept(true);
    assert_eq!(world.appended(), ["1"]);
    world.input(Input::Closed { reason: "gone".into() });
    world.pass(Duration::from_secs(5));
    assert_eq!((world.connects, world.early), (3, false), "the clock is still wrong");
}

#[test]
fn without_early_data_messages_follow_hello_without_waiting_for_its_answer() {
    let mut world = World::new(kept(HOUR));
    world.send("1");
    world.greet();
    assert_eq!(world.appended(), ["1"]);
}

#[test]
fn c1_an_expired_token_is_good_for_early_data_and_then_renewed_on_the_connection() {
    let mut world = World::new(kept(Duration::ZERO));
    let sent = world.send("1");
    assert!(world.early);
    world.input(Input::Early);
    assert_eq!(world.appended(), ["1"]);
    world.input(Input::Connected { exporter: [4; 32], early: Some(true) });
    world.connected(true);
    let ack = ack(sent, 1, 0);
    world.event(world.stream(Role::ChatUp), &ack);
    assert!(matches!(world.take(Role::Request)[..], [Request::Refresh(_)]));
    let tokens = Tokens {
        access: Secret::new("renewed".into()),
        access_expires: world.now.wall + HOUR,
        refresh: Secret::new([8; 48]),
        refresh_expires: world.now.wall + HOUR,
    };
    let request = world.stream(Role::Request);
    world.event(request, &Event::Refreshed(tokens));
    world.input(Input::Ended { stream: request });
    assert!(world.kept.iter().any(|w| matches!(w, Write::Login(l) if l.access.expose() == "renewed")));
    assert_eq!((world.connects, world.closes), (1, 0), "on the same connection");
    world.keep_alive(HOUR - Duration::from_secs(65));
    assert!(world.take(Role::Request).is_empty());
    world.keep_alive(Duration::from_secs(10));
    let again = world.take(Role::Request);
    assert!(matches!(again[..], [Request::Refresh(_)]), "and again before it ends: {again:?}");
}

#[test]
fn i10_a_dead_path_is_probed_and_left_within_seconds_and_a_slow_server_is_not() {
    let mut world = World::ready();
    world.send("1");
    world.pass(Duration::from_millis(1900));
    assert_eq!(world.probes, 0);
    world.pass(Duration::from_millis(200));
    assert_eq!((world.probes, world.closes), (1, 0));
    world.pass(Duration::from_secs(3));
    assert_eq!(world.closes, 1, "no sign of life: another connection");
    world.pass(Duration::from_secs(1));
    world.accept(true);
    world.pass(Duration::from_millis(2100));
    world.input(Input::Alive);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.closes, 1, "the path is alive, and the server gets its time");
    world.pass(Duration::from_secs(10));
    assert_eq!(world.closes, 2);
}

#[test]
fn i10_a_device_that_slept_probes_its_connection_at_once() {
    let mut world = World::ready();
    world.take(Role::Session);
    world.client.suspect(world.now);
    world.drain();
    assert_eq!((world.probes, world.closes), (1, 0));
    world.input(Input::Alive);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.closes, 0, "alive, and nothing was asked: no reason to leave");
    world.client.suspect(world.now);
    world.drain();
    world.pass(Duration::from_secs(3));
    assert_eq!((world.probes, world.closes), (2, 1), "dead");
}

#[test]
fn g24_in_the_background_nothing_is_sent_and_the_connection_is_let_go() {
    let mut world = World::ready();
    world.take(Role::Session);
    world.client.set_foreground(false, world.now);
    world.drain();
    world.pass(Duration::from_secs(6));
    assert_eq!(world.closes, 1);
    assert!(matches!(world.told.last(), Some(ClientEvent::Asleep)), "{:?}", world.told);
    world.pass(HOUR);
    assert_eq!(world.connects, 1, "it stays asleep");
    world.send("a reply from the notification");
    assert_eq!((world.connects, world.early), (2, true), "a message wakes it");
}

#[test]
fn g24_with_something_unsent_a_client_in_the_background_stays_and_comes_back() {
    let mut world = World::ready();
    let first = world.send("1");
    world.client.set_foreground(false, world.now);
    world.drain();
    world.input(Input::Closed { reason: "gone".into() });
    world.pass(Duration::from_secs(1));
    world.accept(true);
    let up = world.stream(Role::ChatUp);
    world.pass(Duration::from_secs(1));
    world.event(up, &ack(first, 1, 0));
    world.pass(Duration::from_secs(6));
    assert!(matches!(world.told.last(), Some(ClientEvent::Asleep)), "{:?}", world.told);
    world.client.set_foreground(true, world.now);
    world.drain();
    assert_eq!(world.connects, 3, "the foreground wakes it");
}

#[test]
fn g24_the_foreground_does_not_wait_for_a_back_off_but_for_the_server() {
    let mut world = World::ready();
    world.client.set_foreground(false, world.now);
    world.send("1");
    for attempt in 1..=6 {
        world.input(Input::Closed { reason: "gone".into() });
        assert_eq!(world.connects, attempt);
        world.client.set_foreground(true, world.now);
        world.drain();
        assert_eq!(world.connects, attempt + 1, "at once");
        world.client.set_foreground(false, world.now);
    }
    world.accept(true);
    let refusal: Refusal = ErrorCode::ShuttingDown.after(Duration::from_secs(3));
    world.event(world.stream(Role::Session), &Event::Goodbye(refusal));
    world.client.set_foreground(true, world.now);
    world.drain();
    assert_eq!(world.connects, 7, "the server asked for three seconds");
    world.pass(Duration::from_millis(3_001));
    assert_eq!(world.connects, 8);
}

#[test]
fn c37_early_data_is_tried_again_after_a_while() {
    let mut world = World::new(kept(HOUR));
    world.input(Input::Early);
    world.input(Input::Connected { exporter: [4; 32], early: Some(true) });
    let refused = Event::Refused(ErrorCode::EarlyRefused.refuse());
    world.event(world.stream(Role::Session), &refused);
    world.pass(Duration::ZERO);
    assert!(!world.early);
    // A server that says so to a full handshake is broken: it is not asked again as fast as it answers.
    world.greet();
    world.event(world.stream(Role::Session), &refused);
    world.pass(Duration::from_millis(900));
    assert_eq!(world.connects, 2);
    world.pass(Duration::from_secs(1));
    world.accept(true);
    world.keep_alive(Duration::from_secs(601));
    world.input(Input::Closed { reason: "gone".into() });
    world.pass(Duration::from_secs(60));
    assert!(world.early);
}

#[test]
fn i10_suspecting_again_and_again_does_not_keep_a_dead_path() {
    let mut world = World::ready();
    for _ in 0..4 {
        world.client.suspect(world.now);
        world.drain();
        world.pass(Duration::from_secs(1));
    }
    assert_eq!((world.probes, world.closes), (1, 1));
}

#[test]
fn r28_heartbeats_come_at_least_every_30_seconds_on_a_common_grid() {
    let mut world = World::ready();
    world.take(Role::Session);
    let mut at = Vec::new();
    for _ in 0..120 {
        world.pass(Duration::from_secs(1));
        for request in world.take(Role::Session) {
            let Request::Ping { client_time } = request else { panic!("{request:?}") };
            at.push(client_time);
            let pong = Event::Pong { client_time, server_time: client_time };
            world.event(world.stream(Role::Session), &pong);
        }
    }
    assert!(at.len() >= 4, "{at:?}");
    assert!(at.iter().all(|at: &WallTime| at.as_millis().is_multiple_of(5000)), "{at:?}");
    assert!(at.windows(2).all(|w| w[1].saturating_since(w[0]) <= limits::HEARTBEAT_INTERVAL), "{at:?}");
}

#[test]
fn r34_r35_keys_are_told_every_three_seconds_and_their_end_once() {
    let mut world = World::ready();
    world.client.open_chat(CHAT, Some(PEER), world.now);
    for _ in 0..50 {
        world.client.typing(CHAT, world.now);
        world.drain();
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(typed(&mut world), [true, true], "five seconds of keys");
    world.pass(Duration::from_secs(10));
    assert_eq!(typed(&mut world), [false]);
    world.client.typing(CHAT, world.now);
    world.send("the message says it all");
    world.pass(Duration::from_millis(1500));
    assert_eq!(typed(&mut world), [true]);
}

#[test]
fn r35_what_others_type_is_shown_until_they_stop_or_say_it_or_vanish() {
    let mut world = World::ready();
    let down = world.down(1);
    let typing = |typing| Event::Typing { member: PEER, typing };
    world.event(down, &typing(true));
    world.event(down, &typing(true));
    world.event(down, &typing(false));
    assert_eq!(shown(&world), [true, false]);
    world.event(down, &typing(true));
    world.entry(down, 1, PEER, id(1));
    assert_eq!(shown(&world), [true, false, true, false], "it was said");
    world.event(down, &typing(true));
    world.pass(Duration::from_secs(7));
    assert_eq!(shown(&world).len(), 6, "it ended by itself");
    world.event(down, &typing(true));
    world.input(Input::Closed { reason: "gone".into() });
    assert_eq!(shown(&world).last(), Some(&false));
}

#[test]
fn r34_an_open_chat_keeps_its_stream_and_gets_one_with_each_connection() {
    let mut world = World::ready();
    world.client.open_chat(CHAT, Some(PEER), world.now);
    world.drain();
    assert!(matches!(world.take(Role::ChatUp)[..], [Request::ChatUp { .. }]));
    world.keep_alive(limits::CHAT_STREAM_IDLE * 2);
    let first = world.stream(Role::ChatUp);
    world.input(Input::Closed { reason: "gone".into() });
    world.pass(Duration::from_secs(1));
    world.accept(true);
    assert_ne!(world.stream(Role::ChatUp), first);
    assert!(matches!(world.take(Role::ChatUp)[..], [Request::ChatUp { .. }]));
}

/// A connection that began with an expired token, which is being renewed on it.
fn renewing() -> World {
    let mut world = World::new(kept(Duration::ZERO));
    world.input(Input::Early);
    world.input(Input::Connected { exporter: [4; 32], early: Some(true) });
    world.connected(true);
    assert!(matches!(world.take(Role::Request)[..], [Request::Refresh(_)]));
    world
}

#[test]
fn c1_a_token_that_was_not_renewed_in_time_ends_the_connection_and_not_the_login() {
    let mut world = renewing();
    // The answer is lost, and the server's patience ends.
    world.input(Input::Ended { stream: world.stream(Role::Request) });
    let goodbye = Event::Goodbye(ErrorCode::TokenExpired.refuse());
    world.event(world.stream(Role::Session), &goodbye);
    world.pass(Duration::ZERO);
    assert!(!world.kept.iter().any(|write| matches!(write, Write::LoggedOut)), "{:?}", world.kept);
    assert!(world.told.iter().all(|event| !matches!(event, ClientEvent::LoginNeeded(_))), "{:?}", world.told);
    assert_eq!(world.connects, 2);
    assert!(world.accept(false).credentials.is_none(), "it is renewed without a session");
    assert!(matches!(world.take(Role::Request)[..], [Request::Refresh(_)]));
}

#[test]
fn c1_a_server_too_busy_to_renew_a_token_keeps_the_connection_and_is_asked_again() {
    let mut world = renewing();
    let request = world.stream(Role::Request);
    let refusal = ErrorCode::Busy.after(Duration::from_secs(10));
    world.event(request, &Event::Refused(refusal));
    world.input(Input::Ended { stream: request });
    world.keep_alive(Duration::from_secs(9));
    assert!(world.take(Role::Request).is_empty(), "not before the server said");
    world.keep_alive(Duration::from_secs(2));
    assert!(matches!(world.take(Role::Request)[..], [Request::Refresh(_)]));
    assert_eq!((world.connects, world.closes), (1, 0), "on the same connection");
}

#[test]
fn g24_a_read_receipt_wakes_a_client_that_sleeps() {
    let mut world = World::new(Snapshot { chats: vec![known_chat(3, 3)], ..kept(HOUR) });
    world.accept(true);
    world.client.set_foreground(false, world.now);
    world.pass(Duration::from_secs(60));
    assert!(matches!(world.told.last(), Some(ClientEvent::Asleep)), "{:?}", world.told);
    world.client.mark_read(CHAT, Seq(3), world.now);
    world.drain();
    assert_eq!(world.connects, 2, "read from a notification");
    world.accept(true);
    let moved = world.take(Role::ChatUp);
    assert!(moved.iter().any(|r| matches!(r, Request::MoveCursor { read: Seq(3), .. })), "{moved:?}");
}

#[test]
fn r34_an_orderly_end_opens_no_stream_again_for_an_open_chat() {
    let mut world = World::ready();
    world.client.open_chat(CHAT, Some(PEER), world.now);
    world.drain();
    let up = world.stream(Role::ChatUp);
    world.client.wind_down();
    world.drain();
    world.client.handle_timeout(world.now);
    world.drain();
    assert_eq!(world.stream(Role::ChatUp), up, "no other");
    world.input(Input::Ended { stream: up });
    assert!(world.client.is_wound_down());
}
