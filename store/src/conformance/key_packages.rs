//! Key packages, and the inboxes that welcomes come into.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::join_all;
use wire::event::InboxItem;
use wire::{Epoch, LogId, RequestId, Seq, limits};

use super::Env;
use super::group_world::make_direct;
use super::world::{Person, T0, World, answer, at};
use crate::keys::{self, OUTBOX_SHARDS};
use crate::op::*;

/// Key packages of a device, numbered.
fn publish(of: &Person, request: u8, packages: std::ops::Range<u32>) -> PublishKeyPackages {
    PublishKeyPackages {
        account: of.account,
        device: of.device,
        request: RequestId::new([request; 16]),
        packages: packages.map(|n| Bytes::from(format!("package {n}"))).collect(),
        last_resort: None,
    }
}

fn claim(of: &[Person]) -> ClaimKeyPackages {
    ClaimKeyPackages { accounts: of.iter().map(|person| person.account).collect(), after: None }
}

pub(super) async fn r165_a_key_package_is_handed_out_once<E: Env>(env: &E) {
    let world = &World::open(env).await;
    let a = world.person(1).await;
    let take = async || {
        let mut claimed = answer!(world, ClaimKeyPackages, claim(&[a]));
        assert_eq!((claimed.packages.len(), claimed.has_more), (1, false));
        claimed.packages.remove(0)
    };
    assert_eq!(take().await.package, None, "there is none");
    let first = PublishKeyPackages { last_resort: Some(Bytes::from("last")), ..publish(&a, 1, 0..60) };
    for _ in 0..3 {
        let stored = answer!(world, PublishKeyPackages, first.clone()).unwrap();
        assert_eq!(stored, 60, "a repeat stores nothing again");
    }
    let taken = join_all((0..20).map(|_| take())).await;
    assert!(taken.iter().all(|taken| !taken.last_resort && taken.device == a.device));
    let taken: BTreeSet<_> = taken.into_iter().map(|taken| taken.package.unwrap()).collect();
    assert_eq!(taken.len(), 20, "each to one");
    let open = OpenSession { account: a.account, device: a.device, receipts_since: T0 };
    let left = answer!(world, OpenSession, open).unwrap().key_packages;
    // After a lost answer a package may be gone that nobody got; none is handed out twice.
    assert!(left <= 40, "{left}");
    let stored = answer!(world, PublishKeyPackages, publish(&a, 2, 60..65)).unwrap();
    assert_eq!(stored, left + 5);
    let mut rest = BTreeSet::new();
    loop {
        let one = take().await;
        let package = one.package.expect("there is one of last resort");
        if one.last_resort {
            assert_eq!(package, "last");
            break;
        }
        assert!(!taken.contains(&package) && rest.insert(package), "each is handed out once");
    }
    assert!(rest.len() <= stored as usize);
    let again = take().await;
    assert_eq!((again.package, again.last_resort), (Some(Bytes::from("last")), true), "again and again");
}

pub(super) async fn r165_key_packages_are_refused_with_a_reason<E: Env>(env: &E) {
    let world = World::open(env).await;
    let a = world.person(1).await;
    let with =
        |package: Vec<u8>| PublishKeyPackages { packages: vec![package.into()], ..publish(&a, 1, 0..0) };
    let resort =
        |bytes: Vec<u8>| PublishKeyPackages { last_resort: Some(bytes.into()), ..publish(&a, 1, 0..1) };
    let over = limits::KEY_PACKAGE_BYTES_MAX + 1;
    let many = limits::KEY_PACKAGES_PUBLISHED_MAX as u32;
    for op in [
        with(vec![]),
        with(vec![7; over]),
        resort(vec![]),
        resort(vec![7; over]),
        publish(&a, 1, 0..many + 1),
    ] {
        assert_eq!(answer!(world, PublishKeyPackages, op).unwrap_err(), PublishError::Invalid);
    }
    let largest: Vec<Bytes> = (0..many).map(|_| vec![7; over - 1].into()).collect();
    for (request, stored) in [(1, 100), (2, 200)] {
        let op = PublishKeyPackages { packages: largest.clone(), ..publish(&a, request, 0..0) };
        assert_eq!(answer!(world, PublishKeyPackages, op).unwrap(), stored);
    }
    let full = answer!(world, PublishKeyPackages, publish(&a, 3, 0..1)).unwrap_err();
    assert_eq!(full, PublishError::Full { stored: 200 });
    for nobody in [Person::new(1, 7), Person::new(9, 0)] {
        let refused = answer!(world, PublishKeyPackages, publish(&nobody, 4, 0..1)).unwrap_err();
        assert!(matches!(refused, PublishError::Device(_)), "{refused:?}");
    }
    // With its device they go, and nobody claims for it.
    let tablet = world.second_device(&a, 1).await;
    answer!(world, PublishKeyPackages, publish(&tablet, 5, 0..3)).unwrap();
    assert_eq!(answer!(world, ClaimKeyPackages, claim(&[a])).packages.len(), 2);
    let revoke = RevokeDevice { account: a.account, device: tablet.device, now: at(1) };
    answer!(world, RevokeDevice, revoke).unwrap();
    let left = answer!(world, ClaimKeyPackages, claim(&[a, Person::new(9, 0)])).packages;
    assert_eq!(left.iter().map(|one| one.device).collect::<Vec<_>>(), [a.device]);
    assert_eq!(world.stored(keys::key_package_stock(tablet.device)).await, None);
    assert_eq!(world.stored(keys::key_package(tablet.device, 2)).await, None);
}

