//! Appends, cursors, receipts, history, sweeps.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use wire::{LogId, Seq};

use super::Env;
use super::world::{Person, T0, World, answer, at, entry, msg};
use crate::keys::{self, OUTBOX_SHARDS, outbox_shard};
use crate::op::*;
use crate::run::{Attempt, Body, OpError};
use crate::tx::Tx;

pub(super) async fn i2_concurrent_appends_are_dense_and_in_order<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let send = |n: u64| {
        let (from, to) = if n.is_multiple_of(2) { (a, b) } else { (b, a) };
        let op = world.append(&from, &to, vec![msg(10 * n), msg(10 * n + 1), msg(10 * n + 2)], T0);
        let world = &world;
        async move { answer!(world, Append, op) }
    };
    let results = join_all((0..40).map(send)).await;
    let mut places = BTreeSet::new();
    for (n, results) in (0..).zip(results) {
        let seqs: Vec<_> = results.iter().map(|result| result.as_ref().unwrap().seq).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b), "one device's messages keep their order");
        places.extend(seqs.into_iter().zip(10 * n..));
    }
    let entries = world.tail(&a, a.log(&b), 0).await;
    let stored: Vec<_> = entries.iter().map(|e| (e.seq, msg_number(&e.content))).collect();
    assert_eq!(stored.iter().map(|(seq, _)| seq.0).collect::<Vec<_>>(), (1..=120).collect::<Vec<_>>());
    assert_eq!(stored, places.into_iter().collect::<Vec<_>>(), "each is where it was said to be");
}

fn msg_number(content: &Bytes) -> u64 {
    std::str::from_utf8(content).unwrap().strip_prefix("content ").unwrap().parse().unwrap()
}

pub(super) async fn i3_a_repeat_returns_the_first_place<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let first = world.send(&a, &b, 7, at(1)).await;
    assert!(!first.repeat && first.frame == world_frame(&world, &a, a.log(&b), 1).await);
    world.send(&b, &a, 7, at(2)).await;
    let again = world.append(&a, &b, vec![msg(7), msg(8), msg(8), msg(7)], at(9));
    let results: Vec<_> = answer!(world, Append, again).into_iter().map(Result::unwrap).collect();
    let places: Vec<_> = results.iter().map(|r| (r.seq.0, r.at)).collect();
    assert_eq!(places, [(1, at(1)), (3, at(9)), (3, at(9)), (1, at(1))]);
    let other_device = world.second_device(&a, 1).await;
    assert_eq!(world.send(&other_device, &a_peer(&b), 7, at(10)).await.seq, Seq(1), "an outbox may move");
    let many = join_all((0..20).map(|_| world.send(&a, &b, 9, at(11)))).await;
    assert!(many.iter().all(|sent| sent.seq == Seq(4)), "{many:?}");
    assert_eq!(world.tail(&a, a.log(&b), 0).await.len(), 4);
}

fn a_peer(person: &Person) -> Person {
    *person
}

async fn world_frame<E: Env>(world: &World<E>, who: &Person, log: LogId, seq: u64) -> Bytes {
    let (account, after) = (who.account, Seq(seq - 1));
    let op = Tail { log, account, member: None, after, entries_max: 1, bytes_max: usize::MAX };
    answer!(world, Tail, op).entries.pop().unwrap().frame
}

/// Clears keys behind the ops' backs.
struct Clear(Vec<Bytes>);

impl Body for Clear {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<(), OpError> {
        self.0.iter().for_each(|key| tx.clear(key.clone()));
        Ok(())
    }
}

pub(super) async fn i3_a_repeat_outlives_membership<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    world.send(&a, &b, 1, at(1)).await;
    world.store.run(&Clear(vec![keys::member(a.log(&b), a.account)])).await.unwrap();
    let again = Append { peer: None, ..world.append(&a, &b, vec![msg(1), msg(2)], at(2)) };
    let results = answer!(world, Append, again);
    assert_eq!(results[0].as_ref().map(|r| (r.seq, r.at)), Ok((Seq(1), at(1))));
    assert_eq!(results[1].as_ref().unwrap_err(), &AppendError::NotMember);
}

