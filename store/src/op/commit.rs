//! Commits: a group moves from one epoch to the next, and its membership with it (I6).
//!
//! The bytes of a commit are opaque here. What it adds and removes was read from its public part by whoever asks, and is
//! checked against a table of the log's own that says whose device each leaf is: a public group would be certain that every
//! member can follow the commit, but costs the whole tree for each and a cryptographic library. Whoever commits what nobody
//! can process harms their own chat.
//!
//! In this order, as of an append: the idempotency record, membership, the epoch, what the commit does; then all of it is
//! written: the entry, the epoch, the members, the leaves, a welcome in the inbox of each device that is added, the tree.

mod check;
mod write;

use bytes::Bytes;
use wire::event::EntryKind;
use wire::{AccountId, ClientMsgId, Description, DeviceId, Epoch, GroupName, LogId, Seq, WallTime, limits};

use super::batch::{Fold, Place};
use super::tail::StoredEntry;
use crate::tx::Tx;

/// Appends a commit to a chat's log, if it was made for the log's epoch and does what it says, and begins the next epoch.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The chat's log.
    pub log: LogId,
    /// Who commits.
    pub sender: AccountId,
    /// From which device.
    pub device: DeviceId,
    /// The idempotency key, as of a message.
    pub client_msg_id: ClientMsgId,
    /// The epoch it was made for.
    pub epoch: Epoch,
    /// The commit: a PublicMessage of 1 to [`limits::HANDSHAKE_BYTES_MAX`] bytes.
    pub handshake: Bytes,
    /// The change of membership that was asked for.
    pub action: Action,
    /// The devices that the commit adds, in the order of its Add proposals; at most [`limits::COMMIT_ADDS_MAX`].
    pub adds: Vec<NewLeaf>,
    /// The leaves that it removes.
    pub removes: Vec<u32>,
    /// The committer's leaf; `None` in the first commit of a group, whose committer has leaf 0.
    pub leaf: Option<u32>,
    /// The tree of the epoch that it begins: there if and only if devices are added.
    pub tree: Option<Bytes>,
    /// The server's wall time.
    pub now: WallTime,
}

/// A device that a commit adds.
#[derive(Debug, Clone)]
pub struct NewLeaf {
    /// The signature key of its leaf: the device's own (Ed25519).
    pub key: [u8; limits::DEVICE_KEY_BYTES],
    /// Whose device.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// Its welcome, 1 to [`limits::WELCOME_BYTES_MAX`] bytes.
    pub welcome: Bytes,
}

/// What a commit is to change of who is in a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The first commit of a 1:1 chat, which it makes if it is not there. The log's id is
    /// [`direct_chat_id`](crate::keys::direct_chat_id) of the two.
    Direct {
        /// The other account; the same one for notes to oneself.
        peer: AccountId,
    },
    /// The first commit of a group, which it makes; its committer is its admin. The log's id is
    /// [`group_chat_id`](crate::keys::group_chat_id).
    Create {
        /// What it is called.
        name: GroupName,
        /// What it is about.
        description: Description,
        /// Who is in it beside the creator: each with a device that the commit adds.
        members: Vec<AccountId>,
    },
    /// New members, each with a device that the commit adds. They may read the commit and what comes after it.
    Add {
        /// Who.
        accounts: Vec<AccountId>,
    },
    /// Members that go, all of their leaves with them. The commit is the last that they may read.
    Remove {
        /// Who.
        accounts: Vec<AccountId>,
    },
    /// Nobody comes or goes: new keys, a member's new device, leaves of who has left or ended.
    Update,
}

/// A commit that was taken.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its place.
    pub seq: Seq,
    /// Its time.
    pub at: WallTime,
    /// The epoch that it began.
    pub epoch: Epoch,
    /// The entry as frames; `None` for a repeat.
    pub entry: Option<StoredEntry>,
    /// Every member account, those whose membership it ended included: whom fan-out hints. Empty for a repeat.
    pub members: Vec<AccountId>,
    /// What it appended to inboxes. Empty for a repeat, and after an unknown commit: then the sweeper tells their devices.
    pub inboxes: Vec<Welcomed>,
    /// Whether this `client_msg_id` was committed before.
    pub repeat: bool,
}

/// An entry of an inbox.
#[derive(Debug, Clone)]
pub struct Welcomed {
    /// Whose device.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// Its place in the device's inbox.
    pub seq: Seq,
    /// Its time.
    pub at: WallTime,
    /// The entry as a frame.
    pub frame: Bytes,
}

