//! What a client has begun and goes on with after a restart: its inbox, commits, changes of members, key packages. What was said
//! to a server is kept as the frame that said it.

use bytes::{Bytes, BytesMut};
use client_core::{CommitRow, KeyPackages, PlanRow, Publishing, Snapshot, Write};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::request::{PublishKeyPackages, Request};
use wire::{Seq, WallTime};

use crate::column::{Id, int, time};
use crate::drain::run;
use crate::people::{set_setting, setting};

/// The setting that says up to where the inbox is seen to.
const INBOX: &str = "inbox";

pub(crate) fn keep(db: &Connection, write: &Write) -> rusqlite::Result<()> {
    match write {
        Write::Inbox { have } => set_setting(db, INBOX, &have.0.to_be_bytes()),
        Write::Commit(row) => {
            let request = Request::CommitGroup(row.request.clone()).encode();
            let sql = "INSERT OR REPLACE INTO commits VALUES (?1, ?2, ?3)";
            run(db, sql, params![Id(row.request.chat), request.as_ref(), row.bytes.as_ref()])
        }
        Write::CommitDone { chat } => run(db, "DELETE FROM commits WHERE chat = ?1", [Id(*chat)]),
        Write::Plan(row) => {
            run(db, "INSERT OR REPLACE INTO plans VALUES (?1, ?2)", params![Id(row.chat), row.to_bytes()])
        }
        Write::PlanDone { chat } => run(db, "DELETE FROM plans WHERE chat = ?1", [Id(*chat)]),
        Write::OwnDevices(devices) => {
            run(db, "DELETE FROM own_devices", [])?;
            let insert = "INSERT OR IGNORE INTO own_devices VALUES (?1)";
            devices.iter().try_for_each(|device| run(db, insert, [Id(*device)]))
        }
        Write::KeyPackages(standing) => keep_key_packages(db, standing),
        _ => Ok(()),
    }
}

fn keep_key_packages(db: &Connection, standing: &KeyPackages) -> rusqlite::Result<()> {
    let frame = standing.publishing.clone().map(|Publishing { request, packages, last_resort }| {
        Request::PublishKeyPackages(PublishKeyPackages { request, packages, last_resort }).encode()
    });
    let sql = "INSERT OR REPLACE INTO key_packages VALUES (1, ?1, ?2)";
    run(db, sql, params![int(standing.last_resort_until.as_millis()), frame.as_deref()])
}

/// Fills in a snapshot what this file keeps.
pub(crate) fn read(db: &Connection, snapshot: &mut Snapshot) -> rusqlite::Result<()> {
    let inbox = setting(db, INBOX)?.and_then(|bytes| bytes.try_into().ok());
    snapshot.inbox = Seq(inbox.map_or(0, u64::from_be_bytes));
    snapshot.commits = all(db, "SELECT request, bytes FROM commits", commit)?;
    snapshot.plans = all(db, "SELECT plan FROM plans", plan)?;
    snapshot.own_devices = all(db, "SELECT device FROM own_devices", |row| row.get(0).map(|Id(id)| id))?;
    let standing = db.query_row("SELECT * FROM key_packages", [], key_packages).optional()?;
    snapshot.key_packages = standing.unwrap_or_default();
    Ok(())
}

fn all<T>(db: &Connection, sql: &str, read: fn(&Row<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<Vec<T>> {
    db.prepare_cached(sql)?.query_map([], read)?.collect()
}

fn commit(row: &Row<'_>) -> rusqlite::Result<CommitRow> {
    match request(row.get(0)?)? {
        Request::CommitGroup(request) => Ok(CommitRow { request, bytes: row.get::<_, Vec<u8>>(1)?.into() }),
        _ => Err(not_ours("another request")),
    }
}

fn plan(row: &Row<'_>) -> rusqlite::Result<PlanRow> {
    PlanRow::from_bytes(&row.get::<_, Vec<u8>>(0)?).ok_or_else(|| not_ours("no plan"))
}

fn key_packages(row: &Row<'_>) -> rusqlite::Result<KeyPackages> {
    let last_resort_until: WallTime = time(row, "last_resort_until")?;
    let publishing = match row.get::<_, Option<Vec<u8>>>("publishing")?.map(request).transpose()? {
        None => None,
        Some(Request::PublishKeyPackages(PublishKeyPackages { request, packages, last_resort })) => {
            Some(Publishing { request, packages, last_resort })
        }
        Some(_) => return Err(not_ours("another request")),
    };
    Ok(KeyPackages { last_resort_until, publishing })
}

/// What a kept frame says.
fn request(frame: Vec<u8>) -> rusqlite::Result<Request> {
    let mut buffer = BytesMut::from(Bytes::from(frame));
    let body = wire::frame::split(&mut buffer).map_err(not_ours)?.ok_or_else(|| not_ours("half a frame"))?;
    Request::decode(&body).map_err(not_ours)
}

/// Every page is authenticated: this is not reached but by a mistake of ours.
fn not_ours(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, why.into())
}
