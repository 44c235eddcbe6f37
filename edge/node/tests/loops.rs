//! A node of two loops on one port: people on different loops, and connections whose datagrams come to the wrong one
//! (R33, I10, K1).

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use loadtest_relay::Relay;
use support::*;
use wire::event::Event;
use wire::request::Request;
use wire::{ChatId, ErrorCode, Seq};
use wire_link::StreamId;
use wire_udp::Options;

fn two_loops(dir: &std::path::Path) -> edge_node::Config {
    edge_node::Config { loops: 2, ..generous(dir) }
}

/// This person, connected from here.
fn online_from(node: &TestNode, person: &Person, from: SocketAddr, to: SocketAddr) -> Raw {
    let mut raw = Raw::connect_from(from, to, &node.ca(), person.seed + 100);
    let answer = raw.hello(Some(person));
    assert!(matches!(answer, Event::Connected(_)), "{answer:?}");
    raw
}

/// Messages of each in a burst.
const COUNT: u64 = 200;

/// Both say [`COUNT`] messages, a few at a time, and something happens in between. Everything is acknowledged once and
/// arrives at both once, in order, on the connections that there were.
fn burst(
    raws: &mut [Raw; 2],
    chat: ChatId,
    people: &[Person; 2],
    mut between: impl FnMut(u64, &mut [Raw; 2]),
) {
    let ups = [0, 1].map(|i| raws[i].chat_up(chat, Some(people[1 - i].account())));
    let mut acks = [Vec::new(), Vec::new()];
    for n in 1..=COUNT {
        for i in [0, 1] {
            raws[i].append(ups[i], 1000 * (i as u64 + 1) + n, "on the way");
        }
        between(n, raws);
        if n % 4 == 0 {
            raws.iter_mut().for_each(|raw| raw.turn(Instant::now()));
        }
    }
    let all: Vec<u64> = (1..=2 * COUNT).collect();
    let deadline = Instant::now() + PATIENCE;
    let is_done = |raws: &[Raw; 2], acks: &[Vec<u64>; 2]| {
        [0, 1].iter().all(|&i| acks[i].len() == COUNT as usize && raws[i].seqs(chat).len() >= all.len())
    };
    while !is_done(raws, &acks) {
        let heard = [0, 1].map(|i| (acks[i].len(), raws[i].seqs(chat).len(), &raws[i].closed));
        assert!(Instant::now() < deadline, "acknowledged and heard: {heard:?}");
        for i in [0, 1] {
            raws[i].turn(Instant::now() + Duration::from_millis(5));
            acks[i].extend(acknowledged(&mut raws[i], ups[i]));
        }
    }
    for i in [0, 1] {
        assert!(acks[i].is_sorted(), "G21");
        assert_eq!(raws[i].seqs(chat), all, "no gap, none twice");
        assert_eq!(raws[i].closed, None, "nobody had to connect again");
    }
    let mut acks = acks.concat();
    acks.sort_unstable();
    assert_eq!(acks, all, "each message has one place");
}

/// The acks that are there.
fn acknowledged(raw: &mut Raw, up: StreamId) -> Vec<u64> {
    let ack = |event| match event {
        Event::AppendAck { seq, .. } => seq.0,
        other => panic!("{other:?}"),
    };
    (0..raw.waiting(up)).map(|_| ack(raw.next(up))).collect()
}

#[test]
fn k1_the_kernel_spreads_people_over_the_loops() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(two_loops(dir.path()));
    let loops: BTreeSet<u8> = (0..16)
        .map(|_| match node.answer_to(local(0)).1 {
            Answered::Begun { loop_no } => loop_no,
            Answered::Retry => panic!("nobody floods"),
        })
        .collect();
    assert_eq!(loops, BTreeSet::from([0, 1]));
}

#[test]
fn k1_r43_people_on_different_loops_chat_and_see_receipts() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(two_loops(dir.path()));
    let [alice, bob] = &*people;
    let mut a = online_from(&node, alice, port_on(&node, 0), node.addr);
    let mut b = online_from(&node, bob, port_on(&node, 1), node.addr);
    let (a_up, b_up) = (a.chat_up(chat, Some(bob.account())), b.chat_up(chat, Some(alice.account())));
    for n in 1..=10 {
        let (from, to, up, peer) =
            if n % 2 == 1 { (&mut a, &mut b, a_up, bob) } else { (&mut b, &mut a, b_up, alice) };
        from.append(up, n, "canary one");
        assert!(matches!(from.next(up), Event::AppendAck { seq: Seq(s), .. } if s == n));
        // One's own message comes back too, and tells that the other's is the next.
        to.until(|to| to.seqs(chat).contains(&n));
        to.say(
            if n % 2 == 1 { b_up } else { a_up },
            &Request::MoveCursor { delivered: Seq(n), read: Seq(n) },
        );
        from.until(|from| from.cursor(chat, peer.account()) == (Seq(n), Seq(n)));
    }
}

#[test]
fn r26_a_session_on_one_loop_replaces_the_same_device_s_on_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, _) = alice_and_bob(two_loops(dir.path()));
    let mut before = online_from(&node, &people[0], port_on(&node, 0), node.addr);
    let mut after = online_from(&node, &people[0], port_on(&node, 1), node.addr);
    let session = before.session.unwrap();
    loop {
        match before.next(session) {
            Event::Goodbye(refusal) => break assert_eq!(refusal.code, ErrorCode::SessionReplaced),
            Event::Synced { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    before.until(|before| before.closed.is_some());
    assert!(matches!(after.ask(&Request::GetChats { after: None })[..], [Event::Chats { .. }]));
}

#[test]
fn i10_r33_an_address_that_moves_to_the_other_loop_in_mid_burst_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(two_loops(dir.path()));
    let mut to = [1, 0, 1].map(|loop_no| port_on(&node, loop_no)).into_iter();
    let a = online_from(&node, &people[0], port_on(&node, 0), node.addr);
    let b = node.online(&people[1]);
    burst(&mut [a, b], chat, &people, |n, [a, _]| {
        if n % 50 == 10
            && let Some(to) = to.next()
        {
            a.driver.rebind(to, &Options::default()).unwrap();
        }
    });
    assert!(to.next().is_none(), "it moved there, back, and there again");
}

#[test]
fn i10_nat_rebindings_and_new_networks_while_both_talk_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(two_loops(dir.path()));
    let relay = Relay::start(node.addr).unwrap();
    let mut raws = [0, 1].map(|i| online_from(&node, &people[i], local(0), relay.address()));
    let mut seen = BTreeSet::new();
    let mut networks = 2..;
    burst(&mut raws, chat, &people, |n, _| {
        // Both of them at once.
        match n % 40 {
            10 if cfg!(target_os = "linux") => {
                relay.move_to([127, 0, 0, networks.next().unwrap()].into()).unwrap();
            }
            10 | 30 => relay.rebind().unwrap(),
            _ => return,
        }
        seen.extend(relay.clients().into_iter().map(|(_, seen)| seen));
    });
    assert_eq!(seen.len(), 20, "ten moves of two people");
}
