//! Accounts, devices, sessions and their tokens.

use std::time::Duration;

use bytes::Bytes;
use wire::{AccountId, PersonName, RequestId, Seq, WallTime};

use super::Env;
use super::world::{Person, T0, World, answer, at, family, hash};
use crate::keys;
use crate::op::*;
use crate::record::{self, Record};
use crate::run::{Attempt, Body, OpError};
use crate::testing::SetMember;
use crate::tx::{Range, Tx};

pub(super) async fn c4_a_known_number_gets_a_new_device<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    world.send(&b, &a, 1, T0).await;
    let tablet = Person::new(1, 1);
    let op = AddDevice {
        new_account: Person::new(77, 0).account,
        name: PersonName::parse("Somebody else").unwrap(),
        ..world.add_device(&tablet, 50, at(5))
    };
    let added = answer!(world, AddDevice, op).unwrap();
    assert!(!added.created && added.device_new);
    assert_eq!((added.account.account, added.account.name.as_str()), (a.account, "Person 1"));
    world.send(&b, &a, 2, at(6)).await;
    let op = OpenChat { account: a.account, device: tablet.device, chat: a.chat(&b) };
    assert_eq!(answer!(world, OpenChat, op).unwrap().delivered, Seq(1), "older entries come as history");
    let found = answer!(world, FindAccount, FindAccount { phone: a.phone() }).unwrap();
    assert_eq!(found, added.account);
    assert_eq!(answer!(world, FindAccount, FindAccount { phone: Person::new(9, 0).phone() }), None);
    let devices = answer!(world, Devices, Devices { account: a.account });
    let listed: Vec<_> = devices.iter().map(|d| (d.device, d.name.as_str(), d.added_at)).collect();
    assert_eq!(listed, [(a.device, "phone", T0), (tablet.device, "phone", at(5))]);
    let stolen = AddDevice { device: a.device, ..world.add_device(&Person::new(3, 0), 60, T0) };
    assert_eq!(answer!(world, AddDevice, stolen).unwrap_err(), AddDeviceError::KeyTaken);
    assert_eq!(answer!(world, FindAccount, FindAccount { phone: Person::new(3, 0).phone() }), None);
}

pub(super) async fn a_repeated_registration_is_the_same_device<E: Env>(env: &E) {
    let world = World::open(env).await;
    let a = Person::new(1, 0);
    for _ in 0..2 {
        let added = answer!(world, AddDevice, world.add_device(&a, 1, T0)).unwrap();
        assert!(added.created && added.device_new, "the answer to a repeat is the first one's");
    }
    let added = answer!(world, AddDevice, world.add_device(&a, 2, at(9))).unwrap();
    assert!(!added.created && !added.device_new);
    assert_eq!(answer!(world, Devices, Devices { account: a.account })[0].added_at, T0);
    let old = refresh(&a, 1, 1, 10, 20, at(10));
    assert_eq!(answer!(world, Refresh, old).unwrap_err(), RefreshError::Revoked, "its family was replaced");
    assert!(answer!(world, Refresh, refresh(&a, 2, 2, 10, 20, at(10))).is_ok());
}

/// Suspends an account, as an operator would.
struct Suspend(Person);

impl Body for Suspend {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<(), OpError> {
        let key = keys::account(self.0.account);
        if let Some(value) = tx.get(&key).await? {
            let account = record::Account::decode(&value)?;
            tx.set(key, record::Account { suspended: true, ..account }.encode());
        }
        Ok(())
    }
}

pub(super) async fn r24_sessions_are_refused_with_a_reason<E: Env>(env: &E) {
    let world = World::open(env).await;
    let a = world.person(1).await;
    let check = |who: &Person| CheckDevice { account: who.account, device: who.device, family_at: None };
    let open = |who: &Person| OpenSession { account: who.account, device: who.device, receipts_since: T0 };
    assert_eq!(answer!(world, CheckDevice, check(&a)), Ok(()));
    for (who, refused) in
        [(Person::new(9, 0), DeviceError::AccountUnknown), (Person::new(1, 9), DeviceError::Revoked)]
    {
        assert_eq!(answer!(world, CheckDevice, check(&who)), Err(refused));
        assert_eq!(answer!(world, OpenSession, open(&who)).unwrap_err(), refused);
    }
    world.store.run(&Suspend(a)).await.unwrap();
    assert_eq!(answer!(world, CheckDevice, check(&a)), Err(DeviceError::Suspended));
    assert_eq!(answer!(world, OpenSession, open(&a)).unwrap_err(), DeviceError::Suspended);
    assert_eq!(
        answer!(world, AddDevice, world.add_device(&a, 40, T0)).unwrap_err(),
        AddDeviceError::Suspended
    );
    let refused = answer!(world, Refresh, refresh(&a, 1, 1, 10, 20, T0)).unwrap_err();
    assert_eq!(refused, RefreshError::Device(DeviceError::Suspended));
}

