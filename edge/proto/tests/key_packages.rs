//! Key packages: each is handed out once, only by whom they name are they published, and nobody drains them.

mod harness;

use std::time::Duration;

use bytes::Bytes;
use client_crypto::{Lifetime, Use};
use edge_proto::Limits;
use harness::groups::*;
use harness::*;
use wire::event::{Event, KeyPackage};
use wire::request::{ClaimKeyPackages, PublishKeyPackages, Request};
use wire::{AccountId, ErrorCode, RequestId};

fn publish(n: u8, packages: Vec<Bytes>, last_resort: Option<Bytes>) -> Request {
    Request::PublishKeyPackages(PublishKeyPackages {
        request: RequestId::new([n; 16]),
        packages,
        last_resort,
    })
}

fn claim(accounts: &[AccountId]) -> Request {
    Request::ClaimKeyPackages(ClaimKeyPackages { accounts: accounts.to_vec(), after: None })
}

#[test]
fn r165_each_is_handed_out_once_then_the_last_resort_and_the_device_is_told_how_many_are_left() {
    let mut world = World::new();
    let alice = Phone::new(&mut world, "Alice", 1);
    let device = world.register("+4915100000102", "Bob", 2);
    let live = world.hello(&device);
    let mut bob = Phone::of(device, live, 2);
    let packages = bob.key_packages(2, LIFE, Use::Once);
    let last = bob.key_packages(1, LIFE, Use::LastResort).remove(0);
    let said = publish(1, packages.clone(), Some(last.clone()));
    for _ in 0..2 {
        assert_eq!(
            world.ask(live.link, &said),
            [Event::KeyPackagesStored { count: 2 }],
            "a repeat stores none"
        );
    }
    let left = |world: &mut World| {
        let live = world.hello(&bob.device);
        match world.heard_on(live.link, live.session)[0] {
            Event::Connected(connected) => connected.key_packages,
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!(left(&mut world), 2);
    let handed: Vec<KeyPackage> = (0..4).flat_map(|_| alice.claim(&mut world, &[bob.account()])).collect();
    let bytes: Vec<Bytes> = handed.iter().map(|package| package.bytes.clone().unwrap()).collect();
    assert_eq!(bytes, [packages[0].clone(), packages[1].clone(), last.clone(), last]);
    assert_eq!(
        handed.iter().map(|package| package.last_resort).collect::<Vec<_>>(),
        [false, false, true, true]
    );
    assert_eq!(left(&mut world), 0);
}

#[test]
fn only_a_device_s_own_are_stored() {
    let mut world = World::new();
    let (mut alice, mut bob) = (Phone::new(&mut world, "Alice", 1), Phone::new(&mut world, "Bob", 2));
    let now = now_s();
    let over = Lifetime { from: 0, until: now };
    let later = Lifetime { from: now + 3600, until: u64::MAX };
    let [good, last] = [Use::Once, Use::LastResort].map(|used| alice.key_packages(1, LIFE, used).remove(0));
    let mut broken = good.to_vec();
    broken[7] ^= 0xff;
    for (what, request) in [
        ("another device's", publish(1, bob.key_packages(1, LIFE, Use::Once), None)),
        (
            "one among right ones",
            publish(2, [vec![good.clone()], bob.key_packages(1, LIFE, Use::Once)].concat(), None),
        ),
        ("one that is over", publish(3, alice.key_packages(1, over, Use::Once), None)),
        ("one that has not begun", publish(4, alice.key_packages(1, later, Use::Once), None)),
        ("a last resort among others", publish(5, vec![last.clone()], None)),
        ("another as the last resort", publish(6, Vec::new(), Some(good.clone()))),
        ("no key package", publish(7, vec![Bytes::from_static(b"x")], None)),
        ("a broken one", publish(8, vec![broken.into()], None)),
        ("an empty one", publish(9, vec![Bytes::new()], None)),
    ] {
        assert_eq!(world.refused(alice.live.link, &request), ErrorCode::KeyPackageInvalid, "{what}");
    }
    let stored = world.ask(alice.live.link, &publish(10, vec![good], Some(last)));
    assert_eq!(stored, [Event::KeyPackagesStored { count: 5 }], "with the four of the beginning");
    for n in 0..2 {
        let many = alice.key_packages(100, LIFE, Use::Once);
        let answer = world.ask(alice.live.link, &publish(20 + n, many, None));
        match n {
            0 => assert_eq!(answer, [Event::KeyPackagesStored { count: 105 }]),
            _ => assert!(matches!(answer[..], [Event::Refused(r)] if r.code == ErrorCode::KeyPackageInvalid)),
        }
    }
}

#[test]
fn nobody_drains_anybody_and_nobody_is_kept_from_adding_anybody() {
    let mut limits = Limits::default();
    limits.rates.claims_of_one_per_hour = 3;
    limits.rates.claims_per_hour = 8;
    let mut world = World::with(limits);
    let (mallory, alice) = (Phone::new(&mut world, "Mallory", 9), Phone::new(&mut world, "Alice", 1));
    let (bob, carol) = (Phone::new(&mut world, "Bob", 2), Phone::new(&mut world, "Carol", 3));
    let link = mallory.live.link;
    for _ in 0..3 {
        assert!(matches!(world.ask(link, &claim(&[bob.account()]))[..], [Event::KeyPackages { .. }]));
    }
    for request in [claim(&[bob.account()]), claim(&[bob.account(), carol.account()])] {
        assert_eq!(world.refused(link, &request), ErrorCode::RateLimited, "not of one and the same");
    }
    let left = alice.claim(&mut world, &[bob.account()]);
    assert!(left[0].bytes.is_some() && !left[0].last_resort, "there is one left for others, who may ask");
    let strangers: Vec<AccountId> = (0..6).map(|n| AccountId::new([n; 16])).collect();
    assert_eq!(world.refused(link, &claim(&strangers)), ErrorCode::RateLimited, "nor of very many");
    assert!(matches!(world.ask(link, &claim(&strangers[..5]))[..], [Event::KeyPackages { .. }]));
    world.pass(Duration::from_secs(3600));
    assert!(matches!(world.ask(link, &claim(&[bob.account()]))[..], [Event::KeyPackages { .. }]));
}
