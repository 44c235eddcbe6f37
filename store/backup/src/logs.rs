//! A prefix of each log, read while it grows.
//!
//! A log that fits into one page is read at one version, as it then was. Of a longer one the head is read first, at one version
//! with all that must agree with it: members and former members, the group and its leaves, whose epoch the head has. Then the
//! rest follows in pages at versions of their own, and all of it is held back to that head: later entries, their parts and
//! their idempotency records, and trees of later epochs, are left out, cursors and receipts that had got further stand at the
//! head. Cursors are read before receipts, so that whatever a cursor says it reached has its receipt; device cursors before
//! those of their members, so that no device is ahead of what its member is said to have.
//!
//! The logs are looked for after the backup began, so what was acknowledged before is in it; a log that begins meanwhile may
//! be in it or not.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::try_join_all;
use store::Clock;
use store::keys;
use store::parsed::{Key, LogKey};
use store::record::{Cursors, DeviceCursor, Head, Idempotency, Reached, Record, RecordError};
use store::run::{Attempt, Body, OpError};
use store::tx::{Backend, Range, Tx, after_key, after_prefix};
use wire::{AccountId, Epoch, LogId, Seq};

use crate::BackupError;
use crate::access::{Access, PAGE_BYTES, Pair, ReadPage, Scan, read_page};
use crate::object::Writer;

/// Parts of the key tree of logs, in order, that are read independently; ids are random, so they are about as large.
pub(crate) struct Parts(Mutex<VecDeque<(Bytes, Bytes)>>);

impl Parts {
    /// All logs.
    pub(crate) fn all() -> Parts {
        let mut bounds = vec![b"l".to_vec()];
        for letter in [b'c', b'd', b'k'] {
            bounds.push(vec![b'l', letter]);
            bounds.extend((1..16).map(|part| vec![b'l', letter, part << 4]));
        }
        bounds.push(b"m".to_vec());
        let bounds: Vec<_> = bounds.into_iter().map(Bytes::from).collect();
        let parts = bounds.windows(2).map(|bound| (bound[0].clone(), bound[1].clone()));
        Parts(Mutex::new(parts.collect()))
    }

    fn next(&self) -> Option<(Bytes, Bytes)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// Writes parts until none is left; several do at once. `wrote` hears of pages.
pub(crate) async fn write<B: Backend, C: Clock>(
    access: &Access<B, C>,
    parts: &Parts,
    writer: &mut Writer<'_>,
    wrote: &(dyn Fn(&[Pair]) + Send + Sync),
) -> Result<(), BackupError> {
    while let Some((mut begin, end)) = parts.next() {
        while begin < end {
            let page = access.run(&LogsPage { begin, end: end.clone() }).await?;
            let Some((last, _)) = page.pairs.last() else { break };
            let last_log = log_of(last)?;
            let whole = page.last_whole.then_some(page.pairs.len());
            let whole =
                whole.unwrap_or_else(|| page.pairs.partition_point(|(key, _)| *key < start_of(last_log)));
            let (whole, part) = page.pairs.split_at(whole);
            for (key, _) in whole {
                log_of(key)?;
            }
            writer.write(whole).await?;
            wrote(whole);
            begin = match (whole.is_empty(), part.is_empty()) {
                // It may fit into a page that begins with it.
                (false, false) => start_of(last_log),
                (false, true) => end_of(last_log),
                (true, _) => {
                    LongLog { access, log: last_log, wrote }.write(writer).await?;
                    end_of(last_log)
                }
            };
        }
    }
    Ok(())
}

/// The first key a log can have, and the first after all.
fn start_of(log: LogId) -> Bytes {
    let member = keys::members(log);
    member.slice(..member.len() - 1)
}

fn end_of(log: LogId) -> Bytes {
    after_prefix(&start_of(log))
}

fn log_of(key: &[u8]) -> Result<LogId, BackupError> {
    match Key::parse(key) {
        Some(Key::Log(log, _)) => Ok(log),
        _ => Err(unknown(key)),
    }
}

/// A key that no backup can have an opinion on.
pub(crate) fn unknown(key: &[u8]) -> BackupError {
    BackupError::UnknownKey { letter: key.first().map_or(' ', |&letter| char::from(letter)) }
}

/// A page of logs at one version, and whether its last log ends with it.
struct LogsPage {
    begin: Bytes,
    end: Bytes,
}

struct SomeLogs {
    pairs: Vec<Pair>,
    last_whole: bool,
}

impl Body for LogsPage {
    type Output = SomeLogs;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<SomeLogs, OpError> {
        let tx = &*tx;
        let page = ReadPage { begin: self.begin.clone(), end: self.end.clone(), bytes_max: PAGE_BYTES };
        let pairs = read_page(tx, &page).await?.pairs;
        let last_whole = match pairs.last().map(|(key, _)| (after_key(key), Key::parse(key))) {
            Some((after, Some(Key::Log(log, _)))) => {
                let rest = Range::new(after, end_of(log)).limit(1).snapshot();
                tx.range(rest).await?.is_empty()
            }
            _ => true,
        };
        Ok(SomeLogs { pairs, last_whole })
    }
}

/// A log of more than a page.
struct LongLog<'a, B, C> {
    access: &'a Access<B, C>,
    log: LogId,
    wrote: &'a (dyn Fn(&[Pair]) + Send + Sync),
}

