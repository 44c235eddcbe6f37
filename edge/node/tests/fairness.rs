//! One chat, one backlog, one reader does not delay another (R50, "bounded everything").

mod support;

use std::time::{Duration, Instant};

use loadtest_relay::Relay;
use support::*;
use wire::event::Event;
use wire::{ChatId, WallTime, limits};

/// Says so many messages in a chat and hears that each is committed; when the last of them was.
fn say(raw: &mut Raw, chat: ChatId, peer: &Person, count: u64, text: &str) -> WallTime {
    let up = raw.chat_up(chat, Some(peer.account()));
    let (mut said, mut acknowledged, mut last) = (0, 0, WallTime(0));
    while acknowledged < count {
        while said < count && said - acknowledged < limits::APPENDS_IN_FLIGHT_MAX as u64 {
            said += 1;
            raw.append(up, said, text);
        }
        match raw.next(up) {
            Event::AppendAck { at, .. } => (acknowledged, last) = (acknowledged + 1, at),
            other => panic!("{other:?}"),
        }
    }
    last
}

fn chat_of(a: &Person, b: &Person) -> ChatId {
    store::keys::direct_chat_id(a.account(), b.account())
}

#[test]
fn k1_a_chat_that_is_not_read_does_not_hold_up_another() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(generous(dir.path()));
    let [alice, bob] = &*people;
    let carol = node.register("+4915100000003", "Carol", 3);
    let mut b = node.online(bob);
    b.stalled = Some(chat);
    let mut a = node.online(alice);
    // More than QUIC's window for one stream, and the node's burst behind it: one megabyte.
    let large = "x".repeat(20_000);
    let up = a.chat_up(chat, Some(bob.account()));
    for n in 1..=50 {
        a.append(up, n, &large);
        assert!(matches!(a.next(up), Event::AppendAck { .. }));
        b.turn(Instant::now());
    }
    let mut c = node.online(&carol);
    say(&mut c, chat_of(&carol, bob), bob, 20, "at once");
    b.until(|b| b.seqs(chat_of(&carol, bob)).len() == 20);
    assert!(b.seqs(chat).len() < 50, "the other chat is still not read");
}

#[test]
fn k1_a_backlog_of_2000_messages_does_not_delay_a_new_one_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(generous(dir.path()));
    let [alice, bob] = &*people;
    let carol = node.register("+4915100000003", "Carol", 3);
    let mut a = node.online(alice);
    say(&mut a, chat, bob, 2000, &"x".repeat(2000));
    // A phone on a real path, where four megabytes take their time.
    let relay = Relay::start(node.addr).unwrap();
    relay.set_delay(Duration::from_millis(20));
    let mut b = Raw::connect(relay.address(), &node.ca(), 9);
    b.hello(Some(bob));
    b.until(|b| !b.seqs(chat).is_empty());
    let mut c = node.online(&carol);
    say(&mut c, chat_of(&carol, bob), bob, 1, "between");
    b.until(|b| !b.seqs(chat_of(&carol, bob)).is_empty());
    assert!(b.seqs(chat).len() < 2000, "it came before the backlog was through");
    b.until(|b| b.seqs(chat).len() == 2000);
    assert_eq!(b.seqs(chat), (1..=2000).collect::<Vec<_>>());
}

#[test]
fn g15_who_comes_back_to_200_chats_gets_the_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(generous(dir.path()));
    let [alice, bob] = &*people;
    let mut last = vec![(chat, say(&mut node.online(alice), chat, bob, 1, "first"))];
    for seed in 10..209 {
        let person = node.register(&format!("+49151000100{seed:03}"), "Somebody", seed);
        let mut raw = node.client(seed);
        raw.hello(Some(&person));
        let chat = chat_of(&person, bob);
        last.push((chat, say(&mut raw, chat, bob, 1, "hello")));
    }
    assert_eq!(last.len(), 200);
    let mut b = node.online(bob);
    b.until(|b| last.iter().all(|(chat, _)| b.seqs(*chat) == [1]));
    let at = |chat: &ChatId| last.iter().find(|(c, _)| c == chat).expect("one of them").1;
    let opened = b.chats_opened();
    let newest = &opened[..limits::CHAT_DOWN_STREAMS_MAX];
    assert!(newest.is_sorted_by(|a, b| at(a) >= at(b)), "newest first");
    assert_eq!(at(&newest[0]), last.last().unwrap().1);
    assert_eq!(opened.len(), 200, "each once");
}

/// The memory that this process has, bytes.
#[cfg(target_os = "linux")]
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

#[cfg(target_os = "linux")]
#[test]
fn k1_200_clients_that_read_nothing_cost_a_bounded_amount_and_delay_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(generous(dir.path()));
    let [alice, bob] = &*people;
    // Bob's phones, 200 of them.
    let phones: Vec<Person> = (10..210).map(|seed| node.register("+4915100000002", "Bob", seed)).collect();
    let mut readers = Vec::new();
    for phone in &phones {
        let mut raw = node.client(phone.seed);
        raw.stalled = Some(chat);
        assert!(matches!(raw.hello(Some(phone)), Event::Connected(_)));
        readers.push(raw);
    }
    let before = resident_bytes();
    let mut a = node.online(alice);
    let up = a.chat_up(chat, Some(bob.account()));
    let large = "x".repeat(60_000);
    for n in 1..=80 {
        a.append(up, n, &large);
        assert!(matches!(a.next(up), Event::AppendAck { .. }), "at once, in spite of them");
        // Each of them is alive, and half of them hear that there is something.
        readers.iter_mut().skip((n % 2) as usize).step_by(2).for_each(|raw| raw.turn(Instant::now()));
    }
    let grown = resident_bytes().saturating_sub(before);
    // They are owed 80 times 60 kB each, 960 MB together. QUIC's window of 64 kB, twice in this process, a burst in front
    // of it, and what the store keeps of 5 MB are a tenth.
    assert!(grown < 300 << 20, "{} MB", grown >> 20);
    assert!(readers.iter().all(|raw| raw.closed.is_none() && raw.seqs(chat).len() < 80));
    let mut b = node.online(bob);
    b.until(|b| b.seqs(chat).len() == 80);
    assert_eq!(b.seqs(chat), (1..=80).collect::<Vec<_>>());
}
