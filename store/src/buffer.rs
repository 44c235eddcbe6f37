//! A transaction's memory: what it read, what it will write, and reads that see those writes.
//!
//! Every backend shares it, so that limits, conflict ranges and what a transaction sees of itself are decided once: a
//! backend brings an [`Engine`], which knows how to read one version and how to commit.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::tx::{
    Atomic, KEY_BYTES_MAX, LIFETIME_MAX, Range, Stamped, TRANSACTION_BYTES_MAX, Tx, TxError, VALUE_BYTES_MAX,
    Versionstamp, after_key,
};

/// What a backend brings to a buffered transaction.
pub trait Engine: Clone + Send + Sync + 'static {
    /// One version of the store.
    type View: Source + 'static;

    /// A monotonic reading, for the transaction's lifetime.
    fn now(&self) -> Duration;

    /// Taken before every read: where a simulated store is slow, or gone.
    fn before_read(&self, view: &Self::View) -> impl Future<Output = Result<(), TxError>> + Send;

    /// Decides a commit and makes it durable.
    fn commit(
        &self,
        view: Self::View,
        commit: Commit,
    ) -> impl Future<Output = Result<Option<Versionstamp>, TxError>> + Send;

    /// As [`Tx::watch`].
    fn watch(&self, key: Bytes, version: u64) -> impl Future<Output = Result<(), TxError>> + Send + 'static;
}

/// One version of a store as a transaction reads it: at once, or over a network.
pub trait Source: Send + Sync {
    /// Its version.
    fn version(&self) -> u64;

    /// Whether snapshot reads conflict too: a version older than the newest must not be seen by anyone whose
    /// transaction then succeeds.
    fn is_stale(&self) -> bool {
        false
    }

    /// The value of a key.
    fn get(&self, key: &[u8]) -> impl Future<Output = Result<Option<Bytes>, TxError>> + Send;

    /// The first pairs of a range that is not empty, in the asked order. It stops where it likes, but not before the
    /// first pair, and says so; past `wanted` more would be thrown away.
    fn page(
        &self,
        begin: &Bytes,
        end: &Bytes,
        reverse: bool,
        wanted: Wanted,
    ) -> impl Future<Output = Result<Stored, TxError>> + Send;
}

/// How much of a range is of use: so many pairs, or as many as have so many bytes and the one after them.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub(crate) pairs: usize,
    pub(crate) bytes: usize,
}

/// The first pairs of a range.
#[derive(Debug, Default)]
pub struct Stored {
    pub(crate) pairs: Vec<(Bytes, Bytes)>,
    /// Whether there may be others after them.
    pub(crate) more: bool,
}

/// One version of a store in this process, which answers at once.
pub trait View: Send + Sync {
    /// See [`Source::version`].
    fn version(&self) -> u64;

    /// See [`Source::is_stale`].
    fn is_stale(&self) -> bool {
        false
    }

    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError>;

    /// Calls `visit` with each pair of a range in order until it says to stop.
    fn scan(
        &self,
        begin: &Bytes,
        end: &Bytes,
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), TxError>;
}

impl<V: View> Source for V {
    fn version(&self) -> u64 {
        View::version(self)
    }

    fn is_stale(&self) -> bool {
        View::is_stale(self)
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        View::get(self, key)
    }

    async fn page(
        &self,
        begin: &Bytes,
        end: &Bytes,
        reverse: bool,
        wanted: Wanted,
    ) -> Result<Stored, TxError> {
        page_of(self, (begin, end), reverse, wanted)
    }
}

/// As [`Source::page`], at once. `begin` is before `end`.
pub(crate) fn page_of(
    view: &impl View,
    (begin, end): (&Bytes, &Bytes),
    reverse: bool,
    wanted: Wanted,
) -> Result<Stored, TxError> {
    let (mut stored, mut bytes) = (Stored::default(), 0);
    view.scan(begin, end, reverse, &mut |key, value| {
        bytes += key.len() + value.len();
        stored.pairs.push((key, value));
        stored.more = stored.pairs.len() >= wanted.pairs || bytes > wanted.bytes;
        !stored.more
    })?;
    Ok(stored)
}

/// What a transaction asks to be committed.
#[derive(Debug)]
pub struct Commit {
    pub(crate) read_version: u64,
    pub(crate) reads: ReadSet,
    pub(crate) writes: Vec<Mutation>,
    /// The size that counts against the limits.
    pub(crate) bytes: usize,
}

