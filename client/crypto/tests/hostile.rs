//! Bytes from a peer or a server that means harm: refused with a type, nothing changed, and the next right message opens.

mod support;

use client_crypto::{MlsError, Received};
use rand::{Rng, SeedableRng, rngs::StdRng};
use support::*;

/// Entries of a group of three, as its third member gets them: a message and a commit, and the phones.
fn scene() -> (Vec<Phone>, Owned, Owned) {
    let mut phones = group_of(3);
    let mut extra = Phone::new(9);
    let bytes = phones[0].encrypt(b"the right one", 1);
    let message = entry(&phones[0], 1, 1, &bytes);
    let package = extra.key_package();
    let made = phones[1].commit(&[package], &[], 2);
    let commit = entry(&phones[1], 2, 1, &made.commit);
    (phones, message, commit)
}

/// Not one byte of a message or of a commit can be changed, taken away or added.
#[test]
fn i6_damaged_entries_are_refused_and_change_nothing() {
    let (mut phones, message, commit) = scene();
    let third = &mut phones[2];
    let before = third.store.clone();
    let mut random = StdRng::seed_from_u64(7);
    for right in [&message, &commit] {
        for at in 0..right.content.len() {
            let mut wrong = right.clone();
            wrong.content[at] ^= 1 << random.random_range(0..8);
            refused(third, &wrong);
        }
        for _ in 0..200 {
            let mut wrong = right.clone();
            match random.random_range(0..4) {
                0 => wrong.content.truncate(random.random_range(0..right.content.len())),
                1 => wrong.content.extend((0..random.random_range(1..40)).map(|_| random.random::<u8>())),
                2 => {
                    let (a, b) = (
                        random.random_range(0..right.content.len()),
                        random.random_range(0..right.content.len()),
                    );
                    wrong.content.drain(a.min(b)..=a.max(b));
                }
                _ => {
                    for _ in 0..random.random_range(2..20) {
                        let at = random.random_range(0..right.content.len());
                        wrong.content[at] = random.random();
                    }
                    if wrong == *right {
                        continue;
                    }
                }
            }
            refused(third, &wrong);
        }
    }
    assert_eq!(third.store, before);
    assert!(matches!(third.receive(&message), Ok(Received::Message { .. })));
    assert!(matches!(third.receive(&commit), Ok(Received::Committed { .. })));
}

fn refused(phone: &mut Phone, wrong: &Owned) {
    match phone.receive(wrong) {
        Err(error) => assert!(error.is_peer(), "{error:?}"),
        Ok(received) => panic!("{wrong:?} became {received:?}"),
    }
}

#[test]
fn i6_noise_is_refused() {
    let (mut phones, message, commit) = scene();
    let third = &mut phones[2];
    let mut random = StdRng::seed_from_u64(11);
    for right in [&message, &commit] {
        for length in [0, 1, 3, 4, 5, 20, 300, 70_000, 600_000] {
            let mut wrong = right.clone();
            wrong.content = (0..length).map(|_| random.random()).collect();
            refused(third, &wrong);
            for kind in 0..8 {
                let header = [0, 1, 0, kind];
                let shown = header.len().min(length);
                wrong.content[..shown].copy_from_slice(&header[..shown]);
                refused(third, &wrong);
            }
        }
    }
    assert!(matches!(third.receive(&message), Ok(Received::Message { .. })));
}

#[test]
fn i6_a_server_cannot_relabel_an_entry() {
    let (mut phones, message, commit) = scene();
    let (first, second) = (phones[0].own(), phones[1].own());
    let third = &mut phones[2];
    for right in [&message, &commit] {
        let by = right.from;
        let other = if by == first { second } else { first };
        let strange = Phone::new(77).own();
        let relabel = |change: &dyn Fn(&mut Owned)| {
            let mut wrong = right.clone();
            change(&mut wrong);
            wrong
        };
        let relabelled = [
            relabel(&|wrong| wrong.id = id(99)),
            relabel(&|wrong| wrong.from = other),
            relabel(&|wrong| wrong.from = strange),
            relabel(&|wrong| wrong.from.account = other.account),
            relabel(&|wrong| wrong.from.device = other.device),
        ];
        for wrong in &relabelled {
            assert!(matches!(third.receive(wrong), Err(MlsError::Relabelled)), "{wrong:?}");
        }
        let elsewhere = client_crypto::GroupName::Chat(wire::ChatId::new([1; 16]));
        assert!(matches!(
            third.receive(&relabel(&|wrong| wrong.group = elsewhere)),
            Err(MlsError::WrongGroup)
        ));
        assert!(matches!(third.receive(&relabel(&|wrong| wrong.epoch = 2)), Err(MlsError::WrongEpoch)));
    }
    assert!(matches!(third.receive(&message), Ok(Received::Message { .. })));
    assert!(matches!(third.receive(&commit), Ok(Received::Committed { .. })));
}

