//! A connection to the file: its key, and the settings that every connection has.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags, ffi};

use crate::error::DbError;
use crate::files::Files;
use crate::key::{Key, SALT_BYTES};

/// A transaction waits for those of other processes for so long; each takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What every connection has:
///
/// - a write-ahead log, synced at each commit, on Apple's systems down to the medium: what was kept is on disk;
/// - what is deleted is overwritten with zeros in the file's pages (what that means for the log is in `forget`);
/// - nothing temporary touches a disk.
///
/// `cipher_memory_security` stays off. SQLCipher keeps its keys in locked memory and wipes it in any case; the setting does
/// so with every page that passes through the cache, whose content the process has in its own memory anyway.
const SETTINGS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA secure_delete = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA foreign_keys = ON;
";

/// What opens a database, for as long as more than one connection to it may be wanted.
pub(crate) struct Opener {
    pub(crate) files: Files,
    pub(crate) key: Key,
    pub(crate) salt: [u8; SALT_BYTES],
}

impl Opener {
    /// Connects to the database, which is there, if empty.
    pub(crate) fn connect(&self) -> Result<Connection, DbError> {
        let wrong = |error| DbError::sql(&self.files.dir)(error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let sql = Connection::open_with_flags(&self.files.database, flags).map_err(wrong)?;
        sql.busy_timeout(PATIENCE).map_err(wrong)?;
        // What it would say on standard error is in the errors, too.
        sql.execute_batch("PRAGMA cipher_log_level = NONE").map_err(wrong)?;
        give_key(&sql, &self.key.literal(&self.salt))?;
        // The first to read the file.
        sql.execute_batch(SETTINGS).map_err(wrong)?;
        Ok(sql)
    }
}

/// Gives SQLCipher the key. (`PRAGMA key` would do it, too, and leave copies where SQLite's parser was, and in its errors.)
/// With a SQLite that does not encrypt, this does not link.
#[expect(unsafe_code, reason = "rusqlite has no function of its own for it")]
fn give_key(sql: &Connection, literal: &str) -> Result<(), DbError> {
    let length = literal.len().try_into().expect("a hundred bytes");
    // SAFETY: the handle is of a connection that is open, and that nobody else uses now. The key is copied before the call
    // returns, into memory that SQLCipher locks and wipes.
    let code =
        unsafe { ffi::sqlite3_key_v2(sql.handle(), c"main".as_ptr(), literal.as_ptr().cast(), length) };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(DbError::KeyNotTaken) }
}
