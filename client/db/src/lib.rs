//! The phone's encrypted database: one SQLCipher file that holds everything a device keeps, in one folder.
//!
//! | File | What it is |
//! |---|---|
//! | `state.db`, and SQLite's `-wal` and `-shm` beside it | the database; every byte of content is encrypted and authenticated |
//! | `state.key` | its key, or what a passphrase is turned into the key with ([`Unlock`]) |
//! | `state.lock` | held while a database is made |
//! | `state.claim` | held by the one process that has MLS state in use ([`Db::claim`]) |
//!
//! Everything is for its owner alone (0700, 0600). Several processes may have one database open; one of them at a time reads and
//! writes MLS state, so that no two draw from one ratchet. A copy of the folder is the same device: only one of the two may ever
//! be used, and no file says which.
//!
//! The one rule: **what [`Db::apply`] has returned from is on disk, whole, and what it has not is there whole or not at
//! all**, the rows of MLS state with the messages that they belong to. So ratchet state is stored before ciphertext
//! leaves, and a process killed at any write opens what it had. MLS state that was replaced or deleted is gone for good once
//! [`Db::forget`] has run, also for who has the key.
//!
//! Left out: who is connected, and what a terminal or a phone shows; that is the owner's.

mod access;
mod chats;
mod claim;
mod column;
mod connect;
mod drain;
mod error;
mod files;
mod forget;
mod header;
mod key;
mod mls;
mod notices;
mod people;
mod schema;
mod state;
mod under_way;

pub use access::{Protection, Unlock};
pub use chats::Summary;
pub use error::DbError;
pub use key::Passphrase;
pub use mls::MlsReader;
pub use notices::{Notice, PassedEntry, Said};
pub use people::Contact;
pub use state::Standing;

use std::cell::OnceCell;
use std::path::Path;

use rusqlite::Connection;
use wire::{InstallId, Secret};

use claim::Claim;
use connect::Opener;

/// A device's database, open.
pub struct Db {
    opener: Opener,
    sql: Connection,
    claim: OnceCell<Claim>,
    device_key: Secret<[u8; 32]>,
    install: InstallId,
}

impl Db {
    /// Opens the database of a folder.
    ///
    /// # Errors
    /// [`DbError::Missing`] if there is none; [`DbError`] says what else may be wrong with one, or with what was to unlock it.
    pub fn open(dir: &Path, unlock: &Unlock) -> Result<Db, DbError> {
        access::open(dir, unlock)
    }

    /// Opens the database of a folder, or makes the folder and the database: its key first, so that no database is ever
    /// without one.
    ///
    /// # Errors
    /// As [`Db::open`], but for `Missing`.
    pub fn create(dir: &Path, unlock: &Unlock) -> Result<Db, DbError> {
        access::create(dir, unlock)
    }

    /// The seed of the device's Ed25519 key: made with the database, and never outside it.
    pub fn device_key(&self) -> &Secret<[u8; 32]> {
        &self.device_key
    }

    /// The id of this installation: made with the database, whatever accounts come and go.
    pub fn install(&self) -> InstallId {
        self.install
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.opener.files.dir
    }
}
