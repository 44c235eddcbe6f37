//! A device's MLS state, and the frame of every call: all of a call's changes are kept, or none.

use openmls::prelude::{
    BasicCredential, Capabilities, CredentialType, CredentialWithKey, ExtensionType, GroupId, LeafNodeIndex,
    Member, MlsGroup, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, ProtocolVersion, SenderRatchetConfiguration,
};
use openmls::prelude::{MlsGroupCreateConfig, MlsGroupJoinConfig};
use openmls_traits::OpenMlsProvider;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use wire::limits::MESSAGES_PER_EPOCH_MAX;
use wire::{AccountId, DeviceId};
use wire_mls::{GroupName, LIFETIME_EXTENSION, Leaf, Leaves, device_of, identity, parse_identity};

use crate::device::DeviceKey;
use crate::error::MlsError;
use crate::kv::{Kv, Overlay, Row};
use crate::notes::{Asked, GroupNote};
use crate::provider::Provider;
use crate::{PADDING_BYTES, SUITE};

/// Groups kept decoded; of more, the one longest not used is read anew.
const LOADED_MAX: usize = 8;

/// A device's end of every group it is in.
///
/// It holds no state but what a call has changed since the last [`Mls::drain`], and a few groups decoded. Every call reads through a
/// [`Kv`], succeeds as a whole or changes nothing, and leaves its changes to be drained. The owner persists the drained rows in the
/// transaction in which it keeps what else the call meant (message, outbox, cursor), and lets nothing out before that: a crash in
/// between is as if the call had never been.
pub struct Mls {
    account: AccountId,
    key: DeviceKey,
    generator: ChaCha20Rng,
    rows: Overlay,
    loaded: Vec<Open>,
}

/// A group in hand.
pub(crate) struct Open {
    pub(crate) name: GroupName,
    pub(crate) mls: MlsGroup,
    pub(crate) note: GroupNote,
}

/// What a call works with.
pub(crate) struct Call<'a> {
    pub(crate) provider: Provider<'a>,
    pub(crate) key: &'a DeviceKey,
    pub(crate) account: AccountId,
    loaded: &'a mut Vec<Open>,
}

impl Mls {
    /// A device's state. All randomness comes from `seed`: 32 fresh random bytes each time, since the same seed on the same state makes
    /// the same keys.
    pub fn new(account: AccountId, key: DeviceKey, seed: [u8; 32]) -> Mls {
        Mls {
            account,
            key,
            generator: ChaCha20Rng::from_seed(seed),
            rows: Overlay::new(),
            loaded: Vec::new(),
        }
    }

    /// This device, as its leaves certify it.
    pub fn own(&self) -> Leaf {
        self.key.leaf(self.account)
    }