impl<B: Backend, C: Clock> LongLog<'_, B, C> {
    async fn write(&self, writer: &mut Writer<'_>) -> Result<(), BackupError> {
        let log = self.log;
        let beginning = self.access.run(&Beginning { log }).await?;
        let Head { seq: at, epoch, .. } = beginning.head;
        let mut prefix = Prefix { head: at, epoch, receipts: None };
        self.some(writer, &mut prefix, b"d").await?;
        self.some(writer, &mut prefix, b"c").await?;
        self.some(writer, &mut prefix, b"r").await?;
        writer.write(&beginning.pairs).await?;
        (self.wrote)(&beginning.pairs);
        let entries = (keys::entry(log, Seq(0)), keys::entry(log, Seq(at.0.saturating_add(1))));
        self.range(writer, &mut prefix, entries).await?;
        for letter in [b"i", b"t", b"w", b"x", b"y"] {
            self.some(writer, &mut prefix, letter).await?;
        }
        self.only_known_letters().await
    }

    /// Everything of one letter.
    async fn some(
        &self,
        writer: &mut Writer<'_>,
        prefix: &mut Prefix,
        letter: &[u8; 1],
    ) -> Result<(), BackupError> {
        let begin = Bytes::from([&start_of(self.log)[..], letter].concat());
        let end = after_prefix(&begin);
        self.range(writer, prefix, (begin, end)).await
    }

    async fn range(
        &self,
        writer: &mut Writer<'_>,
        prefix: &mut Prefix,
        range: (Bytes, Bytes),
    ) -> Result<(), BackupError> {
        let mut scan = Scan::new(self.access, [range]);
        loop {
            scan.fill().await?;
            let page = scan.take_page();
            if page.is_empty() {
                return Ok(());
            }
            let mut kept = Vec::with_capacity(page.len());
            for (key, value) in page {
                kept.extend(prefix.hold(&key, value)?.map(|value| (key, value)));
            }
            writer.write(&kept).await?;
            (self.wrote)(&kept);
        }
    }

    /// A letter of a later schema is not passed over in silence.
    async fn only_known_letters(&self) -> Result<(), BackupError> {
        let known = b"cdeghimnrtvwxy";
        let at = |letter: u8| Bytes::from([&start_of(self.log)[..], &[letter]].concat());
        let begins = std::iter::once(start_of(self.log)).chain(known.iter().map(|letter| at(letter + 1)));
        let ends = known.iter().map(|letter| at(*letter)).chain(std::iter::once(end_of(self.log)));
        let mut scan = Scan::new(self.access, begins.zip(ends).filter(|(begin, end)| begin < end));
        scan.fill().await?;
        scan.take().map_or(Ok(()), |(key, _)| Err(unknown(&key)))
    }
}

