//! Chats of two: made by whoever speaks first, or by both at once.

use std::time::Duration;

use bytes::Bytes;
use client_core::{ClientEvent, Unreadable};
use wire::Seq;

use crate::phone::Death;
use crate::server::direct;
use crate::world::{KEY_PACKAGES, World, account};

const ALICE: usize = 0;
const BOB: usize = 1;

fn pair() -> (World, wire::ChatId) {
    (World::of(&[0, 1]), direct(account(0), account(1)))
}

#[test]
fn r11_the_first_message_makes_the_group_and_both_read_what_is_said() {
    let (mut world, chat) = pair();
    world.say(ALICE, chat, Some(account(1)), "hello");
    world.settle();
    world.say(BOB, chat, Some(account(0)), "hello yourself");
    world.settle();
    world.say(ALICE, chat, Some(account(1)), "and again");
    world.settle();
    world.check();
    let expected: Vec<Bytes> = ["hello", "hello yourself", "and again"].map(Bytes::from).to_vec();
    for phone in [ALICE, BOB] {
        let read: Vec<Bytes> = world.phones[phone].read(chat).into_iter().map(|(_, said)| said).collect();
        assert_eq!(read, expected, "phone {phone}");
    }
    assert_eq!(world.server.commits.len(), 1);
    assert!(world.was_told(BOB, |event| matches!(event, ClientEvent::MembersChanged { .. })));
}

#[test]
fn r37_canary_nothing_that_is_typed_leaves_in_the_clear() {
    let (mut world, chat) = pair();
    world.say(ALICE, chat, Some(account(1)), "canary-of-alice");
    world.settle();
    world.say(BOB, chat, Some(account(0)), "canary-of-bob");
    world.settle();
    world.check();
    assert_eq!(world.phones[ALICE].read(chat).len(), 2);
    for phone in &world.phones {
        assert!(!phone.frames.is_empty());
        for frame in &phone.frames {
            assert!(!frame.windows(7).any(|window| window == b"canary-"), "a frame shows what was typed");
        }
    }
}

/// Both speak first: the server takes one commit, and the other's message goes into the winner's group.
#[test]
fn i6_of_two_that_make_a_chat_at_once_one_wins_and_both_messages_arrive() {
    for welcome_first in [false, true] {
        let (mut world, chat) = pair();
        world.say(ALICE, chat, Some(account(1)), "from alice");
        world.say(BOB, chat, Some(account(0)), "from bob");
        // Both have made their commit before either is taken.
        while !world.phones.iter().all(|phone| !phone.disk.kept.commits.is_empty()) {
            for at in [ALICE, BOB] {
                if world.phones[at].disk.kept.commits.is_empty() {
                    for tag in world.phones[at].tags() {
                        world.serve(at, tag);
                        world.phones[at].hear(tag, world.now);
                    }
                }
            }
        }
        for tag in world.phones[ALICE].tags() {
            while world.serve(ALICE, tag) {}
        }
        // The loser hears of it by its inbox, by the log, or by the answer.
        if welcome_first {
            while world.deliver(BOB, None) {}
        } else {
            while world.deliver(BOB, Some(chat)) {}
        }
        for tag in world.phones[BOB].tags() {
            while world.phones[BOB].hear(tag, world.now) {}
        }
        world.settle();
        world.check();
        assert_eq!(world.server.commits, [(chat, account(0))], "welcome first: {welcome_first}");
        for phone in [ALICE, BOB] {
            assert_eq!(world.phones[phone].read(chat).len(), 2, "phone {phone}");
            let told = world.phones[phone].told.iter();
            let passed = told.filter(|event| matches!(event, ClientEvent::Passed { seq: Seq(1), .. }));
            assert_eq!(passed.count(), 1, "phone {phone} is told of the commit's place once");
        }
        assert!(world.phones.iter().all(|phone| phone.disk.kept.commits.is_empty()));
    }
}

/// One has made its commit and lost its connection; meanwhile the other has made the chat.
#[test]
fn i6_a_commit_that_is_sent_again_after_another_has_won_is_given_up() {
    let (mut world, chat) = pair();
    world.say(BOB, chat, Some(account(0)), "from bob");
    while world.phones[BOB].disk.kept.commits.is_empty() {
        for tag in world.phones[BOB].tags() {
            world.serve(BOB, tag);
            world.phones[BOB].hear(tag, world.now);
        }
    }
    world.phones[BOB].kill();
    world.phones[BOB].away = true;
    world.say(ALICE, chat, Some(account(1)), "from alice");
    world.settle();
    world.phones[BOB].away = false;
    world.phones[BOB].start(world.now);
    world.settle();
    world.check();
    assert_eq!(world.server.commits, [(chat, account(0))]);
    assert_eq!(world.phones[ALICE].read(chat).len(), 2);
    assert_eq!(world.phones[BOB].read(chat).len(), 2);
}