    /// What the calls since the last time changed, in the order of keys. Whoever takes it persists it, or calls [`Mls::reset`].
    pub fn drain(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows).into_iter().collect()
    }

    /// Forgets what was not drained, and everything decoded: the next call begins from what is stored. For rows that could not be
    /// persisted, together with everything that the calls since the last persisted ones returned.
    pub fn reset(&mut self) {
        self.rows.clear();
        self.loaded.clear();
    }

    pub(crate) fn call<T>(
        &mut self,
        kv: &dyn Kv,
        body: impl FnOnce(&mut Call<'_>) -> Result<T, MlsError>,
    ) -> Result<T, MlsError> {
        let mut call = Call {
            provider: Provider::new(&mut self.generator, kv, &self.rows),
            key: &self.key,
            account: self.account,
            loaded: &mut self.loaded,
        };
        let done = body(&mut call);
        let failure = call.provider.storage().take_failure();
        let changes = call.provider.into_changes();
        if let Some(failure) = failure {
            self.loaded.clear();
            return Err(failure.into());
        }
        let done = done?;
        self.rows.extend(changes);
        Ok(done)
    }

    /// Who is in a group, by leaf.
    ///
    /// # Errors
    /// [`MlsError::NotMember`], [`MlsError::Storage`].
    pub fn members(&mut self, kv: &dyn Kv, group: GroupName) -> Result<Leaves, MlsError> {
        self.look(kv, group, |_, open| open.leaves())
    }

    /// A group's epoch; 0 while it is being created.
    ///
    /// # Errors
    /// [`MlsError::NotMember`], [`MlsError::Storage`].
    pub fn epoch(&mut self, kv: &dyn Kv, group: GroupName) -> Result<u64, MlsError> {
        self.look(kv, group, |_, open| Ok(open.epoch()))
    }

    /// What the pending commit asks for, if there is one: after a crash, what may still be on its way.
    ///
    /// # Errors
    /// [`MlsError::NotMember`], [`MlsError::Storage`].
    pub fn pending(&mut self, kv: &dyn Kv, group: GroupName) -> Result<Option<Asked>, MlsError> {
        self.look(kv, group, |_, open| Ok(open.note.asked.clone()))
    }

    /// Whether this device should commit an update soon: it has said half of what it may say in one epoch.
    ///
    /// # Errors
    /// [`MlsError::NotMember`], [`MlsError::Storage`].
    pub fn needs_update(&mut self, kv: &dyn Kv, group: GroupName) -> Result<bool, MlsError> {
        self.look(kv, group, |_, open| Ok(open.note.sent >= MESSAGES_PER_EPOCH_MAX / 2))
    }

    /// The tree of the group's epoch, for those who join it.
    ///
    /// # Errors
    /// [`MlsError::NotMember`], [`MlsError::Storage`].
    pub fn tree(&mut self, kv: &dyn Kv, group: GroupName) -> Result<Vec<u8>, MlsError> {
        use tls_codec::Serialize;
        self.look(kv, group, |_, open| {
            open.mls.export_ratchet_tree().tls_serialize_detached().map_err(MlsError::library)
        })
    }

    /// A secret that all members of the epoch have, and nobody else (RFC 9420, 8.5); of at most 65,535 bytes.
    ///
    /// # Errors
    /// [`MlsError::Export`] if it is longer; [`MlsError::Creating`], [`MlsError::NotMember`], [`MlsError::Storage`].
    pub fn export(
        &mut self,
        kv: &dyn Kv,
        group: GroupName,
        label: &str,
        context: &[u8],
        length: usize,
    ) -> Result<Vec<u8>, MlsError> {
        if length > usize::from(u16::MAX) {
            return Err(MlsError::Export);
        }
        self.look(kv, group, |provider, open| {
            if open.is_creating() {
                return Err(MlsError::Creating);
            }
            open.mls.export_secret(provider.crypto(), label, context, length).map_err(MlsError::library)
        })
    }

    /// Deletes a group's state: after leaving, or with the chat.
    ///
    /// # Errors
    /// [`MlsError::NotMember`], [`MlsError::Storage`].
    pub fn forget(&mut self, kv: &dyn Kv, group: GroupName) -> Result<(), MlsError> {
        self.call(kv, |call| {
            let open = call.open(group)?;
            call.delete(open)
        })
    }

    fn look<T>(
        &mut self,
        kv: &dyn Kv,
        group: GroupName,
        read: impl FnOnce(&Provider<'_>, &Open) -> Result<T, MlsError>,
    ) -> Result<T, MlsError> {
        self.call(kv, |call| {
            let open = call.open(group)?;
            let result = read(&call.provider, &open);
            call.keep(open);
            result
        })
    }
}

impl std::fmt::Debug for Mls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mls").field("account", &self.account).field("key", &self.key).finish_non_exhaustive()
    }
}

impl Call<'_> {
    pub(crate) fn own(&self) -> Leaf {
        self.key.leaf(self.account)
    }

    pub(crate) fn credential(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(identity(self.account, self.key.device()).to_vec()).into(),
            signature_key: self.key.public().to_vec().into(),
        }
    }

    /// A group, or `None` if this device is not in it. If the call fails before [`Call::keep`] it is read anew next time.
    pub(crate) fn find(&mut self, name: GroupName) -> Result<Option<Open>, MlsError> {
        if let Some(at) = self.loaded.iter().position(|open| open.name == name) {
            return Ok(Some(self.loaded.remove(at)));
        }
        let storage = self.provider.storage();
        let Some(note) = storage.group_note(name)? else { return Ok(None) };
        let mls = MlsGroup::load(storage, &group_id(name))?;
        Ok(mls.map(|mls| Open { name, mls, note }))
    }

    pub(crate) fn open(&mut self, name: GroupName) -> Result<Open, MlsError> {
        self.find(name)?.ok_or(MlsError::NotMember)
    }

    /// Keeps a group decoded, in the state that the call leaves it in.
    pub(crate) fn keep(&mut self, open: Open) {
        if self.loaded.len() == LOADED_MAX {
            self.loaded.remove(0);
        }
        self.loaded.push(open);
    }

    /// Writes the group's note and keeps it decoded; the library has written the rest.
    pub(crate) fn save(&mut self, open: Open) -> Result<(), MlsError> {
        self.provider.storage().set_group_note(open.name, Some(&open.note))?;
        self.keep(open);
        Ok(())
    }

    /// Deletes all of a group's state, but for how far it was: no welcome brings this device back there.
    pub(crate) fn delete(&mut self, mut open: Open) -> Result<(), MlsError> {
        let storage = self.provider.storage();
        if !open.is_creating() {
            storage.set_ended(open.name, open.epoch())?;
        }
        open.mls.delete(storage)?;
        storage.set_group_note(open.name, None)?;
        Ok(())
    }
}

