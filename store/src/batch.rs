//! The per-log batcher: while a transaction of a log is in flight, further appends and cursor moves wait, and then
//! commit together. A hot group costs one conflict domain, not one conflict per message.
//!
//! There is no task: one of the callers leads. The leader commits its own op with everything that waited, hands out
//! the answers, and hands the lead to the first that came meanwhile. Invariant: a log has a queue exactly while
//! somebody leads it or has been handed the lead.
//!
//! # Cancel safety
//! Any caller may be dropped at any time. A follower that is dropped may still be committed. A leader that is dropped
//! passes the lead on, and its followers, whose ops are idempotent, submit theirs again.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use wire::LogId;

use crate::op::batch::{BATCH_BYTES_MAX, LogOp, LogOutput};
use crate::run::StoreError;

/// Bounds of what may wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchConfig {
    /// Ops that may wait for one log.
    pub waiting_per_log: usize,
    /// Ops that may wait in all.
    pub waiting_max: usize,
    /// Bytes of content that may wait in all.
    pub waiting_bytes_max: usize,
}

impl Default for BatchConfig {
    fn default() -> BatchConfig {
        BatchConfig { waiting_per_log: 4096, waiting_max: 65_536, waiting_bytes_max: 128 << 20 }
    }
}

/// Ops in one batch at most; its bytes are bounded by [`BATCH_BYTES_MAX`].
const BATCH_OPS_MAX: usize = 512;

/// When an op that found no room is worth trying again: after about ten commits.
const RETRY_AFTER: Duration = Duration::from_millis(100);

type Answer = Result<LogOutput, StoreError>;

/// The queues.
#[derive(Debug)]
pub(crate) struct Batcher {
    config: BatchConfig,
    queues: Mutex<Queues>,
}

#[derive(Debug, Default)]
struct Queues {
    logs: HashMap<LogId, VecDeque<Waiter>>,
    waiting: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Waiter {
    op: Arc<LogOp>,
    signal: oneshot::Sender<Signal>,
}

/// What a follower is told.
#[derive(Debug)]
enum Signal {
    Done(Answer),
    Lead,
}

impl Batcher {
    pub(crate) fn new(config: BatchConfig) -> Batcher {
        Batcher { config, queues: Mutex::default() }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits one op, together with others of its log. `commit` runs a batch and answers each of its ops.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if too much waits, else those of `commit`.
    pub(crate) async fn submit<F, Fut>(&self, op: LogOp, commit: F) -> Answer
    where
        F: Fn(LogId, Vec<Arc<LogOp>>) -> Fut,
        Fut: Future<Output = Result<Vec<LogOutput>, StoreError>>,
    {
        let op = Arc::new(op);
        let mut maybe_committed = false;
        loop {
            let lead = match self.enter(&op, maybe_committed)? {
                Entered::Lead(lead) => lead,
                Entered::Follow(mut follower) => match follower.wait().await {
                    Some(Signal::Done(answer)) => return answer,
                    Some(Signal::Lead) => Lead { batcher: self, log: op.log() },
                    // The leader was dropped with the op in its hands: it may or may not be committed.
                    None => {
                        maybe_committed = true;
                        continue;
                    }
                },
            };
            return lead.commit(&op, &commit).await;
        }
    }

    fn enter(&self, op: &Arc<LogOp>, maybe_committed: bool) -> Result<Entered<'_>, StoreError> {
        let mut queues = self.queues();
        let (waiting, bytes) = (queues.waiting, queues.bytes);
        let Some(queue) = queues.logs.get_mut(&op.log()) else {
            queues.logs.insert(op.log(), VecDeque::new());
            return Ok(Entered::Lead(Lead { batcher: self, log: op.log() }));
        };
        let full = queue.len() >= self.config.waiting_per_log
            || waiting >= self.config.waiting_max
            || bytes + op.bytes() > self.config.waiting_bytes_max;
        if full {
            return Err(StoreError::Busy { retry_after: RETRY_AFTER, maybe_committed, source: None });
        }
        let (signal, receiver) = oneshot::channel();
        queue.push_back(Waiter { op: Arc::clone(op), signal });
        queues.waiting += 1;
        queues.bytes += op.bytes();
        Ok(Entered::Follow(Follower { batcher: self, log: op.log(), receiver }))
    }

