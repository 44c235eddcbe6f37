//! What quinn-proto would draw from the system, drawn from a seed: a client's first ids, and the time inside tokens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use quinn_proto::{ConnectionId, TimeSource};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// Length of the id that a client invents for the server; at least 8 (RFC 9000, section 7.2).
const INITIAL_DST_CID_BYTES: usize = 16;

/// A seed for one purpose, from an endpoint's seed.
pub(crate) fn derive(seed: &[u8; 32], purpose: u64) -> [u8; 32] {
    let mut rng = StdRng::from_seed(*seed);
    let mut derived = [0; 32];
    for _ in 0..=purpose {
        rng.fill_bytes(&mut derived);
    }
    derived
}

/// The ids that a client addresses its first datagrams to. quinn-proto asks for a shared function: hence the lock,
/// which nobody else holds.
pub(crate) fn initial_dst_cids(seed: [u8; 32]) -> Arc<dyn Fn() -> ConnectionId + Send + Sync> {
    let rng = Mutex::new(StdRng::from_seed(seed));
    Arc::new(move || {
        let mut bytes = [0; INITIAL_DST_CID_BYTES];
        rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        ConnectionId::new(&bytes)
    })
}

/// The time inside Retry tokens: milliseconds since the epoch that the loops of a node share, as the owner told them. A
/// token lives 15 seconds, so it need not outlive the process.
#[derive(Debug)]
pub(crate) struct LogicalClock {
    start: Instant,
    now_ms: AtomicU64,
}

impl LogicalClock {
    pub(crate) fn new(start: Instant) -> LogicalClock {
        LogicalClock { start, now_ms: AtomicU64::new(0) }
    }

    pub(crate) fn set(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.start).as_millis() as u64;
        self.now_ms.store(elapsed, Ordering::Relaxed);
    }
}

impl TimeSource for LogicalClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.now_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_per_purpose() {
        let seed = [3; 32];
        assert_eq!(derive(&seed, 1), derive(&seed, 1));
        assert_ne!(derive(&seed, 1), derive(&seed, 2));
        let (a, b) = (initial_dst_cids(seed), initial_dst_cids(seed));
        let first = a();
        assert_eq!(first, b());
        assert_ne!(first, a());
    }
}
