//! Messages and ticks: R37–R53 on one node, with sessions that stall, vanish, are late, or lie.

mod harness;

use std::time::Duration;

use edge_proto::{Hint, Input, Limits, LinkId, StreamId};
use harness::*;
use store::keys::direct_chat_id;
use wire::event::Event;
use wire::request::{self, Request};
use wire::{ChatId, CloseCode, ErrorCode, LogId, Seq, WallTime, limits};

/// Delivered and read by this device of this account.
fn move_cursor(world: &mut World, live: Live, chat: ChatId, delivered: u64, read: u64) {
    let stream = world.chat_up(live, chat, None);
    world.say(live.link, stream, &Request::MoveCursor { delivered: Seq(delivered), read: Seq(read) });
    world.pass(Duration::from_millis(60));
}

#[test]
fn r12_r40_r44_r45_one_two_and_blue_ticks() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let (a, b) = (world.hello(&alice), world.hello(&bob));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "hello"));
    assert_eq!(acked(world.heard_on(a.link, up)), [1]);
    assert_eq!(world.entries(b.link, chat), [(Seq(1), "hello".into())]);
    assert_eq!(world.cursor(a.link, bob.account()), None, "C11: emission ticks nothing");
    move_cursor(&mut world, b, chat, 1, 0);
    assert_eq!(world.cursor(a.link, bob.account()), Some((Seq(1), Seq(0))));
    move_cursor(&mut world, b, chat, 1, 1);
    assert_eq!(world.cursor(a.link, bob.account()), Some((Seq(1), Seq(1))));
}

#[test]
fn r54_r56_an_offline_recipient_gets_everything_in_order_at_hello() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    for n in 1..=50 {
        world.say(a.link, up, &append(n, "while you were away"));
    }
    let b = world.hello(&bob);
    assert_eq!(seqs(&world.entries(b.link, chat)), (1..=50).collect::<Vec<_>>());
    assert!(matches!(world.heard_on(b.link, b.session).last(), Some(Event::Synced { .. })));
    move_cursor(&mut world, b, chat, 30, 0);
    let again = world.hello(&bob);
    assert_eq!(
        seqs(&world.entries(again.link, chat)),
        (31..=50).collect::<Vec<_>>(),
        "C12: from the device's cursor"
    );
}

#[test]
fn r45_receipts_of_an_offline_sender_are_synced_on_return() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "hello"));
    move_cursor(&mut world, a, chat, 1, 1);
    world.input(Input::Closed { link: a.link });
    let b = world.hello(&bob);
    move_cursor(&mut world, b, chat, 1, 1);
    let a = world.hello(&alice);
    assert_eq!(world.cursor(a.link, bob.account()), Some((Seq(1), Seq(1))));
    let through = world.heard_on(a.link, a.session).iter().find_map(|e| match e {
        Event::Synced { through } => Some(*through),
        _ => None,
    });
    world.pass(Duration::from_secs(600));
    let token = alice.tokens().access.expose().clone();
    let a = world.hello_with(&alice, &token, through.unwrap() + Duration::from_secs(300));
    assert_eq!(world.cursor(a.link, bob.account()), None, "nothing moved since: nothing is sent again");
}

#[test]
fn a_stalled_chat_delays_no_other_and_holds_one_burst() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let carol = world.register("+4915100000003", "Carol", 3);
    let other = direct_chat_id(carol.account(), bob.account());
    let (a, b, c) = (world.hello(&alice), world.hello(&bob), world.hello(&carol));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "first"));
    let (&stalled, _) = world
        .heard
        .iter()
        .find(|((l, _), e)| *l == b.link && matches!(e[0], Event::ChatDown { .. }))
        .unwrap();
    world.stalled.insert(stalled);
    for n in 2..=90 {
        world.say(a.link, up, &append(n, "a flood"));
    }
    let sent = world.entries(b.link, chat).len();
    assert!(sent <= 33, "a reader that does not read costs one burst, not {sent}");
    let up = world.chat_up(c, other, Some(bob.account()));
    world.say(c.link, up, &append(1, "hello from another chat"));
    assert_eq!(seqs(&world.entries(b.link, other)), [1]);
    world.stalled.clear();
    world.input(Input::Drained { link: stalled.0, stream: stalled.1 });
    assert_eq!(seqs(&world.entries(b.link, chat)), (1..=90).collect::<Vec<_>>(), "and nothing was lost");
}

