//! What a node asks of the store: one [`Op`], one [`OpOutput`].
//!
//! Each op's transaction body is a file below; it is a function of a transaction, safe to run twice, and retry lives
//! outside it. A refusal (somebody may not, something is not there) is part of the output; an [`crate::StoreError`] is
//! the world's fault and says whether to try again.

mod add_device;
mod append;
pub(crate) mod batch;
mod chats;
pub(crate) mod commit;
mod cursor;
mod device;
pub(crate) mod device_cursors;
pub(crate) mod end_device;
mod find_account;
mod group_state;
mod history;
mod key_packages;
mod last_seen;
pub(crate) mod leave;
mod members;
pub(crate) mod read;
mod receipts;
mod refresh;
mod revoke_device;
pub(crate) mod session;
mod standing;
mod sweep;
mod table;
mod tail;
mod tree;

pub use add_device::{AddDevice, AddDeviceError, DeviceAdded};
pub use append::{Append, AppendError, Appended, Message};
pub use chats::{Chats, ChatsPage, ListedChat};
pub use commit::{Action, Commit, CommitError, Committed, NewLeaf, Welcomed};
pub use cursor::{CursorError, CursorMoved, MemberCursor, MemberCursors, MoveCursor};
pub use device::{CheckDevice, DeviceError, DeviceInfo, Devices};
pub use find_account::{AccountInfo, FindAccount};
pub use group_state::GroupState;
pub use history::{History, HistoryPage, Page};
pub use key_packages::{ClaimKeyPackages, Claimed, ClaimedPackage, PublishError, PublishKeyPackages};
pub use last_seen::SawLast;
pub use leave::{Leave, LeaveError, Left};
pub use members::Members;
pub use receipts::{Receipt, Receipts, ReceiptsError};
pub use refresh::{Refresh, RefreshError, Refreshed};
pub use revoke_device::{DeviceRevoked, RevokeDevice};
pub use session::{ChatState, InboxState, OpenChat, OpenSession, SessionState};
pub use sweep::{Behind, ClearOutbox, EndedDevice, Sweep, Swept};
pub use tail::{MemberAsOf, StoredEntry, Tail, Tailed};
pub use tree::{NoTree, Tree};

use bytes::Bytes;
use wire::AccountId;
use wire::event::Group;

/// What a variant of [`Op`] holds: the op, or the box that is named beside it.
macro_rules! op_type {
    ($op:ident) => {
        $op
    };
    ($op:ident $boxed:ty) => {
        $boxed
    };
}

