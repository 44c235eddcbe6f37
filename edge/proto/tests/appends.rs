//! What becomes of a message on its way into the log: acks, refusals, repeats, quotas.

mod harness;

use std::time::Duration;

use edge_proto::{EffectError, Input};
use harness::*;
use store::keys::direct_chat_id;
use wire::event::Event;
use wire::request::{self, Request};
use wire::{ChatId, ClientMsgId, Epoch, ErrorCode, Retry, limits};

#[test]
fn i3_r50_a_repeated_append_gets_the_first_seq_and_is_delivered_once() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let (a, b) = (world.hello(&alice), world.hello(&bob));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "once"));
    world.say(a.link, up, &append(2, "twice"));
    world.say(a.link, up, &append(1, "once"));
    assert_eq!(acked(world.heard_on(a.link, up)), [1, 2, 1]);
    assert_eq!(seqs(&world.entries(b.link, chat)), [1, 2]);
}

#[test]
fn r117_the_hundred_and_first_message_waits_and_a_repeat_is_not_charged() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    for n in 1..=100 {
        world.say(a.link, up, &append(n, "x"));
    }
    assert_eq!(acked(world.heard_on(a.link, up)).len(), 100);
    world.say(a.link, up, &append(101, "x"));
    let last = world.heard_on(a.link, up).last().unwrap().clone();
    let Event::AppendRefused { refusal, .. } = last else { panic!("{last:?}") };
    assert_eq!(refusal.code, ErrorCode::RateLimited);
    assert!(matches!(refusal.retry, Retry::After(d) if d <= Duration::from_secs(1)));
    assert!(world.finished.contains(&(a.link, up)), "a retryable refusal ends the stream");
    world.say(a.link, up, &append(102, "must not overtake"));
    world.pass(Duration::from_millis(1300));
    let up = world.chat_up(a, chat, None);
    for _ in 0..5 {
        world.say(a.link, up, &append(7, "x"));
    }
    world.say(a.link, up, &append(101, "x"));
    assert_eq!(acked(world.heard_on(a.link, up)), [7, 7, 7, 7, 7, 101]);
}

/// The store is asked in vain; what it may have done all the same, it has.
fn unavailable(maybe_done: bool) -> EffectError {
    EffectError { code: ErrorCode::Unavailable, retry_after: Duration::from_secs(1), maybe_done }
}

#[test]
fn r117_a_message_is_charged_once_whatever_became_of_its_first_answer() {
    for maybe_done in [false, true] {
        let mut world = World::new();
        let Pair { alice, bob, chat } = pair(&mut world);
        let a = world.hello(&alice);
        let messages = |world: &mut World, of: std::ops::RangeInclusive<u8>| {
            let up = world.chat_up(a, chat, Some(bob.account()));
            for n in of {
                world.say(a.link, up, &append(n, "x"));
            }
            world.heard_on(a.link, up).to_vec()
        };
        world.outage = Some(unavailable(maybe_done));
        for n in 1..=5 {
            assert_eq!(acked(&messages(&mut world, n..=n)), [0_u64; 0]);
        }
        world.outage = None;
        assert_eq!(acked(&messages(&mut world, 1..=5)), [1, 2, 3, 4, 5]);
        let heard = messages(&mut world, 6..=101);
        assert_eq!(acked(&heard).len(), 95, "a hundred in all, doubt or not ({maybe_done})");
        assert!(
            matches!(heard.last(), Some(Event::AppendRefused { refusal, .. }) if refusal.code == ErrorCode::RateLimited)
        );
    }
}

#[test]
fn r38_every_refusal_of_an_append_is_typed_and_leaves_the_stream_open() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    let content = |bytes: usize, n: u8| {
        let (client_msg_id, content) = (ClientMsgId::new([n; 16]), vec![7; bytes].into());
        Request::Append(request::Append {
            client_msg_id,
            content,
            kind: Default::default(),
            epoch: Epoch::ZERO,
        })
    };
    world.say(a.link, up, &content(limits::CONTENT_BYTES_MAX + 1, 1));
    world.say(a.link, up, &content(0, 2));
    world.say(a.link, up, &content(limits::CONTENT_BYTES_MAX, 3));
    let codes = world.heard_on(a.link, up).iter().map(|e| match e {
        Event::AppendRefused { refusal, .. } => Some(refusal.code),
        _ => None,
    });
    assert_eq!(
        codes.collect::<Vec<_>>(),
        [Some(ErrorCode::ContentTooLarge), Some(ErrorCode::ContentEmpty), None]
    );
    let nobody = wire::AccountId::new([9; 16]);
    let stranger = direct_chat_id(alice.account(), nobody);
    for (chat, peer, code) in [
        (stranger, Some(nobody), ErrorCode::RecipientUnknown),
        (stranger, None, ErrorCode::NotMember),
        (ChatId::new([5; 16]), None, ErrorCode::NotMember),
    ] {
        let up = world.chat_up(a, chat, peer);
        world.say(a.link, up, &append(9, "x"));
        let heard = world.heard_on(a.link, up);
        assert!(matches!(heard, [Event::AppendRefused { refusal, .. }] if refusal.code == code), "{heard:?}");
    }
    let mismatch = world.chat_up(a, ChatId::new([5; 16]), Some(bob.account()));
    let heard = world.heard_on(a.link, mismatch);
    assert!(
        matches!(heard, [Event::Refused(refusal)] if refusal.code == ErrorCode::ChatMismatch),
        "{heard:?}"
    );
}

#[test]
fn r40_nothing_is_acknowledged_that_the_store_did_not_commit() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let (a, b) = (world.hello(&alice), world.hello(&bob));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.outage = Some(unavailable(false));
    world.say(a.link, up, &append(1, "x"));
    let heard = world.heard_on(a.link, up);
    assert!(
        matches!(heard, [Event::AppendRefused { refusal, .. }] if refusal.code == ErrorCode::Unavailable)
    );
    world.outage = None;
    assert!(world.entries(b.link, chat).is_empty());
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "x"));
    assert_eq!(acked(world.heard_on(a.link, up)), [1]);
}

#[test]
fn a_commit_is_fanned_out_although_its_sender_is_gone() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let (a, b) = (world.hello(&alice), world.hello(&bob));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.hold = true;
    world.say(a.link, up, &append(1, "last words"));
    world.release();
    world.hold = true;
    world.say(a.link, up, &append(2, "and gone"));
    world.input(Input::Closed { link: a.link });
    world.release();
    let delivered = seqs(&world.entries(b.link, chat));
    assert!(delivered == [1] || delivered == [1, 2], "what was committed was delivered: {delivered:?}");
    let b = world.hello(&bob);
    assert_eq!(seqs(&world.entries(b.link, chat)), delivered);
}

#[test]
fn appends_in_flight_are_bounded_by_pausing_the_stream() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.hold = true;
    for n in 1..=limits::APPENDS_IN_FLIGHT_MAX as u8 {
        world.say(a.link, up, &append(n, "x"));
    }
    assert!(world.paused.contains(&(a.link, up)));
    world.release();
    assert!(!world.paused.contains(&(a.link, up)));
    assert_eq!(acked(world.heard_on(a.link, up)), (1..=64).collect::<Vec<_>>());
}
