//! Commits (I6): made, raced for, repeated, and refused; how their bytes arrive, and what becomes of those that do not.

mod harness;

use std::time::Duration;

use edge_proto::{Input, Limits, StreamId};
use harness::groups::*;
use harness::*;
use wire::event::{EntryKind, Event};
use wire::request::{Action, Request};
use wire::{ChatId, CloseCode, Epoch, ErrorCode, Seq, limits};

fn new_phone(world: &mut World, name: &str, seed: u8) -> Phone {
    Phone::new(world, name, seed)
}

#[test]
fn r59_a_group_is_made_and_what_is_said_in_it_is_opened() {
    let mut world = World::new();
    let (mut alice, mut bob, chat) = friends(&mut world);
    let commit = world.whole_entries(alice.live.link, chat).remove(0);
    assert_eq!(commit.what, EntryKind::Commit { parts: 0 });
    assert_eq!((commit.epoch, commit.client_msg_id), (Epoch(0), id(200)), "the committer hears it as all do");
    assert_eq!(world.places(bob.live, chat), [1], "and who is added reads it too");
    let up = world.chat_up(alice.live, chat, None);
    let said = alice.encrypt(chat, 1, 1, b"hello");
    world.say(alice.live.link, up, &said);
    assert_eq!(acked(world.heard_on(alice.live.link, up)), [2]);
    let entry = world.whole_entries(bob.live.link, chat).pop().unwrap();
    let received = bob.receive(chat, &entry);
    assert!(
        matches!(&received, client_crypto::Received::Message { content, .. } if content == b"hello"),
        "{received:?}"
    );
    let [Event::Group(group)] = &world.ask(bob.live.link, &Request::GetGroup { chat })[..] else { panic!() };
    assert_eq!((group.epoch, group.members.len(), group.leaves.len()), (Epoch(1), 2, 2));
}

#[test]
fn i6_of_two_who_begin_one_chat_one_makes_its_group_and_all_their_devices_hear_it() {
    let mut world = World::new();
    let (mut alice, mut bob) = (new_phone(&mut world, "Alice", 1), new_phone(&mut world, "Bob", 2));
    let tablet = world.register("+4915100000102", "Bob", 22);
    assert_eq!(tablet.account(), bob.account());
    let at_tablet = world.hello(&tablet);
    // The tablet has no key package yet: it is a member's device, and has no leaf.
    let packages = alice.claim(&mut world, &[bob.account()]);
    assert_eq!(packages.iter().filter(|package| package.bytes.is_none()).count(), 1);
    let mut tablet = Phone::of(tablet, at_tablet, 22);
    let (chat, of_bob) = bob.make_direct(&mut world, &alice, 1);
    tablet.publish(&mut world, 1);
    let (same_chat, of_alice) = alice.make_direct(&mut world, &bob, 2);
    assert_eq!(chat, same_chat);
    assert_eq!(of_bob.ask(&mut world, bob.live), Ok((1, 1)));
    assert_eq!(of_alice.ask(&mut world, alice.live), Err(ErrorCode::StaleEpoch));
    for live in [alice.live, bob.live, at_tablet] {
        assert_eq!(world.places(live, chat), [1]);
    }
    let down = world.down_stream(alice.live.link, chat).unwrap();
    let peer = Some(bob.account());
    assert!(
        matches!(world.heard_on(alice.live.link, down)[0], Event::ChatDown { peer: of, .. } if of == peer)
    );
    assert_eq!(world.welcome(alice.live).adder, (bob.account(), bob.id()));
    assert!(world.inbox(at_tablet).is_empty(), "it has no leaf");
    let up = world.chat_up(alice.live, chat, None);
    world.say(alice.live.link, up, &append(3, "in the clear"));
    let refused = world.heard_on(alice.live.link, up);
    assert!(
        matches!(refused, [Event::AppendRefused { refusal, .. }] if refusal.code == ErrorCode::StaleEpoch),
        "{refused:?}"
    );
}

