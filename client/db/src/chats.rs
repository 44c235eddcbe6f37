//! What a screen of chats asks: summaries, pages of messages, what waits, drafts.

use client_core::{Message, OutboxRow};
use rusqlite::{OptionalExtension, Row, params};
use wire::{AccountId, ChatId, Seq, WallTime};

use crate::Db;
use crate::column::{Id, int, seq};
use crate::error::DbError;
use crate::state::{message, outbox_row};

/// One chat, for a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Which.
    pub chat: ChatId,
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountId>,
    /// What the other account is called, or the group.
    pub name: Option<String>,
    /// Messages that are here.
    pub messages: u64,
    /// Messages of others that were not read.
    pub unread: u64,
    /// The user has read up to here.
    pub read: Seq,
    /// The newest message.
    pub last: Option<Message>,
    /// What was written and not sent.
    pub draft: String,
}

impl Db {
    /// Every chat that this device knows, in no order: those with messages, those with somebody met, those with a
    /// message that waits or a draft.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn summaries(&self, me: AccountId) -> Result<Vec<Summary>, DbError> {
        let sql = "WITH known (chat) AS (
                       SELECT chat FROM chats UNION SELECT chat FROM contacts
                       UNION SELECT chat FROM outbox UNION SELECT chat FROM drafts)
                   SELECT k.chat, c.read, coalesce(c.peer, t.account, o.peer) AS peer, d.text AS draft,
                       coalesce((SELECT name FROM people WHERE account = coalesce(c.peer, t.account, o.peer)), c.name)
                           AS name,
                       (SELECT count(*) FROM messages m WHERE m.chat = k.chat) AS messages,
                       (SELECT count(*) FROM messages m
                           WHERE m.chat = k.chat AND m.seq > coalesce(c.read, 0) AND m.sender <> ?1) AS unread
                   FROM known k LEFT JOIN chats c ON c.chat = k.chat LEFT JOIN drafts d ON d.chat = k.chat
                   LEFT JOIN (SELECT chat, min(account) AS account FROM contacts GROUP BY chat) t ON t.chat = k.chat
                   LEFT JOIN (SELECT chat, min(peer) AS peer FROM outbox GROUP BY chat) o ON o.chat = k.chat";
        let read = || {
            let mut statement = self.sql.prepare_cached(sql)?;
            let mut found =
                statement.query_map([Id(me)], summary)?.collect::<rusqlite::Result<Vec<Summary>>>()?;
            for summary in &mut found {
                summary.last = self.last_message(summary.chat)?;
            }
            Ok(found)
        };
        read().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// The messages before a place, at most `limit` of them, oldest first.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn page(&self, chat: ChatId, before: Seq, limit: u32) -> Result<Vec<Message>, DbError> {
        let sql = "SELECT * FROM messages WHERE chat = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";
        let read = || {
            let mut statement = self.sql.prepare_cached(sql)?;
            let found = statement.query_map(params![Id(chat), int(before.0), limit], message)?;
            found.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut page = read().map_err(|error| self.wrong(error))?;
        page.reverse();
        Ok(page)
    }

    /// What of a chat is in the outbox, in the order it was queued, with the code of what was refused for good; the
    /// newest `limit`.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn queued(&self, chat: ChatId, limit: u32) -> Result<Vec<(OutboxRow, Option<u16>)>, DbError> {
        let sql = "SELECT * FROM outbox WHERE chat = ?1 ORDER BY n DESC LIMIT ?2";
        let entry = |row: &Row<'_>| Ok((outbox_row(row)?.1, row.get("failed")?));
        let read = || {
            let mut statement = self.sql.prepare_cached(sql)?;
            statement.query_map(params![Id(chat), limit], entry)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut queued = read().map_err(|error| self.wrong(error))?;
        queued.reverse();
        Ok(queued)
    }

    /// Messages of others in a chat that were not read.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn unread(&self, chat: ChatId, me: AccountId) -> Result<u64, DbError> {
        let sql = "SELECT count(*) FROM messages WHERE chat = ?1 AND sender <> ?2
                   AND seq > coalesce((SELECT read FROM chats WHERE chat = ?1), 0)";
        let count = self.sql.query_row(sql, params![Id(chat), Id(me)], |row| row.get::<_, i64>(0));
        count.map(|count| count.try_into().unwrap_or(0)).map_err(|error| self.wrong(error))
    }

    /// Everything of a chat up to a place was shown.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn mark_shown_up_to(&self, chat: ChatId, seq: Seq) -> Result<(), DbError> {
        let sql = "UPDATE messages SET shown = 1 WHERE chat = ?1 AND seq <= ?2 AND shown = 0";
        let done = self.sql.prepare_cached(sql).and_then(|mut s| s.execute(params![Id(chat), int(seq.0)]));
        done.map(drop).map_err(|error| self.wrong(error))
    }

    /// Keeps what was written in a chat and not sent; an empty text forgets it.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn set_draft(&self, chat: ChatId, text: &str) -> Result<(), DbError> {
        let done = if text.is_empty() {
            self.sql.execute("DELETE FROM drafts WHERE chat = ?1", [Id(chat)])
        } else {
            self.sql.execute("INSERT OR REPLACE INTO drafts VALUES (?1, ?2)", params![Id(chat), text])
        };
        done.map(drop).map_err(|error| self.wrong(error))
    }

    /// Seconds that the local time is ahead of UTC at a moment, by the machine's time zone.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn local_offset_s(&self, at: WallTime) -> Result<i64, DbError> {
        let seconds = int(at.as_millis() / 1000);
        let sql = "SELECT CAST(strftime('%s', ?1, 'unixepoch', 'localtime') AS INTEGER) - ?1";
        let offset = self.sql.prepare_cached(sql).and_then(|mut s| s.query_row([seconds], |row| row.get(0)));
        offset.map(|offset: Option<i64>| offset.unwrap_or(0)).map_err(|error| self.wrong(error))
    }

    fn last_message(&self, chat: ChatId) -> rusqlite::Result<Option<Message>> {
        let sql = "SELECT * FROM messages WHERE chat = ?1 ORDER BY seq DESC LIMIT 1";
        self.sql.prepare_cached(sql)?.query_row([Id(chat)], message).optional()
    }
}

fn summary(row: &Row<'_>) -> rusqlite::Result<Summary> {
    let Id(chat) = row.get("chat")?;
    let peer = row.get::<_, Option<Id<AccountId>>>("peer")?.map(|Id(id)| id);
    let count = |column| row.get::<_, i64>(column).map(|count| count.try_into().unwrap_or(0));
    let (messages, unread) = (count("messages")?, count("unread")?);
    let read = if row.get::<_, Option<i64>>("read")?.is_some() { seq(row, "read")? } else { Seq::ZERO };
    let (name, draft) = (row.get("name")?, row.get::<_, Option<String>>("draft")?.unwrap_or_default());
    Ok(Summary { chat, peer, name, messages, unread, read, last: None, draft })
}