pub(super) async fn a_session_begins_with_its_chats<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b, c, d) =
        (world.person(1).await, world.person(2).await, world.person(3).await, world.person(4).await);
    world.send(&a, &b, 1, at(1)).await;
    world.send(&d, &a, 1, at(2)).await;
    world.send(&c, &a, 1, at(3)).await;
    world.send(&c, &a, 2, at(3)).await;
    world.move_cursor(&a, a.log(&c), (2, 1), at(10)).await.unwrap();
    world.move_cursor(&b, a.log(&b), (1, 0), at(20)).await.unwrap();
    let op = OpenSession { account: a.account, device: a.device, receipts_since: at(11) };
    let session = answer!(world, OpenSession, op).unwrap();
    assert_eq!((session.device_key, session.account.name.as_str()), ([1; 32], "Person 1"));
    let chat = |peer: &Person, head, last_at, delivered, read, moved| ChatState {
        chat: a.chat(peer),
        peer: Some(peer.account),
        head: Seq(head),
        last_at,
        floor: Seq(0),
        is_member: true,
        delivered: Seq(delivered),
        read: Seq(read),
        moved,
    };
    let expected =
        [chat(&c, 2, at(3), 2, 1, false), chat(&d, 1, at(2), 0, 0, false), chat(&b, 1, at(1), 0, 0, true)];
    assert_eq!(session.chats, expected, "newest activity first");
    let op = OpenChat { account: a.account, device: a.device, chat: a.chat(&c) };
    assert_eq!(answer!(world, OpenChat, op).unwrap(), ChatState { moved: true, ..expected[0] });
    let op = OpenChat { account: b.account, device: b.device, chat: a.chat(&c) };
    assert_eq!(answer!(world, OpenChat, op), Err(NotMember));
}

pub(super) async fn i5_no_device_resumes_before_its_account_joined<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    for n in 1..=5 {
        world.send(&a, &b, n, at(n)).await;
    }
    world.move_cursor(&b, a.log(&b), (1, 0), at(6)).await.unwrap();
    for (joined, floor, delivered) in [(Some(0), 0, 1), (Some(3), 3, 3), (None, 5, 5)] {
        let member = SetMember { log: a.log(&b), account: b.account, joined: joined.map(Seq) };
        world.store.run(&member).await.unwrap();
        let op = OpenSession { account: b.account, device: b.device, receipts_since: T0 };
        let [chat] = answer!(world, OpenSession, op).unwrap().chats[..] else { panic!("b has one chat") };
        assert_eq!((chat.floor, chat.delivered), (Seq(floor), Seq(delivered)), "joined at {joined:?}");
        let op = OpenChat { account: b.account, device: b.device, chat: a.chat(&b) };
        let opened = answer!(world, OpenChat, op).map(|chat| (chat.floor, chat.delivered));
        let expected = joined.map(|_| (Seq(floor), Seq(delivered))).ok_or(NotMember);
        assert_eq!(opened, expected, "joined at {joined:?}");
    }
}

pub(super) async fn chats_are_paged<E: Env>(env: &E) {
    let world = World::open(env).await;
    let a = world.person(1).await;
    let mut chats = Vec::new();
    for n in 2..=8 {
        let peer = world.person(n).await;
        world.send(&peer, &a, 1, at(n.into())).await;
        chats.push((a.chat(&peer), format!("Person {n}"), at(n.into())));
    }
    chats.sort();
    world.move_cursor(&a, wire::LogId::Chat(chats[0].0), (1, 1), at(20)).await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = answer!(world, Chats, Chats { account: a.account, after, limit: 3 });
        after = page.chats.last().map(|chat| chat.chat);
        found.extend(page.chats);
        if !page.has_more {
            break;
        }
    }
    assert_eq!((found[0].read, found[1].read, found[0].head), (Seq(1), Seq(0), Seq(1)));
    let found: Vec<_> =
        found.into_iter().map(|c| (c.chat, c.peer.unwrap().name.as_str().to_owned(), c.last_at)).collect();
    assert_eq!(found, chats);
}

