//! What a backup is made of. Written last: without it there is no backup.
//!
//! Layout: `GODWIT BACKUP`, a line feed, one byte (0 plain, 1 sealed), the backup's id (16), a check of the key (8, zeros if
//! plain), then the JSON: sealed as an object is, or after its SHA-256 (32).

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};

use crate::digest::hex;
use crate::place::{Got, Place};
use crate::seal::{Key, Sealer};
use crate::{BackupError, Digests, ObjectError};

/// The newest format of a backup.
pub const FORMAT: u32 = 1;

const MAGIC: &[u8] = b"GODWIT BACKUP\n";
const NAME: &str = "manifest";

/// More objects than 256 MB of manifest name are no backup of ours.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// A backup, described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`FORMAT`].
    pub format: u32,
    /// The backup's id, in hexadecimal.
    pub id: String,
    /// The schema version of the store.
    pub schema: u64,
    /// Its incarnation.
    pub incarnation: u64,
    /// When the backup began, in milliseconds since the Unix epoch: what was acknowledged before is in it.
    pub began_at_ms: u64,
    /// When the last object was written.
    pub ended_at_ms: u64,
    /// Its objects: those of logs first.
    pub streams: Vec<Stream>,
}

/// Objects that were written one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Its name, with which those of its objects begin.
    pub name: String,
    /// What is in it.
    pub kinds: Digests,
    /// Its objects, in order.
    pub objects: Vec<Object>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its name at the place.
    pub name: String,
    /// Its length in bytes, as stored.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, in hexadecimal.
    pub sha256: String,
    /// How many keys are in it.
    pub pairs: u64,
}

impl Manifest {
    /// What is in the backup, of each kind.
    pub fn kinds(&self) -> Digests {
        Digests::of_all(self.streams.iter().map(|stream| &stream.kinds))
    }

    /// Bytes of all objects.
    pub fn bytes(&self) -> u64 {
        self.streams.iter().flat_map(|stream| &stream.objects).map(|object| object.bytes).sum()
    }

    /// How many objects.
    pub fn objects(&self) -> usize {
        self.streams.iter().map(|stream| stream.objects.len()).sum()
    }

    pub(crate) async fn write(
        &self,
        place: &Place,
        id: [u8; 16],
        sealer: &Sealer,
    ) -> Result<(), BackupError> {
        let json = serde_json::to_vec(self).expect("texts and numbers are JSON");
        let mut bytes = MAGIC.to_vec();
        bytes.put_u8(sealer.check().is_some().into());
        bytes.put_slice(&id);
        bytes.put_slice(&sealer.check().unwrap_or_default());
        if sealer.check().is_none() {
            bytes.put_slice(digest(&SHA256, &json).as_ref());
        }
        bytes.extend(sealer.seal(NAME, json)?);
        Ok(place.put(NAME, Bytes::from(bytes)).await?)
    }

    /// The manifest of a place, and the sealer that opens its objects.
    pub(crate) async fn read(
        place: &Place,
        key: Option<&Key>,
    ) -> Result<(Manifest, [u8; 16], Sealer), ObjectError> {
        let damaged = |what| ObjectError::Manifest { what };
        let mut bytes = match place.get(NAME, MANIFEST_BYTES_MAX).await? {
            Some(Got::Bytes(bytes)) => bytes,
            Some(Got::TooLong(_)) => return Err(damaged("it is too long")),
            None if place.anything().await?.is_some() => return Err(ObjectError::NoManifest),
            None => return Err(ObjectError::NoBackup),
        };
        if !bytes.starts_with(MAGIC) || bytes.len() < MAGIC.len() + 25 {
            return Err(damaged("it does not begin as one"));
        }
        let header = bytes.split_to(MAGIC.len() + 25);
        let (mode, id, check) = (header[MAGIC.len()], part(&header, 15), part::<8>(&header, 31));
        let sealer = Sealer::new(key, id);
        let json = match (mode, sealer.check()) {
            (0, None) => plain(bytes).ok_or(damaged("its checksum is another"))?,
            (0, Some(_)) => return Err(ObjectError::NotSealed),
            (1, None) => return Err(ObjectError::KeyNeeded),
            (1, Some(of_key)) if of_key != check => return Err(ObjectError::WrongKey),
            (1, Some(_)) => sealer.open(NAME, bytes).map_err(|_| damaged("it does not open"))?,
            _ => return Err(damaged("it is neither plain nor sealed")),
        };
        let format: Format = serde_json::from_slice(&json).map_err(|_| damaged("it has no format"))?;
        if format.format > FORMAT {
            return Err(ObjectError::NewerFormat { found: format.format });
        }
        let manifest: Manifest = serde_json::from_slice(&json).map_err(|_| damaged("it lacks something"))?;
        if manifest.id != hex(&id) {
            return Err(damaged("it is another backup's"));
        }
        Ok((manifest, id, sealer))
    }
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn part<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[at..at + N]);
    bytes
}

fn plain(mut bytes: Bytes) -> Option<Bytes> {
    let sum = (bytes.len() >= 32).then(|| bytes.split_to(32))?;
    (digest(&SHA256, &bytes).as_ref() == &sum[..]).then_some(bytes)
}
