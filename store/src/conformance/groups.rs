//! Who is in a group: made, joined, removed, left; and what they may read of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use wire::event::{ControlKind, EntryKind};
use wire::{AccountId, Epoch, LogId, MemberRole, Seq, limits};

use super::Env;
use super::group_world::{accounts, adding, chat_of, create, sealed};
use super::world::{Person, T0, World, answer, at, entry, msg};
use crate::keys::{self, OUTBOX_SHARDS};
use crate::op::*;

pub(super) async fn r59_r60_a_group_is_made_with_its_members<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b, c) = (world.person(1).await, world.person(2).await, world.person(3).await);
    let tablet = world.second_device(&a, 1).await;
    let first = adding(create(&a, 1, &[b, c]), &[b, tablet, c]);
    let (log, first) = (first.log, Commit { now: at(3), ..first });
    let made = answer!(world, Commit, first).unwrap();
    assert_eq!((made.seq, made.at, made.epoch), (Seq(1), at(3), Epoch(1)));
    for who in [a, b, c] {
        let group = world.told(&who, log).await;
        let about = group.about.expect("a group has a name");
        assert_eq!((about.name.as_str(), about.description.as_str()), ("Walkers", "on Sundays"));
        assert_eq!((about.created_by, about.created_at), (a.account, at(3)));
        let roles: Vec<_> = group.members.iter().map(|m| (m.account, m.role, m.joined)).collect();
        let member = |who: &Person| (who.account, MemberRole::Member, Seq(0));
        assert_eq!(roles, [(a.account, MemberRole::Admin, Seq(0)), member(&b), member(&c)]);
        let leaves: Vec<_> = group.leaves.iter().map(|leaf| (leaf.leaf, leaf.device, leaf.pending)).collect();
        let devices = [a, b, tablet, c].map(|of| of.device);
        assert_eq!(leaves, (0..).zip(devices).map(|(n, of)| (n, of, false)).collect::<Vec<_>>());
        let page = answer!(world, Chats, Chats { account: who.account, after: None, limit: 10 });
        let [listed] = &page.chats[..] else { panic!("{page:?}") };
        assert_eq!((listed.chat, listed.name.as_deref()), (chat_of(log), Some("Walkers")));
        assert_eq!((listed.peer.is_none(), listed.head, listed.last_at), (true, Seq(1), at(3)));
    }
    let stranger = world.person(4).await;
    let ask = GroupState { chat: chat_of(log), account: stranger.account };
    assert_eq!(answer!(world, GroupState, ask), Err(NotMember));
    // R63: what one says all get, the tick and the receipts as in any chat.
    let said = world.says(&c, log, sealed(5, 1), at(4)).await.unwrap();
    assert_eq!(BTreeSet::from_iter(said.members), BTreeSet::from([a.account, b.account, c.account]));
    world.move_cursor(&b, log, (2, 2), at(5)).await.unwrap();
    let receipts = answer!(world, Receipts, Receipts { log, account: c.account, seq: Seq(2) }).unwrap();
    let of_b = receipts.iter().find(|receipt| receipt.member == b.account).unwrap();
    assert_eq!((receipts.len(), of_b.read_at), (2, Some(at(5))), "R64: per member");
    let of_the_commit = Receipts { log, account: a.account, seq: Seq(1) };
    assert_eq!(answer!(world, Receipts, of_the_commit).unwrap().len(), 2, "a commit is an entry as any");
}

pub(super) async fn r65_r67_admins_add_and_remove<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b, c, d) =
        (world.person(1).await, world.person(2).await, world.person(3).await, world.person(4).await);
    let log = world.group(&a, 1, &[b]).await;
    world.says(&a, log, sealed(2, 1), T0).await.unwrap();
    let add = Action::Add { accounts: accounts(&[c, d]) };
    let add = adding(world.by(&a, log, 3, 1, add).await, &[c, d]);
    let done = answer!(world, Commit, add).unwrap();
    assert_eq!(done.members, accounts(&[a, b, c, d]), "all are told, the new ones too");
    for who in [c, d] {
        let opened = world.opened(&who, log).await.unwrap();
        assert_eq!((opened.floor, opened.delivered, opened.head), (Seq(2), Seq(2), Seq(3)));
        let seqs: Vec<_> = world.tail(&who, log, 0).await.iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, [Seq(3)], "I5: from the commit on, and nothing before it");
        let op = History { log, account: who.account, page: Page::Newest, limit: 10, bytes_max: usize::MAX };
        let history = answer!(world, History, op).unwrap();
        assert_eq!((history.entries.len(), history.has_more), (1, false));
    }
    let told = world.told(&c, log).await;
    assert_eq!(told.members[2].joined, Seq(2));
    let remove = Action::Remove { accounts: vec![c.account] };
    let leaf = world.leaf(&a, log, &c).await;
    let done =
        answer!(world, Commit, Commit { removes: vec![leaf], ..world.by(&a, log, 4, 2, remove).await });
    assert_eq!(done.unwrap().members, accounts(&[a, b, c, d]), "who goes is told, too");
    let said = world.says(&d, log, sealed(5, 3), T0).await.unwrap();
    assert_eq!(said.members, accounts(&[a, b, d]));
}

