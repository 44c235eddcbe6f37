//! Joining by a welcome.

use openmls::prelude::{
    CreationFromExternalError, JoinBuilder, MlsMessageBodyIn, MlsMessageIn, ProcessedWelcome, RatchetTreeIn,
    StagedWelcome, WelcomeError,
};
use openmls_traits::OpenMlsProvider;
use tls_codec::Deserialize;
use wire::limits::GROUP_LEAVES_MAX;
use wire_mls::inspect::{self, InspectError};
use wire_mls::{FoldError, GroupName, Leaf, Leaves};

use crate::engine::{Call, Mls, Open, group_id, join_config, leaf_of};
use crate::error::MlsError;
use crate::kv::Kv;
use crate::notes::GroupNote;
use crate::storage::StorageError;

/// A group that this device has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The epoch: the first whose entries open.
    pub epoch: u64,
    /// Who is in it.
    pub members: Leaves,
    /// Who added this device, by its signature.
    pub by: Leaf,
}

impl Mls {
    /// Joins a group by this device's welcome and the tree of its epoch. The key package is used up, unless it is the last resort.
    /// A group of this device's own that is still being created gives way: it has lost. So does one in which it is, to a welcome of a
    /// later epoch, since then it was removed in between. Nothing leads back: a last resort opens its welcomes again and again, and in
    /// an epoch that it was in this device would begin its ratchet anew, and encrypt for those who were removed since.
    ///
    /// # Errors
    /// [`MlsError::Tree`] if the tree is not the welcome's: fetch it again, or have the add redone; the key package still opens the
    /// right one. [`MlsError::Welcome`], [`MlsError::Inspect`], [`MlsError::Refused`], [`MlsError::AlreadyMember`] if
    /// it is of an epoch that this device's group is in or past; [`MlsError::StaleEpoch`] if it is of one that a group was in which
    /// it is no longer; [`MlsError::Storage`].
    pub fn join(
        &mut self,
        kv: &dyn Kv,
        group: GroupName,
        welcome: &[u8],
        tree: &[u8],
    ) -> Result<Joined, MlsError> {
        self.join_if(kv, group, welcome, tree, |_| true)
    }

    /// The same, if those who are in it may be.
    ///
    /// # Errors
    /// [`MlsError::Stranger`] if they may not; else as [`Mls::join`]. The key package is not used up.
    pub fn join_if(
        &mut self,
        kv: &dyn Kv,
        group: GroupName,
        welcome: &[u8],
        tree: &[u8],
        may: impl FnOnce(&Leaves) -> bool,
    ) -> Result<Joined, MlsError> {
        let reference = inspect::welcome(welcome)?;
        // Before anything is made of it: it has no more nodes than a group may have, and every leaf certifies itself.
        inspect::tree(tree).map_err(|_| MlsError::Tree)?;
        self.call(kv, |call| {
            let own = call.give_way(group)?;
            let staged = call.stage(group, welcome, tree)?;
            let epoch = staged.group_context().epoch().as_u64();
            if own.is_some_and(|own| epoch <= own) {
                return Err(MlsError::AlreadyMember);
            }
            if let Some(ended) = call.provider.storage().ended(group)?.filter(|ended| epoch <= *ended) {
                return Err(MlsError::StaleEpoch { message: epoch, group: ended });
            }
            let members = check_members(call, &staged)?;
            if !may(&members) {
                return Err(MlsError::Stranger);
            }
            let by = *members.at(staged.welcome_sender_index().u32()).ok_or(MlsError::Tree)?;
            let mls = staged.into_group(&call.provider).map_err(classify)?;
            call.used_key_package(&reference)?;
            call.save(Open { name: group, mls, note: GroupNote::default() })?;
            Ok(Joined { epoch, members, by })
        })
    }
}

impl Call<'_> {
    /// Deletes the group that there is, if the call succeeds, and says which epoch it is in.
    fn give_way(&mut self, group: GroupName) -> Result<Option<u64>, MlsError> {
        let Some(open) = self.find(group)? else { return Ok(None) };
        let epoch = (!open.is_creating()).then(|| open.epoch());
        self.delete(open)?;
        Ok(epoch)
    }

    fn stage(&mut self, group: GroupName, welcome: &[u8], tree: &[u8]) -> Result<StagedWelcome, MlsError> {
        let tree = RatchetTreeIn::tls_deserialize_exact(tree).map_err(|_| MlsError::Tree)?;
        let message = MlsMessageIn::tls_deserialize_exact(welcome).map_err(MlsError::refused)?;
        let MlsMessageBodyIn::Welcome(welcome) = message.extract() else {
            return Err(InspectError::Kind.into());
        };
        let processed =
            ProcessedWelcome::new_from_welcome(&self.provider, &join_config(), welcome).map_err(classify)?;
        let info = processed.unverified_group_info();
        if *info.group_id() != group_id(group) {
            return Err(MlsError::Welcome);
        }
        if info.group_context().extensions().iter().next().is_some() {
            return Err(InspectError::Kind.into());
        }
        // Lifetimes are for those who add; those in leaves are endless anyway.
        JoinBuilder::new(&self.provider, processed)
            .with_ratchet_tree(tree)
            .skip_lifetime_validation()
            .build()
            .map_err(classify)
    }
}

/// Every leaf certifies itself, no device is there twice, and one is this device.
fn check_members(call: &Call<'_>, staged: &StagedWelcome) -> Result<Leaves, MlsError> {
    let mut rows = Vec::new();
    for member in staged.members() {
        rows.push((member.index.u32(), leaf_of(&member)?));
    }
    let mut devices: Vec<_> = rows.iter().map(|(_, leaf)| leaf.device).collect();
    devices.sort_unstable();
    if let Some(pair) = devices.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(FoldError::Duplicate(pair[0]).into());
    }
    if rows.len() > GROUP_LEAVES_MAX {
        return Err(FoldError::Full.into());
    }
    let own = staged.own_leaf_index().u32();
    if !rows.contains(&(own, call.own())) {
        return Err(MlsError::Welcome);
    }
    Ok(Leaves::from_rows(rows))
}

fn classify(error: WelcomeError<StorageError>) -> MlsError {
    match error {
        WelcomeError::StorageError(error)
        | WelcomeError::PublicGroupError(CreationFromExternalError::WriteToStorageError(error)) => {
            error.into()
        }
        WelcomeError::NoMatchingKeyPackage | WelcomeError::JoinerSecretNotFound => MlsError::Welcome,
        WelcomeError::PublicGroupError(
            CreationFromExternalError::TreeHashMismatch
            | CreationFromExternalError::TreeSyncError(_)
            | CreationFromExternalError::UnknownSender
            | CreationFromExternalError::InvalidGroupInfoSignature
            | CreationFromExternalError::LeafNodeValidation(_)
            | CreationFromExternalError::UnmergedLeafNotADescendant,
        )
        | WelcomeError::PublicTreeError(_) => MlsError::Tree,
        other => MlsError::refused(other),
    }
}
