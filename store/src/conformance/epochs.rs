//! The epoch rule: which commit is taken, what it does, and what may be appended in which epoch.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::join_all;
use wire::event::{EntryKind, Event};
use wire::{AccountId, DeviceId, Epoch, LogId, Seq, frame, limits};

use super::Env;
use super::group_world::{accounts, adding, chat_of, commit, create, make_direct, sealed};
use super::world::{Person, T0, World, answer, at, entry, msg};
use crate::keys;
use crate::op::*;

/// Follows a log's epochs through its entries: each message is of the epoch it lies in, each commit ends its own.
async fn replay<E: Env>(world: &World<E>, who: &Person, log: LogId) -> (u64, usize) {
    let (mut epoch, mut messages) = (0, 0);
    for entry in world.tail(who, log, 0).await {
        assert_eq!(entry.epoch, Epoch(epoch), "I6: entry {} of another epoch than its place's", entry.seq);
        match entry.what {
            EntryKind::Commit { .. } => epoch += 1,
            EntryKind::Message => messages += 1,
            other => panic!("{other:?}"),
        }
    }
    (epoch, messages)
}

pub(super) async fn i6_exactly_one_commit_wins_an_epoch<E: Env>(env: &E) {
    let world = &World::open(env).await;
    let people = join_all((1..=6).map(|n| world.person(n))).await;
    let log = world.group(&people[0], 1, &people[1..]).await;
    let group = world.told(&people[0], log).await;
    let leaf = |who: &Person| group.leaves.iter().find(|leaf| leaf.device == who.device).unwrap().leaf;
    const ROUNDS: u64 = 8;
    let mut said = 0;
    for round in 1..=ROUNDS {
        // All commit for the same epoch and speak in it, at once.
        let commits = join_all(people.iter().zip(0..).map(|(who, n)| {
            let leaf = Some(leaf(who));
            let op = Commit { leaf, ..commit(log, who, 100 * round + n, round, Action::Update) };
            async move { answer!(world, Commit, op) }
        }));
        let messages = join_all(people.iter().zip(0..).map(async |(who, n)| {
            let message = sealed(100 * round + 50 + n, round);
            world.says(who, log, message, T0).await
        }));
        let (commits, messages) = futures_util::future::join(commits, messages).await;
        let won: Vec<_> = commits.iter().flatten().collect();
        assert_eq!(won.len(), 1, "I6: {commits:?}");
        assert_eq!(won[0].epoch, Epoch(round + 1));
        let lost = commits.iter().filter_map(|result| result.as_ref().err());
        let current = Epoch(round + 1);
        assert!(lost.clone().all(|error| *error == CommitError::StaleEpoch { current }), "{commits:?}");
        for message in messages {
            match message {
                Ok(appended) => {
                    assert!(appended.seq < won[0].seq, "appended in the epoch it is sealed for");
                    said += 1;
                }
                Err(error) => assert_eq!(error, AppendError::StaleEpoch { current }),
            }
        }
    }
    assert_eq!(replay(world, &people[0], log).await, (ROUNDS + 1, said));
}

