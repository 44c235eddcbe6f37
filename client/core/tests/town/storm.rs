//! Phones and their server in random order from a seed: messages typed, answered, refused and lost; connections cut, processes
//! killed before and after what they keep; groups made, members added and removed, people who leave, devices added. Whatever
//! happens, in the end what was sent is in the log once and in order, and every member reads it (I1–I6, R50, G21).

use std::time::Duration;

use client_core::{ClientEvent, StreamTag};
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use wire::{AccountId, ChatId, Seq};

use crate::phone::Death;
use crate::server::direct;
use crate::world::{World, account};

const SEEDS: u64 = 8;
const STEPS: usize = 1200;

/// People; the last phone is a second one of the first.
const PEOPLE: usize = 4;

fn any_stream(world: &mut World, at: usize) -> Option<StreamTag> {
    let tags = world.phones[at].tags();
    if tags.is_empty() { None } else { Some(tags[world.random(tags.len())]) }
}

/// A chat that a phone knows, or a 1:1 chat with somebody.
fn any_chat(world: &mut World, at: usize) -> (ChatId, Option<AccountId>) {
    let own = world.phones[at].account;
    let groups: Vec<ChatId> = world
        .server
        .logs
        .iter()
        .filter(|(chat, log)| log.peers.is_none() && world.phones[at].disk.kept.chat(**chat).is_some())
        .map(|(chat, _)| *chat)
        .collect();
    if !groups.is_empty() && world.rng.random() {
        return (groups[world.random(groups.len())], None);
    }
    let peer = account(world.random(PEOPLE) as u8);
    (direct(own, peer), Some(peer))
}

fn step(world: &mut World) {
    let at = world.random(world.phones.len());
    if world.phones[at].client.is_none() {
        if world.rng.random_ratio(1, 20) {
            world.phones[at].start(world.now);
        }
        return;
    }
    if world.rng.random_ratio(1, 60) {
        let death = if world.rng.random() { Death::Before(0) } else { Death::After(0) };
        world.phones[at].dies = Some(death);
    }
    match world.random(100) {
        0..10 => {
            let (chat, peer) = any_chat(world, at);
            let text = format!("{at} says {}", world.typed.len());
            world.say(at, chat, peer, &text);
        }
        10..13 => {
            let (chat, _) = any_chat(world, at);
            let seq = Seq(world.rng.random_range(0..=world.phones[at].disk.have(chat).0));
            world.phones[at].with(world.now, |client, now| client.mark_read(chat, seq, now));
        }
        13..40 => drop(any_stream(world, at).map(|tag| world.serve(at, tag))),
        40..67 => drop(any_stream(world, at).map(|tag| world.phones[at].hear(tag, world.now))),
        67..84 => {
            let chats: Vec<ChatId> = world.server.logs.keys().copied().collect();
            let nth = world.random(chats.len() + 1);
            world.deliver(at, chats.get(nth).copied());
        }
        84..93 => {
            let most = if world.rng.random_ratio(1, 10) { 8000 } else { 300 };
            let time = Duration::from_millis(world.rng.random_range(1..most));
            world.pass(time);
        }
        93..95 => group_act(world, at),
        95 => lose(world, at, false),
        96 => lose(world, at, true),
        _ => {
            for _ in 0..30 {
                world.carry();
            }
        }
    }
}

/// Somebody changes who is in a group.
fn group_act(world: &mut World, at: usize) {
    let (chat, peer) = any_chat(world, at);
    let (now, other) = (world.now, account(world.random(PEOPLE) as u8));
    let act = world.random(5);
    world.phones[at].with(now, |client, now| match (peer, act) {
        (Some(_), 0..2) => drop(client.create_group("Owls".into(), String::new(), &[other], now)),
        (None, 0..2) => drop(client.add_members(chat, &[other], now)),
        (None, 2..4) => drop(client.remove_members(chat, &[other], now)),
        (None, _) => drop(client.leave_group(chat, now)),
        _ => {}
    });
}

/// The connection is cut, or the process dies; of what was on its way the server gets some.
fn lose(world: &mut World, at: usize, dies: bool) {
    for tag in world.phones[at].tags() {
        while world.rng.random() && world.serve(at, tag) {}
    }
    if dies {
        world.phones[at].kill();
    } else if world.phones[at].streams.is_some() {
        world.phones[at].lose(world.now);
    }
}

/// Everything works again, and comes to rest; then everybody says one more thing in every chat that they are in, and all read it.
fn end(world: &mut World) {
    world.faults = false;
    for phone in &mut world.phones {
        phone.dies = None;
        if phone.client.is_none() {
            phone.start(world.now);
        }
    }
    world.settle();
    world.check();
    let chats: Vec<ChatId> = world.server.logs.keys().copied().collect();
    for chat in chats {
        for at in 0..world.phones.len() {
            let log = &world.server.logs[&chat];
            let has_leaf = log.leaves.iter().any(|(_, leaf)| leaf.device == world.phones[at].device());
            if has_leaf && log.is_member(world.phones[at].account) {
                let peer = log.peer_of(world.phones[at].account);
                let id = world.say(at, chat, peer, "the last word").expect("it runs");
                world.settle();
                assert!(world.server.logs[&chat].places.contains_key(&id), "phone {at} can speak");
            }
        }
        read_all(world, chat);
    }
    world.settle();
    world.check();
    for phone in &world.phones {
        let wrong = |event: &&ClientEvent| {
            matches!(
                event,
                ClientEvent::Unreadable { .. }
                    | ClientEvent::WelcomeUnreadable { .. }
                    | ClientEvent::StorageFailed { .. }
            )
        };
        assert_eq!(phone.told.iter().find(wrong), None);
    }
}

fn read_all(world: &mut World, chat: ChatId) {
    for at in 0..world.phones.len() {
        let have = world.phones[at].disk.have(chat);
        world.phones[at].with(world.now, |client, now| client.mark_read(chat, have, now));
    }
    for _ in 0..30 {
        world.carry();
        world.pass(wire::limits::READ_RECEIPT_INTERVAL / 10);
    }
    world.settle();
    let log = &world.server.logs[&chat];
    for phone in world.phones.iter().filter(|phone| log.is_member(phone.account)) {
        if let Some(row) = phone.disk.kept.chat(chat).filter(|row| row.have == log.head()) {
            assert_eq!(
                (row.read, log.read[&phone.account]),
                (log.head(), log.head()),
                "read, and known to be"
            );
        }
    }
}

fn play(seed: u64) -> usize {
    let mut world = World::asleep(&[0, 1, 2, 3, 0]);
    world.rng = ChaCha8Rng::seed_from_u64(seed);
    world.faults = true;
    for _ in 0..STEPS {
        step(&mut world);
    }
    end(&mut world);
    world.typed.len()
}

#[test]
fn i1_i4_i6_r50_g21_random_faults_lose_nothing_double_nothing_and_keep_order() {
    let only = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let typed = std::panic::catch_unwind(|| play(seed));
        match typed {
            Ok(typed) => assert!(typed > 20, "seed {seed} did nothing"),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}
