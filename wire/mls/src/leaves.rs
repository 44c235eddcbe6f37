//! The table from leaf to device that a server keeps of a group.
//!
//! It follows a group's tree without holding it: a remove blanks a leaf, an add takes the leftmost blank one or a new one at the right
//! (RFC 9420, 7.7, 12.1.1), in the order that the commit names them, removes first (12.3). So the table's next free leaf is the least
//! number that is not in it, however wide the tree is.

use std::collections::{BTreeMap, BTreeSet};

use wire::DeviceId;
use wire::limits::GROUP_LEAVES_MAX;

use crate::inspect::{Commit, Leaf};

/// Leaf number to the device there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaves(BTreeMap<u32, Leaf>);

/// What a commit changed, by leaf, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Who made it.
    pub by: Leaf,
    /// Devices removed.
    pub removes: Vec<(u32, Leaf)>,
    /// Devices added, and where.
    pub adds: Vec<(u32, Leaf)>,
    /// Whether the committer has fresh keys.
    pub path: bool,
}

/// A commit does not fit the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The committer, or a device to be removed, is not there.
    #[error("nobody is at leaf {0}")]
    Blank(u32),
    /// A committer cannot remove itself, nor anyone twice.
    #[error("leaf {0} cannot be removed by this commit")]
    Removal(u32),
    /// The new leaf of the committer is another device's.
    #[error("the committer would become another device")]
    Identity,
    /// The device is a member already.
    #[error("device {0} is a member already")]
    Duplicate(DeviceId),
    /// More than [`GROUP_LEAVES_MAX`] members.
    #[error("the group is full")]
    Full,
}

impl Leaves {
    /// The group that its creator has alone.
    pub fn created_by(creator: Leaf) -> Leaves {
        Leaves(BTreeMap::from([(0, creator)]))
    }

    /// Of rows kept before.
    pub fn from_rows(rows: impl IntoIterator<Item = (u32, Leaf)>) -> Leaves {
        Leaves(rows.into_iter().collect())
    }

    /// Who is at a leaf.
    pub fn at(&self, leaf: u32) -> Option<&Leaf> {
        self.0.get(&leaf)
    }

    /// All of them, by leaf.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Leaf)> {
        self.0.iter().map(|(at, leaf)| (*at, leaf))
    }

    /// Devices in the group.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Follows a commit, which must have been made for this table's epoch: that is the caller's to know.
    ///
    /// # Errors
    /// [`FoldError`] if it does not fit; the table is as before.
    pub fn fold(&mut self, commit: &Commit) -> Result<Change, FoldError> {
        let by = *self.at(commit.sender).ok_or(FoldError::Blank(commit.sender))?;
        if commit.path.is_some_and(|leaf| leaf != by) {
            return Err(FoldError::Identity);
        }
        let mut next = self.0.clone();
        let mut removes = Vec::with_capacity(commit.removes.len());
        for at in &commit.removes {
            if *at == commit.sender || removes.iter().any(|(removed, _)| removed == at) {
                return Err(FoldError::Removal(*at));
            }
            removes.push((*at, next.remove(at).ok_or(FoldError::Blank(*at))?));
        }
        let mut devices: BTreeSet<DeviceId> = next.values().map(|leaf| leaf.device).collect();
        let mut adds = Vec::with_capacity(commit.adds.len());
        let mut free = 0;
        for added in &commit.adds {
            if !devices.insert(added.leaf.device) {
                return Err(FoldError::Duplicate(added.leaf.device));
            }
            while next.contains_key(&free) {
                free += 1;
            }
            next.insert(free, added.leaf);
            adds.push((free, added.leaf));
        }
        if next.len() > GROUP_LEAVES_MAX {
            return Err(FoldError::Full);
        }
        self.0 = next;
        Ok(Change { by, removes, adds, path: commit.path.is_some() })
    }
}