pub(super) async fn i6_nothing_of_another_epoch_is_appended<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let log = a.log(&b);
    // Before there is a group, the epoch is 0.
    assert!(world.says(&a, log, sealed(1, 1), T0).await.is_err(), "nobody made the chat");
    let op = world.append(&a, &b, vec![sealed(1, 1), msg(1)], T0);
    let results = answer!(world, Append, op);
    let stale = AppendError::StaleEpoch { current: Epoch(0) };
    assert!(results.iter().all(|result| result.as_ref().is_err_and(|error| *error == stale)), "{results:?}");
    assert_eq!(world.stored(keys::member(log, a.account)).await, None, "a refusal makes no chat");
    world.send(&a, &b, 1, at(1)).await;
    let current = Epoch(0);
    assert_eq!(world.says(&a, log, sealed(2, 1), T0).await.unwrap_err(), AppendError::StaleEpoch { current });
    assert_eq!(answer!(world, Commit, make_direct(&a, &b, 3)).unwrap().seq, Seq(2));
    // What is sealed for the epoch before keeps everything after it in its request from being appended.
    let messages = vec![msg(1), sealed(4, 0), sealed(5, 1), msg(1)];
    let op = Append { messages, peer: None, ..world.append(&a, &b, vec![], at(2)) };
    let results = answer!(world, Append, op);
    let current = Epoch(1);
    let stale = AppendError::StaleEpoch { current };
    assert_eq!(results[0].as_ref().map(|r| r.seq).unwrap(), Seq(1), "a repeat comes before all else");
    assert_eq!(results[1].as_ref().unwrap_err(), &stale);
    assert_eq!(results[2].as_ref().unwrap_err(), &stale, "a device's messages keep their order");
    assert_eq!(results[3].as_ref().map(|r| r.seq).unwrap(), Seq(1));
    assert_eq!(world.says(&a, log, sealed(6, 2), at(3)).await.unwrap_err(), stale, "an epoch to come");
    // Sealed anew under the same id it is appended, and then has its place whatever it says.
    assert_eq!(world.says(&a, log, sealed(4, 1), at(4)).await.unwrap().seq, Seq(3));
    for epoch in [0, 1, 7] {
        let again = world.says(&a, log, sealed(4, epoch), at(5)).await.unwrap();
        assert_eq!((again.seq, again.at), (Seq(3), at(4)), "I3");
    }
    let entries = world.tail(&b, log, 0).await;
    let epochs: Vec<_> = entries.iter().map(|entry| (entry.epoch.0, entry.what)).collect();
    let committed = EntryKind::Commit { parts: 0 };
    assert_eq!(epochs, [(0, EntryKind::Message), (0, committed), (1, EntryKind::Message)]);
}

pub(super) async fn i6_of_two_first_commits_one_makes_the_group<E: Env>(env: &E) {
    let world = &World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let both = [make_direct(&a, &b, 1), make_direct(&b, &a, 2)];
    let both = join_all(both.map(|op| async move { answer!(world, Commit, op) })).await;
    let (won, lost): (Vec<_>, Vec<_>) = both.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 1));
    assert_eq!(lost[0].as_ref().unwrap_err(), &CommitError::StaleEpoch { current: Epoch(1) });
    let won = won[0].as_ref().unwrap();
    assert_eq!((won.seq, won.epoch), (Seq(1), Epoch(1)));
    assert_eq!(BTreeSet::from_iter(won.members.clone()), BTreeSet::from([a.account, b.account]));
    for (who, peer) in [(a, b), (b, a)] {
        let opened = world.opened(&who, a.log(&b)).await.unwrap();
        assert_eq!((opened.peer, opened.head, opened.is_member), (Some(peer.account), Seq(1), true));
        let group = world.told(&who, a.log(&b)).await;
        assert_eq!((group.epoch, group.commit_first, group.about), (Epoch(1), false, None));
        let leaves: Vec<_> = group.leaves.iter().map(|leaf| leaf.leaf).collect();
        assert_eq!((group.members.len(), leaves), (2, vec![0, 1]));
    }
    // Notes to oneself: a group of one device, and a second one that joins it.
    let own = Action::Direct { peer: a.account };
    assert_eq!(answer!(world, Commit, commit(a.log(&a), &a, 3, 0, own)).unwrap().epoch, Epoch(1));
    let tablet = world.second_device(&a, 1).await;
    let join = adding(world.by(&a, a.log(&a), 4, 1, Action::Update).await, &[tablet]);
    assert_eq!(answer!(world, Commit, join).unwrap().members, [a.account]);
    assert_eq!(world.leaf(&a, a.log(&a), &tablet).await, 1);
}

