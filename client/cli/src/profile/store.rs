//! What a profile keeps and gives back.

use bytes::Bytes;
use client_core::{ChatRow, Login, Message, OUTBOX_MAX, OutboxRow, Snapshot, Write};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::event::Cursor;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, InstallId, RequestId, Secret, Seq, WallTime};

use super::{Contact, Profile, Server, Standing};
use crate::error::CliError;

/// An id as a column.
pub(super) struct Id<T>(pub(super) T);

macro_rules! id_columns {
    ($($id:ty),*) => {
        $(impl ToSql for Id<$id> {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.0.as_bytes())))
            }
        }

        impl FromSql for Id<$id> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let bytes = value.as_blob()?.try_into().map_err(|_| FromSqlError::InvalidType)?;
                Ok(Id(<$id>::new(bytes)))
            }
        })*
    };
}

id_columns!(AccountId, ChatId, ClientMsgId, DeviceId, InstallId, RequestId);

pub(super) fn seq(row: &Row<'_>, column: &str) -> rusqlite::Result<Seq> {
    row.get::<_, i64>(column).map(|n| Seq(n.try_into().unwrap_or(0)))
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<WallTime> {
    row.get::<_, i64>(column).map(|n| WallTime(n.try_into().unwrap_or(0)))
}

/// SQLite's integers are signed; places and times stay far below the limit.
pub(super) fn int(n: u64) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

impl Profile {
    /// Keeps all of these, or none; on disk when it returns.
    ///
    /// # Errors
    /// [`CliError::Profile`]; nothing was kept.
    pub fn apply(&mut self, writes: &[Write]) -> Result<(), CliError> {
        if writes.is_empty() {
            return Ok(());
        }
        let kept = self.db.transaction().and_then(|tx| {
            writes.iter().try_for_each(|write| apply(&tx, write))?;
            tx.commit()
        });
        kept.map_err(|error| self.wrong(error))
    }

    /// Everything that a client starts with, and the number of the last message in its outbox.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn snapshot(&self) -> Result<(Snapshot, i64), CliError> {
        let read = || {
            let rows = self.outbox_rows(0, OUTBOX_MAX)?;
            let last = rows.last().map_or(0, |(n, _)| *n);
            let snapshot = Snapshot {
                login: self.db.query_row("SELECT * FROM login", [], login).optional()?,
                outbox: rows.into_iter().map(|(_, row)| row).collect(),
                chats: all(&self.db, "SELECT * FROM chats", chat)?,
                receipts_since: WallTime(self.meta_int("receipts_since")?),
                ..Snapshot::default()
            };
            Ok((snapshot, last))
        };
        read().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// Waiting messages that were queued after a number, at most `limit` of them, with their numbers: how a connected
    /// process finds what another one has queued.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn outbox_after(&self, n: i64, limit: usize) -> Result<Vec<(i64, OutboxRow)>, CliError> {
        self.outbox_rows(n, limit).map_err(|error| self.wrong(error))
    }

    fn outbox_rows(&self, n: i64, limit: usize) -> rusqlite::Result<Vec<(i64, OutboxRow)>> {
        let sql = "SELECT * FROM outbox WHERE failed IS NULL AND n > ?1 ORDER BY n LIMIT ?2";
        let limit = limit.try_into().unwrap_or(i64::MAX);
        self.db.prepare_cached(sql)?.query_map([n, limit], outbox_row)?.collect()
    }

    /// How many messages wait in the outbox.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn outbox_len(&self) -> Result<usize, CliError> {
        let sql = "SELECT count(*) FROM outbox WHERE failed IS NULL";
        let count: rusqlite::Result<i64> = self.db.query_row(sql, [], |row| row.get(0));
        count.map(|count| count.try_into().unwrap_or(0)).map_err(|error| self.wrong(error))
    }

    /// How a message stands.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn standing(&self, id: ClientMsgId) -> Result<Standing, CliError> {
        let read = || {
            let failed = "SELECT failed FROM outbox WHERE client_msg_id = ?1";
            let failed: Option<Option<u16>> =
                self.db.query_row(failed, [Id(id)], |row| row.get(0)).optional()?;
            if let Some(failed) = failed {
                return Ok(failed.map_or(Standing::Waiting, Standing::Failed));
            }
            let sent = "SELECT seq, at FROM messages WHERE client_msg_id = ?1";
            let sent = self
                .db
                .query_row(sent, [Id(id)], |row| Ok((seq(row, "seq")?, time(row, "at")?)))
                .optional()?;
            Ok(sent.map_or(Standing::Gone, |(seq, at)| Standing::Sent(seq, at)))
        };
        read().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// Messages that no `tail` has shown, of one chat or of all, oldest first within each chat; at most `limit`.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn unshown(&self, chat: Option<ChatId>, limit: u32) -> Result<Vec<Message>, CliError> {
        let sql = "SELECT * FROM messages WHERE shown = 0 AND (?1 IS NULL OR chat = ?1)
                   ORDER BY at, chat, seq LIMIT ?2";
        let read = || {
            let mut statement = self.db.prepare_cached(sql)?;
            statement.query_map(params![chat.map(Id), limit], message)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// A message was shown.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn mark_shown(&self, chat: ChatId, seq: Seq) -> Result<(), CliError> {
        let sql = "UPDATE messages SET shown = 1 WHERE chat = ?1 AND seq = ?2";
        let done = self.db.prepare_cached(sql).and_then(|mut s| s.execute(params![Id(chat), int(seq.0)]));
        done.map(drop).map_err(|error| self.wrong(error))
    }

    /// Whether a message was shown, to whoever sent it with its tick or by a `tail`.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn is_shown(&self, chat: ChatId, seq: Seq) -> Result<bool, CliError> {
        let sql = "SELECT count(*) FROM messages WHERE chat = ?1 AND seq = ?2 AND shown = 1";
        let read = || self.db.prepare_cached(sql)?.query_row(params![Id(chat), int(seq.0)], |row| row.get(0));
        read().map(|count: i64| count > 0).map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// Where the cursors of a chat's members stand, as far as known here.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn cursors(&self, chat: ChatId) -> Result<Vec<Cursor>, CliError> {
        let read = || {
            let mut statement = self.db.prepare_cached("SELECT * FROM cursors WHERE chat = ?1")?;
            statement.query_map([Id(chat)], cursor)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// Remembers where to connect.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn set_server(&self, server: &Server) -> Result<(), CliError> {
        let ca = server.ca.to_string_lossy();
        let pairs = [("server", server.address.as_bytes()), ("ca", ca.as_bytes())];
        pairs.iter().try_for_each(|(key, value)| self.set_meta(key, value)).map_err(|error| self.wrong(error))
    }

    /// Where it connects, if that was ever said.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn server(&self) -> Result<Option<Server>, CliError> {
        let text = |key| self.meta(key).map(|v| v.map(|v| String::from_utf8_lossy(&v).into_owned()));
        let read = || Ok(text("server")?.zip(text("ca")?));
        let pair = read().map_err(|error: rusqlite::Error| self.wrong(error))?;
        Ok(pair.map(|(address, ca)| Server { address, ca: ca.into() }))
    }

    /// The id of this installation: made once, whatever accounts come and go.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn install(&self) -> Result<InstallId, CliError> {
        let read = || {
            if let Some(kept) = self.meta("install")?.and_then(|bytes| bytes.try_into().ok()) {
                return Ok(InstallId::new(kept));
            }
            let mut made = [0; 16];
            getrandom::fill(&mut made)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            self.set_meta("install", &made)?;
            Ok(InstallId::new(made))
        };
        read().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// Remembers a person, and by which number they were found.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn learn(
        &self,
        phone: Option<&str>,
        account: AccountId,
        name: &str,
        chat: ChatId,
    ) -> Result<(), CliError> {
        let write = || {
            self.db.execute("INSERT OR REPLACE INTO people VALUES (?1, ?2)", params![Id(account), name])?;
            if let Some(phone) = phone {
                let sql = "INSERT OR REPLACE INTO contacts VALUES (?1, ?2, ?3)";
                self.db.execute(sql, params![phone, Id(account), Id(chat)])?;
            }
            Ok(())
        };
        write().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// A person met before, by number.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn contact(&self, phone: &str) -> Result<Option<Contact>, CliError> {
        let sql =
            "SELECT c.account, c.chat, p.name FROM contacts c JOIN people p USING (account) WHERE phone = ?1";
        let contact = |row: &Row<'_>| {
            let (Id(account), Id(chat)) = (row.get("account")?, row.get("chat")?);
            Ok(Contact { account, chat, name: row.get("name")? })
        };
        self.db.query_row(sql, [phone], contact).optional().map_err(|error| self.wrong(error))
    }

    /// What a person is called, if that is known.
    ///
    /// # Errors
    /// [`CliError::Profile`].
    pub fn name(&self, account: AccountId) -> Result<Option<String>, CliError> {
        let sql = "SELECT name FROM people WHERE account = ?1";
        self.db.query_row(sql, [Id(account)], |row| row.get(0)).optional().map_err(|error| self.wrong(error))
    }

    fn meta(&self, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        self.db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
    }

    fn set_meta(&self, key: &str, value: &[u8]) -> rusqlite::Result<()> {
        set_meta(&self.db, key, value)
    }

    fn meta_int(&self, key: &str) -> rusqlite::Result<u64> {
        Ok(self.meta(key)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes))
    }
}

