//! The server's order decides: races, crashes, withheld and repeated entries.

mod support;

use client_crypto::{MlsError, Received};
use support::*;
use wire::limits::MESSAGES_PER_EPOCH_MAX;

#[test]
fn i6_of_two_commits_for_an_epoch_the_first_wins_and_the_other_is_made_anew() {
    let mut phones = group_of(3);
    let (mut fourth, gone) = (Phone::new(9), phones[2].device());
    let package = fourth.key_package();
    let first = phones[0].commit(std::slice::from_ref(&package), &[], 10);
    let second = phones[1].commit(&[], &[gone], 11);
    assert_eq!((first.epoch, second.epoch), (1, 1));
    let won = entry(&phones[1], 11, 1, &second.commit);
    match phones[0].receive(&won).expect("the winner") {
        Received::Committed { lost: Some(asked), change } => {
            assert_eq!(asked.client_msg_id, id(10));
            assert_eq!(asked.adds, [fourth.own()]);
            assert!(asked.removes.is_empty());
            assert_eq!(change.removes.len(), 1);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(phones[1].receive(&won), Ok(Received::OwnCommitted { .. })));
    assert!(matches!(phones[2].receive(&won), Ok(Received::Removed { .. })));
    let lost = entry(&phones[0], 10, 1, &first.commit);
    for phone in &mut phones[..2] {
        assert!(matches!(phone.receive(&lost), Err(MlsError::StaleEpoch { message: 1, group: 2 })));
    }
    phones.pop();
    let again = phones[0].commit(&[package], &[], 12);
    let said = entry(&phones[0], 12, 2, &again.commit);
    for phone in &mut phones {
        phone.receive(&said).expect("made anew");
    }
    join_all(std::slice::from_mut(&mut fourth), &again);
    phones.push(fourth);
    say(&mut phones, 2, 13, b"in");
}

#[test]
fn i6_who_loses_the_creation_of_a_chat_joins_the_winners() {
    let (mut a, mut b) = (Phone::new(1), Phone::new(2));
    let (of_a, of_b) = (a.key_package(), b.key_package());
    let by_a = a.mls.create(&a.store, CHAT, &[of_b], id(1), NOW).expect("created");
    a.save();
    let by_b = b.mls.create(&b.store, CHAT, &[of_a], id(2), NOW).expect("created");
    b.save();
    assert!(matches!(a.mls.encrypt(&a.store, CHAT, id(3), b"too early"), Err(MlsError::Creating)));
    let won = entry(&b, 2, 0, &by_b.commit);
    assert!(matches!(b.receive(&won), Ok(Received::OwnCommitted { .. })));
    match a.receive(&won).expect("lost") {
        Received::CreationLost { asked } => {
            assert_eq!((asked.client_msg_id, asked.adds), (id(1), vec![b.own()]))
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(a.mls.epoch(&a.store, CHAT), Err(MlsError::NotMember)));
    join_all(std::slice::from_mut(&mut a), &by_b);
    assert!(matches!(
        b.mls.join(&b.store, CHAT, &by_a.welcomes[0].1, by_a.tree.as_ref().expect("a tree")),
        Err(MlsError::AlreadyMember)
    ));
    let mut phones = vec![a, b];
    say(&mut phones, 0, 4, b"yours then");
    say(&mut phones, 1, 5, b"ours");
}

#[test]
fn i6_a_welcome_alone_tells_who_creates_that_it_has_lost() {
    let (mut a, mut b) = (Phone::new(1), Phone::new(2));
    let (of_a, of_b) = (a.key_package(), b.key_package());
    a.mls.create(&a.store, CHAT, &[of_b], id(1), NOW).expect("created");
    a.save();
    let by_b = b.mls.create(&b.store, CHAT, &[of_a], id(2), NOW).expect("created");
    b.save();
    join_all(std::slice::from_mut(&mut a), &by_b);
    let won = entry(&b, 2, 0, &by_b.commit);
    b.receive(&won).expect("won");
    assert!(matches!(a.receive(&won), Err(MlsError::StaleEpoch { .. })));
    say(&mut [a, b], 0, 4, b"yours then");
}

#[test]
fn i6_a_pending_commit_outlives_a_crash_and_is_known_when_it_comes_back() {
    let mut phones = group_of(3);
    let gone = phones[2].device();
    let made = phones[0].commit(&[], &[gone], 10);
    phones[0].crash();
    let phone = &mut phones[0];
    let asked = phone.mls.pending(&phone.store, CHAT).expect("a member").expect("pending");
    assert_eq!((asked.client_msg_id, asked.removes), (id(10), vec![gone]));
    let said = entry(&phones[0], 10, 1, &made.commit);
    assert!(matches!(phones[0].receive(&said), Ok(Received::OwnCommitted { .. })));
    phones[1].receive(&said).expect("the commit");
    phones.pop();
    say(&mut phones, 0, 11, b"two");
}

#[test]
fn i6_what_was_not_persisted_has_never_been() {
    let mut phones = group_of(2);
    let before = phones[0].store.clone();
    let first = &mut phones[0];
    first
        .mls
        .commit(&first.store, CHAT, &Default::default(), id(10), NOW)
        .expect("committed, but neither persisted nor sent");
    first.crash();
    assert_eq!(first.store, before);
    assert_eq!(first.mls.pending(&first.store, CHAT).expect("a member"), None);
    let never = first.mls.encrypt(&first.store, CHAT, id(11), b"never sent").expect("encrypted");
    first.crash();
    say(&mut phones, 0, 11, b"sent");
    say(&mut phones, 1, 12, b"answered");
    assert_ne!(never, Vec::<u8>::new());
    // A message opened, but not persisted, opens again.
    let bytes = phones[0].encrypt(b"twice", 13);
    let said = entry(&phones[0], 13, 1, &bytes);
    let second = &mut phones[1];
    for _ in 0..3 {
        let received = second.mls.receive(&second.store, &said.entry()).expect("opened");
        assert!(matches!(received, Received::Message { content, .. } if content == b"twice"));
        second.crash();
    }
}

#[test]
fn i6_calls_may_be_persisted_together() {
    let mut phones = group_of(2);
    let mut said = Vec::new();
    for n in 0..5 {
        let first = &mut phones[0];
        let bytes = first.mls.encrypt(&first.store, CHAT, id(n), &n.to_be_bytes()).expect("encrypted");
        said.push(entry(&phones[0], n, 1, &bytes));
    }
    let made = phones[0].commit(&[], &[], 9);
    said.push(entry(&phones[0], 9, 1, &made.commit));
    let second = &mut phones[1];
    for entry in &said {
        second.mls.receive(&second.store, &entry.entry()).expect("in order");
    }
    second.save();
    second.crash();
    assert_eq!(second.epoch(), 2);
    for entry in &said {
        let again = second.receive(entry);
        assert!(matches!(again, Err(MlsError::StaleEpoch { .. })), "{again:?}");
    }
}

#[test]
fn i6_a_reset_takes_back_what_was_not_persisted() {
    let mut phones = group_of(2);
    let first = &mut phones[0];
    first.mls.commit(&first.store, CHAT, &Default::default(), id(10), NOW).expect("committed");
    first.mls.reset();
    assert!(first.mls.drain().is_empty());
    assert_eq!(first.mls.pending(&first.store, CHAT).expect("a member"), None);
    commit(&mut phones, 0, 11, &[], &[]);
}

#[test]
fn i6_a_commit_refused_for_good_is_dropped() {
    let mut phones = group_of(2);
    phones[0].commit(&[], &[], 10);
    let first = &mut phones[0];
    let asked = first.mls.drop_pending(&first.store, CHAT).expect("a member").expect("pending");
    first.save();
    assert_eq!(asked.client_msg_id, id(10));
    commit(&mut phones, 1, 11, &[], &[]);
    commit(&mut phones, 0, 12, &[], &[]);
    let mut lone = Phone::new(5);
    let package = phones[1].key_package();
    lone.mls.create(&lone.store, CHAT, &[package], id(1), NOW).expect("created");
    lone.save();
    lone.mls.drop_pending(&lone.store, CHAT).expect("there").expect("pending");
    lone.save();
    assert!(matches!(lone.mls.epoch(&lone.store, CHAT), Err(MlsError::NotMember)));
}

/// A silent block withholds messages only; runs of them longer than MLS's usual limit must not wedge (C8).
#[test]
fn c8_a_run_of_withheld_messages_is_skipped_up_to_the_bound() {
    let mut phones = group_of(3);
    for withheld in [1, 999, 1_001, 3_000] {
        for n in 0..withheld {
            let first = &mut phones[0];
            first.mls.encrypt(&first.store, CHAT, id(n), b"withheld").expect("encrypted");
        }
        phones[0].save();
        say_to(&mut phones, 0, 1, 20_000 + withheld, b"heard");
    }
    say(&mut phones, 1, 1, b"an answer");
}

fn say_to(phones: &mut [Phone], from: usize, to: usize, n: u64, content: &[u8]) {
    let epoch = phones[from].epoch();
    let bytes = phones[from].encrypt(content, n);
    let said = entry(&phones[from], n, epoch, &bytes);
    let received = phones[to].receive(&said).expect("opened");
    assert!(matches!(received, Received::Message { content: opened, .. } if opened == content));
}

#[test]
fn c8_at_the_bound_the_sender_must_update_and_then_goes_on() {
    let mut phones = group_of(3);
    let mut last = Vec::new();
    for n in 0..u64::from(MESSAGES_PER_EPOCH_MAX) {
        let first = &mut phones[0];
        let half = n >= u64::from(MESSAGES_PER_EPOCH_MAX / 2);
        assert_eq!(first.mls.needs_update(&first.store, CHAT).expect("a member"), half, "{n}");
        last = first.mls.encrypt(&first.store, CHAT, id(n), b"withheld").expect("encrypted");
    }
    let first = &mut phones[0];
    first.save();
    first.crash();
    assert!(matches!(first.mls.encrypt(&first.store, CHAT, id(1), b"more"), Err(MlsError::UpdateFirst)));
    // The last of all opens, though none before it was heard.
    let said = entry(&phones[0], u64::from(MESSAGES_PER_EPOCH_MAX) - 1, 1, &last);
    assert!(matches!(phones[1].receive(&said), Ok(Received::Message { .. })));
    commit(&mut phones, 0, 30_000, &[], &[]);
    assert!(!{
        let first = &mut phones[0];
        first.mls.needs_update(&first.store, CHAT).expect("a member")
    });
    say(&mut phones, 0, 30_001, b"on");
}

#[test]
fn c8_a_sender_that_goes_past_the_bound_is_refused_alone_and_until_its_next_epoch() {
    let mut phones = group_of(3);
    // A phone that keeps no count: its note is taken away again and again.
    for _ in 0..2 {
        for n in 0..u64::from(MESSAGES_PER_EPOCH_MAX) {
            let first = &mut phones[0];
            first.mls.encrypt(&first.store, CHAT, id(n), b"withheld").expect("encrypted");
        }
        phones[0].save();
        forget_count(&mut phones[0]);
    }
    let bytes = phones[0].encrypt(b"too far", 7);
    let said = entry(&phones[0], 7, 1, &bytes);
    assert!(matches!(phones[1].receive(&said), Err(MlsError::TooFar)));
    assert!(matches!(phones[1].receive(&said), Err(MlsError::TooFar)), "again, the same");
    say(&mut phones, 1, 8, b"others go on");
    say(&mut phones, 2, 9, b"and on");
    commit(&mut phones, 1, 10, &[], &[]);
    say(&mut phones, 0, 11, b"and so does it");
}

/// Puts back the note of a group whose messages were not counted.
fn forget_count(phone: &mut Phone) {
    let key = [client_crypto::KEY_PREFIX, b"zg", &CHAT.to_bytes()].concat();
    let fresh = group_of(2).remove(0).store[&key].clone();
    assert_ne!(phone.store.insert(key, fresh.clone()), Some(fresh), "there was a count");
    phone.crash();
}

/// A store that answers some reads and then no more.
struct Failing<'a> {
    store: &'a Store,
    left: std::cell::Cell<u32>,
}

impl client_crypto::Kv for Failing<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, client_crypto::ReadError> {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        if left == 0 {
            Err(client_crypto::ReadError("the disk is gone".into()))
        } else {
            client_crypto::Kv::get(self.store, key)
        }
    }
}

#[test]
fn i6_a_store_that_fails_at_any_read_changes_nothing() {
    let mut phones = group_of(3);
    let bytes = phones[0].encrypt(b"at last", 1);
    let said = entry(&phones[0], 1, 1, &bytes);
    let made = phones[0].commit(&[], &[], 2);
    let committed = entry(&phones[0], 2, 1, &made.commit);
    let second = &mut phones[1];
    for entry in [&said, &committed] {
        let mut failures = 0;
        loop {
            second.crash();
            let kv = Failing { store: &second.store, left: failures.into() };
            match second.mls.receive(&kv, &entry.entry()) {
                Err(error) => {
                    assert!(matches!(error, MlsError::Storage(_)), "{error:?}");
                    assert!(!error.is_peer() && second.mls.drain().is_empty());
                    failures += 1;
                }
                Ok(_) => break second.save(),
            }
        }
        assert!(failures > 5, "it read {failures} rows");
    }
    assert_eq!(second.epoch(), 2);
}