/// The ops, each with its name in measurements: one list, so that a name cannot stand for another op.
macro_rules! ops {
    ($($(#[$doc:meta])* $op:ident $(($boxed:ty))? = $name:literal,)*) => {
        /// One request to the store. Appends and cursor moves to one log that wait together commit together.
        #[derive(Debug, Clone)]
        pub enum Op {
            $($(#[$doc])* $op(op_type!($op $($boxed)?)),)*
        }

        /// Which [`Op`], without what it asks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum OpKind {
            $(#[doc = concat!("See [`Op::", stringify!($op), "`].")] $op,)*
        }

        impl Op {
            /// Which it is.
            pub fn kind(&self) -> OpKind {
                match self {
                    $(Op::$op(_) => OpKind::$op,)*
                }
            }
        }

        impl OpKind {
            /// Every kind, in the order of its number: `ALL[kind as usize]` is `kind`.
            pub const ALL: &'static [OpKind] = &[$(OpKind::$op),*];

            /// Its name in measurements, in snake case; it never changes.
            pub const fn name(self) -> &'static str {
                match self {
                    $(OpKind::$op => $name,)*
                }
            }
        }
    };
}

ops! {
    /// Appends entries of one device to one log.
    Append = "append",
    /// Moves a device's cursors forward.
    MoveCursor = "move_cursor",
    /// Entries after a place, for delivery.
    Tail = "tail",
    /// A page of history, for a member.
    History = "history",
    /// When each member got and read one entry.
    Receipts = "receipts",
    /// Where every member's cursors stand.
    MemberCursors = "member_cursors",
    /// Who is in a log, for one of them.
    Members = "members",
    /// Who a device is and what it owes and is owed: read when a session begins.
    OpenSession = "open_session",
    /// One chat of [`OpenSession`], read when a hint names a chat the session does not know.
    OpenChat = "open_chat",
    /// Whether a device may still have a session.
    CheckDevice = "check_device",
    /// A page of an account's chats.
    Chats = "chats",
    /// Creates the account of a proved phone number if there is none, and adds a device to it.
    AddDevice = "add_device",
    /// Rotates a refresh token.
    Refresh = "refresh",
    /// An account's devices.
    Devices = "devices",
    /// Ends a device: its record, its tokens, its cursors.
    RevokeDevice = "revoke_device",
    /// The account of a phone number.
    FindAccount = "find_account",
    /// Keeps when an account's last connection ended.
    SawLast = "saw_last",
    /// Outbox keys past their grace time.
    Sweep = "sweep",
    /// Clears outbox keys that were looked at.
    ClearOutbox = "clear_outbox",
    /// Begins a chat's next epoch, and changes who is in it.
    Commit(Box<Commit>) = "commit",
    /// Ends an account's own membership in a group.
    Leave = "leave",
    /// A group as the log knows it, for a member.
    GroupState = "group_state",
    /// The tree of an epoch, for a device that it added.
    Tree = "tree",
    /// Stores key packages of a device.
    PublishKeyPackages = "publish_key_packages",
    /// Takes one key package of each device of some accounts.
    ClaimKeyPackages = "claim_key_packages",
}

/// The answer to an [`Op`], variant for variant.
#[derive(Debug, Clone)]
pub enum OpOutput {
    /// See [`Op::Append`].
    Append(Vec<Result<Appended, AppendError>>),
    /// See [`Op::MoveCursor`].
    MoveCursor(Result<CursorMoved, CursorError>),
    /// See [`Op::Tail`].
    Tail(Tailed),
    /// See [`Op::History`].
    History(Result<HistoryPage, NotMember>),
    /// See [`Op::Receipts`].
    Receipts(Result<Vec<Receipt>, ReceiptsError>),
    /// See [`Op::MemberCursors`].
    MemberCursors(Result<Vec<MemberCursor>, NotMember>),
    /// See [`Op::Members`].
    Members(Result<Vec<AccountId>, NotMember>),
    /// See [`Op::OpenSession`].
    OpenSession(Result<SessionState, DeviceError>),
    /// See [`Op::OpenChat`].
    OpenChat(Result<ChatState, NotMember>),
    /// See [`Op::CheckDevice`].
    CheckDevice(Result<(), DeviceError>),
    /// See [`Op::Chats`].
    Chats(ChatsPage),
    /// See [`Op::AddDevice`].
    AddDevice(Result<DeviceAdded, AddDeviceError>),
    /// See [`Op::Refresh`].
    Refresh(Result<Refreshed, RefreshError>),
    /// See [`Op::Devices`].
    Devices(Vec<DeviceInfo>),
    /// See [`Op::RevokeDevice`].
    RevokeDevice(Result<DeviceRevoked, DeviceError>),
    /// See [`Op::FindAccount`].
    FindAccount(Option<AccountInfo>),
    /// See [`Op::SawLast`].
    SawLast,
    /// See [`Op::Sweep`].
    Sweep(Swept),
    /// See [`Op::ClearOutbox`].
    ClearOutbox(usize),
    /// See [`Op::Commit`].
    Commit(Result<Committed, CommitError>),
    /// See [`Op::Leave`].
    Leave(Result<Left, LeaveError>),
    /// See [`Op::GroupState`].
    GroupState(Result<Group, NotMember>),
    /// See [`Op::Tree`].
    Tree(Result<Vec<Bytes>, NoTree>),
    /// See [`Op::PublishKeyPackages`].
    PublishKeyPackages(Result<u32, PublishError>),
    /// See [`Op::ClaimKeyPackages`].
    ClaimKeyPackages(Claimed),
}

/// The account is not a member of the log at the read version; nothing was read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a member of this log")]
pub struct NotMember;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn r157_every_op_has_a_name_of_its_own() {
        let names: BTreeSet<_> = OpKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), OpKind::ALL.len());
        for (place, &kind) in OpKind::ALL.iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }
}
