//! Making commits: the first of a chat, adds, removes and updates.
//!
//! A commit is pending until it comes back in the log: only the server knows which of several for one epoch wins.

use std::collections::BTreeSet;

use openmls::prelude::{KeyPackage, LeafNodeIndex, MlsGroup, RatchetTreeIn};
use openmls_traits::OpenMlsProvider;
use tls_codec::Serialize;
use wire::limits::{COMMIT_ADDS_MAX, GROUP_LEAVES_MAX, HANDSHAKE_BYTES_MAX};
use wire::request::{Action, CommitGroup, NewDevice};
use wire::{ChatId, ClientMsgId, DeviceId, Epoch};
use wire_mls::inspect;
use wire_mls::{Binding, GroupName, Leaf};

use crate::engine::{Call, Mls, Open, create_config, group_id};
use crate::error::MlsError;
use crate::kv::Kv;
use crate::notes::{Asked, GroupNote};

/// What a commit is to do. With neither adds nor removes it is an update: fresh keys for this device.
#[derive(Debug, Clone, Default)]
pub struct Wanted<'a> {
    /// Key packages of the devices to add, at most [`COMMIT_ADDS_MAX`].
    pub adds: &'a [Vec<u8>],
    /// Devices to remove.
    pub removes: &'a [DeviceId],
}

/// A commit to send, with what it gives to those whom it adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The commit, a PublicMessage, at most [`HANDSHAKE_BYTES_MAX`] bytes.
    pub commit: Vec<u8>,
    /// The epoch it was made for.
    pub epoch: u64,
    /// For each device added, in their order, a welcome that holds its secrets alone.
    pub welcomes: Vec<(Leaf, Vec<u8>)>,
    /// The tree of the next epoch, for all who are added; `None` if nobody is.
    pub tree: Option<Vec<u8>>,
}

impl Committed {
    /// The request that says it in a chat: the header, and the bytes that follow it in parts.
    pub fn request(
        &self,
        chat: ChatId,
        client_msg_id: ClientMsgId,
        action: Action,
    ) -> (CommitGroup, Vec<u8>) {
        let tree = self.tree.as_deref().unwrap_or_default();
        let adds = self.welcomes.iter().map(|(leaf, welcome)| NewDevice {
            account: leaf.account,
            device: leaf.device,
            welcome_bytes: welcome.len() as u32,
        });
        let header = CommitGroup {
            chat,
            client_msg_id,
            epoch: Epoch(self.epoch),
            action,
            adds: adds.collect(),
            commit_bytes: self.commit.len() as u32,
            tree_bytes: tree.len() as u32,
        };
        let welcomes = self.welcomes.iter().map(|(_, welcome)| &welcome[..]);
        let bytes: Vec<&[u8]> = [&self.commit[..], tree].into_iter().chain(welcomes).collect();
        (header, bytes.concat())
    }
}

impl Mls {
    /// Creates a group of this device alone, with a pending commit that moves it to epoch 1. Nothing can be said in it until that comes
    /// back; if another's first commit comes instead, the group is dropped and a welcome to the other one follows.
    ///
    /// Units: `now` is in wall seconds; the adds' lifetimes are checked against it.
    ///
    /// # Errors
    /// [`MlsError::AlreadyMember`]; else as [`Mls::commit`].
    pub fn create(
        &mut self,
        kv: &dyn Kv,
        group: GroupName,
        adds: &[Vec<u8>],
        client_msg_id: ClientMsgId,
        now: u64,
    ) -> Result<Committed, MlsError> {
        self.call(kv, |call| {
            if let Some(open) = call.find(group)? {
                call.keep(open);
                return Err(MlsError::AlreadyMember);
            }
            let credential = call.credential();
            let id = group_id(group);
            let mls = MlsGroup::new_with_group_id(&call.provider, call.key, &create_config(), id, credential)
                .map_err(MlsError::library)?;
            let open = Open { name: group, mls, note: GroupNote::default() };
            call.commit(open, &Wanted { adds, removes: &[] }, client_msg_id, now)
        })
    }

    /// Makes a commit. It has a path, that is fresh keys for this device, unless it only adds.
    ///
    /// Units: `now` is in wall seconds; the adds' lifetimes are checked against it. Cost: see docs/BENCHMARKS.md, "Encryption".
    ///
    /// # Errors
    /// [`MlsError::Pending`] while a commit of this device is, [`MlsError::Creating`] before the first came back. Of what is wanted:
    /// [`MlsError::TooMany`], [`MlsError::Duplicate`], [`MlsError::CannotRemove`], [`MlsError::Inspect`], [`MlsError::KeyPackage`],
    /// [`MlsError::Lifetime`]. [`MlsError::TooLarge`] if the commit would be: remove first, add fewer.
    pub fn commit(
        &mut self,
        kv: &dyn Kv,
        group: GroupName,
        wanted: &Wanted<'_>,
        client_msg_id: ClientMsgId,
        now: u64,
    ) -> Result<Committed, MlsError> {
        self.call(kv, |call| {
            let open = call.open(group)?;
            if open.note.asked.is_some() {
                let error = if open.is_creating() { MlsError::Creating } else { MlsError::Pending };
                call.keep(open);
                return Err(error);
            }
            call.commit(open, wanted, client_msg_id, now)
        })
    }

