//! Keys are deleted: what an older state opens, a later one does not.
//!
//! Each test keeps a copy of what was stored, shows that the copy opens the message, and that what is stored later does not. That
//! the library says no is not enough, so the bytes of the keys are looked for, too.

mod support;

use client_crypto::{Lifetime, MlsError, Received, Use};
use support::*;

/// Every run of `length` bytes of the old store's values of this kind that a later store still has, if any.
fn values<'a>(store: &'a Store, kind: &'a [u8]) -> impl Iterator<Item = &'a Vec<u8>> {
    let prefix = [client_crypto::KEY_PREFIX, kind].concat();
    store.iter().filter(move |(key, _)| key.starts_with(&prefix)).map(|(_, value)| value)
}

#[test]
fn r149_a_message_opens_once_and_then_its_key_is_gone() {
    let mut phones = group_of(2);
    let bytes = phones[0].encrypt(b"once", 1);
    let said = entry(&phones[0], 1, 1, &bytes);
    let old = phones[1].store.clone();
    assert!(matches!(phones[1].receive(&said), Ok(Received::Message { .. })));
    assert!(matches!(phones[1].receive(&said), Err(MlsError::Replayed)));
    let mut later = Phone::from_store(1, phones[1].store.clone());
    assert!(matches!(later.receive(&said), Err(MlsError::Replayed)), "from what is stored");
    let mut earlier = Phone::from_store(1, old);
    assert!(matches!(earlier.receive(&said), Ok(Received::Message { content, .. }) if content == b"once"));
}

#[test]
fn r149_skipped_keys_are_not_kept() {
    let mut phones = group_of(2);
    let skipped = phones[0].encrypt(b"skipped", 1);
    let next = phones[0].encrypt(b"next", 2);
    let (skipped, next) = (entry(&phones[0], 1, 1, &skipped), entry(&phones[0], 2, 1, &next));
    phones[1].receive(&next).expect("opened");
    assert!(matches!(phones[1].receive(&skipped), Err(MlsError::Replayed)));
}

#[test]
fn r149_a_commit_ends_what_the_epoch_before_could_open() {
    let mut phones = group_of(2);
    let bytes = phones[0].encrypt(b"of epoch 1", 1);
    let unread = entry(&phones[0], 1, 1, &bytes);
    let old = phones[1].store.clone();
    let secret = phones[1].secret();
    commit(&mut phones, 0, 2, &[], &[]);
    assert_ne!(phones[1].secret(), secret);
    assert!(matches!(phones[1].receive(&unread), Err(MlsError::StaleEpoch { .. })));
    assert!(matches!(Phone::from_store(1, old.clone()).receive(&unread), Ok(Received::Message { .. })));
    // Neither the secrets of its messages nor its own are anywhere in what is stored now.
    for kind in [b"h", b"k"] {
        let before: Vec<_> = values(&old, kind).collect();
        assert!(!before.is_empty());
        assert!(values(&phones[1].store, kind).all(|now| !before.contains(&now)));
    }
}

#[test]
fn r149_a_used_key_package_opens_nothing_again_and_the_last_resort_no_epoch_that_was_joined() {
    let mut first = Phone::new(0);
    let mut joins = |used: Use, count: usize| {
        let mut second = Phone::new(1);
        let package = second.mls.key_packages(&second.store, 1, LIFE, used).expect("made");
        second.save();
        let made = first.mls.create(&first.store, CHAT, &package, id(1), NOW).expect("created");
        first.save();
        let (welcome, tree) = (&made.welcomes[0].1, made.tree.as_ref().expect("a tree"));
        let old = second.store.clone();
        second.mls.join(&second.store, CHAT, welcome, tree).expect("joined");
        second.save();
        assert_eq!(values(&second.store, b"n").count(), count);
        second.mls.forget(&second.store, CHAT).expect("forgotten");
        second.save();
        let again = second.mls.join(&second.store, CHAT, welcome, tree).map(|joined| joined.epoch);
        Phone::from_store(1, old.clone())
            .mls
            .join(&old, CHAT, welcome, tree)
            .expect("the old state still can");
        first.mls.drop_pending(&first.store, CHAT).expect("dropped");
        first.save();
        again
    };
    assert!(matches!(joins(Use::Once, 0), Err(MlsError::Welcome)));
    assert!(matches!(joins(Use::LastResort, 1), Err(MlsError::StaleEpoch { message: 1, group: 1 })));
}

#[test]
fn r149_an_update_deletes_the_private_keys_of_the_leaf_before() {
    let mut phones = group_of(2);
    let old: Store = phones[1].store.clone();
    assert_eq!(values(&old, b"l").count(), 1, "the key pairs of this epoch");
    commit(&mut phones, 1, 1, &[], &[]);
    let pairs: Vec<_> = values(&phones[1].store, b"l").cloned().collect();
    assert_eq!(pairs.len(), 1, "and of this epoch alone");
    assert!(values(&old, b"l").all(|before| !pairs.contains(before)));
    assert_eq!(values(&phones[1].store, b"m").count(), 0, "no key pair is left over");
    // A commit whose path is sealed to the new leaf: who has only the old leaf's keys cannot follow.
    let sealed = phones[0].commit(&[], &[], 2);
    let said = entry(&phones[0], 2, 2, &sealed.commit);
    let mut stolen = phones[1].store.clone();
    let key = stolen.keys().find(|key| key.starts_with(b"mls/l")).expect("one").clone();
    stolen.insert(key, values(&old, b"l").next().expect("one").clone());
    assert!(matches!(Phone::from_store(1, stolen).receive(&said), Err(MlsError::Refused(_))));
    assert!(matches!(phones[1].receive(&said), Ok(Received::Committed { .. })));
}

#[test]
fn r165_key_packages_are_counted_bounded_and_dropped_after_their_lifetime() {
    let mut phone = Phone::new(1);
    let life = |until| Lifetime { from: NOW, until };
    let mut make = |count, until, used| phone.mls.key_packages(&phone.store, count, life(until), used);
    assert_eq!(make(3, NOW + 10, Use::Once).expect("made").len(), 3);
    make(2, NOW + 20, Use::Once).expect("made");
    make(1, NOW + 30, Use::LastResort).expect("made");
    for (count, until) in
        [(0, NOW + 1), (1, NOW), (client_crypto::KEY_PACKAGES_MAX, NOW + 1), (usize::MAX, NOW + 1)]
    {
        assert!(matches!(make(count, until, Use::Once), Err(MlsError::Batch)), "{count} {until}");
    }
    phone.save();
    assert_eq!(phone.mls.key_packages_kept(&phone.store).expect("counted"), (5, 1));
    assert_eq!(values(&phone.store, b"n").count(), 6);
    assert_eq!(phone.mls.drop_key_packages(&phone.store, NOW + 20).expect("dropped"), 3);
    phone.save();
    assert_eq!(phone.mls.key_packages_kept(&phone.store).expect("counted"), (2, 1));
    assert_eq!(values(&phone.store, b"n").count(), 3);
}