pub(super) async fn i3_a_repeat_of_a_commit_gets_its_first_place<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b, c) = (world.person(1).await, world.person(2).await, world.person(3).await);
    let first = create(&a, 1, &[b, c]);
    let log = first.log;
    let made = answer!(world, Commit, first.clone()).unwrap();
    let update = Commit { now: at(5), ..world.by(&b, log, 2, 1, Action::Update).await };
    world.move_cursor(&b, log, (1, 1), at(4)).await.unwrap();
    let updated = answer!(world, Commit, update.clone()).unwrap();
    assert_eq!(
        world.opened(&b, log).await.unwrap().delivered,
        Seq(1),
        "what it committed is still to be read"
    );
    world.says(&a, log, sealed(9, 2), at(6)).await.unwrap();
    let leaf = world.leaf(&a, log, &b).await;
    let action = Action::Remove { accounts: vec![b.account] };
    let remove = Commit { removes: vec![leaf], ..world.by(&a, log, 3, 2, action).await };
    answer!(world, Commit, remove).unwrap();
    for (op, was) in [(first, made), (update.clone(), updated)] {
        let again = answer!(world, Commit, Commit { now: at(99), ..op }).unwrap();
        assert_eq!((again.seq, again.at, again.epoch), (was.seq, was.at, was.epoch));
        // Only where this very request may have been committed unheard of are others told of it again.
        assert_eq!(again.repeat, again.entry.is_none());
    }
    assert_eq!(replay(&world, &a, log).await, (3, 1), "a repeat appends nothing");
}

pub(super) async fn i1_what_was_said_before_there_was_a_group_is_still_owed<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let tablet = world.second_device(&b, 1).await;
    let log = a.log(&b);
    for n in 1..4 {
        world.send(&a, &b, n, T0).await;
    }
    world.move_cursor(&b, log, (1, 0), T0).await.unwrap();
    let direct = adding(make_direct(&a, &b, 4), &[b, tablet]);
    assert_eq!(answer!(world, Commit, direct).unwrap().seq, Seq(4));
    for (device, delivered) in [(b, 1), (tablet, 0)] {
        assert_eq!(world.opened(&device, log).await.unwrap().delivered, Seq(delivered));
    }
    // What is sealed, a device that has no leaf could not open: its chat begins where it is added.
    let phone = world.second_device(&a, 1).await;
    world.says(&b, log, sealed(5, 1), T0).await.unwrap();
    let join = adding(world.by(&a, log, 6, 1, Action::Update).await, &[phone]);
    assert_eq!(answer!(world, Commit, join).unwrap().seq, Seq(6));
    assert_eq!(world.opened(&phone, log).await.unwrap().delivered, Seq(5));
}

/// Whoever is told that a message is at a place finds it there; who is told that it has left, has.
pub(super) async fn i4_an_id_stands_for_one_kind_of_entry<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let log = world.group(&a, 1, &[b]).await;
    let update = world.by(&b, log, 2, 1, Action::Update).await;
    answer!(world, Commit, update.clone()).unwrap();
    world.says(&b, log, sealed(3, 2), T0).await.unwrap();
    let leave = |n| Leave { log, account: b.account, client_msg_id: msg(n).client_msg_id, now: at(4) };
    for n in [2, 3] {
        assert_eq!(answer!(world, Leave, leave(n)).unwrap_err(), LeaveError::IdUsed, "of {n}");
    }
    let of_a_message = Commit { client_msg_id: msg(3).client_msg_id, epoch: Epoch(2), ..update };
    assert_eq!(answer!(world, Commit, of_a_message.clone()).unwrap_err(), CommitError::IdUsed);
    let (sender, device, now) = (b.account, b.device, at(4));
    let messages = [2, 4, 3].map(|n| sealed(n, 2)).to_vec();
    let said = answer!(world, Append, Append { log, peer: None, sender, device, messages, now });
    assert_eq!(said[0].as_ref().unwrap_err(), &AppendError::IdUsed);
    let seqs = [&said[1], &said[2]].map(|done| done.as_ref().unwrap().seq);
    assert_eq!(seqs, [Seq(4), Seq(3)], "the others are not touched");
    assert!(world.opened(&b, log).await.unwrap().is_member, "it has not left");
    // Another's id is another id.
    world.says(&a, log, sealed(2, 2), T0).await.unwrap();
    assert_eq!(answer!(world, Leave, leave(5)).unwrap().seq, Seq(6));
    let of_leaving = Commit { client_msg_id: msg(5).client_msg_id, ..of_a_message };
    assert_eq!(answer!(world, Commit, of_leaving).unwrap_err(), CommitError::IdUsed);
    assert_eq!(world.says(&b, log, sealed(5, 2), T0).await.unwrap_err(), AppendError::IdUsed);
    assert_eq!(answer!(world, Leave, leave(5)).unwrap().seq, Seq(6), "I3");
}

