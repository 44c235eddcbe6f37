//! Chats of many, and accounts of several devices: who comes and goes, and who commits it.

use std::time::Duration;

use bytes::Bytes;
use client_core::{ClientEvent, GroupError, GroupFailure};
use wire::event::Event;
use wire::{ChatId, ErrorCode};

use crate::phone::Death;
use crate::server::direct;
use crate::world::{World, account};

/// A group of phones 0, 1, …, made by the first.
fn group(people: &[u8]) -> (World, ChatId) {
    let mut world = World::of(people);
    let chat = create(&mut world, &people[1..]).expect("it runs");
    world.settle();
    (world, chat)
}

fn create(world: &mut World, members: &[u8]) -> Option<ChatId> {
    let members: Vec<_> = members.iter().map(|&person| account(person)).collect();
    let now = world.now;
    world.phones[0].with(now, |client, now| {
        client.create_group("Owls".into(), "At night.".into(), &members, now).expect("begun")
    })
}

fn said(world: &World, phone: usize, chat: ChatId) -> Vec<Bytes> {
    world.phones[phone].read(chat).into_iter().map(|(_, said)| said).collect()
}

fn failed(why: GroupFailure) -> impl Fn(&ClientEvent) -> bool {
    move |event| matches!(event, ClientEvent::GroupFailed { why: found, .. } if *found == why)
}

fn is_done(event: &ClientEvent) -> bool {
    matches!(event, ClientEvent::GroupDone { missing, .. } if missing.is_empty())
}

#[test]
fn r59_a_group_is_made_by_one_commit_and_all_read_the_same() {
    let (mut world, chat) = group(&[0, 1, 2, 3]);
    assert!(world.was_told(0, is_done));
    for phone in 0..4 {
        world.say(phone, chat, None, &format!("hello from {phone}"));
    }
    world.settle();
    world.check();
    let first = said(&world, 0, chat);
    assert_eq!(first.len(), 4);
    assert!((1..4).all(|phone| said(&world, phone, chat) == first), "in one order");
    assert_eq!(world.server.commits.len(), 1);
}

#[test]
fn r59_who_cannot_be_encrypted_for_is_named_and_the_others_are_in() {
    let mut world = World::asleep(&[0, 1, 2]);
    [0, 1].into_iter().for_each(|phone| world.phones[phone].start(world.now));
    world.settle();
    let chat = create(&mut world, &[1, 2]).expect("it runs");
    world.settle();
    let names = |event: &ClientEvent| matches!(event, ClientEvent::GroupDone { missing, .. } if *missing == [account(2)]);
    assert!(world.was_told(0, names), "{:?}", world.phones[0].told);
    assert!(
        world.server.logs[&chat].is_member(account(1)) && !world.server.logs[&chat].is_member(account(2))
    );
    // Nobody at all is no group.
    let other = create(&mut world, &[2]).expect("it runs");
    world.settle();
    assert!(world.was_told(0, failed(GroupFailure::Unreachable)));
    assert!(!world.server.logs.contains_key(&other));
}

