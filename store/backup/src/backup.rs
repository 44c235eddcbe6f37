//! A backup, written while nodes serve, and read back.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::{try_join, try_join_all};
use store::Clock;
use store::closed::Describe;
use store::tx::Backend;

use crate::access::{Access, Pair, bytes_of};
use crate::copy::{now, random, readable};
use crate::digest::{Digester, hex};
use crate::logs::{self, Parts};
use crate::manifest::{FORMAT, Manifest, Stream};
use crate::object::{self, Writer};
use crate::people;
use crate::place::Place;
use crate::seal::{Key, Sealer};
use crate::{BackupError, ObjectError, Progress, Reporter};

/// What whoever makes a backup may choose.
#[derive(Debug, Clone)]
pub struct BackupConfig {
    /// Seals it.
    pub key: Option<Key>,
    /// How many parts of the logs are read at once; each holds an object's bytes in memory.
    pub at_once: usize,
    /// Bytes of an object, about.
    pub object_bytes: usize,
    /// Whether it is read back.
    pub verify: bool,
}

impl Default for BackupConfig {
    fn default() -> BackupConfig {
        BackupConfig { key: None, at_once: 4, object_bytes: 8 << 20, verify: true }
    }
}

/// Writes a backup of a store to an empty place. Nodes may go on serving from it: what was acknowledged before the call is
/// in the backup, and of what comes meanwhile a part (per log, a prefix).
///
/// # Errors
/// [`BackupError`]. What lies at the place then is no backup, and says so.
///
/// # Cancel safety
/// As an error.
pub async fn backup<B: Backend, C: Clock>(
    from: B,
    clock: C,
    place: &Place,
    config: &BackupConfig,
    report: Reporter<'_>,
) -> Result<Manifest, BackupError> {
    let access = Access::new(from, clock, "source");
    let began_at = now();
    let source = access.run(&Describe).await?;
    let incarnation = readable(&source)?;
    if let Some(name) = place.anything().await? {
        return Err(ObjectError::PlaceNotEmpty { name }.into());
    }
    let id = random()?;
    let sealer = Sealer::new(config.key.as_ref(), id);
    let streams = Streams { access: &access, place, sealer: &sealer, config }.write(report).await?;
    let manifest = Manifest {
        format: FORMAT,
        id: hex(&id),
        schema: source.schema.unwrap_or_default(),
        incarnation,
        began_at_ms: began_at.as_millis(),
        ended_at_ms: now().as_millis(),
        streams,
    };
    manifest.write(place, id, &sealer).await?;
    if config.verify {
        verify(place, config.key.as_ref(), report).await?;
    }
    Ok(manifest)
}

/// What a backup says of itself; its objects are not read.
///
/// # Errors
/// [`ObjectError`].
pub async fn describe(place: &Place, key: Option<&Key>) -> Result<Manifest, ObjectError> {
    Ok(Manifest::read(place, key).await?.0)
}

/// Reads a backup and holds it against its manifest: every object's length, checksum and seal, and what is in them.
///
/// # Errors
/// [`ObjectError`].
pub async fn verify(place: &Place, key: Option<&Key>, report: Reporter<'_>) -> Result<Manifest, ObjectError> {
    let (manifest, _, sealer) = Manifest::read(place, key).await?;
    let mut progress = Progress { doing: "verifying", keys: 0, bytes: 0 };
    for stream in &manifest.streams {
        let mut digester = Digester::default();
        for object in &stream.objects {
            let pairs = object::read(place, &sealer, object).await?;
            for (key, value) in &pairs {
                digester.feed(key, value);
            }
            progress.keys += pairs.len() as u64;
            progress.bytes += bytes_of(&pairs);
            report(progress);
        }
        stream.holds(digester)?;
    }
    Ok(manifest)
}

impl Stream {
    /// Whether its objects gave what was read from the store.
    pub(crate) fn holds(&self, digester: Digester) -> Result<(), ObjectError> {
        match self.kinds.first_difference(&digester.finish()) {
            Some(kind) => Err(ObjectError::Digest { stream: self.name.clone(), kind }),
            None => Ok(()),
        }
    }
}

/// The writing of all streams.
struct Streams<'a, B, C> {
    access: &'a Access<B, C>,
    place: &'a Place,
    sealer: &'a Sealer,
    config: &'a BackupConfig,
}

impl<B: Backend, C: Clock> Streams<'_, B, C> {
    /// The logs, all of them, before anything else.
    async fn write(&self, report: Reporter<'_>) -> Result<Vec<Stream>, BackupError> {
        let (keys, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let wrote = |pairs: &[Pair]| {
            let keys = keys.fetch_add(pairs.len() as u64, Ordering::Relaxed) + pairs.len() as u64;
            let bytes = bytes.fetch_add(bytes_of(pairs), Ordering::Relaxed) + bytes_of(pairs);
            report(Progress { doing: "backing up", keys, bytes });
        };
        let parts = Parts::all();
        let logs = (0..self.config.at_once.max(1)).map(async |n| {
            let mut writer = self.writer(format!("logs-{n}"));
            logs::write(self.access, &parts, &mut writer, &wrote).await?;
            writer.finish().await
        });
        let mut streams = try_join_all(logs).await?;
        let people = async {
            let mut writer = self.writer("accounts".into());
            people::write(self.access, &mut writer, &wrote).await?;
            writer.finish().await
        };
        let outbox = async {
            let mut writer = self.writer("outbox".into());
            people::write_outbox(self.access, &mut writer, &wrote).await?;
            writer.finish().await
        };
        let (people, outbox) = try_join(people, outbox).await?;
        people::only_known_letters(self.access).await?;
        streams.extend([people, outbox]);
        Ok(streams)
    }

    fn writer(&self, name: String) -> Writer<'_> {
        Writer::new(self.place, self.sealer, name, self.config.object_bytes)
    }
}
