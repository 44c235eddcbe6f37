//! Typed reads: a key's record, or a range's.

use bytes::Bytes;

use crate::keys;
use crate::record::{Record, RecordError};
use crate::run::OpError;
use crate::tx::{Range, Tx};

/// A record that the transaction decides by.
pub(crate) async fn get<R: Record, T: Tx>(tx: &T, key: &[u8]) -> Result<Option<R>, OpError> {
    let value = tx.get(key).await?;
    Ok(value.map(|value| R::decode(&value)).transpose()?)
}

/// A record that the transaction only tells.
pub(in crate::op) async fn peek<R: Record, T: Tx>(tx: &T, key: &[u8]) -> Result<Option<R>, OpError> {
    let value = tx.get_snapshot(key).await?;
    Ok(value.map(|value| R::decode(&value)).transpose()?)
}

/// The keys and records of a range.
pub(in crate::op) async fn pairs<R: Record, T: Tx>(tx: &T, range: Range) -> Result<Vec<(Bytes, R)>, OpError> {
    let pairs = tx.range(range).await?;
    pairs.into_iter().map(|(key, value)| Ok((key, R::decode(&value)?))).collect()
}

/// The ids that end the keys of a range, and its records.
pub(in crate::op) async fn list<R: Record, T: Tx>(
    tx: &T,
    range: Range,
) -> Result<Vec<([u8; 16], R)>, OpError> {
    let damaged = RecordError::Damaged { record: R::NAME, what: "its key" };
    let pairs = pairs(tx, range).await?.into_iter();
    pairs.map(|(key, record)| Ok((keys::last_id(&key).ok_or(damaged.clone())?, record))).collect()
}
