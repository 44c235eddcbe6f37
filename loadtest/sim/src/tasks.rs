//! A seeded executor: futures on one thread, the next one to be polled drawn from those that are ready.
//!
//! Each task belongs to a process; killing the process drops its futures wherever they are, as a crash does.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

type Ready = Arc<Mutex<BTreeSet<u64>>>;

/// Every future of a run, each with an outcome of type `T`.
pub(crate) struct Tasks<T> {
    tasks: BTreeMap<u64, Task<T>>,
    next: u64,
    ready: Ready,
    rng: ChaCha8Rng,
}

struct Task<T> {
    process: usize,
    future: Pin<Box<dyn Future<Output = T>>>,
    waker: Waker,
}

/// Puts its task among those that can be polled.
struct Wakes {
    task: u64,
    ready: Ready,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).insert(self.task);
    }
}

fn lock(ready: &Ready) -> MutexGuard<'_, BTreeSet<u64>> {
    ready.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a turn did.
pub(crate) enum Turn<T> {
    /// Nothing is ready.
    Idle,
    /// A task was polled and waits again.
    Polled,
    /// A task has ended.
    Ended(T),
}

impl<T> Tasks<T> {
    pub(crate) fn new(seed: u64) -> Tasks<T> {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Tasks { tasks: BTreeMap::new(), next: 0, ready: Ready::default(), rng }
    }

    /// Starts a task of a process.
    pub(crate) fn spawn(&mut self, process: usize, future: impl Future<Output = T> + 'static) {
        let task = self.next;
        self.next += 1;
        let waker = Waker::from(Arc::new(Wakes { task, ready: Arc::clone(&self.ready) }));
        self.tasks.insert(task, Task { process, future: Box::pin(future), waker });
        lock(&self.ready).insert(task);
    }

    /// Drops a process' tasks.
    pub(crate) fn kill(&mut self, process: usize) {
        self.tasks.retain(|_, task| task.process != process);
    }

    /// Polls one task that is ready, whichever the seed chooses.
    pub(crate) fn turn(&mut self) -> Turn<T> {
        let Some(number) = self.pick() else { return Turn::Idle };
        // A task that was killed may still be woken.
        let Some(task) = self.tasks.get_mut(&number) else { return Turn::Polled };
        match task.future.as_mut().poll(&mut Context::from_waker(&task.waker)) {
            Poll::Pending => Turn::Polled,
            Poll::Ready(outcome) => {
                self.tasks.remove(&number);
                Turn::Ended(outcome)
            }
        }
    }

    fn pick(&mut self) -> Option<u64> {
        let mut ready = lock(&self.ready);
        let nth = if ready.len() > 1 { self.rng.random_range(0..ready.len()) } else { 0 };
        let task = *ready.iter().nth(nth)?;
        ready.remove(&task);
        Some(task)
    }
}

/// Runs a future that waits for nothing. `None` if it does wait.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
