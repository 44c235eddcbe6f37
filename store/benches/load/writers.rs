//! Many writers at a time, each waiting for the answer before it says the next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use store::tx::Backend;
use store::{Store, StoreError};

use super::load::{TokioClock, append, is_committed};

/// How long writers write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Before anything is measured.
    pub(crate) warm: Duration,
    /// What is measured.
    pub(crate) run: Duration,
}

/// What they have done.
#[derive(Debug, Default)]
pub(crate) struct Appends {
    /// Appends that were acknowledged, those before and after the measured time included.
    pub(crate) all: u64,
    /// Appends that were given up as busy, and asked for anew.
    pub(crate) given_up: u64,
    /// Acknowledged a second of the measured time.
    pub(crate) per_s: f64,
    /// From an append to its acknowledgement, of those acknowledged in the measured time, in order.
    pub(crate) latencies_ms: Vec<f64>,
}

/// One writer per store, over so many logs in turn. A writer whose append was given up as busy asks again with a new one.
///
/// # Errors
/// What a writer met that is neither an acknowledgement nor "busy"; or nothing was acknowledged in the measured time.
pub(crate) async fn write<B: Backend>(
    stores: &[Store<B, TokioClock>],
    logs: u16,
    times: Times,
) -> Result<Appends, String> {
    let what = format!("{} writers on {logs} logs", stores.len());
    let start = Instant::now();
    let place = |number: usize| u16::try_from(number % usize::from(logs)).unwrap_or_default();
    let each = |(number, store): (usize, &Store<B, TokioClock>)| {
        tokio::spawn(one(store.clone(), place(number), start, times))
    };
    let writers: Vec<_> = stores.iter().enumerate().map(each).collect();
    let mut all = Appends::default();
    for writer in writers {
        let one = writer.await.expect("a writer").map_err(|error| format!("{what}: {error}"))?;
        all.all += one.all;
        all.given_up += one.given_up;
        all.latencies_ms.extend(one.latencies_ms);
    }
    if all.latencies_ms.is_empty() {
        return Err(format!("{what}: nothing was committed"));
    }
    all.per_s = all.latencies_ms.len() as f64 / times.run.as_secs_f64();
    all.latencies_ms.sort_by(f64::total_cmp);
    Ok(all)
}

async fn one<B: Backend>(
    store: Store<B, TokioClock>,
    log: u16,
    start: Instant,
    times: Times,
) -> Result<Appends, String> {
    // Beyond what other parts of a benchmark number by themselves.
    static NEXT: AtomicU64 = AtomicU64::new(1 << 32);
    let mut done = Appends::default();
    let mut asked = start.elapsed();
    while asked < times.warm + times.run {
        let answer = store.execute(append(log, NEXT.fetch_add(1, Ordering::Relaxed))).await;
        let answered = start.elapsed();
        match answer {
            Ok(output) if is_committed(&output) => {
                done.all += 1;
                if (times.warm..times.warm + times.run).contains(&answered) {
                    done.latencies_ms.push((answered - asked).as_secs_f64() * 1e3);
                }
            }
            Err(StoreError::Busy { .. }) => done.given_up += 1,
            other => return Err(format!("{other:?}")),
        }
        asked = answered;
    }
    Ok(done)
}
