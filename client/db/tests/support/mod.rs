//! What tests write, and readers of their own for what is then on disk.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod pages;

use std::path::Path;

use bytes::Bytes;
use client_core::{Login, Message, OutboxRow};
use client_db::{Db, Unlock};
use wire::event::Cursor;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, RequestId, Secret, Seq, WallTime};

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
    OutboxRow { client_msg_id: id(n), chat: CHAT, peer: Some(BOB), content }
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
