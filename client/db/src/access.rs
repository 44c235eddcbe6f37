//! Opening a database, or making one: what is there, whose key it is, and what is wrong if it does not fit.

use std::cell::OnceCell;
use std::path::Path;

use crate::connect::Opener;
use crate::error::DbError;
use crate::files::Files;
use crate::header::{Header, Kind};
use crate::key::{Key, Passphrase, SALT_BYTES};
use crate::{Db, schema};

/// How a database is unlocked.
#[derive(Debug, Clone)]
pub enum Unlock {
    /// By 32 random bytes in a file beside it, which is for its owner alone: what protects the database is then what
    /// protects its owner's files.
    KeyFile,
    /// By a passphrase: the folder alone is worth nothing.
    Passphrase(Passphrase),
}

/// How a database that is there is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// There is none yet.
    Missing,
    /// [`Unlock::KeyFile`].
    KeyFile,
    /// [`Unlock::Passphrase`].
    Passphrase,
}

impl Protection {
    /// What is to be asked for before the database of a folder is opened.
    ///
    /// # Errors
    /// [`DbError`], as far as that is seen without a key.
    pub fn of(dir: &Path) -> Result<Protection, DbError> {
        let files = Files::of(dir);
        if files.salt()?.is_none() {
            return Ok(Protection::Missing);
        }
        Ok(match files.header()?.kind {
            Kind::File(_) => Protection::KeyFile,
            Kind::Passphrase(_) => Protection::Passphrase,
        })
    }
}

pub(crate) fn open(dir: &Path, unlock: &Unlock) -> Result<Db, DbError> {
    let files = Files::of(dir);
    match files.salt()? {
        Some(salt) => open_made(files, salt, unlock),
        None => Err(DbError::Missing { dir: dir.to_owned() }),
    }
}

pub(crate) fn create(dir: &Path, unlock: &Unlock) -> Result<Db, DbError> {
    let files = Files::of(dir);
    if let Some(salt) = files.salt()? {
        return open_made(files, salt, unlock);
    }
    files.make_dir()?;
    let _lock = files.lock()?;
    // Somebody else may have made it meanwhile.
    if let Some(salt) = files.salt()? {
        return open_made(files, salt, unlock);
    }
    // A key that is there was made by a process that went no further.
    let passphrase = match unlock {
        Unlock::KeyFile => None,
        Unlock::Passphrase(passphrase) => Some(passphrase),
    };
    let (header, key) = Header::make(passphrase)?;
    files.keep_header(&header)?;
    files.make_database()?;
    finish(Opener { files, key, salt: header.salt }, header.salt)
}

fn open_made(files: Files, salt: [u8; SALT_BYTES], unlock: &Unlock) -> Result<Db, DbError> {
    let header = files.header()?;
    let dir = || files.dir.clone();
    let key = match (&header.kind, unlock) {
        (Kind::File(key), Unlock::KeyFile) => Key::of_bytes(key.bytes()),
        (Kind::File(_), Unlock::Passphrase(_)) => return Err(DbError::NoPassphrase { dir: dir() }),
        (Kind::Passphrase(_), Unlock::KeyFile) => return Err(DbError::PassphraseNeeded { dir: dir() }),
        (&Kind::Passphrase(cost), Unlock::Passphrase(passphrase)) => {
            header.key_of(passphrase, cost).ok_or(DbError::WrongPassphrase)?
        }
    };
    finish(Opener { files, key, salt: header.salt }, salt)
}

/// With a key that fits its file. `found` is what the database begins with.
fn finish(opener: Opener, found: [u8; SALT_BYTES]) -> Result<Db, DbError> {
    let sql = opener.connect().map_err(|error| match error {
        // The first page does not open. If it is not even the one that the key was made for, it need not be damaged.
        DbError::Damaged { .. } if found != opener.salt => {
            DbError::WrongKey { path: opener.files.key.clone() }
        }
        other => other,
    })?;
    let own = schema::prepare(&sql, &opener.files)?;
    let (device_key, install) = (own.device_key, own.install);
    let db = Db { opener, sql, claim: OnceCell::new(), device_key, install };
    // What a process that was killed has left behind.
    db.forget()?;
    Ok(db)
}