/// One write, in the order it was made.
#[derive(Debug, Clone)]
pub(crate) enum Mutation {
    Set(Bytes, Bytes),
    Clear(Bytes),
    ClearRange(Bytes, Bytes),
    Atomic(Atomic, Bytes, u64),
    StampedKey(Stamped, Bytes),
    StampedValue(Bytes, Stamped),
}

/// What a commit conflicts over.
#[derive(Debug, Default)]
pub(crate) struct ReadSet {
    pub(crate) keys: Vec<Bytes>,
    pub(crate) ranges: Vec<(Bytes, Bytes)>,
    bytes: usize,
}

impl ReadSet {
    #[cfg(test)]
    pub(crate) fn of(keys: Vec<Bytes>, ranges: Vec<(Bytes, Bytes)>) -> ReadSet {
        ReadSet { keys, ranges, bytes: 0 }
    }

    fn key(&mut self, key: &[u8]) {
        self.bytes += 2 * key.len() + 1;
        self.keys.push(Bytes::copy_from_slice(key));
    }

    fn range(&mut self, begin: Bytes, end: Bytes) {
        self.bytes += begin.len() + end.len();
        self.ranges.push((begin, end));
    }
}

/// A key as its transaction sees it.
#[derive(Debug)]
enum Overlay {
    /// Written or cleared.
    Known(Option<Bytes>),
    /// Changed by these, over whatever the store holds.
    Atomics(Vec<(Atomic, u64)>),
    /// Known after the commit.
    Unreadable,
}

impl Overlay {
    fn over(&self, stored: Option<Bytes>) -> Result<Option<Bytes>, TxError> {
        match self {
            Overlay::Known(value) => Ok(value.clone()),
            Overlay::Atomics(ops) => {
                Ok(ops.iter().fold(stored, |value, (op, operand)| Some(op.apply(value.as_deref(), *operand))))
            }
            Overlay::Unreadable => Err(TxError::Unreadable),
        }
    }
}

/// Writes that wait for the commit.
#[derive(Debug, Default)]
struct Writes {
    log: Vec<Mutation>,
    keys: BTreeMap<Bytes, Overlay>,
    cleared: Vec<(Bytes, Bytes)>,
    bytes: usize,
    broken: Option<TxError>,
}

impl Writes {
    fn is_cleared(&self, key: &[u8]) -> bool {
        self.cleared.iter().any(|(begin, end)| &begin[..] <= key && key < &end[..])
    }

    fn push(&mut self, mutation: Mutation, key_bytes: usize, value_bytes: usize) {
        self.bytes += key_bytes + value_bytes;
        self.log.push(mutation);
        let broken = key_limit(key_bytes).and_then(|()| value_limit(value_bytes)).err();
        self.broken = self.broken.take().or(broken);
    }

    fn atomic(&mut self, op: Atomic, key: Bytes, operand: u64) {
        let cleared = self.is_cleared(&key);
        match self.keys.get_mut(&key) {
            Some(Overlay::Known(value)) => *value = Some(op.apply(value.as_deref(), operand)),
            Some(Overlay::Atomics(ops)) => ops.push((op, operand)),
            Some(Overlay::Unreadable) => {}
            None if cleared => {
                self.keys.insert(key, Overlay::Known(Some(op.apply(None, operand))));
            }
            None => {
                self.keys.insert(key, Overlay::Atomics(vec![(op, operand)]));
            }
        }
    }
}

fn key_limit(bytes: usize) -> Result<(), TxError> {
    if bytes > KEY_BYTES_MAX { Err(TxError::KeyTooLarge { bytes }) } else { Ok(()) }
}

fn value_limit(bytes: usize) -> Result<(), TxError> {
    if bytes > VALUE_BYTES_MAX { Err(TxError::ValueTooLarge { bytes }) } else { Ok(()) }
}

/// A transaction over an [`Engine`].
pub struct BufferedTx<E: Engine> {
    engine: E,
    view: E::View,
    began: Duration,
    reads: Mutex<ReadSet>,
    writes: Writes,
}

impl<E: Engine> BufferedTx<E> {
    pub(crate) fn new(engine: E, view: E::View) -> Self {
        let began = engine.now();
        BufferedTx { engine, view, began, reads: Mutex::default(), writes: Writes::default() }
    }

