//! I5: whoever is no member any more gets nothing of what comes after, by any path, and its streams end; whoever leaves, or ends a
//! device, must be removed before anything else is said (G16).

mod harness;

use std::time::Duration;

use edge_proto::{Hint, Input};
use harness::groups::*;
use harness::*;
use wire::event::{Control, ControlKind, EntryKind, Event};
use wire::request::{Action, Request};
use wire::{ChatId, ErrorCode, LogId, Seq};

/// Alice, Bob and Carol in a group, in epoch 2; Alice is its admin.
fn three(world: &mut World) -> (Phone, Phone, Phone, ChatId) {
    let (mut alice, mut bob, chat) = friends(world);
    let mut carol = Phone::new(world, "Carol", 3);
    let adds = alice.claim(world, &[carol.account()]);
    let action = Action::AddMembers { accounts: vec![carol.account()] };
    let ask = alice.commit(chat, action, &adds, &[], 201);
    assert_eq!(ask.ask(world, alice.live), Ok((2, 2)));
    let entry = world.whole_entries(alice.live.link, chat).pop().unwrap();
    alice.receive(chat, &entry);
    bob.receive(chat, &entry);
    let (welcome, tree) = (world.welcome(carol.live), world.tree(carol.live, chat, 2));
    carol.join(chat, &welcome.bytes, &tree);
    (alice, bob, carol, chat)
}

fn remove(alice: &mut Phone, who: &Phone, chat: ChatId, n: u8) -> Ask {
    let action = Action::RemoveMembers { accounts: vec![who.account()] };
    alice.commit(chat, action, &[], &[who.id()], n)
}

/// Puts the newest commit that Alice heard into her group.
fn catch_up(world: &World, alice: &mut Phone, chat: ChatId) {
    let entry = world.whole_entries(alice.live.link, chat).pop().unwrap();
    alice.receive(chat, &entry);
}

#[test]
fn i5_a_removed_member_hears_the_removal_and_nothing_after_it() {
    let mut world = World::new();
    let (mut alice, bob, carol, chat) = three(&mut world);
    let up = world.chat_up(carol.live, chat, None);
    world.say(carol.live.link, up, &sealed(1, 2, "still there"));
    let down = world.down_stream(carol.live.link, chat).unwrap();
    let ask = remove(&mut alice, &carol, chat, 2);
    assert_eq!(ask.ask(&mut world, alice.live), Ok((4, 3)));
    assert_eq!(world.places(carol.live, chat).last(), Some(&4), "the removal is hers to read");
    assert!(world.finished.contains(&(carol.live.link, down)), "then the stream ends");
    assert!(world.finished.contains(&(carol.live.link, up)), "and the one that she speaks on");
    assert!(
        matches!(world.heard_on(carol.live.link, up).last(), Some(Event::Refused(r)) if r.code == ErrorCode::NotMember)
    );
    let of_alice = world.chat_up(alice.live, chat, None);
    world.say(alice.live.link, of_alice, &sealed(3, 3, "without her"));
    assert_eq!(world.places(bob.live, chat), [1, 2, 3, 4, 5]);
    assert_eq!(world.places(carol.live, chat).last(), Some(&4));
    let link = carol.live.link;
    let up = world.chat_up(carol.live, chat, None);
    world.say(link, up, &sealed(4, 3, "x"));
    world.say(link, up, &Request::MoveCursor { delivered: Seq(5), read: Seq(0) });
    world.pass(Duration::from_millis(60));
    match world.heard_on(link, up) {
        [Event::AppendRefused { refusal, .. }, Event::Refused(moved)] => {
            assert_eq!((refusal.code, moved.code), (ErrorCode::NotMember, ErrorCode::CursorAhead));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.refused(link, &Request::GetGroup { chat }), ErrorCode::NotMember);
    let page = wire::request::GetMessages { chat, limit: 50, before: Seq(0), after: Seq(4) };
    let read = world.ask(link, &Request::GetMessages(page));
    assert!(matches!(&read[..], [Event::Page(page)] if page.count == 0), "{read:?}");
    world.say(link, up, &Request::MoveCursor { delivered: Seq(4), read: Seq(4) });
    world.pass(Duration::from_millis(60));
    let live = world.hello(&carol.device);
    assert!(world.places(live, chat).is_empty(), "what she has said to have is not sent again");
}

#[test]
fn i5_a_removed_member_that_was_away_gets_what_was_hers() {
    let mut world = World::new();
    let (mut alice, _, carol, chat) = three(&mut world);
    world.input(Input::Closed { link: carol.live.link });
    let ask = remove(&mut alice, &carol, chat, 1);
    assert_eq!(ask.ask(&mut world, alice.live), Ok((3, 3)));
    let up = world.chat_up(alice.live, chat, None);
    world.say(alice.live.link, up, &sealed(3, 3, "without her"));
    let live = world.hello(&carol.device);
    assert_eq!(world.places(live, chat), [2, 3], "from when she was added to when she was removed");
    let down = world.down_stream(live.link, chat).unwrap();
    assert!(world.finished.contains(&(live.link, down)));
    assert!(matches!(world.heard_on(live.link, live.session).last(), Some(Event::Synced { .. })));
}

/// A removal and a message, while Carol's stream takes nothing, in any order of reads.
#[test]
fn i5_a_removal_that_races_with_reads_and_hints_hides_what_follows() {
    for (stalled, held) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::new();
        let (mut alice, _, carol, chat) = three(&mut world);
        let up = world.chat_up(alice.live, chat, None);
        world.say(alice.live.link, up, &sealed(1, 2, "before"));
        let down = world.down_stream(carol.live.link, chat).unwrap();
        if stalled {
            world.stalled.insert((carol.live.link, down));
        }
        world.say(alice.live.link, up, &sealed(2, 2, "before, and perhaps unread"));
        let ask = remove(&mut alice, &carol, chat, 3);
        world.hold = held;
        ask.say(&mut world, alice.live);
        world.say(alice.live.link, up, &sealed(4, 3, "after"));
        while held && world.perform_one() {}
        world.release();
        world.stalled.clear();
        world.drain(carol.live.link, down);
        assert_eq!(acked(world.heard_on(alice.live.link, up)), [3, 4, 6]);
        assert_eq!(world.places(carol.live, chat), [2, 3, 4, 5], "stalled {stalled}, held {held}");
        // What hints say of it later is nothing to her.
        let (account, device) = (carol.account(), carol.id());
        world.input(Input::Hint(Hint::Behind { log: LogId::Chat(chat), head: Seq(6), account, device }));
        world.input(Input::HintsLost);
        world.pass(Duration::from_secs(6));
        assert_eq!(world.places(carol.live, chat).iter().max(), Some(&5), "stalled {stalled}, held {held}");
    }
}

