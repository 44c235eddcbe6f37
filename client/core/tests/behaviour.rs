//! A client against a server that is a script: what it says when, what it keeps, and what it does when answers are late,
//! lost, refused or wrong.

mod support;

use std::time::Duration;

use bytes::Bytes;
use client_core::{Ask, ClientEvent, Input, Snapshot, Write};
use support::*;
use wire::event::{Cursor, Event, Tokens};
use wire::request::Request;
use wire::{Epoch, ErrorCode, RequestId, Role, Secret, Seq, limits};

#[test]
fn r33_what_was_not_acknowledged_goes_again_in_order() {
    let mut world = World::ready();
    let first = world.send("1");
    world.send("2");
    assert_eq!(world.appended(), ["1", "2"]);
    let up = world.stream(Role::ChatUp);
    world.event(up, &ack(first, 1, 0));
    world.input(Input::Closed { reason: "gone".into() });
    world.send("3");
    world.pass(Duration::from_secs(1));
    world.accept(true);
    assert_eq!(world.appended(), ["2", "3"]);
    assert!(
        matches!(world.kept[..], [.., Write::Queue(_)]),
        "kept before anything is said: {:?}",
        world.kept
    );
}

#[test]
fn g21_a_retryable_refusal_holds_everything_after_it_and_a_final_one_does_not() {
    let mut world = World::ready();
    let first = world.send("1");
    let second = world.send("2");
    world.appended();
    let up = world.stream(Role::ChatUp);
    let refusal = ErrorCode::RateLimited.after(Duration::from_secs(2));
    world.event(up, &Event::AppendRefused { client_msg_id: first, refusal, epoch: Epoch::ZERO });
    world.send("3");
    world.pass(Duration::from_millis(1900));
    assert!(world.appended().is_empty(), "not before its time");
    world.pass(Duration::from_millis(200));
    assert_eq!(world.appended(), ["1", "2", "3"]);
    let up = world.stream(Role::ChatUp);
    let refusal = ErrorCode::RecipientUnknown.refuse();
    world.event(up, &Event::AppendRefused { client_msg_id: first, refusal, epoch: Epoch::ZERO });
    assert!(world.kept.contains(&Write::Failed { client_msg_id: first, code: ErrorCode::RecipientUnknown }));
    world.event(up, &ack(second, 1, 0));
    assert_eq!(world.client.outbox_len(), 1);
}

#[test]
fn r115_a_busy_server_is_asked_again_not_before_it_said_and_without_anybody_s_doing() {
    let mut world =
        World::new(Snapshot { login: Some(login(Duration::from_secs(3600))), ..Snapshot::default() });
    let message = world.send("waits");
    for connects in 1..=5 {
        world.greet();
        let refusal = ErrorCode::Busy.after(Duration::from_secs(3));
        world.event(world.stream(Role::Session), &Event::Refused(refusal));
        world.pass(Duration::from_millis(2_900));
        assert_eq!(world.connects, connects, "not before its time");
        let Some(ClientEvent::Disconnected { retry_in, .. }) = world.told.last() else {
            panic!("{:?}", world.told)
        };
        assert!(*retry_in > Duration::from_secs(3), "and not at the same moment as everybody else");
        world.pass(*retry_in);
        assert_eq!(world.connects, connects + 1);
    }
    world.accept(true);
    let up = world.stream(Role::ChatUp);
    world.event(up, &ack(message, 1, 0));
    assert_eq!(world.client.outbox_len(), 0);
}

#[test]
fn g21_cancel_works_only_before_a_message_has_left() {
    let mut world = World::ready();
    let left = world.send("left");
    assert!(!world.client.cancel(left));
    world.input(Input::Closed { reason: "gone".into() });
    let waits = world.send("waits");
    assert!(world.client.cancel(waits));
    world.drain();
    assert!(world.kept.contains(&Write::Cancelled { client_msg_id: waits }));
}

