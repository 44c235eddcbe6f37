//! What a server that lies, or a member that means harm, may do: it costs what it costs them to be silent, and nobody is
//! encrypted for who was not asked for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use client_core::{Client, ClientEvent};
use client_crypto::{DeviceKey, GroupName, Lifetime, Mls, Use};
use wire::event::{Event, GroupLeaf, GroupMember, InboxEntry, InboxItem, MemberRole, Welcome};
use wire::request::{NewDevice, Request};
use wire::{ChatId, DeviceId, Epoch, ErrorCode, Seq};

use crate::server::direct;
use crate::world::{World, account};

const ALICE: usize = 0;
const BOB: usize = 1;

/// Alice and Bob, who have spoken.
fn pair() -> (World, ChatId) {
    let mut world = World::of(&[0, 1]);
    let chat = direct(account(0), account(1));
    world.say(ALICE, chat, Some(account(1)), "hello");
    world.settle();
    (world, chat)
}

fn read(world: &World, phone: usize, chat: ChatId) -> Vec<Bytes> {
    world.phones[phone].read(chat).into_iter().map(|(_, said)| said).collect()
}

/// All that was said to the server.
fn requests(world: &World) -> impl Iterator<Item = Request> {
    let frames = world.phones.iter().flat_map(|phone| &phone.frames);
    frames.map(|frame| Request::decode(&wire::frame::body_of(frame)).expect("a client's frame decodes"))
}

/// Puts a welcome into a phone's inbox.
fn welcome(world: &mut World, phone: usize, welcome: Welcome) {
    let (inbox, _) = world.server.inboxes.entry(world.phones[phone].device()).or_default();
    let (seq, at) = (Seq(inbox.len() as u64 + 1), world.now.wall);
    inbox.push(InboxEntry { seq, at, what: InboxItem::Welcome(welcome) });
}

/// The last welcome that a phone got.
fn last_welcome(world: &World, phone: usize) -> Welcome {
    match world.server.inboxes[&world.phones[phone].device()].0.last().map(|entry| &entry.what) {
        Some(InboxItem::Welcome(welcome)) => welcome.clone(),
        other => panic!("a welcome, not {other:?}"),
    }
}

#[test]
fn i6_a_welcome_that_is_made_up_takes_no_group_away() {
    let (mut world, chat) = pair();
    let adder = (account(0), world.phones[ALICE].device());
    let made_up = Welcome { chat, epoch: Epoch(9), seq: Seq(40), adder, bytes: Bytes::from_static(b"none") };
    welcome(&mut world, BOB, made_up);
    world.say(ALICE, chat, Some(account(1)), "are you there?");
    world.settle();
    assert!(world.was_told(BOB, |event| matches!(event, ClientEvent::WelcomeUnreadable { .. })));
    world.say(BOB, chat, Some(account(0)), "I am");
    world.settle();
    world.check();
    assert_eq!(read(&world, BOB, chat), ["hello", "are you there?", "I am"]);
    assert_eq!(read(&world, ALICE, chat), ["hello", "are you there?", "I am"]);
}

/// A last resort opens its welcomes again and again: none leads back to an epoch that the device was in, where it would use
/// its keys a second time and encrypt for who was removed since.
#[test]
fn i5_r149_an_old_welcome_that_is_handed_out_again_leads_nowhere() {
    let mut world = World::of(&[0, 1]);
    let chat = direct(account(0), account(1));
    world.server.packages.get_mut(&world.phones[BOB].device()).expect("published").0.clear();
    world.say(ALICE, chat, Some(account(1)), "hello");
    world.settle();
    let old = last_welcome(&world, BOB);
    let tablet = world.add(0);
    world.phones[tablet].start(world.now);
    world.pass(Duration::from_secs(61));
    world.phones[ALICE].lose(world.now);
    world.settle();
    assert_eq!(world.server.logs[&chat].epoch, Epoch(2), "Alice's tablet is in it");
    world.server.trees.insert((chat, Epoch(9)), world.server.trees[&(chat, old.epoch)].clone());
    welcome(&mut world, BOB, Welcome { epoch: Epoch(9), seq: Seq(40), ..old });
    world.say(BOB, chat, Some(account(0)), "hello, tablet");
    world.settle();
    world.say(BOB, chat, Some(account(0)), "still there?");
    world.settle();
    world.check();
    assert_eq!(read(&world, tablet, chat), ["hello, tablet", "still there?"]);
    assert_eq!(world.phones[BOB].disk.kept.inbox, Seq(2), "it is seen to");
}

