//! What a message takes up: as keys and values, and on disk.
//!
//! Messages of 100 random bytes in 64 chats of two, each a transaction of its own, before anybody has read them and before their
//! outbox keys are cleared. What is said is what grew between two moments of rest, by message.

use std::time::{Duration, Instant};

use bytes::Bytes;
use loadtest_cluster::OnDisk;
use loadtest_figures::{Options, Report};
use store::run::{Attempt, Body, OpError};
use store::tx::{Range, Tx};

use super::fill::{CONTENT_BYTES, fill};
use super::load::{self, LOGS};
use super::place::{AnyStore, Kind, PREFIX_BYTES, Place};

const NAME: &str = "bench2";

/// Messages of each chat, beside the first, which makes it: over a hundred thousand in all, some fifty megabytes.
const EACH: u64 = 2_000;
const EACH_QUICK: u64 = 50;

/// How long files must keep their size to be at rest. A storage server writes what is older than five seconds.
const REST: Duration = Duration::from_secs(12);

/// How much they may change and still do: a cluster that is left alone goes on writing its own keys.
const REST_SHARE: f64 = 0.005;

/// When it is given up that they come to rest.
const REST_MAX: Duration = Duration::from_secs(300);

const LOOK: Duration = Duration::from_secs(1);

/// Bytes of a page of keys and values.
const PAGE_BYTES: usize = 400 << 10;

/// What there is at a moment of rest.
#[derive(Debug, Clone, Copy)]
struct Stored {
    keys: u64,
    /// Of keys and values, as the engine has them.
    bytes: u64,
    disk: OnDisk,
    /// What the cluster itself says of the second.
    estimate: Option<u64>,
}

pub(crate) async fn measure(options: &Options, report: &mut Report, place: &Place) {
    let each = if options.quick { EACH_QUICK } else { EACH };
    match grown(place, each).await {
        Ok((before, after)) => tell(report, place.kind, before, after, each * u64::from(LOGS)),
        Err(why) => report.invalid(format!("{}: {why}", place.kind.name())),
    }
}

/// What there is before and after so many messages in each chat. The store is closed and opened again before it is looked at: an
/// embedded one removes tables that were replaced only then, or when it writes the next.
async fn grown(place: &Place, each: u64) -> Result<(Stored, Stored), String> {
    let store = place.open_with_small_tables(NAME).await;
    load::people(&store, LOGS).await;
    fill(&store, LOGS, 0..1).await?;
    drop(store);
    let before = stored(place).await?;
    let store = place.open_with_small_tables(NAME).await;
    fill(&store, LOGS, 1..1 + each).await?;
    drop(store);
    Ok((before, stored(place).await?))
}

/// What there is, once all is written down and nothing moves any more.
async fn stored(place: &Place) -> Result<Stored, String> {
    let store = place.open_with_small_tables(NAME).await;
    let begun = Instant::now();
    let (mut disk, mut since) = (place.on_disk(NAME), Instant::now());
    loop {
        tokio::time::sleep(LOOK).await;
        let (now, status) = (place.on_disk(NAME), place.status());
        let is_at_rest = status.as_ref().is_none_or(loadtest_cluster::Status::is_at_rest);
        if !is_at_rest || now.storage.abs_diff(disk.storage) as f64 > REST_SHARE * disk.storage as f64 {
            (disk, since) = (now, Instant::now());
        } else if since.elapsed() > REST {
            let (keys, bytes) = logical(&store, place.kind).await?;
            let estimate = status.and_then(|status| status.kv_bytes());
            return Ok(Stored { keys, bytes, disk: now, estimate });
        }
        if begun.elapsed() > REST_MAX {
            return Err(format!("its files do not come to rest: {disk:?}, then {now:?}"));
        }
    }
}

/// How many keys there are, and their bytes with those of their values.
async fn logical(store: &AnyStore, kind: Kind) -> Result<(u64, u64), String> {
    let (mut keys, mut bytes, mut begin) = (0, 0, Some(Bytes::new()));
    while let Some(page) = begin {
        let page = store.run(&Page { begin: page }).await.map_err(|error| format!("{error:?}"))?;
        keys += page.keys;
        bytes += page.bytes;
        begin = page.next;
    }
    let prefixes = if kind == Kind::Embedded { 0 } else { keys * PREFIX_BYTES };
    Ok((keys, bytes + prefixes))
}

/// Counts keys from one on.
struct Page {
    begin: Bytes,
}

struct Counted {
    keys: u64,
    bytes: u64,
    /// Where the next page begins, if there may be more.
    next: Option<Bytes>,
}

impl Body for Page {
    type Output = Counted;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Counted, OpError> {
        let range = Range::new(self.begin.clone(), Bytes::from_static(&[0xff]));
        let pairs = tx.range(Range { bytes_max: PAGE_BYTES, snapshot: true, ..range }).await?;
        let bytes = pairs.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        let after = |key: &Bytes| Bytes::from([key, &[0][..]].concat());
        Ok(Counted { keys: pairs.len() as u64, bytes, next: pairs.last().map(|(key, _)| after(key)) })
    }
}

fn tell(report: &mut Report, kind: Kind, before: Stored, after: Stored, messages: u64) {
    let each = |before: u64, after: u64| (after as f64 - before as f64) / messages as f64;
    let keys = each(before.keys, after.keys);
    let bytes = each(before.bytes, after.bytes);
    let disk = each(before.disk.storage, after.disk.storage);
    let logs = after.disk.logs as f64 / 1e6;
    report.line(format_args!(
        "a message of {CONTENT_BYTES} bytes, over {messages}: {keys:.2} keys, {bytes:.0} bytes of keys and values, {disk:.0} bytes on disk; \
         journals or logs beside them {logs:.1} MB"
    ));
    report.figure(kind.key("keys_per_message"), keys);
    report.figure(kind.key("kv_bytes_per_message"), bytes);
    report.figure(kind.key("disk_bytes_per_message"), disk);
    report.figure(kind.key("log_files_mb"), logs);
    if let Some((before, after)) = before.estimate.zip(after.estimate) {
        let estimate = each(before, after);
        report.line(format_args!(
            "the cluster's own estimate of keys and values: {estimate:.0} bytes a message"
        ));
        report.figure(kind.key("estimated_kv_bytes_per_message"), estimate);
    }
}
