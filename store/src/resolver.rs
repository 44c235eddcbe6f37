//! Decides conflicts: remembers which keys were written lately, and at which version.
//!
//! Invariant: a read set at version `v` is let through only if nothing in it was written after `v`. What was written
//! at or before `oldest` is forgotten, so older read versions are refused as too old instead of guessed at.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use crate::buffer::ReadSet;
use crate::tx::{LIFETIME_MAX, TxError};

/// How many keys the resolver remembers at most: about 100 MB of them, reached only at a rate of 200,000 keys/s.
pub(crate) const KEYS_MAX: usize = 1_000_000;

/// The writes of the last five seconds.
#[derive(Debug)]
pub(crate) struct Resolver {
    /// The last version at which a key was written.
    keys: BTreeMap<Bytes, u64>,
    /// Ranges that were cleared, by rising version.
    ranges: VecDeque<(u64, Bytes, Bytes)>,
    /// Which keys each version wrote, and when, by rising version.
    commits: VecDeque<Written>,
    /// Read versions below this are too old.
    oldest: u64,
    remembered: usize,
    remembered_max: usize,
}

#[derive(Debug)]
struct Written {
    version: u64,
    at: Duration,
    keys: Vec<Bytes>,
}

/// What one commit wrote.
#[derive(Debug, Default)]
pub(crate) struct WriteSet {
    pub(crate) keys: Vec<Bytes>,
    pub(crate) ranges: Vec<(Bytes, Bytes)>,
}

impl Resolver {
    /// A resolver of a store whose last commit was `version`.
    pub(crate) fn new(version: u64, remembered_max: usize) -> Resolver {
        Resolver {
            keys: BTreeMap::new(),
            ranges: VecDeque::new(),
            commits: VecDeque::new(),
            oldest: version,
            remembered: 0,
            remembered_max,
        }
    }

    /// The oldest version that can still be committed against.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Whether nothing in `reads` was written after `read_version`.
    pub(crate) fn check(&self, read_version: u64, reads: &ReadSet) -> Result<(), TxError> {
        if reads.keys.is_empty() && reads.ranges.is_empty() {
            return Ok(());
        }
        if read_version < self.oldest {
            return Err(TxError::TooOld);
        }
        let key_written = reads.keys.iter().any(|key| self.written_since(key, read_version));
        let range_written = || reads.ranges.iter().any(|(b, e)| self.range_written_since(b, e, read_version));
        if key_written || range_written() { Err(TxError::Conflict) } else { Ok(()) }
    }

    /// Whether a key was written after a version, as far as is remembered.
    pub(crate) fn written_since(&self, key: &[u8], version: u64) -> bool {
        self.keys.get(key).is_some_and(|&written| written > version)
            || self.ranges_since(version).any(|(begin, end)| &begin[..] <= key && key < &end[..])
    }

    fn range_written_since(&self, begin: &Bytes, end: &Bytes, version: u64) -> bool {
        if begin >= end {
            return false;
        }
        let bounds = (Bound::Included(&begin[..]), Bound::Excluded(&end[..]));
        self.keys.range::<[u8], _>(bounds).any(|(_, &written)| written > version)
            || self.ranges_since(version).any(|(b, e)| b < end && begin < e)
    }

    fn ranges_since(&self, version: u64) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.ranges.iter().rev().take_while(move |(v, ..)| *v > version).map(|(_, b, e)| (b, e))
    }

    /// Remembers what a commit wrote. Versions never fall; several commits may share one.
    pub(crate) fn record(&mut self, version: u64, now: Duration, writes: WriteSet) {
        self.ranges.extend(writes.ranges.into_iter().map(|(begin, end)| (version, begin, end)));
        for key in &writes.keys {
            self.keys.insert(key.clone(), version);
        }
        self.remembered += writes.keys.len() + 1;
        self.commits.push_back(Written { version, at: now, keys: writes.keys });
        self.forget(now);
    }

    /// Forgets what no transaction young enough can conflict with.
    fn forget(&mut self, now: Duration) {
        while let Some(first) = self.commits.front() {
            let young = now.saturating_sub(first.at) <= LIFETIME_MAX;
            if young && self.remembered <= self.remembered_max {
                break;
            }
            let Some(first) = self.commits.pop_front() else { break };
            self.remembered -= first.keys.len() + 1;
            self.oldest = self.oldest.max(first.version);
            for key in first.keys {
                if self.keys.get(&key) == Some(&first.version) {
                    self.keys.remove(&key);
                }
            }
        }
        while self.ranges.front().is_some_and(|(version, ..)| *version <= self.oldest) {
            self.ranges.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&'static str]) -> Vec<Bytes> {
        keys.iter().map(|k| Bytes::from_static(k.as_bytes())).collect()
    }

    fn reads(points: &[&'static str], ranges: &[(&'static str, &'static str)]) -> ReadSet {
        let ranges = ranges.iter().map(|(b, e)| (Bytes::from(*b), Bytes::from(*e)));
        ReadSet::of(keys(points), ranges.collect())
    }

    #[test]
    fn what_was_read_and_then_written_conflicts() {
        let mut resolver = Resolver::new(10, KEYS_MAX);
        let cleared = vec![(Bytes::from("p"), Bytes::from("q"))];
        resolver.record(11, Duration::ZERO, WriteSet { keys: keys(&["b"]), ranges: vec![] });
        resolver.record(12, Duration::ZERO, WriteSet { keys: keys(&["d"]), ranges: cleared });
        for (version, set, ok) in [
            (10, reads(&["a", "c"], &[]), true),
            (10, reads(&["b"], &[]), false),
            (11, reads(&["b"], &[]), true),
            (11, reads(&["d"], &[]), false),
            (10, reads(&[], &[("a", "b")]), true),
            (10, reads(&[], &[("a", "c")]), false),
            (11, reads(&[], &[("a", "d")]), true),
            (11, reads(&["pp"], &[]), false),
            (12, reads(&["pp"], &[]), true),
            (11, reads(&[], &[("o", "p")]), true),
            (11, reads(&[], &[("o", "p1")]), false),
            (11, reads(&[], &[("pz", "r")]), false),
            (11, reads(&[], &[("q", "r")]), true),
        ] {
            assert_eq!(resolver.check(version, &set).is_ok(), ok, "{version} {set:?}");
        }
    }

    #[test]
    fn the_window_is_bounded_in_time_and_size() {
        let mut resolver = Resolver::new(0, 10);
        let write = |n| WriteSet { keys: vec![Bytes::from(format!("{n:02}"))], ranges: vec![] };
        resolver.record(1, Duration::ZERO, write(1));
        resolver.record(2, LIFETIME_MAX, write(2));
        assert_eq!(resolver.oldest(), 0);
        resolver.record(3, LIFETIME_MAX + Duration::from_millis(1), write(3));
        assert_eq!(resolver.oldest(), 1);
        assert!(matches!(resolver.check(0, &reads(&["x"], &[])), Err(TxError::TooOld)));
        assert!(resolver.check(1, &reads(&["x"], &[])).is_ok());
        for version in 4..100 {
            resolver.record(version, LIFETIME_MAX, write(version));
        }
        assert!(resolver.keys.len() <= 10 && resolver.commits.len() <= 10);
        assert!(resolver.check(0, &ReadSet::default()).is_ok(), "blind writes never conflict");
    }
}