/// Bob, and 70 chats in which he has missed a message, oldest first.
fn away(world: &mut World) -> (Device, Vec<ChatId>) {
    let bob = world.register("+4915100000002", "Bob", 2);
    let mut chats = Vec::new();
    for n in 0..70u8 {
        let sender = world.register(&format!("+4915200000{n:03}"), "Sender", 100 + n);
        let live = world.hello(&sender);
        let chat = direct_chat_id(sender.account(), bob.account());
        let up = world.chat_up(live, chat, Some(bob.account()));
        world.say(live.link, up, &append(1, "hello"));
        world.pass(Duration::from_millis(5));
        chats.push(chat);
    }
    (bob, chats)
}

/// The down streams that a link heard, in the order of their opening.
fn downs(world: &World, link: LinkId) -> Vec<(StreamId, ChatId)> {
    let of_link = world.heard.iter().filter(|((l, _), _)| *l == link);
    let down = of_link.map(|((_, stream), events)| match events[0] {
        Event::ChatDown { chat, .. } => Some((*stream, chat)),
        _ => None,
    });
    down.flatten().collect()
}

#[test]
fn g15_at_most_64_streams_owe_and_the_rest_follow() {
    let mut world = World::with(Limits { rates: generous(), ..Limits::default() });
    let (bob, chats) = away(&mut world);
    let b = world.hello(&bob);
    assert!(chats.iter().all(|&chat| seqs(&world.entries(b.link, chat)) == [1]));
    assert_eq!(downs(&world, b.link).first().map(|down| down.1), chats.last().copied(), "newest first");
}

#[test]
fn g15_the_sweeper_s_hint_lets_no_old_chat_jump_the_queue() {
    let mut world = World::with(Limits { rates: generous(), ..Limits::default() });
    let (bob, chats) = away(&mut world);
    // Nothing that is sent to him gets through at first, so as many streams are open as may be.
    let link = LinkId(world.connect().0 + 1);
    world.stalled.extend((0..10_000).map(|n| (link, StreamId(n))));
    let b = world.hello(&bob);
    assert_eq!(b.link, link);
    let open = downs(&world, link);
    assert_eq!(open.len(), limits::CHAT_DOWN_STREAMS_MAX);
    let (account, device) = (bob.account(), bob.verified.device);
    world.input(Input::Hint(Hint::Behind { log: LogId::Chat(chats[0]), head: Seq(1), account, device }));
    world.stalled.clear();
    for (stream, _) in open {
        world.input(Input::Drained { link, stream });
    }
    let order: Vec<ChatId> = downs(&world, link).into_iter().map(|(_, chat)| chat).collect();
    assert_eq!(order, chats.into_iter().rev().collect::<Vec<_>>(), "newest first, each once");
}

fn generous() -> edge_proto::Rates {
    edge_proto::Rates {
        otp_per_hour: 1000,
        registrations_per_hour: 1000,
        messages_per_minute: 10_000,
        ..Default::default()
    }
}

