//! What a node that is dead has stored: its files as they are, and every key with its value.

use std::path::{Path, PathBuf};

use fjall::{Database, Guard, KeyspaceCreateOptions};
use loadtest_cluster::store_of_node;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Every key and value of the node of a data directory. Its files are copied, and the copy is opened with the engine alone; a
/// node on FoundationDB is read with FoundationDB's command line alone. No code of the store's runs here.
pub fn pairs(data: &Path) -> Result<Vec<Pair>, String> {
    if let Some(store) = store_of_node(data) {
        return store.read().map_err(|error| error.to_string());
    }
    let copy = tempfile::tempdir().map_err(|error| error.to_string())?;
    let place = data.join("store/data");
    if !place.exists() {
        return Ok(Vec::new());
    }
    copy_all(&place, copy.path()).map_err(|error| error.to_string())?;
    let db = Database::builder(copy.path()).open().map_err(|error| error.to_string())?;
    let keys = db.keyspace("keys", KeyspaceCreateOptions::default).map_err(|error| error.to_string())?;
    let pair = |pair: Result<(fjall::Slice, fjall::Slice), fjall::Error>| {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        Ok((key.to_vec(), value.to_vec()))
    };
    keys.iter().map(Guard::into_inner).map(pair).collect()
}

/// Every file with bytes below a folder: a node that was killed leaves its socket, too.
pub fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        if file.file_type()?.is_dir() {
            all.extend(files(&file.path())?);
        } else if file.file_type()?.is_file() {
            all.push(file.path());
        }
    }
    Ok(all)
}

fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        let target = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            copy_all(&file.path(), &target)?;
        } else {
            std::fs::copy(file.path(), target)?;
        }
    }
    Ok(())
}
