//! What may be wrong with a database, told apart so that its owner knows what to do.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why a database cannot be opened, read or written. No variant holds a key, a passphrase or content.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// There is no database here.
    #[error("there is no database in {}", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// It was made by a build of before databases were encrypted.
    #[error(
        "{} was written by a godwit of before databases were encrypted, and is not read any more: move the folder away and register again",
        path.display()
    )]
    Plaintext {
        /// The file.
        path: PathBuf,
    },
    /// The database is there and its key is not: nothing can read it.
    #[error("{} is missing, and without it nothing can read the database beside it: put it back from a copy", path.display())]
    KeyMissing {
        /// Where the key should be.
        path: PathBuf,
    },
    /// What is in the key's file is no key.
    #[error("{} is not a key, or is damaged: put it back from a copy", path.display())]
    KeyDamaged {
        /// The file.
        path: PathBuf,
    },
    /// A passphrase is needed and was not given.
    #[error("the database in {} is protected by a passphrase", dir.display())]
    PassphraseNeeded {
        /// The folder.
        dir: PathBuf,
    },
    /// A passphrase was given for a database that has none: whoever gave it believes more than is true.
    #[error("the database in {} has no passphrase: its key lies beside it", dir.display())]
    NoPassphrase {
        /// The folder.
        dir: PathBuf,
    },
    /// A passphrase without a character.
    #[error("a passphrase cannot be empty")]
    PassphraseEmpty,
    /// It is not this database's passphrase.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// The key's file belongs to another database.
    #[error("{} is the key of another database", path.display())]
    WrongKey {
        /// The key's file.
        path: PathBuf,
    },
    /// SQLCipher did not take the key: it has no memory for it. Nothing was read or written.
    #[error("SQLCipher did not take the key")]
    KeyNotTaken,
    /// The key is right and what it should open is not what was written.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer build wrote it.
    #[error("{} was written by a newer godwit (version {found}, this one knows {known})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that this build knows.
        known: i64,
    },
    /// Another process has MLS state of this database in use: it is connected.
    #[error("the database in {} is in use by another process", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// Another process has kept the database for longer than anybody should.
    #[error("another process keeps the database in {} busy", dir.display())]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// The disk is full; nothing of the transaction was kept.
    #[error("the disk is full")]
    Full,
    /// A file or folder.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The operating system gave no randomness.
    #[error("no randomness for a key")]
    Random(#[source] getrandom::Error),
    /// Anything else of SQLite's.
    #[error("cannot use the database in {}", dir.display())]
    Sql {
        /// The folder.
        dir: PathBuf,
        /// What SQLite said; statements may be in it, values never.
        #[source]
        source: rusqlite::Error,
    },
}

impl DbError {
    /// A file's trouble.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> DbError {
        let path = path.to_owned();
        move |source| DbError::Io { path, source }
    }

    /// What SQLite said of the database of a folder.
    pub(crate) fn sql(dir: &Path) -> impl FnOnce(rusqlite::Error) -> DbError {
        move |source| {
            let dir = dir.to_owned();
            match source.sqlite_error_code() {
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                    DbError::Damaged { path: dir.join(crate::files::DATABASE), source }
                }
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DbError::Busy { dir },
                Some(ErrorCode::DiskFull) => DbError::Full,
                _ => DbError::Sql { dir, source },
            }
        }
    }
}
