//! Recent entries in memory, so that delivery of what was just said reads no disk (R41, R135).
//!
//! Fed by committed appends of this process and asked by tails. Entries never change, so an entry here is as good as
//! the stored one; whether it is the *newest* is known only where no other process writes, and not while a commit of
//! the log is under way. Invariant: the entries of one log here are dense.
//!
//! Whoever asks must be a member (I5): that it is one is taken from the tail, which says when the store last saw it so, unless
//! somebody's membership has ended since. Inboxes are not kept: their entries are appended by transactions of other logs.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wire::{LogId, Seq};

use crate::op::{MemberAsOf, StoredEntry, Tail, Tailed};

/// What a cached entry costs beside its frame, in bytes.
const ENTRY_OVERHEAD: usize = 64;

/// Bounds of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentConfig {
    /// Entries kept per log (R41).
    pub entries_per_log: usize,
    /// How long a log is kept after its last append (R135).
    pub ttl: Duration,
    /// Bytes in all, frames and overhead.
    pub bytes_max: usize,
}

impl Default for RecentConfig {
    fn default() -> RecentConfig {
        RecentConfig { entries_per_log: 100, ttl: Duration::from_secs(300), bytes_max: 64 << 20 }
    }
}

/// How the cache has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecentStats {
    /// Tails that were answered from memory.
    pub hits: u64,
    /// Tails that were not.
    pub misses: u64,
    /// Bytes held.
    pub bytes: usize,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Recent {
    config: RecentConfig,
    inner: Mutex<Inner>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    logs: HashMap<LogId, Log>,
    /// Logs by their last append, oldest first.
    by_age: BTreeMap<u64, LogId>,
    tick: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Log {
    /// Dense, ending at `head`.
    entries: VecDeque<StoredEntry>,
    head: Seq,
    /// The last place at which somebody's membership ended.
    ended: Seq,
    bytes: usize,
    touched_at: Duration,
    tick: u64,
    /// Commits under way: the head may be about to move.
    committing: u32,
}

impl Log {
    fn first(&self) -> Seq {
        Seq(self.head.0 + 1 - self.entries.len() as u64)
    }
}

/// What an entry costs, in bytes.
fn cost(entry: &StoredEntry) -> usize {
    entry.bytes() + ENTRY_OVERHEAD
}

impl Recent {
    pub(crate) fn new(config: RecentConfig) -> Recent {
        Recent { config, inner: Mutex::default(), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> RecentStats {
        let bytes = self.inner().bytes;
        RecentStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes,
        }
    }

    /// Announces a commit to a log. What it appended is given to the returned guard; if that is dropped instead, what
    /// the log holds is no longer known and it is forgotten.
    pub(crate) fn committing(self: &Arc<Self>, log: LogId) -> Committing {
        if let Some(found) = self.inner().logs.get_mut(&log) {
            found.committing += 1;
        }
        Committing { recent: Arc::clone(self), log, finished: false }
    }

    /// Answers a tail from memory if it can. With `exclusive`, the newest entry here is the newest there is.
    pub(crate) fn tail(&self, tail: &Tail, exclusive: bool, now: Duration) -> Option<Tailed> {
        let found = self.inner().tail(tail, exclusive, now.saturating_sub(self.config.ttl));
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }
}

/// A commit to one log that is under way.
#[derive(Debug)]
pub(crate) struct Committing {
    recent: Arc<Recent>,
    log: LogId,
    finished: bool,
}

impl Committing {
    /// The commit succeeded and appended these entries, in order; none if it changed nothing. The last place at which
    /// somebody's membership ended is `ended` after it.
    pub(crate) fn finish(mut self, entries: Vec<StoredEntry>, ended: Seq, now: Duration) {
        self.finished = true;
        let mut inner = self.recent.inner();
        if let Some(log) = inner.logs.get_mut(&self.log) {
            log.committing = log.committing.saturating_sub(1);
        }
        for entry in entries {
            inner.push(self.log, entry, ended, now, &self.recent.config);
        }
        inner.evict(now, &self.recent.config);
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        if !self.finished {
            self.recent.inner().remove(self.log);
        }
    }
}

impl Inner {
    fn tail(&self, tail: &Tail, exclusive: bool, oldest: Duration) -> Option<Tailed> {
        let log = self.logs.get(&tail.log).filter(|log| log.touched_at >= oldest)?;
        let known = tail.member.filter(|known| known.head >= log.ended)?;
        let member = Some(MemberAsOf { joined: known.joined, head: log.head });
        let after = tail.after.max(known.joined);
        if after >= log.head {
            let is_all = exclusive && log.committing == 0 && after == log.head;
            return is_all.then(|| Tailed { entries: Vec::new(), head: log.head, member });
        }
        let skipped = after.next().0.checked_sub(log.first().0)?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for entry in log.entries.range(skipped as usize..) {
            bytes += entry.bytes();
            if entries.len() >= tail.entries_max || (bytes > tail.bytes_max && !entries.is_empty()) {
                break;
            }
            entries.push(entry.clone());
        }
        Some(Tailed { entries, head: log.head, member })
    }

    fn push(&mut self, id: LogId, entry: StoredEntry, ended: Seq, now: Duration, config: &RecentConfig) {
        self.tick += 1;
        let seq = entry.seq;
        let log = self.logs.entry(id).or_insert_with(|| Log {
            entries: VecDeque::new(),
            head: Seq(seq.0 - 1),
            ended,
            bytes: 0,
            touched_at: now,
            tick: self.tick,
            committing: 0,
        });
        self.by_age.remove(&log.tick);
        self.by_age.insert(self.tick, id);
        (log.tick, log.touched_at) = (self.tick, now);
        if seq != log.head.next() {
            // Somebody else appended in between: what is here is no longer the end of the log.
            self.bytes -= std::mem::take(&mut log.bytes);
            log.entries.clear();
        }
        (log.head, log.ended) = (seq, log.ended.max(ended));
        (log.bytes, self.bytes) = (log.bytes + cost(&entry), self.bytes + cost(&entry));
        log.entries.push_back(entry);
        while log.entries.len() > config.entries_per_log {
            let Some(entry) = log.entries.pop_front() else { break };
            (log.bytes, self.bytes) = (log.bytes - cost(&entry), self.bytes - cost(&entry));
        }
    }

    fn evict(&mut self, now: Duration, config: &RecentConfig) {
        while let Some((_, &id)) = self.by_age.first_key_value() {
            let young = self.logs.get(&id).is_some_and(|log| log.touched_at + config.ttl >= now);
            if young && self.bytes <= config.bytes_max {
                return;
            }
            self.remove(id);
        }
    }

    fn remove(&mut self, id: LogId) {
        if let Some(log) = self.logs.remove(&id) {
            self.by_age.remove(&log.tick);
            self.bytes -= log.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wire::{AccountId, ChatId};

    use super::*;

    const LOG: LogId = LogId::Chat(ChatId::new([1; 16]));

    const ACCOUNT: AccountId = AccountId::new([2; 16]);

    /// For a member since the log began, as of its beginning.
    fn tail(after: u64) -> Tail {
        let member = Some(MemberAsOf { joined: Seq(0), head: Seq(0) });
        Tail { log: LOG, account: ACCOUNT, member, after: Seq(after), entries_max: 10, bytes_max: 1000 }
    }

    fn entry(seq: u64) -> StoredEntry {
        StoredEntry { seq: Seq(seq), frame: Bytes::from(vec![seq as u8; 100]), parts: Vec::new() }
    }

    fn append(recent: &Arc<Recent>, seqs: impl IntoIterator<Item = u64>, now: Duration) {
        recent.committing(LOG).finish(seqs.into_iter().map(entry).collect(), Seq::ZERO, now);
    }

    fn seqs(tailed: &Tailed) -> Vec<u64> {
        tailed.entries.iter().map(|entry| entry.seq.0).collect()
    }

    #[test]
    fn r41_the_last_entries_are_answered_from_memory() {
        let recent = Arc::new(Recent::new(RecentConfig { entries_per_log: 5, ..RecentConfig::default() }));
        append(&recent, 1..=3, Duration::ZERO);
        append(&recent, 4..=7, Duration::ZERO);
        let found = recent.tail(&tail(2), false, Duration::ZERO).unwrap();
        assert_eq!((seqs(&found), found.head), (vec![3, 4, 5, 6, 7], Seq(7)));
        assert!(recent.tail(&tail(1), false, Duration::ZERO).is_none(), "entry 2 was dropped");
        assert!(recent.tail(&tail(7), false, Duration::ZERO).is_none(), "somebody else may have appended");
        assert_eq!(recent.tail(&tail(7), true, Duration::ZERO).unwrap().entries.len(), 0);
        assert!(recent.tail(&tail(9), true, Duration::ZERO).is_none());
        let few = Tail { entries_max: 2, ..tail(2) };
        assert_eq!(seqs(&recent.tail(&few, false, Duration::ZERO).unwrap()), [3, 4]);
        let small = Tail { bytes_max: 10, ..tail(2) };
        assert_eq!(seqs(&recent.tail(&small, false, Duration::ZERO).unwrap()), [3], "the first always comes");
        assert_eq!((recent.stats().hits, recent.stats().misses), (4, 3));
    }

    #[test]
    fn a_gap_starts_the_log_anew() {
        let recent = Arc::new(Recent::new(RecentConfig::default()));
        append(&recent, [1, 2], Duration::ZERO);
        append(&recent, [5, 6], Duration::ZERO);
        assert!(recent.tail(&tail(1), true, Duration::ZERO).is_none());
        assert_eq!(seqs(&recent.tail(&tail(4), true, Duration::ZERO).unwrap()), [5, 6]);
    }

    #[test]
    fn a_commit_under_way_makes_the_head_unsure_and_a_lost_one_forgets_the_log() {
        let recent = Arc::new(Recent::new(RecentConfig::default()));
        append(&recent, [1, 2], Duration::ZERO);
        let commit = recent.committing(LOG);
        assert!(recent.tail(&tail(2), true, Duration::ZERO).is_none());
        assert_eq!(seqs(&recent.tail(&tail(1), true, Duration::ZERO).unwrap()), [2]);
        drop(commit);
        assert!(recent.tail(&tail(1), true, Duration::ZERO).is_none());
        assert_eq!(recent.stats().bytes, 0);
    }

    #[test]
    fn r135_time_and_bytes_are_bounded() {
        let config = RecentConfig { bytes_max: 1000, ..RecentConfig::default() };
        let recent = Arc::new(Recent::new(config));
        append(&recent, [1], Duration::ZERO);
        assert!(recent.tail(&tail(0), true, Duration::from_secs(300)).is_some());
        assert!(recent.tail(&tail(0), true, Duration::from_secs(301)).is_none());
        for n in 0..50 {
            let commit = recent.committing(LogId::Chat(ChatId::new([n; 16])));
            commit.finish(vec![entry(1)], Seq::ZERO, Duration::ZERO);
            assert!(recent.stats().bytes <= 1000);
        }
    }

    #[test]
    fn i5_who_may_have_gone_is_not_answered_from_memory() {
        let recent = Arc::new(Recent::new(RecentConfig::default()));
        append(&recent, 1..=3, Duration::ZERO);
        let known = |joined, head| Some(MemberAsOf { joined: Seq(joined), head: Seq(head) });
        let ask = |member, after| recent.tail(&Tail { member, ..tail(after) }, true, Duration::ZERO);
        assert!(ask(None, 0).is_none(), "who says nothing of it is looked up");
        assert_eq!(ask(known(0, 1), 1).unwrap().member, known(0, 3), "nobody has gone until the head");
        // The fourth entry ends somebody's membership.
        recent.committing(LOG).finish(vec![entry(4)], Seq(4), Duration::ZERO);
        append(&recent, [5], Duration::ZERO);
        for head in 0..4 {
            assert!(ask(known(0, head), 0).is_none(), "it may be theirs: as of {head}");
        }
        let found = ask(known(0, 4), 2).unwrap();
        assert_eq!((seqs(&found), found.member), (vec![3, 4, 5], known(0, 5)));
        assert_eq!(seqs(&ask(known(3, 4), 0).unwrap()), [4, 5], "nor anything from before it joined");
        assert!(ask(known(3, 5), 5).unwrap().entries.is_empty());
    }

    #[test]
    fn further_parts_of_an_entry_count() {
        let config = RecentConfig { bytes_max: 1000, ..RecentConfig::default() };
        let recent = Arc::new(Recent::new(config));
        let parts = vec![Bytes::from(vec![0; 300]); 2];
        recent.committing(LOG).finish(
            vec![entry(1), StoredEntry { parts, ..entry(2) }],
            Seq::ZERO,
            Duration::ZERO,
        );
        assert_eq!(recent.stats().bytes, 100 + 700 + 2 * ENTRY_OVERHEAD);
        let few = Tail { bytes_max: 750, ..tail(0) };
        assert_eq!(seqs(&recent.tail(&few, true, Duration::ZERO).unwrap()), [1]);
        append(&recent, [3], Duration::ZERO);
        assert!(recent.stats().bytes <= 1000);
    }
}
