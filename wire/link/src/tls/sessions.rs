//! The sessions that a server remembers, so that a phone that comes back speaks in its first flight.
//!
//! Invariants: a session is given out once ([`StoresServerSessions::take`]), so early data under it is taken once; the
//! store never holds more sessions or bytes than it was allowed, and the oldest make room.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::server::StoresServerSessions;

/// A session that is older is worth nothing: rustls' own tickets end then too.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What a session costs besides its id (kept once) and its value: two map entries, reference counts, three allocations.
/// Measured: 300,000 sessions of 32 and 90 bytes take 325 bytes of resident memory each.
const OVERHEAD_BYTES: usize = 200;

/// Where a server keeps its sessions: rustls' own store, but bounded by bytes too, with figures, and with single use
/// stated. One per process: share it among all loops (one lock, held for a map's operation), so that a phone whom the
/// kernel brings to another loop is still known.
///
/// A sleeping phone costs some 310 bytes: 32 of id, about 75 that rustls writes (more for a long server name), and 200 of
/// maps around them, which [`SessionStats::bytes`] counts too.
pub struct SessionStore {
    entries_max: usize,
    bytes_max: usize,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    kept: Mutex<Kept>,
    #[cfg(any(test, feature = "testing"))]
    repeats: bool,
}

#[derive(Default)]
struct Kept {
    by_id: BTreeMap<Arc<[u8]>, u64>,
    /// By when they were put.
    by_age: BTreeMap<u64, Session>,
    next: u64,
    stats: SessionStats,
}

#[derive(Clone)]
struct Session {
    id: Arc<[u8]>,
    value: Box<[u8]>,
    put_at: Duration,
}

/// What a store holds, and what it has seen since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Sessions held.
    pub sessions: usize,
    /// Their bytes, the maps around them included.
    pub bytes: usize,
    /// Sessions that went unused: for room, or for their age.
    pub dropped: u64,
    /// Sessions given out, each once.
    pub taken: u64,
    /// Sessions asked for that were not there: used already, dropped, from another store, or made up.
    pub missed: u64,
}

impl SessionStore {
    /// At most so many sessions and so many bytes. Their age is read from the clock that rustls uses too.
    pub fn new(entries_max: usize, bytes_max: usize) -> SessionStore {
        let clock = || Duration::from_secs(UnixTime::now().as_secs());
        SessionStore::with_clock(entries_max, bytes_max, clock)
    }