/// A refresh of a family: the presented token, the request's id, the successor.
fn refresh(who: &Person, of: u16, presented: u8, request: u8, successor: u8, now: WallTime) -> Refresh {
    Refresh {
        family: family(of),
        device: who.device,
        presented: hash(presented.into()),
        request: RequestId::new([request; 16]),
        successor: hash(successor.into()),
        successor_expires: now + DAYS_30,
        now,
    }
}

const DAYS_30: Duration = Duration::from_secs(30 * 86_400);

pub(super) async fn c1_refresh_rotates_and_repeats<E: Env>(env: &E) {
    let world = World::open(env).await;
    let a = world.person(1).await;
    // Token 1 becomes 11; the reply is lost, and the same request comes again.
    for second in [1, 2] {
        let refreshed = answer!(world, Refresh, refresh(&a, 1, 1, 1, 11, at(second))).unwrap();
        assert_eq!(
            (refreshed.account, refreshed.phone, refreshed.expires),
            (a.account, a.phone(), at(1) + DAYS_30)
        );
    }
    // The client lost its request id too: token 1 again, with another id, while 11 was never used.
    let refreshed = answer!(world, Refresh, refresh(&a, 1, 1, 2, 12, at(3))).unwrap();
    assert_eq!(refreshed.expires, at(3) + DAYS_30);
    let refused = answer!(world, Refresh, refresh(&a, 1, 11, 3, 13, at(4))).unwrap_err();
    assert_eq!(refused, RefreshError::Unknown, "a successor that was replaced never counted");
    for n in 12..60 {
        answer!(world, Refresh, refresh(&a, 1, n, n, n + 1, at(n.into()))).unwrap();
    }
}

pub(super) async fn c1_reuse_ends_the_family<E: Env>(env: &E) {
    let world = World::open(env).await;
    let a = world.person(1).await;
    for (presented, successor) in [(1, 11), (11, 12), (12, 13)] {
        answer!(world, Refresh, refresh(&a, 1, presented, presented, successor, at(1))).unwrap();
    }
    let guess = answer!(world, Refresh, refresh(&a, 1, 99, 5, 50, at(2))).unwrap_err();
    assert_eq!(guess, RefreshError::Unknown, "a guess ends nothing");
    let reused = answer!(world, Refresh, refresh(&a, 1, 1, 1, 11, at(3)));
    // A try whose answer was lost has ended the family already.
    assert!(matches!(reused, Err(RefreshError::Reused { .. } | RefreshError::Revoked)), "{reused:?}");
    if let Err(RefreshError::Reused { account }) = reused {
        assert_eq!(account, a.account);
    }
    let check = |at| CheckDevice { account: a.account, device: a.device, family_at: at };
    assert_eq!(answer!(world, CheckDevice, check(None)), Ok(()), "the device is there");
    assert_eq!(
        answer!(world, CheckDevice, check(Some(at(4)))),
        Err(DeviceError::Revoked),
        "its tokens are not"
    );
    let open = || OpenSession { account: a.account, device: a.device, receipts_since: T0 };
    assert_eq!(answer!(world, OpenSession, open()).unwrap_err(), DeviceError::Revoked, "nor is it let in");
    for token in [1, 12, 13] {
        let refused = answer!(world, Refresh, refresh(&a, 1, token, token, token + 1, at(4))).unwrap_err();
        assert_eq!(refused, RefreshError::Revoked);
    }
    // The person proves the number again: the same device, with a family of its own.
    answer!(world, AddDevice, world.add_device(&a, 40, at(5))).unwrap();
    answer!(world, OpenSession, open()).unwrap();
}

