//! A store made of a backup.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use store::Clock;
use store::closed::Describe;
use store::keys;
use store::parsed::Kind;
use store::record::Closed;
use store::tx::Backend;

use crate::access::{Access, PAGE_BYTES, PAGE_PAIRS, Pair, Scan, bytes_of};
use crate::copy::now;
use crate::digest::Digester;
use crate::error::Differs;
use crate::manifest::Manifest;
use crate::object;
use crate::place::Place;
use crate::seal::{Key, Sealer};
use crate::target::{Begin, Finish, Lookup, WritePage, is_empty, is_filtered};
use crate::{BackupError, Compared, Difference, Digests, Progress, Reporter};

/// Fills an empty store from a backup, compares, and opens it for nodes. Its incarnation is the backup's and one. What was
/// read after the logs and points beyond them is left out: chats that an account got meanwhile, outbox keys of later
/// entries. Run again after an interruption, it goes on where it stopped.
///
/// # Errors
/// [`BackupError`]. The target is then closed for writing, if it was written to.
///
/// # Cancel safety
/// As an interruption.
pub async fn restore<B: Backend, C: Clock>(
    place: &Place,
    key: Option<&Key>,
    to: B,
    clock: C,
    report: Reporter<'_>,
) -> Result<Compared, BackupError> {
    let (manifest, id, sealer) = Manifest::read(place, key).await?;
    let to = Access::new(to, clock, "target");
    let found = to.run(&Describe).await?;
    if found.progress.as_ref().is_none_or(|progress| progress.id != id) {
        is_empty(&found)?;
    }
    let why = "a restore into it is not complete".to_owned();
    let closed = Closed { by: id, at: now(), why };
    let at = to.run(&Begin { closed, incarnation: manifest.incarnation + 1 }).await??;
    let restore = Restore { manifest: &manifest, id, sealer: &sealer, place, to: &to, report };
    restore.write(at).await?;
    let compared = restore.compare().await?;
    to.run(&Finish { id }).await??;
    Ok(compared)
}

struct Restore<'a, B, C> {
    manifest: &'a Manifest,
    id: [u8; 16],
    sealer: &'a Sealer,
    place: &'a Place,
    to: &'a Access<B, C>,
    report: Reporter<'a>,
}

/// What was written last: of which stream, of which of its objects, how many pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct At {
    stream: u64,
    object: u64,
    pairs: u64,
}

impl At {
    fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(24);
        for number in [self.stream, self.object, self.pairs] {
            bytes.put_u64(number);
        }
        bytes.freeze()
    }

    fn decode(mut bytes: &[u8]) -> At {
        let mut number = || bytes.try_get_u64().unwrap_or_default();
        At { stream: number(), object: number(), pairs: number() }
    }
}

