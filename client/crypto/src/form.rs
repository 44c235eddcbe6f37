//! The stored form of values: CBOR, which names fields, so that a later version of the library that adds some can read them.
//!
//! Invariant: the same state is the same bytes. The library puts a wall time into message secrets and keeps the proposals of a pending commit in
//! a hash map; the first is left out, the second put in order.

use ciborium::Value;
use serde::Serialize;

use crate::storage::StorageError;

pub(crate) fn encode(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|_| StorageError::Encode)?;
    Ok(bytes)
}

/// The last field of message secrets, as CBOR names it: when they were put there, by the machine's clock.
const ADDED_AT: &[u8] = b"\x68added_at";
const CBOR_NULL: u8 = 0xF6;

/// Message secrets without the time in them, which is of use only to those who keep secrets of past epochs. They are written with every
/// message, so they are cut as bytes.
pub(crate) fn encode_secrets(secrets: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    let mut bytes = encode(secrets)?;
    let at = bytes.windows(ADDED_AT.len()).rposition(|window| window == ADDED_AT);
    let end = at.ok_or(StorageError::Encode)? + ADDED_AT.len();
    ciborium::from_reader::<Option<std::time::SystemTime>, _>(&bytes[end..])
        .map_err(|_| StorageError::Encode)?;
    bytes.truncate(end);
    bytes.push(CBOR_NULL);
    Ok(bytes)
}

/// A group's state; if it is a pending commit, its proposals, a list of pairs by reference, in the order of their bytes.
pub(crate) fn encode_state(state: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    let mut value = Value::serialized(state).map_err(|_| StorageError::Encode)?;
    sort_proposals(&mut value)?;
    encode(&value)
}

fn sort_proposals(value: &mut Value) -> Result<(), StorageError> {
    let Value::Map(fields) = value else { return Ok(()) };
    for (name, field) in fields {
        match (name.as_text(), field) {
            (Some("queued_proposals"), Value::Array(pairs)) => {
                let mut keyed: Vec<(Vec<u8>, Value)> = Vec::with_capacity(pairs.len());
                for pair in pairs.drain(..) {
                    keyed.push((encode(&pair)?, pair));
                }
                keyed.sort_by(|a, b| a.0.cmp(&b.0));
                pairs.extend(keyed.into_iter().map(|(_, pair)| pair));
            }
            (_, field @ Value::Map(_)) => sort_proposals(field)?,
            _ => {}
        }
    }
    Ok(())
}