pub(super) async fn r165_claims_come_in_pages<E: Env>(env: &E) {
    let world = &World::open(env).await;
    let people = join_all((1..=40).map(|n| world.person(n))).await;
    let tablets = join_all(people.iter().map(|person| world.second_device(person, 1))).await;
    for (n, device) in (0..).zip(people.iter().chain(&tablets)) {
        let packages = if n % 2 == 0 { vec![vec![n; limits::KEY_PACKAGE_BYTES_MAX].into()] } else { vec![] };
        let op = PublishKeyPackages { packages, ..publish(device, 1, 0..0) };
        answer!(world, PublishKeyPackages, op).unwrap();
    }
    let (mut after, mut found, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = answer!(world, ClaimKeyPackages, ClaimKeyPackages { after, ..claim(&people) });
        let bytes = page.packages.iter().filter_map(|one| Some(one.package.as_ref()?.len())).sum::<usize>();
        assert!(page.packages.len() <= limits::CLAIM_DEVICES_MAX && bytes <= limits::CLAIM_BYTES_MAX);
        pages += 1;
        after = page.packages.last().map(|one| (one.account, one.device));
        found.extend(page.packages);
        if !page.has_more {
            break;
        }
    }
    assert!(found.is_sorted_by(|a, b| (a.account, a.device) < (b.account, b.device)));
    assert_eq!((found.len(), pages >= 2), (80, true), "each device once");
    let with = found.iter().filter(|one| one.package.is_some()).count();
    // Half of them have one; a lost answer may have cost some.
    assert!(with <= 40 && with > 0);
}

pub(super) async fn c48_a_welcome_waits_in_the_device_s_inbox<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b, c) = (world.person(1).await, world.person(2).await, world.person(3).await);
    let first = Commit { now: at(1), ..make_direct(&a, &b, 1) };
    let welcomed = answer!(world, Commit, first).unwrap().inboxes;
    answer!(world, Commit, Commit { now: at(2), ..make_direct(&c, &b, 2) }).unwrap();
    let entries = world.inbox(&b).await;
    let seqs: Vec<_> = entries.iter().map(|entry| (entry.seq.0, entry.at)).collect();
    assert_eq!(seqs, [(1, at(1)), (2, at(2))], "dense, as of any log");
    for (entry, from) in entries.iter().zip([a, c]) {
        let InboxItem::Welcome(welcome) = &entry.what else { panic!("{entry:?}") };
        assert_eq!((welcome.chat, welcome.epoch, welcome.seq), (b.chat(&from), Epoch(1), Seq(1)));
        assert_eq!(welcome.adder, (from.account, from.device));
        assert_eq!(welcome.bytes, format!("welcome {}", b.device));
    }
    for told in &welcomed {
        assert_eq!((told.account, told.device, told.seq, told.at), (b.account, b.device, Seq(1), at(1)));
    }
    let state = async || {
        let open = OpenSession { account: b.account, device: b.device, receipts_since: T0 };
        answer!(world, OpenSession, open).unwrap().inbox
    };
    let inbox = InboxState { head: Seq(2), last_at: at(2), delivered: Seq(0) };
    assert_eq!(state().await, inbox);
    // The sweeper finds it behind until it has all of what is due.
    let log = LogId::Device(b.device);
    let behind = async || {
        let mut behind = Vec::new();
        for shard in 0..OUTBOX_SHARDS {
            behind.extend(answer!(world, Sweep, Sweep { shard, due: at(9), limit: 100 }).behind);
        }
        behind.retain(|found: &Behind| found.log == log);
        behind
    };
    let found = Behind { log, head: Seq(2), account: b.account, device: b.device };
    for (delivered, late) in [(0, true), (1, true), (2, false)] {
        if delivered > 0 {
            let moved = world.move_cursor(&b, log, (delivered, 0), at(3)).await.unwrap();
            assert!(!moved.moved && moved.members.is_empty(), "nobody else is told");
        }
        assert_eq!(behind().await, if late { vec![found] } else { vec![] }, "{delivered}");
    }
    assert_eq!(state().await, InboxState { delivered: Seq(2), ..inbox });
    assert_eq!(world.move_cursor(&b, log, (3, 0), at(3)).await.unwrap_err(), CursorError::Ahead);
}

pub(super) async fn an_inbox_is_its_device_s_alone<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let tablet = world.second_device(&b, 1).await;
    answer!(world, Commit, make_direct(&a, &b, 1)).unwrap();
    let log = LogId::Device(b.device);
    for other in [a, tablet] {
        let refused = world.move_cursor(&other, log, (1, 0), T0).await.unwrap_err();
        assert_eq!(refused, CursorError::NotMember);
    }
    let (account, after) = (a.account, Seq::ZERO);
    let op = Tail { log, account, member: None, after, entries_max: 10, bytes_max: usize::MAX };
    let tailed = answer!(world, Tail, op);
    assert_eq!((tailed.entries.len(), tailed.head, tailed.member), (0, Seq(0), None));
    let append = Append { log, peer: None, ..world.append(&a, &b, vec![super::world::msg(2)], T0) };
    assert_eq!(answer!(world, Append, append).remove(0).unwrap_err(), AppendError::NotMember);
    let own = Append { log, peer: None, ..world.append(&b, &a, vec![super::world::msg(2)], T0) };
    assert!(answer!(world, Append, own).remove(0).is_err(), "nor does its owner say things into it");
    assert_eq!(world.inbox(&b).await.len(), 1);
    // It ends with its device.
    world.move_cursor(&b, log, (1, 0), T0).await.unwrap();
    let revoke = RevokeDevice { account: b.account, device: b.device, now: at(1) };
    answer!(world, RevokeDevice, revoke).unwrap();
    for key in [keys::head(log), keys::entry(log, Seq(1)), keys::device_cursor(log, b.account, b.device)] {
        assert_eq!(world.stored(key).await, None);
    }
}
