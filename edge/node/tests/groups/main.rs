//! Groups on real sockets: commits in many frames, a removal among messages, an inbox for who was away.

mod phone;
#[path = "../support/mod.rs"]
mod support;

use client_crypto::Received;
use phone::{Phone, entries, sealed, welcome};
use support::*;
use wire::event::{EntryKind, Event};
use wire::request::{Action, Request};
use wire::{ClientMsgId, Epoch, ErrorCode, Seq, limits};

/// Alice and Bob in a group, both in epoch 1.
fn friends(node: &TestNode) -> (Phone, Phone, wire::ChatId) {
    let mut alice = Phone::new(node, "+4915100000001", "Alice", 1);
    let mut bob = Phone::new(node, "+4915100000002", "Bob", 2);
    let (chat, ask) = alice.make_group(&[bob.account()]);
    let committed = alice.ask(&ask);
    assert!(matches!(committed, Event::Committed { seq: Seq(1), epoch: Epoch(1), .. }), "{committed:?}");
    alice.receive(chat, 1);
    assert_eq!(bob.join().chat, chat);
    (alice, bob, chat)
}

#[test]
fn r59_r165_who_was_away_is_welcomed_when_it_comes_back_also_to_another_node() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = TestNode::start(generous(dir.path()));
    let mut alice = Phone::new(&node, "+4915100000001", "Alice", 1);
    let mut bob = Phone::new(&node, "+4915100000002", "Bob", 2);
    drop(std::mem::replace(&mut bob.raw, node.client(9)));
    let (chat, ask) = alice.make_group(&[bob.account()]);
    assert!(matches!(alice.ask(&ask), Event::Committed { epoch: Epoch(1), .. }));
    alice.receive(chat, 1);
    let up = alice.raw.chat_up(chat, None);
    let said = alice.encrypt(chat, 1, "while you were away");
    alice.raw.say(up, &said);
    assert!(matches!(alice.raw.next(up), Event::AppendAck { seq: Seq(2), .. }));
    drop(std::mem::replace(&mut alice.raw, node.client(9)));
    let config = node.config.clone();
    node.stop();
    let node = TestNode::start(config);
    // Twice: what is not said to have arrived comes again.
    for _ in 0..2 {
        bob.back(&node);
        bob.raw.until(|raw| welcome(raw).is_some() && raw.seqs(chat) == [1, 2]);
    }
    let welcome = bob.join();
    assert_eq!((welcome.chat, welcome.epoch, welcome.seq), (chat, Epoch(1), Seq(1)));
    let received = bob.receive(chat, 2);
    assert!(
        matches!(&received, Received::Message { content, .. } if content == b"while you were away"),
        "{received:?}"
    );
    let up = bob.raw.chat_up(chat, None);
    let said = bob.encrypt(chat, 1, "and now I am back");
    bob.raw.say(up, &said);
    assert!(matches!(bob.raw.next(up), Event::AppendAck { seq: Seq(3), .. }));
    alice.back(&node);
    let received = alice.receive(chat, 3);
    assert!(matches!(&received, Received::Message { content, .. } if content == b"and now I am back"));
}

#[test]
fn r125_commits_of_half_a_megabyte_go_both_ways_and_to_whoever_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(generous(dir.path()));
    let (mut alice, mut bob, chat) = friends(&node);
    let own = alice.leaf();
    let ask = alice.commit(chat, Action::Update, &[], &[]).inflated(own, limits::HANDSHAKE_BYTES_MAX);
    let committed = alice.ask(&ask);
    assert!(matches!(committed, Event::Committed { seq: Seq(2), epoch: Epoch(2), .. }), "{committed:?}");
    for raw in [&mut alice.raw, &mut bob.raw] {
        raw.until(|raw| raw.heard(chat).iter().filter(|e| matches!(e, Event::EntryPart(_))).count() == 7);
        let entry = entries(raw, chat).pop().unwrap();
        assert_eq!(entry.what, EntryKind::Commit { parts: 7 });
        assert_eq!(entry.content, ask.blobs[..limits::HANDSHAKE_BYTES_MAX]);
    }
    // History, and a session that begins anew, with a message behind the commit.
    let up = bob.raw.chat_up(chat, None);
    bob.raw.say(up, &sealed(ClientMsgId::new([7; 16]), 2, "behind it"));
    assert!(matches!(bob.raw.next(up), Event::AppendAck { seq: Seq(3), .. }));
    let page = wire::request::GetMessages { chat, limit: 50, before: Seq(0), after: Seq(1) };
    let history = bob.raw.ask(&Request::GetMessages(page));
    assert_eq!(history.iter().filter(|event| matches!(event, Event::EntryPart(_))).count(), 7);
    bob.back(&node);
    bob.raw.until(|raw| raw.seqs(chat).contains(&3));
    let lengths: Vec<usize> = entries(&bob.raw, chat).iter().map(|entry| entry.content.len()).collect();
    assert_eq!(lengths[1..], [limits::HANDSHAKE_BYTES_MAX, 9]);
}

