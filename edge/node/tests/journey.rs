//! The journey of R12 on real sockets: QUIC, TLS, the embedded store, and a client that speaks frames.

mod support;

use support::*;
use wire::event::Event;
use wire::request::Request;
use wire::{ErrorCode, Seq};

#[test]
fn r12_register_send_deliver_read_and_return() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, people, chat) = alice_and_bob(config(dir.path()));
    let [alice, bob] = &*people;
    let (mut a, mut b) = (node.online(alice), node.online(bob));
    let up = a.chat_up(chat, Some(bob.account()));
    a.append(up, 1, "canary one");
    assert!(matches!(a.next(up), Event::AppendAck { seq: Seq(1), .. }), "one tick");
    b.until(|b| b.seqs(chat) == [1]);
    let b_up = b.chat_up(chat, None);
    b.say(b_up, &Request::MoveCursor { delivered: Seq(1), read: Seq(0) });
    a.until(|a| a.cursor(chat, bob.account()) == (Seq(1), Seq(0)));
    b.say(b_up, &Request::MoveCursor { delivered: Seq(1), read: Seq(1) });
    a.until(|a| a.cursor(chat, bob.account()) == (Seq(1), Seq(1)));
    drop(b);
    for n in 2..=40 {
        a.append(up, n, "while you were away");
    }
    for n in 2..=40 {
        assert!(matches!(a.next(up), Event::AppendAck { seq: Seq(s), .. } if s == n));
    }
    drop(a);
    // The node stops cleanly and another one opens the same store.
    let config = node.config.clone();
    node.stop();
    let node = TestNode::start(config);
    let mut b = node.online(bob);
    b.until(|b| b.seqs(chat).len() == 39);
    assert_eq!(b.seqs(chat), (2..=40).collect::<Vec<_>>(), "everything once, in order");
}

#[test]
fn r24_r156_who_is_nobody_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(config(dir.path()));
    let [alice, bob] = &*people;
    let token = alice.verified.tokens.access.expose().clone();
    let mut forged = token.clone();
    forged.replace_range(token.len() - 4.., "AAAA");
    for (person, token, code) in [
        (alice, forged, ErrorCode::TokenInvalid),
        (bob, token, ErrorCode::ProofInvalid),
        (alice, String::new(), ErrorCode::TokenInvalid),
    ] {
        let mut raw = node.client(9);
        let answer = raw.hello_with(Some(person), Some(token));
        assert!(matches!(answer, Event::Refused(refusal) if refusal.code == code), "{answer:?}");
        raw.until(|raw| raw.closed.is_some());
    }
    let mut anonymous = node.client(9);
    anonymous.hello(None);
    let answer = anonymous.ask(&Request::GetChats { after: None });
    assert!(matches!(&answer[..], [Event::Refused(r)] if r.code == ErrorCode::Unauthenticated), "{answer:?}");
    let up = anonymous.chat_up(chat, Some(bob.account()));
    let answer = anonymous.next(up);
    assert!(matches!(answer, Event::Refused(r) if r.code == ErrorCode::Unauthenticated), "{answer:?}");
}
