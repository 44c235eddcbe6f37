//! A phone's disk: what a client asked to be kept, and nothing else. It outlives the client's process.

use std::collections::BTreeMap;

use client_core::{ChatRow, Login, Message, OutboxRow, Snapshot, Write};
use wire::{AccountId, ChatId, ErrorCode, Seq, WallTime};

/// Everything one device has stored.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) login: Option<Login>,
    pub(crate) outbox: Vec<OutboxRow>,
    pub(crate) chats: BTreeMap<ChatId, ChatRow>,
    pub(crate) messages: BTreeMap<(ChatId, Seq), Message>,
    /// Delivered and read, as the device shows them.
    pub(crate) cursors: BTreeMap<(ChatId, AccountId), (Seq, Seq)>,
    receipts_since: WallTime,
    /// Messages refused for good.
    pub(crate) failed: Vec<ErrorCode>,
}

impl Disk {
    /// What a new process of the client starts from.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            login: self.login.clone(),
            outbox: self.outbox.clone(),
            chats: self.chats.values().copied().collect(),
            receipts_since: self.receipts_since,
        }
    }

    /// Up to where a chat is stored.
    pub(crate) fn have(&self, chat: ChatId) -> Seq {
        self.chats.get(&chat).map_or(Seq::ZERO, |row| row.have)
    }

    /// Up to where the user has read.
    pub(crate) fn read(&self, chat: ChatId) -> Seq {
        self.chats.get(&chat).map_or(Seq::ZERO, |row| row.read)
    }

    /// Keeps one write.
    pub(crate) fn apply(&mut self, write: &Write) {
        match write {
            Write::Queue(row) => self.outbox.push(row.clone()),
            Write::Sent(message) => self.outbox.retain(|row| row.client_msg_id != message.client_msg_id),
            Write::Cancelled { client_msg_id } => {
                self.outbox.retain(|row| row.client_msg_id != *client_msg_id);
            }
            Write::Failed { client_msg_id, code } => {
                self.outbox.retain(|row| row.client_msg_id != *client_msg_id);
                self.failed.push(*code);
            }
            Write::Arrived(message) => {
                self.messages.insert((message.chat, message.seq), message.clone());
                let row = self.chat(message.chat);
                row.have = row.have.max(message.seq);
            }
            &Write::Chat { chat, peer } => self.chat(chat).peer = peer,
            &Write::Told { chat, delivered, read } => self.chat(chat).told = (delivered, read),
            &Write::Read { chat, read } => {
                let row = self.chat(chat);
                row.read = row.read.max(read);
            }
            Write::Cursor { chat, cursor } => {
                let (delivered, read) = self.cursors.entry((*chat, cursor.member)).or_default();
                (*delivered, *read) = ((*delivered).max(cursor.delivered), (*read).max(cursor.read));
            }
            Write::ReceiptsSince(since) => self.receipts_since = *since,
            Write::Login(login) => self.login = Some(login.clone()),
            Write::LoggedOut => self.login = None,
        }
    }

    fn chat(&mut self, chat: ChatId) -> &mut ChatRow {
        let zero = Seq::ZERO;
        let new = ChatRow { chat, peer: None, have: zero, read: zero, told: (zero, zero) };
        self.chats.entry(chat).or_insert(new)
    }
}
