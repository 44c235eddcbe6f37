//! A phone's disk: what a client asked to be kept, and nothing else. It outlives the client's process.

use std::collections::{BTreeMap, BTreeSet};

use client_core::{Login, MemoryKv, Message, Snapshot, Write};
use wire::{AccountId, ChatId, ClientMsgId, ErrorCode, Seq};

/// Everything one device has stored.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    kept: Snapshot,
    /// MLS state.
    pub(crate) rows: MemoryKv,
    pub(crate) messages: BTreeMap<(ChatId, Seq), Message>,
    /// Delivered and read, as the device shows them.
    pub(crate) cursors: BTreeMap<(ChatId, AccountId), (Seq, Seq)>,
    /// Own messages that left the outbox with a tick.
    sent: BTreeSet<ClientMsgId>,
    /// Messages refused for good.
    pub(crate) failed: Vec<ErrorCode>,
}

impl Disk {
    /// What a new process of the client starts from.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.kept.clone()
    }

    pub(crate) fn login(&self) -> Option<&Login> {
        self.kept.login.as_ref()
    }

    /// Up to where a chat is stored.
    pub(crate) fn have(&self, chat: ChatId) -> Seq {
        self.kept.chat(chat).map_or(Seq::ZERO, |row| row.have)
    }

    /// Whether it knows a chat, and its person was not put out of it.
    pub(crate) fn knows(&self, chat: ChatId) -> bool {
        self.kept.chat(chat).is_some_and(|row| !row.gone)
    }

    /// Up to where the user has read.
    pub(crate) fn read(&self, chat: ChatId) -> Seq {
        self.kept.chat(chat).map_or(Seq::ZERO, |row| row.read)
    }

    /// Whether it holds a message of its owner, whether or not that has arrived: in its outbox, or as sent.
    pub(crate) fn has_own(&self, id: ClientMsgId) -> bool {
        self.sent.contains(&id) || self.kept.outbox.iter().any(|row| row.client_msg_id == id)
    }

    /// Keeps one write.
    pub(crate) fn apply(&mut self, write: &Write) {
        self.kept.apply(write);
        self.rows.apply(write);
        match write {
            Write::Failed { code, .. } => self.failed.push(*code),
            Write::Sent(message) => drop(self.sent.insert(message.client_msg_id)),
            Write::Arrived(message) => {
                self.messages.insert((message.chat, message.seq), message.clone());
            }
            Write::Cursor { chat, cursor } => {
                let (delivered, read) = self.cursors.entry((*chat, cursor.member)).or_default();
                (*delivered, *read) = ((*delivered).max(cursor.delivered), (*read).max(cursor.read));
            }
            _ => {}
        }
    }
}