#[test]
fn i6_a_stale_epoch_is_told_and_ends_the_stream() {
    let mut world = World::new();
    let (alice, _, chat) = friends(&mut world);
    let (link, up) = (alice.live.link, world.chat_up(alice.live, chat, None));
    for (n, epoch) in [(1, 1), (2, 0), (3, 1)] {
        world.say(link, up, &sealed(n, epoch, "x"));
    }
    match world.heard_on(link, up) {
        [Event::AppendAck { seq: Seq(2), .. }, Event::AppendRefused { client_msg_id, refusal, epoch }] => {
            assert_eq!((*client_msg_id, refusal.code, *epoch), (id(2), ErrorCode::StaleEpoch, Epoch(1)));
        }
        other => panic!("{other:?}"),
    }
    assert!(world.finished.contains(&(link, up)), "what came after it is not appended before it");
    let up = world.chat_up(alice.live, chat, None);
    for n in [2, 3] {
        world.say(link, up, &sealed(n, 1, "x"));
    }
    assert_eq!(acked(world.heard_on(link, up)), [3, 4]);
}

#[test]
fn i6_of_those_that_wait_together_nothing_after_a_stale_one_is_appended() {
    let mut world = World::new();
    let (alice, _, chat) = friends(&mut world);
    let (link, up) = (alice.live.link, world.chat_up(alice.live, chat, None));
    world.hold = true;
    for (n, epoch) in [(1, 1), (2, 1), (3, 0), (4, 1)] {
        world.say(link, up, &sealed(n, epoch, "x"));
    }
    world.release();
    let refused =
        world.heard_on(link, up).iter().filter(|e| matches!(e, Event::AppendRefused { .. })).count();
    assert_eq!((acked(world.heard_on(link, up)), refused), (vec![2, 3], 2));
    assert!(world.finished.contains(&(link, up)));
}

#[test]
fn i6_one_of_two_commits_wins_and_a_repeat_gets_its_first_answer() {
    let mut world = World::new();
    let (mut alice, mut bob, chat) = friends(&mut world);
    let of_alice = alice.commit(chat, Action::Update, &[], &[], 1);
    let of_bob = bob.commit(chat, Action::Update, &[], &[], 2);
    assert_eq!(of_bob.ask(&mut world, bob.live), Ok((2, 2)));
    assert_eq!(of_alice.ask(&mut world, alice.live), Err(ErrorCode::StaleEpoch));
    assert_eq!(world.places(alice.live, chat), [1, 2], "the winner's is what she hears");
    let update = world.whole_entries(alice.live.link, chat).pop().unwrap();
    alice.receive(chat, &update);
    let again = alice.commit(chat, Action::Update, &[], &[], 3);
    assert_eq!(again.ask(&mut world, alice.live), Ok((3, 3)));
    for ask in [&of_bob, &of_bob] {
        assert_eq!(ask.ask(&mut world, bob.live), Ok((2, 2)), "whatever has happened since");
    }
    assert_eq!(world.places(bob.live, chat), [1, 2, 3], "nobody hears of it again");
}

#[test]
fn i6_a_committer_that_was_gone_hears_its_own_commit_from_the_log() {
    let mut world = World::new();
    let (mut alice, _, chat) = friends(&mut world);
    let up = world.chat_up(alice.live, chat, None);
    world.say(alice.live.link, up, &Request::MoveCursor { delivered: Seq(1), read: Seq(1) });
    world.pass(Duration::from_millis(60));
    let ask = alice.commit(chat, Action::Update, &[], &[], 1);
    world.hold = true;
    let stream = ask.say(&mut world, alice.live);
    world.input(Input::Closed { link: alice.live.link });
    world.release();
    assert!(world.heard_on(alice.live.link, stream).is_empty());
    let live = world.hello(&alice.device);
    assert_eq!(world.places(live, chat), [2], "its cursor was not moved over what it never saw");
}

