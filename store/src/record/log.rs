//! What is stored of logs: heads, members, cursors, receipts.

use bytes::{BufMut, BytesMut};
use wire::{AccountId, Seq, WallTime};

use super::{Fields, Record, RecordError, put_account, put_option};
use crate::tx::{Stamped, VERSIONSTAMP_BYTES, Versionstamp};

/// Where a log ends: `l log h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Its last place.
    pub seq: Seq,
    /// When that was appended.
    pub last_at: WallTime,
}

impl Record for Head {
    const NAME: &'static str = "head";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.seq.0);
        to.put_u64(self.last_at.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Head { seq: from.seq()?, last_at: from.time()? })
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

/// A member of a log: `l log m account`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// It may read entries after this one.
    pub joined: Seq,
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountId>,
}

impl Record for Member {
    const NAME: &'static str = "member";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.joined.0);
        put_option(to, self.peer, put_account);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Member { joined: from.seq()?, peer: from.option(Fields::account)? })
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
    use super::super::tests::pinned;
    use super::*;

    const A: AccountId = AccountId::new([0xaa; 16]);

    #[test]
    fn stored_forms_of_logs_are_pinned() {
        pinned(Head { seq: Seq(1), last_at: WallTime(2) }, "01 0000000000000001 0000000000000002");
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
            Member { joined: Seq(0), peer: Some(A) },
            &format!("01 0000000000000000 01 {}", "aa".repeat(16)),
        );
        pinned(DeviceCursor { delivered: Seq(7) }, "01 0000000000000007");
        let cursors =
            Cursors { delivered: Seq(4), delivered_at: WallTime(5), read: Seq(2), read_at: WallTime(3) };
        pinned(cursors, "01 0000000000000004 0000000000000005 0000000000000002 0000000000000003");
        pinned(Reached { seq: Seq(4), at: WallTime(5) }, "01 0000000000000004 0000000000000005");
    }
}
