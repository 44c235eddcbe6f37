//! Receiving the entries of a log, in its order.

use openmls::framing::errors::{MessageDecryptionError, SecretTreeError};
use openmls::prelude::{
    MlsMessageIn, ProcessMessageError, ProcessedMessage, ProcessedMessageContent, ProtocolMessage, Sender,
    StageCommitError, StagedCommit, ValidationError,
};
use openmls::prelude::{Proposal, ProposalOrRefType};
use tls_codec::Deserialize;
use wire::limits::HANDSHAKE_BYTES_MAX;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId};
use wire_mls::inspect::{self, InspectError};
use wire_mls::{Binding, Change, GroupName, Leaf};

use crate::engine::{Call, Mls, Open};
use crate::error::MlsError;
use crate::kv::Kv;
use crate::notes::Asked;
use crate::storage::StorageError;

/// An entry of a chat's log, as the server says it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The group of the chat it came in.
    pub group: GroupName,
    /// The sender's account.
    pub account: AccountId,
    /// The sender's device.
    pub device: DeviceId,
    /// Its idempotency key.
    pub client_msg_id: ClientMsgId,
    /// The epoch it was appended in.
    pub epoch: u64,
    /// The message.
    pub content: &'a [u8],
}

impl<'a> Entry<'a> {
    /// An entry of a chat, as it arrives.
    pub fn of(chat: ChatId, entry: &'a wire::event::Entry) -> Entry<'a> {
        Entry {
            group: GroupName::Chat(chat),
            account: entry.sender,
            device: entry.device,
            client_msg_id: entry.client_msg_id,
            epoch: entry.epoch.0,
            content: &entry.content,
        }
    }
}

/// What an entry turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A message, and who said it.
    Message {
        /// What was encrypted.
        content: Vec<u8>,
        /// The sender, authenticated.
        from: Leaf,
    },
    /// This device's own message, which it cannot decrypt and has in its outbox.
    OwnMessage,
    /// Another's commit: the group is in the next epoch.
    Committed {
        /// What it did.
        change: Change,
        /// What this device's pending commit asked for, which lost and is to be made anew.
        lost: Option<Asked>,
    },
    /// This device's own commit, which won: the group is in the next epoch.
    OwnCommitted {
        /// What it did.
        change: Change,
    },
    /// Another created the group: this device's is dropped. A welcome brings it in, and what it asked for is to be seen to there.
    CreationLost {
        /// What the first commit asked for.
        asked: Asked,
    },
    /// A commit removed this device: the group's state is deleted.
    Removed {
        /// Who did.
        by: Leaf,
    },
}

const PRIVATE_MESSAGE: &[u8] = &[0, 1, 0, 2];

impl Mls {
    /// Receives the next entry of a chat's log.
    ///
    /// # Errors
    /// Those that [`MlsError::is_peer`] marks: refuse the entry, report it, and go on with the next. [`MlsError::NotMember`],
    /// [`MlsError::Creating`] if there is no epoch that could open it, [`MlsError::Storage`].
    pub fn receive(&mut self, kv: &dyn Kv, entry: &Entry<'_>) -> Result<Received, MlsError> {
        if entry.content.starts_with(PRIVATE_MESSAGE) {
            let seen = inspect::application(entry.content)?;
            check_label(entry, seen.group, seen.epoch, seen.client_msg_id)?;
            self.call(kv, |call| call.application(entry))
        } else {
            let seen = inspect::commit(entry.content)?;
            check_label(entry, seen.group, seen.epoch, seen.client_msg_id)?;
            self.call(kv, |call| call.receive_commit(entry, &seen))
        }
    }

    /// What a commit says that it does, to be compared with what was asked for before it is received. Its signatures and tags are
    /// not checked here: [`Mls::receive`] does, on the same bytes.
    ///
    /// # Errors
    /// As [`Mls::receive`].
    pub fn look_at_commit(&mut self, kv: &dyn Kv, entry: &Entry<'_>) -> Result<Change, MlsError> {
        let seen = inspect::commit(entry.content)?;
        check_label(entry, seen.group, seen.epoch, seen.client_msg_id)?;
        self.call(kv, |call| {
            let open = call.open(entry.group)?;
            let change = check_epoch(&open, entry).and_then(|()| open.follow(entry, &seen));
            call.keep(open);
            change
        })
    }
}

/// What the entry says must be what its message says.
fn check_label(
    entry: &Entry<'_>,
    group: GroupName,
    epoch: u64,
    client_msg_id: ClientMsgId,
) -> Result<(), MlsError> {
    if group != entry.group {
        return Err(MlsError::WrongGroup);
    }
    if epoch != entry.epoch {
        return Err(MlsError::WrongEpoch);
    }
    if client_msg_id != entry.client_msg_id {
        return Err(MlsError::Relabelled);
    }
    Ok(())
}

