//! The node's secret keys: made on first start, kept in files that only its user can read, never in a log.
//!
//! `DATA/keys/cluster.key` derives refresh tokens and keys hashes; `DATA/keys/token-*.key` sign access tokens: the last
//! by name signs, all verify, so a key is rotated by adding one and later removing the old (C38). `reset.key` and
//! `retry.key` are QUIC's (RFC 9000, sections 10.3 and 8.1), `cid.key` hides the loop's number in connection ids. The nodes
//! of one cluster share all of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use edge_proto::{KeyError, KeyMaterial, Keys, TokenKey};
use wire::Secret;

/// Keys that cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// A file or directory.
    #[error("cannot read or make {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key file of the wrong size.
    #[error("{0} is not a key: it must have exactly 32 bytes")]
    Size(PathBuf),
    /// The operating system has no randomness.
    #[error("the operating system gives no randomness")]
    Random,
    /// A key that cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Everything secret of a node.
#[derive(Debug)]
pub struct NodeSecrets {
    /// Tokens and hashes.
    pub keys: Keys,
    /// Signs QUIC's stateless resets.
    pub reset: Secret<[u8; 32]>,
    /// Seals QUIC's Retry tokens.
    pub retry: Secret<[u8; 32]>,
    /// Hides the loop's number in connection ids.
    pub cid: Secret<[u8; 32]>,
}

/// Loads the keys in a directory, making what is missing.
///
/// # Errors
/// [`SecretsError`] says which file, and why.
pub fn load(dir: &Path) -> Result<NodeSecrets, SecretsError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| SecretsError::Io { path, source }
    };
    // With the folder's own name on disk: a cluster key that a power loss takes signs everybody out.
    store::durable::create_dir_all(dir, 0o700).map_err(io(dir))?;
    let secret = load_or_make(&dir.join("cluster.key"))?;
    let mut names: Vec<PathBuf> = fs::read_dir(dir)
        .map_err(io(dir))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| is_token_key(p))
        .collect();
    if names.is_empty() {
        names.push(dir.join("token-1.key"));
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    let mut token_keys = Vec::with_capacity(names.len());
    for path in names {
        let kid = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        token_keys.push(TokenKey { kid, seed: load_or_make(&path)? });
    }
    let keys = Keys::new(&KeyMaterial { token_keys, secret })?;
    Ok(NodeSecrets {
        keys,
        reset: load_or_make(&dir.join("reset.key"))?,
        retry: load_or_make(&dir.join("retry.key"))?,
        cid: load_or_make(&dir.join("cid.key"))?,
    })
}

fn is_token_key(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.starts_with("token-") && name.ends_with(".key")
}

fn load_or_make(path: &Path) -> Result<Secret<[u8; 32]>, SecretsError> {
    let io = |source| SecretsError::Io { path: path.to_owned(), source };
    match File::open(path) {
        Ok(mut file) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(io)?;
            let key = bytes.try_into().map_err(|_| SecretsError::Size(path.to_owned()))?;
            Ok(Secret::new(key))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|_| SecretsError::Random)?;
            write_whole(path, &key).map_err(io)?;
            Ok(Secret::new(key))
        }
        Err(error) => Err(io(error)),
    }
}

/// Writes beside, syncs, renames: after a crash there is a whole key or none.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn c38_keys_are_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        load(&keys).unwrap();
        let first = fs::read(keys.join("token-1.key")).unwrap();
        load(&keys).unwrap();
        assert_eq!(fs::read(keys.join("token-1.key")).unwrap(), first);
        let mode = fs::metadata(keys.join("token-1.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(keys.join("token-2.key"), b"short").unwrap();
        assert!(matches!(load(&keys), Err(SecretsError::Size(_))));
    }
}
