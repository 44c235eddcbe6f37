//! What a log holds beside messages, as screens ask for it: who came and went, and what cannot be read.

use client_core::{MembersChange, Passed, Unreadable};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use wire::{AccountId, ChatId, Seq, WallTime};

use crate::Db;
use crate::column::{Id, int, seq, time};
use crate::drain::run;
use crate::error::DbError;

/// An entry that is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassedEntry {
    /// Its place.
    pub seq: Seq,
    /// Who it is from, as the server says.
    pub sender: AccountId,
    /// The server's time.
    pub at: WallTime,
    /// What it is.
    pub what: Passed,
}

/// Something that a screen says between two messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// In which chat.
    pub chat: ChatId,
    /// Behind this place.
    pub seq: Seq,
    /// Which of those of one place; not counted, but of each another.
    pub number: u64,
    /// The server's time.
    pub at: WallTime,
    /// What.
    pub what: Said,
}

/// What a notice says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Who is in the chat has changed: by whom, who was added, who removed.
    Members(AccountId, Vec<AccountId>, Vec<AccountId>),
    /// This account is in the chat no longer, by whom.
    Gone(AccountId),
    /// An entry from this account cannot be read.
    Unreadable(AccountId, Unreadable),
}

/// Every kind of entry that is no message.
const KINDS: [Passed; 9] = [
    Passed::Commit,
    Passed::Control,
    Passed::Own,
    Passed::Unknown,
    Passed::Unreadable(Unreadable::Relabelled),
    Passed::Unreadable(Unreadable::Epoch),
    Passed::Unreadable(Unreadable::Replayed),
    Passed::Unreadable(Unreadable::Refused),
    Passed::Unreadable(Unreadable::Stranger),
];

/// From here on it is an entry that cannot be read.
const UNREADABLE: i64 = 16;

impl Db {
    /// Entries of a chat that are no messages, from one place to another, both included, in order.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn passed(&self, chat: ChatId, from: Seq, to: Seq) -> Result<Vec<PassedEntry>, DbError> {
        let sql = "SELECT * FROM passed WHERE chat = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq";
        self.list(sql, params![Id(chat), int(from.0), int(to.0)], passed)
    }

    /// What is to be said between messages of a chat, behind one place and up to another, in order; the newest `limit`.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn notices(&self, chat: ChatId, after: Seq, to: Seq, limit: u32) -> Result<Vec<Notice>, DbError> {
        let sql = "SELECT * FROM (
                       SELECT n, chat, seq, at, by, added, removed, gone, NULL AS what FROM members
                           WHERE chat = ?1 AND seq > ?2 AND seq <= ?3
                       UNION ALL
                       SELECT 0, chat, seq, at, sender, x'', x'', 0, what FROM passed
                           WHERE chat = ?1 AND seq > ?2 AND seq <= ?3 AND what >= ?4)
                   ORDER BY seq DESC, n DESC LIMIT ?5";
        let mut found =
            self.list(sql, params![Id(chat), int(after.0), int(to.0), UNREADABLE, limit], notice)?;
        found.reverse();
        Ok(found)
    }

    /// The place of the commit that added this device to a chat; zero if it was in it from the beginning.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn joined(&self, chat: ChatId) -> Result<Seq, DbError> {
        let found =
            self.list("SELECT joined FROM chats WHERE chat = ?1", [Id(chat)], |row| seq(row, "joined"))?;
        Ok(found.first().copied().unwrap_or(Seq::ZERO))
    }

    fn list<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, DbError> {
        let found = self.sql.prepare_cached(sql).and_then(|mut s| s.query_map(params, read)?.collect());
        found.map_err(|error| self.wrong(error))
    }
}

pub(crate) fn keep_passed(
    db: &Connection,
    chat: ChatId,
    seq: Seq,
    sender: AccountId,
    at: WallTime,
    what: Passed,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO passed VALUES (?1, ?2, ?3, ?4, ?5)";
    run(db, sql, params![Id(chat), int(seq.0), Id(sender), int(at.as_millis()), number_of(what)])
}

pub(crate) fn keep_members(db: &Connection, change: &MembersChange) -> rusqlite::Result<()> {
    let MembersChange { chat, seq, at, by, added, removed } = change;
    let sql =
        "INSERT INTO members (chat, seq, at, by, added, removed, gone) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)";
    let (added, removed) = (to_bytes(added), to_bytes(removed));
    run(db, sql, params![Id(*chat), int(seq.0), int(at.as_millis()), Id(*by), added, removed])
}

/// It stands behind what is here of the chat: nothing more comes.
pub(crate) fn keep_gone(db: &Connection, chat: ChatId, by: AccountId, at: WallTime) -> rusqlite::Result<()> {
    let sql = "INSERT INTO members (chat, seq, at, by, added, removed, gone)
               VALUES (?1, coalesce((SELECT have FROM chats WHERE chat = ?1), 0), ?2, ?3, x'', x'', 1)";
    run(db, sql, params![Id(chat), int(at.as_millis()), Id(by)])
}

fn to_bytes(accounts: &[AccountId]) -> Vec<u8> {
    accounts.iter().flat_map(|account| *account.as_bytes()).collect()
}

fn passed(row: &Row<'_>) -> rusqlite::Result<PassedEntry> {
    let Id(sender) = row.get("sender")?;
    let what = what_of(row.get("what")?)?;
    Ok(PassedEntry { seq: seq(row, "seq")?, sender, at: time(row, "at")?, what })
}

fn notice(row: &Row<'_>) -> rusqlite::Result<Notice> {
    let (Id(chat), Id(by)) = (row.get("chat")?, row.get("by")?);
    let accounts = |column: &str| -> rusqlite::Result<Vec<AccountId>> {
        let bytes: Vec<u8> = row.get(column)?;
        Ok(bytes.as_chunks().0.iter().map(|id| AccountId::new(*id)).collect())
    };
    let what = match row.get::<_, Option<i64>>("what")?.map(what_of).transpose()? {
        Some(Passed::Unreadable(why)) => Said::Unreadable(by, why),
        _ if row.get("gone")? => Said::Gone(by),
        _ => Said::Members(by, accounts("added")?, accounts("removed")?),
    };
    let number = row.get::<_, i64>("n")?.try_into().unwrap_or(0);
    Ok(Notice { chat, seq: seq(row, "seq")?, number, at: time(row, "at")?, what })
}

/// The number that a kind is kept as: one is never used for another.
fn number_of(what: Passed) -> i64 {
    match what {
        Passed::Commit => 1,
        Passed::Control => 2,
        Passed::Own => 3,
        Passed::Unknown => 4,
        Passed::Unreadable(Unreadable::Relabelled) => UNREADABLE,
        Passed::Unreadable(Unreadable::Epoch) => UNREADABLE + 1,
        Passed::Unreadable(Unreadable::Replayed) => UNREADABLE + 2,
        Passed::Unreadable(Unreadable::Refused) => UNREADABLE + 3,
        Passed::Unreadable(Unreadable::Stranger) => UNREADABLE + 4,
    }
}

fn what_of(number: i64) -> rusqlite::Result<Passed> {
    let known = KINDS.iter().copied().find(|what| number_of(*what) == number);
    known.ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, "no such entry".into()))
}