#[test]
fn r125_a_commit_of_half_a_megabyte_arrives_in_parts_and_leaves_in_parts() {
    let mut world = World::new();
    let (mut alice, bob, chat) = friends(&mut world);
    let ask = alice.commit(chat, Action::Update, &[], &[], 1);
    let ask = ask.inflated(&alice, limits::HANDSHAKE_BYTES_MAX);
    assert_eq!(ask.ask(&mut world, alice.live), Ok((2, 2)));
    for live in [alice.live, bob.live] {
        let entry = world.whole_entries(live.link, chat).pop().unwrap();
        assert_eq!((entry.what, &entry.content[..]), (EntryKind::Commit { parts: 7 }, ask.commit()));
    }
    let page = wire::request::GetMessages { chat, limit: 50, before: Seq(0), after: Seq(0) };
    let history = world.ask(bob.live.link, &Request::GetMessages(page));
    let parts = history.iter().filter(|event| matches!(event, Event::EntryPart(_))).count();
    assert_eq!(parts, 7, "history has all of it");
}

/// Large commits of several chats, to a phone that takes a frame now and then.
#[test]
fn r125_one_large_entry_is_on_its_way_at_a_time_and_nothing_comes_between_its_frames() {
    let mut world = World::new();
    let (mut alice, bob) = (new_phone(&mut world, "Alice", 1), new_phone(&mut world, "Bob", 2));
    let chats: Vec<ChatId> = (10..13)
        .map(|n| {
            let (chat, ask) = alice.make_group(&mut world, &[&bob], n);
            assert_eq!(ask.inflated(&alice, 300_000).ask(&mut world, alice.live), Ok((1, 1)));
            let up = world.chat_up(alice.live, chat, None);
            world.say(alice.live.link, up, &sealed(100 + n, 1, "small"));
            chat
        })
        .collect();
    world.input(Input::Closed { link: bob.live.link });
    world.stalls_new = true;
    let live = world.hello(&bob.device);
    let mut most = 0;
    for _ in 0..100 {
        let unsent: Vec<(StreamId, usize)> = world.stalled_frames(live.link);
        most = most.max(unsent.iter().map(|(_, bytes)| bytes).sum());
        for (stream, _) in unsent {
            world.drain(live.link, stream);
        }
    }
    for chat in chats {
        let entries = world.whole_entries(live.link, chat);
        assert_eq!(entries.iter().map(|entry| entry.content.len()).collect::<Vec<_>>(), [300_000, 5]);
    }
    assert!(most < 2 * limits::FRAME_BYTES_MAX, "{most} bytes were unsent at a time");
}

fn header_of(world: &mut World, live: Live, ask: &Ask) -> StreamId {
    let stream = world.open(live.link);
    world.say(live.link, stream, &Request::CommitGroup(ask.header.clone()));
    stream
}

#[test]
fn r152_a_commit_that_says_too_little_too_much_or_something_else_costs_its_stream() {
    let mut world = World::new();
    let (mut alice, _, chat) = friends(&mut world);
    let ask = alice.commit(chat, Action::Update, &[], &[], 1);
    let (link, all) = (alice.live.link, ask.blobs.len() as u32);
    let piece = |bytes: &[u8], left| Request::Part { bytes: bytes.to_vec().into(), left };
    let [most, one] = [&ask.blobs[..ask.blobs.len() - 1], &ask.blobs[ask.blobs.len() - 1..]];
    for (what, said, code) in [
        ("nothing in a part", vec![piece(&[], all)], CloseCode::Malformed),
        ("less left than is missing", vec![piece(most, 0)], CloseCode::Malformed),
        ("more left than is missing", vec![piece(most, 2)], CloseCode::Malformed),
        ("more than was stated", vec![piece(&[&ask.blobs[..], b"x"].concat(), 0)], CloseCode::Malformed),
        ("the same again", vec![piece(most, 1), piece(most, 1)], CloseCode::Malformed),
        ("another header", vec![Request::CommitGroup(ask.header.clone())], CloseCode::Unexpected),
        ("another request", vec![piece(most, 1), Request::ListDevices], CloseCode::Unexpected),
        ("nothing anybody knows", vec![Request::Unknown], CloseCode::Unexpected),
    ] {
        let stream = header_of(&mut world, alice.live, &ask);
        said.iter().for_each(|frame| world.say(link, stream, frame));
        assert_eq!(world.reset_codes.get(&(link, stream)), Some(&code), "{what}");
        assert!(world.heard_on(link, stream).is_empty(), "{what}");
    }
    let stream = header_of(&mut world, alice.live, &ask);
    world.say(link, stream, &piece(most, 1));
    world.input(Input::Finished { link, stream });
    assert_eq!(world.reset_codes.get(&(link, stream)), Some(&CloseCode::Malformed), "it ends too early");
    world.hold = true;
    let stream = header_of(&mut world, alice.live, &ask);
    world.say(link, stream, &piece(most, 1));
    world.say(link, stream, &piece(one, 0));
    world.say(link, stream, &piece(one, 0));
    assert_eq!(world.reset_codes.get(&(link, stream)), Some(&CloseCode::Unexpected), "after its end");
    world.release();
    assert_eq!(
        ask.ask(&mut world, alice.live),
        Ok((2, 2)),
        "what was whole is in the log, and can be asked for"
    );
    let stream = world.open(link);
    world.say(link, stream, &piece(one, 0));
    assert_eq!(world.reset_codes.get(&(link, stream)), Some(&CloseCode::Unexpected), "a part of nothing");
}

