//! A device's own messages: an ack that covers one stands for its entry, and costs no read and no other transaction.

mod harness;

use std::time::Duration;

use edge_proto::EffectError;
use harness::*;
use wire::event::Event;
use wire::request::{self, Request};
use wire::{ChatId, ErrorCode, Seq, limits};

/// Where acks said that the device's cursor is.
fn covered(world: &World, live: Live, up: edge_proto::StreamId) -> Vec<(u64, u64)> {
    let heard = world.heard_on(live.link, up).iter();
    let acks = heard.filter_map(|event| match event {
        Event::AppendAck { seq, delivered, .. } => Some((seq.0, delivered.0)),
        _ => None,
    });
    acks.collect()
}

fn tell(world: &mut World, live: Live, up: edge_proto::StreamId, seq: u64) {
    world.say(live.link, up, &Request::MoveCursor { delivered: Seq(seq), read: Seq(0) });
    world.pass(Duration::from_secs(1));
}

fn downs(world: &World, live: Live, chat: ChatId) -> usize {
    let of_link = world.heard.iter().filter(|((link, _), _)| *link == live.link);
    of_link
        .filter(|(_, heard)| matches!(heard[..], [Event::ChatDown { chat: of, .. }, ..] if of == chat))
        .count()
}

#[test]
fn i2_what_a_device_said_is_not_sent_back_to_it_and_goes_to_everybody_else() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let tablet = world.register("+4915100000001", "Alice", 3);
    let (a, t, b) = (world.hello(&alice), world.hello(&tablet), world.hello(&bob));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "first"));
    assert_eq!(
        seqs(&world.entries(a.link, chat)),
        [1],
        "a device without a cursor is shown where the chat begins"
    );
    tell(&mut world, a, up, 1);
    let cursors = |world: &World, live: Live| world.cursor(live.link, alice.account());
    assert_eq!(cursors(&world, b), Some((Seq(1), Seq(0))));
    for n in 2..=4 {
        world.say(a.link, up, &append(n, "mine"));
    }
    assert_eq!(covered(&world, a, up), [(1, 0), (2, 2), (3, 3), (4, 4)]);
    assert_eq!(seqs(&world.entries(a.link, chat)), [1]);
    for live in [t, b] {
        assert_eq!(seqs(&world.entries(live.link, chat)), [1, 2, 3, 4]);
    }
    assert_eq!(cursors(&world, b), Some((Seq(1), Seq(0))), "nobody is told that she has her own messages");
    // What comes after it follows on the same stream.
    let from_bob = world.chat_up(b, chat, None);
    world.say(b.link, from_bob, &append(5, "answer"));
    assert_eq!((seqs(&world.entries(a.link, chat)), downs(&world, a, chat)), (vec![1, 5], 1));
    world.say(a.link, up, &append(6, "before its cursor was told"));
    assert_eq!(covered(&world, a, up).last(), Some(&(6, 4)));
    assert_eq!(seqs(&world.entries(a.link, chat)), [1, 5, 6], "then it is delivered like any");
    world.say(a.link, up, &append(6, "before its cursor was told"));
    assert_eq!(covered(&world, a, up).last(), Some(&(6, 4)), "a repeat says where the cursor is");
}

#[test]
fn r50_a_message_in_a_quiet_chat_is_one_transaction() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "first"));
    tell(&mut world, a, up, 1);
    world.pass(2 * limits::CHAT_STREAM_IDLE);
    let before = downs(&world, a, chat);
    world.asked.clear();
    world.say(a.link, up, &append(2, "into the silence"));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.asked, ["append"], "no cursor, no read");
    assert_eq!((covered(&world, a, up).last(), downs(&world, a, chat)), (Some(&(2, 2)), before));
    // A session that begins owes nothing either.
    let again = world.hello(&alice);
    assert_eq!(seqs(&world.entries(again.link, chat)), [0_u64; 0]);
    // A device that lost its acks says so, and gets what they stood for.
    let again = world.hello_stating(&alice, vec![(chat, Seq(1))]);
    assert_eq!(seqs(&world.entries(again.link, chat)), [2]);
}

#[test]
fn g18_what_was_said_early_is_not_sent_back_after_the_handshake() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "first"));
    tell(&mut world, a, up, 1);
    let link = world.connect_early();
    let session = world.open(link);
    let credentials = Some(early_credentials(&alice, NAME, world.now.wall));
    let early = request::Hello { cursors: vec![(chat, Seq(1))], ..hello(credentials) };
    world.say(link, session, &Request::Hello(early));
    let a = Live { link, session };
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(link, up, &append(2, "awake"));
    assert_eq!(covered(&world, a, up), [(2, 2)]);
    world.complete(link);
    assert!(matches!(world.heard_on(link, session), [Event::Connected(_), Event::Synced { .. }]));
    assert_eq!(seqs(&world.entries(link, chat)), [0_u64; 0]);
}

#[test]
fn i4_a_cursor_move_that_was_done_unheard_of_is_told_when_it_is_asked_again() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let (a, b) = (world.hello(&alice), world.hello(&bob));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "tick?"));
    let from_bob = world.chat_up(b, chat, None);
    let (code, retry_after) = (ErrorCode::Unavailable, Duration::from_secs(1));
    world.outage = Some(EffectError { code, retry_after, maybe_done: true });
    world.say(b.link, from_bob, &Request::MoveCursor { delivered: Seq(1), read: Seq(0) });
    world.pass(Duration::from_millis(500));
    assert_eq!(world.cursor(a.link, bob.account()), None, "it is done, and nobody knows");
    // Whoever asked is the only one who can tell, and does so although the device is gone.
    world.input(edge_proto::Input::Closed { link: b.link });
    world.outage = None;
    world.pass(Duration::from_secs(2));
    assert_eq!(world.cursor(a.link, bob.account()), Some((Seq(1), Seq(0))));
}