fn set_meta(db: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    db.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", params![key, value]).map(drop)
}

fn all<T>(db: &Connection, sql: &str, read: fn(&Row<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<Vec<T>> {
    db.prepare_cached(sql)?.query_map([], read)?.collect()
}

fn apply(db: &Connection, write: &Write) -> rusqlite::Result<()> {
    match write {
        Write::Queue(row) => queue(db, row),
        Write::Sent(message) => {
            insert_message(db, message, true)?;
            remove_outbox(db, message.client_msg_id)
        }
        Write::Arrived(message) => {
            insert_message(db, message, false)?;
            move_to(db, message.chat, message.seq)
        }
        Write::Passed { chat, seq, .. } | Write::Joined { chat, seq } => move_to(db, *chat, *seq),
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
        Write::ReceiptsSince(since) => set_meta(db, "receipts_since", &since.as_millis().to_be_bytes()),
        Write::Login(login) => keep_login(db, login),
        // Groups live as long as the process: see `Session`.
        Write::Mls(_)
        | Write::Sealed { .. }
        | Write::Gone { .. }
        | Write::Inbox { .. }
        | Write::Commit(_)
        | Write::CommitDone { .. }
        | Write::Plan(_)
        | Write::PlanDone { .. }
        | Write::OwnDevices(_)
        | Write::KeyPackages(_) => Ok(()),
        Write::LoggedOut => run(db, "DELETE FROM login", []),
    }
}

fn run(db: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute(params).map(drop)
}

fn move_to(db: &Connection, chat: ChatId, seq: Seq) -> rusqlite::Result<()> {
    let sql = "INSERT INTO chats (chat, have) VALUES (?1, ?2)
               ON CONFLICT (chat) DO UPDATE SET have = max(have, excluded.have)";
    run(db, sql, params![Id(chat), int(seq.0)])
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

pub(super) fn outbox_row(row: &Row<'_>) -> rusqlite::Result<(i64, OutboxRow)> {
    let (Id(client_msg_id), Id(chat)) = (row.get("client_msg_id")?, row.get("chat")?);
    let peer = row.get::<_, Option<Id<AccountId>>>("peer")?.map(|Id(id)| id);
    let content = Bytes::from(row.get::<_, Vec<u8>>("content")?);
    Ok((row.get("n")?, OutboxRow { client_msg_id, chat, peer, content, sealed: None }))
}

fn chat(row: &Row<'_>) -> rusqlite::Result<ChatRow> {
    let Id(chat) = row.get("chat")?;
    let peer = row.get::<_, Option<Id<AccountId>>>("peer")?.map(|Id(id)| id);
    let told = (seq(row, "told_delivered")?, seq(row, "told_read")?);
    Ok(ChatRow { have: seq(row, "have")?, read: seq(row, "read")?, told, ..ChatRow::new(chat, peer) })
}

pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
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