#[test]
fn r149_who_has_no_key_package_yet_is_written_to_as_soon_as_there_is_one() {
    let mut world = World::asleep(&[0, 1]);
    let chat = direct(account(0), account(1));
    world.phones[ALICE].start(world.now);
    world.settle();
    world.say(ALICE, chat, Some(account(1)), "are you there?");
    for _ in 0..100 {
        world.carry();
        world.pass(Duration::from_millis(300));
    }
    assert!(world.was_told(ALICE, |event| matches!(event, ClientEvent::Unreachable { .. })));
    let claims = world.server.claims;
    assert!((2..20).contains(&claims), "asked again, and not all the time: {claims}");
    world.phones[BOB].start(world.now);
    world.settle();
    world.check();
    assert_eq!(world.phones[BOB].read(chat).len(), 1);
}

#[test]
fn r149_key_packages_are_refilled_before_they_run_out_and_the_last_resort_stays() {
    let (mut world, _) = pair();
    let device = world.phones[BOB].device();
    let left = |world: &World| {
        let (stored, resort) = &world.server.packages[&device];
        (stored.len(), resort.is_some())
    };
    assert_eq!(left(&world), (KEY_PACKAGES, true));
    world.server.packages.get_mut(&device).expect("published").0.truncate(3);
    world.phones[BOB].lose(world.now);
    world.settle();
    assert_eq!(left(&world), (3 + KEY_PACKAGES, true));
    world.server.packages.get_mut(&device).expect("published").0.truncate(4);
    world.phones[BOB].lose(world.now);
    world.settle();
    assert_eq!(left(&world), (4, true), "half of them are enough");
}

/// Whatever the server does to one entry costs that entry and nothing else, and is reported.
#[test]
fn c5_tampered_relabelled_truncated_and_replayed_entries_are_reported_and_wedge_nothing() {
    type Tamper = fn(&mut wire::event::Entry);
    let tampers: [(Tamper, Unreadable); 5] = [
        (|entry| entry.content = flipped(&entry.content), Unreadable::Refused),
        (|entry| entry.content.truncate(entry.content.len() / 2), Unreadable::Refused),
        (|entry| entry.client_msg_id = wire::ClientMsgId::new([1; 16]), Unreadable::Relabelled),
        (|entry| entry.sender = account(7), Unreadable::Relabelled),
        (|entry| entry.epoch = wire::Epoch(9), Unreadable::Relabelled),
    ];
    for (n, (tamper, why)) in tampers.into_iter().enumerate() {
        let (mut world, chat) = pair();
        world.say(ALICE, chat, Some(account(1)), "first");
        world.settle();
        world.phones[ALICE].away = true;
        world.tamper = Some(tamper);
        world.phones[ALICE].away = false;
        world.say(ALICE, chat, Some(account(1)), "tampered with");
        world.settle();
        world.tamper = None;
        world.say(ALICE, chat, Some(account(1)), "last");
        world.settle();
        let read: Vec<Bytes> = world.phones[BOB].read(chat).into_iter().map(|(_, said)| said).collect();
        assert_eq!(read, ["first", "last"], "case {n}");
        let is_it = |event: &ClientEvent| matches!(event, ClientEvent::Unreadable { why: found, .. } if *found == why);
        assert!(world.was_told(BOB, is_it), "case {n}: {:?}", world.phones[BOB].told);
        assert_eq!(world.phones[BOB].connects, 1, "case {n}: it is not asked for again");
    }
}

fn flipped(content: &Bytes) -> Bytes {
    let mut bytes = content.to_vec();
    let at = bytes.len() - 3;
    bytes[at] ^= 1;
    bytes.into()
}

#[test]
fn c5_a_message_that_is_said_twice_in_the_log_is_shown_once() {
    let (mut world, chat) = pair();
    world.say(ALICE, chat, Some(account(1)), "once");
    world.settle();
    let log = world.server.logs.get_mut(&chat).expect("a chat");
    let mut again = log.entries.last().expect("a message").clone();
    again.seq = log.head().next();
    log.entries.push(again);
    world.settle();
    assert_eq!(world.phones[BOB].read(chat).len(), 1);
    let replayed =
        |event: &ClientEvent| matches!(event, ClientEvent::Unreadable { why: Unreadable::Replayed, .. });
    assert!(world.was_told(BOB, replayed), "{:?}", world.phones[BOB].told);
    world.say(ALICE, chat, Some(account(1)), "twice");
    world.settle();
    assert_eq!(world.phones[BOB].read(chat).len(), 2);
}