#[test]
fn r152_a_commit_that_stalls_is_given_up_and_leaves_no_room_taken() {
    let mut world = World::with(Limits { commit_bytes_in_flight: 100_000, ..Limits::default() });
    let (mut alice, _, chat) = friends(&mut world);
    let ask = alice.commit(chat, Action::Update, &[], &[], 1);
    let large = ask.clone().inflated(&alice, 90_000);
    let stalled = header_of(&mut world, alice.live, &large);
    let parts = large.parts(45_000);
    world.say(alice.live.link, stalled, &parts[0]);
    world.pass(Duration::from_secs(60));
    let late = header_of(&mut world, alice.live, &large);
    world.say(alice.live.link, late, &parts[0]);
    assert_eq!(
        ask.clone().inflated(&alice, 20_000).ask(&mut world, alice.live),
        Err(ErrorCode::Busy),
        "no room"
    );
    world.pass(Duration::from_secs(61));
    let code = |stream| world.reset_codes.get(&(alice.live.link, stream)).copied();
    assert_eq!((code(stalled), code(late)), (Some(CloseCode::Cancelled), None));
    world.pass(Duration::from_secs(60));
    assert!(world.reset_codes.contains_key(&(alice.live.link, late)), "each has its time");
    assert_eq!(large.ask(&mut world, alice.live), Ok((2, 2)));
}

#[test]
fn r152_of_one_connection_no_more_arrives_than_one_of_the_largest() {
    let mut world = World::new();
    let (mut alice, _, chat) = friends(&mut world);
    let ask = alice.commit(chat, Action::Update, &[], &[], 1);
    let large = ask.clone().inflated(&alice, limits::HANDSHAKE_BYTES_MAX);
    let first = header_of(&mut world, alice.live, &large);
    let second = header_of(&mut world, alice.live, &large);
    assert!(
        matches!(world.heard_on(alice.live.link, second), [Event::Refused(r)] if r.code == ErrorCode::Busy)
    );
    world.input(Input::Reset { link: alice.live.link, stream: first });
    assert_eq!(large.ask(&mut world, alice.live), Ok((2, 2)), "and a stream that is gone counts no more");
    for n in 0..20 {
        let stream = header_of(&mut world, alice.live, &ask);
        let is_busy = !world.heard_on(alice.live.link, stream).is_empty();
        assert_eq!(is_busy, n >= 16, "as many as of any request");
    }
}