/// Why a commit was not taken. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The sender is not a member, or there is no such chat.
    #[error("the sender is not a member of this log")]
    NotMember,
    /// One of the two of a 1:1 chat has no account.
    #[error("the recipient has no account")]
    RecipientUnknown,
    /// It was made for another epoch than the log's: another commit has won.
    #[error("made for another epoch than the log's, {current}")]
    StaleEpoch {
        /// The log's.
        current: Epoch,
    },
    /// The log's id is not that of these two accounts, or not that of a group that this commit makes.
    #[error("the log's id is not the one of what the commit makes")]
    WrongLog,
    /// The group is there already.
    #[error("the group exists already")]
    ChatExists,
    /// Only an admin may, or nobody: nobody is added to a 1:1 chat or removed from it.
    #[error("the sender is not an admin")]
    NotAdmin,
    /// The committer's leaf is not this device's, or is to be removed.
    #[error("the committer's leaf is not this device's")]
    WrongLeaf,
    /// A leaf of somebody who has gone is not among those that are removed.
    #[error("leaf {leaf} is to be removed, and stays")]
    PendingStays {
        /// Which.
        leaf: u32,
    },
    /// A leaf that is removed is nobody's, or that of a current device of a member who is to stay.
    #[error("leaf {leaf} is not to be removed")]
    MayNotRemove {
        /// Which.
        leaf: u32,
    },
    /// The sender used this `client_msg_id` for something that is no commit.
    #[error("its id was used for something that is no commit")]
    IdUsed,
    /// What is added or removed is not what was asked for.
    #[error("what is added and removed is not what was asked for")]
    Mismatch,
    /// A device is not a current one of its account, or does not have the key of its leaf.
    #[error("device {device} is not a current one, or has another key")]
    DeviceInvalid {
        /// Which.
        device: DeviceId,
    },
    /// An account that is to be added is a member, or a device has a leaf.
    #[error("a member or device of the group already")]
    AlreadyIn,
    /// More than [`limits::GROUP_ACCOUNTS_MAX`] accounts or [`limits::GROUP_LEAVES_MAX`] devices.
    #[error("the group is full")]
    Full,
    /// More bytes, or devices that are added, than one commit may have; or none where there must be some.
    #[error("the commit, its tree or a welcome is empty or too large")]
    TooLarge,
}

impl Commit {
    /// Bytes of commit, tree and welcomes.
    pub fn blob_bytes(&self) -> usize {
        let welcomes = self.adds.iter().map(|add| add.welcome.len()).sum::<usize>();
        self.handshake.len() + self.tree.as_ref().map_or(0, Bytes::len) + welcomes
    }
}

/// Takes a commit, or refuses it; the fold holds what was read, and what earlier ops of the same transaction did.
///
/// Cost: the reads of an append, the leaf table and what trees are needed together with them; then, together, a device for each
/// that is added or removed, an inbox's head for each that is added, and some cursors.
pub(super) fn commit<T: Tx>(tx: &mut T, fold: &mut Fold, op: &Commit) -> Result<Committed, CommitError> {
    if let Some(place) = fold.place(op.sender, op.client_msg_id) {
        return repeat(fold, op, place);
    }
    let plan = check::check(fold, op)?;
    Ok(write::write(tx, fold, op, plan))
}

/// The answer to a commit that is in the log. If it may be there because of a lost answer to this very request, it is
/// answered as if for the first time, so that fan-out is not lost with the answer.
fn repeat(fold: &Fold, op: &Commit, place: &Place) -> Result<Committed, CommitError> {
    let entry = place.entry().filter(|entry| matches!(entry.what, EntryKind::Commit { .. }));
    let entry = entry.ok_or(CommitError::IdUsed)?;
    let again = fold.maybe_committed();
    let stored = || StoredEntry { seq: place.seq, frame: place.frame.clone(), parts: place.parts.clone() };
    Ok(Committed {
        seq: place.seq,
        at: place.at,
        epoch: entry.epoch.next(),
        entry: again.then(stored),
        members: if again { everyone(fold, op) } else { Vec::new() },
        inboxes: Vec::new(),
        repeat: !again,
    })
}

/// Every member after a commit that is in the log, and whom it removed.
fn everyone(fold: &Fold, op: &Commit) -> Vec<AccountId> {
    let mut members = fold.everyone();
    if let Action::Remove { accounts } = &op.action {
        members.extend(accounts);
        members.sort_unstable();
        members.dedup();
    }
    members
}
