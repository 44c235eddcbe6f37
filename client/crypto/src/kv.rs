//! What is stored, as the owner keeps it: read through [`Kv`], written as [`Row`]s that the owner persists.

use std::collections::BTreeMap;

/// Read access to what is stored. The phone's encrypted database has one; a `BTreeMap` is one for tests and simulation.
///
/// It must answer from the state in which every drained row is persisted, and none that was not.
pub trait Kv {
    /// The value of a key.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be known.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;
}

/// A key could not be read, with the store's reason.
#[derive(Debug, thiserror::Error)]
#[error("what is stored cannot be read")]
pub struct ReadError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A change to persist: a key, and its new value or `None` to delete it. Both are opaque; keys begin with [`KEY_PREFIX`].
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// What every key begins with.
pub const KEY_PREFIX: &[u8] = b"mls/";

impl Kv for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(BTreeMap::get(self, key).cloned())
    }
}

/// Changes not persisted yet, by key.
pub(crate) type Overlay = BTreeMap<Vec<u8>, Option<Vec<u8>>>;
