//! What tests write, and readers of their own for what is then on disk.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod pages;

use std::path::Path;

use bytes::Bytes;
use client_core::{
    CommitRow, KeyPackages, Login, MembersChange, Message, MlsRow, OutboxRow, Plan, PlanRow, Publishing,
    Sealed, Write,
};
use client_db::{Db, Unlock};
use wire::event::Cursor;
use wire::request::{Action, CommitGroup, NewDevice};
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, Epoch, RequestId, Secret, Seq, WallTime};

pub const ME: AccountId = AccountId::new([1; 16]);
pub const BOB: AccountId = AccountId::new([2; 16]);
pub const CHAT: ChatId = ChatId::new([3; 16]);

/// The database of a folder, with its key beside it.
pub fn db(dir: &Path) -> Db {
    Db::create(dir, &Unlock::KeyFile).expect("a database")
}

pub fn id(n: u64) -> ClientMsgId {
    let mut id = [0xab; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    ClientMsgId::new(id)
}

pub fn row(n: u64) -> OutboxRow {
    let content = Bytes::from(n.to_string());
    OutboxRow { client_msg_id: id(n), chat: CHAT, peer: Some(BOB), content, sealed: None }
}

/// A row of MLS state.
pub fn mls(key: &[u8], value: Option<&[u8]>) -> Write {
    Write::Mls(MlsRow { key: key.to_vec(), value: value.map(<[u8]>::to_vec) })
}

/// What a message was sealed as.
pub fn sealed(epoch: u64, bytes: usize) -> Sealed {
    Sealed { epoch: Epoch(epoch), content: Bytes::from(vec![!(epoch as u8); bytes]) }
}

/// A commit on its way.
pub fn commit(n: u64) -> CommitRow {
    let add = NewDevice { account: BOB, device: DeviceId::new([n as u8; 16]), welcome_bytes: 300 };
    let request = CommitGroup {
        chat: CHAT,
        client_msg_id: id(2_000_000 + n),
        epoch: Epoch(n),
        action: Action::AddMembers { accounts: vec![BOB] },
        adds: vec![add],
        commit_bytes: 700,
        tree_bytes: 9_000,
    };
    CommitRow { request, bytes: Bytes::from(vec![n as u8; 10_000]) }
}

/// A change of members under way.
pub fn plan(n: u64) -> PlanRow {
    let members = vec![BOB, AccountId::new([n as u8; 16])];
    let plan = Plan::Create { name: format!("group {n}"), description: String::new(), members };
    PlanRow { chat: CHAT, client_msg_id: id(3_000_000 + n), plan }
}

/// Key packages on their way.
pub fn key_packages(n: u64) -> KeyPackages {
    let packages = (0..n % 4).map(|k| Bytes::from(vec![k as u8; 300])).collect();
    let last_resort = n.is_multiple_of(2).then(|| Bytes::from(vec![n as u8; 300]));
    let request = RequestId::new([n as u8; 16]);
    let publishing = (!n.is_multiple_of(5)).then_some(Publishing { request, packages, last_resort });
    KeyPackages { last_resort_until: WallTime(n), publishing }
}

/// What the commit of a drain did.
pub fn change(n: u64) -> MembersChange {
    let (seq, at, added) = (Seq(3 * n - 1), WallTime(n), vec![BOB, ME]);
    MembersChange { chat: CHAT, seq, at, by: BOB, added, removed: Vec::new() }
}

pub fn message(seq: u64, sender: AccountId, n: u64) -> Message {
    let (at, content) = (WallTime(1000 + seq), Bytes::from(n.to_string()));
    Message { chat: CHAT, seq: Seq(seq), sender, client_msg_id: id(n), at, content }
}

pub fn cursor(delivered: u64, read: u64, at: u64) -> Cursor {
    let (delivered_at, read_at, withheld) = (WallTime(at), WallTime(at), Vec::new());
    Cursor { member: BOB, delivered: Seq(delivered), delivered_at, read: Seq(read), read_at, withheld }
}

pub fn login(access: &str, refresh: [u8; 48]) -> Login {
    Login {
        account: ME,
        device: DeviceId::new([9; 16]),
        access: Secret::new(access.into()),
        access_expires: WallTime(5),
        refresh: Secret::new(refresh),
        refresh_request: RequestId::new([8; 16]),
    }
}

/// Whether bytes are somewhere in others.
pub fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// The database as somebody else reads and changes it who has the key's file.
pub fn raw(dir: &Path) -> rusqlite::Connection {
    let key = std::fs::read(dir.join("state.key")).expect("a key");
    let hex: String = key[25..57].iter().chain(&key[9..25]).map(|byte| format!("{byte:02x}")).collect();
    let sql = rusqlite::Connection::open(dir.join("state.db")).expect("opened");
    sql.execute_batch(&format!("PRAGMA key = \"x'{hex}'\"")).expect("a key");
    sql
}
