//! A store as its tools use it: transaction bodies that are run until they succeed, and pages of keys.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use store::run::{Attempt, Body, Budget, OpError, Runner};
use store::tx::{Backend, Range, Tx, TxError, after_key};
use store::{Clock, StoreError};

use crate::BackupError;

/// Bytes of keys and values of one page: with what a backend adds for each, well within a transaction's megabyte.
pub(crate) const PAGE_BYTES: usize = 256 << 10;

/// Pairs of one page.
pub(crate) const PAGE_PAIRS: usize = 1_000;

/// How long a store that is busy or gone is asked again. What was done stays, so giving up loses nothing but time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A key and its value.
pub(crate) type Pair = (Bytes, Bytes);

/// How far something has got, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub doing: &'static str,
    /// Keys so far, of this step.
    pub keys: u64,
    /// Bytes of keys and values so far, of this step.
    pub bytes: u64,
}

/// Hears of progress, about every quarter of a megabyte.
pub type Reporter<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// One store.
#[derive(Debug, Clone)]
pub(crate) struct Access<B, C> {
    runner: Runner<B, C>,
    which: &'static str,
}

impl<B: Backend, C: Clock> Access<B, C> {
    pub(crate) fn new(backend: B, clock: C, which: &'static str) -> Access<B, C> {
        Access { runner: Runner::new(backend, clock, Budget::default(), 0), which }
    }

    /// Runs a body; a store that is busy or not there is asked again for two minutes.
    pub(crate) async fn run<Y: Body>(&self, body: &Y) -> Result<Y::Output, BackupError> {
        let clock = self.runner.clock();
        let give_up = clock.now() + PATIENCE;
        loop {
            let error = match self.runner.run(body).await {
                Ok(output) => return Ok(output),
                Err(StoreError::Record(error)) => return Err(error.into()),
                // Waiting opens no store that is closed.
                Err(error @ StoreError::Unavailable { source: TxError::Closed, .. }) => {
                    return Err(BackupError::Store { which: self.which, source: error });
                }
                Err(error) => error,
            };
            match error.retry_after() {
                Some(after) if clock.now() + after < give_up => clock.sleep(after).await,
                Some(_) | None => return Err(BackupError::Store { which: self.which, source: error }),
            }
        }
    }
}

/// A page of a range, at a version of its own.
#[derive(Debug, Clone)]
pub(crate) struct ReadPage {
    pub(crate) begin: Bytes,
    pub(crate) end: Bytes,
    /// At most about so many bytes.
    pub(crate) bytes_max: usize,
}

/// Pairs in order, and where the next page begins; `None` if the range ended.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) pairs: Vec<Pair>,
    pub(crate) next: Option<Bytes>,
}

impl Body for ReadPage {
    type Output = Page;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Page, OpError> {
        let tx = &*tx;
        read_page(tx, self).await
    }
}

/// As [`ReadPage`], in a transaction that does more.
pub(crate) async fn read_page<T: Tx>(tx: &T, page: &ReadPage) -> Result<Page, OpError> {
    let range = Range::new(page.begin.clone(), page.end.clone());
    let range = range.limit(PAGE_PAIRS).bytes_max(page.bytes_max).snapshot();
    let pairs = tx.range(range).await?;
    // A page that ended by its bytes is shorter than its limit: only an empty one says that there is no more.
    let next = pairs.last().map(|(last, _)| after_key(last));
    Ok(Page { pairs, next })
}

/// Reads ranges in order, page by page.
pub(crate) struct Scan<'a, B, C> {
    access: &'a Access<B, C>,
    ranges: VecDeque<(Bytes, Bytes)>,
    ready: VecDeque<Pair>,
}

impl<'a, B: Backend, C: Clock> Scan<'a, B, C> {
    pub(crate) fn new(access: &'a Access<B, C>, ranges: impl IntoIterator<Item = (Bytes, Bytes)>) -> Self {
        Scan { access, ranges: ranges.into_iter().collect(), ready: VecDeque::new() }
    }

    /// Reads on if nothing is ready.
    pub(crate) async fn fill(&mut self) -> Result<(), BackupError> {
        while self.ready.is_empty()
            && let Some((begin, end)) = self.ranges.front_mut()
        {
            let (begin_now, end) = (begin.clone(), end.clone());
            let page = self.access.run(&ReadPage { begin: begin_now, end, bytes_max: PAGE_BYTES }).await?;
            match page.next {
                Some(next) => *begin = next,
                None => drop(self.ranges.pop_front()),
            }
            self.ready.extend(page.pairs);
        }
        Ok(())
    }

    /// The next pair, if one is ready; after [`fill`](Scan::fill), none means that there is none.
    pub(crate) fn take(&mut self) -> Option<Pair> {
        self.ready.pop_front()
    }

    /// All that is ready: after [`fill`](Scan::fill), nothing means that there is nothing.
    pub(crate) fn take_page(&mut self) -> Vec<Pair> {
        self.ready.drain(..).collect()
    }
}

/// Bytes of keys and values.
pub(crate) fn bytes_of(pairs: &[Pair]) -> u64 {
    pairs.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
}
