//! A node that has as much in work as it may: who is refused, who waits, and that everybody is served in the end.

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edge_proto::{EffectError, Input, Limits, Rates};
use harness::*;
use store::keys::direct_chat_id;
use wire::event::Event;
use wire::request::Request;
use wire::{ChatId, ErrorCode, Retry, Seq};

const LIMIT: usize = 8;
const MESSAGES: u8 = 5;

/// A node that may have little in work.
fn busy_world() -> World {
    let rates = Rates { messages_per_minute: 10_000, requests_per_minute: 10_000, ..Rates::default() };
    World::with(Limits { effects_in_flight: LIMIT, rates, ..Limits::default() })
}

/// Alice has written to everybody, and everybody to her; nobody is connected.
fn all_away(world: &mut World, people: u8) -> (Device, Vec<(Device, ChatId)>) {
    let alice = world.register("+4915100000000", "Alice", 100);
    let a = world.hello(&alice);
    let mut others = Vec::new();
    for n in 1..=people {
        let other = world.register(&format!("+49151000001{n:02}"), "Other", n);
        let chat = direct_chat_id(alice.account(), other.account());
        let o = world.hello(&other);
        for (live, peer) in [(a, other.account()), (o, alice.account())] {
            let up = world.chat_up(live, chat, Some(peer));
            for m in 1..=MESSAGES {
                world.say(live.link, up, &append(m, "x"));
            }
        }
        world.input(Input::Closed { link: o.link });
        others.push((other, chat));
    }
    world.input(Input::Closed { link: a.link });
    (alice, others)
}

/// One effect is performed; never was more in work than may be.
fn step(world: &mut World) -> bool {
    assert!(world.node.stats().effects <= LIMIT, "{} in work", world.node.stats().effects);
    world.perform_one()
}

fn all() -> Vec<u64> {
    (1..=2 * u64::from(MESSAGES)).collect()
}

#[test]
fn r115_r144_a_busy_node_refuses_hello_and_serves_everybody_in_the_end() {
    let mut world = busy_world();
    let (_, others) = all_away(&mut world, 40);
    world.hold = true;
    let (mut refusals, mut delays) = (0, BTreeSet::new());
    let mut due: BTreeMap<usize, Duration> = (0..others.len()).map(|n| (n, Duration::ZERO)).collect();
    let mut lives: BTreeMap<usize, Live> = BTreeMap::new();
    let began = world.now.instant;
    while !due.is_empty() {
        let elapsed = world.now.instant - began;
        let now: Vec<usize> = due.iter().filter(|(_, at)| **at <= elapsed).map(|(n, _)| *n).collect();
        for n in now {
            due.remove(&n);
            let live = world.hello(&others[n].0);
            assert!(world.node.stats().effects <= LIMIT);
            match world.heard_on(live.link, live.session) {
                [] => drop(lives.insert(n, live)),
                [Event::Refused(refusal)] => {
                    assert_eq!(refusal.code, ErrorCode::Busy);
                    let Retry::After(after) = refusal.retry else { panic!("{refusal:?}") };
                    assert!(Duration::from_secs(1) <= after && after <= Duration::from_secs(5));
                    (refusals, _) = (refusals + 1, delays.insert(after));
                    due.insert(n, elapsed + after);
                }
                other => panic!("{other:?}"),
            }
        }
        // Two effects in a tenth of a second.
        for _ in 0..2 {
            step(&mut world);
        }
        world.pass(Duration::from_millis(100));
    }
    while step(&mut world) {
        world.pass(Duration::from_millis(1));
    }
    assert!(refusals > 30, "only {refusals}");
    assert!(delays.len() > refusals * 9 / 10, "each at a time of its own");
    for (n, (_, chat)) in others.iter().enumerate() {
        assert_eq!(seqs(&world.entries(lives[&n].link, *chat)), all(), "{n}");
    }
}

