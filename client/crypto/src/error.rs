//! Why a call did nothing. Every call that fails leaves the state as it was.

use wire::DeviceId;
use wire_mls::InspectError;

use crate::storage::StorageError;

/// A call did nothing, and why. Those of a peer's bytes are marked by [`MlsError::is_peer`]: refuse the entry, report it, go on.
#[derive(Debug, thiserror::Error)]
pub enum MlsError {
    /// This device is not in the group, or no longer.
    #[error("this device is not in the group")]
    NotMember,
    /// This device is in the group already.
    #[error("this device is in the group already")]
    AlreadyMember,
    /// The group's first commit has not come back yet: it has no epoch in which anything could be said.
    #[error("the group is still being created")]
    Creating,
    /// A commit of this device has not come back yet; only one is made at a time.
    #[error("a commit is pending")]
    Pending,
    /// This device has said [`wire::limits::MESSAGES_PER_EPOCH_MAX`] messages in this epoch: commit an update first.
    #[error("an update must be committed first")]
    UpdateFirst,
    /// The content is larger than [`crate::CONTENT_BYTES_MAX`], or a commit than its bound.
    #[error("it is too large")]
    TooLarge,
    /// More devices than a commit may add, or a group may have.
    #[error("too many devices")]
    TooMany,
    /// The device cannot be added: it is a member already, or is named twice.
    #[error("device {0} is a member already")]
    Duplicate(DeviceId),
    /// The device cannot be removed: it is no member, is named twice, or is this one.
    #[error("device {0} cannot be removed")]
    CannotRemove(DeviceId),
    /// A key package's lifetime is over, or has not begun.
    #[error("the key package of device {0} is out of its lifetime")]
    Lifetime(DeviceId),
    /// A key package whose signatures or content are not right.
    #[error("the key package of device {0} is not valid")]
    KeyPackage(DeviceId),
    /// A lifetime that ends before it begins, or a batch of none or too many.
    #[error("a batch of that shape is not made")]
    Batch,
    /// An exporter's output is at most 65,535 bytes.
    #[error("so many bytes are not exported")]
    Export,

    /// Bytes are not what a group of ours may hold.
    #[error("the bytes are not what a group may hold")]
    Inspect(#[from] InspectError),
    /// The message is of another group than the chat it came in.
    #[error("the message is of another group")]
    WrongGroup,
    /// The entry's epoch differs from the message's.
    #[error("the entry says another epoch than its message")]
    WrongEpoch,
    /// The message is of an epoch that is over: a repetition, or an entry that no server keeping the epoch rule appends.
    #[error("the message is of epoch {message}, the group in {group}")]
    StaleEpoch {
        /// The message's.
        message: u64,
        /// The group's.
        group: u64,
    },
    /// The message is of an epoch to come: commits between are missing.
    #[error("the message is of epoch {message}, the group in {group}")]
    FutureEpoch {
        /// The message's.
        message: u64,
        /// The group's.
        group: u64,
    },
    /// The entry names another sender or `client_msg_id` than its sender authenticated.
    #[error("the entry is relabelled")]
    Relabelled,
    /// The message was opened before, or one after it was: its key is gone.
    #[error("the message's key was used or is gone")]
    Replayed,
    /// The sender has gone further in this epoch than [`wire::limits::MESSAGES_PER_EPOCH_MAX`]; its next epoch opens again.
    #[error("the sender has gone too far in this epoch")]
    TooFar,
    /// A commit in this device's name that it has not made, or not so.
    #[error("a commit of this device that it did not make")]
    NotPending,
    /// A commit that does not fit the group.
    #[error("the commit does not fit the group")]
    Fold(#[from] wire_mls::FoldError),
    /// Nothing that this device holds opens it: no key package, or not for this group.
    #[error("the welcome is for none of this device's key packages, or for another group")]
    Welcome,
    /// Somebody is in the group who may not be, as the caller says.
    #[error("somebody is in the group who may not be")]
    Stranger,
    /// The tree is not the one of the welcome's epoch: fetch it again, or have the add redone. The key package is not used up.
    #[error("the tree is not the welcome's")]
    Tree,
    /// Tampered with, or made wrongly: a signature, a tag, a decryption or a check of the protocol failed.
    #[error("the message is not authentic or not well made")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// State could not be read or written.
    #[error("state cannot be read or written")]
    Storage(#[from] StorageError),
    /// The library failed where it should not, with nobody's bytes at fault.
    #[error("the MLS library failed")]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl MlsError {
    /// Whether what came from elsewhere is at fault, not this call's arguments or this device's state.
    pub fn is_peer(&self) -> bool {
        use MlsError::*;
        match self {
            Inspect(_)
            | WrongGroup
            | WrongEpoch
            | StaleEpoch { .. }
            | FutureEpoch { .. }
            | Relabelled
            | Replayed
            | TooFar
            | NotPending
            | Fold(_)
            | Welcome
            | Stranger
            | Tree
            | Refused(_)
            | Lifetime(_)
            | KeyPackage(_) => true,
            NotMember | AlreadyMember | Creating | Pending | UpdateFirst | TooLarge | TooMany
            | Duplicate(_) | CannotRemove(_) | Batch | Export | Storage(_) | Library(_) => false,
        }
    }

    pub(crate) fn refused(error: impl std::error::Error + Send + Sync + 'static) -> MlsError {
        MlsError::Refused(Box::new(error))
    }

    pub(crate) fn library(error: impl std::error::Error + Send + Sync + 'static) -> MlsError {
        MlsError::Library(Box::new(error))
    }
}
