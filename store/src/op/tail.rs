//! Entries after a place: what delivery reads.
//!
//! Bounded by the asker's membership: nothing from before it joined, nothing after it left (I5). Whoever has read the log
//! before says when it was seen to be a member; unless somebody's membership ended since, that is taken for granted, so that
//! a tail costs no more for it and can be answered from memory.

use bytes::Bytes;
use futures_util::future::{try_join, try_join_all};
use wire::{AccountId, LogId, Seq};

use super::read;
use super::standing::Standing;
use crate::keys;
use crate::record::{self, Head, RecordError};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// Entries after a place, oldest first, at most so many and so many bytes (but at least one, if there is one).
#[derive(Debug, Clone)]
pub struct Tail {
    /// The log.
    pub log: LogId,
    /// For whom.
    pub account: AccountId,
    /// What the store said of its membership last, if it has.
    pub member: Option<MemberAsOf>,
    /// Entries above this.
    pub after: Seq,
    /// At most so many.
    pub entries_max: usize,
    /// At most so many bytes of frames, the first entry's aside.
    pub bytes_max: usize,
}

/// That an account was seen to be a member of a log. It is what an earlier answer said, and is given back as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberAsOf {
    /// It may read what comes after this.
    pub joined: Seq,
    /// The log's head then.
    pub head: Seq,
}

/// What [`Tail`] found.
#[derive(Debug, Clone)]
pub struct Tailed {
    /// Dense from `after + 1`, or from where the account joined.
    pub entries: Vec<StoredEntry>,
    /// The last place that the account may know of: the log's, or where it left; zero if it never was a member.
    pub head: Seq,
    /// For the next tail; `None` if it is no member any more, so that nothing comes after `head`.
    pub member: Option<MemberAsOf>,
}

/// One entry as it goes to a device.
#[derive(Debug, Clone)]
pub struct StoredEntry {
    /// Its place.
    pub seq: Seq,
    /// The frame, prefix included.
    pub frame: Bytes,
    /// The frames of its further parts, which follow it at once.
    pub parts: Vec<Bytes>,
}

impl StoredEntry {
    /// Bytes of all frames.
    pub fn bytes(&self) -> usize {
        self.frame.len() + self.parts.iter().map(Bytes::len).sum::<usize>()
    }

    /// All frames, in the order in which they are sent.
    pub fn into_frames(self) -> impl Iterator<Item = Bytes> {
        std::iter::once(self.frame).chain(self.parts)
    }
}

impl Body for Tail {
    type Output = Tailed;

    /// Cost: one read and a range, together, if the membership is known and nobody's ended since; else two reads or three,
    /// then the range. Another range for each entry that has further parts.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Tailed, OpError> {
        let (tx, head_key) = (&*tx, keys::head(self.log));
        // Whose an inbox is is always looked at: a device's key may have come to somebody else.
        let known = self.member.filter(|_| !matches!(self.log, LogId::Device(_)));
        if let Some(known) = known {
            let head = read::peek::<Head, T>(tx, &head_key);
            let (head, entries) = try_join(head, self.entries(tx, known.joined, None)).await?;
            let head = head.unwrap_or_default();
            if head.ended <= known.head {
                let member = Some(MemberAsOf { joined: known.joined, head: head.seq });
                return Ok(Tailed { entries, head: head.seq, member });
            }
        }
        let standing = Standing::peek(tx, self.log, self.account);
        let (head, standing) = try_join(read::peek::<Head, T>(tx, &head_key), standing).await?;
        let last = standing.head(&head.unwrap_or_default()).0;
        let entries = match standing {
            Standing::Member(member) => self.entries(tx, member.joined, None).await?,
            Standing::Former(former) => self.entries(tx, former.joined, Some(last)).await?,
            Standing::Stranger => Vec::new(),
        };
        let member = match standing {
            Standing::Member(member) => Some(MemberAsOf { joined: member.joined, head: last }),
            Standing::Former(_) | Standing::Stranger => None,
        };
        Ok(Tailed { entries, head: last, member })
    }
}

impl Tail {
    async fn entries<T: Tx>(
        &self,
        tx: &T,
        joined: Seq,
        last: Option<Seq>,
    ) -> Result<Vec<StoredEntry>, OpError> {
        let after = self.after.max(joined);
        if self.entries_max == 0 || after.0 == u64::MAX {
            return Ok(Vec::new());
        }
        let begin = keys::entry(self.log, after.next());
        let end = last.map_or_else(|| keys::entries_end(self.log), |last| keys::entry(self.log, last.next()));
        if begin >= end {
            return Ok(Vec::new());
        }
        let range = Range::new(begin, end).limit(self.entries_max).bytes_max(self.bytes_max).snapshot();
        entries(tx, self.log, range).await
    }
}

/// The entries of a range of a log, in its order, with their further parts: at most as many bytes of frames as the range may
/// have, the first entry's aside.
pub(super) async fn entries<T: Tx>(tx: &T, log: LogId, range: Range) -> Result<Vec<StoredEntry>, OpError> {
    let bytes_max = range.bytes_max;
    let (mut bytes, mut in_parts, mut found) = (0, false, Vec::new());
    for (key, value) in tx.range(range).await? {
        let seq = keys::entry_seq(&key).ok_or(RecordError::Damaged { record: "entry", what: "its key" })?;
        let (frame, parts_bytes) = record::decode_entry(&value)?;
        bytes += frame.len() + parts_bytes as usize;
        in_parts |= parts_bytes > 0;
        if in_parts && bytes > bytes_max && !found.is_empty() {
            break;
        }
        found.push((parts_bytes > 0, StoredEntry { seq, frame, parts: Vec::new() }));
    }
    let parts = found.iter_mut().filter(|(in_parts, _)| *in_parts).map(async |(_, entry)| {
        entry.parts = parts(tx, log, entry.seq).await?;
        Ok::<_, OpError>(())
    });
    try_join_all(parts).await?;
    Ok(found.into_iter().map(|(_, entry)| entry).collect())
}

/// The frames of an entry's further parts.
pub(super) async fn parts<T: Tx>(tx: &T, log: LogId, seq: Seq) -> Result<Vec<Bytes>, OpError> {
    let pairs = tx.range(Range::prefix(keys::entry_parts(log, seq)).snapshot()).await?;
    let frames = pairs.into_iter().map(|(_, value)| Ok(record::decode_entry(&value)?.0));
    frames.collect()
}