/// A message under this device's own name that it never said, and its own under another's.
#[test]
fn i6_a_server_cannot_speak_as_this_device_or_turn_its_words() {
    let (mut phones, message, commit) = scene();
    let own = phones[2].own();
    for right in [&message, &commit] {
        let mut wrong = right.clone();
        wrong.from = own;
        let error = phones[2].receive(&wrong).expect_err("refused");
        assert!(matches!(error, MlsError::Relabelled | MlsError::NotPending), "{error:?}");
    }
    let bytes = phones[2].encrypt(b"own", 5);
    let mut said = entry(&phones[2], 5, 1, &bytes);
    assert!(matches!(phones[2].receive(&said), Ok(Received::OwnMessage)));
    said.from = phones[0].own();
    assert!(matches!(phones[2].receive(&said), Err(MlsError::Relabelled)));
    assert!(matches!(phones[1].receive(&said), Err(MlsError::Relabelled)));
    // A commit that was dropped: its echo is not taken for a pending one.
    let made = phones[0].commit(&[], &[], 6);
    let said = entry(&phones[0], 6, 1, &made.commit);
    let first = &mut phones[0];
    first.mls.drop_pending(&first.store, CHAT).expect("dropped");
    first.save();
    assert!(matches!(first.receive(&said), Err(MlsError::NotPending)));
    let again = first.commit(&[], &[], 6);
    assert!(matches!(first.receive(&said), Err(MlsError::NotPending)), "the same id, other bytes");
    let said = entry(&phones[0], 6, 1, &again.commit);
    for phone in &mut phones {
        phone.receive(&said).expect("the right one");
    }
}

#[test]
fn i6_entries_out_of_their_epoch_are_refused_and_the_chat_goes_on() {
    let (mut phones, message, commit) = scene();
    let made = {
        phones[1].receive(&commit).expect("own");
        phones[1].encrypt(b"of epoch 2", 7)
    };
    let next = entry(&phones[1], 7, 2, &made);
    let third = &mut phones[2];
    assert!(matches!(third.receive(&next), Err(MlsError::FutureEpoch { message: 2, group: 1 })));
    third.receive(&commit).expect("the commit");
    assert!(matches!(third.receive(&commit), Err(MlsError::StaleEpoch { message: 1, group: 2 })));
    assert!(matches!(third.receive(&message), Err(MlsError::StaleEpoch { message: 1, group: 2 })));
    assert!(matches!(third.receive(&next), Ok(Received::Message { .. })));
}

