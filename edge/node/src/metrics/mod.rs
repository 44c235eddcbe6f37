//! What an operator measures (R157, R159 to R161): `docs/METRICS.md` is its table.
//!
//! Loops count in plain numbers of their own and add what these grew by when a scrape asks; latencies go straight into
//! histograms, which take them without a lock. Store, sessions and process are read at the scrape. A scrape waits for a
//! loop a quarter of a second at most, and a loop never for a scrape. No label has a value that a peer chooses.
//!
//! The recorder is the node's own and not the process's: several nodes may run in one process.

mod of_loop;
mod process;
mod register;
mod tables;
mod work;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use store::embedded::Embedded;
use tokio::time::{Instant, sleep};
use wire_link::tls::SessionStore;

use crate::drive::LoopHandle;
use crate::health::{Health, Life};
use crate::perform::NodeStore;

use of_loop::{LoopFigures, Published};
use process::Process;
use register::Register;
use tables::{PROCESS_GAUGES, SHARED_COUNTERS, SHARED_GAUGES, Seconds, Shared};

pub(crate) use of_loop::LoopMetrics;
pub(crate) use tables::LoopState;
pub(crate) use work::Work;

/// How long a scrape waits for loops to publish; of one that does not, it has older figures, and says so.
const LOOP_PATIENCE: Duration = Duration::from_millis(250);

/// How long a scrape waits for the operating system; the disk may hang.
const SYSTEM_PATIENCE: Duration = Duration::from_secs(1);

/// How often latencies are folded into their histograms if nobody scrapes: it bounds the memory that they wait in.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// One node's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    register: Register,
    handle: PrometheusHandle,
    /// Scrapes are made one after another.
    scraping: tokio::sync::Mutex<()>,
    /// The number of the newest scrape.
    wanted: Arc<AtomicU64>,
    loop_figures: LoopFigures,
    published: Mutex<Vec<Published>>,
    /// What is read at a scrape; `None` before the node serves and after it has stopped, so that no scrape under way
    /// keeps the store open.
    sources: Mutex<Option<Sources>>,
    shared_counters: Vec<Counter>,
    shared_gauges: Vec<Gauge>,
    process_gauges: Vec<Gauge>,
    life: LifeGauges,
    work: Work,
    data: PathBuf,
}

/// What is read at a scrape.
pub(crate) struct Sources {
    /// The store.
    pub(crate) store: NodeStore,
    /// TLS sessions.
    pub(crate) sessions: Arc<SessionStore>,
    /// Loops, to be woken.
    pub(crate) loops: Vec<LoopHandle>,
}

struct LifeGauges {
    up: Gauge,
    draining: Gauge,
    loops: Gauge,
    loops_published: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics of a node whose data is in a directory, all at zero.
    pub fn new(data: PathBuf) -> Metrics {
        let register = Register::new();
        let of = |rows: &[tables::Row<Shared>]| {
            rows.iter().map(|row| (row.name, row.help, row.label)).collect::<Vec<_>>()
        };
        let counters =
            of(SHARED_COUNTERS).into_iter().map(|(name, help, label)| register.counter(name, help, label));
        let gauges =
            of(SHARED_GAUGES).into_iter().map(|(name, help, label)| register.gauge(name, help, label));
        let (shared_counters, shared_gauges) = (counters.collect(), gauges.collect());
        let process_gauges =
            PROCESS_GAUGES.iter().map(|row| register.gauge(row.name, row.help, row.label)).collect();
        fixed_gauges(&register);
        let gauge = |name, help| register.gauge(name, help, None);
        let life = LifeGauges {
            up: gauge("godwit_up", "1 while the node serves."),
            draining: gauge("godwit_draining", "1 while the node drains."),
            loops: gauge("godwit_loops", "Loops that the node was started with."),
            loops_published: gauge("godwit_loops_published", "Loops that published for this scrape."),
        };
        let (loop_figures, work) = (LoopFigures::new(&register), Work::new(&register));
        Metrics(Arc::new(Inner {
            handle: register.handle(),
            register,
            scraping: tokio::sync::Mutex::default(),
            wanted: Arc::default(),
            loop_figures,
            published: Mutex::default(),
            sources: Mutex::default(),
            shared_counters,
            shared_gauges,
            process_gauges,
            life,
            work,
            data,
        }))
    }

