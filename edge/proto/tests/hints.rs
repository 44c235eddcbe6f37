//! Hints that were lost: what another node committed and nobody told this one of.

mod harness;

use std::time::Duration;

use bytes::Bytes;
use edge_proto::{EffectError, Input};
use harness::backend::execute;
use harness::*;
use store::op::{Append, Message, MoveCursor, Op, OpOutput, RevokeDevice};
use wire::event::Kind;
use wire::request::Request;
use wire::{ChatId, ClientMsgId, Epoch, ErrorCode, Event, LogId, Seq};

/// Longer than sessions take to look again.
const LOOK: Duration = Duration::from_secs(6);

/// A message that another node has committed.
fn appended_elsewhere(world: &World, chat: ChatId, from: &Device, to: &Device, id: u8) {
    let message = Message {
        client_msg_id: ClientMsgId::new([id; 16]),
        kind: Kind::Unsaid,
        content: Bytes::from_static(b"unheard"),
        epoch: Epoch::ZERO,
    };
    let op = Append {
        log: LogId::Chat(chat),
        peer: Some(to.account()),
        sender: from.account(),
        device: from.verified.device,
        messages: vec![message],
        now: world.now.wall,
    };
    assert!(matches!(execute(&world.store, Op::Append(op)), OpOutput::Append(results) if results[0].is_ok()));
}

fn moved_elsewhere(world: &World, chat: ChatId, whose: &Device, seq: Seq) {
    let (account, device, log) = (whose.account(), whose.verified.device, LogId::Chat(chat));
    let op =
        MoveCursor { log, account, device, delivered: seq, read: seq, in_doubt: false, now: world.now.wall };
    assert!(matches!(execute(&world.store, Op::MoveCursor(op)), OpOutput::MoveCursor(Ok(_))));
}

fn places(world: &World, live: Live, chat: ChatId) -> Vec<Seq> {
    world.entries(live.link, chat).into_iter().map(|(seq, _)| seq).collect()
}

#[test]
fn r51_i7_lost_hints_are_made_good_by_looking_again() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let (a, b) = (world.hello(&alice), world.hello(&bob));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "heard"));
    appended_elsewhere(&world, chat, &alice, &bob, 2);
    moved_elsewhere(&world, chat, &bob, Seq(2));
    world.pass(LOOK);
    assert_eq!(places(&world, b, chat), [Seq(1)], "nobody has said a word of the second");
    assert_eq!(world.cursor(a.link, bob.account()), None);
    world.input(Input::HintsLost);
    world.pass(LOOK);
    assert_eq!(places(&world, b, chat), [Seq(1), Seq(2)], "the entry");
    assert_eq!(world.cursor(a.link, bob.account()), Some((Seq(2), Seq(2))), "the ticks");
    let heard = world.heard.clone();
    world.input(Input::HintsLost);
    world.pass(LOOK);
    let entries = |heard: &std::collections::BTreeMap<_, Vec<Event>>| {
        heard.values().flatten().filter(|event| matches!(event, Event::Entry(_))).count()
    };
    assert_eq!(entries(&world.heard), entries(&heard), "nothing is said twice where nothing was lost");
}

/// A link between nodes may carry nothing for a long time before its end learns that something was lost.
#[test]
fn r51_i7_a_loss_that_is_reported_late_is_made_good_as_well() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let (a, b) = (world.hello(&alice), world.hello(&bob));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "heard"));
    assert_eq!(places(&world, b, chat), [Seq(1)]);
    for (seq, wait) in [(1, 60), (2, 3_600)] {
        if seq > 1 {
            appended_elsewhere(&world, chat, &alice, &bob, seq as u8);
        }
        moved_elsewhere(&world, chat, &bob, Seq(seq));
        let ping = Request::Ping { client_time: world.now.wall };
        for _ in 0..wait / 60 {
            world.pass(Duration::from_secs(60));
            [a, b].iter().for_each(|live| world.say(live.link, live.session, &ping));
        }
        world.input(Input::HintsLost);
        world.pass(LOOK);
        assert_eq!(world.cursor(a.link, bob.account()), Some((Seq(seq), Seq(seq))), "after {wait} s");
    }
}

#[test]
fn r51_i7_a_chat_that_began_unheard_is_found_and_an_outage_is_outlived() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let b = world.hello(&bob);
    appended_elsewhere(&world, chat, &alice, &bob, 1);
    let again = Duration::from_secs(1);
    world.outage = Some(EffectError { code: ErrorCode::Unavailable, retry_after: again, maybe_done: false });
    world.input(Input::HintsLost);
    world.pass(LOOK);
    assert_eq!(places(&world, b, chat), []);
    world.outage = None;
    world.pass(2 * LOOK);
    assert_eq!(places(&world, b, chat), [Seq(1)]);
    assert_eq!(world.node.counters().heads_read, 2, "one that failed and one that did not");
}

#[test]
fn i7_a_device_that_was_ended_unheard_is_told_to_go() {
    let mut world = World::new();
    let Pair { bob, .. } = pair(&mut world);
    let b = world.hello(&bob);
    let (account, device) = (bob.account(), bob.verified.device);
    execute(&world.store, Op::RevokeDevice(RevokeDevice { account, device, now: world.now.wall }));
    world.input(Input::HintsLost);
    world.pass(LOOK);
    let goodbyes = world.heard.iter().filter(|((link, _), _)| *link == b.link);
    let said = goodbyes.flat_map(|(_, events)| events).find_map(|event| match event {
        Event::Goodbye(refusal) => Some(refusal.code),
        _ => None,
    });
    assert_eq!(said, Some(ErrorCode::TokenRevoked));
}