impl Open {
    pub(crate) fn epoch(&self) -> u64 {
        self.mls.epoch().as_u64()
    }

    /// Whether the group's first commit is still pending: nobody else knows of it yet.
    pub(crate) fn is_creating(&self) -> bool {
        self.epoch() == 0
    }

    pub(crate) fn leaves(&self) -> Result<Leaves, MlsError> {
        let row = |member: Member| Ok((member.index.u32(), leaf_of(&member)?));
        Ok(Leaves::from_rows(self.mls.members().map(row).collect::<Result<Vec<_>, MlsError>>()?))
    }

    pub(crate) fn leaf_at(&self, at: LeafNodeIndex) -> Result<Leaf, MlsError> {
        let member = self.mls.member_at(at).ok_or(wire_mls::FoldError::Blank(at.u32()))?;
        leaf_of(&member)
    }
}

/// A member as its leaf certifies it.
///
/// # Errors
/// [`MlsError::Inspect`] if the leaf does not certify itself.
pub(crate) fn leaf_of(member: &Member) -> Result<Leaf, MlsError> {
    use wire_mls::InspectError;
    if member.credential.credential_type() != CredentialType::Basic {
        return Err(InspectError::Leaf.into());
    }
    let (account, device): (AccountId, DeviceId) =
        parse_identity(member.credential.serialized_content()).ok_or(InspectError::Leaf)?;
    let key = member.signature_key[..].try_into().map_err(|_| InspectError::Leaf)?;
    if device_of(&key) != device {
        return Err(InspectError::DeviceKey.into());
    }
    Ok(Leaf { account, device, key })
}

pub(crate) fn group_id(name: GroupName) -> GroupId {
    GroupId::from_slice(&name.to_bytes())
}

/// Generations of a sender's ratchet: none is kept for later, since a log has an order, and as many may be missing as a sender may use.
fn ratchets() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(0, MESSAGES_PER_EPOCH_MAX)
}

pub(crate) fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .padding_size(PADDING_BYTES)
        .max_past_epochs(0)
        .number_of_resumption_psks(0)
        .use_ratchet_tree_extension(false)
        .sender_ratchet_configuration(ratchets())
        .build()
}

pub(crate) fn create_config() -> MlsGroupCreateConfig {
    MlsGroupCreateConfig::builder()
        .ciphersuite(SUITE)
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .padding_size(PADDING_BYTES)
        .max_past_epochs(0)
        .number_of_resumption_psks(0)
        .use_ratchet_tree_extension(false)
        .sender_ratchet_configuration(ratchets())
        .capabilities(capabilities())
        .lifetime(endless())
        .build()
}

/// What a leaf says it understands: our suite, our credential, and the extensions of our key packages.
pub(crate) fn capabilities() -> Capabilities {
    Capabilities::new(
        Some(&[ProtocolVersion::Mls10]),
        Some(&[SUITE]),
        Some(&[ExtensionType::LastResort, ExtensionType::Unknown(LIFETIME_EXTENSION)]),
        Some(&[]),
        Some(&[CredentialType::Basic]),
    )
}

/// The lifetime in every leaf: see [`LIFETIME_EXTENSION`].
pub(crate) fn endless() -> openmls::prelude::Lifetime {
    openmls::prelude::Lifetime::init(0, u64::MAX)
}