pub(super) async fn r38_strangers_are_refused<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let nobody = Person::new(9, 0);
    for (op, refused) in [
        (world.append(&a, &nobody, vec![msg(1)], T0), AppendError::RecipientUnknown),
        (world.append(&nobody, &a, vec![msg(1)], T0), AppendError::NotMember),
        (Append { peer: None, ..world.append(&a, &b, vec![msg(1)], T0) }, AppendError::NotMember),
        (
            Append { log: LogId::Device(b.device), ..world.append(&a, &b, vec![msg(1)], T0) },
            AppendError::NotMember,
        ),
    ] {
        let log = op.log;
        assert_eq!(answer!(world, Append, op).pop().unwrap().unwrap_err(), refused);
        assert_eq!(world.stored(keys::head(log)).await, None, "a refusal writes nothing");
    }
    world.send(&a, &b, 1, T0).await;
    let intruder = Append {
        peer: None,
        sender: world.person(3).await.account,
        ..world.append(&a, &b, vec![msg(2)], T0)
    };
    assert_eq!(answer!(world, Append, intruder).pop().unwrap().unwrap_err(), AppendError::NotMember);
    assert_eq!(world.tail(&a, a.log(&b), 0).await.len(), 1);
}

pub(super) async fn the_first_append_makes_the_chat_for_both<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    // Both begin at once.
    let both = join_all([world.send(&a, &b, 1, T0), world.send(&b, &a, 2, T0)]).await;
    for sent in &both {
        let members: BTreeSet<_> = sent.members.iter().copied().collect();
        assert_eq!(
            members,
            BTreeSet::from([a.account, b.account]),
            "the sender's other devices are told too"
        );
    }
    for (who, peer) in [(a, b), (b, a)] {
        let op = OpenChat { account: who.account, device: who.device, chat: a.chat(&b) };
        let state = answer!(world, OpenChat, op).unwrap();
        assert_eq!((state.peer, state.head, state.delivered), (Some(peer.account), Seq(2), Seq(0)));
    }
    let note = world.send(&a, &a, 3, T0).await;
    assert_eq!((note.seq, note.members), (Seq(1), vec![a.account]), "a chat with oneself has one member");
}

pub(super) async fn time_in_a_log_never_goes_back<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    for (n, now, stored) in [(1, at(10), at(10)), (2, at(5), at(10)), (3, at(11), at(11))] {
        let sent = world.send(&a, &b, n, now).await;
        assert_eq!((sent.at, entry(&sent.frame).at), (stored, stored));
    }
}

pub(super) async fn a_full_batch_commits<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let big = |n| Message { content: Bytes::from(vec![n as u8; 65_535]), ..msg(n) };
    let small = |n| Message { content: Bytes::from(vec![n as u8; 8_000]), ..msg(n) };
    let ops = [
        world.append(&a, &b, (0..8).map(big).collect(), T0),
        world.append(&b, &a, (0..64).map(small).collect(), T0),
        world.append(&a, &b, (100..108).map(big).collect(), T0),
        world.append(&a, &b, (200..264).map(msg).collect(), T0),
    ];
    let results = join_all(ops.map(|op| async { answer!(world, Append, op) })).await;
    assert!(results.iter().flatten().all(Result::is_ok));
    assert_eq!(world.tail(&a, a.log(&b), 0).await.len(), 8 + 64 + 8 + 64);
}

pub(super) async fn i4_cursors_only_advance<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    for n in 1..=5 {
        world.send(&a, &b, n, T0).await;
    }
    for (second, asked, cursors, moved) in [
        (1, (2, 0), (2, at(1), 0, 0), true),
        (2, (1, 0), (2, at(1), 0, 0), false),
        (3, (0, 3), (3, at(3), 3, 3), true),
        (4, (5, 2), (5, at(4), 3, 3), true),
        (5, (5, 3), (5, at(4), 3, 3), false),
        (6, (4, 5), (5, at(4), 5, 6), true),
    ] {
        let moved_to = world.move_cursor(&b, a.log(&b), asked, at(second)).await.unwrap();
        let cursor = moved_to.cursor;
        let (delivered, delivered_at, read, read_second) = cursors;
        assert_eq!((cursor.delivered.0, cursor.delivered_at, cursor.read.0), (delivered, delivered_at, read));
        assert_eq!(cursor.read_at, if read_second == 0 { Default::default() } else { at(read_second) });
        assert!(
            moved_to.moved || !moved,
            "step {second}: after a lost answer a move is told again, never not at all"
        );
        assert_eq!(moved_to.members.len(), if moved_to.moved { 2 } else { 0 });
    }
    let again = MoveCursor { in_doubt: true, ..cursor(&b, a.log(&b), 5, at(7)) };
    let told = answer!(world, MoveCursor, again).unwrap();
    assert!(told.moved && told.members.len() == 2, "what may have been done unheard of is told");
}

