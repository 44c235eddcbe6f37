//! Clients that break the rules: malformed frames, floods, streams that are never read. They cost themselves, and the
//! node goes on serving others (R115, R152, "bounded everything").

mod support;

use std::time::Instant;

use bytes::Bytes;
use support::*;
use wire::event::Event;
use wire::request::Request;
use wire::{CloseCode, Role, Seq};

/// Alice sends and is acknowledged: the node serves.
fn assert_serves(node: &TestNode, people: &[Person; 2], chat: wire::ChatId, n: u64) {
    let mut alice = node.online(&people[0]);
    let up = alice.chat_up(chat, Some(people[1].account()));
    alice.append(up, n, "still here");
    assert!(matches!(alice.next(up), Event::AppendAck { .. }));
}

#[test]
fn r152_malformed_frames_cost_their_stream_and_oversized_ones_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(config(dir.path()));
    let mut mallory = node.online(&people[0]);
    for garbage in
        [&b"\x05hello"[..], &[0x04, 0xff, 0, 0, 0], &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]]
    {
        let stream = mallory.open(Role::Request);
        mallory.send(stream, Bytes::copy_from_slice(garbage));
        assert_eq!(mallory.end_of(stream), Some(u64::from(CloseCode::Malformed.number())), "{garbage:?}");
    }
    let torn = mallory.open(Role::Request);
    mallory.send(torn, Bytes::from_static(b"\x09half"));
    let link = mallory.link;
    mallory.driver.endpoint().finish(link, torn);
    assert_eq!(mallory.end_of(torn), Some(u64::from(CloseCode::Malformed.number())));
    let misplaced = mallory.open(Role::Request);
    mallory.append(misplaced, 1, "without a ChatUp");
    assert_eq!(mallory.end_of(misplaced), Some(u64::from(CloseCode::Unexpected.number())));
    assert!(matches!(&mallory.ask(&Request::ListDevices)[..], [Event::Devices(_)]), "the connection goes on");
    let stream = mallory.open(Role::Request);
    mallory.send(stream, Bytes::from_static(&[0x80, 0x01, 0x20, 0x01, 0]));
    mallory.until(|raw| raw.closed.is_some());
    let closed = format!("{:?}", mallory.closed);
    assert!(closed.contains(&format!("code: {}", CloseCode::TooLarge.number())), "{closed}");
    assert_serves(&node, &people, chat, 1);
}

#[test]
fn every_byte_of_a_session_may_be_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(generous(dir.path()));
    let mut mallory = node.online(&people[0]);
    // A damaged Logout may still be one.
    let requests = wire::testing::every_request(chat).into_iter();
    let frames = requests.filter(|(_, request)| *request != Request::Logout).map(|(_, r)| r.encode());
    for frame in frames {
        for place in 0..frame.len() {
            let mut damaged = frame.to_vec();
            damaged[place] ^= 0x81;
            while !mallory.blurt(damaged.clone().into()) {
                mallory = node.online(&people[0]);
            }
        }
    }
    assert_serves(&node, &people, chat, 1);
}

#[test]
fn a_flood_of_requests_is_answered_or_refused_and_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(config(dir.path()));
    let mut mallory = node.online(&people[0]);
    let (mut answered, mut limited) = (0, 0);
    for _ in 0..700 {
        match &mallory.ask(&Request::GetChats { after: None })[..] {
            [Event::Chats { .. }] => answered += 1,
            [Event::Refused(refusal)] if refusal.code == wire::ErrorCode::RateLimited => limited += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(answered >= 600 && limited > 0, "{answered} answered, {limited} limited");
    let bob = &people[1];
    let mut b = node.online(bob);
    let up = b.chat_up(chat, Some(people[0].account()));
    b.append(up, 1, "I am not the flood");
    assert!(matches!(b.next(up), Event::AppendAck { .. }));
}

#[test]
fn connections_that_never_say_hello_are_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.hello_timeout_s = 1;
    let (node, people, chat) = alice_and_bob(config);
    let mut silent: Vec<_> = (0..20).map(|n| node.client(n)).collect();
    assert_serves(&node, &people, chat, 1);
    for raw in &mut silent {
        raw.until(|raw| raw.closed.is_some());
    }
}

#[test]
fn a_client_that_reads_nothing_is_bounded_and_delays_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(generous(dir.path()));
    let [alice, bob] = &*people;
    // Bob's phone acknowledges nothing from here on: it is gone, without a word.
    let gone = node.online(bob);
    let mut a = node.online(alice);
    let up = a.chat_up(chat, Some(bob.account()));
    let large = "x".repeat(60_000);
    for n in 1..=100 {
        a.append(up, n, &large);
        assert!(matches!(a.next(up), Event::AppendAck { seq: Seq(s), .. } if s == n));
    }
    drop(gone);
    // His other phone is served all of it meanwhile: 6 MB, in order.
    let mut b = node.online(bob);
    b.until(|b| b.seqs(chat).len() == 100);
    assert_eq!(b.seqs(chat), (1..=100).collect::<Vec<_>>());
}

#[test]
fn r47_a_page_of_large_messages_ends_early_and_the_rest_follows() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(generous(dir.path()));
    let mut a = node.online(&people[0]);
    let up = a.chat_up(chat, Some(people[1].account()));
    let large = "x".repeat(60_000);
    for n in 1..=10 {
        a.append(up, n, &large);
        a.next(up);
    }
    let (mut before, mut seen) = (Seq::ZERO, Vec::new());
    loop {
        let get = wire::request::GetMessages { chat, limit: 500, before, after: Seq::ZERO };
        let mut answer = a.ask(&Request::GetMessages(get));
        let Some(Event::Page(page)) = answer.pop() else { panic!("a page ends the answer") };
        let seqs = answer.iter().map(|event| if let Event::Entry(e) = event { e.seq.0 } else { 0 });
        seen.splice(0..0, seqs);
        before = page.next_cursor;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
}

#[test]
fn c1_expired_tokens_get_refresh_and_nothing_else_on_the_wire() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.access_token_s = 1;
    let (node, people, _) = alice_and_bob(config);
    let deadline = Instant::now() + PATIENCE;
    let mut raw = loop {
        let mut raw = node.client(9);
        match raw.hello(Some(&people[0])) {
            Event::Refused(refusal) if refusal.code == wire::ErrorCode::TokenExpired => break raw,
            Event::Connected(_) => assert!(Instant::now() < deadline, "the token does not expire"),
            other => panic!("{other:?}"),
        }
    };
    raw.until(|raw| raw.closed.is_some());
}
