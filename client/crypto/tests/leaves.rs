//! The table of leaves that a server keeps agrees with the tree that members keep, over random histories.

mod support;

use client_crypto::Leaves;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng, rngs::StdRng};
use support::*;
use wire::limits::COMMIT_ADDS_MAX;
use wire_mls::{FoldError, InspectError, inspect};

/// One member commits, another receives, both hold the tree; a table follows the commits' bytes alone.
fn history(seed: u64, members_max: usize, commits: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut phones = group_of(2);
    let mut table = Leaves::created_by(phones[0].own());
    table.fold(&first_commit()).expect("the first commit");
    assert_eq!(table, phones[0].table());
    let mut others: Vec<wire::DeviceId> = Vec::new();
    let (mut next, mut largest) = (10, 0);
    for n in 0..commits {
        let removes: Vec<_> = {
            let most = others.len().min(if random.random_ratio(1, 4) { others.len() } else { 8 });
            others.shuffle(&mut random);
            others.drain(..random.random_range(0..=most)).collect()
        };
        let room = members_max - 2 - others.len();
        let count = random.random_range(0..=room.min(COMMIT_ADDS_MAX));
        let adds: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                next += 1;
                let mut phone = Phone::new(next);
                others.push(phone.device());
                phone.key_package()
            })
            .collect();
        let by = usize::from(random.random_ratio(1, 2));
        let made = commit(&mut phones, by, 100 + n, &adds, &removes);
        let seen = inspect::commit(&made.commit).expect("inspected");
        assert_eq!((seen.group, seen.epoch, seen.client_msg_id), (CHAT, made.epoch, id(100 + n)));
        assert_eq!(seen.path.is_some(), adds.is_empty() || !removes.is_empty());
        assert_eq!(seen.adds.len(), adds.len());
        table.fold(&seen).expect("it fits");
        for phone in &mut phones {
            assert_eq!(table, phone.table(), "seed {seed}, commit {n}");
        }
        let first = &mut phones[0];
        let tree = first.mls.tree(&first.store, CHAT).expect("a tree");
        assert_eq!(inspect::tree(&tree), Ok(table.clone()), "seed {seed}, commit {n}");
        if let Some(tree) = &made.tree {
            assert_eq!(inspect::tree(tree), Ok(table.clone()), "for those who join");
        }
        largest = largest.max(table.len());
    }
    assert!(largest > members_max / 2, "the history stayed small: {largest}");
}

fn first_commit() -> inspect::Commit {
    let mut second = Phone::new(1);
    let package = second.key_package();
    let mut first = Phone::new(0);
    let made = first.mls.create(&first.store, CHAT, &[package], id(1), NOW).expect("created");
    inspect::commit(&made.commit).expect("inspected")
}

#[test]
fn i6_the_table_of_leaves_follows_small_groups() {
    for seed in 0..6 {
        history(seed, 12, 12);
    }
}

#[test]
fn i6_the_table_of_leaves_follows_large_groups() {
    history(1, 300, 10);
}

#[test]
fn i6_a_commit_that_does_not_fit_leaves_the_table_as_it_was() {
    let (first, second) = (Phone::new(0).own(), Phone::new(1).own());
    let good = first_commit();
    let mut table = Leaves::created_by(first);
    table.fold(&good).expect("it fits");
    let before = table.clone();
    let update = inspect::Commit { adds: Vec::new(), path: Some(first), ..good.clone() };
    let removing = |removes: Vec<u32>| inspect::Commit { removes, ..update.clone() };
    let cases = [
        (inspect::Commit { sender: 5, ..update.clone() }, FoldError::Blank(5)),
        (removing(vec![7]), FoldError::Blank(7)),
        (removing(vec![0]), FoldError::Removal(0)),
        (removing(vec![1, 1]), FoldError::Removal(1)),
        (inspect::Commit { path: Some(second), ..update.clone() }, FoldError::Identity),
        (good, FoldError::Duplicate(second.device)),
    ];
    for (commit, error) in cases {
        assert_eq!(table.fold(&commit), Err(error));
        assert_eq!(table, before);
    }
    table.fold(&update).expect("an update fits");
    assert_eq!(table, before);
}

#[test]
fn i6_what_a_server_reads_of_messages_key_packages_and_welcomes() {
    let mut phones = group_of(2);
    let bytes = phones[0].encrypt(b"unreadable", 5);
    let seen = inspect::application(&bytes).expect("read");
    assert_eq!((seen.group, seen.epoch, seen.client_msg_id), (CHAT, 1, id(5)));
    assert_eq!(inspect::commit(&bytes), Err(InspectError::Kind));
    let mut third = Phone::new(5);
    let package = third.key_package();
    let read = inspect::key_package(&package).expect("read");
    assert_eq!((read.leaf, read.lifetime, read.last_resort), (third.own(), LIFE, false));
    let last = third.mls.key_packages(&third.store, 1, LIFE, client_crypto::Use::LastResort).expect("made");
    assert!(inspect::key_package(&last[0]).expect("read").last_resort);
    let made = phones[0].commit(&[package], &[], 6);
    let commit = inspect::commit(&made.commit).expect("read");
    assert_eq!(commit.adds, [inspect::Added { leaf: third.own(), reference: read.reference }]);
    assert_eq!(inspect::welcome(&made.welcomes[0].1), Ok(read.reference));
    for length in 0..made.commit.len() {
        assert!(inspect::commit(&made.commit[..length]).is_err());
    }
    let trailing = [&made.commit[..], &[0]].concat();
    assert_eq!(inspect::commit(&trailing), Err(InspectError::Trailing));
}