pub(super) async fn c5_a_commit_is_refused_with_its_reason<E: Env>(env: &E) {
    use CommitError::*;
    let world = World::open(env).await;
    let (a, b, c, d) =
        (world.person(1).await, world.person(2).await, world.person(3).await, world.person(4).await);
    let nobody = Person::new(9, 0);
    let direct = make_direct(&a, &b, 1);
    let made = create(&a, 2, &[b]);
    let no_such_key = |mut op: Commit| {
        op.adds[0].key = [0xbb; 32];
        op
    };
    let ghost = Person::new(2, 7);
    let large = Bytes::from(vec![7; limits::HANDSHAKE_BYTES_MAX + 1]);
    let tree = Some(Bytes::from(vec![7; limits::TREE_BYTES_MAX + 1]));
    let stranger = Action::Direct { peer: nobody.account };
    for (n, (op, refused)) in [
        (Commit { log: LogId::Device(a.device), ..direct.clone() }, NotMember),
        (Commit { log: a.log(&c), ..direct.clone() }, WrongLog),
        (Commit { log: a.log(&nobody), action: stranger, ..direct.clone() }, RecipientUnknown),
        (commit(a.log(&b), &a, 3, 0, Action::Update), NotMember),
        (Commit { epoch: Epoch(1), ..direct.clone() }, StaleEpoch { current: Epoch(0) }),
        (Commit { leaf: Some(0), ..direct.clone() }, WrongLeaf),
        (Commit { handshake: Bytes::new(), ..direct.clone() }, TooLarge),
        (Commit { handshake: large, ..direct.clone() }, TooLarge),
        (Commit { tree, ..direct.clone() }, TooLarge),
        (Commit { tree: None, ..direct.clone() }, Mismatch),
        (Commit { removes: vec![0], ..direct.clone() }, MayNotRemove { leaf: 0 }),
        (adding(direct.clone(), &[]), Mismatch),
        (adding(direct.clone(), &[b, c]), Mismatch),
        (adding(direct.clone(), &[b, b]), AlreadyIn),
        (adding(direct.clone(), &[b, a]), AlreadyIn),
        (adding(direct.clone(), &[ghost]), DeviceInvalid { device: ghost.device }),
        (no_such_key(direct.clone()), DeviceInvalid { device: b.device }),
        (Commit { device: ghost.device, ..direct.clone() }, DeviceInvalid { device: ghost.device }),
        (Commit { client_msg_id: msg(99).client_msg_id, ..made.clone() }, WrongLog),
        (adding(made.clone(), &[c]), Mismatch),
        (adding(made.clone(), &[b, c]), Mismatch),
    ]
    .into_iter()
    .enumerate()
    {
        let log = op.log;
        assert_eq!(answer!(world, Commit, op).unwrap_err(), refused, "case {n}");
        assert_eq!(world.stored(keys::head(log)).await, None, "case {n}: a refusal writes nothing");
    }
    // Of a group that is there.
    let log = world.group(&a, 2, &[b, c]).await;
    let exists = Commit { client_msg_id: msg(2).client_msg_id, sender: a.account, ..made };
    let again = answer!(world, Commit, exists).unwrap();
    assert_eq!(again.seq, Seq(1), "the same commit is a repeat");
    let add = |who: &[Person]| Action::Add { accounts: accounts(who) };
    let by_a = world.by(&a, log, 10, 1, Action::Update).await;
    let by_b = world.by(&b, log, 10, 1, Action::Update).await;
    let remove = |who: &[Person]| Action::Remove { accounts: accounts(who) };
    for (n, (op, refused)) in [
        (commit(log, &d, 10, 1, Action::Update), NotMember),
        (Commit { epoch: Epoch(0), ..by_a.clone() }, StaleEpoch { current: Epoch(1) }),
        (Commit { leaf: Some(1), ..by_a.clone() }, WrongLeaf),
        (Commit { leaf: None, ..by_a.clone() }, WrongLeaf),
        (Commit { leaf: Some(77), ..by_a.clone() }, WrongLeaf),
        (adding(Commit { action: add(&[d]), ..by_b.clone() }, &[d]), NotAdmin),
        (Commit { action: remove(&[c]), removes: vec![2], ..by_b.clone() }, NotAdmin),
        (adding(Commit { action: add(&[c]), ..by_a.clone() }, &[c]), AlreadyIn),
        (adding(Commit { action: add(&[d, d]), ..by_a.clone() }, &[d]), Mismatch),
        (Commit { action: add(&[d]), ..by_a.clone() }, Mismatch),
        (adding(Commit { action: add(&[d]), ..by_a.clone() }, &[d, b]), Mismatch),
        (adding(by_a.clone(), &[d]), Mismatch),
        (adding(by_a.clone(), &[c]), AlreadyIn),
        (Commit { action: remove(&[d]), ..by_a.clone() }, Mismatch),
        (Commit { action: remove(&[a]), removes: vec![0], ..by_a.clone() }, Mismatch),
        (Commit { action: remove(&[c]), ..by_a.clone() }, Mismatch),
        (Commit { action: remove(&[c]), removes: vec![1, 2], ..by_a.clone() }, MayNotRemove { leaf: 1 }),
        (Commit { action: remove(&[c]), removes: vec![2, 2], ..by_a.clone() }, Mismatch),
        (Commit { removes: vec![2], ..by_a.clone() }, MayNotRemove { leaf: 2 }),
        (Commit { removes: vec![0], ..by_a.clone() }, WrongLeaf),
        (Commit { removes: vec![9], ..by_a.clone() }, MayNotRemove { leaf: 9 }),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(answer!(world, Commit, op).unwrap_err(), refused, "case {n} of a group");
    }
    assert_eq!(replay(&world, &a, log).await, (1, 0), "a refusal writes nothing");
    answer!(world, Commit, direct).unwrap();
    let by_a = world.by(&a, a.log(&b), 11, 1, Action::Update).await;
    for (op, refused) in [
        (adding(Commit { action: add(&[d]), ..by_a.clone() }, &[d]), NotAdmin),
        (Commit { action: remove(&[b]), removes: vec![1], ..by_a.clone() }, NotAdmin),
    ] {
        assert_eq!(answer!(world, Commit, op).unwrap_err(), refused, "nobody joins or leaves a 1:1 chat");
    }
}

