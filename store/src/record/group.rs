//! What is stored of groups: who has gone, the leaf table, trees; and of key packages.

use bytes::{BufMut, BytesMut};
use wire::{AccountId, DeviceId, RequestId, Seq, WallTime};

use super::{Fields, Record, RecordError, put_account, put_text};

/// What a group is: `l log g`. A 1:1 chat has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Who made it.
    pub created_by: AccountId,
    /// When.
    pub created_at: WallTime,
    /// Whether its last member has left (G16).
    pub closed: bool,
    /// What it is called.
    pub name: String,
    /// What it is about; may be empty.
    pub description: String,
}

impl Record for Group {
    const NAME: &'static str = "group";

    fn put(&self, to: &mut BytesMut) {
        put_account(to, self.created_by);
        to.put_u64(self.created_at.0);
        to.put_u8(self.closed.into());
        put_text(to, &self.name);
        put_text(to, &self.description);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Group {
            created_by: from.account()?,
            created_at: from.time()?,
            closed: from.flag()?,
            name: from.text()?.to_owned(),
            description: from.text()?.to_owned(),
        })
    }
}

/// A membership that has ended: `l log v account`. What comes of a later one lies under `m`, and the next end replaces this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Former {
    /// It may read entries after this one,
    pub joined: Seq,
    /// up to this one.
    pub left: Seq,
    /// When that was appended.
    pub left_at: WallTime,
}

impl Record for Former {
    const NAME: &'static str = "former member";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.joined.0);
        to.put_u64(self.left.0);
        to.put_u64(self.left_at.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Former { joined: from.seq()?, left: from.seq()?, left_at: from.time()? })
    }
}

/// Whose a leaf of a group's tree is: `l log n leaf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Whose device.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// Its account has left, or it has ended: the next commit removes it.
    pub pending: bool,
}

impl Record for Leaf {
    const NAME: &'static str = "leaf";

    fn put(&self, to: &mut BytesMut) {
        put_account(to, self.account);
        to.put_slice(self.device.as_bytes());
        to.put_u8(self.pending.into());
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Leaf { account: from.account()?, device: from.device()?, pending: from.flag()? })
    }
}

/// Which devices need the tree of an epoch: `l log w epoch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeNeeds {
    /// The place of the commit that began the epoch: who has it has joined.
    pub seq: Seq,
    /// Whom the commit added.
    pub devices: Vec<(AccountId, DeviceId)>,
}

impl Record for TreeNeeds {
    const NAME: &'static str = "need of a tree";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.seq.0);
        for (account, device) in &self.devices {
            put_account(to, *account);
            to.put_slice(device.as_bytes());
        }
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        let (seq, mut devices) = (from.seq()?, Vec::new());
        while !from.is_empty() {
            devices.push((from.account()?, from.device()?));
        }
        Ok(TreeNeeds { seq, devices })
    }
}

/// Which key packages of a device there are: `k device s`. They are numbered, and handed out from the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// The first that is left.
    pub first: u64,
    /// What the next one gets.
    pub next: u64,
    /// The request that published last: a repeat of it changes nothing.
    pub request: RequestId,
}

impl Stock {
    /// How many are left.
    pub fn count(&self) -> u64 {
        self.next.saturating_sub(self.first)
    }
}

impl Record for Stock {
    const NAME: &'static str = "stock of key packages";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.first);
        to.put_u64(self.next);
        to.put_slice(self.request.as_bytes());
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Stock { first: from.number()?, next: from.number()?, request: RequestId::new(from.array()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pinned, pinned_open};
    use super::*;

    const A: AccountId = AccountId::new([0xaa; 16]);
    const D: DeviceId = DeviceId::new([0xdd; 16]);

    #[test]
    fn stored_forms_of_groups_are_pinned() {
        let (a, d) = ("aa".repeat(16), "dd".repeat(16));
        let group = Group {
            created_by: A,
            created_at: WallTime(2),
            closed: true,
            name: "Ünal".into(),
            description: "x".into(),
        };
        pinned(group, &format!("01 {a} 0000000000000002 01 0005 c39c6e616c 0001 78"));
        let former = Former { joined: Seq(1), left: Seq(5), left_at: WallTime(6) };
        pinned(former, "01 0000000000000001 0000000000000005 0000000000000006");
        pinned(Leaf { account: A, device: D, pending: true }, &format!("01 {a} {d} 01"));
        let needs = TreeNeeds { seq: Seq(7), devices: vec![(A, D)] };
        pinned_open(needs, &format!("01 0000000000000007 {a} {d}"), &[9]);
        let stock = Stock { first: 3, next: 10, request: RequestId::new([0xcc; 16]) };
        assert_eq!(stock.count(), 7);
        pinned(stock, &format!("01 0000000000000003 000000000000000a {}", "cc".repeat(16)));
    }
}