#[test]
fn r125_a_tree_that_is_wrong_once_is_asked_for_again_and_twice_is_reported() {
    for wrong in [1, 2] {
        let (mut world, chat) = pair();
        world.server.wrong_trees = wrong;
        world.say(ALICE, chat, Some(account(1)), "hello");
        world.settle();
        let reported = world.was_told(BOB, |event| matches!(event, ClientEvent::WelcomeUnreadable { .. }));
        assert_eq!(reported, wrong == 2);
        assert_eq!(world.phones[BOB].read(chat).len(), usize::from(wrong == 1));
        assert_eq!(world.phones[BOB].disk.kept.inbox, Seq(1), "the next welcome is not held up");
        assert_eq!(world.phones[BOB].connects, 1, "and it is not asked for ever");
    }
}

/// A process that dies at any moment, before or after what it keeps is kept, goes on from there.
#[test]
fn i4_r33_a_process_may_die_at_every_drain() {
    for who in [ALICE, BOB] {
        for after in [false, true] {
            let mut at = 0;
            loop {
                let mut world = World::asleep(&[0, 1]);
                let chat = direct(account(0), account(1));
                world.phones[who].dies = Some(if after { Death::After(at) } else { Death::Before(at) });
                (0..2).for_each(|phone| world.phones[phone].start(world.now));
                world.settle();
                let said = ["1", "2", "3"].map(|text| {
                    let first = world.say(ALICE, chat, Some(account(1)), text);
                    world.settle();
                    let second = world.say(BOB, chat, Some(account(0)), text);
                    world.settle();
                    usize::from(first.is_some()) + usize::from(second.is_some())
                });
                world.check();
                for phone in [ALICE, BOB] {
                    let has = world.phones[phone].disk.messages.len()
                        + world.phones[phone]
                            .disk
                            .passed
                            .values()
                            .filter(|p| **p == client_core::Passed::Own)
                            .count();
                    assert_eq!(has, said.iter().sum::<usize>(), "death {after} {at} of {who}: phone {phone}");
                }
                if world.phones[who].dies.is_some() {
                    assert!(at > 15, "it kept something so often: {at}");
                    break;
                }
                at += 1;
            }
        }
    }
}

/// Ciphertext leaves only after the ratchet that made it has moved on the disk: a process that died in between says other
/// bytes under the same id, and never two contents with one key.
#[test]
fn r37_a_row_sealed_for_the_epoch_goes_again_as_it_is() {
    let (mut world, chat) = pair();
    world.say(ALICE, chat, Some(account(1)), "make it");
    world.settle();
    world.phones[BOB].away = true;
    let id = world.say(ALICE, chat, Some(account(1)), "twice").expect("typed");
    let sealed = world.phones[ALICE].disk.kept.outbox[0].sealed.clone().expect("it left");
    world.phones[ALICE].kill();
    world.phones[ALICE].start(world.now);
    assert_eq!(world.phones[ALICE].disk.kept.outbox[0].sealed.as_ref(), Some(&sealed));
    world.phones[BOB].away = false;
    world.settle();
    world.check();
    let log = &world.server.logs[&chat];
    assert_eq!(log.entries[log.places[&id].0 as usize - 1].content, sealed.content);
}

#[test]
fn r33_a_message_for_an_epoch_that_is_over_is_sealed_anew_under_its_id_and_nobody_is_told() {
    let (mut world, chat) = pair();
    world.say(ALICE, chat, Some(account(1)), "make it");
    world.settle();
    // Bob's new tablet moves the epoch, and Alice speaks before she hears of it.
    world.phones[ALICE].away = true;
    let tablet = world.add(1);
    world.phones[tablet].start(world.now);
    world.settle();
    let session = *world.phones[BOB].tags().first().expect("a session");
    world.phones[BOB].answer(
        session,
        wire::event::Event::DeviceAdded {
            device: wire::DeviceId::new([0; 16]),
            name: "tablet".into(),
            at: wire::WallTime(0),
        },
    );
    world.settle();
    assert_eq!(world.server.commits.len(), 2, "Bob has added his tablet");
    let id = world.say(ALICE, chat, Some(account(1)), "late").expect("typed");
    world.phones[ALICE].away = false;
    // What she says is refused before the log comes.
    for tag in world.phones[ALICE].tags() {
        while world.serve(ALICE, tag) {}
    }
    assert_eq!(world.server.stale, 1);
    world.settle();
    world.check();
    assert_eq!(world.typed.len(), 2);
    assert!(world.server.logs[&chat].places.contains_key(&id));
    for phone in [ALICE, BOB, tablet] {
        assert!(world.phones[phone].read(chat).iter().any(|(_, said)| said == "late"), "phone {phone}");
    }
    let noticed = |event: &ClientEvent| {
        matches!(
            event,
            ClientEvent::Delayed { .. } | ClientEvent::Failed { .. } | ClientEvent::Disconnected { .. }
        )
    };
    assert!(!world.was_told(ALICE, noticed), "{:?}", world.phones[ALICE].told);
}
