//! Commits whose answers are lost, on any backend.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::tx::{Atomic, Backend, Range, Stamped, Tx, TxError, Versionstamp};

/// A backend that says of some commits that it does not know ([`TxError::MaybeCommitted`]): of half of them after they were
/// committed, of half without committing them, as a seed decides.
#[derive(Debug, Clone)]
pub struct Doubtful<B> {
    inner: B,
    percent: u32,
    rng: Arc<Mutex<ChaCha8Rng>>,
}

impl<B> Doubtful<B> {
    /// Puts so many of a hundred commits in doubt.
    pub fn new(inner: B, percent: u32, seed: u64) -> Doubtful<B> {
        Doubtful { inner, percent, rng: Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed))) }
    }
}

/// What becomes of a commit.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    DoneUnheard,
    NotDone,
}

/// A transaction of [`Doubtful`].
#[derive(Debug)]
pub struct DoubtfulTx<T> {
    inner: T,
    fate: Fate,
    writes: bool,
}

impl<B: Backend> Backend for Doubtful<B> {
    type Tx = DoubtfulTx<B::Tx>;

    async fn begin(&self) -> Result<Self::Tx, TxError> {
        let fate = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            match rng.random_range(0..200) {
                n if n < self.percent => Fate::DoneUnheard,
                n if n < 2 * self.percent => Fate::NotDone,
                _ => Fate::Answered,
            }
        };
        Ok(DoubtfulTx { inner: self.inner.begin().await?, fate, writes: false })
    }

    fn exclusive(&self) -> bool {
        self.inner.exclusive()
    }
}

impl<T: Tx> Tx for DoubtfulTx<T> {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        self.inner.get(key).await
    }

    async fn get_snapshot(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        self.inner.get_snapshot(key).await
    }

    async fn range(&self, range: Range) -> Result<Vec<(Bytes, Bytes)>, TxError> {
        self.inner.range(range).await
    }

    fn set(&mut self, key: Bytes, value: Bytes) {
        self.writes = true;
        self.inner.set(key, value);
    }

    fn clear(&mut self, key: Bytes) {
        self.writes = true;
        self.inner.clear(key);
    }

    fn clear_range(&mut self, begin: Bytes, end: Bytes) {
        self.writes = true;
        self.inner.clear_range(begin, end);
    }

    fn atomic(&mut self, op: Atomic, key: Bytes, operand: u64) {
        self.writes = true;
        self.inner.atomic(op, key, operand);
    }

    fn set_stamped_key(&mut self, key: Stamped, value: Bytes) {
        self.writes = true;
        self.inner.set_stamped_key(key, value);
    }

    fn set_stamped_value(&mut self, key: Bytes, value: Stamped) {
        self.writes = true;
        self.inner.set_stamped_value(key, value);
    }

    fn watch(&self, key: &[u8]) -> impl Future<Output = Result<(), TxError>> + Send + 'static {
        self.inner.watch(key)
    }

    async fn commit(self) -> Result<Option<Versionstamp>, TxError> {
        match self.fate {
            Fate::NotDone if self.writes => Err(TxError::MaybeCommitted),
            Fate::DoneUnheard if self.writes => {
                self.inner.commit().await?;
                Err(TxError::MaybeCommitted)
            }
            _ => self.inner.commit().await,
        }
    }
}
