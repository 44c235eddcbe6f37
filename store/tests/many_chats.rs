//! Somebody with more chats than one transaction could write a key for adds a device and ends one.

#![cfg(feature = "testing")]

use std::time::Duration;

use futures_util::future::{Either, select};
use store::op::*;
use store::record::{AccountChat, DeviceCursor, Head, Member, Record};
use store::run::{Attempt, Body, OpError};
use store::sim::{Faults, Sim};
use store::testing::{Executor, VirtualClock};
use store::tx::Tx;
use store::{Clock, Store, StoreConfig, keys};
use wire::{AccountId, ChatId, DeviceId, LogId, PersonName, Phone, RequestId, Secret, Seq, WallTime};

const CHATS: u32 = 20_000;
const ME: AccountId = AccountId::new([1; 16]);
const T0: WallTime = WallTime(1_700_000_000_000);

type SimStore = Store<Sim<VirtualClock>, VirtualClock>;

fn chat(n: u32) -> ChatId {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    ChatId::new(id)
}

/// The chat's head, at first and after it was said more in it.
fn head(n: u32, round: u64) -> Seq {
    Seq(u64::from(n % 50) + round)
}

/// Chats of mine, some of them.
struct Chats(std::ops::Range<u32>, u64);

impl Body for Chats {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<(), OpError> {
        for n in self.0.clone() {
            let log = LogId::Chat(chat(n));
            tx.set(keys::account_chat(ME, chat(n)), AccountChat { peer: None }.encode());
            tx.set(keys::member(log, ME), Member::default().encode());
            tx.set(keys::head(log), Head { seq: head(n, self.1), last_at: T0, ..Head::default() }.encode());
        }
        Ok(())
    }
}

/// Chats in which a device has a cursor, of some of them.
struct Cursors(std::ops::Range<u32>, DeviceId);

impl Body for Cursors {
    type Output = usize;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<usize, OpError> {
        let mut found = 0;
        for n in self.0.clone() {
            let key = keys::device_cursor(LogId::Chat(chat(n)), ME, self.1);
            found += usize::from(tx.get_snapshot(&key).await?.is_some());
        }
        Ok(found)
    }
}

fn add(device: u8, family: u8) -> AddDevice {
    AddDevice {
        phone: Phone::parse("+4915100000001").unwrap(),
        name: PersonName::parse("Me").unwrap(),
        new_account: ME,
        device: DeviceId::new([device; 16]),
        device_key: [device; 32],
        device_name: "phone".into(),
        family: RequestId::new([family; 16]),
        refresh_hash: Secret::new([family; 32]),
        refresh_expires: T0 + Duration::from_secs(86_400),
        now: T0,
    }
}

fn pages() -> impl Iterator<Item = std::ops::Range<u32>> {
    (0..CHATS).step_by(1000).map(|begin| begin..begin + 1000)
}

async fn say_more(store: &SimStore, round: u64) {
    for page in pages() {
        store.run(&Chats(page, round)).await.unwrap();
    }
}

async fn cursors(store: &SimStore, device: DeviceId) -> usize {
    let mut found = 0;
    for page in pages() {
        found += store.run(&Cursors(page, device)).await.unwrap();
    }
    found
}

async fn is_known(store: &SimStore, device: DeviceId) -> bool {
    let op = Op::CheckDevice(CheckDevice { account: ME, device, family_at: None });
    matches!(store.execute(op).await, Ok(OpOutput::CheckDevice(Ok(()))))
}

/// Where the device is, if it is at the same round in every chat.
async fn round(store: &SimStore, device: DeviceId) -> u64 {
    let delivered = async |n| {
        let op = Op::OpenChat(OpenChat { account: ME, device, chat: chat(n) });
        let OpOutput::OpenChat(Ok(state)) = store.execute(op).await.unwrap() else { panic!("chat {n}") };
        state.delivered.0 - head(n, 0).0
    };
    let first = delivered(0).await;
    for n in (1..CHATS).step_by(97).chain([CHATS - 1]) {
        assert_eq!(delivered(n).await, first, "chat {n}");
    }
    first
}

