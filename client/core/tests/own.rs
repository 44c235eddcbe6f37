//! One's own messages: an ack that says that the device's cursor covers the message stands for its entry, whichever of
//! acks and entries comes first, and whatever is lost.

mod support;

use std::time::Duration;

use client_core::{ClientEvent, Input, OutboxRow, Snapshot, Write};
use support::*;
use wire::event::{Cursor, Event};
use wire::request::Request;
use wire::{Epoch, ErrorCode, Role, Seq};

/// A device that has three entries of the chat, as the server knows.
fn settled() -> World {
    let mut world = World::new(Snapshot {
        login: Some(login(Duration::from_secs(3600))),
        chats: vec![known_chat(3, 3)],
        ..Snapshot::default()
    });
    assert_eq!(world.accept(true).cursors, []);
    world
}

fn told_cursors(world: &World) -> usize {
    world.said.values().flatten().filter(|said| matches!(said, Request::MoveCursor { .. })).count()
}

fn lose(world: &mut World) -> Vec<(wire::ChatId, Seq)> {
    world.input(Input::Closed { reason: "gone".into() });
    world.pass(Duration::from_secs(5));
    world.accept(true).cursors
}

#[test]
fn i4_an_ack_that_covers_its_message_is_its_arrival() {
    let mut world = settled();
    let first = world.send("mine");
    let up = world.stream(Role::ChatUp);
    world.event(up, &ack(first, 4, 4));
    assert!(
        matches!(&world.told[..], [.., ClientEvent::Sent(s), ClientEvent::Arrived(a)] if s == a && a.seq == Seq(4))
    );
    let [.., Write::Sent(_), Write::Arrived(_), told] = &world.kept[..] else { panic!("{:?}", world.kept) };
    assert_eq!(*told, Write::Told { chat: CHAT, delivered: Seq(4), read: Seq(0) });
    assert!(world.client.is_settled());
    world.pass(Duration::from_secs(1));
    assert_eq!(told_cursors(&world), 0, "the server knows");
    assert!(lose(&mut world).is_empty(), "and is not told at the next connection either");
    let down = world.down(5);
    world.entry(down, 5, PEER, id(5));
    assert_eq!((world.arrived(), world.closes), (vec![4, 5], 0));
}

#[test]
fn i2_an_ack_that_does_not_cover_its_message_is_a_tick_alone() {
    let mut world = settled();
    let mine = world.send("mine");
    let up = world.stream(Role::ChatUp);
    world.event(up, &ack(mine, 5, 3));
    assert_eq!(world.arrived(), [0_u64; 0], "another's entry lies between: both are delivered");
    let down = world.down(4);
    world.entry(down, 4, PEER, id(4));
    world.entry(down, 5, ME, mine);
    assert_eq!((world.arrived(), world.closes), (vec![4, 5], 0));
    world.pass(Duration::from_secs(1));
    assert_eq!(told_cursors(&world), 1);
}

#[test]
fn i2_entries_that_come_before_an_ack_wait_for_it() {
    let mut world = settled();
    let ids = [world.send("4"), world.send("5"), world.send("7")];
    let up = world.stream(Role::ChatUp);
    let down = world.down(6);
    for seq in [6, 8] {
        world.entry(down, seq, PEER, id(seq as u8));
    }
    assert_eq!((world.arrived(), world.closes), (vec![], 0));
    world.event(up, &ack(ids[0], 4, 5));
    assert_eq!(world.arrived(), [4]);
    world.event(up, &ack(ids[1], 5, 5));
    assert_eq!(world.arrived(), [4, 5, 6]);
    // The other's message was not told of yet when this one was committed: it is delivered like any.
    world.event(up, &ack(ids[2], 7, 5));
    assert_eq!(world.closes, 1, "no answer is due that could fill the place, so something was left out");
    world.pass(Duration::from_secs(5));
    assert_eq!(world.accept(true).cursors, [(CHAT, Seq(6))]);
}

#[test]
fn r115_an_answer_that_others_wait_for_is_not_waited_for_for_ever() {
    let mut world = settled();
    let mine = world.send("mine");
    let up = world.stream(Role::ChatUp);
    let refusal = ErrorCode::RateLimited.after(Duration::from_secs(60));
    world.event(up, &Event::AppendRefused { client_msg_id: mine, refusal, epoch: Epoch::ZERO });
    let down = world.down(5);
    world.entry(down, 5, PEER, id(5));
    world.keep_alive(Duration::from_secs(9));
    assert_eq!((world.arrived(), world.closes), (vec![], 0), "it may be committed all the same");
    world.keep_alive(Duration::from_secs(2));
    assert_eq!(world.closes, 1);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.accept(true).cursors, [(CHAT, Seq(3))]);
}