#[test]
fn i6_a_message_said_in_one_chat_cannot_be_moved_to_another() {
    let mut phones = group_of(2);
    let other = client_crypto::GroupName::Chat(wire::ChatId::new([8; 16]));
    let package = phones[1].key_package();
    let first = &mut phones[0];
    let made = first.mls.create(&first.store, other, &[package], id(1), NOW).expect("created");
    first.save();
    let said = Owned { group: other, from: first.own(), id: id(1), epoch: 0, content: made.commit.clone() };
    first.receive(&said).expect("own");
    let (_, welcome) = &made.welcomes[0];
    let second = &mut phones[1];
    let tree = made.tree.as_ref().expect("a tree");
    assert!(matches!(second.mls.join(&second.store, CHAT, welcome, tree), Err(MlsError::Welcome)));
    let elsewhere = client_crypto::GroupName::Chat(wire::ChatId::new([7; 16]));
    assert!(matches!(second.mls.join(&second.store, elsewhere, welcome, tree), Err(MlsError::Welcome)));
    assert!(second.mls.drain().is_empty());
    second.mls.join(&second.store, other, welcome, tree).expect("joined");
    second.save();
    let bytes = phones[0].encrypt(b"here", 2);
    let mut moved = entry(&phones[0], 2, 1, &bytes);
    moved.group = other;
    assert!(matches!(phones[1].receive(&moved), Err(MlsError::WrongGroup)));
    // The group id in the bytes, too.
    let at = moved.content.windows(17).position(|window| window == CHAT.to_bytes()).expect("it is there");
    moved.content[at..at + 17].copy_from_slice(&other.to_bytes());
    assert!(matches!(phones[1].receive(&moved), Err(MlsError::Refused(_) | MlsError::Relabelled)));
    moved.group = CHAT;
    moved.content = bytes;
    assert!(matches!(phones[1].receive(&moved), Ok(Received::Message { .. })));
}

#[test]
fn i6_a_wrong_tree_or_welcome_does_not_use_up_the_key_package() {
    let mut phones = group_of(2);
    let mut third = Phone::new(5);
    let package = third.key_package();
    let first = &mut phones[0];
    let old_tree = first.mls.tree(&first.store, CHAT).expect("a tree");
    let made = phones[0].commit(&[package], &[], 1);
    let (_, welcome) = &made.welcomes[0];
    let tree = made.tree.clone().expect("a tree");
    let before = third.store.clone();
    let mut try_join = |welcome: &[u8], tree: &[u8]| {
        let error = third.mls.join(&third.store, CHAT, welcome, tree).expect_err("refused");
        assert!(third.mls.drain().is_empty());
        error
    };
    let mut random = StdRng::seed_from_u64(5);
    for wrong in [&old_tree[..], &tree[..tree.len() - 1], &[], &[0; 40]] {
        assert!(matches!(try_join(welcome, wrong), MlsError::Tree));
    }
    for _ in 0..300 {
        let mut wrong = tree.clone();
        let at = random.random_range(0..wrong.len());
        wrong[at] ^= 1 << random.random_range(0..8);
        let error = try_join(welcome, &wrong);
        assert!(error.is_peer(), "byte {at}: {error:?}");
    }
    assert!(matches!(try_join(welcome, &vec![0; 600_000]), MlsError::Tree));
    // A tree of blanks alone, which a node each would turn into a hundred times its size.
    let blanks = [&(500_000_u32 | 0x8000_0000).to_be_bytes()[..], &vec![0; 500_000]].concat();
    assert!(matches!(try_join(welcome, &blanks), MlsError::Tree));
    assert_eq!(wire_mls::inspect::tree(&blanks), Err(wire_mls::InspectError::Oversize));
    for at in 0..welcome.len() {
        let mut wrong = welcome.clone();
        wrong[at] ^= 1 << random.random_range(0..8);
        let error = try_join(&wrong, &tree);
        assert!(error.is_peer(), "byte {at}: {error:?}");
        try_join(&welcome[..at], &tree);
    }
    assert_eq!(third.store, before);
    third.mls.join(&third.store, CHAT, welcome, &tree).expect("the right ones");
    third.save();
    assert_eq!(third.epoch(), 2);
    let mut stranger = Phone::new(6);
    stranger.key_package();
    assert!(matches!(stranger.mls.join(&stranger.store, CHAT, welcome, &tree), Err(MlsError::Welcome)));
}

/// A welcome holds the secrets of its device alone: another new device of the same commit cannot use it.
#[test]
fn i5_a_welcome_is_for_one_device() {
    let mut first = Phone::new(0);
    let mut others: Vec<Phone> = (1..5).map(Phone::new).collect();
    let packages: Vec<_> = others.iter_mut().map(Phone::key_package).collect();
    let made = first.mls.create(&first.store, CHAT, &packages, id(1), NOW).expect("created");
    let tree = made.tree.clone().expect("a tree");
    for (at, phone) in others.iter_mut().enumerate() {
        for (of, (leaf, welcome)) in made.welcomes.iter().enumerate() {
            let joined = phone.mls.join(&phone.store, CHAT, welcome, &tree);
            assert_eq!(joined.is_ok(), of == at, "{leaf:?}");
            phone.mls.reset();
        }
    }
    let sizes: Vec<usize> = made.welcomes.iter().map(|(_, welcome)| welcome.len()).collect();
    assert!(sizes.iter().all(|size| *size < 700), "{sizes:?}");
}