#[test]
fn r65_r67_i5_members_come_and_go_and_who_is_removed_reads_nothing_after() {
    let (mut world, chat) = group(&[0, 1, 2, 3]);
    let outsider = world.add(4);
    world.phones[outsider].start(world.now);
    world.settle();
    world.say(1, chat, None, "before");
    world.settle();
    let now = world.now;
    world.phones[0].with(now, |client, now| client.add_members(chat, &[account(4)], now).expect("begun"));
    world.settle();
    world.say(2, chat, None, "for five");
    world.settle();
    let begun =
        |client: &mut client_core::Client, now| client.remove_members(chat, &[account(1), account(4)], now);
    world.phones[0].with(now, begun).expect("it runs").expect("begun");
    world.settle();
    world.say(0, chat, None, "for three");
    world.say(1, chat, None, "let me in");
    world.settle();
    world.check();
    assert_eq!(said(&world, outsider, chat), ["for five"]);
    assert_eq!(said(&world, 1, chat), ["before", "for five"]);
    assert_eq!(said(&world, 3, chat), ["before", "for five", "for three"]);
    assert_eq!(world.phones[1].disk.failed.len(), 1, "what it says after fails");
    assert!(world.was_told(1, |event| matches!(event, ClientEvent::Gone { by, .. } if *by == account(0))));
    assert!(world.phones[1].disk.kept.chat(chat).expect("known").gone);
    // It may come back, and reads from there on.
    world.phones[0]
        .with(world.now, |client, now| client.add_members(chat, &[account(1)], now).expect("begun"));
    world.settle();
    world.say(3, chat, None, "welcome back");
    world.settle();
    world.check();
    assert_eq!(said(&world, 1, chat).last().expect("a message"), "welcome back");
    world.say(1, chat, None, "thanks");
    world.settle();
    world.check();
    assert_eq!(said(&world, 2, chat).last().expect("a message"), "thanks");
}

/// Removed and added again while its phone was away: the log that says so is not for it.
#[test]
fn r67_who_was_removed_and_added_while_away_comes_back_by_the_welcome() {
    let (mut world, chat) = group(&[0, 1, 2]);
    world.say(0, chat, None, "first");
    world.settle();
    world.phones[1].kill();
    world.phones[1].away = true;
    let now = world.now;
    world.phones[0].with(now, |client, now| client.remove_members(chat, &[account(1)], now).expect("begun"));
    world.settle();
    world.say(0, chat, None, "not for one");
    world.settle();
    world.phones[0]
        .with(world.now, |client, now| client.add_members(chat, &[account(1)], now).expect("begun"));
    world.settle();
    world.say(2, chat, None, "for all");
    world.settle();
    world.phones[1].away = false;
    world.phones[1].start(world.now);
    world.settle();
    world.check();
    assert_eq!(said(&world, 1, chat), ["first", "for all"]);
    assert!(world.phones[1].connects <= 3, "it does not connect again and again");
}

#[test]
fn r67_only_an_admin_changes_members_and_who_leaves_is_removed_by_who_is_left() {
    let (mut world, chat) = group(&[0, 1, 2]);
    let now = world.now;
    world.phones[1].with(now, |client, now| client.remove_members(chat, &[account(2)], now).expect("begun"));
    world.settle();
    assert!(world.was_told(1, failed(GroupFailure::Refused(ErrorCode::NotAdmin.refuse()))));
    // The creator leaves: the one who joined first is admin, and the others' next message brings the removal.
    world.phones[0].with(now, |client, now| client.leave_group(chat, now).expect("begun"));
    world.settle();
    assert!(world.was_told(0, |event| matches!(event, ClientEvent::Gone { .. })));
    assert!(world.was_told(0, is_done));
    assert_eq!(
        world.phones[0].with(world.now, |client, now| client.leave_group(chat, now)),
        Some(Err(GroupError::NotMember))
    );
    world.say(2, chat, None, "two of us");
    world.settle();
    world.check();
    assert_eq!(said(&world, 1, chat), ["two of us"]);
    assert!(said(&world, 0, chat).is_empty());
    assert_eq!(world.server.logs[&chat].leaves.len(), 2, "its leaf is gone");
    world.phones[1]
        .with(world.now, |client, now| client.remove_members(chat, &[account(2)], now).expect("begun"));
    world.settle();
    assert!(world.was_told(1, is_done), "the heir may");
}

