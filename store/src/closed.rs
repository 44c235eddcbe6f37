//! A store that is closed for writing, so that what is copied out of it, or not yet whole in it, stays as it is.
//!
//! Invariant: while the marker lies there, [`Store::open`](crate::Store::open) refuses the store. A backend that several
//! processes write to refuses the writes of those that had opened it before, too ([`TxError::Closed`]); on the embedded
//! one there are none.
//!
//! [`TxError::Closed`]: crate::tx::TxError::Closed

use crate::keys;
use crate::op::read;
use crate::record::{Closed, Number, Progress, Record, RecordError, SCHEMA_VERSION};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// Closes a store for writing. Idempotent for one `by`.
#[derive(Debug, Clone)]
pub struct Close {
    /// What the marker will say.
    pub closed: Closed,
}

/// The store is closed already, by something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store is closed already: {}", .0.why)]
pub struct ClosedAlready(pub Closed);

impl Body for Close {
    type Output = Result<(), ClosedAlready>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        match read::get::<Closed, T>(tx, &keys::closed()).await? {
            Some(found) if found.by != self.closed.by => return Ok(Err(ClosedAlready(found))),
            Some(_) => {}
            None => tx.set(keys::closed(), self.closed.encode()),
        }
        Ok(Ok(()))
    }
}

/// Opens a closed store for writing again. Answers the marker that was taken away; a store that was open stays so.
#[derive(Debug, Clone, Copy)]
pub struct Reopen;

/// The store holds a part of a copy or a backup: it is opened by whoever completes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store holds a part of its data only: run the same copy or restore again, it goes on where it stopped"
)]
pub struct Incomplete;

impl Body for Reopen {
    type Output = Result<Option<Closed>, Incomplete>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        if read::get::<Progress, T>(tx, &keys::progress()).await?.is_some() {
            return Ok(Err(Incomplete));
        }
        let found = read::get::<Closed, T>(tx, &keys::closed()).await?;
        if found.is_some() {
            tx.clear(keys::closed());
        }
        Ok(Ok(found))
    }
}

/// What a store says of itself, and whether there is anything else in it.
#[derive(Debug, Clone, Copy)]
pub struct Describe;

/// See [`Describe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The schema version; `None` if no node has opened it yet.
    pub schema: Option<u64>,
    /// The incarnation; `None` if no node has opened it yet.
    pub incarnation: Option<u64>,
    /// Its marker, if it is closed for writing.
    pub closed: Option<Closed>,
    /// How far a copy or restore into it has got, if one is not complete.
    pub progress: Option<Progress>,
    /// Whether there is no account, no log and nothing else of the kind in it.
    pub empty: bool,
}

impl Described {
    /// Whether this build knows how to read it.
    pub fn is_readable(&self) -> bool {
        self.schema.is_none_or(|version| version <= SCHEMA_VERSION.into())
    }
}

impl Body for Describe {
    type Output = Described;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Described, OpError> {
        describe(tx).await
    }
}

/// What a store says of itself at a transaction's version; another writer of any of it conflicts.
///
/// # Errors
/// As [`Tx::get`], or a value that cannot be read.
pub async fn describe<T: Tx>(tx: &T) -> Result<Described, OpError> {
    let mut empty = true;
    for (begin, end) in keys::all_but_the_stores_own() {
        empty &= tx.range(Range::new(begin, end).limit(1)).await?.is_empty();
    }
    let number = |found: Option<Number>| found.map(|number| number.0);
    Ok(Described {
        schema: number(read::get(tx, &keys::schema_version()).await?),
        incarnation: number(read::get(tx, &keys::incarnation()).await?),
        closed: read::get(tx, &keys::closed()).await?,
        progress: read::get(tx, &keys::progress()).await?,
        empty,
    })
}

/// There is a schema version, and no incarnation.
pub(crate) const NO_INCARNATION: RecordError =
    RecordError::Damaged { record: "number", what: "the incarnation is missing" };
