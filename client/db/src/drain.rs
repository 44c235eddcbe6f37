//! One transaction per drain: what the client has written, and the rows of MLS state that belong to it.

use client_core::{Login, Message, OutboxRow, Write};
use rusqlite::{Connection, TransactionBehavior, params};
use wire::event::Cursor;
use wire::{ChatId, ClientMsgId};

use crate::column::{Id, int};
use crate::error::DbError;
use crate::people::set_setting;
use crate::{Db, mls};

impl Db {
    /// Keeps all of these, or none; on disk when it returns.
    ///
    /// # Errors
    /// [`DbError`]; nothing was kept.
    pub fn apply(&mut self, writes: &[Write]) -> Result<(), DbError> {
        const NO_ROWS: [(&[u8], Option<&[u8]>); 0] = [];
        self.apply_with(writes, NO_ROWS)
    }

    /// Keeps all of these writes and rows of MLS state, or none; on disk when it returns. A row's value replaces the one
    /// before, `None` deletes it; of two for one key the later counts.
    ///
    /// # Errors
    /// [`DbError::InUse`] if there are rows and another process has the [claim](Db::claim); [`DbError`]; nothing was kept.
    pub fn apply_with<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        writes: &[Write],
        rows: impl IntoIterator<Item = (K, Option<V>)>,
    ) -> Result<(), DbError> {
        let mut rows = rows.into_iter().peekable();
        if writes.is_empty() && rows.peek().is_none() {
            return Ok(());
        }
        if rows.peek().is_some() {
            self.claimed()?;
        }
        let kept = self.sql.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|tx| {
            writes.iter().try_for_each(|write| keep(&tx, write))?;
            rows.try_for_each(|(key, value)| {
                mls::keep(&tx, key.as_ref(), value.as_ref().map(AsRef::as_ref))
            })?;
            tx.commit()
        });
        kept.map_err(|error| self.wrong(error))?;
        // It is kept. A log that cannot be emptied now is emptied later; a disk that fails says so at the next commit.
        let _ = self.forget_if_long();
        Ok(())
    }
}

fn keep(db: &Connection, write: &Write) -> rusqlite::Result<()> {
    match write {
        Write::Queue(row) => queue(db, row),
        Write::Sent(message) => {
            insert_message(db, message, true)?;
            remove_outbox(db, message.client_msg_id)
        }
        Write::Arrived(message) => {
            insert_message(db, message, false)?;
            let sql = "INSERT INTO chats (chat, have) VALUES (?1, ?2)
                       ON CONFLICT (chat) DO UPDATE SET have = max(have, excluded.have)";
            run(db, sql, params![Id(message.chat), int(message.seq.0)])
        }
        Write::Failed { client_msg_id, code } => {
            let sql = "UPDATE outbox SET failed = ?2 WHERE client_msg_id = ?1";
            run(db, sql, params![Id(*client_msg_id), code.number()])
        }
        Write::Cancelled { client_msg_id } => remove_outbox(db, *client_msg_id),
        Write::Chat { chat, peer } => {
            let sql = "INSERT INTO chats (chat, peer) VALUES (?1, ?2)
                       ON CONFLICT (chat) DO UPDATE SET peer = coalesce(excluded.peer, peer)";
            run(db, sql, params![Id(*chat), peer.map(Id)])
        }
        Write::Told { chat, delivered, read } => {
            let sql = "UPDATE chats SET told_delivered = ?2, told_read = ?3 WHERE chat = ?1";
            run(db, sql, params![Id(*chat), int(delivered.0), int(read.0)])
        }
        Write::Read { chat, read } => {
            run(db, "UPDATE chats SET read = max(read, ?2) WHERE chat = ?1", params![Id(*chat), int(read.0)])
        }
        Write::Cursor { chat, cursor } => keep_cursor(db, *chat, cursor),
        Write::ReceiptsSince(since) => set_setting(db, "receipts_since", &since.as_millis().to_be_bytes()),
        Write::Login(login) => keep_login(db, login),
        Write::LoggedOut => run(db, "DELETE FROM login", []),
    }
}

fn run(db: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute(params).map(drop)
}

fn queue(db: &Connection, row: &OutboxRow) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO outbox (client_msg_id, chat, peer, content) VALUES (?1, ?2, ?3, ?4)";
    run(db, sql, params![Id(row.client_msg_id), Id(row.chat), row.peer.map(Id), row.content.as_ref()])
}

fn remove_outbox(db: &Connection, id: ClientMsgId) -> rusqlite::Result<()> {
    run(db, "DELETE FROM outbox WHERE client_msg_id = ?1", [Id(id)])
}

/// One's own messages come twice, as sent and as arrived: the first one stays.
fn insert_message(db: &Connection, m: &Message, shown: bool) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO messages VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let at = int(m.at.as_millis());
    let (chat, sender, id) = (Id(m.chat), Id(m.sender), Id(m.client_msg_id));
    run(db, sql, params![chat, int(m.seq.0), sender, id, at, m.content.as_ref(), shown])
}

fn keep_cursor(db: &Connection, chat: ChatId, c: &Cursor) -> rusqlite::Result<()> {
    let sql = "INSERT INTO cursors VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (chat, member) DO UPDATE SET
                   delivered_at = CASE WHEN excluded.delivered > delivered THEN excluded.delivered_at ELSE delivered_at END,
                   read_at = CASE WHEN excluded.read > read THEN excluded.read_at ELSE read_at END,
                   delivered = max(delivered, excluded.delivered), read = max(read, excluded.read)";
    let (delivered_at, read_at) = (int(c.delivered_at.as_millis()), int(c.read_at.as_millis()));
    let (member, delivered, read) = (Id(c.member), int(c.delivered.0), int(c.read.0));
    run(db, sql, params![Id(chat), member, delivered, delivered_at, read, read_at])
}

fn keep_login(db: &Connection, login: &Login) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO login VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)";
    let access_expires = int(login.access_expires.as_millis());
    let (access, refresh) = (login.access.expose(), &login.refresh.expose()[..]);
    let (account, device, request) = (Id(login.account), Id(login.device), Id(login.refresh_request));
    run(db, sql, params![account, device, access, access_expires, refresh, request])
}
