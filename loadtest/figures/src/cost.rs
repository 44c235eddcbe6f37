//! The cost of one call of something short.

use std::hint::black_box;
use std::time::Duration;

use crate::{Options, median, thread_cpu};

/// Batches that the median is of.
const BATCHES: usize = 41;

/// How long one batch runs: long beside the clock's own cost, short beside a scheduler's turn.
const BATCH: Duration = Duration::from_millis(4);

/// What one call costs, in nanoseconds of the thread's CPU time: what other programs use does not count, though what
/// they do to caches does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Of all batches.
    pub median_ns: f64,
    /// The cheapest batch.
    pub best_ns: f64,
}

/// Measures `call`, over batches of as many calls as fill some milliseconds. What it returns is kept from the optimiser
/// and dropped, which is part of the cost.
pub fn cost<T>(options: &Options, mut call: impl FnMut() -> T) -> Cost {
    let mut calls = 1u32;
    // Until a batch is long enough; that warms caches and allocator up too.
    while batch(calls, &mut call) < options.run(BATCH) {
        calls = calls.saturating_mul(2);
    }
    let one = |_| batch(calls, &mut call).as_secs_f64() * 1e9 / f64::from(calls);
    let batches: Vec<f64> = (0..BATCHES).map(one).collect();
    Cost { median_ns: median(&batches), best_ns: batches.iter().copied().fold(f64::INFINITY, f64::min) }
}

fn batch<T>(calls: u32, call: &mut impl FnMut() -> T) -> Duration {
    let begun = thread_cpu();
    for _ in 0..calls {
        drop(black_box(call()));
    }
    thread_cpu() - begun
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_work_costs_more() {
        let quick = Options { quick: true, ..Options::default() };
        let spin = |times: u64| (0..times).fold(0u64, |sum, n| black_box(sum.wrapping_mul(31) ^ n));
        let (less, more) = (cost(&quick, || spin(10)), cost(&quick, || spin(1000)));
        assert!(less.best_ns > 0.0 && less.best_ns <= less.median_ns, "{less:?}");
        assert!(more.best_ns > less.best_ns, "{more:?} {less:?}");
    }
}