fn check_epoch(open: &Open, entry: &Entry<'_>) -> Result<(), MlsError> {
    let (message, group) = (entry.epoch, open.epoch());
    match message.cmp(&group) {
        std::cmp::Ordering::Less => Err(MlsError::StaleEpoch { message, group }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(MlsError::FutureEpoch { message, group }),
    }
}

impl Call<'_> {
    fn application(&mut self, entry: &Entry<'_>) -> Result<Received, MlsError> {
        let mut open = self.open(entry.group)?;
        if open.is_creating() {
            self.keep(open);
            return Err(MlsError::Creating);
        }
        check_epoch(&open, entry)?;
        let processed = self.process(&mut open, entry)?;
        let from = authenticated_sender(&open, &processed)?;
        if (from.account, from.device) != (entry.account, entry.device)
            || processed.aad() != Binding(entry.client_msg_id).to_bytes()
        {
            return Err(MlsError::Relabelled);
        }
        let received = match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => {
                Received::Message { content: message.into_bytes(), from }
            }
            ProcessedMessageContent::OwnPrivateMessage => Received::OwnMessage,
            _ => return Err(InspectError::Kind.into()),
        };
        self.keep(open);
        Ok(received)
    }

    fn receive_commit(&mut self, entry: &Entry<'_>, seen: &inspect::Commit) -> Result<Received, MlsError> {
        let mut open = self.open(entry.group)?;
        check_epoch(&open, entry)?;
        let is_own = entry.device == self.key.device();
        let is_pending =
            open.note.asked.as_ref().is_some_and(|asked| asked.client_msg_id == entry.client_msg_id);
        if is_own && !is_pending {
            return Err(MlsError::NotPending);
        }
        if open.is_creating() && !is_own {
            // Nobody outside that group can check a signature in it. The server says which commit came first; this one could have.
            if seen.sender != 0 || seen.path.is_some_and(|leaf| leaf.device != entry.device) {
                return Err(MlsError::Relabelled);
            }
            let asked = open.note.asked.take().ok_or(MlsError::NotPending)?;
            self.delete(open)?;
            return Ok(Received::CreationLost { asked });
        }
        let change = open.follow(entry, seen)?;
        let processed = self.process(&mut open, entry)?;
        if authenticated_sender(&open, &processed)? != change.by {
            return Err(MlsError::Relabelled);
        }
        match processed.into_content() {
            ProcessedMessageContent::OwnPendingCommit if is_own => self.merge_own(open, change),
            ProcessedMessageContent::StagedCommitMessage(staged) if !is_own => {
                self.merge(open, *staged, change)
            }
            _ => Err(MlsError::NotPending),
        }
    }

    fn merge_own(&mut self, mut open: Open, change: Change) -> Result<Received, MlsError> {
        open.mls.merge_pending_commit(&self.provider).map_err(MlsError::library)?;
        open.note = Default::default();
        self.save(open)?;
        Ok(Received::OwnCommitted { change })
    }

    fn merge(&mut self, mut open: Open, staged: StagedCommit, change: Change) -> Result<Received, MlsError> {
        let ours = staged.queued_proposals().all(|queued| {
            queued.proposal_or_ref_type() == ProposalOrRefType::Proposal
                && matches!(queued.proposal(), Proposal::Add(_) | Proposal::Remove(_))
        });
        if !ours {
            return Err(InspectError::ByReference.into());
        }
        if staged.self_removed() {
            self.delete(open)?;
            return Ok(Received::Removed { by: change.by });
        }
        let lost = open.note.asked.take();
        open.mls.merge_staged_commit(&self.provider, staged).map_err(MlsError::refused)?;
        open.note = Default::default();
        self.save(open)?;
        Ok(Received::Committed { change, lost })
    }

    fn process(&mut self, open: &mut Open, entry: &Entry<'_>) -> Result<ProcessedMessage, MlsError> {
        debug_assert!(entry.content.len() <= HANDSHAKE_BYTES_MAX, "inspected before");
        let message = MlsMessageIn::tls_deserialize_exact(entry.content).map_err(MlsError::refused)?;
        let message: ProtocolMessage = message.try_into_protocol_message().map_err(MlsError::refused)?;
        open.mls.process_message(&self.provider, message).map_err(classify)
    }
}

impl Open {
    /// What a commit does, if it fits the group and the entry's sender made it.
    fn follow(&self, entry: &Entry<'_>, seen: &inspect::Commit) -> Result<Change, MlsError> {
        let change = self.leaves()?.fold(seen)?;
        if (change.by.account, change.by.device) != (entry.account, entry.device) {
            return Err(MlsError::Relabelled);
        }
        Ok(change)
    }
}

fn authenticated_sender(open: &Open, processed: &ProcessedMessage) -> Result<Leaf, MlsError> {
    match processed.sender() {
        Sender::Member(at) => open.leaf_at(*at),
        _ => Err(InspectError::Sender.into()),
    }
}

fn classify(error: ProcessMessageError<StorageError>) -> MlsError {
    match error {
        ProcessMessageError::StorageError(error) => error.into(),
        ProcessMessageError::InvalidCommit(StageCommitError::OwnCommitMismatch) => MlsError::NotPending,
        ProcessMessageError::ValidationError(ValidationError::UnableToDecrypt(
            MessageDecryptionError::SecretTreeError(error),
        )) => match error {
            SecretTreeError::TooDistantInThePast | SecretTreeError::SecretReuseError => MlsError::Replayed,
            SecretTreeError::TooDistantInTheFuture => MlsError::TooFar,
            other => MlsError::refused(other),
        },
        other => MlsError::refused(other),
    }
}