    /// Drops the pending commit, which the server has refused for good, and says what it asked for; a group that it would have created
    /// goes with it. Never call it for a commit whose outcome is unknown: that comes back in the log, or another one does.
    ///
    /// # Errors
    /// [`MlsError::NotMember`], [`MlsError::Storage`].
    pub fn drop_pending(&mut self, kv: &dyn Kv, group: GroupName) -> Result<Option<Asked>, MlsError> {
        self.call(kv, |call| {
            let mut open = call.open(group)?;
            let asked = open.note.asked.take();
            if open.is_creating() {
                call.delete(open)?;
            } else {
                open.mls.clear_pending_commit(call.provider.storage())?;
                call.save(open)?;
            }
            Ok(asked)
        })
    }
}

/// What is wanted, as the library takes it.
struct Checked {
    packages: Vec<KeyPackage>,
    /// What those say.
    adds: Vec<inspect::KeyPackage>,
    removes: Vec<LeafNodeIndex>,
}

impl Call<'_> {
    fn commit(
        &mut self,
        mut open: Open,
        wanted: &Wanted<'_>,
        client_msg_id: ClientMsgId,
        now: u64,
    ) -> Result<Committed, MlsError> {
        let Checked { packages, adds, removes } = self.check(&open, wanted, now)?;
        let epoch = open.epoch();
        open.mls.set_aad(Binding(client_msg_id).to_bytes().to_vec());
        let provider = &self.provider;
        let bundle = open
            .mls
            .commit_builder()
            .consume_proposal_store(false)
            .force_self_update(wanted.adds.is_empty())
            .propose_adds(packages)
            .propose_removals(removes)
            .load_psks(provider.storage())
            .map_err(MlsError::library)?
            .build(provider.rand(), provider.crypto(), self.key, |_| true)
            .map_err(MlsError::library)?
            .stage_commit(provider)
            .map_err(MlsError::library)?;
        let commit = bundle.commit().tls_serialize_detached().map_err(MlsError::library)?;
        if commit.len() > HANDSHAKE_BYTES_MAX {
            return Err(MlsError::TooLarge);
        }
        let welcomes = match bundle.to_welcome_msg() {
            Some(welcome) => welcomes(&welcome.tls_serialize_detached().map_err(MlsError::library)?, &adds)?,
            None => Vec::new(),
        };
        let tree = if adds.is_empty() { None } else { Some(self.next_tree(&open)?) };
        let adds = adds.into_iter().map(|seen| seen.leaf).collect();
        open.note.asked = Some(Asked { client_msg_id, adds, removes: wanted.removes.to_vec() });
        self.save(open)?;
        Ok(Committed { commit, epoch, welcomes, tree })
    }

    /// Checks what is wanted: key packages and what they say, and the leaves to remove.
    fn check(&self, open: &Open, wanted: &Wanted<'_>, now: u64) -> Result<Checked, MlsError> {
        let leaves = open.leaves()?;
        let mut members: BTreeSet<DeviceId> = leaves.iter().map(|(_, leaf)| leaf.device).collect();
        let mut removes = Vec::with_capacity(wanted.removes.len());
        for device in wanted.removes {
            if *device == self.key.device() || !members.remove(device) {
                return Err(MlsError::CannotRemove(*device));
            }
            let at = leaves.iter().find(|(_, leaf)| leaf.device == *device);
            removes.push(LeafNodeIndex::new(at.ok_or(MlsError::CannotRemove(*device))?.0));
        }
        if wanted.adds.len() > COMMIT_ADDS_MAX || members.len() + wanted.adds.len() > GROUP_LEAVES_MAX {
            return Err(MlsError::TooMany);
        }
        let (mut packages, mut adds) = (Vec::new(), Vec::new());
        for bytes in wanted.adds {
            let (seen, package) = self.check_key_package(bytes, now)?;
            if !members.insert(seen.leaf.device) {
                return Err(MlsError::Duplicate(seen.leaf.device));
            }
            packages.push(package);
            adds.push(seen);
        }
        Ok(Checked { packages, adds, removes })
    }

    /// The tree of the epoch that the pending commit leads to.
    fn next_tree(&self, open: &Open) -> Result<Vec<u8>, MlsError> {
        let pending = open.mls.pending_commit().expect("the commit was staged");
        let tree = pending
            .export_ratchet_tree(self.provider.crypto(), open.mls.export_ratchet_tree())
            .map_err(MlsError::library)?
            .expect("a member's commit has a tree");
        RatchetTreeIn::from(tree).tls_serialize_detached().map_err(MlsError::library)
    }
}

/// A welcome for each device added, in their order.
fn welcomes(welcome: &[u8], adds: &[inspect::KeyPackage]) -> Result<Vec<(Leaf, Vec<u8>)>, MlsError> {
    let mut welcomes = Vec::with_capacity(adds.len());
    let split = inspect::split_welcome(welcome)?;
    for seen in adds {
        let own = split.iter().find(|(reference, _)| *reference == seen.reference);
        welcomes.push((seen.leaf, own.expect("the library makes one for each").1.clone()));
    }
    Ok(welcomes)
}
