//! A device's inbox: carried before its chats, told by hints and by the sweeper, acknowledged by its own cursor, and nobody else's.

mod harness;

use std::time::Duration;

use edge_proto::{Hint, Input, LinkId, StreamId};
use harness::groups::*;
use harness::*;
use wire::event::{Event, InboxItem};
use wire::request::Request;
use wire::{CloseCode, ErrorCode, LogId, Seq};

/// Says up to where an inbox has arrived, and what is answered.
fn move_inbox(world: &mut World, live: Live, delivered: u64) -> Vec<Event> {
    let up = world.open(live.link);
    world.say(live.link, up, &Request::InboxUp);
    world.say(live.link, up, &Request::MoveCursor { delivered: Seq(delivered), read: Seq(0) });
    world.pass(Duration::from_millis(60));
    world.heard_on(live.link, up).to_vec()
}

/// The first frames of a link's down streams, in the order in which they were opened.
fn opened(world: &World, link: LinkId) -> Vec<Event> {
    let streams = world.heard.range((link, StreamId(0))..=(link, StreamId(u64::MAX)));
    let firsts = streams.filter_map(|(_, events)| events.first().cloned());
    firsts.filter(|first| matches!(first, Event::ChatDown { .. } | Event::InboxDown { .. })).collect()
}

#[test]
fn an_inbox_comes_before_the_chats_until_its_device_says_that_it_has_it() {
    let mut world = World::new();
    let (mut alice, mut bob) = (Phone::new(&mut world, "Alice", 1), Phone::new(&mut world, "Bob", 2));
    bob.publish(&mut world, 3);
    world.input(Input::Closed { link: bob.live.link });
    let chats: Vec<_> = (1..=3)
        .map(|n| {
            let (chat, ask) = alice.make_group(&mut world, &[&bob], n);
            assert_eq!(ask.ask(&mut world, alice.live), Ok((1, 1)));
            chat
        })
        .collect();
    for _ in 0..2 {
        let live = world.hello(&bob.device);
        let first = opened(&world, live.link).remove(0);
        assert_eq!(first, Event::InboxDown { from_seq: Seq(1) }, "again, as long as nothing is said of it");
        let welcomes = world.inbox(live).into_iter().map(|entry| match entry.what {
            InboxItem::Welcome(welcome) => (entry.seq.0, welcome.chat, welcome.seq),
            InboxItem::Unknown => panic!("a welcome"),
        });
        let wanted: Vec<_> = (1..).zip(&chats).map(|(seq, chat)| (seq, *chat, Seq(1))).collect();
        assert_eq!(welcomes.collect::<Vec<_>>(), wanted);
        let session = world.heard_on(live.link, live.session);
        assert!(matches!(session.last(), Some(Event::Synced { .. })), "{session:?}");
        bob.live = live;
    }
    assert!(move_inbox(&mut world, bob.live, 2).is_empty());
    let live = world.hello(&bob.device);
    assert_eq!(opened(&world, live.link)[0], Event::InboxDown { from_seq: Seq(3) });
    assert!(move_inbox(&mut world, live, 3).is_empty());
    let live = world.hello(&bob.device);
    assert!(world.inbox(live).is_empty());
}

#[test]
fn an_inbox_that_was_quiet_goes_on_where_it_was() {
    let mut world = World::new();
    let (mut alice, bob) = (Phone::new(&mut world, "Alice", 1), Phone::new(&mut world, "Bob", 2));
    for n in 1..=3 {
        let (_, ask) = alice.make_group(&mut world, &[&bob], n);
        assert_eq!(ask.ask(&mut world, alice.live), Ok((1, 1)));
        let seqs: Vec<u64> = world.inbox(bob.live).iter().map(|entry| entry.seq.0).collect();
        assert_eq!(seqs, (1..=n.into()).collect::<Vec<_>>(), "each once, at once");
        // Longer than a quiet stream is kept.
        world.pass(Duration::from_secs(130));
    }
    assert_eq!(world.inbox(alice.live), []);
}

#[test]
fn i7_a_welcome_that_nobody_hinted_is_found_by_the_sweeper_and_after_lost_hints() {
    for swept in [true, false] {
        let mut world = World::new();
        let (mut alice, bob, chat) = friends(&mut world);
        let carol = Phone::new(&mut world, "Carol", 3);
        let adds = alice.claim(&mut world, &[carol.account()]);
        let action = wire::request::Action::AddMembers { accounts: vec![carol.account()] };
        alice.commit(chat, action, &adds, &[], 1).commit_elsewhere(&world, &alice);
        assert!(world.inbox(carol.live).is_empty());
        if swept {
            let (account, device) = (carol.account(), carol.id());
            let log = LogId::Device(device);
            world.input(Input::Hint(Hint::Behind { log, head: Seq(1), account, device }));
        } else {
            world.input(Input::HintsLost);
            world.pass(Duration::from_secs(6));
            assert_eq!(world.places(carol.live, chat), [2]);
        }
        assert_eq!(world.welcome(carol.live).seq, Seq(2), "swept: {swept}");
        assert_eq!(world.inbox(bob.live).len(), 1, "nobody else's");
    }
}

#[test]
fn i5_an_inbox_is_its_device_s_alone() {
    let mut world = World::new();
    let (_, bob, chat) = friends(&mut world);
    // Another device of Bob's, that the commit did not add.
    let tablet = world.register("+4915100000102", "Bob", 22);
    let live = world.hello(&tablet);
    assert_eq!(tablet.account(), bob.account());
    assert!(world.inbox(live).is_empty());
    let tree = Request::GetTree { chat, epoch: wire::Epoch(1) };
    assert_eq!(world.refused(live.link, &tree), ErrorCode::NotFound);
    assert!(!world.tree(bob.live, chat, 1).is_empty());
    let refused = move_inbox(&mut world, live, 1);
    assert!(matches!(refused[..], [Event::Refused(r)] if r.code == ErrorCode::CursorAhead), "{refused:?}");
    let again = world.hello(&bob.device);
    assert_eq!(world.inbox(again).len(), 1, "its cursor is where it was");
}

#[test]
fn r152_on_an_inbox_s_stream_only_its_cursor_moves() {
    let mut world = World::new();
    let (_, bob, _) = friends(&mut world);
    for said in [append(1, "x"), Request::Typing { typing: true }, Request::InboxUp, Request::ListDevices] {
        let up = world.open(bob.live.link);
        world.say(bob.live.link, up, &Request::InboxUp);
        world.say(bob.live.link, up, &Request::Unknown);
        assert!(!world.reset.contains(&(bob.live.link, up)), "what nobody knows is skipped");
        world.say(bob.live.link, up, &said);
        assert_eq!(world.reset_codes.get(&(bob.live.link, up)), Some(&CloseCode::Unexpected), "{said:?}");
    }
}
