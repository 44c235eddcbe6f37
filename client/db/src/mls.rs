//! Rows of MLS state: the form in which whoever encrypts keeps groups, ratchets and keys.
//!
//! Old ones must really go, and SQLite's `secure_delete` does not see to that: when a page is split or merged, rows move, and
//! what they leave behind in the page stays there after they were deleted (the test that reads pages found it). So each
//! value is sealed by a random key of its own, and these keys lie in a table whose rows are all of one size, never move and
//! are never deleted: a key is overwritten in its place by the next one or by zeros, and what it sealed is worth nothing
//! wherever it still lies.

use std::path::PathBuf;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use client_crypto::{Kv, ReadError};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use zeroize::Zeroizing;

use crate::Db;
use crate::claim::Claim;
use crate::error::DbError;

const KEY_BYTES: usize = 32;

/// What one value is sealed by.
type OwnKey = Zeroizing<[u8; KEY_BYTES]>;

/// Reads rows of MLS state for whoever encrypts, over a connection of its own: it sees all that [`Db::apply`] has
/// returned from, and goes where the database does not. It holds the claim ([`Db::claim`]), too.
pub struct MlsReader {
    dir: PathBuf,
    sql: Connection,
    _claim: Claim,
}

impl Kv for MlsReader {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let found = read(&self.sql, key).map_err(DbError::sql(&self.dir));
        let value = found.map_err(|error| ReadError(Box::new(error)))?;
        // The reader's copy is the one copy.
        Ok(value.map(|mut value| std::mem::take(&mut *value)))
    }
}

impl Db {
    /// A row of MLS state, as [`Db::apply`] has kept it last.
    ///
    /// # Errors
    /// [`DbError::InUse`], [`DbError`].
    pub fn mls(&self, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, DbError> {
        self.claimed()?;
        read(&self.sql, key).map_err(|error| self.wrong(error))
    }

    /// What reads rows of MLS state elsewhere than where the database is.
    ///
    /// # Errors
    /// [`DbError::InUse`], [`DbError`].
    pub fn mls_reader(&self) -> Result<MlsReader, DbError> {
        let claim = self.claimed()?.clone();
        Ok(MlsReader { dir: self.dir().to_owned(), sql: self.opener.connect()?, _claim: claim })
    }
}

fn read(sql: &Connection, key: &[u8]) -> rusqlite::Result<Option<Zeroizing<Vec<u8>>>> {
    let found = "SELECT k.key, m.value FROM mls m JOIN mls_keys k ON k.n = m.slot WHERE m.key = ?1";
    let sealed = |row: &Row<'_>| -> rusqlite::Result<(OwnKey, Zeroizing<Vec<u8>>)> {
        Ok((Zeroizing::new(row.get(0)?), Zeroizing::new(row.get(1)?)))
    };
    let row = sql.prepare_cached(found)?.query_row([key], sealed).optional()?;
    row.map(|(own, value)| opened(&own, key, value)).transpose()
}

/// Keeps or deletes one row.
pub(crate) fn keep(sql: &Connection, key: &[u8], value: Option<&[u8]>) -> rusqlite::Result<()> {
    let slot = sql
        .prepare_cached("SELECT slot FROM mls WHERE key = ?1")?
        .query_row([key], |row| row.get::<_, i64>(0))
        .optional()?;
    let Some(value) = value else {
        return slot.map_or(Ok(()), |slot| delete(sql, key, slot));
    };
    let slot = slot.map_or_else(|| free_slot(sql), Ok)?;
    let mut own = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut own[..]).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let sealed = sealed(&own, key, value);
    set_key(sql, slot, &own)?;
    sql.prepare_cached("INSERT OR REPLACE INTO mls VALUES (?1, ?2, ?3)")?
        .execute(params![key, slot, sealed])
        .map(drop)
}

fn delete(sql: &Connection, key: &[u8], slot: i64) -> rusqlite::Result<()> {
    set_key(sql, slot, &[0; KEY_BYTES])?;
    sql.prepare_cached("DELETE FROM mls WHERE key = ?1")?.execute([key])?;
    sql.prepare_cached("INSERT INTO mls_free VALUES (?1)")?.execute([slot]).map(drop)
}

/// A place for a key: one that is free, or the next after the last.
fn free_slot(sql: &Connection) -> rusqlite::Result<i64> {
    let found = sql
        .prepare_cached("SELECT n FROM mls_free LIMIT 1")?
        .query_row([], |row| row.get::<_, i64>(0))
        .optional()?;
    match found {
        Some(slot) => {
            sql.prepare_cached("DELETE FROM mls_free WHERE n = ?1")?.execute([slot])?;
            Ok(slot)
        }
        None => {
            sql.prepare_cached("INSERT INTO mls_keys (key) VALUES (?1)")?.execute([[0; KEY_BYTES]])?;
            Ok(sql.last_insert_rowid())
        }
    }
}

/// Overwrites a key in its place: the row is of the same size.
fn set_key(sql: &Connection, slot: i64, own: &[u8; KEY_BYTES]) -> rusqlite::Result<()> {
    let mut statement = sql.prepare_cached("UPDATE mls_keys SET key = ?2 WHERE n = ?1")?;
    statement.execute(params![slot, own]).map(drop)
}

/// Each key seals once, so that one nonce does. The row's name is authenticated with its value.
fn cipher(own: &[u8; KEY_BYTES]) -> Result<(LessSafeKey, Nonce), Unspecified> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, own)?);
    Ok((key, Nonce::assume_unique_for_key([0; 12])))
}

fn sealed(own: &[u8; KEY_BYTES], name: &[u8], value: &[u8]) -> Vec<u8> {
    // Allocated once: a buffer that grows leaves copies behind.
    let mut bytes = Vec::with_capacity(value.len() + AES_256_GCM.tag_len());
    bytes.extend_from_slice(value);
    let (key, nonce) = cipher(own).expect("a key of that length");
    key.seal_in_place_append_tag(nonce, Aad::from(name), &mut bytes).expect("it is far shorter than 64 GiB");
    bytes
}

fn opened(
    own: &[u8; KEY_BYTES],
    name: &[u8],
    mut bytes: Zeroizing<Vec<u8>>,
) -> rusqlite::Result<Zeroizing<Vec<u8>>> {
    let opened = cipher(own).and_then(|(key, nonce)| {
        key.open_in_place(nonce, Aad::from(name), &mut bytes).map(|value| value.len())
    });
    // Every page is authenticated: this is not reached but by a mistake of ours.
    let wrong = |_| rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, "sealed by another key".into());
    bytes.truncate(opened.map_err(wrong)?);
    Ok(bytes)
}