/// A group of phones 0, 1, …, made by the first.
fn group(people: &[u8]) -> (World, ChatId) {
    let mut world = World::of(people);
    let members: Vec<_> = people[1..].iter().map(|&person| account(person)).collect();
    let begun = |client: &mut Client, now| client.create_group("Owls".into(), String::new(), &members, now);
    let chat = world.phones[ALICE].with(world.now, begun).expect("it runs").expect("begun");
    world.settle();
    (world, chat)
}

/// The server says that a stranger is a member whose device has ended, so that somebody obliges and adds the others.
#[test]
fn r60_nobody_is_brought_in_because_the_server_says_so() {
    let (mut world, chat) = group(&[0, 1, 2]);
    let stranger = world.add(7);
    world.phones[stranger].start(world.now);
    world.settle();
    world.server.about_group = Some(|group| {
        let (account, device, role) = (account(7), DeviceId::new([7; 16]), MemberRole::Member);
        group.commit_first = true;
        group.members.push(GroupMember { account, joined: Seq(1), role });
        group.leaves.push(GroupLeaf { leaf: 9, account, device, pending: true });
    });
    world.phones[2].with(world.now, |client, now| client.leave_group(chat, now).expect("begun"));
    world.settle();
    world.server.about_group = None;
    world.say(ALICE, chat, None, "we two");
    world.settle();
    world.check();
    // Whatever the server takes: a commit that names the stranger gives them the keys.
    let is_there = |add: &NewDevice| add.account == account(7);
    let adds = |request: &Request| matches!(request, Request::CommitGroup(commit) if commit.adds.iter().any(is_there));
    assert_eq!(requests(&world).filter(adds).count(), 0, "nobody has added them");
    assert_eq!(read(&world, BOB, chat), ["we two"]);
}

/// Somebody is to be removed, and the server says that they are no member: they are removed all the same, or nobody is told that
/// they were.
#[test]
fn r67_i5_who_is_removed_is_out_of_the_group_whatever_the_server_says_of_its_members() {
    let (mut world, chat) = group(&[0, 1, 2]);
    world.server.about_group = Some(|group| group.members.retain(|member| member.account != account(2)));
    let begun = |client: &mut Client, now| client.remove_members(chat, &[account(2)], now);
    world.phones[ALICE].with(world.now, begun).expect("it runs").expect("begun");
    for _ in 0..1200 {
        world.carry();
        world.pass(Duration::from_millis(100));
    }
    let is_done = |event: &ClientEvent| matches!(event, ClientEvent::GroupDone { .. });
    let has_leaf = world.server.logs[&chat].leaves.iter().any(|(_, leaf)| leaf.account == account(2));
    assert!(has_leaf, "this server takes no such commit");
    let done = world.phones[ALICE].told.iter().filter(|event| is_done(event)).count();
    assert_eq!(done, 1, "that the group was made");
    let failed = |event: &ClientEvent| matches!(event, ClientEvent::GroupFailed { .. });
    assert!(world.was_told(ALICE, failed), "{:?}", world.phones[ALICE].told);
}

