//! When to try again: exponential, with full jitter, so that a million clients of a lost node do not come back at once.

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

const FIRST: Duration = Duration::from_millis(250);
const MAX: Duration = Duration::from_secs(30);

/// Attempts that failed in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// An attempt succeeded.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many attempts failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// An attempt failed: how long to wait. `at_least` is what the server asked for.
    pub(crate) fn next(&mut self, rng: &mut ChaCha8Rng, at_least: Duration) -> Duration {
        let ceiling = (FIRST * 2u32.saturating_pow(self.failures.min(10))).min(MAX);
        self.failures = self.failures.saturating_add(1);
        at_least + ceiling.mul_f64(rng.random_range(0.0..1.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn r33_waits_grow_to_a_bound_and_begin_anew() {
        let (mut backoff, mut rng) = (Backoff::default(), ChaCha8Rng::seed_from_u64(1));
        let waits: Vec<_> = (0..2000).map(|_| backoff.next(&mut rng, Duration::ZERO)).collect();
        assert!(waits[0] <= FIRST && waits.iter().all(|&wait| wait <= MAX));
        assert!(waits.iter().any(|&wait| wait > MAX / 2), "it grows");
        backoff.reset();
        assert!(backoff.next(&mut rng, Duration::ZERO) <= FIRST);
        assert!(backoff.next(&mut rng, MAX) >= MAX, "never before the server said");
    }
}