#[test]
fn r50_echoes_answer_like_acks_and_make_room_for_more() {
    let mut world = World::ready();
    let ids: Vec<_> = (0..limits::APPENDS_IN_FLIGHT_MAX + 5).map(|_| world.send("x")).collect();
    assert_eq!(world.appended().len(), limits::APPENDS_IN_FLIGHT_MAX);
    let down = world.down(1);
    for (n, &id) in ids.iter().enumerate().take(5) {
        world.entry(down, n as u64 + 1, ME, id);
    }
    assert_eq!(world.appended().len(), 5, "an echo is an answer");
    let up = world.stream(Role::ChatUp);
    world.event(up, &ack(ids[0], 1, 0));
    let sent = world.told.iter().filter(|event| matches!(event, ClientEvent::Sent(_))).count();
    assert_eq!(sent, 5, "each is told once");
}

#[test]
fn r50_repeats_are_dropped_and_a_gap_is_stated_at_the_next_hello() {
    let mut world = World::ready();
    let down = world.down(1);
    world.entry(down, 1, PEER, id(1));
    world.entry(down, 1, PEER, id(1));
    world.entry(down, 2, PEER, id(2));
    assert_eq!(world.arrived(), [1, 2]);
    world.entry(down, 4, PEER, id(4));
    assert_eq!((world.arrived(), world.closes), (vec![1, 2], 1));
    world.pass(Duration::from_secs(1));
    let hello = world.accept(true);
    assert_eq!(hello.cursors, [(CHAT, Seq(2))]);
}

#[test]
fn i4_a_cursor_moves_only_after_the_entry_is_kept_and_is_coalesced() {
    let mut world = World::ready();
    let down = world.down(1);
    for n in 1..=20 {
        world.entry(down, n, PEER, id(n as u8));
    }
    assert!(!world.roles.values().any(|role| *role == Role::ChatUp), "not yet");
    world.pass(Duration::from_millis(60));
    let moves: Vec<_> = world.take(Role::ChatUp).into_iter().skip(1).collect();
    assert_eq!(moves, [Request::MoveCursor { delivered: Seq(20), read: Seq(0) }]);
    assert_eq!(world.arrived().len(), 20);
}

#[test]
fn hello_states_what_the_server_was_not_told() {
    let login = Some(login(Duration::from_secs(3600)));
    let mut world =
        World::new(Snapshot { login: login.clone(), chats: vec![known_chat(7, 5)], ..Snapshot::default() });
    assert_eq!(world.accept(true).cursors, [(CHAT, Seq(7))]);
    let mut world = World::new(Snapshot { login, chats: vec![known_chat(7, 7)], ..Snapshot::default() });
    assert_eq!(world.accept(true).cursors, []);
}

#[test]
fn c1_an_expiring_token_is_renewed_on_the_way_with_the_kept_request_id() {
    let mut world =
        World::new(Snapshot { login: Some(login(Duration::from_secs(5))), ..Snapshot::default() });
    let anonymous = world.accept(false);
    assert_eq!(anonymous.credentials, None);
    let refresh = world.take(Role::Request);
    let [Request::Refresh(refresh)] = &refresh[..] else { panic!("{refresh:?}") };
    assert_eq!(refresh.request, RequestId::new([8; 16]), "a lost answer is asked for again, not another one");
    let tokens = Tokens {
        access: Secret::new("new".into()),
        access_expires: WALL + Duration::from_secs(3600),
        refresh: Secret::new([1; 48]),
        refresh_expires: WALL + Duration::from_secs(9999),
    };
    world.event(world.stream(Role::Request), &Event::Refreshed(tokens));
    assert!(matches!(&world.kept[..], [Write::Login(login)] if login.access.expose() == "new"));
    world.pass(Duration::from_millis(1));
    let hello = world.accept(true);
    assert_eq!(hello.credentials.expect("credentials").token.expose(), "new");
}

#[test]
fn r23_a_revoked_device_stops_and_says_so() {
    let mut world =
        World::new(Snapshot { login: Some(login(Duration::from_secs(3600))), ..Snapshot::default() });
    world.greet();
    world.event(world.stream(Role::Session), &Event::Refused(ErrorCode::TokenRevoked.refuse()));
    assert!(matches!(world.told[..], [ClientEvent::LoginNeeded(r)] if r.code == ErrorCode::TokenRevoked));
    assert_eq!(world.kept, [Write::LoggedOut]);
    world.pass(Duration::from_secs(600));
    assert_eq!(world.connects, 1, "and does not come back by itself");
}

