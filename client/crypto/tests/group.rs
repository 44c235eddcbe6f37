//! Groups: made, joined, spoken in, changed and left.

mod support;

use client_crypto::{MlsError, Received, Wanted};
use support::*;
use wire::limits;

#[test]
fn c5_a_chat_is_created_joined_and_spoken_in_by_all() {
    let mut phones = group_of(3);
    assert_eq!(phones[0].epoch(), 1);
    for from in 0..3 {
        say(&mut phones, from, from as u64, format!("hello from {from}").as_bytes());
    }
    say(&mut phones, 1, 10, b"");
    let secret = phones[0].secret();
    assert!(phones.iter_mut().all(|phone| phone.secret() == secret));
    let members = phones[0].members();
    assert_eq!(members.len(), 3);
    assert!(phones.iter_mut().all(|phone| phone.members() == members));
}

#[test]
fn r149_each_chat_and_each_epoch_has_keys_of_its_own() {
    let mut phones = group_of(2);
    let mut secrets = vec![phones[0].secret()];
    for n in 1..4 {
        commit(&mut phones, n % 2, 100 + n as u64, &[], &[]);
        secrets.push(phones[0].secret());
        assert_eq!(phones[0].secret(), phones[1].secret());
        say(&mut phones, 0, n as u64, b"after");
    }
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 4);
    let other = client_crypto::GroupName::Chat(wire::ChatId::new([9; 16]));
    let package = phones[1].key_package();
    let first = &mut phones[0];
    first.mls.create(&first.store, other, &[package], id(5), NOW).expect("another chat");
    assert!(matches!(first.mls.export(&first.store, other, "test", b"", 32), Err(MlsError::Creating)));
}

#[test]
fn c5_a_full_content_fits_an_entry_and_one_more_byte_is_refused() {
    let mut phones = group_of(2);
    let content = vec![7; client_crypto::CONTENT_BYTES_MAX];
    let bytes = phones[0].encrypt(&content, 1);
    assert!(bytes.len() <= limits::CONTENT_BYTES_MAX, "{}", bytes.len());
    let next = bytes.len() + client_crypto::PADDING_BYTES;
    assert!(next > limits::CONTENT_BYTES_MAX, "{next} would fit, too");
    let said = entry(&phones[0], 1, 1, &bytes);
    let from = phones[0].own();
    assert_eq!(phones[1].receive(&said).expect("opened"), Received::Message { content, from });
    let larger = vec![7; client_crypto::CONTENT_BYTES_MAX + 1];
    let first = &mut phones[0];
    assert!(matches!(first.mls.encrypt(&first.store, CHAT, id(2), &larger), Err(MlsError::TooLarge)));
}

#[test]
fn c5_lengths_hide_within_their_bucket() {
    let mut phones = group_of(2);
    let mut sizes: Vec<(usize, usize)> =
        (0..=320).map(|length| (length, phones[0].encrypt(&vec![1; length], length as u64).len())).collect();
    sizes.dedup_by_key(|(_, size)| *size);
    assert_eq!(sizes, [(0, 208), (46, 336), (173, 464), (301, 592)]);
}