/// A group made by one who works with the server, with the id of a chat of two: whether the other of the two is in it or not, what
/// is said in that chat is not for them.
#[test]
fn r11_a_chat_of_two_has_nobody_else_in_it_however_its_group_came() {
    for with_bob in [true, false] {
        let mut world = World::of(&[0, 1, 2]);
        let chat = direct(account(0), account(1));
        let adds = if with_bob { vec![ALICE, BOB] } else { vec![ALICE] };
        let mut mls = Mls::new(account(2), DeviceKey::from_seed(&[9; 32]), [9; 32]);
        let packages: Vec<Vec<u8>> = adds
            .iter()
            .map(|phone| {
                let (stored, _) =
                    world.server.packages.get_mut(&world.phones[*phone].device()).expect("published");
                stored.pop_front().expect("one").to_vec()
            })
            .collect();
        let (kv, id, now) = (BTreeMap::new(), world.id(), world.now.wall.as_millis() / 1000);
        let made = mls.create(&kv, GroupName::Chat(chat), &packages, id, now).expect("made");
        world.server.trees.insert((chat, Epoch(1)), made.tree.expect("a tree").into());
        for (phone, (_, bytes)) in adds.iter().zip(made.welcomes) {
            let adder = (account(2), mls.own().device);
            let bytes = bytes.into();
            welcome(&mut world, *phone, Welcome { chat, epoch: Epoch(1), seq: Seq(1), adder, bytes });
        }
        world.settle();
        world.say(ALICE, chat, Some(account(1)), "for Bob alone");
        if with_bob {
            world.settle();
            world.check();
            assert_eq!(read(&world, BOB, chat), ["for Bob alone"]);
            assert_eq!(world.server.commits.len(), 1, "in a group of their own");
        } else {
            // A log that was said to begin where it does not is of no use any more; but nothing was said in it.
            (0..100).for_each(|_| assert!(world.carry() || world.server.commits.len() == 1));
            assert!(!requests(&world).any(|request| matches!(request, Request::Append(_))));
        }
        assert!(world.was_told(ALICE, |event| matches!(event, ClientEvent::WelcomeUnreadable { .. })));
    }
}

/// The server says that the chat of Alice and Bob is one with Carol.
#[test]
fn r11_whose_chat_it_is_its_id_says_and_not_the_server() {
    let mut world = World::of(&[0, 1, 2]);
    let chat = direct(account(0), account(1));
    let peer = Some(account(2));
    world.phones[ALICE].down_stream(Some(chat), Event::ChatDown { chat, from_seq: Seq(1), peer });
    world.settle();
    assert_eq!(world.phones[ALICE].disk.kept.chat(chat).expect("known").peer, None);
    world.say(ALICE, chat, Some(account(1)), "for Bob");
    world.settle();
    world.check();
    assert_eq!(read(&world, BOB, chat), ["for Bob"]);
}

/// A server whose log is behind this device, as after a backup was brought back, or that is not of one mind with itself.
#[test]
fn r33_a_server_that_refuses_what_is_right_is_not_asked_as_fast_as_it_answers() {
    for refusal in [(ErrorCode::StaleEpoch, Epoch(0)), (ErrorCode::CommitFirst, Epoch(1))] {
        let (mut world, chat) = pair();
        world.server.refuses = Some(refusal);
        world.say(ALICE, chat, Some(account(1)), "again?");
        for _ in 0..6000 {
            world.carry();
            world.pass(Duration::from_millis(10));
        }
        let asked = world.server.stale;
        assert!((3..20).contains(&asked), "{asked} times in a minute: {refusal:?}");
        world.server.refuses = None;
        world.settle();
        world.check();
        assert_eq!(read(&world, BOB, chat), ["hello", "again?"]);
    }
}

/// Two devices whose key packages have the same keys: no group takes both, and nobody else waits for that.
#[test]
fn r59_who_publishes_what_no_group_takes_is_left_out_and_holds_up_nobody() {
    let mut world = World::of(&[0, 1, 2, 2]);
    let life = Lifetime { from: 0, until: u64::MAX / 2000 };
    for phone in [2, 3] {
        let mut mls = Mls::new(account(2), world.phones[phone].key(), [9; 32]);
        let made = mls.key_packages(&BTreeMap::new(), 1, life, Use::LastResort).expect("made");
        let resort = made.into_iter().next().map(Bytes::from);
        world.server.packages.insert(world.phones[phone].device(), (VecDeque::new(), resort));
    }
    let members = [account(1), account(2)];
    let begun = |client: &mut Client, now| client.create_group("Owls".into(), String::new(), &members, now);
    let chat = world.phones[ALICE].with(world.now, begun).expect("it runs").expect("begun");
    world.settle();
    let is_named = |event: &ClientEvent| matches!(event, ClientEvent::GroupDone { missing, .. } if *missing == [account(2)]);
    assert!(world.was_told(ALICE, is_named), "{:?}", world.phones[ALICE].told);
    world.say(ALICE, chat, None, "we two");
    world.settle();
    world.check();
    assert_eq!(read(&world, BOB, chat), ["we two"]);
}
