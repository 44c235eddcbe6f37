//! What is written to the store under test, and what must be in it afterwards.
//!
//! Commit `n` writes the number `n`, four of forty slots with bytes that follow from `n`, and clears one. So the state
//! after `n` commits is a function of `n`, and a store that shows the number shows everything else or is wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use store::Clock;
use store::embedded::{Embedded, EmbeddedConfig, EmbeddedError, Tuning};
use store::tx::{Backend, Range, Tx, Versionstamp};

use crate::layer::Recorder;

/// A clock that stands still: nothing here waits.
#[derive(Clone)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _: Duration) {}
}

/// Small tables, so that a short run has flushes, compactions and removals.
pub(crate) const SMALL: Tuning = Tuning { memtable_bytes: 24 << 10, sync: true };

pub(crate) fn open(path: &Path, tuning: Tuning) -> Result<Embedded, EmbeddedError> {
    let config = EmbeddedConfig { cache_bytes: 1 << 20, ..EmbeddedConfig::default() };
    Embedded::open_tuned(path, &config, tuning, Still)
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

const SLOTS: u8 = 40;

fn slot(n: u8) -> Bytes {
    vec![b't', n].into()
}

/// What commit `n` does: a key and its new value, or none.
fn changes(n: u64) -> Vec<(Bytes, Option<Bytes>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(n);
    let mut changes = vec![(Bytes::from_static(b"n"), Some(Bytes::copy_from_slice(&n.to_be_bytes())))];
    changes.push((slot(rng.random_range(0..SLOTS)), None));
    for _ in 0..4 {
        let mut value = vec![0; rng.random_range(1..1500)];
        rng.fill(&mut value[..]);
        changes.push((slot(rng.random_range(0..SLOTS)), Some(value.into())));
    }
    changes
}

/// What the store holds after `n` commits.
pub(crate) fn expected(n: u64) -> BTreeMap<Bytes, Bytes> {
    let mut state = BTreeMap::new();
    for (key, value) in (1..=n).flat_map(changes) {
        match value {
            Some(value) => state.insert(key, value),
            None => state.remove(&key),
        };
    }
    state
}

pub(crate) fn version(stamp: &Versionstamp) -> u64 {
    u64::from_be_bytes(*stamp.first_chunk().unwrap())
}

/// Makes commits `numbers`, up to five at a time, and says to the recorder which were acknowledged.
pub(crate) fn commit(
    store: &Embedded,
    numbers: std::ops::RangeInclusive<u64>,
    seed: u64,
    recorder: Option<&Recorder>,
) -> u64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut next, last) = (*numbers.start(), *numbers.end());
    let mut newest = 0;
    while next <= last {
        let to = (next + rng.random_range(1..=5)).min(last + 1);
        let stamps = block_on(join_all((next..to).map(|n| async move {
            let mut tx = store.begin().await.unwrap();
            for (key, value) in changes(n) {
                match value {
                    Some(value) => tx.set(key, value),
                    None => tx.clear(key),
                }
            }
            tx.commit().await.unwrap().expect("it wrote")
        })));
        newest = stamps.iter().map(version).max().unwrap();
        if let Some(recorder) = recorder {
            recorder.acknowledge(to - 1, newest);
        }
        next = to;
    }
    newest
}

/// Which commit the store is at, if it is at one.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn state(store: &Embedded) -> Result<u64, String> {
    let range = Range::new(Bytes::from_static(b"n"), Bytes::from_static(b"u"));
    let read = async { store.begin().await?.range(range).await };
    let found: BTreeMap<_, _> =
        block_on(read).map_err(|e| format!("a read failed: {e}: {e:?}"))?.into_iter().collect();
    let number = found.get(&b"n"[..]).map_or(0, |n| u64::from_be_bytes(n[..].try_into().unwrap()));
    if found == expected(number) { Ok(number) } else { Err(format!("not the state after commit {number}")) }
}
