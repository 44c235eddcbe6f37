//! People this device has met, and what its owner remembers by name.

use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::{AccountId, ChatId};

use crate::Db;
use crate::column::Id;
use crate::error::DbError;

/// A person this device has met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The account.
    pub account: AccountId,
    /// The name.
    pub name: String,
    /// The 1:1 chat.
    pub chat: ChatId,
}

impl Db {
    /// Remembers a person, and by which number they were found.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn learn(
        &self,
        phone: Option<&str>,
        account: AccountId,
        name: &str,
        chat: ChatId,
    ) -> Result<(), DbError> {
        let write = || {
            self.sql.execute("INSERT OR REPLACE INTO people VALUES (?1, ?2)", params![Id(account), name])?;
            if let Some(phone) = phone {
                let sql = "INSERT OR REPLACE INTO contacts VALUES (?1, ?2, ?3)";
                self.sql.execute(sql, params![phone, Id(account), Id(chat)])?;
            }
            Ok(())
        };
        write().map_err(|error: rusqlite::Error| self.wrong(error))
    }

    /// Remembers what a group is called.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn name_group(&self, chat: ChatId, name: &str) -> Result<(), DbError> {
        let sql = "INSERT INTO chats (chat, name) VALUES (?1, ?2)
                   ON CONFLICT (chat) DO UPDATE SET name = excluded.name";
        self.sql.execute(sql, params![Id(chat), name]).map(drop).map_err(|error| self.wrong(error))
    }

    /// A person met before, by number.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn contact(&self, phone: &str) -> Result<Option<Contact>, DbError> {
        let sql =
            "SELECT c.account, c.chat, p.name FROM contacts c JOIN people p USING (account) WHERE phone = ?1";
        let contact = |row: &Row<'_>| {
            let (Id(account), Id(chat)) = (row.get("account")?, row.get("chat")?);
            Ok(Contact { account, chat, name: row.get("name")? })
        };
        self.sql.query_row(sql, [phone], contact).optional().map_err(|error| self.wrong(error))
    }

    /// What a person is called, if that is known.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn name(&self, account: AccountId) -> Result<Option<String>, DbError> {
        let sql = "SELECT name FROM people WHERE account = ?1";
        self.sql.query_row(sql, [Id(account)], |row| row.get(0)).optional().map_err(|error| self.wrong(error))
    }

    /// What was remembered by a name.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, DbError> {
        setting(&self.sql, name).map_err(|error| self.wrong(error))
    }

    /// Remembers all of these values by their names, or none.
    ///
    /// # Errors
    /// [`DbError`]; nothing was kept.
    pub fn set_settings(&mut self, settings: &[(&str, &[u8])]) -> Result<(), DbError> {
        let kept = self.sql.transaction().and_then(|tx| {
            settings.iter().try_for_each(|(name, value)| set_setting(&tx, name, value))?;
            tx.commit()
        });
        kept.map_err(|error| self.wrong(error))
    }
}

pub(crate) fn setting(sql: &Connection, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    sql.query_row("SELECT value FROM settings WHERE name = ?1", [name], |row| row.get(0)).optional()
}

pub(crate) fn set_setting(sql: &Connection, name: &str, value: &[u8]) -> rusqlite::Result<()> {
    sql.execute("INSERT OR REPLACE INTO settings VALUES (?1, ?2)", params![name, value]).map(drop)
}
