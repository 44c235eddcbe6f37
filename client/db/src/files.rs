//! The files of a database: private, named in a folder that is synced, made by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::error::DbError;
use crate::header::{self, BYTES_MAX, Header, NoHeader};
use crate::key::SALT_BYTES;

/// The database's name in its folder.
pub(crate) const DATABASE: &str = "state.db";
const KEY: &str = "state.key";
const LOCK: &str = "state.lock";
const CLAIM: &str = "state.claim";

/// How every SQLite file of a build without encryption begins.
const PLAINTEXT: &[u8; SALT_BYTES] = b"SQLite format 3\0";

/// Another process makes a database within this, Argon2 included, or something is wrong with it.
const MAKING_MAX: Duration = Duration::from_secs(20);

/// Where everything is.
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
    pub(crate) database: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn of(dir: &Path) -> Files {
        Files { dir: dir.to_owned(), database: dir.join(DATABASE), key: dir.join(KEY) }
    }

    /// The first bytes of the database: its salt. `None` if nothing was ever written to it; so its key is worth nothing.
    pub(crate) fn salt(&self) -> Result<Option<[u8; SALT_BYTES]>, DbError> {
        let mut salt = [0; SALT_BYTES];
        let read = File::open(&self.database).and_then(|mut file| file.read_exact(&mut salt));
        match read {
            Ok(()) if salt == *PLAINTEXT => Err(DbError::Plaintext { path: self.database.clone() }),
            Ok(()) => Ok(Some(salt)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => Ok(None),
            Err(error) => Err(DbError::io(&self.database)(error)),
        }
    }

    /// What is in the key's file.
    pub(crate) fn header(&self) -> Result<Header, DbError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX + 1));
        // One byte more than there may be, so that a longer file is seen, and the buffer never grows.
        let read =
            File::open(&self.key).and_then(|file| file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => Header::decode(&bytes).map_err(|error| match error {
                NoHeader::Damaged => DbError::KeyDamaged { path: self.key.clone() },
                NoHeader::Newer(found) => {
                    let known = header::VERSION.into();
                    DbError::Newer { path: self.key.clone(), found: found.into(), known }
                }
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(DbError::KeyMissing { path: self.key.clone() })
            }
            Err(error) => Err(DbError::io(&self.key)(error)),
        }
    }

    /// Makes the folder, for its owner alone.
    pub(crate) fn make_dir(&self) -> Result<(), DbError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(DbError::io(&self.dir))
    }

    /// Writes the key's file, whole or not at all; it is on disk, and its name, when this returns.
    pub(crate) fn keep_header(&self, header: &Header) -> Result<(), DbError> {
        let beside = self.key.with_extension("key.new");
        let write = || {
            let mut file = private().truncate(true).open(&beside)?;
            file.write_all(&header.encode())?;
            file.sync_all()?;
            std::fs::rename(&beside, &self.key)
        };
        write().map_err(DbError::io(&self.key))?;
        self.sync_names()
    }

    /// Makes the database's file, private before SQLite opens it: its companions take its mode.
    pub(crate) fn make_database(&self) -> Result<(), DbError> {
        private().open(&self.database).map_err(DbError::io(&self.database))?;
        self.sync_names()
    }

    /// The folder, and the names of those above it, which may be new. One that may not be read was not made here.
    fn sync_names(&self) -> Result<(), DbError> {
        for above in self.dir.ancestors().filter(|above| !above.as_os_str().is_empty()) {
            match File::open(above).and_then(|folder| folder.sync_all()) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                result => result.map_err(DbError::io(above))?,
            }
        }
        Ok(())
    }

    /// Held by the one process that makes a database, until it is dropped.
    pub(crate) fn lock(&self) -> Result<File, DbError> {
        let deadline = Instant::now() + MAKING_MAX;
        loop {
            match self.try_lock(LOCK)? {
                Some(file) => return Ok(file),
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                None => return Err(DbError::Busy { dir: self.dir.clone() }),
            }
        }
    }

    /// Held by the one process that has MLS state in use; `None` if that is another one.
    pub(crate) fn claim(&self) -> Result<Option<File>, DbError> {
        self.try_lock(CLAIM)
    }

    /// A lock of the operating system's, which ends with its process, however that ends.
    fn try_lock(&self, name: &str) -> Result<Option<File>, DbError> {
        let path = self.dir.join(name);
        let file = private().open(&path).map_err(DbError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(DbError::io(&path)(error)),
        }
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}