#[test]
fn c44_r156_cursors_and_reads_are_for_members() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let mallory = world.register("+4915100000009", "Mallory", 9);
    let (a, b, m) = (world.hello(&alice), world.hello(&bob), world.hello(&mallory));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "private"));
    for (name, request) in wire::testing::every_request(chat) {
        let refused = match request {
            // Not about a chat, or about the chats that are one's own.
            Request::Hello(_)
            | Request::Ping { .. }
            | Request::Register(_)
            | Request::VerifyOtp(_)
            | Request::Refresh(_)
            | Request::Logout
            | Request::ListDevices
            | Request::RevokeDevice { .. }
            | Request::Lookup { .. }
            | Request::GetChats { .. }
            | Request::PublishKeyPackages(_)
            | Request::ClaimKeyPackages(_)
            | Request::InboxUp
            | Request::Part { .. }
            // What is refused of commits has a file of its own.
            | Request::CommitGroup(_) => continue,
            Request::Append(_) | Request::MoveCursor { .. } | Request::Typing { .. } => {
                let up = world.chat_up(m, chat, None);
                world.say(m.link, up, &request);
                world.pass(Duration::from_millis(200));
                match *world.heard_on(m.link, up) {
                    [Event::Refused(refusal) | Event::AppendRefused { refusal, .. }] => Some(refusal.code),
                    [] => None,
                    ref other => panic!("{name}: {other:?}"),
                }
            }
            // Anything that is added later, too.
            _ => Some(world.refused(m.link, &request)),
        };
        let code = match request {
            Request::Typing { .. } => None,
            Request::ChatUp { .. } => Some(ErrorCode::ChatMismatch),
            // No tree is for a device that no commit added.
            Request::GetTree { .. } => Some(ErrorCode::NotFound),
            _ => Some(ErrorCode::NotMember),
        };
        assert_eq!(refused, code, "{name}");
    }
    assert_eq!(world.entries(b.link, chat), [(Seq(1), "private".into())], "nothing came of it");
    assert_eq!(world.cursor(b.link, mallory.account()), None);
    let chats = world.ask(m.link, &Request::GetChats { after: None });
    assert!(matches!(&chats[..], [Event::Chats { chats, .. }] if chats.is_empty()), "{chats:?}");
    let up = world.chat_up(a, chat, None);
    world.say(a.link, up, &Request::MoveCursor { delivered: Seq(2), read: Seq(0) });
    world.pass(Duration::from_millis(60));
    assert!(matches!(world.heard_on(a.link, up), [Event::Refused(r)] if r.code == ErrorCode::CursorAhead));
    assert!(world.entries(m.link, chat).is_empty());
}

#[test]
fn r47_g15_history_pages_both_ways_and_names_its_limits() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    for n in 1..=10 {
        world.say(a.link, up, &append(n, "x"));
    }
    let mut page = |limit: u16, before: u64, after: u64| {
        let get = request::GetMessages { chat, limit, before: Seq(before), after: Seq(after) };
        let events = world.ask(a.link, &Request::GetMessages(get));
        let seqs: Vec<u64> = events
            .iter()
            .filter_map(|e| if let Event::Entry(entry) = e { Some(entry.seq.0) } else { None })
            .collect();
        match events.last() {
            Some(Event::Page(page)) => {
                assert_eq!(usize::from(page.count), seqs.len());
                Ok((seqs, page.has_more, page.next_cursor.0))
            }
            Some(Event::Refused(refusal)) => Err(refusal.code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(page(4, 0, 0), Ok((vec![7, 8, 9, 10], true, 7)));
    assert_eq!(page(4, 7, 0), Ok((vec![3, 4, 5, 6], true, 3)));
    assert_eq!(page(4, 3, 0), Ok((vec![1, 2], false, 1)));
    assert_eq!(page(4, 0, 8), Ok((vec![9, 10], false, 10)));
    // From the beginning: 0 is no place to be after.
    assert_eq!(page(4, 2, 0), Ok((vec![1], false, 1)));
    assert_eq!(page(4, 0, 1), Ok((vec![2, 3, 4, 5], true, 5)));
    assert_eq!(page(500, 0, 0).map(|(seqs, more, _)| (seqs.len(), more)), Ok((10, false)));
    assert_eq!(page(0, 0, 0), Err(ErrorCode::PageInvalid));
    assert_eq!(page(501, 0, 0), Err(ErrorCode::PageInvalid));
    assert_eq!(page(5, 3, 3), Err(ErrorCode::PageInvalid));
}

#[test]
fn c15_receipts_have_exact_times_of_each_message() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let (a, b) = (world.hello(&alice), world.hello(&bob));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "x"));
    world.say(a.link, up, &append(2, "x"));
    move_cursor(&mut world, b, chat, 1, 0);
    let first = world.now.wall;
    world.pass(Duration::from_secs(10));
    move_cursor(&mut world, b, chat, 2, 2);
    let second = world.now.wall;
    let receipt = |world: &mut World, seq| {
        let answer = world.ask(a.link, &Request::GetReceipts { chat, seq: Seq(seq) });
        let [Event::Receipts(receipts)] = &answer[..] else { panic!("{answer:?}") };
        *receipts.iter().find(|r| r.member == bob.account()).expect("Bob's receipt")
    };
    let close =
        |at: Option<WallTime>, to: WallTime| to.saturating_since(at.unwrap()) < Duration::from_millis(60);
    let (one, two) = (receipt(&mut world, 1), receipt(&mut world, 2));
    assert!(close(one.delivered_at, first) && close(one.read_at, second), "{one:?}");
    assert!(close(two.delivered_at, second) && close(two.read_at, second), "{two:?}");
    assert_eq!(world.refused(a.link, &Request::GetReceipts { chat, seq: Seq(3) }), ErrorCode::NotFound);
}

