//! What is stored of logs: heads, members, cursors, receipts.

use bytes::{BufMut, BytesMut};
use wire::{AccountId, Epoch, MemberRole, Seq, WallTime};

use super::{Fields, Record, RecordError, put_account, put_option};
use crate::tx::{Stamped, VERSIONSTAMP_BYTES, Versionstamp};

/// Where a log ends: `l log h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Its last place.
    pub seq: Seq,
    /// When that was appended.
    pub last_at: WallTime,
    /// The epoch of its group; zero if there is none. It lies here since every append compares with it and reads this.
    pub epoch: Epoch,
    /// Somebody has gone whose leaves are still in the group: nothing but a commit that removes them is appended.
    pub commit_first: bool,
    /// The last place at which somebody's membership ended.
    pub ended: Seq,
}

impl Head {
    fn has_group(&self) -> bool {
        (self.epoch, self.commit_first, self.ended) != (Epoch::ZERO, false, Seq::ZERO)
    }
}

impl Record for Head {
    const NAME: &'static str = "head";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.seq.0);
        to.put_u64(self.last_at.0);
        if self.has_group() {
            to.put_u64(self.epoch.0);
            to.put_u8(self.commit_first.into());
            to.put_u64(self.ended.0);
        }
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        let head = Head { seq: from.seq()?, last_at: from.time()?, ..Head::default() };
        if from.is_empty() {
            return Ok(head);
        }
        let epoch = Epoch(from.number()?);
        Ok(Head { epoch, commit_first: from.flag()?, ended: from.seq()?, ..head })
    }
}

/// Where a message went: `l log i account client_msg_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    /// Its place.
    pub seq: Seq,
    /// Its time.
    pub at: WallTime,
    /// The incarnation it was committed in.
    pub incarnation: u64,
    /// Its commit.
    pub stamp: Versionstamp,
}

impl Idempotency {
    /// The stored bytes of a record whose `stamp` the commit fills in.
    pub fn encode_stamped(seq: Seq, at: WallTime, incarnation: u64) -> Stamped {
        let bytes = Idempotency { seq, at, incarnation, stamp: [0; VERSIONSTAMP_BYTES] }.encode();
        Stamped::new(&bytes[..bytes.len() - VERSIONSTAMP_BYTES], &[])
    }
}

impl Record for Idempotency {
    const NAME: &'static str = "idempotency record";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.seq.0);
        to.put_u64(self.at.0);
        to.put_u64(self.incarnation);
        to.put_slice(&self.stamp);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Idempotency {
            seq: from.seq()?,
            at: from.time()?,
            incarnation: from.number()?,
            stamp: from.array()?,
        })
    }
}

/// A member of a log: `l log m account`. Who is no member any more has none ([`Former`](super::Former)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Member {
    /// It may read entries after this one.
    pub joined: Seq,
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountId>,
    /// What it may in a group.
    pub role: MemberRole,
}

impl Record for Member {
    const NAME: &'static str = "member";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.joined.0);
        put_option(to, self.peer, put_account);
        if self.role == MemberRole::Admin {
            to.put_u8(1);
        }
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        let (joined, peer) = (from.seq()?, from.option(Fields::account)?);
        let role = match from.is_empty() {
            true => MemberRole::Member,
            // One form for each record: a member's role is not said.
            false if from.flag()? => MemberRole::Admin,
            false => return Err(from.damaged("a role that nobody writes")),
        };
        Ok(Member { joined, peer, role })
    }
}

/// Where a device is in a log: `l log d account device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceCursor {
    /// It has everything up to here.
    pub delivered: Seq,
}

impl Record for DeviceCursor {
    const NAME: &'static str = "device cursor";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.delivered.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(DeviceCursor { delivered: from.seq()? })
    }
}

/// Where a member is in a log: `l log c account`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursors {
    /// Delivered up to here.
    pub delivered: Seq,
    /// When it got there.
    pub delivered_at: WallTime,
    /// Read up to here.
    pub read: Seq,
    /// When it got there.
    pub read_at: WallTime,
}

impl Record for Cursors {
    const NAME: &'static str = "member cursors";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.delivered.0);
        to.put_u64(self.delivered_at.0);
        to.put_u64(self.read.0);
        to.put_u64(self.read_at.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Cursors {
            delivered: from.seq()?,
            delivered_at: from.time()?,
            read: from.seq()?,
            read_at: from.time()?,
        })
    }
}

/// A cursor reached a place: `l log r …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The place.
    pub seq: Seq,
    /// When.
    pub at: WallTime,
}

impl Record for Reached {
    const NAME: &'static str = "receipt";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.seq.0);
        to.put_u64(self.at.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Reached { seq: from.seq()?, at: from.time()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pinned, pinned_open};
    use super::*;

    const A: AccountId = AccountId::new([0xaa; 16]);

    #[test]
    fn stored_forms_of_logs_are_pinned() {
        let head = Head { seq: Seq(1), last_at: WallTime(2), ..Head::default() };
        pinned(head, "01 0000000000000001 0000000000000002");
        let head = Head { epoch: Epoch(3), commit_first: true, ended: Seq(4), ..head };
        let old = "01 0000000000000001 0000000000000002";
        pinned_open(head, &format!("{old} 0000000000000003 01 0000000000000004"), &[17]);
        let stamp = [9; 10];
        let idempotency = Idempotency { seq: Seq(1), at: WallTime(2), incarnation: 3, stamp };
        assert_eq!(
            Idempotency::encode_stamped(Seq(1), WallTime(2), 3).fill(&stamp),
            idempotency.encode(),
            "the commit completes the record"
        );
        let tail = "09".repeat(10);
        pinned(idempotency, &format!("01 0000000000000001 0000000000000002 0000000000000003 {tail}"));
        pinned(
            Member { joined: Seq(0), peer: Some(A), role: MemberRole::Member },
            &format!("01 0000000000000000 01 {}", "aa".repeat(16)),
        );
        let admin = Member { joined: Seq(7), peer: None, role: MemberRole::Admin };
        pinned_open(admin, "01 0000000000000007 00 01", &[10]);
        pinned(DeviceCursor { delivered: Seq(7) }, "01 0000000000000007");
        let cursors =
            Cursors { delivered: Seq(4), delivered_at: WallTime(5), read: Seq(2), read_at: WallTime(3) };
        pinned(cursors, "01 0000000000000004 0000000000000005 0000000000000002 0000000000000003");
        pinned(Reached { seq: Seq(4), at: WallTime(5) }, "01 0000000000000004 0000000000000005");
    }
}