#[test]
fn i5_who_is_removed_is_told_keeps_nothing_and_opens_nothing_later() {
    let mut phones = group_of(3);
    let removed = phones[2].device();
    let made = phones[0].commit(&[], &[removed], 50);
    let said = entry(&phones[0], 50, made.epoch, &made.commit);
    let old = phones[2].store.clone();
    let by = phones[0].own();
    assert!(matches!(phones[0].receive(&said), Ok(Received::OwnCommitted { .. })));
    match phones[1].receive(&said) {
        Ok(Received::Committed { change, lost: None }) => {
            assert_eq!(change.removes, [(2, phones[2].own())]);
            assert!(change.adds.is_empty() && change.path && change.by == by);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(phones[2].receive(&said).expect("told"), Received::Removed { by });
    let group = CHAT.to_bytes();
    // But for how far it was, which no welcome leads back to.
    for key in phones[2].store.keys().filter(|key| !key.starts_with(b"mls/ze")) {
        assert!(!key.windows(17).any(|window| window == group), "a row of the group is left: {key:?}");
    }
    assert!(phones[2].store.values().all(|value| value.len() < 400), "keys of the group are left");
    let bytes = phones[0].encrypt(b"without you", 51);
    let said = entry(&phones[0], 51, 2, &bytes);
    assert!(matches!(phones[2].receive(&said), Err(MlsError::NotMember)));
    let mut revived = Phone::from_store(2, old);
    assert!(matches!(revived.receive(&said), Err(MlsError::FutureEpoch { message: 2, group: 1 })));
    let mut lying = said.clone();
    lying.epoch = 1;
    assert!(matches!(revived.receive(&lying), Err(MlsError::WrongEpoch)));
    assert!(matches!(phones[1].receive(&said), Ok(Received::Message { .. })));
}

#[test]
fn i5_who_was_removed_can_be_added_again() {
    let mut phones = group_of(3);
    let removed = phones[2].device();
    commit(&mut phones, 0, 50, &[], &[removed]);
    let package = phones[2].key_package();
    let made = phones[1].commit(&[package], &[], 51);
    let said = entry(&phones[1], 51, made.epoch, &made.commit);
    for phone in &mut phones[..2] {
        phone.receive(&said).expect("the add");
    }
    join_all(&mut phones[2..], &made);
    say(&mut phones, 2, 52, b"back");
    say(&mut phones, 0, 53, b"welcome back");
}

#[test]
fn c5_one_commit_adds_and_removes() {
    let mut phones = group_of(4);
    let (gone, mut new) = (phones[1].device(), Phone::new(9));
    let package = new.key_package();
    let made = phones[2].commit(&[package], &[gone], 50);
    let said = entry(&phones[2], 50, made.epoch, &made.commit);
    let looked = {
        let phone = &mut phones[0];
        phone.mls.look_at_commit(&phone.store, &said.entry()).expect("a look")
    };
    assert_eq!(looked.adds, [(1, new.own())], "the leftmost blank leaf");
    for phone in &mut phones {
        match phone.receive(&said).expect("received") {
            Received::OwnCommitted { change } | Received::Committed { change, .. } => {
                assert_eq!(change, looked)
            }
            Received::Removed { by } => assert_eq!(by, looked.by),
            other => panic!("{other:?}"),
        }
    }
    phones.remove(1);
    join_all(std::slice::from_mut(&mut new), &made);
    phones.push(new);
    say(&mut phones, 3, 51, b"new here");
    say(&mut phones, 0, 52, b"hello");
}

#[test]
fn c5_what_cannot_be_committed_is_refused_with_its_reason() {
    let mut phones = group_of(2);
    let mut third = Phone::new(7);
    let (package, again) = (third.key_package(), third.key_package());
    let member = phones[1].key_package();
    let (own, stranger, other) = (phones[0].device(), third.device(), phones[1].device());
    let first = &mut phones[0];
    let mut refused = |adds: &[Vec<u8>], removes: &[wire::DeviceId], now: u64| {
        let error =
            first.mls.commit(&first.store, CHAT, &Wanted { adds, removes }, id(1), now).expect_err("refused");
        assert!(first.mls.drain().is_empty());
        error
    };
    assert!(matches!(refused(&[], &[own], NOW), MlsError::CannotRemove(device) if device == own));
    assert!(matches!(refused(&[], &[stranger], NOW), MlsError::CannotRemove(_)));
    assert!(matches!(refused(&[], &[other, other], NOW), MlsError::CannotRemove(_)));
    assert!(matches!(refused(&[member], &[], NOW), MlsError::Duplicate(device) if device == other));
    assert!(matches!(refused(&[package.clone(), again], &[], NOW), MlsError::Duplicate(_)));
    for now in [0, LIFE.from - 1, LIFE.until, u64::MAX] {
        assert!(matches!(refused(std::slice::from_ref(&package), &[], now), MlsError::Lifetime(_)), "{now}");
    }
    let many = vec![package.clone(); limits::COMMIT_ADDS_MAX + 1];
    assert!(matches!(refused(&many, &[], NOW), MlsError::TooMany));
    let mut torn = package.clone();
    *torn.last_mut().expect("bytes") ^= 1;
    assert!(matches!(refused(&[torn], &[], NOW), MlsError::KeyPackage(device) if device == stranger));
    assert!(matches!(refused(&[Vec::new()], &[], NOW), MlsError::Inspect(_)));
    let made = phones[0].commit(&[package], &[], 2);
    let first = &mut phones[0];
    assert!(matches!(
        first.mls.commit(&first.store, CHAT, &Wanted::default(), id(3), NOW),
        Err(MlsError::Pending)
    ));
    let said = entry(&phones[0], 2, made.epoch, &made.commit);
    phones.iter_mut().for_each(|phone| drop(phone.receive(&said).expect("the right one still goes")));
}

/// More chats than are kept decoded.
#[test]
fn r149_a_device_is_in_many_chats_at_once() {
    let (mut a, mut b) = (Phone::new(1), Phone::new(2));
    let chats: Vec<_> = (0..20).map(|n| client_crypto::GroupName::Chat(wire::ChatId::new([n; 16]))).collect();
    for (n, chat) in chats.iter().enumerate() {
        let package = b.key_package();
        let made = a.mls.create(&a.store, *chat, &[package], id(n as u64), NOW).expect("created");
        a.save();
        let mut said = entry(&a, n as u64, 0, &made.commit);
        said.group = *chat;
        a.receive(&said).expect("own");
        let (_, welcome) = &made.welcomes[0];
        b.mls.join(&b.store, *chat, welcome, made.tree.as_ref().expect("a tree")).expect("joined");
        b.save();
    }
    for round in 0..2_u64 {
        for (n, chat) in chats.iter().enumerate() {
            let n = 100 + round * 100 + n as u64;
            let bytes = a.mls.encrypt(&a.store, *chat, id(n), &n.to_be_bytes()).expect("encrypted");
            a.save();
            let mut said = entry(&a, n, 1, &bytes);
            said.group = *chat;
            let from = a.own();
            assert_eq!(
                b.receive(&said).expect("opened"),
                Received::Message { content: n.to_be_bytes().to_vec(), from }
            );
        }
    }
}
