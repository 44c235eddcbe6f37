//! The MLS library's storage, over what is stored and the changes on top of it.
//!
//! Invariant: a call that could not read a row fails, whatever the library made of that.

use std::cell::RefCell;

use openmls_traits::storage::{CURRENT_VERSION, Entity, Key, StorageProvider, traits};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::form::{encode, encode_secrets, encode_state};
use crate::kv::{KEY_PREFIX, Kv, Overlay, ReadError};

/// State could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The owner's store does not answer.
    #[error("a row cannot be read")]
    Read(#[from] ReadError),
    /// A row before it in the same call could not be read; that one's reason is what the call returns.
    #[error("a row could not be read before")]
    Broken,
    /// A row is not what was written; a bug, or a damaged store.
    #[error("a row cannot be decoded")]
    Decode,
    /// A value has no stored form; a bug.
    #[error("a row cannot be encoded")]
    Encode,
    /// Pre-shared keys, queued proposals and foreign signature keys, which we do not use.
    #[error("kept nowhere, since it is not used")]
    Unused,
}

/// What a key is of; a letter in it.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Kind {
    JoinConfig = b'a',
    OwnLeafNodes = b'b',
    Tree = b'c',
    TranscriptHash = b'd',
    Context = b'e',
    ConfirmationTag = b'f',
    GroupState = b'g',
    MessageSecrets = b'h',
    ResumptionPsks = b'i',
    OwnLeafIndex = b'j',
    EpochSecrets = b'k',
    EpochKeyPairs = b'l',
    KeyPair = b'm',
    KeyPackage = b'n',
    /// Ours: see `notes`.
    Note = b'z',
}

/// One call's view: its own changes, then those not persisted yet, then what is stored.
pub(crate) struct Storage<'a> {
    kv: &'a dyn Kv,
    before: &'a Overlay,
    changes: RefCell<Overlay>,
    /// Why a row could not be read. The library takes some such rows for absent ones and goes on; the call must not.
    failure: RefCell<Option<StorageError>>,
}

impl<'a> Storage<'a> {
    pub(crate) fn new(kv: &'a dyn Kv, before: &'a Overlay) -> Storage<'a> {
        Storage { kv, before, changes: RefCell::default(), failure: RefCell::default() }
    }

    /// What the call changed.
    pub(crate) fn into_changes(self) -> Overlay {
        self.changes.into_inner()
    }

    /// Why a row could not be read, if one could not.
    pub(crate) fn take_failure(&self) -> Option<StorageError> {
        self.failure.take()
    }

    fn fail(&self, error: StorageError) -> StorageError {
        self.failure.borrow_mut().get_or_insert(error);
        StorageError::Broken
    }

    /// A note of ours.
    pub(crate) fn note<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StorageError> {
        self.read(note_key(key))
    }

    /// Sets or deletes a note of ours.
    pub(crate) fn set_note<T: Serialize>(&self, key: &[u8], note: Option<&T>) -> Result<(), StorageError> {
        let value = note.map(encode).transpose()?;
        self.put(note_key(key), value);
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        if let Some(value) = self.changes.borrow().get(key) {
            return Ok(value.clone());
        }
        match self.before.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.kv.get(key).map_err(|error| self.fail(error.into())),
        }
    }

    fn put(&self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.changes.borrow_mut().insert(key, value);
    }

    fn read<T: DeserializeOwned>(&self, key: Vec<u8>) -> Result<Option<T>, StorageError> {
        let Some(bytes) = self.get(&key)? else { return Ok(None) };
        ciborium::from_reader(&bytes[..]).map(Some).map_err(|_| self.fail(StorageError::Decode))
    }

    fn get_of<T: Entity<CURRENT_VERSION>>(
        &self,
        kind: Kind,
        key: &impl Key<CURRENT_VERSION>,
    ) -> Result<Option<T>, StorageError> {
        self.read(key_of(kind, key)?)
    }

    fn put_of(
        &self,
        kind: Kind,
        key: &impl Key<CURRENT_VERSION>,
        value: &impl Entity<CURRENT_VERSION>,
    ) -> Result<(), StorageError> {
        self.put(key_of(kind, key)?, Some(encode(value)?));
        Ok(())
    }

    fn delete_of(&self, kind: Kind, key: &impl Key<CURRENT_VERSION>) -> Result<(), StorageError> {
        self.put(key_of(kind, key)?, None);
        Ok(())
    }
}

fn note_key(key: &[u8]) -> Vec<u8> {
    [KEY_PREFIX, &[Kind::Note as u8], key].concat()
}