#[test]
fn r152_a_header_is_judged_before_anything_follows() {
    let mut world = World::new();
    let (mut alice, bob, _) = friends(&mut world);
    let (_, ask) = alice.make_group(&mut world, &[&bob], 1);
    type Change = fn(&mut wire::request::CommitGroup);
    let changes: [(Change, ErrorCode); 7] = [
        (|h| h.commit_bytes = 0, ErrorCode::CommitInvalid),
        (|h| h.tree_bytes = 0, ErrorCode::CommitInvalid),
        (|h| h.adds.clear(), ErrorCode::CommitInvalid),
        (|h| h.adds[0].welcome_bytes = 0, ErrorCode::CommitInvalid),
        (|h| h.commit_bytes = limits::HANDSHAKE_BYTES_MAX as u32 + 1, ErrorCode::CommitTooLarge),
        (|h| h.adds[0].welcome_bytes = limits::WELCOME_BYTES_MAX as u32 + 1, ErrorCode::CommitTooLarge),
        (
            |h| {
                (h.commit_bytes, h.tree_bytes) =
                    (limits::HANDSHAKE_BYTES_MAX as u32, limits::TREE_BYTES_MAX as u32)
            },
            ErrorCode::CommitTooLarge,
        ),
    ];
    for (n, (change, code)) in changes.into_iter().enumerate() {
        let mut ask = ask.clone();
        change(&mut ask.header);
        let stream = header_of(&mut world, alice.live, &ask);
        let heard = world.heard_on(alice.live.link, stream);
        assert!(matches!(heard, [Event::Refused(r)] if r.code == code), "change {n}: {heard:?}");
    }
}

