//! What a node counts and times (R157, R160): exact figures, in virtual time.

mod harness;

use std::time::Duration;

use edge_proto::{Counters, Input, Timing};
use harness::*;
use store::keys::direct_chat_id;
use wire::ErrorCode;
use wire::request::Request;

const STEP: Duration = Duration::from_millis(300);

fn timings(world: &mut World) -> Vec<Timing> {
    world.node.take_timings().collect()
}

fn counters(world: &World) -> Counters {
    *world.node.counters()
}

fn sessions(world: &World) -> u64 {
    counters(world).sessions_begun - counters(world).sessions_ended
}

#[test]
fn r157_latencies_are_those_that_people_wait() {
    let mut world = World::new();
    let (alice, bob) =
        (world.register("+4915100000001", "Alice", 1), world.register("+4915100000002", "Bob", 2));
    let chat = direct_chat_id(alice.account(), bob.account());
    let _anonymous = timings(&mut world);
    world.hold = true;
    let b = world.hello(&bob);
    world.pass(STEP);
    world.release();
    assert_eq!(timings(&mut world), [Timing::Connected(STEP)]);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    let _at_once = timings(&mut world);
    // The store takes its time: both messages waited for it, one of them after the other.
    world.hold = true;
    world.say(a.link, up, &append(1, "one"));
    world.pass(STEP);
    world.say(a.link, up, &append(2, "two"));
    world.pass(STEP);
    world.release();
    let acked: Vec<_> = timings(&mut world).into_iter().filter(|t| matches!(t, Timing::Acked(_))).collect();
    assert_eq!(acked, [Timing::Acked(2 * STEP), Timing::Acked(STEP)]);
    // Bob's phone takes nothing for a while: the first entry goes at once, the second waits for room.
    let down = world.down_stream(b.link, chat).expect("the chat is delivered");
    world.stalled.insert((b.link, down));
    world.say(a.link, up, &append(3, "three"));
    world.say(a.link, up, &append(4, "four"));
    let _so_far = timings(&mut world);
    world.pass(STEP);
    world.stalled.clear();
    world.input(Input::Drained { link: b.link, stream: down });
    assert_eq!(timings(&mut world), [Timing::Delivered(STEP)]);
    assert_eq!(counters(&world).deliveries, 8, "four entries to two devices");
    assert_eq!(counters(&world).timings_lost, 0);
}

#[test]
fn r157_what_a_device_missed_while_away_is_no_latency() {
    let mut world = World::new();
    let (alice, bob) =
        (world.register("+4915100000001", "Alice", 1), world.register("+4915100000002", "Bob", 2));
    let chat = direct_chat_id(alice.account(), bob.account());
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "while you were away"));
    world.pass(60 * STEP);
    let _before = timings(&mut world);
    let b = world.hello(&bob);
    assert_eq!(world.entries(b.link, chat).len(), 1);
    assert_eq!(timings(&mut world), [Timing::Connected(Duration::ZERO)]);
}

#[test]
fn r157_messages_repeats_and_sessions_are_counted_once() {
    let mut world = World::new();
    let (alice, bob) =
        (world.register("+4915100000001", "Alice", 1), world.register("+4915100000002", "Bob", 2));
    let chat = direct_chat_id(alice.account(), bob.account());
    assert_eq!((counters(&world).hellos_anonymous, counters(&world).requests), (2, 4));
    let a = world.hello(&alice);
    assert_eq!((sessions(&world), world.node.stats().accounts), (1, 1));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "once"));
    world.say(a.link, up, &append(1, "once"));
    world.say(a.link, up, &append(2, "another"));
    let again = world.hello(&alice);
    let now = counters(&world);
    assert_eq!((now.appends, now.repeats, now.hellos), (2, 1, 2));
    assert_eq!(now.goodbyes.of(ErrorCode::SessionReplaced), 1);
    assert_eq!(sessions(&world), 1);
    world.input(Input::Closed { link: again.link });
    assert_eq!((sessions(&world), world.node.stats().accounts), (0, 0));
    assert_eq!(counters(&world).goodbyes.iter().map(|(_, n)| n).sum::<u64>(), 1);
}

#[test]
fn r160_each_refusal_has_its_code() {
    let mut world = World::new();
    let (alice, bob) =
        (world.register("+4915100000001", "Alice", 1), world.register("+4915100000002", "Bob", 2));
    let chat = direct_chat_id(alice.account(), bob.account());
    let link = world.anonymous();
    world.refused(link, &Request::ListDevices);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "it exists"));
    world.say(a.link, up, &append(2, ""));
    world.say(a.link, up, &Request::MoveCursor { delivered: wire::Seq(9), read: wire::Seq(9) });
    world.pass(STEP);
    let at = world.now.wall;
    let early = world.connect_early();
    let session = world.open(early);
    let credentials = early_credentials(&alice, "somebody.else", at);
    world.say(early, session, &Request::Hello(hello(Some(credentials))));
    let refused: Vec<_> = counters(&world).refused.iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(
        refused,
        [
            (ErrorCode::Unauthenticated, 1),
            (ErrorCode::EarlyRefused, 1),
            (ErrorCode::ContentEmpty, 1),
            (ErrorCode::CursorAhead, 1),
        ]
    );
    let now = counters(&world);
    assert_eq!((now.early_accepted, now.early_refused, now.early_counted_out), (0, 1, 0));
    assert_eq!(now.cursor_moves, 0);
}

#[test]
fn r34_typing_is_counted_as_told_sent_and_dropped() {
    let mut world = World::new();
    let (alice, bob) =
        (world.register("+4915100000001", "Alice", 1), world.register("+4915100000002", "Bob", 2));
    let chat = direct_chat_id(alice.account(), bob.account());
    let (a, b) = (world.hello(&alice), world.hello(&bob));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.chat_up(b, chat, Some(alice.account()));
    world.say(a.link, up, &append(1, "it exists"));
    world.say(a.link, up, &Request::Typing { typing: true });
    world.say(a.link, up, &Request::Typing { typing: true });
    let now = counters(&world);
    assert_eq!(
        (now.typing_published, now.typing_sent, now.typing_dropped),
        (1, 1, 1),
        "the second came too soon"
    );
}
