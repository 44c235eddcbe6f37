//! A chat's log as the store has shown it, and who is in the chat by what it says.
//!
//! Whose leaf is where follows from the public part of the commits: a remove blanks a leaf, an add takes the least free one
//! (RFC 9420, sections 7.7 and 12.3). That is done here once more, from the bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use client_core::Passed;
use wire::event::{ControlKind, EntryKind};
use wire::{AccountId, ClientMsgId, DeviceId, Seq};
use wire_mls::inspect;

/// A chat's log.
#[derive(Debug, Default)]
pub(crate) struct ChatLog {
    pub(super) name: String,
    /// The two of a 1:1 chat.
    pub(super) peers: Option<[AccountId; 2]>,
    pub(crate) entries: Vec<Logged>,
    /// Where each message or commit is.
    pub(super) places: BTreeMap<ClientMsgId, Seq>,
    /// How many of each phone's messages are in.
    pub(super) said: BTreeMap<usize, usize>,
    leaves: BTreeMap<u32, (AccountId, DeviceId)>,
    /// From which entry to which each account was in a group, its last time open at the end.
    spans: BTreeMap<AccountId, Vec<(Seq, Option<Seq>)>>,
}

/// One entry.
#[derive(Debug)]
pub(crate) struct Logged {
    /// The stored bytes.
    pub(super) value: Bytes,
    pub(super) sender: AccountId,
    pub(super) device: DeviceId,
    pub(super) client_msg_id: ClientMsgId,
    pub(super) content: Bytes,
    pub(super) what: EntryKind,
    /// Devices that it adds, if it is a commit.
    pub(super) adds: Vec<DeviceId>,
    /// When it was first seen.
    pub(super) at: Duration,
}

impl Logged {
    pub(super) fn is_message(&self) -> bool {
        self.what == EntryKind::Message
    }

    /// Whether a device that passes it for this is right.
    pub(super) fn is_passed_for(&self, what: Passed, device: DeviceId) -> bool {
        match what {
            Passed::Commit => matches!(self.what, EntryKind::Commit { .. }),
            Passed::Control => matches!(self.what, EntryKind::Control(_)),
            Passed::Own => self.is_message() && self.device == device,
            Passed::Unknown | Passed::Unreadable(_) => false,
        }
    }
}

impl ChatLog {
    pub(super) fn new(name: String, peers: Option<[AccountId; 2]>) -> ChatLog {
        ChatLog { name, peers, ..ChatLog::default() }
    }

    /// Follows the next entry. `false` if it does not fit.
    pub(super) fn follow(&mut self, seq: Seq, logged: &mut Logged) -> bool {
        match logged.what {
            EntryKind::Commit { .. } => match inspect::commit(&logged.content) {
                Ok(commit) => {
                    self.fold(seq, logged, &commit);
                    true
                }
                Err(_) => false,
            },
            EntryKind::Control(control) => {
                if control.kind == ControlKind::Left {
                    self.end(control.account, seq);
                }
                true
            }
            _ => true,
        }
    }

    fn fold(&mut self, seq: Seq, logged: &mut Logged, commit: &inspect::Commit) {
        let before = self.accounts();
        if self.leaves.is_empty() {
            self.leaves.insert(0, (logged.sender, logged.device));
        }
        for at in &commit.removes {
            self.leaves.remove(at);
        }
        for add in &commit.adds {
            let free = (0..).find(|at| !self.leaves.contains_key(at)).unwrap_or_default();
            self.leaves.insert(free, (add.leaf.account, add.leaf.device));
            logged.adds.push(add.leaf.device);
        }
        let after = self.accounts();
        for account in after.difference(&before) {
            self.spans.entry(*account).or_default().push((seq, None));
        }
        for account in before.difference(&after) {
            self.end(*account, seq);
        }
    }

    fn end(&mut self, account: AccountId, seq: Seq) {
        if let Some((_, end)) = self.spans.get_mut(&account).and_then(|spans| spans.last_mut()) {
            end.get_or_insert(seq);
        }
    }

    fn accounts(&self) -> BTreeSet<AccountId> {
        self.leaves.values().map(|(account, _)| *account).collect()
    }

    /// Whether an account may read an entry: those of its time in the group, that which began and that which ended it
    /// included.
    pub(super) fn may_read(&self, account: AccountId, seq: Seq) -> bool {
        let spans = self.spans.get(&account).into_iter().flatten();
        self.is_peer(account)
            || spans.into_iter().any(|(from, to)| *from <= seq && to.is_none_or(|to| seq <= to))
    }

    /// Whether an account is in the chat now.
    pub(super) fn is_member(&self, account: AccountId) -> bool {
        let last = self.spans.get(&account).and_then(|spans| spans.last());
        self.is_peer(account) || last.is_some_and(|(_, to)| to.is_none())
    }

    /// Where the log begins for an account: the server has its cursors there when it comes in.
    pub(super) fn before(&self, account: AccountId) -> Seq {
        let last = self.spans.get(&account).and_then(|spans| spans.last());
        last.filter(|_| self.peers.is_none()).map_or(Seq::ZERO, |(from, _)| Seq(from.0.saturating_sub(1)))
    }

    /// Whether it ever was.
    pub(super) fn was_member(&self, account: AccountId) -> bool {
        self.is_peer(account) || self.spans.contains_key(&account)
    }

    fn is_peer(&self, account: AccountId) -> bool {
        self.peers.is_some_and(|peers| peers.contains(&account))
    }
}