fn key_of(kind: Kind, key: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, StorageError> {
    Ok([KEY_PREFIX, &[kind as u8], &encode(key)?].concat())
}

fn epoch_key(group: &impl Serialize, epoch: &impl Serialize, leaf: u32) -> Result<Vec<u8>, StorageError> {
    key_of(Kind::EpochKeyPairs, &(group, epoch, leaf))
}

/// Getters, setters and deleters of what is one value for a group.
macro_rules! of_group {
    ($($kind:ident $bound:ident: $get:ident, $put:ident, $delete:ident;)*) => {$(
        fn $get<G: traits::GroupId<CURRENT_VERSION>, V: traits::$bound<CURRENT_VERSION>>(
            &self,
            group: &G,
        ) -> Result<Option<V>, StorageError> {
            self.get_of(Kind::$kind, group)
        }

        fn $put<G: traits::GroupId<CURRENT_VERSION>, V: traits::$bound<CURRENT_VERSION>>(
            &self,
            group: &G,
            value: &V,
        ) -> Result<(), StorageError> {
            self.put_of(Kind::$kind, group, value)
        }

        fn $delete<G: traits::GroupId<CURRENT_VERSION>>(&self, group: &G) -> Result<(), StorageError> {
            self.delete_of(Kind::$kind, group)
        }
    )*};
}

impl StorageProvider<CURRENT_VERSION> for Storage<'_> {
    type Error = StorageError;

    of_group! {
        JoinConfig MlsGroupJoinConfig: mls_group_join_config, write_mls_join_config, delete_group_config;
        Tree TreeSync: tree, write_tree, delete_tree;
        TranscriptHash InterimTranscriptHash:
            interim_transcript_hash, write_interim_transcript_hash, delete_interim_transcript_hash;
        Context GroupContext: group_context, write_context, delete_context;
        ConfirmationTag ConfirmationTag: confirmation_tag, write_confirmation_tag, delete_confirmation_tag;
        ResumptionPsks ResumptionPskStore:
            resumption_psk_store, write_resumption_psk_store, delete_all_resumption_psk_secrets;
        OwnLeafIndex LeafNodeIndex: own_leaf_index, write_own_leaf_index, delete_own_leaf_index;
        EpochSecrets GroupEpochSecrets: group_epoch_secrets, write_group_epoch_secrets, delete_group_epoch_secrets;
    }

    fn message_secrets<G: traits::GroupId<CURRENT_VERSION>, V: traits::MessageSecrets<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get_of(Kind::MessageSecrets, group)
    }

    fn write_message_secrets<
        G: traits::GroupId<CURRENT_VERSION>,
        V: traits::MessageSecrets<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
        secrets: &V,
    ) -> Result<(), StorageError> {
        self.put(key_of(Kind::MessageSecrets, group)?, Some(encode_secrets(secrets)?));
        Ok(())
    }

    fn delete_message_secrets<G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<(), StorageError> {
        self.delete_of(Kind::MessageSecrets, group)
    }

    fn group_state<V: traits::GroupState<CURRENT_VERSION>, G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Option<V>, StorageError> {
        self.get_of(Kind::GroupState, group)
    }

    fn write_group_state<V: traits::GroupState<CURRENT_VERSION>, G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        group: &G,
        state: &V,
    ) -> Result<(), StorageError> {
        self.put(key_of(Kind::GroupState, group)?, Some(encode_state(state)?));
        Ok(())
    }

    fn delete_group_state<G: traits::GroupId<CURRENT_VERSION>>(&self, group: &G) -> Result<(), StorageError> {
        self.delete_of(Kind::GroupState, group)
    }

    // Leaves that were proposed but not committed: we propose nothing by reference, so there is never one.

    fn append_own_leaf_node<G: traits::GroupId<CURRENT_VERSION>, V: traits::LeafNode<CURRENT_VERSION>>(
        &self,
        _: &G,
        _: &V,
    ) -> Result<(), StorageError> {
        Err(StorageError::Unused)
    }

    fn own_leaf_nodes<G: traits::GroupId<CURRENT_VERSION>, V: traits::LeafNode<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<Vec<V>, StorageError> {
        Ok(self.read(key_of(Kind::OwnLeafNodes, group)?)?.unwrap_or_default())
    }

    fn delete_own_leaf_nodes<G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        group: &G,
    ) -> Result<(), StorageError> {
        self.delete_of(Kind::OwnLeafNodes, group)
    }

    // Key pairs.

    fn write_encryption_key_pair<
        K: traits::EncryptionKey<CURRENT_VERSION>,
        V: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        key: &K,
        pair: &V,
    ) -> Result<(), StorageError> {
        self.put_of(Kind::KeyPair, key, pair)
    }

    fn encryption_key_pair<
        V: traits::HpkeKeyPair<CURRENT_VERSION>,
        K: traits::EncryptionKey<CURRENT_VERSION>,
    >(
        &self,
        key: &K,
    ) -> Result<Option<V>, StorageError> {
        self.get_of(Kind::KeyPair, key)
    }

    fn delete_encryption_key_pair<K: traits::EncryptionKey<CURRENT_VERSION>>(
        &self,
        key: &K,
    ) -> Result<(), StorageError> {
        self.delete_of(Kind::KeyPair, key)
    }

    fn write_encryption_epoch_key_pairs<
        G: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        V: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
        epoch: &E,
        leaf: u32,
        pairs: &[V],
    ) -> Result<(), StorageError> {
        self.put(epoch_key(group, epoch, leaf)?, Some(encode(pairs)?));
        Ok(())
    }

    fn encryption_epoch_key_pairs<
        G: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        V: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
        epoch: &E,
        leaf: u32,
    ) -> Result<Vec<V>, StorageError> {
        Ok(self.read(epoch_key(group, epoch, leaf)?)?.unwrap_or_default())
    }

    fn delete_encryption_epoch_key_pairs<
        G: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
    >(
        &self,
        group: &G,
        epoch: &E,
        leaf: u32,
    ) -> Result<(), StorageError> {
        self.put(epoch_key(group, epoch, leaf)?, None);
        Ok(())
    }

    fn write_key_package<
        K: traits::HashReference<CURRENT_VERSION>,
        V: traits::KeyPackage<CURRENT_VERSION>,
    >(
        &self,
        reference: &K,
        package: &V,
    ) -> Result<(), StorageError> {
        self.put_of(Kind::KeyPackage, reference, package)
    }

    fn key_package<K: traits::HashReference<CURRENT_VERSION>, V: traits::KeyPackage<CURRENT_VERSION>>(
        &self,
        reference: &K,
    ) -> Result<Option<V>, StorageError> {
        self.get_of(Kind::KeyPackage, reference)
    }

    fn delete_key_package<K: traits::HashReference<CURRENT_VERSION>>(
        &self,
        reference: &K,
    ) -> Result<(), StorageError> {
        self.delete_of(Kind::KeyPackage, reference)
    }

    // What we do not use. Reading finds nothing, deleting has nothing to delete, writing fails.

    fn queue_proposal<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        V: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
        _: &R,
        _: &V,
    ) -> Result<(), StorageError> {
        Err(StorageError::Unused)
    }

    fn queued_proposal_refs<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<Vec<R>, StorageError> {
        Ok(Vec::new())
    }

    fn queued_proposals<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        V: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
    ) -> Result<Vec<(R, V)>, StorageError> {
        Ok(Vec::new())
    }

    fn remove_proposal<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        _: &G,
        _: &R,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    fn clear_proposal_queue<G: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    fn write_signature_key_pair<
        K: traits::SignaturePublicKey<CURRENT_VERSION>,
        V: traits::SignatureKeyPair<CURRENT_VERSION>,
    >(
        &self,
        _: &K,
        _: &V,
    ) -> Result<(), StorageError> {
        Err(StorageError::Unused)
    }

    fn signature_key_pair<
        K: traits::SignaturePublicKey<CURRENT_VERSION>,
        V: traits::SignatureKeyPair<CURRENT_VERSION>,
    >(
        &self,
        _: &K,
    ) -> Result<Option<V>, StorageError> {
        Ok(None)
    }

    fn delete_signature_key_pair<K: traits::SignaturePublicKey<CURRENT_VERSION>>(
        &self,
        _: &K,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    fn write_psk<P: traits::PskId<CURRENT_VERSION>, V: traits::PskBundle<CURRENT_VERSION>>(
        &self,
        _: &P,
        _: &V,
    ) -> Result<(), StorageError> {
        Err(StorageError::Unused)
    }

    fn psk<V: traits::PskBundle<CURRENT_VERSION>, P: traits::PskId<CURRENT_VERSION>>(
        &self,
        _: &P,
    ) -> Result<Option<V>, StorageError> {
        Ok(None)
    }

    fn delete_psk<P: traits::PskId<CURRENT_VERSION>>(&self, _: &P) -> Result<(), StorageError> {
        Ok(())
    }
}