/// A group of three of which the second is removed: at place 4, after two messages.
async fn removed<E: Env>(world: &World<E>) -> (LogId, [Person; 3]) {
    let people = [world.person(1).await, world.person(2).await, world.person(3).await];
    let [a, b, c] = people;
    let log = world.group(&a, 1, &[b, c]).await;
    for n in [2, 3] {
        world.says(&a, log, sealed(n, 1), at(n)).await.unwrap();
    }
    let leaf = world.leaf(&a, log, &b).await;
    let remove = Action::Remove { accounts: vec![b.account] };
    let remove = world.by(&a, log, 4, 1, remove).await;
    answer!(world, Commit, Commit { removes: vec![leaf], now: at(4), ..remove }).unwrap();
    (log, people)
}

pub(super) async fn i5_who_is_removed_gets_nothing_after<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (log, [a, b, c]) = removed(&world).await;
    for n in 5..9 {
        world.says(&c, log, sealed(n, 2), at(n)).await.unwrap();
    }
    // By a tail that knows nothing, and by those that know of times when it was a member.
    let known = |head| Some(MemberAsOf { joined: Seq(0), head: Seq(head) });
    for (member, after) in [(None, 0), (known(1), 0), (known(3), 3), (known(3), 4), (known(3), 6), (None, 9)]
    {
        let (account, after) = (b.account, Seq(after));
        let op = Tail { log, account, member, after, entries_max: 100, bytes_max: usize::MAX };
        let tailed = answer!(world, Tail, op);
        let seqs: Vec<_> = tailed.entries.iter().map(|stored| stored.seq.0).collect();
        assert_eq!(seqs, (after.0 + 1..=4).collect::<Vec<_>>(), "up to its removal: {member:?}");
        assert_eq!((tailed.head, tailed.member), (Seq(4), None));
    }
    for (page, found, has_more) in [
        (Page::Newest, vec![3, 4], true),
        (Page::Before(Seq(9)), vec![3, 4], true),
        (Page::After(Seq(3)), vec![4], false),
        (Page::After(Seq(4)), vec![], false),
        (Page::After(Seq(7)), vec![], false),
        (Page::Before(Seq(2)), vec![1], false),
    ] {
        let op = History { log, account: b.account, page, limit: 2, bytes_max: usize::MAX };
        let history = answer!(world, History, op).unwrap();
        let seqs: Vec<_> = history.entries.iter().map(|stored| stored.seq.0).collect();
        assert_eq!((seqs, history.has_more), (found, has_more), "{page:?}");
        assert!(history.members.is_empty(), "nor where others are");
    }
    let opened = world.opened(&b, log).await.unwrap();
    assert_eq!((opened.head, opened.last_at, opened.is_member), (Seq(4), at(4), false));
    assert_eq!(opened.member(), None);
    let open = OpenSession { account: b.account, device: b.device, receipts_since: T0 };
    let session = answer!(world, OpenSession, open).unwrap();
    assert_eq!(session.chats, [ChatState { moved: false, ..opened }], "what it has not got is still owed");
    let listed = answer!(world, Chats, Chats { account: b.account, after: None, limit: 9 }).chats.remove(0);
    assert_eq!((listed.head, listed.last_at), (Seq(4), at(4)));
    assert_eq!(world.move_cursor(&b, log, (4, 4), at(9)).await.unwrap().cursor.read, Seq(4));
    assert_eq!(world.move_cursor(&b, log, (5, 0), at(9)).await.unwrap_err(), CursorError::Ahead);
    assert_eq!(world.says(&b, log, sealed(20, 2), at(9)).await.unwrap_err(), AppendError::NotMember);
    let account = b.account;
    assert_eq!(answer!(world, Members, Members { log, account }), Err(NotMember));
    assert_eq!(answer!(world, MemberCursors, MemberCursors { log, account, since: T0 }), Err(NotMember));
    assert_eq!(answer!(world, GroupState, GroupState { chat: chat_of(log), account }), Err(NotMember));
    let receipts = Receipts { log, account, seq: Seq(2) };
    assert_eq!(answer!(world, Receipts, receipts), Err(ReceiptsError::NotMember));
    assert_eq!(answer!(world, Members, Members { log, account: a.account }).unwrap(), accounts(&[a, c]));
    let others = Receipts { log, account: a.account, seq: Seq(2) };
    let others = answer!(world, Receipts, others).unwrap();
    assert_eq!(others.iter().map(|receipt| receipt.member).collect::<Vec<_>>(), [c.account]);
}