fn with_chats(test: impl AsyncFnOnce(SimStore, Sim<VirtualClock>, VirtualClock)) {
    let mut executor = Executor::new(1);
    let clock = executor.clock();
    let sim = Sim::new(1, clock.clone());
    executor.block_on(async {
        let store = Store::open(sim.clone(), StoreConfig::default(), clock.clone()).await.unwrap();
        store.execute(Op::AddDevice(add(1, 1))).await.unwrap();
        say_more(&store, 1).await;
        test(store, sim, clock).await;
    });
}

#[test]
fn g6_somebody_in_thousands_of_chats_adds_a_device_and_ends_it() {
    with_chats(async |store, _, _| {
        let tablet = add(2, 2);
        let OpOutput::AddDevice(Ok(added)) = store.execute(Op::AddDevice(tablet.clone())).await.unwrap()
        else {
            panic!("not added")
        };
        assert!(added.device_new && !added.created);
        assert_eq!(cursors(&store, tablet.device).await, CHATS as usize);
        say_more(&store, 2).await;
        // Registered again, it is the same device, and where it was.
        store.execute(Op::AddDevice(add(2, 3))).await.unwrap();
        assert_eq!(round(&store, tablet.device).await, 1);
        let revoke = RevokeDevice { account: ME, device: tablet.device, now: T0 };
        for _ in 0..2 {
            let revoked = store.execute(Op::RevokeDevice(revoke.clone())).await.unwrap();
            assert!(matches!(revoked, OpOutput::RevokeDevice(Ok(_))));
            assert!(!is_known(&store, tablet.device).await);
            assert_eq!(cursors(&store, tablet.device).await, 0);
        }
        assert!(is_known(&store, DeviceId::new([1; 16])).await, "the other one stays");
    });
}

#[test]
fn i4_a_device_that_was_added_by_half_is_nobody_and_begins_anew() {
    with_chats(async |store, sim, clock| {
        let tablet = add(2, 2);
        let some = 0..CHATS as usize;
        sim.set_faults(Faults { delay_max: Duration::from_millis(20), ..Faults::NONE });
        let adding = Box::pin(store.execute(Op::AddDevice(tablet.clone())));
        let interrupted = select(adding, Box::pin(clock.sleep(Duration::from_millis(500)))).await;
        assert!(matches!(interrupted, Either::Right(_)), "it takes longer");
        drop(interrupted);
        sim.set_faults(Faults::NONE);
        let half = cursors(&store, tablet.device).await;
        assert!(half > 0 && some.contains(&half), "{half} of them");
        assert!(!is_known(&store, tablet.device).await);
        say_more(&store, 3).await;
        store.execute(Op::AddDevice(tablet.clone())).await.unwrap();
        assert_eq!(round(&store, tablet.device).await, 3);
    });
}

#[test]
fn g6_a_device_is_ended_before_its_cursors_are_cleared() {
    with_chats(async |store, sim, clock| {
        let tablet = add(2, 2);
        store.execute(Op::AddDevice(tablet.clone())).await.unwrap();
        sim.set_faults(Faults { delay_max: Duration::from_millis(20), ..Faults::NONE });
        let revoke = RevokeDevice { account: ME, device: tablet.device, now: T0 };
        let ending = Box::pin(store.execute(Op::RevokeDevice(revoke.clone())));
        let interrupted = select(ending, Box::pin(clock.sleep(Duration::from_millis(500)))).await;
        assert!(matches!(interrupted, Either::Right(_)), "it takes longer");
        drop(interrupted);
        sim.set_faults(Faults::NONE);
        assert!(!is_known(&store, tablet.device).await);
        let left = cursors(&store, tablet.device).await;
        assert!(left > 0 && left < CHATS as usize, "{left} of them");
        store.execute(Op::RevokeDevice(revoke)).await.unwrap();
        assert_eq!(cursors(&store, tablet.device).await, 0);
    });
}

#[test]
fn so_many_chats_are_more_than_one_transaction_takes() {
    let key = keys::device_cursor(LogId::Chat(chat(0)), ME, DeviceId::new([2; 16]));
    let bytes = key.len() + DeviceCursor { delivered: Seq(1) }.encode().len();
    assert!(bytes * CHATS as usize > store::tx::TRANSACTION_BYTES_MAX, "{bytes} each");
}