impl<B: Backend, C: Clock> Restore<'_, B, C> {
    /// Every object, in the manifest's order: the logs come first, so that what points into them is told.
    async fn write(&self, mut place: Bytes) -> Result<(), BackupError> {
        let done = At::decode(&place);
        let mut progress = Progress { doing: "restoring", keys: 0, bytes: 0 };
        for (stream, object, listed) in self.objects() {
            if (stream, object) < (done.stream, done.object) {
                continue;
            }
            let pairs = object::read(self.place, self.sealer, listed).await?;
            let mut at = At { stream, object, pairs: 0 };
            for page in pages(&pairs) {
                at.pairs += page.len() as u64;
                if at <= done {
                    continue;
                }
                let to = at.encode();
                let filter = needs_filter(page);
                let write = WritePage { id: self.id, from: &place, to: &to, pairs: page, filter };
                self.to.run(&write).await??;
                place = to;
                progress.keys += page.len() as u64;
                progress.bytes += bytes_of(page);
                (self.report)(progress);
            }
        }
        Ok(())
    }

    fn objects(&self) -> impl Iterator<Item = (u64, u64, &crate::Object)> {
        self.manifest
            .streams
            .iter()
            .zip(0..)
            .flat_map(|(stream, n)| stream.objects.iter().zip(0..).map(move |(object, m)| (n, m, object)))
    }

    /// Reads the backup again, and what the target holds at each of its keys; then all of the target, for keys too many.
    async fn compare(&self) -> Result<Compared, BackupError> {
        let (mut source, mut target) = (Vec::new(), Vec::new());
        let mut progress = Progress { doing: "comparing", keys: 0, bytes: 0 };
        (self.report)(progress);
        for stream in &self.manifest.streams {
            let mut digesters = Digesters::default();
            for object in &stream.objects {
                let pairs = object::read(self.place, self.sealer, object).await?;
                for page in pages(&pairs) {
                    let lookup = Lookup { pairs: page, filter: needs_filter(page) };
                    digesters.feed(page, self.to.run(&lookup).await?)?;
                    progress.keys += page.len() as u64;
                    progress.bytes += bytes_of(page);
                    (self.report)(progress);
                }
            }
            stream.holds(digesters.read)?;
            source.push(digesters.wanted.finish());
            target.push(digesters.found.finish());
        }
        let compared = Compared { source: Digests::of_all(&source), target: Digests::of_all(&target) };
        self.nothing_else(&compared.target).await?;
        Ok(compared)
    }

    /// Each key of the backup is there; as many keys are all.
    async fn nothing_else(&self, expected: &Digests) -> Result<(), BackupError> {
        let mut all = Digester::default();
        let mut scan = Scan::new(self.to, keys::all_but_the_stores_own());
        loop {
            scan.fill().await?;
            let page = scan.take_page();
            if page.is_empty() {
                break;
            }
            for (key, value) in page {
                all.feed(&key, &value);
            }
        }
        let all = all.finish();
        match Kind::ALL.into_iter().find(|kind| all.count(*kind) != expected.count(*kind)) {
            Some(kind) => Err(Difference { kind, what: Differs::Extra }.into()),
            None => Ok(()),
        }
    }
}

/// The backup as it was read, what of it belongs into the target, and what is there.
#[derive(Default)]
struct Digesters {
    read: Digester,
    wanted: Digester,
    found: Digester,
}

impl Digesters {
    fn feed(&mut self, page: &[Pair], found: Vec<Option<Option<Bytes>>>) -> Result<(), Difference> {
        for ((key, value), found) in page.iter().zip(found) {
            self.read.feed(key, value);
            let differs = |what| Err(Difference { kind: Kind::of(key), what });
            let Some(found) = found else { continue };
            let Some(found) = found else { return differs(Differs::Missing) };
            if found != value {
                return differs(Differs::Value);
            }
            if self.wanted.feed(key, value) != self.found.feed(key, &found) {
                return differs(Differs::Chain);
            }
        }
        Ok(())
    }
}

fn needs_filter(page: &[Pair]) -> bool {
    page.iter().any(|(key, _)| is_filtered(Kind::of(key)))
}

/// Cuts pairs into what a transaction takes; always in the same way.
fn pages(pairs: &[Pair]) -> impl Iterator<Item = &[Pair]> {
    let mut rest = pairs;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take(PAGE_PAIRS).take_while(|(key, value)| {
            bytes += key.len() + value.len();
            bytes <= PAGE_BYTES
        });
        let (page, later) = rest.split_at(fits.count().max(1).min(rest.len()));
        rest = later;
        (!page.is_empty()).then_some(page)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_and_everything() {
        let pair = |bytes| (Bytes::from_static(b"key"), Bytes::from(vec![0; bytes]));
        let pairs: Vec<Pair> = (0..2_500).map(|n| pair(if n % 700 == 0 { 90_000 } else { 100 })).collect();
        let cut: Vec<_> = pages(&pairs).collect();
        assert!(cut.iter().all(|page| page.len() <= PAGE_PAIRS && bytes_of(page) <= PAGE_BYTES as u64));
        assert_eq!(cut.concat(), pairs);
        assert_eq!(pages(&[]).count(), 0);
    }

    #[test]
    fn places_sort_as_they_are_written() {
        let at = At { stream: 1, object: 2, pairs: 3 };
        assert_eq!(At::decode(&at.encode()), at);
        assert_eq!(At::decode(&[]), At::default());
        assert!(At { stream: 1, object: 0, pairs: 9 } < at && at < At { stream: 1, object: 3, pairs: 0 });
    }
}
