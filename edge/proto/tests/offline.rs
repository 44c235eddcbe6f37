//! When somebody is offline, and when they were last seen (R30, as C30 settles it).

mod harness;

use std::time::Duration;

use edge_proto::{Input, LinkId};
use harness::*;
use wire::{AccountId, WallTime};

fn leave(world: &mut World, link: LinkId) {
    world.input(Input::Closed { link });
}

/// What the store was asked to keep.
fn seen(world: &World) -> Vec<(AccountId, WallTime)> {
    world.seen.clone()
}

#[test]
fn r30_c30_last_seen_is_kept_ten_seconds_after_the_last_connection_ended() {
    let mut world = World::new();
    let Pair { alice, .. } = pair(&mut world);
    let a = world.hello(&alice);
    world.pass(Duration::from_secs(5));
    let left = world.now.wall;
    leave(&mut world, a.link);
    world.pass(Duration::from_millis(9_900));
    assert_eq!(seen(&world), []);
    world.pass(Duration::from_millis(200));
    assert_eq!(seen(&world), [(alice.account(), left)]);
    world.pass(Duration::from_secs(60));
    assert_eq!(seen(&world).len(), 1);
}

#[test]
fn r30_c30_a_reconnect_within_the_grace_time_shows_nothing_to_anybody() {
    let mut world = World::new();
    let Pair { alice, .. } = pair(&mut world);
    for _ in 0..5 {
        let a = world.hello(&alice);
        world.pass(Duration::from_secs(3));
        leave(&mut world, a.link);
        world.pass(Duration::from_secs(7));
    }
    assert_eq!(seen(&world), []);
    world.pass(Duration::from_secs(4));
    assert_eq!(seen(&world).len(), 1);
}

#[test]
fn r30_c43_somebody_with_another_device_online_here_or_elsewhere_is_online() {
    let mut world = World::new();
    let Pair { alice, .. } = pair(&mut world);
    let a = world.hello(&alice);
    world.elsewhere(alice.account(), 9);
    leave(&mut world, a.link);
    world.pass(Duration::from_secs(20));
    assert_eq!(seen(&world), [], "another node has a connection of theirs");
}

#[test]
fn r30_r36_a_node_that_drains_has_no_time_for_grace() {
    let mut world = World::new();
    let Pair { alice, .. } = pair(&mut world);
    let a = world.hello(&alice);
    world.input(Input::Drain);
    world.pass(Duration::from_secs(1));
    leave(&mut world, a.link);
    world.pass(Duration::from_millis(1));
    assert_eq!(seen(&world).len(), 1);
}

#[test]
fn r30_nothing_is_kept_of_somebody_who_never_was_let_in() {
    let mut world = World::new();
    let link = world.anonymous();
    leave(&mut world, link);
    world.pass(Duration::from_secs(20));
    assert_eq!(seen(&world), []);
}