pub(super) async fn i5_a_removal_races_with_what_is_said<E: Env>(env: &E) {
    let world = &World::open(env).await;
    let (a, b, c) = (world.person(1).await, world.person(2).await, world.person(3).await);
    let log = world.group(&a, 1, &[b, c]).await;
    let leaf = world.leaf(&a, log, &b).await;
    let remove = Action::Remove { accounts: vec![b.account] };
    let remove = Commit { removes: vec![leaf], ..world.by(&a, log, 2, 1, remove).await };
    let said = join_all((0..30).map(async |n| {
        let epoch = if n % 3 == 0 { 2 } else { 1 };
        world.says(if n % 2 == 0 { &a } else { &c }, log, sealed(100 + n, epoch), T0).await
    }));
    // All the while it reads, by what it last heard of its membership.
    let reads = async {
        let (mut member, mut after, mut last) = (None, Seq::ZERO, Seq::ZERO);
        for _ in 0..40 {
            let account = b.account;
            let op = Tail { log, account, member, after, entries_max: 3, bytes_max: usize::MAX };
            let tailed = answer!(world, Tail, op);
            after = tailed.entries.last().map_or(after, |stored| stored.seq);
            (member, last) = (tailed.member, last.max(tailed.head).max(after));
        }
        last
    };
    let removal = async { answer!(world, Commit, remove).unwrap() };
    let ((said, last), removal) = join(join(said, reads), removal).await;
    assert!(last <= removal.seq, "I5: nothing after the removal, and not how much there is");
    for appended in said.into_iter().flatten() {
        let epoch = entry_epoch(world, &a, log, appended.seq).await;
        assert_eq!(appended.seq > removal.seq, epoch == Epoch(2), "I6: each in its epoch");
        if !appended.repeat {
            let told = appended.members.contains(&b.account);
            assert!(!told || appended.seq < removal.seq, "nobody is hinted who is gone");
        }
    }
    let all = world.tail(&b, log, 0).await;
    assert_eq!(all.last().unwrap().seq, removal.seq);
}

async fn entry_epoch<E: Env>(world: &World<E>, who: &Person, log: LogId, seq: Seq) -> Epoch {
    world.tail(who, log, seq.0 - 1).await[0].epoch
}

pub(super) async fn c39_who_comes_back_has_one_membership<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (log, [a, b, _]) = removed(&world).await;
    world.says(&a, log, sealed(5, 2), at(5)).await.unwrap();
    let add = Action::Add { accounts: vec![b.account] };
    let add = adding(world.by(&a, log, 6, 2, add).await, &[b]);
    assert_eq!(answer!(world, Commit, add).unwrap().seq, Seq(6));
    world.says(&b, log, sealed(7, 3), at(7)).await.unwrap();
    let members = world.told(&b, log).await.members;
    let own: Vec<_> = members.iter().filter(|member| member.account == b.account).collect();
    assert_eq!((own.len(), own[0].joined, own[0].role), (1, Seq(5), MemberRole::Member));
    // What it may read begins anew, by whatever it remembers of the time before.
    for member in [None, Some(MemberAsOf { joined: Seq(0), head: Seq(3) })] {
        let (account, after) = (b.account, Seq(0));
        let op = Tail { log, account, member, after, entries_max: 100, bytes_max: usize::MAX };
        let tailed = answer!(world, Tail, op);
        let seqs: Vec<_> = tailed.entries.iter().map(|stored| stored.seq.0).collect();
        assert_eq!((seqs, tailed.head), (vec![6, 7], Seq(7)), "I5: not what was said while it was away");
        assert_eq!(tailed.member, Some(MemberAsOf { joined: Seq(5), head: Seq(7) }));
    }
    let opened = world.opened(&b, log).await.unwrap();
    assert_eq!((opened.floor, opened.head, opened.is_member), (Seq(5), Seq(7), true));
    assert!(opened.delivered >= Seq(5));
    // And again.
    answer!(world, Leave, leave(log, &b, 8)).unwrap();
    let opened = world.opened(&b, log).await.unwrap();
    assert_eq!((opened.floor, opened.head, opened.is_member), (Seq(5), Seq(8), false));
}

