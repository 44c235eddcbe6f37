//! A bounded map whose entries end.

use std::collections::{BTreeMap, BTreeSet};

use wire::WallTime;

use crate::ephemeral::Limited;

/// At most `max` entries, each until its time. Invariant: `ends` names exactly the entries of `entries`.
#[derive(Debug)]
pub(super) struct Expiring<K, V> {
    entries: BTreeMap<K, (WallTime, V)>,
    ends: BTreeSet<(WallTime, K)>,
    max: usize,
}

impl<K: Ord + Clone, V> Expiring<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Expiring { entries: BTreeMap::new(), ends: BTreeSet::new(), max }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// The first entry at or after a key.
    pub(super) fn next(&self, key: &K) -> Option<(&K, &V)> {
        self.entries.range(key..).next().map(|(key, (_, value))| (key, value))
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    /// Keeps a value until a time, in place of an older one.
    ///
    /// # Errors
    /// [`Limited`] if there is no room; it says when the first entry ends.
    pub(super) fn insert(&mut self, key: K, value: V, until: WallTime, now: WallTime) -> Result<(), Limited> {
        if self.remove(&key).is_none() && self.entries.len() >= self.max {
            let first = self.ends.first().map_or(until, |(end, _)| *end);
            return Err(Limited { retry_after: first.saturating_since(now) });
        }
        self.ends.insert((until, key.clone()));
        self.entries.insert(key, (until, value));
        Ok(())
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (until, value) = self.entries.remove(key)?;
        self.ends.remove(&(until, key.clone()));
        Some(value)
    }

    /// Drops what has ended.
    pub(super) fn expire(&mut self, now: WallTime, mut ended: impl FnMut(K, V)) {
        while self.ends.first().is_some_and(|(end, _)| *end <= now) {
            let Some((_, key)) = self.ends.pop_first() else { return };
            if let Some((_, value)) = self.entries.remove(&key) {
                ended(key, value);
            }
        }
    }
}
