//! The tables of `state.db`.

use std::time::Duration;

use rusqlite::Connection;

/// The version this build writes; a newer one is refused.
const VERSION: i64 = STEPS.len() as i64;

/// What makes each version from the one before, beginning with nothing.
const STEPS: [&str; 2] = [TABLES, DRAFTS];

const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE login (
        one INTEGER PRIMARY KEY CHECK (one = 1), account BLOB NOT NULL, device BLOB NOT NULL,
        access TEXT NOT NULL, access_expires INTEGER NOT NULL, refresh BLOB NOT NULL, refresh_request BLOB NOT NULL);
    CREATE TABLE outbox (
        n INTEGER PRIMARY KEY AUTOINCREMENT, client_msg_id BLOB NOT NULL UNIQUE, chat BLOB NOT NULL, peer BLOB,
        content BLOB NOT NULL, failed INTEGER);
    CREATE TABLE chats (
        chat BLOB PRIMARY KEY, peer BLOB, have INTEGER NOT NULL DEFAULT 0, read INTEGER NOT NULL DEFAULT 0,
        told_delivered INTEGER NOT NULL DEFAULT 0, told_read INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
    CREATE TABLE messages (
        chat BLOB NOT NULL, seq INTEGER NOT NULL, sender BLOB NOT NULL, client_msg_id BLOB NOT NULL,
        at INTEGER NOT NULL, content BLOB NOT NULL, shown INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (chat, seq)) WITHOUT ROWID;
    CREATE INDEX messages_by_id ON messages (client_msg_id);
    CREATE INDEX messages_unshown ON messages (at) WHERE shown = 0;
    CREATE TABLE cursors (
        chat BLOB NOT NULL, member BLOB NOT NULL, delivered INTEGER NOT NULL, delivered_at INTEGER NOT NULL,
        read INTEGER NOT NULL, read_at INTEGER NOT NULL, PRIMARY KEY (chat, member)) WITHOUT ROWID;
    CREATE TABLE people (account BLOB PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE contacts (phone TEXT PRIMARY KEY, account BLOB NOT NULL, chat BLOB NOT NULL) WITHOUT ROWID;
";

/// What was written in a chat and not sent.
const DRAFTS: &str = "CREATE TABLE draft (chat BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;";

/// Sets durability, waits for other processes, makes the tables that are not there yet.
pub(super) fn prepare(db: &Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    db.busy_timeout(Duration::from_secs(10))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.execute_batch("BEGIN IMMEDIATE")?;
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let Some(steps) = usize::try_from(version).ok().and_then(|version| STEPS.get(version..)) else {
        db.execute_batch("ROLLBACK")?;
        return Err(format!(
            "it was written by a newer godwit (version {version}, this one knows {VERSION})"
        )
        .into());
    };
    let made = steps.iter().try_for_each(|step| db.execute_batch(step)).and_then(|()| {
        if steps.is_empty() { Ok(()) } else { db.pragma_update(None, "user_version", VERSION) }
    });
    match made {
        Ok(()) => Ok(db.execute_batch("COMMIT")?),
        Err(error) => {
            db.execute_batch("ROLLBACK")?;
            Err(error.into())
        }
    }
}
