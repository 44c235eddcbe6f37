//! Old secrets go: what was deleted or replaced cannot be read any more, by the key either.
//!
//! In the database's pages that is what `mls` sees to. But each commit writes whole pages to the write-ahead log, and there a
//! page stays as it was, encrypted with a key that still exists, until the log is written over. So the log is emptied: it
//! is copied into the database and cut to nothing, then synced. That is done when the log has grown past [`LOG_BYTES_MAX`],
//! at every opening, when the last process closes the database, and when its owner asks because there is nothing else to do.
//!
//! What this does not do. Outside of MLS state, what is deleted is overwritten with zeros by SQLite (`secure_delete`), but a
//! copy may stay in a page's free space where the row lay before it was moved: of a draft, of a message that was cancelled.
//! And a disk that writes elsewhere than it wrote before (flash, copy-on-write file systems, snapshots) may keep old blocks.
//! They are encrypted; who has the key and takes the medium apart might read them.

use rusqlite::{Connection, ErrorCode};

use crate::Db;
use crate::connect::PATIENCE;
use crate::error::DbError;
use crate::files::DATABASE;

/// The log is emptied after the commit that makes it longer than this: 254 pages, some thirty drains of a message that arrives
/// with its cursors and ratchet, so that two more syncs among thirty are what it costs.
pub(crate) const LOG_BYTES_MAX: u64 = 1024 * 1024;

impl Db {
    /// Empties the log, so that nothing is left of what was deleted or replaced; `false` if another process is just reading
    /// or writing and it has to be asked again. Costs nothing if the log is empty, two syncs otherwise.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn forget(&self) -> Result<bool, DbError> {
        if self.log_bytes() == 0 {
            return Ok(true);
        }
        // Nobody is waited for: it is tried again.
        let emptied = self.sql.busy_timeout(std::time::Duration::ZERO).and_then(|()| empty(&self.sql));
        let restored = self.sql.busy_timeout(PATIENCE);
        restored.and(emptied).map_err(DbError::sql(self.dir()))
    }

    /// After a commit: the log does not grow without end.
    pub(crate) fn forget_if_long(&self) -> Result<(), DbError> {
        if self.log_bytes() > LOG_BYTES_MAX {
            self.forget()?;
        }
        Ok(())
    }

    fn log_bytes(&self) -> u64 {
        let log = self.dir().join(format!("{DATABASE}-wal"));
        std::fs::metadata(log).map_or(0, |metadata| metadata.len())
    }
}

/// `false` if somebody was in the way, which SQLite says in one of two ways.
fn empty(sql: &Connection) -> rusqlite::Result<bool> {
    let said = sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    match said.as_ref().map_err(rusqlite::Error::sqlite_error_code) {
        Err(Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => Ok(false),
        _ => said.map(|busy| busy == 0),
    }
}
