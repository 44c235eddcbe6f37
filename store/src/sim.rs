//! The simulated backend: an ordered map in memory, with faults on demand.
//!
//! Everything it does follows from its seed and from the order in which a single-threaded executor polls it; waiting
//! goes through a [`Clock`], so a simulation runs in virtual time. Faults are those that a real store has: conflicts,
//! commits whose answer is lost (applied or not), read versions that are not the newest, delay, and crashes that take
//! what was not yet synced.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::buffer::{BufferedTx, Commit, Engine, View};
use crate::resolver::{self, Resolver};
use crate::run::Clock;
use crate::stage::{Staged, stamp};
use crate::tx::{Backend, TxError, Versionstamp};
use crate::watch::Watches;

/// How many versions back an old read version may be.
const VERSIONS_BACK_MAX: u64 = 16;

/// What goes wrong, and how often. Probabilities are between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// A commit conflicts though nothing it read has changed.
    pub conflict: f64,
    /// A commit is applied and its answer lost.
    pub unknown_committed: f64,
    /// A commit is not applied and its answer lost.
    pub unknown_lost: f64,
    /// A transaction reads an older version than the newest; it succeeds only if it could not have noticed.
    pub old_read_version: f64,
    /// A commit finds the queue full.
    pub busy: f64,
    /// The longest that a begin, a read or either half of a commit takes; each takes a random time up to it.
    pub delay_max: Duration,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Faults = Faults {
        conflict: 0.0,
        unknown_committed: 0.0,
        unknown_lost: 0.0,
        old_read_version: 0.0,
        busy: 0.0,
        delay_max: Duration::ZERO,
    };

    /// One commit in three goes wrong somehow.
    pub const HOSTILE: Faults = Faults {
        conflict: 0.1,
        unknown_committed: 0.1,
        unknown_lost: 0.1,
        old_read_version: 0.2,
        busy: 0.02,
        delay_max: Duration::from_millis(5),
    };
}

/// A simulated store. Cheap to clone; clones are the same store, as several nodes see it.
#[derive(Clone)]
pub struct Sim<C> {
    world: Arc<Mutex<World>>,
    clock: C,
}

struct World {
    /// Each key's values, by rising version; `None` is cleared.
    keys: BTreeMap<Bytes, Vec<(u64, Option<Bytes>)>>,
    committed: u64,
    resolver: Resolver,
    watches: Watches,
    rng: ChaCha8Rng,
    faults: Faults,
    /// Crashes so far: a transaction begun before the last one is dead.
    crashes: u64,
    reachable: bool,
}

impl<C: Clock> Sim<C> {
    /// An empty store without faults.
    pub fn new(seed: u64, clock: C) -> Sim<C> {
        let world = World {
            keys: BTreeMap::new(),
            committed: 0,
            resolver: Resolver::new(0, resolver::KEYS_MAX),
            watches: Watches::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            faults: Faults::NONE,
            crashes: 0,
            reachable: true,
        };
        Sim { world: Arc::new(Mutex::new(world)), clock }
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.world().faults = faults;
    }

    /// Kills the store's process and starts it again: every transaction under way fails, and a commit that was not
    /// yet synced is lost.
    pub fn crash(&self) {
        self.world().crashes += 1;
    }

    /// Cuts the store off, or connects it again.
    pub fn set_reachable(&self, reachable: bool) {
        self.world().reachable = reachable;
    }

    /// Every key and value, for tests that look for what must not be there.
    pub fn dump(&self) -> Vec<(Bytes, Bytes)> {
        let world = self.world();
        let newest = world.keys.iter().filter_map(|(key, values)| Some((key, values.last()?.1.as_ref()?)));
        newest.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// Lets a random time pass.
    async fn delay(&self) {
        let delay = self.world().delay();
        if !delay.is_zero() {
            self.clock.sleep(delay).await;
        }
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C> fmt::Debug for Sim<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let committed = lock(&self.world).committed;
        f.debug_struct("Sim").field("committed", &committed).finish_non_exhaustive()
    }
}

/// The simulated store is cut off, or was killed under the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the simulated store is down")]
pub struct Down;

impl World {
    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability)
    }

    fn delay(&mut self) -> Duration {
        let max = u64::try_from(self.faults.delay_max.as_micros()).unwrap_or(u64::MAX);
        if max == 0 { Duration::ZERO } else { Duration::from_micros(self.rng.random_range(0..=max)) }
    }

    /// The version that a new transaction reads, and whether there are newer ones.
    fn read_version(&mut self) -> (u64, bool) {
        let back_max = (self.committed - self.resolver.oldest()).min(VERSIONS_BACK_MAX);
        if back_max == 0 || !self.chance(self.faults.old_read_version) {
            return (self.committed, false);
        }
        (self.committed - self.rng.random_range(1..=back_max), true)
    }

    fn alive(&self, view: &SimView) -> Result<(), TxError> {
        if self.reachable && self.crashes == view.crashes {
            Ok(())
        } else {
            Err(TxError::Unavailable(Arc::new(Down)))
        }
    }

    fn value(&self, key: &[u8], version: u64) -> Option<&Bytes> {
        value_at(self.keys.get(key)?, version)
    }

    /// Checks, applies and makes visible.
    fn commit(&mut self, commit: Commit, now: Duration) -> Result<Versionstamp, TxError> {
        let version = self.committed + 1;
        let stamp = stamp(version, 0);
        let mut staged = Staged::default();
        let written = staged.apply(&Newest(self), commit.writes, &stamp)?;
        self.resolver.record(version, now, written);
        let oldest = self.resolver.oldest();
        self.watches.wake(staged.changes.keys());
        for (key, value) in staged.changes {
            let values = self.keys.entry(key).or_default();
            values.push((version, value));
            let unseen = values.iter().rposition(|(v, _)| *v <= oldest).unwrap_or(0);
            values.drain(..unseen);
        }
        self.committed = version;
        Ok(stamp)
    }
}