    /// A loop's part.
    pub(crate) fn of_loop(&self, loop_no: u8) -> LoopMetrics {
        let inner = &*self.0;
        let (wanted, figures) = (inner.wanted.clone(), inner.loop_figures.clone());
        let (metrics, published) = LoopMetrics::new(&inner.register, figures, wanted, loop_no);
        inner.published.lock().unwrap_or_else(PoisonError::into_inner).push(published);
        metrics
    }

    /// The part of those who perform effects, and of the sweeper.
    pub(crate) fn work(&self) -> &Work {
        &self.0.work
    }

    /// Says what is read from now on at a scrape.
    pub(crate) fn attach(&self, sources: Sources) {
        *self.sources() = Some(sources);
    }

    /// Lets go of what was attached.
    pub(crate) fn detach(&self) {
        *self.sources() = None;
    }

    fn sources(&self) -> std::sync::MutexGuard<'_, Option<Sources>> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything in Prometheus' text format, as of now.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping it.
    pub async fn scrape(&self, health: &Health) -> String {
        let inner = &*self.0;
        let _one_at_a_time = inner.scraping.lock().await;
        self.ask_loops().await;
        let life = health.life();
        inner.life.up.set(f64::from(u8::from(life == Life::Serving)));
        inner.life.draining.set(f64::from(u8::from(life == Life::Draining)));
        let mut seconds = vec![self.read_shared()];
        seconds.extend(self.read_process().await);
        let mut text = inner.handle.render();
        seconds.iter().for_each(|counter| counter.write(&mut text));
        text
    }

    /// Folds latencies into their histograms, for ever.
    pub(crate) async fn upkeep(self) {
        let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            tick.tick().await;
            self.0.handle.run_upkeep();
        }
    }

    /// Asks all loops to publish and gives them a moment to.
    async fn ask_loops(&self) {
        let inner = &*self.0;
        let scrape = inner.wanted.fetch_add(1, Ordering::AcqRel) + 1;
        if let Some(sources) = &*self.sources() {
            sources.loops.iter().for_each(LoopHandle::wake);
        }
        let published = inner.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let done = || published.iter().filter(|published| published.has(scrape)).count();
        let deadline = Instant::now() + LOOP_PATIENCE;
        while done() < published.len() && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        inner.life.loops.set(published.len() as f64);
        inner.life.loops_published.set(done() as f64);
    }

    fn read_shared(&self) -> Seconds {
        let inner = &*self.0;
        let sources = self.sources();
        let mut value = Duration::ZERO;
        if let Some(Sources { store, sessions, .. }) = &*sources {
            let shared = Shared {
                store: store.stats(),
                // FoundationDB's own tools say how its disks do.
                writes: store.backend().embedded().map(Embedded::write_stats).unwrap_or_default(),
                recent: store.recent_stats(),
                sessions: sessions.stats(),
            };
            value = shared.writes.time;
            let counters = SHARED_COUNTERS.iter().zip(&inner.shared_counters);
            counters.for_each(|(row, counter)| counter.absolute((row.read)(&shared)));
            let gauges = SHARED_GAUGES.iter().zip(&inner.shared_gauges);
            gauges.for_each(|(row, gauge)| gauge.set((row.read)(&shared) as f64));
        }
        Seconds {
            name: "godwit_store_write_seconds_total",
            help: "Time that writing and syncing to disk took.",
            value,
        }
    }

    async fn read_process(&self) -> Option<Seconds> {
        let data = self.0.data.clone();
        let reading = tokio::task::spawn_blocking(move || Process::read(&data));
        let process = tokio::time::timeout(SYSTEM_PATIENCE, reading).await.ok()?.ok()?;
        for (row, gauge) in PROCESS_GAUGES.iter().zip(&self.0.process_gauges) {
            gauge.set((row.read)(&process) as f64);
        }
        let (name, help) = ("process_cpu_seconds_total", "Time on cores, user's and system's.");
        Some(Seconds { name, help, value: process.cpu })
    }
}

/// What does not change while the node runs.
fn fixed_gauges(register: &Register) {
    let version = Some(("version", env!("CARGO_PKG_VERSION")));
    register.gauge("godwit_build_info", "1, with the version as a label.", version).set(1.0);
    let started = crate::clock::wall_now().as_millis() as f64 / 1000.0;
    register.gauge("process_start_time_seconds", "When the node was started, since 1970.", None).set(started);
    let resident = process::resident_bytes().unwrap_or(0);
    register
        .gauge("godwit_resident_at_start_bytes", "Resident memory when the node was started.", None)
        .set(resident as f64);
}
