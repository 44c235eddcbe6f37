//! What must be there before the engine opens a store: it makes anew, or removes, what it does not find.
//!
//! A keyspace without its `current` file is removed by the engine as one that was never finished, with all it holds;
//! and a `current` that names another manifest than it should shows an older state. A store is moved to its place only
//! when it is whole, so here either is damage.

use std::fs;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::EmbeddedError;

/// The engine's own keyspace of names and settings, and ours.
const KEYSPACES: [&str; 2] = ["0", "1"];

/// Checks that the engine's files that name others are there and whole.
///
/// # Errors
/// [`EmbeddedError::Damaged`] with the first that is not, or [`EmbeddedError::Io`].
pub(super) fn check(place: &Path) -> Result<(), EmbeddedError> {
    read(&place.join("version"))?;
    for keyspace in KEYSPACES {
        let folder = place.join("keyspaces").join(keyspace);
        let path = folder.join("current");
        let current = read(&path)?;
        let damaged = |path: &Path, what| EmbeddedError::Damaged { path: path.to_owned(), at: 0, what };
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

fn read(path: &Path) -> Result<Vec<u8>, EmbeddedError> {
    fs::read(path).map_err(|source| EmbeddedError::Io { path: path.to_owned(), source })
}
