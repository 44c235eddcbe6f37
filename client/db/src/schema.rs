//! The tables of `state.db`.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use wire::{InstallId, Secret};
use zeroize::Zeroizing;

use crate::column::Id;
use crate::error::DbError;
use crate::files::Files;

/// The version this build writes; a newer one is refused.
const VERSION: i64 = STEPS.len() as i64;

/// What makes each version from the one before, beginning with nothing.
const STEPS: [&str; 2] = [TABLES, GROUPS];

const TABLES: &str = "
    -- Who this device is, whatever accounts come and go.
    CREATE TABLE device (
        one INTEGER PRIMARY KEY CHECK (one = 1), seed BLOB NOT NULL, install BLOB NOT NULL);
    -- What its owner remembers by name: where the server is, up to when receipts are known.
    CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
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
    -- What was written in a chat and not sent.
    CREATE TABLE drafts (chat BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
    -- Groups, ratchets and keys, in the form of whoever encrypts, each sealed by a key of its own: see mls.rs.
    CREATE TABLE mls (key BLOB PRIMARY KEY, slot INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE mls_keys (n INTEGER PRIMARY KEY, key BLOB NOT NULL CHECK (length(key) = 32));
    CREATE TABLE mls_free (n INTEGER PRIMARY KEY);
";

const GROUPS: &str = "
    -- What a message was last sealed as: what leaves.
    ALTER TABLE outbox ADD COLUMN sealed BLOB;
    ALTER TABLE outbox ADD COLUMN sealed_epoch INTEGER;
    ALTER TABLE chats ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
    -- What a group is called.
    ALTER TABLE chats ADD COLUMN name TEXT;
    -- The place of the commit that added this device, if another device did.
    ALTER TABLE chats ADD COLUMN joined INTEGER NOT NULL DEFAULT 0;
    -- Entries that are no messages: what is what notices.rs calls it.
    CREATE TABLE passed (
        chat BLOB NOT NULL, seq INTEGER NOT NULL, sender BLOB NOT NULL, at INTEGER NOT NULL, what INTEGER NOT NULL,
        PRIMARY KEY (chat, seq)) WITHOUT ROWID;
    -- What a screen says between messages of who is in a chat; accounts one after another, in 16 bytes each.
    CREATE TABLE members (
        n INTEGER PRIMARY KEY, chat BLOB NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, by BLOB NOT NULL,
        added BLOB NOT NULL, removed BLOB NOT NULL, gone INTEGER NOT NULL);
    CREATE INDEX members_by_place ON members (chat, seq);
    -- A commit on its way: the frame that is said first, and what follows it.
    CREATE TABLE commits (chat BLOB PRIMARY KEY, request BLOB NOT NULL, bytes BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE plans (chat BLOB PRIMARY KEY, plan BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE own_devices (device BLOB PRIMARY KEY) WITHOUT ROWID;
    -- How this device's key packages stand, and the frame that says those that are on their way.
    CREATE TABLE key_packages (
        one INTEGER PRIMARY KEY CHECK (one = 1), last_resort_until INTEGER NOT NULL, publishing BLOB);
";

/// What is made once.
pub(crate) struct Own {
    pub(crate) device_key: Secret<[u8; 32]>,
    pub(crate) install: InstallId,
}

/// Makes what is not there yet, in one transaction, and reads who this device is.
pub(crate) fn prepare(sql: &Connection, files: &Files) -> Result<Own, DbError> {
    let wrong = |error| DbError::sql(&files.dir)(error);
    // Nobody makes the same at the same time.
    let tx = rusqlite::Transaction::new_unchecked(sql, TransactionBehavior::Immediate).map_err(wrong)?;
    let found: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(wrong)?;
    let Some(steps) = usize::try_from(found).ok().and_then(|found| STEPS.get(found..)) else {
        return Err(DbError::Newer { path: files.database.clone(), found, known: VERSION });
    };
    let own = match read_own(&tx, steps).map_err(wrong)? {
        Some(own) => own,
        None => make_own(&tx, files)?,
    };
    if !steps.is_empty() {
        tx.pragma_update(None, "user_version", VERSION).map_err(wrong)?;
    }
    tx.commit().map_err(wrong)?;
    Ok(own)
}

fn read_own(sql: &Connection, steps: &[&str]) -> rusqlite::Result<Option<Own>> {
    steps.iter().try_for_each(|step| sql.execute_batch(step))?;
    let own = |row: &rusqlite::Row<'_>| {
        let (seed, Id(install)) = (row.get(0)?, row.get(1)?);
        Ok(Own { device_key: Secret::new(seed), install })
    };
    sql.query_row("SELECT seed, install FROM device", [], own).optional()
}

fn make_own(sql: &Connection, files: &Files) -> Result<Own, DbError> {
    let (mut seed, mut install) = (Zeroizing::new([0; 32]), [0; 16]);
    getrandom::fill(&mut seed[..]).and_then(|()| getrandom::fill(&mut install)).map_err(DbError::Random)?;
    let install = InstallId::new(install);
    let made = sql.execute("INSERT INTO device VALUES (1, ?1, ?2)", params![&seed[..], Id(install)]);
    made.map_err(DbError::sql(&files.dir))?;
    Ok(Own { device_key: Secret::new(*seed), install })
}