#[test]
fn i6_what_is_said_after_somebody_left_waits_for_the_commit_and_nobody_notices() {
    let (mut world, chat) = group(&[0, 1, 2]);
    world.phones[1].with(world.now, |client, now| client.leave_group(chat, now).expect("begun"));
    for tag in world.phones[1].tags() {
        while world.serve(1, tag) {}
    }
    // Nobody has heard of it yet.
    let id = world.say(2, chat, None, "at once").expect("typed");
    for tag in world.phones[2].tags() {
        while world.serve(2, tag) {}
    }
    assert_eq!(world.server.stale, 1, "commit first");
    world.settle();
    world.check();
    assert!(world.server.logs[&chat].places.contains_key(&id));
    assert_eq!(said(&world, 0, chat), ["at once"]);
    let noticed =
        |event: &ClientEvent| matches!(event, ClientEvent::Delayed { .. } | ClientEvent::Failed { .. });
    assert!(!world.was_told(2, noticed));
}

/// Everybody has the same to do; one does it.
#[test]
fn i6_of_many_that_must_commit_a_few_do_and_all_follow() {
    let (mut world, chat) = group(&[0, 1, 2, 3, 4, 5]);
    let before = world.server.commits.len();
    let device = world.phones[5].device();
    world.phones[5].kill();
    world.phones[5].away = true;
    let id = world.id();
    world.server.end_device(device, id);
    for phone in 0..5 {
        world.say(phone, chat, None, &format!("after, from {phone}"));
    }
    world.settle();
    world.check();
    let commits = world.server.commits.len() - before;
    assert!((1..=2).contains(&commits), "{commits}");
    assert_eq!(world.server.logs[&chat].leaves.len(), 5);
    assert!((0..5).all(|phone| said(&world, phone, chat).len() == 5));
}

#[test]
fn c43_a_new_device_is_brought_into_every_chat_by_another_one_and_reads_from_there() {
    let (mut world, chat) = group(&[0, 1, 2]);
    let with_bob = direct(account(0), account(1));
    world.say(0, with_bob, Some(account(1)), "early");
    world.say(2, chat, None, "early");
    world.settle();
    let tablet = world.add(0);
    // It is told of before it has published anything.
    tell_of_device(&mut world, 0);
    for _ in 0..60 {
        world.carry();
        world.pass(Duration::from_millis(100));
    }
    assert!(
        !world.server.logs[&chat].leaves.iter().any(|(_, leaf)| leaf.device == world.phones[tablet].device())
    );
    world.phones[tablet].start(world.now);
    for _ in 0..400 {
        world.carry();
        world.pass(Duration::from_millis(100));
    }
    world.settle();
    world.say(1, with_bob, Some(account(0)), "late");
    world.say(1, chat, None, "late");
    world.settle();
    world.say(tablet, chat, None, "from the tablet");
    world.settle();
    world.check();
    assert_eq!(said(&world, tablet, with_bob), ["late"]);
    assert_eq!(said(&world, tablet, chat), ["late", "from the tablet"]);
    assert_eq!(said(&world, 0, chat), ["early", "late", "from the tablet"]);
    assert_eq!(world.phones[0].disk.kept.own_devices, [world.phones[tablet].device()], "it is seen to");
    let connects: Vec<usize> = world.phones.iter().map(|phone| phone.connects).collect();
    assert!(connects.iter().all(|&connects| connects == 1), "{connects:?}");
}

/// The other devices were off when it was added: the next start of one looks for it.
#[test]
fn c43_a_device_that_was_added_while_the_others_were_off_is_found_at_their_next_start() {
    let (mut world, chat) = group(&[0, 1]);
    world.phones[0].kill();
    world.phones[0].away = true;
    let tablet = world.add(0);
    world.phones[tablet].start(world.now);
    world.settle();
    world.say(1, chat, None, "nobody reads it there");
    world.settle();
    assert!(said(&world, tablet, chat).is_empty());
    world.phones[0].away = false;
    world.phones[0].start(world.now);
    for _ in 0..100 {
        world.carry();
        world.pass(Duration::from_millis(100));
    }
    world.settle();
    world.say(1, chat, None, "now it does");
    world.settle();
    world.check();
    assert_eq!(said(&world, tablet, chat), ["now it does"]);
    assert_eq!(world.phones[tablet].connects, 1, "it waited without asking again");
}

