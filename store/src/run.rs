//! Runs transaction bodies: begins, commits, and begins anew, within a budget of attempts and time.
//!
//! A body is a function of a transaction and safe to run twice; what it answers counts only once the commit succeeded.
//! Time comes from a [`Clock`], so that simulation and tokio both serve.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use mutation::Mutation;

use crate::record::RecordError;
use crate::stats::Counts;
use crate::tx::{Backend, Tx, TxError};

/// Monotonic time, and waiting for it. A node gives tokio's, a simulation its own.
pub trait Clock: Clone + Send + Sync + 'static {
    /// A reading that never goes back, from any origin.
    fn now(&self) -> Duration;

    /// Resolves once `duration` has passed.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// How often and how long an op is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Tries, the first included.
    pub attempts_max: u32,
    /// From the first try to giving up, waits included (I7: no send is held up longer).
    pub time_max: Duration,
    /// The mean wait before the second try; it doubles with each.
    pub backoff_first: Duration,
    /// The longest mean wait.
    pub backoff_max: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            attempts_max: 24,
            time_max: Duration::from_secs(5),
            backoff_first: Duration::from_millis(2),
            backoff_max: Duration::from_millis(250),
        }
    }
}

/// Why the store did not answer. A refusal is an answer and not one of these.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Too much is waiting, or the budget went by in conflicts.
    #[error("the store is busy, try again in {retry_after:?}")]
    Busy {
        /// When the same request is worth trying again.
        retry_after: Duration,
        /// Whether the op may have been committed all the same.
        maybe_committed: bool,
        /// What the last try met, if there was one.
        #[source]
        source: Option<TxError>,
    },
    /// The store cannot be reached, or its disk failed.
    #[error("the store is unavailable")]
    Unavailable {
        /// Whether the op may have been committed all the same.
        maybe_committed: bool,
        /// What the last try met.
        #[source]
        source: TxError,
    },
    /// A stored value cannot be read; the op changed nothing.
    #[error("the store holds a value that cannot be read")]
    Record(#[from] RecordError),
    /// The op asked for more than a transaction may do; it changed nothing.
    #[error("an op went over a limit of its transaction")]
    Limit(#[source] TxError),
}

impl StoreError {
    /// How long to wait before the same request is worth trying again, or `None` if it fails the same way.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            StoreError::Busy { retry_after, .. } => Some(*retry_after),
            StoreError::Unavailable { source: TxError::ReadOnly | TxError::Gone(_), .. } => None,
            StoreError::Unavailable { .. } => Some(Duration::from_secs(1)),
            StoreError::Record(_) | StoreError::Limit(_) => None,
        }
    }

    /// Whether the op may have been committed all the same: the same request again then finds what it did.
    pub const fn maybe_committed(&self) -> bool {
        match self {
            StoreError::Busy { maybe_committed, .. } | StoreError::Unavailable { maybe_committed, .. } => {
                *maybe_committed
            }
            StoreError::Record(_) | StoreError::Limit(_) => false,
        }
    }
}

/// Why one run of a body failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpError {
    /// The transaction.
    #[error(transparent)]
    Tx(#[from] TxError),
    /// A stored value.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// One transaction's work, safe to run twice.
pub trait Body: Send + Sync {
    /// What it answers.
    type Output: Send;

    /// Reads and writes; the runner commits.
    ///
    /// # Errors
    /// [`OpError`]: the transaction's, or a stored value that cannot be read.
    fn run<T: Tx>(
        &self,
        tx: &mut T,
        attempt: Attempt,
    ) -> impl Future<Output = Result<Self::Output, OpError>> + Send;
}

/// Which try this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attempt {
    /// Tries before it.
    pub number: u32,
    /// Whether one of them may have been committed, so that what looks like a repeat may be this very request.
    pub maybe_committed: bool,
}

/// Runs bodies on one backend. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runner<B, C> {
    backend: B,
    clock: C,
    budget: Budget,
    jitter: Arc<AtomicU64>,
    counts: Arc<Counts>,
}

impl<B: Backend, C: Clock> Runner<B, C> {
    /// A runner; `seed` decides its jitter.
    pub fn new(backend: B, clock: C, budget: Budget, seed: u64) -> Self {
        Runner { backend, clock, budget, jitter: Arc::new(AtomicU64::new(seed)), counts: Arc::default() }
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The clock.
    pub fn clock(&self) -> &C {
        &self.clock
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Runs a body until it is committed or the budget is used up.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// A dropped run may or may not have been committed, as with a lost answer.
    pub async fn run<Y: Body>(&self, body: &Y) -> Result<Y::Output, StoreError> {
        let attempts = pin!(self.attempts(body));
        let deadline = pin!(self.clock.sleep(self.budget.time_max));
        match select(attempts, deadline).await {
            Either::Left((result, _)) => result,
            Either::Right(((), _)) => {
                // A try was dropped, perhaps in its commit.
                let retry_after = Duration::from_secs(1);
                Err(StoreError::Busy { retry_after, maybe_committed: true, source: None })
            }
        }
    }

    async fn attempts<Y: Body>(&self, body: &Y) -> Result<Y::Output, StoreError> {
        let mut attempt = Attempt::default();
        let mut backoff = self.budget.backoff_first;
        loop {
            let error = match self.once(body, attempt).await {
                Ok(output) => {
                    self.counts.succeeded();
                    return Ok(output);
                }
                Err(OpError::Record(error)) => return Err(error.into()),
                Err(OpError::Tx(error)) => error,
            };
            let gone = matches!(error, TxError::ReadOnly | TxError::Gone(_));
            if !gone && !error.is_retryable() {
                return Err(StoreError::Limit(error));
            }
            self.counts.failed(&error);
            attempt.number += 1;
            attempt.maybe_committed |= matches!(error, TxError::MaybeCommitted);
            let maybe_committed = attempt.maybe_committed;
            if gone || matches!(error, TxError::Unavailable(_) | TxError::Closed) {
                // A store that is gone is not hammered: whoever asked is told at once, and when to come back.
                return Err(StoreError::Unavailable { maybe_committed, source: error });
            }
            if attempt.number >= self.budget.attempts_max {
                return Err(self.exhausted(maybe_committed, error));
            }
            self.counts.retried();
            self.clock.sleep(self.jittered(backoff)).await;
            backoff = (backoff * 2).min(self.budget.backoff_max);
        }
    }

    async fn once<Y: Body>(&self, body: &Y, attempt: Attempt) -> Result<Y::Output, OpError> {
        let mut tx = self.backend.begin().await?;
        let output = body.run(&mut tx, attempt).await?;
        let committed = tx.commit().await;
        if !mutation::on(Mutation::AckBeforeCommit) {
            committed?;
        }
        Ok(output)
    }

    fn exhausted(&self, maybe_committed: bool, error: TxError) -> StoreError {
        StoreError::Busy {
            retry_after: self.budget.backoff_max.max(Duration::from_millis(100)),
            maybe_committed,
            source: Some(error),
        }
    }

    /// Between half and one and a half of `mean` (splitmix64).
    fn jittered(&self, mean: Duration) -> Duration {
        let mut z = self.jitter.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = (z >> 40) as f64 / (1u64 << 24) as f64;
        mean.mul_f64(0.5 + part)
    }
}
