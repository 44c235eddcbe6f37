//! Our types as columns.

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, InstallId, RequestId, Seq, WallTime};

/// An id as a column.
pub(crate) struct Id<T>(pub(crate) T);

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

pub(crate) fn seq(row: &Row<'_>, column: &str) -> rusqlite::Result<Seq> {
    row.get::<_, i64>(column).map(|n| Seq(n.try_into().unwrap_or(0)))
}

pub(crate) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<WallTime> {
    row.get::<_, i64>(column).map(|n| WallTime(n.try_into().unwrap_or(0)))
}

/// SQLite's integers are signed; places and times stay far below the limit.
pub(crate) fn int(n: u64) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}