#[test]
fn i5_nobody_who_was_removed_is_told_who_types() {
    let mut world = World::new();
    let (mut alice, bob, carol, chat) = three(&mut world);
    let of_carol = world.chat_up(carol.live, chat, None);
    let of_bob = world.chat_up(bob.live, chat, None);
    let types = |world: &mut World| {
        world.pass(Duration::from_secs(1));
        world.say(bob.live.link, of_bob, &Request::Typing { typing: true });
    };
    let heard = |world: &World| {
        let all = world.heard.iter().filter(|((link, _), _)| *link == carol.live.link);
        all.flat_map(|(_, events)| events).filter(|event| matches!(event, Event::Typing { .. })).count()
    };
    types(&mut world);
    assert_eq!(heard(&world), 1);
    let ask = remove(&mut alice, &carol, chat, 1);
    assert_eq!(ask.ask(&mut world, alice.live), Ok((3, 3)));
    assert!(world.finished.contains(&(carol.live.link, of_carol)));
    // She opens it again, and who types knew of her a moment ago.
    world.chat_up(carol.live, chat, None);
    types(&mut world);
    assert_eq!(heard(&world), 1);
}

#[test]
fn c39_whoever_is_added_again_begins_there() {
    let mut world = World::new();
    let (mut alice, _, mut carol, chat) = three(&mut world);
    assert_eq!(remove(&mut alice, &carol, chat, 1).ask(&mut world, alice.live), Ok((3, 3)));
    catch_up(&world, &mut alice, chat);
    let up = world.chat_up(alice.live, chat, None);
    world.say(alice.live.link, up, &sealed(2, 3, "between"));
    carol.publish(&mut world, 2);
    let adds = alice.claim(&mut world, &[carol.account()]);
    let action = Action::AddMembers { accounts: vec![carol.account()] };
    let ask = alice.commit(chat, action, &adds, &[], 3);
    assert_eq!(ask.ask(&mut world, alice.live), Ok((5, 4)));
    world.say(alice.live.link, up, &sealed(4, 4, "again"));
    assert_eq!(world.places(carol.live, chat), [2, 3, 5, 6]);
}