#[test]
fn c43_a_second_device_gets_everything_and_the_first_one_s_reads() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let tablet = world.register("+4915100000002", "Bob", 22);
    let (a, b, t) = (world.hello(&alice), world.hello(&bob), world.hello(&tablet));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "x"));
    assert_eq!(seqs(&world.entries(b.link, chat)), [1]);
    assert_eq!(seqs(&world.entries(t.link, chat)), [1]);
    move_cursor(&mut world, b, chat, 1, 1);
    assert_eq!(world.cursor(t.link, bob.account()), Some((Seq(1), Seq(1))));
    assert_eq!(world.cursor(a.link, bob.account()), Some((Seq(1), Seq(1))), "READ when any device has read");
}

#[test]
fn hello_states_a_cursor_and_delivery_resumes_there() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    for n in 1..=5 {
        world.say(a.link, up, &append(n, "x"));
    }
    for (stated, resumes) in [(3, 4..=5), (0, 1..=5), (99, 1..=5)] {
        let link = world.hello_stating(&bob, vec![(chat, Seq(stated))]).link;
        assert_eq!(seqs(&world.entries(link, chat)), resumes.collect::<Vec<_>>(), "stated {stated}");
    }
}

#[test]
fn i5_a_stated_cursor_brings_nothing_from_before_joining() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = world.hello(&alice);
    let up = world.chat_up(a, chat, Some(bob.account()));
    for n in 1..=5 {
        world.say(a.link, up, &append(n, "x"));
    }
    for (joined, stated, heard) in [
        (Some(3), 0, vec![4, 5]),
        (Some(3), 4, vec![5]),
        (None, 0, vec![]),
        (Some(0), 0, vec![1, 2, 3, 4, 5]),
    ] {
        world.join(chat, bob.account(), joined.map(Seq));
        let link = world.hello_stating(&bob, vec![(chat, Seq(stated))]).link;
        assert_eq!(seqs(&world.entries(link, chat)), heard, "joined at {joined:?}, stated {stated}");
    }
}

#[test]
fn nothing_is_read_before_hello_is_accepted() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let link = world.connect();
    let (session, early) = (world.open(link), world.open(link));
    assert!(world.paused.contains(&(link, early)));
    let credentials = credentials(link, &alice, alice.tokens().access.expose());
    world.say(link, session, &Request::Hello(hello(Some(credentials))));
    assert!(!world.paused.contains(&(link, early)), "and then it is");
    world.say(link, early, &Request::ChatUp { chat, peer: Some(bob.account()) });
    world.say(link, early, &append(1, "x"));
    assert_eq!(acked(world.heard_on(link, early)), [1]);
}

