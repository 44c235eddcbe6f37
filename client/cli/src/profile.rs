//! One device on disk: `device.key` (its Ed25519 seed), `state.db` (SQLite: tokens, outbox, messages, cursors), `lock`.
//!
//! Everything is for its owner alone (0700, 0600). What [`Profile::apply`] has returned from is on disk: SQLite in WAL
//! mode with `synchronous = FULL`. One process at a time holds the lock and is connected; another may only add to the
//! outbox.

mod chats;
mod schema;
mod store;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use wire::Secret;

use crate::error::CliError;

pub use chats::Summary;

/// A device's files.
pub struct Profile {
    dir: PathBuf,
    db: Connection,
    device_key: Secret<[u8; 32]>,
    lock: Option<File>,
}

/// Where a profile connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `HOST:PORT`.
    pub address: String,
    /// The CA it trusts, in PEM form.
    pub ca: PathBuf,
}

/// A person this profile has met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The account.
    pub account: wire::AccountId,
    /// The name.
    pub name: String,
    /// The 1:1 chat.
    pub chat: wire::ChatId,
}

/// How a message of the outbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It waits, or is under way.
    Waiting,
    /// It was refused for good, with this code.
    Failed(u16),
    /// It is committed at this place and time.
    Sent(wire::Seq, wire::WallTime),
    /// It is not there: cancelled, or never was.
    Gone,
}

impl Profile {
    /// Opens a profile that exists.
    ///
    /// # Errors
    /// [`CliError::LoginNeeded`] if there is none, [`CliError::Profile`].
    pub fn open(dir: &Path) -> Result<Profile, CliError> {
        if !dir.join("device.key").is_file() {
            let why = format!("there is no profile in {}", dir.display());
            return Err(CliError::LoginNeeded { why, profile: dir.to_owned() });
        }
        Profile::create(dir)
    }

    /// Opens a profile, making what is missing.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn create(dir: &Path) -> Result<Profile, CliError> {
        let wrong = |source: Box<dyn std::error::Error + Send + Sync>| CliError::Profile {
            path: dir.to_owned(),
            source,
        };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| wrong(e.into()))?;
        let device_key = load_or_make_key(&dir.join("device.key")).map_err(wrong)?;
        // The file is made private before SQLite opens it; its companions take its mode.
        let path = dir.join("state.db");
        let private = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        private.map_err(|e| wrong(e.into()))?;
        let db = Connection::open(&path).map_err(|e| wrong(e.into()))?;
        schema::prepare(&db).map_err(wrong)?;
        Ok(Profile { dir: dir.to_owned(), db, device_key, lock: None })
    }

    /// Takes the lock that the one connected process holds, if it is not taken already; `false` if another has it.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn try_lock(&mut self) -> Result<bool, CliError> {
        if self.lock.is_some() {
            return Ok(true);
        }
        let path = self.dir.join("lock");
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let file = file.map_err(|e| self.wrong(e))?;
        match file.try_lock() {
            Ok(()) => {
                self.lock = Some(file);
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(self.wrong(error)),
        }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The seed of the device's key.
    pub fn device_key(&self) -> &Secret<[u8; 32]> {
        &self.device_key
    }

    fn wrong(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CliError {
        CliError::Profile { path: self.dir.clone(), source: source.into() }
    }
}

fn load_or_make_key(path: &Path) -> Result<Secret<[u8; 32]>, Box<dyn std::error::Error + Send + Sync>> {
    if let Ok(mut file) = File::open(path) {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        return match bytes.try_into() {
            Ok(seed) => Ok(Secret::new(seed)),
            Err(_) => Err(format!("{} is not a device key", path.display()).into()),
        };
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&seed)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    // The folder, and the names of those above it, which may be new. One that may not be read was not made here.
    for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        match File::open(above).and_then(|folder| folder.sync_all()) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            result => result?,
        }
    }
    Ok(Secret::new(seed))
}