/// The last resort opens its welcomes for ever. A server that hands out an old one again would have the device use the keys of
/// that epoch a second time, and encrypt for whoever was removed since.
#[test]
fn i5_a_welcome_leads_to_no_epoch_that_this_device_was_in() {
    let mut phones = group_of(2);
    let mut third = Phone::new(5);
    let package =
        third.mls.key_packages(&third.store, 1, LIFE, client_crypto::Use::LastResort).expect("made");
    third.save();
    let first = commit(&mut phones, 0, 1, &package, &[]);
    let tree = first.tree.clone().expect("a tree");
    join_all(std::slice::from_mut(&mut third), &first);
    phones.push(third);
    commit(&mut phones, 1, 2, &[], &[]);
    let again = |phone: &mut Phone, made: &client_crypto::Committed, tree: &[u8]| {
        let joined = phone.mls.join(&phone.store, CHAT, &made.welcomes[0].1, tree);
        assert_eq!(joined.is_err(), phone.mls.drain().is_empty());
        joined
    };
    assert!(matches!(again(&mut phones[2], &first, &tree), Err(MlsError::AlreadyMember)));
    say(&mut phones, 2, 3, b"the group is as it was");
    let device = phones[2].device();
    commit(&mut phones, 0, 4, &[], &[device]);
    let mut third = phones.pop().expect("three");
    let refused = again(&mut third, &first, &tree);
    assert!(matches!(refused, Err(MlsError::StaleEpoch { message: 2, group: 3 })), "{refused:?}");
    let back = commit(&mut phones, 0, 5, &package, &[]);
    join_all(std::slice::from_mut(&mut third), &back);
    phones.push(third);
    say(&mut phones, 2, 6, b"back");
}

/// It was removed and added while it was away, and the log that says so is not for it.
#[test]
fn r67_a_welcome_of_a_later_epoch_takes_the_place_of_the_group_once_it_is_good() {
    let mut phones = group_of(2);
    let mut third = phones.pop().expect("two");
    commit(&mut phones, 0, 1, &[], &[third.device()]);
    let package = third.key_package();
    let made = commit(&mut phones, 0, 2, &[package], &[]);
    let (_, welcome) = &made.welcomes[0];
    let tree = made.tree.as_ref().expect("a tree");
    assert!(matches!(third.mls.join(&third.store, CHAT, welcome, &tree[1..]), Err(MlsError::Tree)));
    assert!(third.mls.drain().is_empty());
    assert_eq!(third.epoch(), 1, "it is where it was");
    join_all(std::slice::from_mut(&mut third), &made);
    phones.push(third);
    say(&mut phones, 0, 3, b"welcome back");
    say(&mut phones, 1, 4, b"thanks");
}

/// A key package whose leaf names another device than its key's, or another account than was signed.
#[test]
fn r149_a_leaf_that_does_not_certify_itself_is_not_added() {
    let mut phones = group_of(2);
    let mut third = Phone::new(5);
    let package = third.key_package();
    let own = third.own();
    let at =
        package.windows(16).position(|window| window == own.device.as_bytes()).expect("the device is in it");
    assert_eq!(package[at - 16..at], own.account.as_bytes()[..], "behind the account");
    let first = &mut phones[0];
    let mut add = |place: usize| {
        let mut wrong = package.clone();
        wrong[place] ^= 1;
        let wanted = client_crypto::Wanted { adds: &[wrong], removes: &[] };
        first.mls.commit(&first.store, CHAT, &wanted, id(1), NOW).expect_err("refused")
    };
    assert!(matches!(add(at), MlsError::Inspect(wire_mls::InspectError::DeviceKey)));
    assert!(matches!(add(at - 1), MlsError::KeyPackage(device) if device == own.device));
}