    /// With another clock: the time since any moment, never going back.
    pub fn with_clock(
        entries_max: usize,
        bytes_max: usize,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> SessionStore {
        SessionStore {
            entries_max,
            bytes_max,
            clock: Box::new(clock),
            kept: Mutex::default(),
            #[cfg(any(test, feature = "testing"))]
            repeats: false,
        }
    }

    /// For tests of what stands between a replayed flight and a second message when this does not: a store that breaks its
    /// promise and gives a session out whenever it is asked.
    #[cfg(any(test, feature = "testing"))]
    pub fn that_repeats(self) -> SessionStore {
        SessionStore { repeats: true, ..self }
    }

    #[cfg(any(test, feature = "testing"))]
    fn repeats(&self) -> bool {
        self.repeats
    }

    #[cfg(not(any(test, feature = "testing")))]
    const fn repeats(&self) -> bool {
        false
    }

    /// What it holds and has seen.
    pub fn stats(&self) -> SessionStats {
        self.lock().stats
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SessionStore {
    /// 100,000 sessions and 48 MiB: every phone that a node of this size has seen within a day.
    fn default() -> SessionStore {
        SessionStore::new(100_000, 48 << 20)
    }
}

impl fmt::Debug for SessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionStore").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl StoresServerSessions for SessionStore {
    fn put(&self, id: Vec<u8>, value: Vec<u8>) -> bool {
        let now = (self.clock)();
        let mut kept = self.lock();
        let bytes = id.len() + value.len() + OVERHEAD_BYTES;
        if self.entries_max == 0 || bytes > self.bytes_max {
            kept.stats.dropped += 1;
            return false;
        }
        if let Some(&age) = kept.by_id.get(&id[..]) {
            kept.drop_session(age);
        }
        while let Some((&age, oldest)) = kept.by_age.first_key_value()
            && (kept.by_age.len() >= self.entries_max
                || kept.stats.bytes + bytes > self.bytes_max
                || now.saturating_sub(oldest.put_at) > LIFETIME)
        {
            kept.drop_session(age);
        }
        kept.insert(Session { id: id.into(), value: value.into(), put_at: now });
        true
    }

    /// Nothing: only TLS 1.2 asks without taking.
    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        let now = (self.clock)();
        let mut kept = self.lock();
        let age = kept.by_id.get(id).copied();
        let found = age.and_then(|age| if self.repeats() { kept.copy(age) } else { kept.remove(age) });
        match found {
            Some(session) if now.saturating_sub(session.put_at) <= LIFETIME => {
                kept.stats.taken += 1;
                Some(session.value.into_vec())
            }
            other => {
                kept.stats.dropped += u64::from(other.is_some());
                kept.stats.missed += 1;
                None
            }
        }
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl Kept {
    fn insert(&mut self, session: Session) {
        let age = self.next;
        self.next += 1;
        self.stats.bytes += session.bytes();
        self.by_id.insert(session.id.clone(), age);
        self.by_age.insert(age, session);
        self.stats.sessions = self.by_age.len();
    }

    fn remove(&mut self, age: u64) -> Option<Session> {
        let session = self.by_age.remove(&age)?;
        self.by_id.remove(&session.id);
        self.stats.bytes -= session.bytes();
        self.stats.sessions = self.by_age.len();
        Some(session)
    }

    fn copy(&self, age: u64) -> Option<Session> {
        self.by_age.get(&age).cloned()
    }

    fn drop_session(&mut self, age: u64) {
        self.stats.dropped += u64::from(self.remove(age).is_some());
    }
}

impl Session {
    fn bytes(&self) -> usize {
        self.id.len() + self.value.len() + OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn id(n: u8) -> Vec<u8> {
        vec![n; 32]
    }

    #[test]
    fn c37_a_session_is_given_out_once() {
        let store = SessionStore::new(10, 10_000);
        assert!(store.put(id(1), vec![7; 100]));
        assert_eq!(store.take(&id(1)), Some(vec![7; 100]));
        assert_eq!(store.take(&id(1)), None);
        assert_eq!(store.get(&id(1)), None);
        let stats = store.stats();
        assert_eq!((stats.sessions, stats.bytes, stats.taken, stats.missed), (0, 0, 1, 1));
    }

    #[test]
    fn only_a_store_that_was_made_to_repeat_gives_a_session_out_twice() {
        let store = SessionStore::new(10, 10_000).that_repeats();
        assert!(store.put(id(1), vec![7; 100]));
        for taken in 1..=3 {
            assert_eq!(store.take(&id(1)), Some(vec![7; 100]));
            assert_eq!((store.stats().sessions, store.stats().taken), (1, taken));
        }
    }

    #[test]
    fn c37_the_oldest_make_room_by_number_and_by_bytes() {
        let one = 32 + 100 + OVERHEAD_BYTES;
        for (entries_max, bytes_max) in [(3, usize::MAX), (usize::MAX, 3 * one + 10)] {
            let store = SessionStore::new(entries_max, bytes_max);
            for n in 0..10 {
                assert!(store.put(id(n), vec![n; 100]));
            }
            let stats = store.stats();
            assert_eq!((stats.sessions, stats.bytes, stats.dropped), (3, 3 * one, 7));
            assert_eq!(store.take(&id(6)), None);
            assert!((7..10).all(|n| store.take(&id(n)).is_some()));
        }
    }

    #[test]
    fn what_cannot_fit_is_not_kept_and_a_repeated_id_replaces() {
        let store = SessionStore::new(10, 1_000);
        assert!(!store.put(id(1), vec![0; 2_000]));
        assert!(store.put(id(1), vec![1; 10]));
        assert!(store.put(id(1), vec![2; 10]));
        assert_eq!(store.stats().sessions, 1);
        assert_eq!(store.take(&id(1)), Some(vec![2; 10]));
        assert!(!SessionStore::new(0, 1_000).put(id(1), vec![0; 10]));
    }

    #[test]
    fn a_session_over_a_day_old_is_refused() {
        static NOW: AtomicU64 = AtomicU64::new(5);
        let store = SessionStore::with_clock(10, 10_000, || Duration::from_secs(NOW.load(Ordering::Relaxed)));
        assert!(store.put(id(1), vec![1]) && store.put(id(2), vec![1]));
        NOW.store(5 + 24 * 3600, Ordering::Relaxed);
        assert!(store.take(&id(1)).is_some());
        NOW.store(6 + 24 * 3600, Ordering::Relaxed);
        assert!(store.take(&id(2)).is_none());
        assert!(store.put(id(3), vec![1]));
        NOW.store(7 + 48 * 3600, Ordering::Relaxed);
        assert!(store.put(id(4), vec![1]));
        assert_eq!((store.stats().sessions, store.stats().dropped), (1, 2));
    }
}