fn leave(log: LogId, who: &Person, n: u64) -> Leave {
    Leave { log, account: who.account, client_msg_id: msg(n).client_msg_id, now: at(n) }
}

pub(super) async fn g16_the_last_admin_s_heir_and_the_last_member<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b, c) = (world.person(1).await, world.person(2).await, world.person(3).await);
    let log = world.group(&b, 1, &[c]).await;
    let add = Action::Add { accounts: vec![a.account] };
    answer!(world, Commit, adding(world.by(&b, log, 2, 1, add).await, &[a])).unwrap();
    let roles = async |who: &Person| {
        let members = world.told(who, log).await.members;
        members.into_iter().map(|member| (member.account, member.role)).collect::<Vec<_>>()
    };
    assert_eq!(answer!(world, Leave, leave(log, &b, 3)).unwrap().seq, Seq(3));
    assert_eq!(
        roles(&a).await,
        [(a.account, MemberRole::Member), (c.account, MemberRole::Admin)],
        "who joined first, not who is first by id"
    );
    let told = world.tail(&a, log, 2).await.remove(0);
    let EntryKind::Control(control) = told.what else { panic!("{told:?}") };
    assert_eq!(
        (control.kind, control.account, control.admin),
        (ControlKind::Left, b.account, Some(c.account))
    );
    // Who is no admin leaves, and nobody inherits.
    answer!(world, Leave, leave(log, &a, 4)).unwrap();
    let told = world.tail(&c, log, 3).await.remove(0);
    let EntryKind::Control(control) = told.what else { panic!("{told:?}") };
    assert_eq!((control.account, control.admin), (a.account, None));
    answer!(world, Leave, leave(log, &c, 5)).unwrap();
    let group = world.stored(keys::group(log)).await.expect("it was there");
    let group: crate::record::Group = crate::record::Record::decode(&group).unwrap();
    assert!(group.closed, "nobody is left");
    assert_eq!(world.stored(keys::leaf(log, 0)).await, None);
    for who in [a, b, c] {
        assert_eq!(world.says(&who, log, sealed(6, 2), at(6)).await.unwrap_err(), AppendError::NotMember);
        assert!(!world.opened(&who, log).await.unwrap().is_member);
    }
    let again = answer!(world, Leave, leave(log, &c, 5)).unwrap();
    assert_eq!((again.seq, again.at), (Seq(5), at(5)), "I3");
    assert_eq!(answer!(world, Leave, leave(log, &c, 7)).unwrap_err(), LeaveError::NotMember);
    world.send(&a, &b, 8, at(8)).await;
    assert_eq!(answer!(world, Leave, leave(a.log(&b), &a, 9)).unwrap_err(), LeaveError::Direct);
}