#[test]
fn r115_an_early_hello_that_finds_the_node_busy_after_its_handshake_is_refused() {
    let mut world = busy_world();
    let (alice, others) = all_away(&mut world, 8);
    let link = world.connect_early();
    let session = world.open(link);
    let credentials = early_credentials(&alice, NAME, world.now.wall);
    world.say(link, session, &Request::Hello(hello(Some(credentials))));
    world.hold = true;
    for (other, _) in &others {
        world.hello(other);
    }
    world.complete(link);
    let heard = world.heard_on(link, session);
    assert!(matches!(heard, [Event::Refused(refusal)] if refusal.code == ErrorCode::Busy), "{heard:?}");
    while step(&mut world) {}
    world.hold = false;
    let again = world.hello(&alice);
    assert!(matches!(world.heard_on(again.link, again.session)[0], Event::Connected(_)));
}

#[test]
fn r144_reads_take_turns_and_nobody_is_starved() {
    let mut world = busy_world();
    let (alice, others) = all_away(&mut world, 30);
    let a = world.hello_held(&alice);
    let (bob, chat) = &others[0];
    let b = world.hello_held(bob);
    // Both are admitted, and have begun: now one reads thirty chats, and the other, who came later, one.
    let mut bob_done = None;
    let mut steps = 0;
    while step(&mut world) {
        steps += 1;
        if seqs(&world.entries(b.link, *chat)) == all() {
            bob_done.get_or_insert(steps);
        }
    }
    for (_, chat) in &others {
        assert_eq!(seqs(&world.entries(a.link, *chat)), all());
    }
    let bob_done = bob_done.expect("bob was served");
    assert!(bob_done * 2 < steps, "bob was served after {bob_done} of {steps}");
    for live in [a, b] {
        assert!(matches!(world.heard_on(live.link, live.session).last(), Some(Event::Synced { .. })));
    }
}

#[test]
fn a_session_that_ends_while_it_waits_leaves_its_place_to_others() {
    let mut world = busy_world();
    let (alice, others) = all_away(&mut world, 30);
    let a = world.hello_held(&alice);
    let (bob, chat) = &others[0];
    let b = world.hello_held(bob);
    (0..6).for_each(|_| assert!(step(&mut world)));
    world.input(Input::Closed { link: a.link });
    while world.perform_one() {}
    assert_eq!(seqs(&world.entries(b.link, *chat)), all());
    assert_eq!(world.node.stats().effects, 0);
}

#[test]
fn cursor_moves_wait_for_room_and_those_of_who_is_gone_are_not_repeated() {
    let mut world = busy_world();
    let (alice, others) = all_away(&mut world, 8);
    let (bob, chat) = &others[0];
    let (a, b) = (world.hello(&alice), world.hello(bob));
    let up = world.chat_up(b, *chat, None);
    let hers: Vec<_> = others.iter().map(|(_, chat)| world.chat_up(a, *chat, None)).collect();
    world.hold = true;
    for (other, _) in &others[1..] {
        world.hello(other);
    }
    world.say(b.link, up, &Request::MoveCursor { delivered: Seq(10), read: Seq(7) });
    for up in hers {
        world.say(a.link, up, &Request::MoveCursor { delivered: Seq(10), read: Seq(9) });
    }
    world.pass(Duration::from_secs(1));
    assert!(world.node.stats().effects <= LIMIT, "nine moves are due, and there is no room for them");
    assert_eq!(world.cursor(a.link, bob.account()), None);
    while step(&mut world) {
        world.pass(Duration::from_millis(60));
    }
    assert_eq!(world.cursor(a.link, bob.account()), Some((Seq(10), Seq(7))), "it was done in its time");
    assert_eq!(world.cursor(b.link, alice.account()), Some((Seq(10), Seq(9))));

    world.hold = false;
    let (code, retry_after) = (ErrorCode::Unavailable, Duration::from_secs(1));
    world.outage = Some(EffectError { code, retry_after, maybe_done: false });
    world.say(b.link, up, &Request::MoveCursor { delivered: Seq(10), read: Seq(9) });
    world.input(Input::Closed { link: b.link });
    world.pass(Duration::from_secs(5));
    world.outage = None;
    world.pass(Duration::from_secs(30));
    assert_eq!(world.cursor(a.link, bob.account()), Some((Seq(10), Seq(7))), "its client says it again");
}