pub(super) async fn refresh_refuses_what_it_must<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let late = T0 + DAYS_30;
    for (op, refused) in [
        (refresh(&a, 9, 1, 1, 11, T0), RefreshError::Unknown),
        (refresh(&b, 1, 1, 1, 11, T0), RefreshError::Unknown),
        (refresh(&a, 1, 1, 1, 11, late), RefreshError::Expired),
    ] {
        assert_eq!(answer!(world, Refresh, op).unwrap_err(), refused);
    }
    let almost = WallTime(late.0 - 1);
    for (at, alive) in [(almost, Ok(())), (late, Err(DeviceError::Revoked))] {
        let check = CheckDevice { account: a.account, device: a.device, family_at: Some(at) };
        assert_eq!(answer!(world, CheckDevice, check), alive);
    }
    answer!(world, Refresh, refresh(&a, 1, 1, 1, 11, almost)).unwrap();
    let refused = answer!(world, Refresh, refresh(&a, 1, 1, 1, 11, late)).unwrap_err();
    assert_eq!(refused, RefreshError::Expired, "a repeat is no use after the token's own end");
    answer!(world, Refresh, refresh(&a, 1, 11, 2, 12, late)).unwrap();
}

pub(super) async fn r30_the_latest_time_that_somebody_was_seen_stays<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    for time in [at(5), at(9), at(7)] {
        let OpOutput::SawLast =
            world.store.execute(Op::SawLast(SawLast { account: a.account, at: time })).await.unwrap()
        else {
            panic!("another answer")
        };
    }
    assert_eq!(world.store.run(&Seen(a.account)).await.unwrap(), Some(at(9)));
    assert_eq!(world.store.run(&Seen(b.account)).await.unwrap(), None);
}

/// When somebody was last seen.
struct Seen(AccountId);

impl Body for Seen {
    type Output = Option<WallTime>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let value = tx.get(&keys::last_seen(self.0)).await?;
        Ok(value.map(|value| WallTime(crate::tx::little_endian(&value))))
    }
}

/// What the store holds under a prefix.
struct Keys(Bytes);

impl Body for Keys {
    type Output = usize;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<usize, OpError> {
        Ok(tx.range(Range::prefix(self.0.clone())).await?.len())
    }
}

pub(super) async fn a_revoked_device_is_gone<E: Env>(env: &E) {
    let world = World::open(env).await;
    let (a, b) = (world.person(1).await, world.person(2).await);
    let tablet = world.second_device(&a, 1).await;
    world.send(&b, &a, 1, T0).await;
    world.move_cursor(&tablet, a.log(&b), (1, 0), T0).await.unwrap();
    for (presented, successor) in [(101, 11), (11, 12), (12, 13)] {
        answer!(world, Refresh, refresh(&tablet, 101, presented, presented, successor, T0)).unwrap();
    }
    let revoke = RevokeDevice { account: a.account, device: tablet.device, now: at(1) };
    for _ in 0..2 {
        assert!(answer!(world, RevokeDevice, revoke.clone()).is_ok(), "again is no error");
    }
    let check = CheckDevice { account: a.account, device: tablet.device, family_at: None };
    assert_eq!(answer!(world, CheckDevice, check), Err(DeviceError::Revoked));
    let refused = answer!(world, Refresh, refresh(&tablet, 101, 13, 13, 14, at(2))).unwrap_err();
    assert_eq!(refused, RefreshError::Revoked);
    let cursor = keys::device_cursor(a.log(&b), a.account, tablet.device);
    for prefix in [cursor.slice(..cursor.len() - 1), keys::family_used_prefix(family(101))] {
        assert_eq!(world.store.run(&Keys(prefix)).await.unwrap(), 0);
    }
    assert_eq!(
        answer!(world, CheckDevice, CheckDevice { account: a.account, device: a.device, family_at: None }),
        Ok(())
    );
    let unknown = RevokeDevice { account: Person::new(9, 0).account, device: a.device, now: T0 };
    assert_eq!(answer!(world, RevokeDevice, unknown).unwrap_err(), DeviceError::AccountUnknown);
    // The key is free again, also for another number.
    let moved = AddDevice { device: tablet.device, ..world.add_device(&Person::new(5, 0), 70, at(3)) };
    assert!(answer!(world, AddDevice, moved).unwrap().device_new);
}