pub(super) async fn g16_who_leaves_is_removed_by_the_next_commit<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b, c) = (world.person(1).await, world.person(2).await, world.person(3).await);
    let tablet = world.second_device(&b, 1).await;
    let log = adding(create(&a, 1, &[b, c]), &[b, tablet, c]);
    let log = {
        let of = log.log;
        answer!(world, Commit, log).unwrap();
        of
    };
    let first = answer!(world, Leave, leave(log, &b, 2)).unwrap();
    assert_eq!((first.seq, first.at), (Seq(2), at(2)));
    let again = answer!(world, Leave, Leave { now: at(50), ..leave(log, &b, 2) }).unwrap();
    assert_eq!((again.seq, again.at), (first.seq, first.at), "I3");
    assert_eq!(world.tail(&b, log, 0).await.last().unwrap().seq, Seq(2), "its leaving is the last it reads");
    // Delivery has ended, and nothing is said before its devices are gone from the group.
    for (message, who) in [(sealed(3, 1), a), (sealed(4, 2), c)] {
        assert_eq!(world.says(&who, log, message, at(3)).await.unwrap_err(), AppendError::CommitFirst);
    }
    let group = world.told(&a, log).await;
    assert!(group.commit_first);
    let pending: Vec<_> = group.leaves.iter().filter(|leaf| leaf.pending).map(|leaf| leaf.leaf).collect();
    assert_eq!(pending, [1, 2]);
    let update = world.by(&c, log, 5, 1, Action::Update).await;
    for (removes, stays) in [(vec![], 1), (vec![1], 2), (vec![2], 1)] {
        let half = Commit { removes, ..update.clone() };
        assert_eq!(answer!(world, Commit, half).unwrap_err(), CommitError::PendingStays { leaf: stays });
    }
    let by_the_gone = Commit { leaf: Some(1), sender: b.account, device: b.device, ..update.clone() };
    assert_eq!(answer!(world, Commit, by_the_gone).unwrap_err(), CommitError::NotMember);
    let done = answer!(world, Commit, Commit { removes: vec![1, 2], ..update }).unwrap();
    assert_eq!(done.members, accounts(&[a, c]));
    let group = world.told(&a, log).await;
    assert!(!group.commit_first && group.leaves.len() == 2);
    let said = world.says(&a, log, sealed(3, 2), at(6)).await.unwrap();
    assert_eq!((said.seq, said.members), (Seq(4), accounts(&[a, c])));
}

pub(super) async fn g6_a_device_that_ends_is_removed_by_the_next_commit<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let tablet = world.second_device(&b, 1).await;
    let log = world.group(&a, 1, &[b]).await;
    answer!(world, Commit, adding(world.by(&b, log, 2, 1, Action::Update).await, &[tablet])).unwrap();
    world.send(&b, &a, 9, T0).await;
    let revoke = RevokeDevice { account: b.account, device: tablet.device, now: at(3) };
    answer!(world, RevokeDevice, revoke.clone()).unwrap();
    assert_ended(&world, log, &b, &tablet).await;
    let again = answer!(world, RevokeDevice, revoke).unwrap();
    assert!(again.told.is_empty(), "it is told once");
    assert_eq!(world.tail(&b, log, 0).await.len(), 3);
    assert_eq!(world.tail(&b, b.log(&a), 0).await.len(), 1, "a chat without a group is told nothing");
    // It is not current: nobody can add it, or commit with it.
    let leaf = world.leaf(&b, log, &tablet).await;
    let update = world.by(&b, log, 4, 2, Action::Update).await;
    let back = adding(Commit { removes: vec![leaf], ..update.clone() }, &[tablet]);
    assert_eq!(
        answer!(world, Commit, back).unwrap_err(),
        CommitError::DeviceInvalid { device: tablet.device }
    );
    let own = Commit { device: tablet.device, leaf: Some(leaf), ..update.clone() };
    assert!(answer!(world, Commit, own).is_err());
    answer!(world, Commit, Commit { removes: vec![leaf], ..update }).unwrap();
    world.says(&b, log, sealed(5, 3), at(5)).await.unwrap();
    assert_eq!(world.told(&b, log).await.leaves.len(), 2);
}

/// A device has ended, which its group was told at place 3.
async fn assert_ended<E: Env>(world: &World<E>, log: LogId, owner: &Person, ended: &Person) {
    let told = world.tail(owner, log, 2).await.remove(0);
    let EntryKind::Control(control) = told.what else { panic!("{told:?}") };
    assert_eq!((control.kind, control.account), (ControlKind::DeviceEnded, owner.account));
    assert_eq!((control.device, told.epoch), (Some(ended.device), Epoch(2)));
    let group = world.told(owner, log).await;
    assert!(group.commit_first && group.members.len() == 2, "its account stays");
    let pending: Vec<_> = group.leaves.iter().filter(|leaf| leaf.pending).map(|leaf| leaf.device).collect();
    assert_eq!(pending, [ended.device]);
    assert_eq!(world.says(owner, log, sealed(70, 2), at(4)).await.unwrap_err(), AppendError::CommitFirst);
    let receipts = Receipts { log, account: owner.account, seq: Seq(3) };
    assert!(answer!(world, Receipts, receipts).is_ok(), "such an entry is one as any");
}