    fn young(&self) -> Result<(), TxError> {
        if self.engine.now().saturating_sub(self.began) > LIFETIME_MAX {
            Err(TxError::TooOld)
        } else {
            Ok(())
        }
    }

    async fn before_read(&self) -> Result<(), TxError> {
        self.engine.before_read(&self.view).await?;
        self.young()
    }

    fn reads(&self) -> std::sync::MutexGuard<'_, ReadSet> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, key: &[u8], snapshot: bool) -> Result<Option<Bytes>, TxError> {
        key_limit(key.len())?;
        self.before_read().await?;
        let overlay = self.writes.keys.get(key);
        match overlay {
            Some(Overlay::Known(value)) => return Ok(value.clone()),
            Some(Overlay::Unreadable) => return Err(TxError::Unreadable),
            None if self.writes.is_cleared(key) => return Ok(None),
            Some(Overlay::Atomics(_)) | None => {}
        }
        if !snapshot || self.view.is_stale() {
            self.reads().key(key);
        }
        let stored = self.view.get(key).await?;
        overlay.map_or(Ok(stored.clone()), |o| o.over(stored))
    }

    /// Pairs of the range, this transaction's writes merged in.
    async fn merged(&self, range: &Range) -> Result<Page, TxError> {
        let mut page = Page::new(range);
        let (mut begin, mut end) = (range.begin.clone(), range.end.clone());
        if begin >= end {
            return Ok(page);
        }
        let mut own = Own::new(&self.writes, range);
        while !page.full {
            let stored = self.view.page(&begin, &end, range.reverse, page.wanted()).await?;
            match stored.pairs.last() {
                Some((last, _)) if range.reverse => end = last.clone(),
                Some((last, _)) => begin = after_key(last),
                None => {}
            }
            for (key, value) in stored.pairs {
                own.merge(&mut page, key, value)?;
                if page.full {
                    return Ok(page);
                }
            }
            if !stored.more || begin >= end {
                break;
            }
        }
        own.rest(&mut page)?;
        Ok(page)
    }
}

/// This transaction's writes to a range, in the range's order.
struct Own<'a> {
    writes: &'a Writes,
    keys: Box<dyn Iterator<Item = (&'a Bytes, &'a Overlay)> + Send + 'a>,
    next: Option<(&'a Bytes, &'a Overlay)>,
    reverse: bool,
}

impl<'a> Own<'a> {
    fn new(writes: &'a Writes, range: &Range) -> Own<'a> {
        let bounds = (Bound::Included(range.begin.clone()), Bound::Excluded(range.end.clone()));
        let mut keys: Box<dyn Iterator<Item = (&'a Bytes, &'a Overlay)> + Send> = match range.reverse {
            false => Box::new(writes.keys.range(bounds)),
            true => Box::new(writes.keys.range(bounds).rev()),
        };
        let next = keys.next();
        Own { writes, keys, next, reverse: range.reverse }
    }

    /// The next write, if it comes before a stored key.
    fn before(&mut self, key: &Bytes) -> Option<(&'a Bytes, &'a Overlay)> {
        let (own, _) = self.next?;
        let before = own != key && (own < key) != self.reverse;
        if before { std::mem::replace(&mut self.next, self.keys.next()) } else { None }
    }

    /// Adds a stored pair, and the writes before it, as far as there is room.
    fn merge(&mut self, page: &mut Page, key: Bytes, value: Bytes) -> Result<(), TxError> {
        while let (false, Some((own, overlay))) = (page.full, self.before(&key)) {
            page.own(own, overlay, None)?;
        }
        if page.full {
            return Ok(());
        }
        if let Some((own, overlay)) = self.next.filter(|(own, _)| **own == key) {
            self.next = self.keys.next();
            return page.own(own, overlay, Some(value));
        }
        if !self.writes.is_cleared(&key) {
            page.push(key, value);
        }
        Ok(())
    }

    /// Adds the writes that are left, as far as there is room.
    fn rest(&mut self, page: &mut Page) -> Result<(), TxError> {
        while let (false, Some((own, overlay))) = (page.full, self.next) {
            self.next = self.keys.next();
            page.own(own, overlay, None)?;
        }
        Ok(())
    }
}

/// The pairs of a range so far.
struct Page {
    pairs: Vec<(Bytes, Bytes)>,
    limit: usize,
    bytes_left: usize,
    full: bool,
}

impl Page {
    fn new(range: &Range) -> Page {
        Page { pairs: Vec::new(), limit: range.limit, bytes_left: range.bytes_max, full: range.limit == 0 }
    }