/// A log's head and what must agree with it, at one version: of a full group some 200 kB.
struct Beginning {
    log: LogId,
}

struct Begun {
    head: Head,
    pairs: Vec<Pair>,
}

impl Body for Beginning {
    type Output = Begun;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Begun, OpError> {
        let (tx, log) = (&*tx, self.log);
        let one = |key: Bytes| Range::new(key.clone(), after_key(&key)).snapshot();
        let ranges = [
            one(keys::head(log)),
            one(keys::group(log)),
            Range::prefix(keys::members(log)).snapshot(),
            Range::prefix(keys::leaves(log)).snapshot(),
            Range::prefix(keys::formers(log)).snapshot(),
        ];
        let pairs = try_join_all(ranges.map(|range| tx.range(range))).await?.concat();
        let head = pairs.iter().find(|(key, _)| *key == keys::head(log));
        let head = head.map(|(_, value)| Head::decode(value)).transpose()?.unwrap_or_default();
        Ok(Begun { head, pairs })
    }
}

/// Holds a log's records back to a head.
struct Prefix {
    head: Seq,
    epoch: Epoch,
    /// Whose receipts come, of which cursor, and where the last of them was.
    receipts: Option<(AccountId, u8, Seq)>,
}

impl Prefix {
    /// The value as of the head; `None` if there was none.
    fn hold(&mut self, key: &[u8], value: Bytes) -> Result<Option<Bytes>, BackupError> {
        let Some(Key::Log(_, of)) = Key::parse(key) else { return Err(unknown(key)) };
        let head = self.head;
        Ok(match of {
            LogKey::Entry(seq) | LogKey::EntryPart(seq) => (seq <= head).then_some(value),
            LogKey::TreeNeeds(epoch) | LogKey::Tree(epoch) => (epoch <= self.epoch).then_some(value),
            LogKey::Idempotency => (Idempotency::decode(&value)?.seq <= head).then_some(value),
            LogKey::DeviceCursor => {
                let DeviceCursor { delivered } = DeviceCursor::decode(&value)?;
                Some(DeviceCursor { delivered: delivered.min(head) }.encode())
            }
            LogKey::MemberCursor => {
                let cursors = Cursors::decode(&value)?;
                let (delivered, read) = (cursors.delivered.min(head), cursors.read.min(head));
                Some(Cursors { delivered, read, ..cursors }.encode())
            }
            LogKey::Receipt(account, kind) => self.receipt(account, kind, &value)?,
            // Read with the head.
            LogKey::Head | LogKey::Member | LogKey::Former | LogKey::Group | LogKey::Leaf => Some(value),
            LogKey::CursorsMoved => Some(value),
        })
    }

    /// The first receipt at or past the head is when the head was reached; those after it are not of this prefix.
    fn receipt(&mut self, account: AccountId, kind: u8, value: &[u8]) -> Result<Option<Bytes>, RecordError> {
        let reached = Reached::decode(value)?;
        let before = self.receipts.filter(|(of, which, _)| (*of, *which) == (account, kind));
        if before.is_some_and(|(_, _, seq)| seq >= self.head) {
            return Ok(None);
        }
        self.receipts = Some((account, kind, reached.seq));
        Ok(Some(Reached { seq: reached.seq.min(self.head), ..reached }.encode()))
    }
}

#[cfg(test)]
mod tests {
    use store::keys::ReceiptKind;
    use wire::{ChatId, ClientMsgId, DeviceId, WallTime};

    use super::*;