pub(super) async fn c5_what_goes_is_what_was_asked_for<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b, c) = (world.person(1).await, world.person(2).await, world.person(3).await);
    let tablet = world.second_device(&b, 1).await;
    let log = world.group(&a, 1, &[b, c]).await;
    answer!(world, Commit, adding(world.by(&b, log, 2, 1, Action::Update).await, &[tablet])).unwrap();
    let leaves = [world.leaf(&a, log, &b).await, world.leaf(&a, log, &tablet).await];
    let remove = Action::Remove { accounts: vec![b.account] };
    let half = Commit { removes: vec![leaves[0]], ..world.by(&a, log, 3, 2, remove.clone()).await };
    assert_eq!(
        answer!(world, Commit, half).unwrap_err(),
        CommitError::Mismatch,
        "all of an account's leaves"
    );
    let whole = Commit { removes: leaves.to_vec(), ..world.by(&a, log, 4, 2, remove).await };
    let done = answer!(world, Commit, whole).unwrap();
    assert!(done.members.contains(&b.account), "who is removed hears of it");
    let group = world.told(&a, log).await;
    let inside: Vec<_> = group.members.iter().map(|member| member.account).collect();
    assert_eq!(inside, [a.account, c.account]);
    assert!(group.leaves.iter().all(|leaf| leaf.account != b.account));
}