    /// What is of use yet.
    fn wanted(&self) -> Wanted {
        Wanted { pairs: self.limit - self.pairs.len(), bytes: self.bytes_left }
    }

    /// Adds a pair if there is room, and sees whether there is for another.
    fn push(&mut self, key: Bytes, value: Bytes) {
        let bytes = key.len() + value.len();
        if self.full || (bytes > self.bytes_left && !self.pairs.is_empty()) {
            self.full = true;
            return;
        }
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.pairs.push((key, value));
        self.full = self.pairs.len() >= self.limit;
    }

    fn own(&mut self, key: &Bytes, overlay: &Overlay, stored: Option<Bytes>) -> Result<(), TxError> {
        if let Some(value) = overlay.over(stored)? {
            self.push(key.clone(), value);
        }
        Ok(())
    }
}

impl<E: Engine> Tx for BufferedTx<E> {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        self.read(key, false).await
    }

    async fn get_snapshot(&self, key: &[u8]) -> Result<Option<Bytes>, TxError> {
        self.read(key, true).await
    }

    async fn range(&self, range: Range) -> Result<Vec<(Bytes, Bytes)>, TxError> {
        key_limit(range.begin.len().max(range.end.len()))?;
        self.before_read().await?;
        let page = self.merged(&range).await?;
        if !range.snapshot || self.view.is_stale() {
            let (begin, end) = match page.pairs.last() {
                Some((last, _)) if page.full && range.reverse => (last.clone(), range.end),
                Some((last, _)) if page.full => (range.begin, after_key(last)),
                _ => (range.begin, range.end),
            };
            self.reads().range(begin, end);
        }
        Ok(page.pairs)
    }

    fn set(&mut self, key: Bytes, value: Bytes) {
        self.writes.keys.insert(key.clone(), Overlay::Known(Some(value.clone())));
        let (k, v) = (key.len(), value.len());
        self.writes.push(Mutation::Set(key, value), k, v);
    }

    fn clear(&mut self, key: Bytes) {
        self.writes.keys.insert(key.clone(), Overlay::Known(None));
        let k = key.len();
        self.writes.push(Mutation::Clear(key), k, 0);
    }

    fn clear_range(&mut self, begin: Bytes, end: Bytes) {
        if begin >= end {
            return;
        }
        self.writes.keys.retain(|key, _| *key < begin || *key >= end);
        self.writes.cleared.push((begin.clone(), end.clone()));
        let k = begin.len().max(end.len());
        self.writes.push(Mutation::ClearRange(begin, end), k, 0);
    }

    fn atomic(&mut self, op: Atomic, key: Bytes, operand: u64) {
        self.writes.atomic(op, key.clone(), operand);
        let k = key.len();
        self.writes.push(Mutation::Atomic(op, key, operand), k, 8);
    }

    fn set_stamped_key(&mut self, key: Stamped, value: Bytes) {
        let (k, v) = (key.placeholder().len(), value.len());
        self.writes.push(Mutation::StampedKey(key, value), k, v);
    }

    fn set_stamped_value(&mut self, key: Bytes, value: Stamped) {
        self.writes.keys.insert(key.clone(), Overlay::Unreadable);
        let (k, v) = (key.len(), value.placeholder().len());
        self.writes.push(Mutation::StampedValue(key, value), k, v);
    }

    fn watch(&self, key: &[u8]) -> impl Future<Output = Result<(), TxError>> + Send + 'static {
        self.engine.watch(Bytes::copy_from_slice(key), self.view.version())
    }

    async fn commit(self) -> Result<Option<Versionstamp>, TxError> {
        self.young()?;
        let reads = self.reads.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = self.writes.broken {
            return Err(error);
        }
        let bytes = self.writes.bytes + reads.bytes;
        if bytes > TRANSACTION_BYTES_MAX && !self.writes.log.is_empty() {
            return Err(TxError::TransactionTooLarge { bytes });
        }
        if self.writes.log.is_empty() && !self.view.is_stale() {
            return Ok(None);
        }
        let commit = Commit { read_version: self.view.version(), reads, writes: self.writes.log, bytes };
        self.engine.commit(self.view, commit).await
    }
}