    const LOG: LogId = LogId::Chat(ChatId::new([7; 16]));
    const A: AccountId = AccountId::new([0xaa; 16]);
    const B: AccountId = AccountId::new([0xbb; 16]);
    const D: DeviceId = DeviceId::new([0xdd; 16]);
    const T: WallTime = WallTime(5);

    #[test]
    fn parts_are_all_logs_once_and_in_order() {
        let parts = Parts::all();
        let mut at = Bytes::from_static(b"l");
        while let Some((begin, end)) = parts.next() {
            assert!(begin == at && begin < end);
            at = end;
        }
        assert_eq!(at, b"m"[..]);
    }

    #[test]
    fn what_got_further_stands_at_the_head() {
        let mut prefix = Prefix { head: Seq(10), epoch: Epoch(4), receipts: None };
        let cursors = |delivered, read| {
            Cursors { delivered: Seq(delivered), delivered_at: T, read: Seq(read), read_at: T }.encode()
        };
        let idempotency = |seq| Idempotency { seq: Seq(seq), at: T, incarnation: 1, stamp: [0; 10] }.encode();
        let frame = Bytes::from_static(b"\x01frame");
        let message = keys::idempotency(LOG, A, ClientMsgId::new([1; 16]));
        let device = |seq| DeviceCursor { delivered: Seq(seq) }.encode();
        let tree = Bytes::from_static(b"\x01piece");
        for (key, value, held) in [
            (keys::entry(LOG, Seq(10)), frame.clone(), Some(frame.clone())),
            (keys::entry(LOG, Seq(11)), frame.clone(), None),
            (message.clone(), idempotency(10), Some(idempotency(10))),
            (message, idempotency(11), None),
            (keys::entry_part(LOG, Seq(10), 1), frame.clone(), Some(frame.clone())),
            (keys::entry_part(LOG, Seq(11), 1), frame.clone(), None),
            (keys::tree_part(LOG, Epoch(4), 0), tree.clone(), Some(tree.clone())),
            (keys::tree_part(LOG, Epoch(5), 0), tree.clone(), None),
            (keys::tree_needs(LOG, Epoch(5)), tree, None),
            (keys::device_cursor(LOG, A, D), device(12), Some(device(10))),
            (keys::device_cursor(LOG, A, D), device(4), Some(device(4))),
            (keys::member_cursor(LOG, A), cursors(12, 11), Some(cursors(10, 10))),
            (keys::member_cursor(LOG, A), cursors(12, 4), Some(cursors(10, 4))),
        ] {
            assert_eq!(prefix.hold(&key, value).unwrap(), held, "{key:?}");
        }
        assert!(matches!(prefix.hold(b"lx", Bytes::new()), Err(BackupError::UnknownKey { letter: 'l' })));
    }

    #[test]
    fn the_first_receipt_past_the_head_tells_when_the_head_was_reached() {
        let mut prefix = Prefix { head: Seq(10), epoch: Epoch(4), receipts: None };
        let mut held = |account, kind, stamp, seq, at| {
            let key = keys::receipt(LOG, account, kind, 1, 0).fill(&[stamp; 10]);
            let value = Reached { seq: Seq(seq), at: WallTime(at) }.encode();
            let held = prefix.hold(&key, value).unwrap();
            held.map(|value| Reached::decode(&value).unwrap()).map(|r| (r.seq.0, r.at.0))
        };
        let (delivered, read) = (ReceiptKind::Delivered, ReceiptKind::Read);
        assert_eq!(held(A, delivered, 1, 4, 100), Some((4, 100)));
        assert_eq!(held(A, delivered, 2, 12, 200), Some((10, 200)));
        assert_eq!(held(A, delivered, 3, 14, 300), None);
        assert_eq!(held(A, read, 3, 14, 300), Some((10, 300)), "another cursor");
        assert_eq!(held(B, delivered, 4, 10, 400), Some((10, 400)), "another member");
        assert_eq!(held(B, delivered, 5, 11, 500), None);
    }
}
