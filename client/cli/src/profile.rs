//! One device on disk: the encrypted database of `client-db`, and where it connects.
//!
//! One process at a time has the database's claim and is connected; another may only add to the outbox.

use std::path::{Path, PathBuf};

use client_db::{Db, DbError, Unlock};

use crate::error::CliError;

/// A device's files.
pub struct Profile {
    /// Everything that is kept.
    pub db: Db,
}

/// Where a profile connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `HOST:PORT`.
    pub address: String,
    /// The CA it trusts, in PEM form.
    pub ca: PathBuf,
}

impl Profile {
    /// Opens a profile that exists.
    ///
    /// # Errors
    /// [`CliError::LoginNeeded`] if there is none, [`CliError::Database`].
    pub fn open(dir: &Path, unlock: &Unlock) -> Result<Profile, CliError> {
        match Db::open(dir, unlock) {
            Ok(db) => Ok(Profile { db }),
            Err(DbError::Missing { dir }) => {
                let why = format!("there is no profile in {}", dir.display());
                Err(CliError::LoginNeeded { why, profile: dir })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a profile, making what is missing.
    ///
    /// # Errors
    /// [`CliError::Database`].
    pub fn create(dir: &Path, unlock: &Unlock) -> Result<Profile, CliError> {
        Ok(Profile { db: Db::create(dir, unlock)? })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        self.db.dir()
    }

    /// Remembers where to connect.
    ///
    /// # Errors
    /// [`CliError::Database`].
    pub fn set_server(&mut self, server: &Server) -> Result<(), CliError> {
        let ca = server.ca.to_string_lossy();
        Ok(self.db.set_settings(&[("server", server.address.as_bytes()), ("ca", ca.as_bytes())])?)
    }

    /// Where it connects, if that was ever said.
    ///
    /// # Errors
    /// [`CliError::Database`].
    pub fn server(&self) -> Result<Option<Server>, CliError> {
        let text = |name| self.db.setting(name).map(|v| v.map(|v| String::from_utf8_lossy(&v).into_owned()));
        let pair = text("server")?.zip(text("ca")?);
        Ok(pair.map(|(address, ca)| Server { address, ca: ca.into() }))
    }
}