/// By the commits that it takes; of each one somebody who was added speaks, and the others read it.
#[test]
fn r59_r125_a_group_of_256_accounts_is_made_and_spoken_in() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(generous(dir.path()));
    let mut others: Vec<Phone> = (1..=u8::MAX)
        .map(|n| Phone::new(&node, &format!("+49151{:08}", 10_000_000 + u32::from(n)), "Somebody", n))
        .collect();
    let mut creator = Phone::new(&node, "+4915100000001", "Alice", 0);
    let accounts: Vec<_> = others.iter().map(Phone::account).collect();
    let mut lots = accounts.chunks(limits::COMMIT_ADDS_MAX);
    let (chat, ask) = creator.make_group(lots.next().unwrap());
    assert!(matches!(creator.ask(&ask), Event::Committed { epoch: Epoch(1), .. }));
    creator.receive(chat, 1);
    for (seq, lot) in (2..).zip(lots) {
        let adds = creator.claim(lot);
        let ask = creator.commit(chat, Action::AddMembers { accounts: lot.to_vec() }, &adds, &[]);
        let committed = creator.ask(&ask);
        assert!(matches!(committed, Event::Committed { seq: Seq(at), .. } if at == seq), "{committed:?}");
        creator.receive(chat, seq);
    }
    let [Event::Group(group)] = &creator.raw.ask(&Request::GetGroup { chat })[..] else { panic!() };
    assert_eq!((group.members.len(), group.leaves.len(), group.epoch), (256, 256, Epoch(4)));
    // The last of each lot: 64, 128, 192 and 255.
    let mut readers = Vec::new();
    for at in [254, 191, 127, 63] {
        let mut phone = others.swap_remove(at);
        let added = phone.join().seq.0;
        assert_eq!(added, at as u64 / 64 + 1);
        (added + 1..=4).for_each(|seq| drop(phone.receive(chat, seq)));
        readers.push(phone);
    }
    readers.push(creator);
    for speaker in 0..readers.len() {
        let seq = 5 + speaker as u64;
        let text = format!("number {speaker} speaks");
        let phone = &mut readers[speaker];
        let up = phone.raw.chat_up(chat, None);
        let said = phone.encrypt(chat, 4, &text);
        phone.raw.say(up, &said);
        assert!(matches!(phone.raw.next(up), Event::AppendAck { seq: Seq(at), .. } if at == seq));
        for reader in (0..readers.len()).filter(|reader| *reader != speaker) {
            let received = readers[reader].receive(chat, seq);
            assert!(matches!(&received, Received::Message { content, .. } if content == text.as_bytes()));
        }
    }
}

/// Bob talks as fast as he can while Alice removes Carol, on a node with two loops.
#[test]
fn i5_who_is_removed_among_many_messages_gets_none_that_is_after() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = generous(dir.path());
    config.loops = 2;
    let node = TestNode::start(config);
    let (mut alice, mut bob, chat) = friends(&node);
    let mut carol = Phone::new(&node, "+4915100000003", "Carol", 3);
    let adds = alice.claim(&[carol.account()]);
    let add = Action::AddMembers { accounts: vec![carol.account()] };
    let ask = alice.commit(chat, add, &adds, &[]);
    assert!(matches!(alice.ask(&ask), Event::Committed { seq: Seq(2), .. }));
    alice.receive(chat, 2);
    carol.join();
    let carol_up = carol.raw.chat_up(chat, None);
    let bob_up = bob.raw.chat_up(chat, None);
    // Sealed for either epoch: what is of another one than the log's ends the stream, and goes on with the next.
    let say = |bob: &mut Phone, up, n: u8, epoch| {
        let id = ClientMsgId::new([n; 16]);
        bob.raw.say(up, &sealed(id, epoch, format!("message {n}")));
    };
    (1..=30).for_each(|n| say(&mut bob, bob_up, n, 2));
    let remove = Action::RemoveMembers { accounts: vec![carol.account()] };
    let ask = alice.commit(chat, remove, &[], &[carol.device()]);
    let stream = alice.say(&ask);
    (31..=60).for_each(|n| say(&mut bob, bob_up, n, 2));
    let Event::Committed { seq: removal, epoch: Epoch(3), .. } = alice.raw.next(stream) else { panic!() };
    let up = bob.raw.chat_up(chat, None);
    (100..=130).for_each(|n| say(&mut bob, up, n, 3));
    for _ in 100..=130 {
        let answer = bob.raw.next(up);
        assert!(matches!(answer, Event::AppendAck { .. }), "{answer:?}");
    }
    carol.raw.until(|raw| raw.seqs(chat).contains(&removal.0));
    assert!(matches!(carol.raw.next(carol_up), Event::Refused(r) if r.code == ErrorCode::NotMember));
    assert_eq!(carol.raw.end_of(carol_up), None);
    assert_eq!(carol.raw.refused(&Request::GetGroup { chat }), ErrorCode::NotMember);
    carol.back(&node);
    carol.raw.until(|raw| raw.seqs(chat).contains(&removal.0));
    let seqs = carol.raw.seqs(chat);
    assert_eq!(seqs, (seqs[0]..=removal.0).collect::<Vec<_>>());
    assert_eq!(carol.raw.refused(&Request::GetTree { chat, epoch: Epoch(3) }), ErrorCode::NotFound);
}