fn value_at(values: &[(u64, Option<Bytes>)], version: u64) -> Option<&Bytes> {
    values.iter().rev().find(|(v, _)| *v <= version)?.1.as_ref()
}

impl<C: Clock> Backend for Sim<C> {
    type Tx = BufferedTx<Sim<C>>;

    async fn begin(&self) -> Result<Self::Tx, TxError> {
        self.delay().await;
        let view = {
            let mut world = self.world();
            let (version, stale) = world.read_version();
            let view = SimView { version, stale, crashes: world.crashes, world: Arc::clone(&self.world) };
            world.alive(&view)?;
            view
        };
        Ok(BufferedTx::new(self.clone(), view))
    }

    fn exclusive(&self) -> bool {
        false
    }
}

impl<C: Clock> Engine for Sim<C> {
    type View = SimView;

    fn now(&self) -> Duration {
        self.clock.now()
    }

    async fn before_read(&self, view: &SimView) -> Result<(), TxError> {
        self.delay().await;
        let world = self.world();
        world.alive(view)?;
        if view.version < world.resolver.oldest() { Err(TxError::TooOld) } else { Ok(()) }
    }

    async fn commit(&self, view: SimView, commit: Commit) -> Result<Option<Versionstamp>, TxError> {
        self.delay().await;
        let stamp = {
            let mut world = self.world();
            let faults = world.faults;
            world.alive(&view).map_err(|_| TxError::MaybeCommitted)?;
            if world.chance(faults.busy) {
                return Err(TxError::Busy);
            }
            if world.chance(faults.conflict) {
                return Err(TxError::Conflict);
            }
            world.resolver.check(commit.read_version, &commit.reads)?;
            if commit.writes.is_empty() {
                return Ok(None);
            }
            if world.chance(faults.unknown_lost) {
                return Err(TxError::MaybeCommitted);
            }
            let stamp = world.commit(commit, self.clock.now())?;
            if world.chance(faults.unknown_committed) {
                return Err(TxError::MaybeCommitted);
            }
            stamp
        };
        self.delay().await;
        self.world().alive(&view).map_err(|_| TxError::MaybeCommitted)?;
        Ok(Some(stamp))
    }

    fn watch(&self, key: Bytes, version: u64) -> impl Future<Output = Result<(), TxError>> + Send + 'static {
        let world = self.world();
        let changed = world.watches.register(key.clone());
        let already = world.resolver.written_since(&key, version);
        drop(world);
        async move {
            match changed? {
                _ if already => Ok(()),
                changed => changed.await.map_err(|oneshot::Canceled| TxError::Unavailable(Arc::new(Down))),
            }
        }
    }
}

/// One version of a simulated store.
pub struct SimView {
    version: u64,
    stale: bool,
    crashes: u64,
    world: Arc<Mutex<World>>,
}

impl View for SimView {
    fn version(&self) -> u64 {
        self.version
    }

    fn is_stale(&self) -> bool {
        self.stale
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        Ok(lock(&self.world).value(key, self.version).cloned())
    }

    fn scan(
        &self,
        begin: &Bytes,
        end: &Bytes,
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), TxError> {
        scan(&lock(&self.world), self.version, (begin, end), reverse, visit);
        Ok(())
    }
}

/// The newest version, while the world is locked for a commit.
struct Newest<'a>(&'a World);

impl View for Newest<'_> {
    fn version(&self) -> u64 {
        self.0.committed
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        Ok(self.0.value(key, self.0.committed).cloned())
    }

    fn scan(
        &self,
        begin: &Bytes,
        end: &Bytes,
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), TxError> {
        scan(self.0, self.0.committed, (begin, end), reverse, visit);
        Ok(())
    }
}

fn scan(
    world: &World,
    version: u64,
    (begin, end): (&Bytes, &Bytes),
    reverse: bool,
    visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
) {
    let mut keys = world.keys.range::<Bytes, _>((Bound::Included(begin), Bound::Excluded(end)));
    let mut next = || if reverse { keys.next_back() } else { keys.next() };
    while let Some((key, values)) = next() {
        if let Some(value) = value_at(values, version)
            && !visit(key.clone(), value.clone())
        {
            return;
        }
    }
}