#[test]
fn a_connection_without_hello_is_closed_in_time() {
    let mut world = World::new();
    let link = world.connect();
    world.pass(Duration::from_secs(9));
    assert!(!world.closed.contains(&link));
    world.pass(Duration::from_secs(2));
    assert!(world.closed.contains(&link));
}

#[test]
fn r115_r152_frames_that_do_not_belong_cost_their_stream_and_nothing_else() {
    let mut world = World::new();
    let Pair { alice, bob, chat } = pair(&mut world);
    let a = world.hello(&alice);
    let garbage = world.open(a.link);
    world.input(Input::Frame { link: a.link, stream: garbage, body: bytes::Bytes::from_static(b"garbage") });
    assert!(world.reset.contains(&(a.link, garbage)));
    let misplaced = world.open(a.link);
    world.say(a.link, misplaced, &append(1, "x"));
    assert!(world.reset.contains(&(a.link, misplaced)));
    let up = world.chat_up(a, chat, Some(bob.account()));
    world.say(a.link, up, &append(1, "x"));
    assert_eq!(acked(world.heard_on(a.link, up)), [1]);
    world.say(a.link, a.session, &append(1, "x"));
    assert!(world.closed.contains(&a.link), "on the session stream it costs the connection");
    let b = world.hello(&bob);
    let torn = world.open(b.link);
    world.input(Input::Torn { link: b.link, stream: torn });
    assert_eq!(
        world.reset_codes.get(&(b.link, torn)),
        Some(&CloseCode::Malformed),
        "and so does half a frame"
    );
    world.input(Input::Torn { link: b.link, stream: b.session });
    assert_eq!(world.close_codes.get(&b.link), Some(&CloseCode::Malformed));
}

#[test]
fn the_same_device_again_replaces_its_older_session() {
    let mut world = World::new();
    let Pair { alice, .. } = pair(&mut world);
    let (first, second) = (world.hello(&alice), world.hello(&alice));
    let told = world.heard_on(first.link, first.session);
    assert!(
        matches!(told.last(), Some(Event::Goodbye(r)) if r.code == ErrorCode::SessionReplaced),
        "{told:?}"
    );
    assert!(world.closed.contains(&first.link) && !world.closed.contains(&second.link));
    assert_eq!(world.close_codes.get(&first.link), Some(&CloseCode::Replaced));
}

#[test]
fn r28_a_ping_is_answered() {
    let mut world = World::new();
    let Pair { alice, .. } = pair(&mut world);
    let a = world.hello(&alice);
    world.say(a.link, a.session, &Request::Ping { client_time: WallTime(5) });
    let pong = Event::Pong { client_time: WallTime(5), server_time: world.now.wall };
    assert_eq!(world.heard_on(a.link, a.session).last(), Some(&pong));
}

#[test]
fn r36_a_drained_node_tells_everyone_and_admits_no_one() {
    let mut world = World::new();
    let Pair { alice, bob, .. } = pair(&mut world);
    let a = world.hello(&alice);
    world.input(Input::Drain);
    world.pass(Duration::from_secs(3));
    let told = world.heard_on(a.link, a.session);
    assert!(matches!(told.last(), Some(Event::Goodbye(r)) if r.code == ErrorCode::ShuttingDown), "{told:?}");
    assert_eq!(world.close_codes.get(&a.link), Some(&CloseCode::ShuttingDown));
    let b = world.hello(&bob);
    assert_eq!(world.close_codes.get(&b.link), Some(&CloseCode::Refused));
    assert!(
        matches!(world.heard_on(b.link, b.session), [Event::Refused(r)] if r.code == ErrorCode::ShuttingDown)
    );
}