/// Where a device is in its chat with somebody.
async fn device_at<E: Env>(world: &World<E>, who: &Person, other: &Person) -> Seq {
    let op = OpenChat { account: who.account, device: who.device, chat: who.chat(other) };
    answer!(world, OpenChat, op).unwrap().delivered
}

pub(super) async fn i4_a_device_s_cursor_moves_over_its_own_messages<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let log = a.log(&b);
    let first = world.send(&a, &b, 1, T0).await;
    assert_eq!(first.delivered, Seq(0), "a device without a cursor is shown where the chat begins");
    let told = world.move_cursor(&a, log, (1, 0), at(1)).await.unwrap().cursor;
    assert_eq!(world.send(&a, &b, 2, T0).await.delivered, Seq(2), "its cursor was right before it");
    assert_eq!(device_at(&world, &a, &b).await, Seq(2));

    let tablet = world.second_device(&a, 1).await;
    world.send(&b, &a, 3, T0).await;
    assert_eq!(world.send(&a, &b, 4, T0).await.delivered, Seq(2), "another's entry lies between");
    assert_eq!(world.send(&a, &b, 4, T0).await.delivered, Seq(2), "nor does a repeat move it");
    assert_eq!(device_at(&world, &tablet, &a_peer(&b)).await, Seq(2), "another device's never moves");
    world.move_cursor(&a, log, (4, 0), at(2)).await.unwrap();
    assert_eq!(world.send(&a, &b, 5, T0).await.delivered, Seq(5));
    assert_eq!(world.send(&a, &b, 4, T0).await.delivered, Seq(5), "a repeat says where it is now");

    // What the person has got of others did not change, and nobody is told of anything.
    let op = MemberCursors { log, account: b.account, since: T0 };
    let cursors = answer!(world, MemberCursors, op).unwrap();
    assert_eq!(cursors.len(), 1);
    assert_eq!((cursors[0].member, cursors[0].delivered, cursors[0].read), (a.account, Seq(4), told.read));
    let stranger = Append {
        peer: None,
        sender: world.person(3).await.account,
        ..world.append(&a, &b, vec![msg(6)], T0)
    };
    assert!(answer!(world, Append, stranger).pop().unwrap().is_err());
    assert_eq!(device_at(&world, &a, &b).await, Seq(5), "a refusal moves nothing");
}

pub(super) async fn i4_a_burst_of_own_messages_moves_along<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let log = a.log(&b);
    world.send(&a, &b, 1, T0).await;
    world.move_cursor(&a, log, (1, 0), T0).await.unwrap();
    let results = answer!(world, Append, world.append(&a, &b, (2..=40).map(msg).collect(), T0));
    for result in results {
        let appended = result.unwrap();
        assert!(appended.delivered >= appended.seq, "{appended:?}");
    }
    // Several requests that commit together: each goes on where the one before it ended.
    let bursts = (0..8).map(|n| {
        let op = world.append(&a, &b, (100 * n + 100..100 * n + 104).map(msg).collect(), T0);
        let world = &world;
        async move { answer!(world, Append, op) }
    });
    for result in join_all(bursts).await.into_iter().flatten() {
        let appended = result.unwrap();
        assert!(appended.delivered >= appended.seq, "{appended:?}");
    }
    assert_eq!(device_at(&world, &a, &b).await, Seq(72));
    // Two who speak at once: whose cursor another's entry interrupts stays where it is.
    world.move_cursor(&b, log, (72, 0), T0).await.unwrap();
    let both = (0..20).map(|n| {
        let (from, to) = if n % 2 == 0 { (a, b) } else { (b, a) };
        let op = world.append(&from, &to, vec![msg(2000 + n)], T0);
        let world = &world;
        async move { answer!(world, Append, op) }
    });
    let results: Vec<_> = join_all(both).await.into_iter().flatten().map(Result::unwrap).collect();
    let entries = world.tail(&a, log, 72).await;
    for who in [a, b] {
        let own = entries.iter().take_while(|entry| entry.device == who.device).count() as u64;
        assert_eq!(device_at(&world, &who, if who == a { &b } else { &a }).await, Seq(72 + own));
    }
    assert_eq!((entries.len(), results.len()), (20, 20));
}