#[test]
fn i6_bytes_that_are_not_what_the_header_says_are_refused() {
    let mut world = World::new();
    let (mut alice, bob, chat) = friends(&mut world);
    let carol = new_phone(&mut world, "Carol", 3);
    let adds = alice.claim(&mut world, &[carol.account()]);
    let action = Action::AddMembers { accounts: vec![carol.account()] };
    let good = alice.commit(chat, action, &adds, &[], 1);
    let other_device = bob.id();
    type Change<'a> = Box<dyn Fn(&mut Ask) + 'a>;
    let tree = good.header.commit_bytes as usize;
    let welcome = tree + good.header.tree_bytes as usize;
    let changes: [(&str, Change<'_>, ErrorCode); 9] = [
        ("garbage", Box::new(|a| a.blobs[0] ^= 0xff), ErrorCode::CommitInvalid),
        ("another epoch", Box::new(|a| a.header.epoch = Epoch(2)), ErrorCode::CommitInvalid),
        ("another message", Box::new(|a| a.header.client_msg_id = id(9)), ErrorCode::CommitInvalid),
        ("another chat", Box::new(|a| a.header.chat = ChatId::new([9; 16])), ErrorCode::CommitInvalid),
        ("another device", Box::new(|a| a.header.adds[0].device = other_device), ErrorCode::CommitInvalid),
        ("another account", Box::new(|a| a.header.adds[0].account = bob.account()), ErrorCode::CommitInvalid),
        ("a tree that is none", Box::new(|a| a.blobs[tree] ^= 0xff), ErrorCode::CommitInvalid),
        ("a welcome that is none", Box::new(|a| a.blobs[welcome] ^= 0xff), ErrorCode::CommitInvalid),
        (
            "an action that adds nobody",
            Box::new(|a| a.header.action = Action::Update),
            ErrorCode::CommitInvalid,
        ),
    ];
    for (what, change, code) in changes {
        let mut ask = good.clone();
        change(&mut ask);
        assert_eq!(ask.ask(&mut world, alice.live), Err(code), "{what}");
    }
    assert_eq!(good.ask(&mut world, bob.live), Err(ErrorCode::CommitInvalid), "somebody else's");
    assert_eq!(good.ask(&mut world, carol.live), Err(ErrorCode::CommitInvalid), "a stranger's");
    assert_eq!(good.ask(&mut world, alice.live), Ok((2, 2)), "and as it is it is right");
}

#[test]
fn r61_who_may_commit_what() {
    let mut world = World::new();
    let (alice, mut bob, chat) = friends(&mut world);
    let mut carol = new_phone(&mut world, "Carol", 3);
    let adds = bob.claim(&mut world, &[carol.account()]);
    let add = Action::AddMembers { accounts: vec![carol.account()] };
    let ask = bob.commit(chat, add, &adds, &[], 1);
    assert_eq!(ask.ask(&mut world, bob.live), Err(ErrorCode::NotAdmin), "R61: admins add");
    bob.drop_pending(chat);
    let remove = Action::RemoveMembers { accounts: vec![alice.account()] };
    let ask = bob.commit(chat, remove, &[], &[alice.id()], 2);
    assert_eq!(ask.ask(&mut world, bob.live), Err(ErrorCode::NotAdmin), "and remove");
    bob.drop_pending(chat);
    let ask = bob.commit(chat, Action::Update, &[], &[alice.id()], 3);
    assert_eq!(ask.ask(&mut world, bob.live), Err(ErrorCode::CommitInvalid), "nor under another name");
    let (_, mut ask) = carol.make_group(&mut world, &[&bob], 4);
    ask.header.action =
        Action::MakeGroup { name: " ".into(), description: String::new(), members: vec![bob.account()] };
    assert_eq!(ask.ask(&mut world, carol.live), Err(ErrorCode::NameInvalid));
    ask.header.action =
        Action::MakeGroup { name: "x".into(), description: String::new(), members: vec![alice.account()] };
    assert_eq!(
        ask.ask(&mut world, carol.live),
        Err(ErrorCode::CommitInvalid),
        "members are those who are added"
    );
    ask.header.action = Action::MakeDirect { peer: bob.account() };
    assert_eq!(ask.ask(&mut world, carol.live), Err(ErrorCode::ChatMismatch));
    ask.header.action =
        Action::MakeGroup { name: "x".into(), description: String::new(), members: vec![bob.account()] };
    assert_eq!(ask.ask(&mut world, carol.live), Ok((1, 1)));
    assert_eq!(ask.ask(&mut world, carol.live), Ok((1, 1)), "a repeat");
}

#[test]
fn r119_ten_groups_a_day_and_one_that_was_not_made_is_none_of_them() {
    let mut limits = Limits::default();
    limits.rates.groups_per_day = 3;
    let mut world = World::with(limits);
    let (mut alice, mut bob) = (new_phone(&mut world, "Alice", 1), new_phone(&mut world, "Bob", 2));
    bob.publish(&mut world, 10);
    for n in 0..3 {
        let (_, mut ask) = alice.make_group(&mut world, &[&bob], n);
        let right = ask.clone();
        ask.blobs[0] ^= 0xff;
        assert_eq!(ask.ask(&mut world, alice.live), Err(ErrorCode::CommitInvalid));
        assert_eq!(right.ask(&mut world, alice.live), Ok((1, 1)));
        if n < 2 {
            assert_eq!(right.ask(&mut world, alice.live), Ok((1, 1)), "nor is a repeat");
        }
    }
    let (_, ask) = alice.make_group(&mut world, &[&bob], 3);
    assert_eq!(ask.ask(&mut world, alice.live), Err(ErrorCode::RateLimited));
    world.pass(Duration::from_secs(9 * 3600));
    assert_eq!(ask.ask(&mut world, alice.live), Ok((1, 1)));
}

#[test]
fn g18_a_commit_is_never_taken_as_early_data() {
    let mut world = World::new();
    let (mut alice, _, chat) = friends(&mut world);
    let ask = alice.commit(chat, Action::Update, &[], &[], 1);
    let link = world.connect_early();
    let session = world.open(link);
    let credentials = early_credentials(&alice.device, NAME, world.now.wall);
    world.say(link, session, &Request::Hello(hello(Some(credentials))));
    let live = Live { link, session };
    let before = world.asked.len();
    let stream = ask.say(&mut world, live);
    world.pass(Duration::from_secs(1));
    assert!(world.heard_on(link, stream).is_empty() && !world.asked[before..].contains(&"commit"));
    world.complete(link);
    assert!(matches!(world.heard_on(link, stream), [Event::Committed { epoch: Epoch(2), .. }]));
}