fn tell_of_device(world: &mut World, phone: usize) {
    let session = *world.phones[phone].tags().first().expect("a session");
    let (device, name, at) = (wire::DeviceId::new([0; 16]), "tablet".into(), world.now.wall);
    world.phones[phone].answer(session, Event::DeviceAdded { device, name, at });
    world.settle();
}

#[test]
fn r125_a_group_that_needs_several_commits_is_made_over_a_crash() {
    let people: Vec<u8> = (0..70).collect();
    let mut world = World::of(&people);
    let chat = create(&mut world, &people[1..]).expect("it runs");
    world.claim_page = 40;
    while world.server.commits.is_empty() {
        world.carry();
        world.pass(Duration::from_millis(1));
    }
    world.phones[0].kill();
    world.phones[0].start(world.now);
    world.settle();
    assert!(world.was_told(0, is_done));
    assert_eq!(world.server.logs[&chat].leaves.len(), 70);
    assert_eq!(world.server.commits.len(), 2);
    world.say(69, chat, None, "the last one speaks");
    world.settle();
    world.check();
    assert!((0..70).all(|phone| said(&world, phone, chat) == ["the last one speaks"]));
}

#[test]
fn r59_one_change_of_a_chat_at_a_time_and_none_of_a_chat_that_one_is_not_in() {
    let (mut world, chat) = group(&[0, 1]);
    let now = world.now;
    let twice = world.phones[0].with(now, |client, now| {
        client.add_members(chat, &[account(7)], now).expect("begun");
        client.add_members(chat, &[account(8)], now)
    });
    assert_eq!(twice, Some(Err(GroupError::UnderWay)));
    let elsewhere = ChatId::new([9; 16]);
    let refused =
        |world: &mut World,
         what: &dyn Fn(&mut client_core::Client, client_core::Now) -> Result<(), GroupError>| {
            world.phones[0].with(now, |client, now| what(client, now)).expect("it runs")
        };
    assert_eq!(
        refused(&mut world, &|client, now| client.add_members(elsewhere, &[account(1)], now)),
        Err(GroupError::NotMember)
    );
    assert_eq!(
        refused(&mut world, &|client, now| client.add_members(chat, &[], now)),
        Err(GroupError::Nobody)
    );
    let many: Vec<_> =
        (0..=255).map(|n| wire::AccountId::new([n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6])).collect();
    let made =
        world.phones[0].with(now, |client, now| client.create_group("x".into(), String::new(), &many, now));
    assert_eq!(made, Some(Err(GroupError::TooMany)));
}

/// A process that dies at any moment while members come and go goes on from there.
#[test]
fn r59_r67_a_process_may_die_at_every_drain_while_members_come_and_go() {
    for (who, after) in [(0, false), (0, true), (1, false), (1, true)] {
        let mut at = 0;
        loop {
            let mut world = World::of(&[0, 1, 2, 3]);
            world.phones[who].dies = Some(if after { Death::After(at) } else { Death::Before(at) });
            let Some(chat) = create(&mut world, &[1, 2]) else { break };
            world.settle();
            let is_made = world.server.logs.contains_key(&chat);
            if is_made {
                let begin = |world: &mut World,
                             what: &dyn Fn(
                    &mut client_core::Client,
                    client_core::Now,
                ) -> Result<(), GroupError>| {
                    let now = world.now;
                    world.phones[0].with(now, |client, now| what(client, now));
                    world.settle();
                };
                begin(&mut world, &|client, now| client.add_members(chat, &[account(3)], now));
                world.say(1, chat, None, "one");
                world.settle();
                begin(&mut world, &|client, now| client.remove_members(chat, &[account(2)], now));
                world.say(0, chat, None, "two");
                world.settle();
                begin(&mut world, &|client, now| client.leave_group(chat, now));
                world.say(1, chat, None, "three");
                world.settle();
            }
            world.check();
            if world.phones[who].dies.is_some() {
                assert!(at > 8, "it kept something so often: {at}");
                break;
            }
            at += 1;
        }
    }
}
