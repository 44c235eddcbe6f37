//! A backend that counts what each transaction costs another: for tables of what an op costs, and tests that hold it.
//!
//! In virtual time every read takes a millisecond, so reads that wait for one another are told from those that are under
//! way together: what was answered at one moment was one round trip.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::VirtualClock;
use crate::run::Clock;
use crate::tx::{Atomic, Backend, Range, Stamped, Tx, TxError, Versionstamp};

/// How long each read takes.
const READ: Duration = Duration::from_millis(1);

/// What one transaction asked for, its begin and its commit aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Reads and ranges.
    pub requests: usize,
    /// Rounds of them: each waited for the one before.
    pub rounds: usize,
    /// Keys that were asked for one by one, there or not, and those that ranges found.
    pub keys_read: usize,
    /// Their keys and values.
    pub bytes_read: usize,
    /// Keys written, cleared or changed; a range that is cleared is one.
    pub keys_written: usize,
    /// Their keys and values.
    pub bytes_written: usize,
    /// Keys and ranges over which it may conflict with those who write them; each key that it writes is one over which
    /// others may conflict with it.
    pub conflicts: usize,
}

impl Cost {
    /// Both, one after the other.
    #[must_use]
    pub fn and(self, other: Cost) -> Cost {
        Cost {
            requests: self.requests + other.requests,
            rounds: self.rounds + other.rounds,
            keys_read: self.keys_read + other.keys_read,
            bytes_read: self.bytes_read + other.bytes_read,
            keys_written: self.keys_written + other.keys_written,
            bytes_written: self.bytes_written + other.bytes_written,
            conflicts: self.conflicts + other.conflicts,
        }
    }

    fn write(&mut self, key: usize, value: usize) {
        self.keys_written += 1;
        self.bytes_written += key + value;
    }
}

/// A backend whose transactions are counted. Clones count together.
#[derive(Debug, Clone)]
pub struct Counting<B> {
    backend: B,
    clock: VirtualClock,
    costs: Arc<Mutex<Vec<Cost>>>,
}

impl<B> Counting<B> {
    /// Counts what is done on `backend`, in this clock's time.
    pub fn new(backend: B, clock: VirtualClock) -> Counting<B> {
        Counting { backend, clock, costs: Arc::default() }
    }

    /// What each transaction cost whose commit was asked for since this was asked last, in that order.
    pub fn take(&self) -> Vec<Cost> {
        std::mem::take(&mut lock(&self.costs))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Backend> Backend for Counting<B> {
    type Tx = CountingTx<B::Tx>;

    async fn begin(&self) -> Result<Self::Tx, TxError> {
        let tx = self.backend.begin().await?;
        let (clock, costs) = (self.clock.clone(), Arc::clone(&self.costs));
        Ok(CountingTx { tx, clock, costs, cost: Mutex::default(), answered: Mutex::default() })
    }

    fn exclusive(&self) -> bool {
        self.backend.exclusive()
    }
}

/// A transaction of [`Counting`].
#[derive(Debug)]
pub struct CountingTx<T> {
    tx: T,
    clock: VirtualClock,
    costs: Arc<Mutex<Vec<Cost>>>,
    cost: Mutex<Cost>,
    /// When reads were answered.
    answered: Mutex<BTreeSet<Duration>>,
}

impl<T> CountingTx<T> {
    async fn read(&self, snapshot: bool) {
        self.clock.sleep(READ).await;
        lock(&self.answered).insert(self.clock.now());
        let mut cost = lock(&self.cost);
        cost.requests += 1;
        cost.conflicts += usize::from(!snapshot);
    }

    fn got(&self, keys: usize, bytes: usize) {
        let mut cost = lock(&self.cost);
        cost.keys_read += keys;
        cost.bytes_read += bytes;
    }

    fn written(&mut self) -> &mut Cost {
        self.cost.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Tx> Tx for CountingTx<T> {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        self.read(false).await;
        let value = self.tx.get(key).await?;
        self.got(1, key.len() + value.as_ref().map_or(0, Bytes::len));
        Ok(value)
    }

    async fn get_snapshot(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        self.read(true).await;
        let value = self.tx.get_snapshot(key).await?;
        self.got(1, key.len() + value.as_ref().map_or(0, Bytes::len));
        Ok(value)
    }

    async fn range(&self, range: Range) -> Result<Vec<(Bytes, Bytes)>, TxError> {
        self.read(range.snapshot).await;
        let pairs = self.tx.range(range).await?;
        self.got(pairs.len(), pairs.iter().map(|(key, value)| key.len() + value.len()).sum());
        Ok(pairs)
    }

    fn set(&mut self, key: Bytes, value: Bytes) {
        self.written().write(key.len(), value.len());
        self.tx.set(key, value);
    }

    fn clear(&mut self, key: Bytes) {
        self.written().write(key.len(), 0);
        self.tx.clear(key);
    }

    fn clear_range(&mut self, begin: Bytes, end: Bytes) {
        self.written().write(begin.len() + end.len(), 0);
        self.tx.clear_range(begin, end);
    }

    fn atomic(&mut self, op: Atomic, key: Bytes, operand: u64) {
        self.written().write(key.len(), 8);
        self.tx.atomic(op, key, operand);
    }

    fn set_stamped_key(&mut self, key: Stamped, value: Bytes) {
        self.written().write(key.placeholder().len(), value.len());
        self.tx.set_stamped_key(key, value);
    }

    fn set_stamped_value(&mut self, key: Bytes, value: Stamped) {
        self.written().write(key.len(), value.placeholder().len());
        self.tx.set_stamped_value(key, value);
    }

    fn watch(&self, key: &[u8]) -> impl Future<Output = Result<(), TxError>> + Send + 'static {
        self.tx.watch(key)
    }

    async fn commit(self) -> Result<Option<Versionstamp>, TxError> {
        let rounds = lock(&self.answered).len();
        let cost = Cost { rounds, ..*lock(&self.cost) };
        lock(&self.costs).push(cost);
        self.tx.commit().await
    }
}