pub(super) async fn c44_cursors_are_members_and_within_the_log<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b, c) = (world.person(1).await, world.person(2).await, world.person(3).await);
    world.send(&a, &b, 1, T0).await;
    let log = a.log(&b);
    assert_eq!(world.move_cursor(&b, log, (2, 0), T0).await.unwrap_err(), CursorError::Ahead);
    assert_eq!(world.move_cursor(&b, log, (1, 2), T0).await.unwrap_err(), CursorError::Ahead);
    assert_eq!(world.move_cursor(&c, log, (1, 0), T0).await.unwrap_err(), CursorError::NotMember);
    let op = MemberCursors { log, account: a.account, since: T0 };
    assert!(answer!(world, MemberCursors, op).unwrap().is_empty(), "nothing moved");
    let op = MemberCursors { log, account: c.account, since: T0 };
    assert_eq!(answer!(world, MemberCursors, op), Err(NotMember));
    let members = |who: &Person| Members { log, account: who.account };
    let mut both = [a.account, b.account];
    both.sort_unstable();
    assert_eq!(answer!(world, Members, members(&b)).unwrap(), both, "I5: told to members");
    assert_eq!(answer!(world, Members, members(&c)), Err(NotMember), "I5: and to nobody else");
}

pub(super) async fn c15_receipts_are_exact<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let log = a.log(&b);
    for n in 1..=30 {
        world.send(&a, &b, n, at(n)).await;
        if n % 3 == 0 {
            world.move_cursor(&b, log, (n, 0), at(100 + n)).await.unwrap();
        }
    }
    for (second, read) in [(201, 10), (202, 25)] {
        world.move_cursor(&b, log, (0, read), at(second)).await.unwrap();
    }
    world.send(&a, &b, 31, at(300)).await;
    for seq in 1..=31_u64 {
        let op = Receipts { log, account: a.account, seq: Seq(seq) };
        let receipts = answer!(world, Receipts, op).unwrap();
        let delivered_at = (seq <= 30).then(|| at(100 + seq.next_multiple_of(3)));
        let read_at = match seq {
            1..=10 => Some(at(201)),
            11..=25 => Some(at(202)),
            _ => None,
        };
        assert_eq!(receipts, [Receipt { member: b.account, delivered_at, read_at }], "entry {seq}");
    }
    let ask = |account, seq| Receipts { log, account, seq: Seq(seq) };
    assert_eq!(answer!(world, Receipts, ask(a.account, 32)), Err(ReceiptsError::NoEntry));
    assert_eq!(answer!(world, Receipts, ask(Person::new(9, 0).account, 1)), Err(ReceiptsError::NotMember));
}

pub(super) async fn c43_the_furthest_device_counts<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let tablet = world.second_device(&b, 1).await;
    for n in 1..=4 {
        world.send(&a, &b, n, T0).await;
    }
    let log = a.log(&b);
    world.move_cursor(&tablet, log, (3, 0), at(1)).await.unwrap();
    let behind = world.move_cursor(&b, log, (2, 0), at(2)).await.unwrap();
    assert_eq!((behind.cursor.delivered, behind.cursor.delivered_at), (Seq(3), at(1)));
    for (device, delivered) in [(b, 2), (tablet, 3)] {
        let op = OpenChat { account: b.account, device: device.device, chat: a.chat(&b) };
        assert_eq!(
            answer!(world, OpenChat, op).unwrap().delivered,
            Seq(delivered),
            "each device has its own"
        );
    }
    let op = MemberCursors { log, account: a.account, since: at(1) };
    assert_eq!(answer!(world, MemberCursors, op).unwrap(), [behind.cursor]);
    // Read on one device: so the person has it, and the other device still has not.
    let read = world.move_cursor(&b, log, (2, 4), at(1)).await.unwrap().cursor;
    assert_eq!((read.delivered, read.read), (Seq(4), Seq(4)), "READ implies DELIVERED");
    let op = OpenChat { account: b.account, device: b.device, chat: a.chat(&b) };
    assert_eq!(answer!(world, OpenChat, op).unwrap().delivered, Seq(2), "nothing is left out for it");
    let op = MemberCursors { log, account: a.account, since: at(2) };
    assert!(answer!(world, MemberCursors, op).unwrap().is_empty());
}