pub(super) async fn leaves_are_given_from_the_left<E: Env>(env: &E) {
    let world = World::open(env).await;
    let people = join_all((1..=7).map(|n| world.person(n))).await;
    let log = world.group(&people[0], 1, &people[1..5]).await;
    let of = |group: wire::event::Group| {
        let leaves = group.leaves.into_iter();
        leaves.map(|leaf| (leaf.leaf, leaf.account.as_bytes()[0])).collect::<Vec<_>>()
    };
    assert_eq!(of(world.told(&people[0], log).await), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]);
    let remove = Action::Remove { accounts: accounts(&[people[1], people[3], people[4]]) };
    let remove = Commit { removes: vec![4, 1, 3], ..world.by(&people[0], log, 2, 1, remove).await };
    answer!(world, Commit, remove).unwrap();
    assert_eq!(of(world.told(&people[0], log).await), [(0, 1), (2, 3)]);
    // The leftmost blank one, then the next, then beyond.
    let joining = [people[6], people[5], people[1]];
    let add = world.by(&people[0], log, 3, 2, Action::Add { accounts: accounts(&joining) }).await;
    answer!(world, Commit, adding(add, &joining)).unwrap();
    assert_eq!(of(world.told(&people[0], log).await), [(0, 1), (1, 7), (2, 3), (3, 6), (4, 2)]);
    // A commit that removes and adds: the leaf that it blanks is taken at once.
    let tablet = world.second_device(&people[2], 1).await;
    let leave = Leave { log, account: people[6].account, client_msg_id: msg(4).client_msg_id, now: T0 };
    answer!(world, Leave, leave).unwrap();
    let update = world.by(&people[0], log, 5, 3, Action::Update).await;
    answer!(world, Commit, adding(Commit { removes: vec![1], ..update }, &[tablet])).unwrap();
    assert_eq!(of(world.told(&people[0], log).await), [(0, 1), (1, 3), (2, 3), (3, 6), (4, 2)]);
}

pub(super) async fn a_commit_larger_than_a_frame_travels_in_parts<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let log = a.log(&b);
    let handshake: Bytes = (0..limits::HANDSHAKE_BYTES_MAX).map(|n| (n / 251) as u8).collect();
    let op = Commit { handshake: handshake.clone(), ..make_direct(&a, &b, 1) };
    let committed = answer!(world, Commit, op).unwrap();
    let told = committed.entry.map(|entry| entry.into_frames().collect::<Vec<_>>());
    world.says(&b, log, sealed(2, 1), T0).await.unwrap();
    let whole = |stored: &StoredEntry| {
        let first = entry(&stored.frame);
        let EntryKind::Commit { parts } = first.what else { panic!("{first:?}") };
        assert_eq!(usize::from(parts), stored.parts.len());
        let mut bytes = first.content.to_vec();
        for (n, frame) in (1..).zip(&stored.parts) {
            assert!(frame.len() <= limits::FRAME_BYTES_MAX);
            match Event::decode(&frame::body_of(frame)) {
                Ok(Event::EntryPart(part)) => {
                    assert_eq!((part.seq, part.part), (first.seq, n));
                    bytes.extend_from_slice(&part.bytes);
                }
                other => panic!("no part: {other:?}"),
            }
        }
        Bytes::from(bytes)
    };
    // From memory and from the store, and within a budget its parts count.
    let known = Some(MemberAsOf { joined: Seq::ZERO, head: Seq::ZERO });
    for member in [known, None] {
        for (bytes_max, found) in [(usize::MAX, 2), (handshake.len(), 1), (1, 1)] {
            let (account, after) = (b.account, Seq::ZERO);
            let op = Tail { log, account, member, after, entries_max: 10, bytes_max };
            let tailed = answer!(world, Tail, op);
            assert_eq!((tailed.entries.len(), tailed.head), (found, Seq(2)), "{member:?} {bytes_max}");
            assert_eq!(whole(&tailed.entries[0]), handshake);
            let frames: Vec<_> = tailed.entries[0].clone().into_frames().collect();
            assert!(told.as_ref().is_none_or(|told| *told == frames), "the bytes that all recipients get");
        }
    }
    for (page, bytes_max, found, has_more) in [
        (Page::Newest, usize::MAX, vec![1, 2], false),
        (Page::Newest, handshake.len(), vec![2], true),
        (Page::After(Seq(0)), handshake.len(), vec![1], true),
    ] {
        let op = History { log, account: a.account, page, limit: 10, bytes_max };
        let history = answer!(world, History, op).unwrap();
        let seqs: Vec<_> = history.entries.iter().map(|stored| stored.seq.0).collect();
        assert_eq!((seqs, history.has_more), (found, has_more), "{page:?}");
    }
    // As much as one commit may have in all.
    let by_a = world.by(&a, log, 3, 1, Action::Update).await;
    let tablet = world.second_device(&b, 1).await;
    let most = limits::COMMIT_BYTES_MAX - limits::HANDSHAKE_BYTES_MAX;
    let mut op = adding(Commit { handshake, ..by_a }, &[tablet]);
    op.tree = Some(Bytes::from(vec![3; most - op.adds[0].welcome.len()]));
    let mut over = op.clone();
    over.adds[0].welcome = [&over.adds[0].welcome[..], b"!"].concat().into();
    assert_eq!(answer!(world, Commit, over).unwrap_err(), CommitError::TooLarge);
    answer!(world, Commit, op).unwrap();
}

