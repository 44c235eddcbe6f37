//! The store's backend as the nodes see it: the simulated one, and, when a test asks for it, one that breaks a promise.
//! A simulation that finds nothing wrong is worth as much as its power to find something.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use store::sim::Sim;
use store::testing::VirtualClock;
use store::tx::{Atomic, Backend, Range, Stamped, Tx, TxError, Versionstamp};

use crate::Sabotage;

/// One commit in so many that appends something is lied about.
const LIE_EVERY: u64 = 40;

/// The simulated backend, honest or not.
#[derive(Clone)]
pub(crate) struct Tampered {
    pub(crate) sim: Sim<VirtualClock>,
    sabotage: Option<Sabotage>,
    appends: Arc<AtomicU64>,
    /// Reads no idempotency record.
    blind: bool,
}

impl Tampered {
    pub(crate) fn new(seed: u64, clock: VirtualClock, sabotage: Option<Sabotage>) -> Tampered {
        Tampered { sim: Sim::new(seed, clock), sabotage, appends: Arc::default(), blind: false }
    }

    /// The same, for ops that do not look whether they were done before.
    pub(crate) fn blind(&self) -> Tampered {
        Tampered { blind: true, ..self.clone() }
    }
}

impl Backend for Tampered {
    type Tx = TamperedTx<<Sim<VirtualClock> as Backend>::Tx>;

    async fn begin(&self) -> Result<Self::Tx, TxError> {
        let tx = self.sim.begin().await?;
        let (sabotage, appends) = (self.sabotage, Arc::clone(&self.appends));
        Ok(TamperedTx { tx, sabotage, appends, appended: false, blind: self.blind })
    }

    fn exclusive(&self) -> bool {
        self.sim.exclusive()
    }
}

/// A transaction of [`Tampered`].
pub(crate) struct TamperedTx<T> {
    tx: T,
    sabotage: Option<Sabotage>,
    appends: Arc<AtomicU64>,
    appended: bool,
    blind: bool,
}

/// Whether a key is an idempotency record's: `l`, a log of seventeen bytes, `i`.
fn is_idempotency(key: &[u8]) -> bool {
    key.first() == Some(&b'l') && key.get(18) == Some(&b'i')
}

impl<T: Tx> Tx for TamperedTx<T> {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        if self.blind && is_idempotency(key) {
            return Ok(None);
        }
        self.tx.get(key).await
    }

    async fn get_snapshot(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        self.tx.get_snapshot(key).await
    }

    async fn range(&self, range: Range) -> Result<Vec<(Bytes, Bytes)>, TxError> {
        self.tx.range(range).await
    }

    fn set(&mut self, key: Bytes, value: Bytes) {
        self.tx.set(key, value);
    }

    fn clear(&mut self, key: Bytes) {
        self.tx.clear(key);
    }

    fn clear_range(&mut self, begin: Bytes, end: Bytes) {
        self.tx.clear_range(begin, end);
    }

    fn atomic(&mut self, op: Atomic, key: Bytes, operand: u64) {
        self.tx.atomic(op, key, operand);
    }

    fn set_stamped_key(&mut self, key: Stamped, value: Bytes) {
        self.tx.set_stamped_key(key, value);
    }

    fn set_stamped_value(&mut self, key: Bytes, value: Stamped) {
        if is_idempotency(&key) {
            self.appended = true;
        }
        self.tx.set_stamped_value(key, value);
    }

    fn watch(&self, key: &[u8]) -> impl Future<Output = Result<(), TxError>> + Send + 'static {
        self.tx.watch(key)
    }

    async fn commit(self) -> Result<Option<Versionstamp>, TxError> {
        if self.sabotage == Some(Sabotage::DropAcked)
            && self.appended
            && self.appends.fetch_add(1, Ordering::Relaxed) % LIE_EVERY == LIE_EVERY - 1
        {
            return Ok(Some([0; 10]));
        }
        self.tx.commit().await
    }
}