/// Carol's node hears of nothing between; then of the last.
#[test]
fn c39_a_removal_and_an_add_that_were_unheard_leave_no_hole_in_a_stream() {
    let mut world = World::new();
    let (mut alice, _, mut carol, chat) = three(&mut world);
    let before = world.places(carol.live, chat);
    let removal = remove(&mut alice, &carol, chat, 1);
    removal.commit_elsewhere(&world, &alice);
    alice.receive(chat, &removal.entry(&alice, 3));
    carol.publish(&mut world, 2);
    let adds = alice.claim(&mut world, &[carol.account()]);
    let action = Action::AddMembers { accounts: vec![carol.account()] };
    alice.commit(chat, action, &adds, &[], 3).commit_elsewhere(&world, &alice);
    assert_eq!(world.places(carol.live, chat), before);
    let (account, device) = (carol.account(), carol.id());
    world.input(Input::Hint(Hint::Behind { log: LogId::Chat(chat), head: Seq(4), account, device }));
    assert_eq!(world.places(carol.live, chat), [2, 4], "what lies between is not hers any more");
}

#[test]
fn g16_r67_whoever_leaves_is_removed_before_anything_else_is_said() {
    let mut world = World::new();
    let (mut alice, mut bob, carol, chat) = three(&mut world);
    let leave = Request::LeaveGroup { chat, client_msg_id: id(1) };
    assert_eq!(world.ask(alice.live.link, &leave), [Event::Done]);
    assert_eq!(world.ask(alice.live.link, &leave), [Event::Done], "a repeat");
    let told = world.whole_entries(bob.live.link, chat).pop().unwrap();
    let (account, admin) = (alice.account(), Some(bob.account()));
    let control = Control { kind: ControlKind::Left, account, device: None, admin };
    assert_eq!(
        (told.seq, told.what),
        (Seq(3), EntryKind::Control(control)),
        "G16: who joined first is admin"
    );
    assert_eq!(world.places(alice.live, chat), [1, 2, 3], "she hears it, and nothing more");
    let up = world.chat_up(carol.live, chat, None);
    world.say(carol.live.link, up, &sealed(2, 2, "too early"));
    assert!(matches!(
        world.heard_on(carol.live.link, up),
        [Event::AppendRefused { refusal, .. }] if refusal.code == ErrorCode::CommitFirst
    ));
    assert!(world.finished.contains(&(carol.live.link, up)));
    let without = bob.commit(chat, Action::Update, &[], &[], 3);
    assert_eq!(
        without.ask(&mut world, bob.live),
        Err(ErrorCode::CommitFirst),
        "a commit that removes her first"
    );
    bob.drop_pending(chat);
    let with = bob.commit(chat, Action::Update, &[], &[alice.id()], 4);
    assert_eq!(with.ask(&mut world, bob.live), Ok((4, 3)));
    let up = world.chat_up(carol.live, chat, None);
    world.say(carol.live.link, up, &sealed(2, 3, "now"));
    assert_eq!(acked(world.heard_on(carol.live.link, up)), [5]);
    assert_eq!(world.places(alice.live, chat), [1, 2, 3]);
    let ask = alice.commit(chat, Action::Update, &[], &[], 5);
    assert_eq!(ask.ask(&mut world, alice.live), Err(ErrorCode::NotMember));
    assert_eq!(
        world.refused(alice.live.link, &Request::LeaveGroup { chat, client_msg_id: id(6) }),
        ErrorCode::NotMember
    );
}

#[test]
fn g16_a_chat_of_two_is_not_left() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "x"));
    let leave = Request::LeaveGroup { chat, client_msg_id: id(2) };
    assert_eq!(world.refused(a.link, &leave), ErrorCode::CannotLeave);
}

#[test]
fn g6_a_device_that_ends_is_told_to_its_chats() {
    let mut world = World::new();
    let (alice, bob, carol, chat) = three(&mut world);
    assert_eq!(world.ask(carol.live.link, &Request::Logout), [Event::Done]);
    let told = world.whole_entries(bob.live.link, chat).pop().unwrap();
    let (account, device) = (carol.account(), Some(carol.id()));
    let control = Control { kind: ControlKind::DeviceEnded, account, device, admin: None };
    assert_eq!((told.seq, told.what), (Seq(3), EntryKind::Control(control)));
    let up = world.chat_up(alice.live, chat, None);
    world.say(alice.live.link, up, &sealed(1, 2, "too early"));
    assert!(matches!(
        world.heard_on(alice.live.link, up),
        [Event::AppendRefused { refusal, .. }] if refusal.code == ErrorCode::CommitFirst
    ));
}
