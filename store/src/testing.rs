//! Virtual time and a seeded executor, so that a test of a store is the same on every run; and what no op does yet.

mod counting;
mod doubt;
mod torn;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wire::{AccountId, LogId, Seq};

use crate::keys;
use crate::record::{Member, Record};
use crate::run::{Attempt, Body, Clock, OpError};
use crate::tx::Tx;

/// Makes an account a member of a log from a place on, or none. No op does either before there are groups.
#[derive(Debug, Clone)]
pub struct SetMember {
    /// The log.
    pub log: LogId,
    /// Whose membership.
    pub account: AccountId,
    /// It may read what comes after this; `None` ends its membership.
    pub joined: Option<Seq>,
}

impl Body for SetMember {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<(), OpError> {
        let key = keys::member(self.log, self.account);
        match self.joined {
            Some(joined) => tx.set(key, Member { joined, ..Member::default() }.encode()),
            None => tx.clear(key),
        }
        Ok(())
    }
}

pub use counting::{Cost, Counting, CountingTx};
pub use doubt::{Doubtful, DoubtfulTx};
pub use torn::{Torn, torn};

/// Time that passes only when nothing else can be done. Clones are the same clock.
#[derive(Debug, Clone, Default)]
pub struct VirtualClock(Arc<Mutex<Timers>>);

#[derive(Debug, Default)]
struct Timers {
    now: Duration,
    next: u64,
    waiting: BTreeMap<(Duration, u64), Waker>,
}

impl VirtualClock {
    fn timers(&self) -> MutexGuard<'_, Timers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Duration> {
        self.timers().waiting.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Lets time pass up to `now` and wakes what was due by then.
    pub fn advance_to(&self, now: Duration) {
        let due = {
            let mut timers = self.timers();
            timers.now = timers.now.max(now);
            let later = timers.waiting.split_off(&(now + Duration::from_nanos(1), 0));
            std::mem::replace(&mut timers.waiting, later)
        };
        due.into_values().for_each(Waker::wake);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        self.timers().now
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        Sleep { clock: self.clone(), at: self.now() + duration, key: None }
    }
}

struct Sleep {
    clock: VirtualClock,
    at: Duration,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut timers = this.clock.timers();
        if timers.now >= this.at {
            return Poll::Ready(());
        }
        let key = *this.key.get_or_insert_with(|| {
            timers.next += 1;
            (this.at, timers.next)
        });
        timers.waiting.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.clock.timers().waiting.remove(&key);
        }
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs tasks on one thread, in an order that its seed decides.
#[derive(Debug)]
pub struct Executor {
    clock: VirtualClock,
    rng: ChaCha8Rng,
    ready: Arc<Mutex<BTreeSet<usize>>>,
}

/// Puts its task among those that can be polled.
struct Ready {
    task: usize,
    ready: Arc<Mutex<BTreeSet<usize>>>,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(self.task);
    }
}

impl Executor {
    /// An executor with a clock at zero.
    pub fn new(seed: u64) -> Executor {
        let (clock, ready) = (VirtualClock::default(), Arc::default());
        Executor { clock, rng: ChaCha8Rng::seed_from_u64(seed), ready }
    }

    /// Its clock.
    pub fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }

    /// Runs one future to its end.
    ///
    /// # Panics
    /// If it waits for something that is neither time nor another task.
    pub fn block_on<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut output = None;
        self.drive(vec![0], |_, cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => {
                output = Some(value);
                true
            }
            Poll::Pending => false,
        });
        output.expect("drive returns only when its task is done")
    }

    /// Runs tasks to their ends, interleaved.
    ///
    /// # Panics
    /// As [`block_on`](Executor::block_on).
    pub fn run(&mut self, tasks: Vec<Task>) {
        let mut tasks = tasks;
        self.drive((0..tasks.len()).collect(), |task, cx| tasks[task].as_mut().poll(cx).is_ready());
    }

    fn drive(&mut self, tasks: Vec<usize>, mut poll: impl FnMut(usize, &mut Context<'_>) -> bool) {
        let mut left: BTreeSet<usize> = tasks.into_iter().collect();
        self.ready().extend(&left);
        while !left.is_empty() {
            let Some(task) = self.pick() else {
                let due = self.clock.next_timer().expect("a task waits for something that never comes");
                self.clock.advance_to(due);
                continue;
            };
            if !left.contains(&task) {
                continue;
            }
            let waker = Waker::from(Arc::new(Ready { task, ready: Arc::clone(&self.ready) }));
            if poll(task, &mut Context::from_waker(&waker)) {
                left.remove(&task);
            }
        }
        self.ready().clear();
    }

    fn ready(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pick(&mut self) -> Option<usize> {
        let count = self.ready().len();
        let nth = if count == 0 { return None } else { self.rng.random_range(0..count) };
        let mut ready = self.ready();
        let task = *ready.iter().nth(nth)?;
        ready.remove(&task);
        Some(task)
    }
}
