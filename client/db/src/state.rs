//! What was kept, as a client that starts and a screen ask for it.

use bytes::Bytes;
use client_core::{ChatRow, Login, Message, OUTBOX_MAX, OutboxRow, Sealed, Snapshot};
use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::event::Cursor;
use wire::{AccountId, ChatId, ClientMsgId, Epoch, Secret, Seq, WallTime};

use crate::Db;
use crate::column::{Id, int, seq, time};
use crate::error::DbError;
use crate::people::setting;
use crate::under_way;

/// The setting that says up to when cursor moves are known.
pub(crate) const RECEIPTS_SINCE: &str = "receipts_since";

/// How a message of the outbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It waits, or is under way.
    Waiting,
    /// It was refused for good, with this code.
    Failed(u16),
    /// It is committed at this place and time.
    Sent(Seq, WallTime),
    /// It is not there: cancelled, or never was.
    Gone,
}

impl Db {
    /// Everything that a client starts with, and the number of the last message in its outbox.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn snapshot(&self) -> Result<(Snapshot, i64), DbError> {
        let read = || {
            let rows = self.outbox_rows(0, OUTBOX_MAX)?;
            let last = rows.last().map_or(0, |(n, _)| *n);
            let mut snapshot = Snapshot {
                login: self.sql.query_row("SELECT * FROM login", [], login).optional()?,
                outbox: rows.into_iter().map(|(_, row)| row).collect(),
                chats: all(&self.sql, "SELECT * FROM chats", chat)?,
                receipts_since: WallTime(self.receipts_since()?),
                ..Snapshot::default()
            };
            under_way::read(&self.sql, &mut snapshot)?;
            Ok((snapshot, last))
        };
        read().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// Waiting messages that were queued after a number, at most `limit` of them, with their numbers: how a connected
    /// process finds what another one has queued.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn outbox_after(&self, n: i64, limit: usize) -> Result<Vec<(i64, OutboxRow)>, DbError> {
        self.outbox_rows(n, limit).map_err(|error| self.wrong(error))
    }

    fn outbox_rows(&self, n: i64, limit: usize) -> rusqlite::Result<Vec<(i64, OutboxRow)>> {
        let sql = "SELECT * FROM outbox WHERE failed IS NULL AND n > ?1 ORDER BY n LIMIT ?2";
        let limit = limit.try_into().unwrap_or(i64::MAX);
        self.sql.prepare_cached(sql)?.query_map([n, limit], outbox_row)?.collect()
    }

    /// How many messages wait in the outbox.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn outbox_len(&self) -> Result<usize, DbError> {
        let sql = "SELECT count(*) FROM outbox WHERE failed IS NULL";
        let count: rusqlite::Result<i64> = self.sql.query_row(sql, [], |row| row.get(0));
        count.map(|count| count.try_into().unwrap_or(0)).map_err(|error| self.wrong(error))
    }

    /// How a message stands.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn standing(&self, id: ClientMsgId) -> Result<Standing, DbError> {
        let read = || {
            let failed = "SELECT failed FROM outbox WHERE client_msg_id = ?1";
            let failed: Option<Option<u16>> =
                self.sql.query_row(failed, [Id(id)], |row| row.get(0)).optional()?;
            if let Some(failed) = failed {
                return Ok(failed.map_or(Standing::Waiting, Standing::Failed));
            }
            let sent = "SELECT seq, at FROM messages WHERE client_msg_id = ?1";
            let sent = self
                .sql
                .query_row(sent, [Id(id)], |row| Ok((seq(row, "seq")?, time(row, "at")?)))
                .optional()?;
            Ok(sent.map_or(Standing::Gone, |(seq, at)| Standing::Sent(seq, at)))
        };
        read().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// Messages that no `tail` has shown, of one chat or of all, oldest first within each chat; at most `limit`.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn unshown(&self, chat: Option<ChatId>, limit: u32) -> Result<Vec<Message>, DbError> {
        let sql = "SELECT * FROM messages WHERE shown = 0 AND (?1 IS NULL OR chat = ?1)
                   ORDER BY at, chat, seq LIMIT ?2";
        let read = || {
            let mut statement = self.sql.prepare_cached(sql)?;
            statement.query_map(params![chat.map(Id), limit], message)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// A message was shown.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn mark_shown(&self, chat: ChatId, seq: Seq) -> Result<(), DbError> {
        let sql = "UPDATE messages SET shown = 1 WHERE chat = ?1 AND seq = ?2";
        let done = self.sql.prepare_cached(sql).and_then(|mut s| s.execute(params![Id(chat), int(seq.0)]));
        done.map(drop).map_err(|error| self.wrong(error))
    }

    /// Whether a message was shown, to whoever sent it with its tick or by a `tail`.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn is_shown(&self, chat: ChatId, seq: Seq) -> Result<bool, DbError> {
        let sql = "SELECT count(*) FROM messages WHERE chat = ?1 AND seq = ?2 AND shown = 1";
        let read =
            || self.sql.prepare_cached(sql)?.query_row(params![Id(chat), int(seq.0)], |row| row.get(0));
        read().map(|count: i64| count > 0).map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// Where the cursors of a chat's members stand, as far as known here.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn cursors(&self, chat: ChatId) -> Result<Vec<Cursor>, DbError> {
        let read = || {
            let mut statement = self.sql.prepare_cached("SELECT * FROM cursors WHERE chat = ?1")?;
            statement.query_map([Id(chat)], cursor)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    fn receipts_since(&self) -> rusqlite::Result<u64> {
        let kept = setting(&self.sql, RECEIPTS_SINCE)?;
        Ok(kept.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    pub(crate) fn wrong(&self, error: rusqlite::Error) -> DbError {
        DbError::sql(self.dir())(error)
    }
}

fn all<T>(db: &Connection, sql: &str, read: fn(&Row<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<Vec<T>> {
    db.prepare_cached(sql)?.query_map([], read)?.collect()
}

fn login(row: &Row<'_>) -> rusqlite::Result<Login> {
    let (Id(account), Id(device)) = (row.get("account")?, row.get("device")?);
    let Id(refresh_request) = row.get("refresh_request")?;
    Ok(Login {
        account,
        device,
        access: Secret::new(row.get("access")?),
        access_expires: time(row, "access_expires")?,
        refresh: Secret::new(row.get("refresh")?),
        refresh_request,
    })
}

pub(crate) fn outbox_row(row: &Row<'_>) -> rusqlite::Result<(i64, OutboxRow)> {
    let (Id(client_msg_id), Id(chat)) = (row.get("client_msg_id")?, row.get("chat")?);
    let peer = row.get::<_, Option<Id<AccountId>>>("peer")?.map(|Id(id)| id);
    let content = Bytes::from(row.get::<_, Vec<u8>>("content")?);
    let epoch = row.get::<_, Option<i64>>("sealed_epoch")?.map(|epoch| Epoch(epoch.try_into().unwrap_or(0)));
    let sealed = epoch.zip(row.get::<_, Option<Vec<u8>>>("sealed")?);
    let sealed = sealed.map(|(epoch, content)| Sealed { epoch, content: content.into() });
    Ok((row.get("n")?, OutboxRow { client_msg_id, chat, peer, content, sealed }))
}

fn chat(row: &Row<'_>) -> rusqlite::Result<ChatRow> {
    let Id(chat) = row.get("chat")?;
    let peer = row.get::<_, Option<Id<AccountId>>>("peer")?.map(|Id(id)| id);
    let told = (seq(row, "told_delivered")?, seq(row, "told_read")?);
    let gone = row.get("gone")?;
    Ok(ChatRow { chat, peer, have: seq(row, "have")?, read: seq(row, "read")?, told, gone })
}

pub(crate) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    let (Id(chat), Id(sender)) = (row.get("chat")?, row.get("sender")?);
    let Id(client_msg_id) = row.get("client_msg_id")?;
    let content = Bytes::from(row.get::<_, Vec<u8>>("content")?);
    Ok(Message { chat, seq: seq(row, "seq")?, sender, client_msg_id, at: time(row, "at")?, content })
}

fn cursor(row: &Row<'_>) -> rusqlite::Result<Cursor> {
    let Id(member) = row.get("member")?;
    Ok(Cursor {
        member,
        delivered: seq(row, "delivered")?,
        delivered_at: time(row, "delivered_at")?,
        read: seq(row, "read")?,
        read_at: time(row, "read_at")?,
        withheld: Vec::new(),
    })
}
