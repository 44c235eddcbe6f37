//! A store to another backend, key by key, the source closed for writing.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::{join, try_join};
use store::Clock;
use store::closed::{Close, Describe, Described, Incomplete};
use store::keys;
use store::parsed::Kind;
use store::record::Closed;
use store::tx::{Backend, after_key};
use wire::WallTime;

use crate::access::{Access, PAGE_BYTES, ReadPage, Scan, bytes_of};
use crate::digest::Digester;
use crate::error::Differs;
use crate::target::{Begin, Finish, WritePage, is_empty};
use crate::{BackupError, Compared, Difference, Progress, Reporter};

/// Copies all of a store but what a store says of itself, compares, and opens the target for nodes.
///
/// The source is closed for writing before the first key is read and stays so, also afterwards, so that no node goes on
/// with it: [`reopen`](crate::reopen) is for who wants it back. The target's incarnation is the source's and one. Run again
/// after an interruption, it goes on where it stopped.
///
/// # Errors
/// [`BackupError`]. The target is then closed for writing, if it was written to.
///
/// # Cancel safety
/// As an interruption.
pub async fn copy<A: Backend, B: Backend, C: Clock>(
    from: A,
    to: B,
    clock: C,
    report: Reporter<'_>,
) -> Result<Compared, BackupError> {
    let from = Access::new(from, clock.clone(), "source");
    let to = Access::new(to, clock, "target");
    let (source, target) = try_join(from.run(&Describe), to.run(&Describe)).await?;
    let incarnation = readable(&source)?;
    let id = id(&source, &target)?;
    let why = "it was copied to another store, which is the one to use".to_owned();
    from.run(&Close { closed: Closed { by: id, at: now(), why } }).await??;
    let why = "a copy into it is not complete".to_owned();
    let closed = Closed { by: id, at: now(), why };
    let place = to.run(&Begin { closed, incarnation: incarnation + 1 }).await??;
    pages(&from, &to, id, place, report).await?;
    let compared = compare(&from, &to, report).await?;
    to.run(&Finish { id }).await??;
    Ok(compared)
}

/// The incarnation of a store that can be read from.
pub(crate) fn readable(found: &Described) -> Result<u64, BackupError> {
    if !found.is_readable() {
        return Err(BackupError::NewerSchema { found: found.schema.unwrap_or_default() });
    }
    if found.progress.is_some() {
        return Err(BackupError::SourceIncomplete(Incomplete));
    }
    found.incarnation.ok_or(BackupError::NoStore)
}

/// The copy's id: of the one that the target holds a part of, or that closed the source and got no further.
fn id(source: &Described, target: &Described) -> Result<[u8; 16], BackupError> {
    let by = source.closed.as_ref().map(|closed| closed.by);
    match &target.progress {
        Some(place) if Some(place.id) == by => Ok(place.id),
        Some(_) => {
            let why = "a part of a copy of another store, or of this one before it was opened again".into();
            Err(BackupError::TargetNotEmpty { why })
        }
        None => {
            is_empty(target)?;
            by.map_or_else(random, Ok)
        }
    }
}

/// Sixteen random bytes.
pub(crate) fn random() -> Result<[u8; 16], BackupError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| BackupError::Random)?;
    Ok(id)
}

/// Wall time, for manifests and markers.
pub(crate) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The source's keys after the last one written, to the target: the next page is read while one is written.
async fn pages<A: Backend, B: Backend, C: Clock>(
    from: &Access<A, C>,
    to: &Access<B, C>,
    id: [u8; 16],
    mut place: Bytes,
    report: Reporter<'_>,
) -> Result<(), BackupError> {
    let mut progress = Progress { doing: "copying", keys: 0, bytes: 0 };
    for (begin, end) in keys::all_but_the_stores_own() {
        let begin = if place.is_empty() { begin } else { begin.max(after_key(&place)) };
        let read =
            async |begin: Bytes| from.run(&ReadPage { begin, end: end.clone(), bytes_max: PAGE_BYTES }).await;
        if begin >= end {
            continue;
        }
        let mut page = read(begin).await?;
        while let Some(next) = page.next {
            let (last, _) = page.pairs.last().expect("a page with a next one has pairs");
            let last = last.clone();
            let write = WritePage { id, from: &place, to: &last, pairs: &page.pairs, filter: false };
            let (written, following) = join(to.run(&write), read(next)).await;
            written??;
            progress.keys += page.pairs.len() as u64;
            progress.bytes += bytes_of(&page.pairs);
            report(progress);
            (place, page) = (last, following?);
        }
    }
    Ok(())
}

/// Reads both from the beginning.
async fn compare<A: Backend, B: Backend, C: Clock>(
    from: &Access<A, C>,
    to: &Access<B, C>,
    report: Reporter<'_>,
) -> Result<Compared, BackupError> {
    let mut source = Scan::new(from, keys::all_but_the_stores_own());
    let mut target = Scan::new(to, keys::all_but_the_stores_own());
    let (mut read, mut found) = (Digester::default(), Digester::default());
    let mut progress = Progress { doing: "comparing", keys: 0, bytes: 0 };
    report(progress);
    loop {
        try_join(source.fill(), target.fill()).await?;
        let differs = |key: &Bytes, what| Err(Difference { kind: Kind::of(key), what }.into());
        let ((key, value), (other, other_value)) = match (source.take(), target.take()) {
            (None, None) => break,
            (Some((key, _)), None) => return differs(&key, Differs::Missing),
            (None, Some((key, _))) => return differs(&key, Differs::Extra),
            (Some(pair), Some(other)) => (pair, other),
        };
        if key < other {
            return differs(&key, Differs::Missing);
        }
        if other < key {
            return differs(&other, Differs::Extra);
        }
        if value != other_value {
            return differs(&key, Differs::Value);
        }
        if read.feed(&key, &value) != found.feed(&other, &other_value) {
            return differs(&key, Differs::Chain);
        }
        progress.keys += 1;
        progress.bytes += (key.len() + value.len()) as u64;
        if progress.keys.is_multiple_of(10_000) {
            report(progress);
        }
    }
    Ok(Compared { source: read.finish(), target: found.finish() })
}
