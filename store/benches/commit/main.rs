//! How many appends a second the embedded store commits: over many logs, over one hot log, and over one hot log
//! whose writers do not share a batcher, so that each append is a transaction that conflicts with the others. Beside
//! them what bounds them all, the time that the disk takes to sync, and what one append costs at 64 writers.
//! Numbers of one machine and moment: compare the ratios (against that last column), not the rates.
//!
//! `cargo bench -p store --bench commit [-- WRITERS...]`. The store is made anew in cargo's folder for such things, `target/tmp`, and the
//! disk is measured there too, before and after. The run is invalid, and ends with a failure, if an append was
//! refused for another reason than that the store was busy, or none of a cell was committed.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

#[path = "../load/disk.rs"]
mod disk;
#[path = "../load/embedded.rs"]
mod embedded;
#[path = "../load/mod.rs"]
mod load;
mod machine;
#[path = "../load/writers.rs"]
mod writers;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use embedded::{EmbeddedStore, open};
use load::{LOGS, TokioClock};
use loadtest_figures::{Options, Report, median, process_cpu, quantile};
use store::tx::{Backend, Tx};
use store::{Store, StoreConfig};
use writers::{Appends, Times};

/// How long one cell of the table is measured.
const RUN: Duration = Duration::from_secs(1);
const WRITERS: [u64; 4] = [1, 8, 64, 512];

/// The writers whose appends are looked at more closely.
const CLOSELY: u64 = 64;

/// Syncs that are timed before the table, and after it.
const SYNCS: usize = 100;

fn main() -> ExitCode {
    let options = Options::from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let directory = load::directory();
    let mut report = Report::new(&options);
    let mut syncs = disk::syncs(directory.path(), SYNCS);
    runtime.block_on(cells(&options, &mut report, &directory.path().join("store")));
    syncs.extend(disk::syncs(directory.path(), SYNCS));
    let fdatasync_ms = median(&syncs);
    report.figure("fdatasync_ms", fdatasync_ms);
    report.line(format_args!(
        "fdatasync after 4 KiB: {fdatasync_ms:.2} ms, the median before and after, in {}",
        directory.path().display()
    ));
    report.finish()
}

/// All cells of the table.
async fn cells(options: &Options, report: &mut Report, directory: &Path) {
    let (store, run) = (open(directory).await, options.run(RUN));
    let alone = alone(&store, run).await;
    report.line(format_args!("one small commit after another: {alone:.0}/s"));
    report.figure("embedded_lone_commits_per_s", alone);
    report.line(format_args!(
        "{:>8} {:>11} {:>8} {:>11} {:>8} {:>12} {:>8}",
        "writers", "64 logs /s", "p99 ms", "one log /s", "p99 ms", "unbatched /s", "ratio"
    ));
    for writers in writers_wanted(options) {
        let shared = vec![store.clone(); writers as usize];
        let before = Costs::now(&store);
        let many = appends(report, &shared, LOGS, run).await;
        let costs = Costs::now(&store).since(&before);
        let one = appends(report, &shared, 1, run).await;
        let apart = appends(report, &unshared(&store, writers).await, 1, run).await;
        let ratio = one.per_s / apart.per_s;
        let p99 = |appends: &Appends| quantile(&appends.latencies_ms, 0.99);
        report.line(format_args!(
            "{writers:>8} {:>11.0} {:>8.2} {:>11.0} {:>8.2} {:>12.0} {ratio:>8.1}   given up as busy: {}, {}, {}",
            many.per_s, p99(&many), one.per_s, p99(&one), apart.per_s, many.given_up, one.given_up, apart.given_up
        ));
        report.figure(format!("embedded_commits_per_s_{writers}"), many.per_s);
        report.figure(format!("embedded_hot_commits_per_s_{writers}"), one.per_s);
        report.figure(format!("embedded_unbatched_commits_per_s_{writers}"), apart.per_s);
        if writers == CLOSELY {
            costs.report(report, many.all);
        }
    }
}

/// One cell. One that failed makes the run invalid, and has no figure.
async fn appends(report: &mut Report, stores: &[EmbeddedStore], logs: u16, run: Duration) -> Appends {
    let times = Times { warm: Duration::ZERO, run };
    writers::write(stores, logs, times).await.unwrap_or_else(|why| {
        report.invalid(why);
        Appends::default()
    })
}

/// The numbers of writers to try: those given as arguments, or a range.
fn writers_wanted(options: &Options) -> Vec<u64> {
    let given: Vec<u64> =
        options.rest.iter().map(|word| word.parse().expect("a number of writers")).collect();
    if given.is_empty() { WRITERS.to_vec() } else { given }
}

/// What the process and the store have used up.
struct Costs {
    cpu: Duration,
    bytes: u64,
    groups: u64,
}

impl Costs {
    fn now(store: &EmbeddedStore) -> Costs {
        let groups = store.backend().write_stats().groups;
        Costs { cpu: process_cpu(), bytes: machine::bytes_written(), groups }
    }

    fn since(&self, before: &Costs) -> Costs {
        let (bytes, groups) = (self.bytes - before.bytes, self.groups - before.groups);
        Costs { cpu: self.cpu - before.cpu, bytes, groups }
    }

    fn report(&self, report: &mut Report, appends: u64) {
        let each = |n: f64| n / appends.max(1) as f64;
        let (cpu_us, bytes) = (each(self.cpu.as_secs_f64() * 1e6), each(self.bytes as f64));
        let per_sync = appends as f64 / self.groups.max(1) as f64;
        report.line(format_args!(
            "         each of these in 64 logs: {cpu_us:.1} µs of CPU, {bytes:.0} bytes written, {per_sync:.1} a sync"
        ));
        report.figure(format!("embedded_cpu_us_per_commit_{CLOSELY}"), cpu_us);
        report.figure(format!("embedded_bytes_per_commit_{CLOSELY}"), bytes);
        report.figure(format!("embedded_commits_per_sync_{CLOSELY}"), per_sync);
    }
}

/// Transactions of one write each, one after another, a second: what every append would cost alone.
async fn alone(store: &EmbeddedStore, run: Duration) -> f64 {
    let (start, mut commits) = (Instant::now(), 0);
    while start.elapsed() < run {
        let mut tx = store.backend().begin().await.expect("a transaction");
        tx.set(Bytes::from_static(b"zz"), Bytes::from(vec![0; 300]));
        tx.commit().await.expect("a commit");
        commits += 1;
    }
    f64::from(commits) / start.elapsed().as_secs_f64()
}

/// A store of its own for each writer, on the same backend: they meet only in its transactions.
async fn unshared(store: &EmbeddedStore, writers: u64) -> Vec<EmbeddedStore> {
    let mut stores = Vec::new();
    for seed in 0..writers {
        let config = StoreConfig { seed, ..StoreConfig::default() };
        let clock = TokioClock(Instant::now());
        stores.push(Store::open(store.backend().clone(), config, clock).await.expect("it is open already"));
    }
    stores
}
