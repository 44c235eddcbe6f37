//! What we keep beside the library's state: of each group what was sent and what is pending, and which key packages there are.

use serde::{Deserialize, Serialize};
use wire::{AccountId, ClientMsgId, DeviceId};
use wire_mls::{GroupName, Leaf};

use crate::storage::{Storage, StorageError};

/// What a pending commit asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Under which the commit is sent, and comes back.
    pub client_msg_id: ClientMsgId,
    /// Devices to add, in the order of the commit.
    pub adds: Vec<Leaf>,
    /// Devices to remove.
    pub removes: Vec<DeviceId>,
}

/// Of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct GroupNote {
    /// Messages of this device in the current epoch.
    pub(crate) sent: u32,
    /// What the pending commit asks for, if there is one.
    pub(crate) asked: Option<Asked>,
}

/// Of a key package of this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyPackageNote {
    pub(crate) reference: [u8; 32],
    pub(crate) until: u64,
    pub(crate) last_resort: bool,
}

/// A group's note as it is stored; further fields go to the end, with a default.
#[derive(Serialize, Deserialize)]
struct StoredGroup {
    sent: u32,
    asked: Option<StoredAsked>,
}

#[derive(Serialize, Deserialize)]
struct StoredAsked {
    id: [u8; 16],
    adds: Vec<([u8; 16], [u8; 16], [u8; 32])>,
    removes: Vec<[u8; 16]>,
}

impl From<&GroupNote> for StoredGroup {
    fn from(note: &GroupNote) -> StoredGroup {
        let asked = note.asked.as_ref().map(|asked| StoredAsked {
            id: *asked.client_msg_id.as_bytes(),
            adds: asked
                .adds
                .iter()
                .map(|leaf| (*leaf.account.as_bytes(), *leaf.device.as_bytes(), leaf.key))
                .collect(),
            removes: asked.removes.iter().map(|device| *device.as_bytes()).collect(),
        });
        StoredGroup { sent: note.sent, asked }
    }
}

impl From<StoredGroup> for GroupNote {
    fn from(stored: StoredGroup) -> GroupNote {
        let leaf = |(account, device, key)| Leaf {
            account: AccountId::new(account),
            device: DeviceId::new(device),
            key,
        };
        let asked = stored.asked.map(|asked| Asked {
            client_msg_id: ClientMsgId::new(asked.id),
            adds: asked.adds.into_iter().map(leaf).collect(),
            removes: asked.removes.into_iter().map(DeviceId::new).collect(),
        });
        GroupNote { sent: stored.sent, asked }
    }
}

fn group_key(group: GroupName) -> Vec<u8> {
    [b"g", &group.to_bytes()[..]].concat()
}

/// Of a group that this device is not in any more, how far it was in it.
fn ended_key(group: GroupName) -> Vec<u8> {
    [b"e", &group.to_bytes()[..]].concat()
}

const KEY_PACKAGES: &[u8] = b"k";

impl Storage<'_> {
    pub(crate) fn group_note(&self, group: GroupName) -> Result<Option<GroupNote>, StorageError> {
        Ok(self.note::<StoredGroup>(&group_key(group))?.map(GroupNote::from))
    }

    pub(crate) fn set_group_note(
        &self,
        group: GroupName,
        note: Option<&GroupNote>,
    ) -> Result<(), StorageError> {
        self.set_note(&group_key(group), note.map(StoredGroup::from).as_ref())
    }

    /// The last epoch of a group that this device was in, and whose state is deleted.
    pub(crate) fn ended(&self, group: GroupName) -> Result<Option<u64>, StorageError> {
        self.note(&ended_key(group))
    }

    pub(crate) fn set_ended(&self, group: GroupName, epoch: u64) -> Result<(), StorageError> {
        self.set_note(&ended_key(group), Some(&epoch))
    }

    pub(crate) fn key_packages(&self) -> Result<Vec<KeyPackageNote>, StorageError> {
        Ok(self.note(KEY_PACKAGES)?.unwrap_or_default())
    }

    pub(crate) fn set_key_packages(&self, notes: &[KeyPackageNote]) -> Result<(), StorageError> {
        self.set_note(KEY_PACKAGES, Some(&notes))
    }
}
