//! What must be there before the engine opens a store: it makes anew, or removes, what it does not find.
//!
//! A keyspace without its `current` file is removed by the engine as one that was never finished, with all it holds;
//! and a `current` that names another manifest than it should shows an older state. A store is moved to its place only
//! when it is whole, so here either is damage.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::EmbeddedError;

/// The engine's own keyspace of names and settings, and ours.
const KEYSPACES: [&str; 2] = ["0", "1"];

/// Checks that the engine's files that name others are there and whole.
///
/// # Errors
/// [`EmbeddedError::Damaged`] with the first that is not, or [`EmbeddedError::Io`].
pub(super) fn check(place: &Path) -> Result<(), EmbeddedError> {
    let version = place.join("version");
    if read(&version)?[..] != *b"FJL\x03" {
        return Err(damaged(&version, "it is not what the engine writes"));
    }
    for keyspace in KEYSPACES {
        let folder = place.join("keyspaces").join(keyspace);
        let path = folder.join("current");
        let current = read(&path)?;
        // A number, a checksum of the manifest with that number, and the kind of the checksum.
        let (Some((number, rest)), 25) = (current.split_first_chunk::<8>(), current.len()) else {
            return Err(damaged(&path, "it has the wrong length"));
        };
        if rest[16] != 0 {
            return Err(damaged(&path, "its checksum is of an unknown kind"));
        }
        let manifest = folder.join(format!("v{}", u64::from_le_bytes(*number)));
        if xxh3_128(&read(&manifest)?).to_le_bytes() != rest[..16] {
            return Err(damaged(&manifest, "its checksum is wrong"));
        }
    }
    Ok(())
}

/// The first table that is not what the manifests say, for an engine that refuses and does not say why: it takes a
/// reading of the whole store.
pub(super) fn damaged_table(place: &Path) -> Option<PathBuf> {
    KEYSPACES.iter().find_map(|keyspace| first_damaged(&place.join("keyspaces").join(keyspace)).ok()?)
}

fn first_damaged(folder: &Path) -> Result<Option<PathBuf>, Box<dyn std::error::Error>> {
    let current = fs::read(folder.join("current"))?;
    let number = current.first_chunk().map(|number| u64::from_le_bytes(*number)).ok_or("too short")?;
    let manifest = folder.join(format!("v{number}"));
    let reader = sfa::Reader::new(&manifest).map_err(|e| format!("{e:?}"))?;
    let section = reader.toc().section(b"tables").ok_or("no tables")?;
    let mut tables = section.buf_reader(&manifest).map_err(|e| format!("{e:?}"))?;
    // Levels of runs of tables: a number, the kind of the checksum, the checksum, and a sequence number.
    let [levels] = take(&mut tables)?;
    for _ in 0..levels {
        let [runs] = take(&mut tables)?;
        for _ in 0..runs {
            for _ in 0..u32::from_le_bytes(take(&mut tables)?) {
                let number = u64::from_le_bytes(take(&mut tables)?);
                let [_kind] = take(&mut tables)?;
                let sum: [u8; 16] = take(&mut tables)?;
                let _seqno: [u8; 8] = take(&mut tables)?;
                let path = folder.join("tables").join(number.to_string());
                if checksum(&path).map(u128::to_le_bytes).ok() != Some(sum) {
                    return Ok(Some(path));
                }
            }
        }
    }
    Ok(None)
}

fn checksum(path: &Path) -> io::Result<u128> {
    let (mut file, mut hasher) = (File::open(path)?, Xxh3::new());
    let mut part = vec![0; 1 << 20];
    loop {
        match file.read(&mut part)? {
            0 => return Ok(hasher.digest128()),
            read => hasher.update(&part[..read]),
        }
    }
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map(|()| bytes)
}

fn damaged(path: &Path, what: &'static str) -> EmbeddedError {
    EmbeddedError::Damaged { path: path.to_owned(), at: 0, what }
}

fn read(path: &Path) -> Result<Vec<u8>, EmbeddedError> {
    fs::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => damaged(path, "it is missing"),
        _ => EmbeddedError::Io { path: path.to_owned(), source },
    })
}
