//! Who hears of a commit. A hint says that something is there, usually with the thing itself; one that is lost,
//! repeated or late costs time, never a message, since delivery re-reads the log.

use std::sync::Arc;

use bytes::Bytes;
use store::ephemeral::Route;
use store::op::{Left, MemberCursor};
use wire::{AccountId, ChatId, DeviceId, LogId, Seq, WallTime};

/// Something that sessions of some accounts should know. Cheap to clone: bytes and lists are shared.
#[derive(Debug, Clone)]
pub enum Hint {
    /// A chat has a new entry.
    Entry {
        /// The chat.
        chat: ChatId,
        /// Its place.
        seq: Seq,
        /// Its time.
        at: WallTime,
        /// The entry as a frame, prefix included; `None` if it is in several: then it is read.
        frame: Option<Bytes>,
        /// Its members, those included whose membership it ended.
        accounts: Arc<[AccountId]>,
        /// Whose membership it ended: they look for themselves what they may still hear (I5).
        ended: Arc<[AccountId]>,
    },
    /// A device's inbox has a new entry.
    Inbox {
        /// Whose device.
        account: AccountId,
        /// Which.
        device: DeviceId,
        /// The entry's place.
        seq: Seq,
        /// Its time.
        at: WallTime,
        /// The entry as a frame, prefix included.
        frame: Bytes,
    },
    /// A member's cursors moved.
    Cursor {
        /// The chat.
        chat: ChatId,
        /// Where they are.
        cursor: MemberCursor,
        /// Which device moved them: it knows.
        except: DeviceId,
        /// The chat's members.
        accounts: Arc<[AccountId]>,
    },
    /// A member types, or has stopped: for those who have the chat open.
    Typing {
        /// The chat.
        chat: ChatId,
        /// Who.
        member: AccountId,
        /// Which of the two.
        typing: bool,
        /// On which device: it knows.
        except: DeviceId,
        /// The chat's members.
        accounts: Arc<[AccountId]>,
    },
    /// The sweeper found a device behind.
    Behind {
        /// In which log: a chat's, or its own inbox.
        log: LogId,
        /// Its head.
        head: Seq,
        /// Whose device.
        account: AccountId,
        /// Which.
        device: DeviceId,
    },
    /// A device was added to an account: its other devices tell their person (C4).
    DeviceAdded {
        /// The account.
        account: AccountId,
        /// The device.
        device: DeviceId,
        /// What its owner calls it.
        name: Arc<str>,
        /// When.
        at: WallTime,
    },
    /// A device was logged out or revoked, or its refresh tokens ended by reuse.
    DeviceEnded {
        /// The account.
        account: AccountId,
        /// The device.
        device: DeviceId,
    },
    /// A device connected again elsewhere: its older connection closes.
    Replaced(Route),
}

impl Hint {
    /// What the log says of somebody who has gone, or of a device that has ended; `None` if it was said before.
    pub(crate) fn of_left(left: Left, ended: &[AccountId]) -> Option<Hint> {
        let Left { log: LogId::Chat(chat), seq, at, frame: Some(frame), members, .. } = left else {
            return None;
        };
        let (accounts, ended) = (members.into(), ended.into());
        Some(Hint::Entry { chat, seq, at, frame: Some(frame), accounts, ended })
    }

    /// The accounts whose sessions it concerns.
    pub fn accounts(&self) -> &[AccountId] {
        match self {
            Hint::Entry { accounts, .. } | Hint::Cursor { accounts, .. } | Hint::Typing { accounts, .. } => {
                accounts
            }
            Hint::Inbox { account, .. }
            | Hint::Behind { account, .. }
            | Hint::DeviceAdded { account, .. }
            | Hint::DeviceEnded { account, .. } => std::slice::from_ref(account),
            Hint::Replaced(route) => std::slice::from_ref(&route.account),
        }
    }
}