pub(super) async fn one_result_per_request<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b, c) = (world.person(1).await, world.person(2).await, world.person(3).await);
    world.send(&a, &b, 0, T0).await;
    let log = a.log(&b);
    let ops = (1..=60_u64).map(|n| match n % 4 {
        0 => Op::Append(world.append(&a, &b, vec![msg(n), msg(n)], at(n))),
        1 => {
            Op::Append(Append { peer: None, sender: c.account, ..world.append(&a, &b, vec![msg(n)], at(n)) })
        }
        2 => Op::MoveCursor(cursor(&b, log, 1, at(n))),
        _ => Op::MoveCursor(cursor(&c, log, 1, at(n))),
    });
    let outputs = join_all(ops.map(|op| world.execute(op))).await;
    for (n, output) in (1..).zip(outputs) {
        match (n % 4, output) {
            (0, OpOutput::Append(results)) => {
                let [first, second] = &results[..] else { panic!("one result per message: {results:?}") };
                assert_eq!(first.as_ref().unwrap().seq, second.as_ref().unwrap().seq);
            }
            (1, OpOutput::Append(results)) => {
                assert_eq!(results[0].as_ref().unwrap_err(), &AppendError::NotMember)
            }
            (2, OpOutput::MoveCursor(moved)) => assert_eq!(moved.unwrap().cursor.delivered, Seq(1)),
            (3, OpOutput::MoveCursor(moved)) => assert_eq!(moved.unwrap_err(), CursorError::NotMember),
            (_, other) => panic!("request {n} got {other:?}"),
        }
    }
    assert_eq!(world.tail(&a, log, 0).await.len(), 16);
}

fn cursor(who: &Person, log: LogId, delivered: u64, now: wire::WallTime) -> MoveCursor {
    MoveCursor {
        log,
        account: who.account,
        device: who.device,
        delivered: Seq(delivered),
        read: Seq(0),
        in_doubt: false,
        now,
    }
}

pub(super) async fn r47_history_is_paged_for_members<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    for n in 1..=10 {
        world.send(&a, &b, n, T0).await;
    }
    world.move_cursor(&b, a.log(&b), (4, 0), at(1)).await.unwrap();
    let ask = |page, limit, bytes_max| History { log: a.log(&b), account: b.account, page, limit, bytes_max };
    for (page, limit, bytes_max, found, has_more) in [
        (Page::Newest, 4, usize::MAX, 7..=10, true),
        (Page::Newest, 10, usize::MAX, 1..=10, false),
        (Page::Before(Seq(7)), 4, usize::MAX, 3..=6, true),
        (Page::Before(Seq(3)), 4, usize::MAX, 1..=2, false),
        (Page::After(Seq(2)), 3, usize::MAX, 3..=5, true),
        (Page::After(Seq(8)), 3, usize::MAX, 9..=10, false),
        (Page::After(Seq(0)), 100, 1, 1..=1, true),
        (Page::Newest, 100, 1, 10..=10, true),
    ] {
        let history = answer!(world, History, ask(page, limit, bytes_max)).unwrap();
        let seqs: Vec<_> = history.entries.iter().map(|stored| entry(&stored.frame).seq.0).collect();
        assert_eq!((seqs, history.has_more), (found.collect(), has_more), "{page:?} {limit}");
        assert_eq!(
            history.members.iter().map(|m| (m.member, m.delivered)).collect::<Vec<_>>(),
            [(b.account, Seq(4))]
        );
    }
    let empty = answer!(world, History, ask(Page::After(Seq(10)), 5, usize::MAX)).unwrap();
    assert!(empty.entries.is_empty() && !empty.has_more);
    let stranger = History { account: Person::new(9, 0).account, ..ask(Page::Newest, 1, 1) };
    assert_eq!(answer!(world, History, stranger).unwrap_err(), NotMember);
}