#[test]
fn silence_with_something_unanswered_means_reconnect_and_without_it_means_nothing() {
    let mut world = World::ready();
    world.pass(Duration::from_secs(29));
    assert_eq!(world.connects, 1);
    world.send("x");
    world.pass(Duration::from_secs(4));
    assert_eq!(world.closes, 0);
    world.pass(Duration::from_secs(3));
    assert_eq!((world.closes, world.connects), (1, 2));
}

#[test]
fn questions_survive_a_lost_connection() {
    let mut world = World::ready();
    let ask = world.client.ask(Ask::Plain(Request::ListDevices), world.now);
    world.drain();
    assert_eq!(world.take(Role::Request), [Request::ListDevices]);
    world.input(Input::Closed { reason: "gone".into() });
    world.pass(Duration::from_secs(1));
    world.accept(true);
    assert_eq!(world.take(Role::Request), [Request::ListDevices]);
    let stream = world.stream(Role::Request);
    world.event(stream, &Event::Devices(vec![]));
    world.input(Input::Ended { stream });
    assert!(world.told.contains(&ClientEvent::Answer { ask, events: vec![Event::Devices(vec![])] }));
}

#[test]
fn r45_another_device_s_reads_count_here_too() {
    let mut world = World::ready();
    let down = world.down(1);
    world.entry(down, 1, PEER, id(1));
    let cursor = Cursor {
        member: ME,
        delivered: Seq(1),
        delivered_at: WALL,
        read: Seq(1),
        read_at: WALL,
        withheld: vec![],
    };
    world.event(down, &Event::CursorMoved(cursor));
    assert!(world.kept.contains(&Write::Read { chat: CHAT, read: Seq(1) }));
    world.take_nothing_read();
}

impl World {
    /// Marking what is read already tells the server nothing new.
    fn take_nothing_read(&mut self) {
        self.client.mark_read(CHAT, Seq(1), self.now);
        self.drain();
        self.pass(Duration::from_secs(5));
        let moves = self.take(Role::ChatUp);
        assert!(
            moves.iter().all(|m| !matches!(m, Request::MoveCursor { read, .. } if read.0 > 1)),
            "{moves:?}"
        );
    }
}

#[test]
fn a_server_that_speaks_nonsense_is_left() {
    let mut world = World::ready();
    world.input(Input::Frame { stream: world.stream(Role::Session), body: Bytes::from_static(b"nonsense") });
    assert_eq!(world.closes, 1);
    assert!(matches!(world.told.last(), Some(ClientEvent::Disconnected { .. })));
}

#[test]
fn a_device_that_was_added_later_begins_where_the_server_says() {
    let mut world = World::ready();
    let down = world.down(58);
    world.entry(down, 58, PEER, id(1));
    world.entry(down, 59, PEER, id(2));
    assert_eq!((world.arrived(), world.closes), (vec![58, 59], 0), "older ones come when they are asked for");
    world.entry(down, 61, PEER, id(4));
    assert_eq!(world.closes, 1, "from there on it is dense");
}

#[test]
fn an_orderly_end_waits_until_the_server_has_everything() {
    let mut world = World::ready();
    let down = world.down(1);
    world.entry(down, 1, PEER, id(1));
    world.pass(Duration::from_millis(60));
    let up = world.stream(Role::ChatUp);
    world.client.wind_down();
    world.drain();
    assert!(world.client.is_settled() && !world.client.is_wound_down(), "said, but perhaps not heard");
    world.input(Input::Ended { stream: up });
    assert!(world.client.is_wound_down());
}

#[test]
fn c1_a_chat_refused_for_a_token_loses_no_message() {
    let mut world = World::ready();
    world.send("1");
    world.event(world.stream(Role::ChatUp), &Event::Refused(ErrorCode::TokenExpired.refuse()));
    assert_eq!((world.client.outbox_len(), world.closes), (1, 1));
    world.pass(Duration::from_millis(1));
    assert_eq!(world.greet().credentials, None, "it comes back to renew the token");
}
