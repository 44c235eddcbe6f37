//! How often one append asks the allocator for memory, and for how many bytes, from the op to its answer, on all threads:
//! alone, and where 64 writers on 64 logs share what a group needs. The message itself and its op are made outside.
//!
//! `cargo bench -p store --bench allocations`. Counts, not times: a busy machine changes only how many share a group.

#![expect(clippy::disallowed_methods, reason = "the store is given a clock")]

#[path = "load/embedded.rs"]
mod embedded;
mod load;

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use embedded::{EmbeddedStore, open};
use load::{LOGS, append, is_committed};
use loadtest_figures::{Options, Report};
use store::op::Op;

/// Appends of each writer that are counted, and as many before, so that chats and caches are there.
const APPENDS: u64 = 2_000;
const APPENDS_QUICK: u64 = 200;

#[global_allocator]
static COUNTING: Counting = Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted.
struct Counting;

#[expect(unsafe_code, reason = "every call goes to the system's allocator as it came")]
// SAFETY: `System` keeps the contract, and is given exactly what came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's, and what is freed here came from `System`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

fn main() -> ExitCode {
    let options = Options::from_args();
    let appends = if options.quick { APPENDS_QUICK } else { APPENDS };
    let mut report = Report::new(&options);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let directory = load::directory();
    report.line(format_args!("{:>8} {:>12} {:>10}", "writers", "allocations", "bytes"));
    runtime.block_on(async {
        let store = open(&directory.path().join("store")).await;
        for (writers, each) in [(1, appends), (u64::from(LOGS), appends / 10)] {
            commit(&store, messages(writers, each)).await;
            let counted = messages(writers, each);
            let before = [&ALLOCATIONS, &BYTES].map(|count| count.load(Ordering::Relaxed));
            commit(&store, counted).await;
            let after = [&ALLOCATIONS, &BYTES].map(|count| count.load(Ordering::Relaxed));
            let per_append = |n: usize| (after[n] - before[n]) as f64 / (writers * each) as f64;
            let (allocations, bytes) = (per_append(0), per_append(1));
            report.line(format_args!("{writers:>8} {allocations:>12.1} {bytes:>10.0}"));
            report.figure(format!("embedded_allocations_per_commit_{writers}"), allocations);
            report.figure(format!("embedded_allocated_bytes_per_commit_{writers}"), bytes);
        }
    });
    report.finish()
}

/// So many appends of each writer.
fn messages(writers: u64, each: u64) -> Vec<Vec<Op>> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let one = |writer: u64| append(writer as u16, NEXT.fetch_add(1, Ordering::Relaxed));
    (0..writers).map(|writer| (0..each).map(|_| one(writer)).collect()).collect()
}

/// Commits them, a task for each writer.
///
/// # Panics
/// If one is not committed: the count would be of something else.
async fn commit(store: &EmbeddedStore, messages: Vec<Vec<Op>>) {
    let write = |ops: Vec<Op>| {
        let store = store.clone();
        tokio::spawn(async move {
            for op in ops {
                let output = store.execute(op).await.expect("the store has room");
                assert!(is_committed(&output), "{output:?}");
            }
        })
    };
    for writer in messages.into_iter().map(write).collect::<Vec<_>>() {
        writer.await.expect("a writer");
    }
}