pub(super) async fn g6_an_interrupted_end_of_a_device_is_completed<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let tablet = world.second_device(&b, 1).await;
    let log = world.group(&a, 1, &[b]).await;
    answer!(world, Commit, adding(world.by(&b, log, 2, 1, Action::Update).await, &[tablet])).unwrap();
    let sweep = async |due| {
        for shard in 0..OUTBOX_SHARDS {
            let swept = answer!(world, Sweep, Sweep { shard, due, limit: 100 });
            answer!(world, ClearOutbox, ClearOutbox { keys: swept.keys });
        }
    };
    sweep(at(2)).await;
    // The node dies right after the device has ended.
    let revoke = RevokeDevice { account: b.account, device: tablet.device, now: at(3) };
    world.store.run(&revoke).await.unwrap().unwrap();
    assert!(!world.told(&a, log).await.commit_first);
    sweep(at(3)).await;
    assert!(!world.told(&a, log).await.commit_first, "it is not due");
    sweep(at(4)).await;
    assert_ended(&world, log, &b, &tablet).await;
    let left = keys::former(LogId::Device(tablet.device), b.account);
    assert_eq!(world.stored(left).await, None, "that is all");
    sweep(at(9)).await;
    assert_eq!(world.tail(&b, log, 0).await.len(), 3);
}

pub(super) async fn r125_a_group_of_256_accounts_is_built_by_commits<E: Env>(env: &E) {
    const ACCOUNTS: u16 = limits::GROUP_ACCOUNTS_MAX as u16;
    let world = &World::open(env).await;
    let mut people = Vec::new();
    for some in (0..=ACCOUNTS).collect::<Vec<_>>().chunks(64) {
        people.extend(join_all(some.iter().map(|n| world.person(*n))).await);
    }
    let (creator, others) = (people[0], &people[1..usize::from(ACCOUNTS)]);
    let one_more = people[usize::from(ACCOUNTS)];
    let mut lots = others.chunks(limits::COMMIT_ADDS_MAX);
    let large = |commit: Commit, leaves: usize| sized(commit, leaves);
    let mut leaves = 1 + limits::COMMIT_ADDS_MAX;
    let first = large(create(&creator, 1, lots.next().unwrap()), leaves);
    let log = first.log;
    answer!(world, Commit, first).unwrap();
    for (n, lot) in (1..).zip(lots) {
        leaves += lot.len();
        let add = Action::Add { accounts: accounts(lot) };
        let add = adding(world.by(&creator, log, 10 + n, n, add).await, lot);
        let done = answer!(world, Commit, large(add, leaves)).unwrap();
        assert_eq!((done.epoch, done.members.len()), (Epoch(n + 1), leaves));
    }
    let group = world.told(&creator, log).await;
    assert_eq!((group.members.len(), group.leaves.len()), (usize::from(ACCOUNTS), usize::from(ACCOUNTS)));
    assert!(group.leaves.iter().zip(0..).all(|(leaf, n)| leaf.leaf == n));
    let epoch = group.epoch.0;
    assert!(wire::Event::Group(group).encode().len() <= limits::FRAME_BYTES_MAX);
    let add = Action::Add { accounts: vec![one_more.account] };
    let add = adding(world.by(&creator, log, 90, epoch, add).await, &[one_more]);
    assert_eq!(answer!(world, Commit, add).unwrap_err(), CommitError::Full);
    // The last who was added speaks, and everybody is told.
    let last = people[usize::from(ACCOUNTS) - 1];
    let said = world.says(&last, log, sealed(91, epoch), at(1)).await.unwrap();
    assert_eq!(said.members.iter().collect::<BTreeSet<&AccountId>>().len(), usize::from(ACCOUNTS));
    assert_eq!(entry(&said.frame).epoch, Epoch(epoch));
}

/// Bytes as a real commit of as many leaves has them, its tree and its welcomes.
fn sized(commit: Commit, leaves: usize) -> Commit {
    let bytes = |n: usize| Bytes::from(vec![9; n]);
    let adds = commit.adds.into_iter().map(|add| NewLeaf { welcome: bytes(1100), ..add });
    let adds: Vec<_> = adds.collect();
    Commit { handshake: bytes(500 * adds.len()), tree: Some(bytes(200 * leaves)), adds, ..commit }
}
