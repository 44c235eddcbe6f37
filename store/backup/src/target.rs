//! A store that is being filled: closed for writing until it is complete, and what was written to it last in the same
//! transaction as the writing.

use bytes::Bytes;
use futures_util::future::try_join_all;
use store::Clock;
use store::closed::{ClosedAlready, Described, Reopen, describe};
use store::keys;
use store::parsed::{Key, Kind};
use store::record::{Closed, Head, Number, Progress as Place, Record, SCHEMA_VERSION};
use store::run::{Attempt, Body, OpError};
use store::tx::{Backend, Tx};
use wire::{LogId, Seq};

use crate::access::{Access, Pair};
use crate::{BackupError, Digests};

/// What a copy or restore holds, as read on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// What was to be written.
    pub source: Digests,
    /// What is in the target.
    pub target: Digests,
}

/// Opens a store for writing again that a copy closed. Answers what the marker said, or `None` if it was open.
///
/// # Errors
/// [`BackupError::SourceIncomplete`] if the store is an unfinished target; [`BackupError::Store`].
pub async fn reopen<B: Backend, C: Clock>(backend: B, clock: C) -> Result<Option<Closed>, BackupError> {
    Access::new(backend, clock, "closed").run(&Reopen).await?.map_err(BackupError::SourceIncomplete)
}

/// Begins to fill a store, or goes on.
pub(crate) struct Begin {
    pub(crate) closed: Closed,
    pub(crate) incarnation: u64,
}

impl Body for Begin {
    /// What was written last, if something was.
    type Output = Result<Bytes, BackupError>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let found = describe(tx).await?;
        if let Some(place) = found.progress.clone().filter(|place| place.id == self.closed.by) {
            return Ok(Ok(place.place));
        }
        if let Err(refused) = is_empty(&found) {
            return Ok(Err(refused));
        }
        tx.set(keys::schema_version(), Number(SCHEMA_VERSION.into()).encode());
        tx.set(keys::incarnation(), Number(self.incarnation).encode());
        tx.set(keys::closed(), self.closed.encode());
        tx.set(keys::progress(), Place { id: self.closed.by, place: Bytes::new() }.encode());
        Ok(Ok(Bytes::new()))
    }
}

/// Whether a copy or restore may begin in a store. One that a node has opened and used for nothing is empty, too.
pub(crate) fn is_empty(found: &Described) -> Result<(), BackupError> {
    let refused = |why: String| Err(BackupError::TargetNotEmpty { why });
    match found {
        found if !found.is_readable() => {
            Err(BackupError::NewerSchema { found: found.schema.unwrap_or_default() })
        }
        Described { progress: Some(_), .. } => refused("a part of another copy or restore".into()),
        Described { closed: Some(closed), .. } => {
            refused(format!("it is closed for writing, {}", closed.why))
        }
        Described { empty: false, .. } => refused("accounts or messages".into()),
        _ => Ok(()),
    }
}

/// The target is no longer this copy's or restore's.
pub(crate) struct Taken;

impl From<Taken> for BackupError {
    fn from(_: Taken) -> BackupError {
        BackupError::TargetTaken
    }
}

impl From<ClosedAlready> for BackupError {
    fn from(ClosedAlready(closed): ClosedAlready) -> BackupError {
        BackupError::ClosedByOther(closed)
    }
}

/// Writes a page. Done twice, it is done once.
pub(crate) struct WritePage<'a> {
    pub(crate) id: [u8; 16],
    /// What was written last before it.
    pub(crate) from: &'a Bytes,
    /// What was written last after it.
    pub(crate) to: &'a Bytes,
    pub(crate) pairs: &'a [Pair],
    /// Whether what points into logs is kept only if the target's logs reach there.
    pub(crate) filter: bool,
}

impl Body for WritePage<'_> {
    type Output = Result<(), Taken>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        match place(tx).await? {
            Some(place) if place.id == self.id && place.place == *self.to => return Ok(Ok(())),
            Some(place) if place.id == self.id && place.place == *self.from => {}
            _ => return Ok(Err(Taken)),
        }
        let kept = if self.filter { reached(tx, self.pairs).await? } else { vec![true; self.pairs.len()] };
        for ((key, value), _) in self.pairs.iter().zip(kept).filter(|(_, kept)| *kept) {
            tx.set(key.clone(), value.clone());
        }
        tx.set(keys::progress(), Place { id: self.id, place: self.to.clone() }.encode());
        Ok(Ok(()))
    }
}

/// Opens the target for nodes. Done twice, it is done once.
pub(crate) struct Finish {
    pub(crate) id: [u8; 16],
}

impl Body for Finish {
    type Output = Result<(), Taken>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        match place(tx).await? {
            // An earlier try, whose answer was lost.
            None => return Ok(Ok(())),
            Some(place) if place.id != self.id => return Ok(Err(Taken)),
            Some(_) => {}
        }
        tx.clear(keys::progress());
        tx.clear(keys::closed());
        Ok(Ok(()))
    }
}

async fn place<T: Tx>(tx: &T) -> Result<Option<Place>, OpError> {
    let value = tx.get(&keys::progress()).await?;
    Ok(value.map(|value| Place::decode(&value)).transpose()?)
}

/// Reads asked for at once.
const AT_ONCE: usize = 128;

/// Which pairs belong into a store with the target's logs: all but an account's chats that have no log in it, and outbox
/// keys of entries that are not in it. Both were read after the logs were.
pub(crate) async fn reached<T: Tx>(tx: &T, pairs: &[Pair]) -> Result<Vec<bool>, OpError> {
    let mut kept = Vec::with_capacity(pairs.len());
    for some in pairs.chunks(AT_ONCE) {
        kept.extend(try_join_all(some.iter().map(|(key, _)| reaches(tx, key))).await?);
    }
    Ok(kept)
}

async fn reaches<T: Tx>(tx: &T, key: &Bytes) -> Result<bool, OpError> {
    let (log, seq) = match Key::parse(key) {
        Some(Key::AccountChat(_, chat)) => (LogId::Chat(chat), Seq::ZERO),
        // Not an entry: that a device has ended, of which chats may have to be told.
        Some(Key::Outbox(LogId::Device(_), Seq::ZERO)) => return Ok(true),
        Some(Key::Outbox(log, seq)) => (log, seq),
        _ => return Ok(true),
    };
    let head = tx.get_snapshot(&keys::head(log)).await?;
    let head = head.map(|value| Head::decode(&value)).transpose()?;
    Ok(head.is_some_and(|head| head.seq >= seq))
}

/// What lies at the keys of a page that belong into the target.
pub(crate) struct Lookup<'a> {
    pub(crate) pairs: &'a [Pair],
    pub(crate) filter: bool,
}

impl Body for Lookup<'_> {
    /// For each pair, `None` if it does not belong there, else what is there.
    type Output = Vec<Option<Option<Bytes>>>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let tx = &*tx;
        let kept = if self.filter { reached(tx, self.pairs).await? } else { vec![true; self.pairs.len()] };
        let mut found = Vec::with_capacity(kept.len());
        let wanted: Vec<_> = self.pairs.iter().zip(kept).collect();
        for some in wanted.chunks(AT_ONCE) {
            let reads = some.iter().map(async |((key, _), kept)| match kept {
                true => tx.get_snapshot(key).await.map(Some),
                false => Ok(None),
            });
            found.extend(try_join_all(reads).await?);
        }
        Ok(found)
    }
}

/// Whether a kind is of those that [`reached`] looks at.
pub(crate) fn is_filtered(kind: Kind) -> bool {
    matches!(kind, Kind::AccountChat | Kind::Outbox)
}
