//! What is bounded: messages in one epoch, entries that wait for a welcome, and what a client does when it comes to the bound.

use std::time::Duration;

use wire::Role;
use wire::limits::MESSAGES_PER_EPOCH_MAX;

use crate::server::direct;
use crate::world::{World, account};

/// Half of what it may say in an epoch: it commits an update by itself, and goes on saying things meanwhile.
#[test]
fn r37_a_device_that_says_much_renews_its_keys_and_nobody_waits() {
    let mut world = World::of(&[0, 1]);
    let chat = direct(account(0), account(1));
    world.say(0, chat, Some(account(1)), "first");
    world.settle();
    world.phones[1].away = true;
    let half = MESSAGES_PER_EPOCH_MAX as usize / 2;
    for n in 0..half + 10 {
        world.say(0, chat, Some(account(1)), "more");
        if n % 32 == 0 {
            for _ in 0..4 {
                world.carry();
            }
        }
    }
    world.settle();
    assert_eq!(world.server.commits, [(chat, account(0)); 2], "the first, and the update");
    world.phones[1].away = false;
    world.settle();
    world.check();
    assert_eq!(world.phones[1].read(chat).len(), half + 11);
}

/// More comes for a device that waits for its tree than it holds: what gave way comes again once it has joined.
#[test]
fn g15_what_came_before_a_tree_and_had_no_room_comes_again() {
    let mut world = World::of(&[0, 1]);
    let chat = direct(account(0), account(1));
    world.say(0, chat, Some(account(1)), "first");
    world.settle();
    let tablet = world.add(1);
    world.phones[tablet].start(world.now);
    world.settle();
    // Bob's phone finds it with its next connection, and Alice goes on talking before the tablet has its tree.
    world.pass(Duration::from_secs(61));
    world.phones[1].lose(world.now);
    while world.server.commits.len() < 2 {
        without_tree(&mut world, tablet);
    }
    for n in 0..300 {
        world.say(0, chat, Some(account(1)), &format!("{n}"));
        (0..3).for_each(|_| without_tree(&mut world, tablet));
    }
    assert!(world.phones[tablet].read(chat).is_empty());
    assert_eq!(world.phones[tablet].connects, 1, "while it waits it asks for nothing");
    world.settle();
    world.check();
    assert_eq!(world.phones[tablet].read(chat).len(), 300);
    assert_eq!(world.phones[tablet].connects, 2, "once for what had no room");
}

/// Everything goes on, but that one phone's own requests are not answered.
fn without_tree(world: &mut World, phone: usize) {
    for at in 0..world.phones.len() {
        for tag in world.phones[at].tags() {
            let is_request = world.phones[at].stream(tag).is_some_and(|stream| stream.role == Role::Request);
            if at != phone || !is_request {
                world.serve(at, tag);
                world.phones[at].hear(tag, world.now);
            }
        }
        world.deliver(at, None);
        let chats: Vec<_> = world.server.logs.keys().copied().collect();
        for chat in chats {
            world.deliver(at, Some(chat));
        }
    }
    world.pass(Duration::from_millis(1));
}
