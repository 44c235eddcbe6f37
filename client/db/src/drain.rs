//! One transaction per drain: what the client has written, the rows of MLS state that belong to it among them.

use client_core::{Login, Message, MlsRow, OutboxRow, Write};
use rusqlite::{Connection, TransactionBehavior, params};
use wire::event::Cursor;
use wire::{ChatId, ClientMsgId, Seq};

use crate::column::{Id, int};
use crate::error::DbError;
use crate::people::set_setting;
use crate::state::RECEIPTS_SINCE;
use crate::{Db, mls, notices, under_way};

impl Db {
    /// Keeps all of these, or none; on disk when it returns.
    ///
    /// # Errors
    /// [`DbError::InUse`] if there are rows of MLS state among them and another process has the [claim](Db::claim);
    /// [`DbError`]; nothing was kept.
    pub fn apply(&mut self, writes: &[Write]) -> Result<(), DbError> {
        if writes.is_empty() {
            return Ok(());
        }
        if writes.iter().any(|write| matches!(write, Write::Mls(_))) {
            self.claimed()?;
        }
        let kept = self.sql.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|tx| {
            writes.iter().try_for_each(|write| keep(&tx, write))?;
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
        Write::Mls(MlsRow { key, value }) => mls::keep(db, key, value.as_deref()),
        Write::Queue(_)
        | Write::Sealed { .. }
        | Write::Sent(_)
        | Write::Failed { .. }
        | Write::Cancelled { .. } => keep_outbox(db, write),
        Write::Arrived(message) => {
            insert_message(db, message, false)?;
            has(db, message.chat, message.seq)
        }
        Write::Passed { chat, seq, sender, at, what } => {
            notices::keep_passed(db, *chat, *seq, *sender, *at, *what)?;
            has(db, *chat, *seq)
        }
        Write::Joined { chat, seq } => {
            has(db, *chat, *seq)?;
            let sql = "UPDATE chats SET gone = 0, joined = ?2 WHERE chat = ?1";
            run(db, sql, params![Id(*chat), int(seq.0)])
        }
        Write::Gone { chat, by, at } => {
            notices::keep_gone(db, *chat, *by, *at)?;
            let sql =
                "INSERT INTO chats (chat, gone) VALUES (?1, 1) ON CONFLICT (chat) DO UPDATE SET gone = 1";
            run(db, sql, [Id(*chat)])
        }
        Write::Members(change) => notices::keep_members(db, change),
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
        Write::ReceiptsSince(since) => set_setting(db, RECEIPTS_SINCE, &since.as_millis().to_be_bytes()),
        Write::Inbox { .. }
        | Write::Commit(_)
        | Write::CommitDone { .. }
        | Write::Plan(_)
        | Write::PlanDone { .. }
        | Write::OwnDevices(_)
        | Write::KeyPackages(_) => under_way::keep(db, write),
        Write::Login(login) => keep_login(db, login),
        Write::LoggedOut => run(db, "DELETE FROM login", []),
    }
}

fn keep_outbox(db: &Connection, write: &Write) -> rusqlite::Result<()> {
    match write {
        Write::Queue(row) => queue(db, row),
        Write::Sealed { client_msg_id, sealed } => {
            let sql = "UPDATE outbox SET sealed = ?2, sealed_epoch = ?3 WHERE client_msg_id = ?1";
            run(db, sql, params![Id(*client_msg_id), sealed.content.as_ref(), int(sealed.epoch.0)])
        }
        Write::Sent(message) => {
            insert_message(db, message, true)?;
            remove_outbox(db, message.client_msg_id)
        }
        Write::Failed { client_msg_id, code } => {
            let sql = "UPDATE outbox SET failed = ?2 WHERE client_msg_id = ?1";
            run(db, sql, params![Id(*client_msg_id), code.number()])
        }
        Write::Cancelled { client_msg_id } => remove_outbox(db, *client_msg_id),
        _ => Ok(()),
    }
}

/// A chat is here up to a place.
fn has(db: &Connection, chat: ChatId, seq: Seq) -> rusqlite::Result<()> {
    let sql = "INSERT INTO chats (chat, have) VALUES (?1, ?2)
               ON CONFLICT (chat) DO UPDATE SET have = max(have, excluded.have)";
    run(db, sql, params![Id(chat), int(seq.0)])
}

pub(crate) fn run(db: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<()> {
    db.prepare_cached(sql)?.execute(params).map(drop)
}

fn queue(db: &Connection, row: &OutboxRow) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO outbox (client_msg_id, chat, peer, content, sealed, sealed_epoch)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let sealed = row.sealed.as_ref();
    let (ciphertext, epoch) = (sealed.map(|s| s.content.as_ref()), sealed.map(|s| int(s.epoch.0)));
    let (id, chat, peer) = (Id(row.client_msg_id), Id(row.chat), row.peer.map(Id));
    run(db, sql, params![id, chat, peer, row.content.as_ref(), ciphertext, epoch])
}

fn remove_outbox(db: &Connection, id: ClientMsgId) -> rusqlite::Result<()> {
    run(db, "DELETE FROM outbox WHERE client_msg_id = ?1", [Id(id)])
}

/// One's own messages come twice, as sent and as arrived: the first one stays. Another message in a place that was taken is of a
/// server that was restored from a backup: its log is what everybody has from now on.
fn insert_message(db: &Connection, m: &Message, shown: bool) -> rusqlite::Result<()> {
    let sql = "INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (chat, seq) DO UPDATE
               SET sender = excluded.sender, client_msg_id = excluded.client_msg_id, at = excluded.at,
                   content = excluded.content, shown = excluded.shown
               WHERE client_msg_id <> excluded.client_msg_id OR sender <> excluded.sender";
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