pub(super) async fn a_tree_is_kept_for_whom_it_is_and_no_longer<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b, c) = (world.person(1).await, world.person(2).await, world.person(3).await);
    let tree = Bytes::from((0..200_000).map(|n| (n / 251) as u8).collect::<Vec<_>>());
    let first = Commit { tree: Some(tree.clone()), ..create(&a, 1, &[b, c]) };
    let log = first.log;
    answer!(world, Commit, first).unwrap();
    let ask =
        |account: AccountId, device: DeviceId, epoch| Tree { log, account, device, epoch: Epoch(epoch) };
    for who in [b, c] {
        let pieces = answer!(world, Tree, ask(who.account, who.device, 1)).unwrap();
        assert!(pieces.iter().all(|piece| piece.len() <= limits::PART_BYTES_MAX));
        assert_eq!(pieces.concat(), tree);
    }
    for (who, epoch) in [(a, 1), (Person::new(2, 7), 1), (b, 0), (b, 2)] {
        assert_eq!(answer!(world, Tree, ask(who.account, who.device, epoch)), Err(NoTree));
    }
    assert_eq!(world.opened(&b, log).await.unwrap().delivered, Seq(0), "the commit itself is theirs to read");
    // One has come, and the other not yet.
    world.move_cursor(&b, log, (1, 0), T0).await.unwrap();
    answer!(world, Commit, world.by(&a, log, 2, 1, Action::Update).await).unwrap();
    assert!(answer!(world, Tree, ask(c.account, c.device, 1)).is_ok());
    // Both have, or will never come.
    let remove = Action::Remove { accounts: vec![c.account] };
    let leaf = world.leaf(&a, log, &c).await;
    answer!(world, Commit, Commit { removes: vec![leaf], ..world.by(&a, log, 3, 2, remove).await }).unwrap();
    answer!(world, Commit, world.by(&a, log, 4, 3, Action::Update).await).unwrap();
    assert_eq!(answer!(world, Tree, ask(b.account, b.device, 1)), Err(NoTree));
    for key in [keys::tree_needs(log, Epoch(1)), keys::tree_part(log, Epoch(1), 0)] {
        assert_eq!(world.stored(key).await, None);
    }
    assert_eq!(world.told(&a, log).await.chat, chat_of(log));
}