pub(super) async fn tails_are_bounded_and_whole<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    for n in 1..=150 {
        world.send(&a, &b, n, T0).await;
    }
    let log = a.log(&b);
    let member = Some(MemberAsOf { joined: Seq::ZERO, head: Seq::ZERO });
    let ask = |after, entries_max, bytes_max| {
        let account = b.account;
        Tail { log, account, member, after: Seq(after), entries_max, bytes_max }
    };
    for (after, entries_max, bytes_max, found) in [
        (0, 10, usize::MAX, 1..=10),
        (45, 10, usize::MAX, 46..=55),
        (140, 100, usize::MAX, 141..=150),
        (100, 100, 1, 101..=101),
        (2, 100, 1, 3..=3),
    ] {
        let tailed = answer!(world, Tail, ask(after, entries_max, bytes_max));
        let seqs: Vec<_> =
            tailed.entries.iter().map(|stored| (stored.seq.0, entry(&stored.frame).seq.0)).collect();
        assert_eq!(seqs, found.map(|n| (n, n)).collect::<Vec<_>>());
        assert_eq!(tailed.head, Seq(150));
    }
    for after in [150, 151] {
        let tailed = answer!(world, Tail, ask(after, 10, usize::MAX));
        assert_eq!((tailed.entries.len(), tailed.head), (0, Seq(150)));
    }
}

pub(super) async fn a_sweep_finds_who_is_behind<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b, c) = (world.person(1).await, world.person(2).await, world.person(3).await);
    let tablet = world.second_device(&b, 1).await;
    for n in 1..=3 {
        world.send(&a, &b, n, at(n)).await;
        world.send(&a, &c, n, at(n)).await;
    }
    let log = a.log(&b);
    for (who, log) in [(a, log), (b, log), (a, a.log(&c)), (c, a.log(&c))] {
        world.move_cursor(&who, log, (3, 0), at(4)).await.unwrap();
    }
    let sweep = |due, limit| {
        let world = &world;
        async move {
            let mut behind = Vec::new();
            for shard in 0..OUTBOX_SHARDS {
                let sweep = Sweep { shard, due, limit };
                let swept = answer!(world, Sweep, sweep.clone());
                let again = answer!(world, Sweep, sweep);
                assert_eq!(
                    (&swept.behind, &swept.keys),
                    (&again.behind, &again.keys),
                    "a look clears nothing"
                );
                answer!(world, ClearOutbox, ClearOutbox { keys: swept.keys.clone() });
                behind.push(swept);
            }
            behind
        }
    };
    let early = sweep(at(1), 100).await;
    assert!(early.iter().all(|swept| swept.behind.is_empty() && !swept.has_more), "nothing is due");
    let first = sweep(at(3), 1).await;
    let shard = usize::from(outbox_shard(log));
    assert!(first[shard].has_more);
    let mut behind: Vec<_> =
        first.into_iter().chain(sweep(at(9), 100).await).flat_map(|swept| swept.behind).collect();
    behind.dedup();
    let expected = Behind { log, head: Seq(3), account: b.account, device: tablet.device };
    assert!(!behind.is_empty() && behind.iter().all(|found| *found == expected), "{behind:?}");
    let after = sweep(at(9) + Duration::from_secs(1), 100).await;
    assert!(
        after.iter().all(|swept| swept.behind.is_empty() && !swept.has_more),
        "what was cleared is not reported again"
    );
}

pub(super) async fn c29_what_is_not_due_makes_nobody_behind<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let log = a.log(&b);
    for n in 1..=10 {
        world.send(&a, &b, n, at(n)).await;
    }
    // Both are behind the head at each look, and only one of them behind what is due.
    world.move_cursor(&a, log, (7, 0), at(10)).await.unwrap();
    let sweep = Sweep { shard: outbox_shard(log), due: at(7), limit: 100 };
    for (got, late) in [(0, true), (5, true), (6, false), (7, false)] {
        if got > 0 {
            world.move_cursor(&b, log, (got, 0), at(10)).await.unwrap();
        }
        let swept = answer!(world, Sweep, sweep.clone());
        let behind = Behind { log, head: Seq(10), account: b.account, device: b.device };
        assert_eq!(swept.keys.len(), 6, "committed before the seventh second");
        assert_eq!(swept.behind, if late { vec![behind] } else { Vec::new() }, "b has {got}");
    }
}