    /// Hands the lead to the first waiter that is still there, or ends the queue. The new leader's op leaves the queue.
    fn pass_on(&self, log: LogId) {
        let mut queues = self.queues();
        while let Some(waiter) = queues.pop(log) {
            if waiter.signal.send(Signal::Lead).is_ok() {
                return;
            }
        }
        queues.logs.remove(&log);
    }
}

impl Queues {
    fn pop(&mut self, log: LogId) -> Option<Waiter> {
        let waiter = self.logs.get_mut(&log)?.pop_front()?;
        self.waiting -= 1;
        self.bytes -= waiter.op.bytes();
        Some(waiter)
    }

    /// Takes what fits into a batch that begins with `bytes`.
    fn take(&mut self, log: LogId, mut bytes: usize) -> Vec<Waiter> {
        let mut taken = Vec::new();
        while taken.len() + 1 < BATCH_OPS_MAX {
            let Some(next) = self.logs.get(&log).and_then(VecDeque::front) else { break };
            bytes += next.op.bytes();
            if bytes > BATCH_BYTES_MAX {
                break;
            }
            taken.extend(self.pop(log).filter(|waiter| !waiter.signal.is_canceled()));
        }
        taken
    }
}

enum Entered<'a> {
    Lead(Lead<'a>),
    Follow(Follower<'a>),
}

/// An op that waits for a leader.
struct Follower<'a> {
    batcher: &'a Batcher,
    log: LogId,
    receiver: oneshot::Receiver<Signal>,
}

impl Follower<'_> {
    async fn wait(&mut self) -> Option<Signal> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Follower<'_> {
    /// Whoever is dropped after it was handed the lead and before it knew passes it on.
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(Some(Signal::Lead)) = self.receiver.try_recv() {
            self.batcher.pass_on(self.log);
        }
    }
}

/// The right to commit to a log; dropping it passes it on.
struct Lead<'a> {
    batcher: &'a Batcher,
    log: LogId,
}

impl Lead<'_> {
    async fn commit<F, Fut>(self, own: &Arc<LogOp>, commit: &F) -> Answer
    where
        F: Fn(LogId, Vec<Arc<LogOp>>) -> Fut,
        Fut: Future<Output = Result<Vec<LogOutput>, StoreError>>,
    {
        let followers = self.batcher.queues().take(self.log, own.bytes());
        let ops = std::iter::once(own).chain(followers.iter().map(|f| &f.op)).cloned().collect();
        let mut answers = each(self.log, ops, commit).await.into_iter();
        let answer =
            answers.next().expect("a batch has an answer for each of its ops, and the leader's is the first");
        for (follower, answer) in followers.into_iter().zip(answers) {
            // A follower that is gone has the doubt of a lost answer.
            let _ = follower.signal.send(Signal::Done(answer));
        }
        answer
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.batcher.pass_on(self.log);
    }
}

/// Commits a batch. If it fails for good, for one of its ops must have asked too much or met a value that cannot be
/// read, each op is committed by itself, so that it alone is refused.
async fn each<F, Fut>(log: LogId, ops: Vec<Arc<LogOp>>, commit: &F) -> Vec<Answer>
where
    F: Fn(LogId, Vec<Arc<LogOp>>) -> Fut,
    Fut: Future<Output = Result<Vec<LogOutput>, StoreError>>,
{
    let error = match commit(log, ops.clone()).await {
        Ok(outputs) => return outputs.into_iter().map(Ok).collect(),
        Err(error) => error,
    };
    if error.retry_after().is_some() || ops.len() == 1 {
        return ops.iter().map(|_| Err(error.clone())).collect();
    }
    let mut answers = Vec::with_capacity(ops.len());
    for op in ops {
        let alone = commit(log, vec![op]).await;
        answers
            .push(alone.map(|mut outputs| outputs.pop().expect("a batch has an answer for each of its ops")));
    }
    answers
}
