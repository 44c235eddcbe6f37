//! The same load on three stores in one sitting: embedded, a FoundationDB of one server, and one of three servers that keep two
//! copies of everything. How many appends a second each commits and how long one takes, over many chats, over one hot chat,
//! and over one hot chat whose writers share no batcher; and what a message takes up in each.
//!
//! `cargo bench -p store --features fdb --bench stores [-- commits|bytes]`; it needs FoundationDB's server and command line
//! beside its library. Stores, and the servers that it starts, live in cargo's folder for such things, `target/tmp`, on one disk,
//! which is measured before and after. Each store has the machine to itself, one after another; but its servers, this
//! program and the client library share the machine's cores, so compare within one run. The run is invalid, and ends with a
//! failure, if an append was answered by anything but an acknowledgement or "busy", if nothing of a cell was
//! committed, if a store did not come to rest, or if somebody else used the machine (but for a short run, which says so).

#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod bytes_stored;
mod commits;
#[path = "../load/disk.rs"]
mod disk;
mod fill;
#[path = "../load/mod.rs"]
mod load;
mod place;
#[path = "../load/writers.rs"]
mod writers;

use std::path::Path;
use std::process::ExitCode;

use loadtest_cluster::Programs;
use loadtest_figures::{Cores, Options, Report, median};
use place::{Kind, Place};
use store::fdb::Fdb;

/// Syncs that are timed before all else, and after it.
const SYNCS: usize = 100;

/// A share of the machine's cores. With more of it in use by others a run says nothing.
const OTHERS_MAX: f64 = 0.25;

fn main() -> ExitCode {
    let options = Options::from_args();
    let known = ["commits", "bytes"];
    assert!(options.rest.iter().all(|word| known.contains(&word.as_str())), "the words are {known:?}");
    let [commits, bytes] =
        known.map(|name| options.rest.is_empty() || options.rest.iter().any(|w| w == name));
    let mut report = Report::new(&options);
    if let Err(missing) = Programs::find() {
        report.invalid(missing.to_string());
        return report.finish();
    }
    let directory = load::directory();
    // Of the servers too: all stores are on one disk, and not in what may be memory.
    tempfile::env::override_temp_dir(directory.path()).expect("nobody asked for a folder before");
    let mut syncs = disk::syncs(directory.path(), SYNCS);
    for kind in Kind::ALL {
        measure(&options, &mut report, kind, commits, bytes);
    }
    Fdb::shut_down();
    syncs.extend(disk::syncs(directory.path(), SYNCS));
    tell_disk(&mut report, &syncs, directory.path());
    report.finish()
}

/// One store, from its beginning to its end.
fn measure(options: &Options, report: &mut Report, kind: Kind, commits: bool, bytes: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    report.line(format_args!("\n{}", kind.name()));
    let place = Place::start(kind);
    let before = Cores::now(&place.pids());
    if commits {
        runtime.block_on(commits::measure(options, report, &place));
    }
    if bytes {
        runtime.block_on(bytes_stored::measure(options, report, &place));
    }
    if let Some((before, after)) = before.zip(Cores::now(&place.pids())) {
        tell_others(options, report, kind, after.others_since(&before));
    }
}

fn tell_others(options: &Options, report: &mut Report, kind: Kind, others: f64) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    report.line(format_args!("others used {others:.2} of {cores} cores meanwhile"));
    report.figure(kind.key("others_cores"), others);
    if others > OTHERS_MAX * cores as f64 && !options.quick {
        report.invalid(format!("{}: others used {others:.2} of {cores} cores", kind.name()));
    }
}

fn tell_disk(report: &mut Report, syncs: &[f64], directory: &Path) {
    let fdatasync_ms = median(syncs);
    report.figure("fdb_fdatasync_ms", fdatasync_ms);
    report.line(format_args!(
        "\nfdatasync after 4 KiB: {fdatasync_ms:.2} ms, the median before and after, in {}",
        directory.display()
    ));
}