#[test]
fn i10_what_lost_acks_may_have_moved_is_stated_at_the_next_hello() {
    let mut world = settled();
    let ids: Vec<_> = (4..=8).map(|_| world.send("mine")).collect();
    let up = world.stream(Role::ChatUp);
    world.event(up, &ack(ids[0], 4, 4));
    assert_eq!(lose(&mut world), [(CHAT, Seq(4))], "the stored cursor may be at 8 by now");
    assert_eq!(world.appended().len(), 4);
    // The entries come, or their acks again: either is enough, and both do no harm.
    let (up, down) = (world.stream(Role::ChatUp), world.down(5));
    world.entry(down, 5, ME, ids[1]);
    for (seq, &id) in (5..).zip(&ids[1..]) {
        world.event(up, &ack(id, seq, 8));
    }
    world.entry(down, 6, ME, ids[2]);
    assert_eq!((world.arrived(), world.closes), (vec![4, 5, 6, 7, 8], 0));
    assert!(lose(&mut world).len() <= 1);

    // A process that starts with messages in its outbox does not know which of them were said.
    let row = OutboxRow {
        client_msg_id: id(9),
        chat: CHAT,
        peer: Some(PEER),
        content: "waits".into(),
        sealed: None,
    };
    let kept = |outbox| Snapshot {
        login: Some(login(Duration::from_secs(3600))),
        chats: vec![known_chat(3, 3)],
        outbox,
        ..Snapshot::default()
    };
    let mut world = World::new(kept(vec![row.clone()]));
    assert_eq!(world.accept(true).cursors, [(CHAT, Seq(3))]);
    let mut world = World::new(kept(vec![]));
    world.client.adopt(row, world.now);
    assert_eq!(world.accept(true).cursors, [], "what was never said moved nothing");
}

#[test]
fn i2_a_new_device_s_log_begins_with_its_first_ack() {
    let mut world = World::ready();
    let ids = [world.send("1"), world.send("2")];
    assert!(lose(&mut world).is_empty(), "it does not know yet where the chat begins for it");
    let up = world.stream(Role::ChatUp);
    world.event(up, &ack(ids[0], 41, 42));
    world.event(up, &ack(ids[1], 42, 42));
    let down = world.down(43);
    world.entry(down, 43, PEER, id(43));
    assert_eq!((world.arrived(), world.closes), (vec![41, 42, 43], 0));
}

#[test]
fn r33_an_ack_counts_on_a_stream_that_was_given_up() {
    let mut world = settled();
    let mine = world.send("mine");
    let up = world.stream(Role::ChatUp);
    world.event(up, &Event::Refused(ErrorCode::Busy.after(Duration::from_secs(2))));
    world.event(up, &ack(mine, 4, 4));
    assert_eq!((world.arrived(), world.client.outbox_len()), (vec![4], 0));
    world.pass(Duration::from_secs(3));
    assert!(world.appended().is_empty(), "nothing is left to say again");
}

/// A device that was just added has said something in a chat of which it has nothing, and the chat's stream, which begins
/// after that message, is faster than its ack.
#[test]
fn i2_a_new_device_that_spoke_before_the_chat_began_for_it_begins_with_its_own_message() {
    let fresh = || {
        let mut world =
            World::new(Snapshot { login: Some(login(Duration::from_secs(3600))), ..Snapshot::default() });
        world.accept(true);
        world
    };
    let mut world = fresh();
    let mine = world.send("hello from here");
    let up = world.stream(Role::ChatUp);
    let down = world.down(10);
    world.entry(down, 10, PEER, id(10));
    assert_eq!(world.arrived(), [0_u64; 0], "what it said may lie before");
    world.event(up, &ack(mine, 9, 9));
    assert_eq!((world.arrived(), world.closes), (vec![9, 10], 0));

    // It lies behind: the chat begins where the stream does.
    let mut world = fresh();
    let mine = world.send("hello from here");
    let up = world.stream(Role::ChatUp);
    let down = world.down(10);
    world.entry(down, 10, PEER, id(10));
    world.entry(down, 11, ME, mine);
    world.event(up, &ack(mine, 11, 0));
    assert_eq!((world.arrived(), world.closes), (vec![10, 11], 0));

    // So it does if a second stream follows before the answer: what came on the first is not left out.
    let mut world = fresh();
    let mine = world.send("hello from here");
    let up = world.stream(Role::ChatUp);
    let first = world.down(10);
    world.entry(first, 10, PEER, id(10));
    let second = world.down(11);
    world.entry(second, 11, ME, mine);
    world.event(up, &ack(mine, 11, 0));
    assert_eq!((world.arrived(), world.closes), (vec![10, 11], 0));
}

/// The chat's stream of such a device says how far its person has read before anything tells where the chat begins for it.
#[test]
fn c43_a_new_device_that_waits_for_an_ack_learns_what_was_read_on_another_before() {
    let fresh = || {
        let mut world = World::ready();
        let mine = world.send("hello from here");
        let (up, down) = (world.stream(Role::ChatUp), world.down(25));
        let (delivered, read) = (Seq(24), Seq(23));
        let cursor =
            Cursor { member: ME, delivered, delivered_at: WALL, read, read_at: WALL, withheld: Vec::new() };
        world.event(down, &Event::CursorMoved(cursor));
        assert_eq!(world.read(), 0, "nothing is here that could be read");
        (world, mine, up, down)
    };
    // The first entry here is its own message, or another's.
    let (mut world, mine, up, _) = fresh();
    world.event(up, &ack(mine, 25, 25));
    assert_eq!((world.arrived(), world.read()), (vec![25], 23));

    let (mut world, mine, up, down) = fresh();
    world.entry(down, 25, PEER, id(25));
    world.event(up, &ack(mine, 26, 0));
    assert_eq!((world.arrived(), world.read()), (vec![25], 23));
    world.pass(Duration::from_secs(5));
    let past = |request: &Request| matches!(request, Request::MoveCursor { read, .. } if read.0 > 23);
    assert!(!world.said.values().flatten().any(past), "what came after was not read by anybody");
}
