//! The engine's journals, read before the engine reads them.
//!
//! A power loss may leave of the group that was being written any sectors. The engine discards such a tail if it ends
//! too soon, and refuses to open if it is all there but for a piece in the middle (its pages may arrive in any order); and a damaged
//! byte far before the tail it may take for the tail, and drop what was acknowledged after it. Here the two are
//! told apart: whatever follows the last whole group is cut off, unless a whole group comes after it. A group is
//! written only after the one before was synced, so that would be no tail: the store is refused, with the place.
//!
//! What clients write stands in the journal as it is, so a whole group could be forged inside a message. Each group
//! therefore begins with the store's *seal*, sixteen random bytes that never leave its folder.
//!
//! Invariant: what the engine finds is whole groups, their versions without a gap. Damage to the very last group looks
//! like a tail that was never acknowledged, here as in every journal without a second copy.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::EmbeddedError;
use crate::record::{Number, Record};
use crate::{durable, keys};

/// Random bytes that mark a group as written by this store.
pub(super) type Seal = [u8; 16];

const SEAL_FILE: &str = "seal";

/// How far behind the beginning of a group its seal is: the group's header, the item's, its key.
const SEAL_AT: usize = 13 + 21 + 2;

/// The seal of a store, made if it has none.
///
/// # Errors
/// [`EmbeddedError::Io`], or [`EmbeddedError::Damaged`] if the file is not what was written.
pub(super) fn seal(place: &Path) -> Result<Seal, EmbeddedError> {
    let path = place.join(SEAL_FILE);
    let io = |source| EmbeddedError::Io { path: path.clone(), source };
    let damaged = EmbeddedError::Damaged { path: path.clone(), at: 0, what: "its checksum is wrong" };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make_seal(place).map_err(io),
        Err(error) => return Err(io(error)),
    };
    match bytes.split_first_chunk::<16>() {
        Some((seal, sum)) if *sum == xxh3_64(seal).to_le_bytes() => Ok(*seal),
        _ => Err(damaged),
    }
}

fn make_seal(place: &Path) -> io::Result<Seal> {
    let mut seal = Seal::default();
    #[expect(
        clippy::disallowed_methods,
        reason = "a backend that has a disk; nothing that is stored depends on it"
    )]
    aws_lc_rs::rand::fill(&mut seal).map_err(|_| io::Error::other("no randomness"))?;
    let beside = place.join("seal.new");
    let mut file = File::create(&beside)?;
    file.write_all(&seal)?;
    file.write_all(&xxh3_64(&seal).to_le_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, place.join(SEAL_FILE))?;
    durable::sync_dir(place)?;
    Ok(seal)
}

/// Cuts off what a power loss left of a group that was being written. Gives the version of the newest group that is in
/// a journal.
///
/// # Errors
/// [`EmbeddedError::Damaged`] if something else is wrong with them; nothing was changed then.
pub(super) fn mend(place: &Path, seal: &Seal) -> Result<Option<u64>, EmbeddedError> {
    let journals = journals(place).map_err(|source| EmbeddedError::Io { path: place.to_owned(), source })?;
    let mut before: Option<(u64, Last)> = None;
    for (index, (number, path)) in journals.iter().enumerate() {
        let io = |source| EmbeddedError::Io { path: path.clone(), source };
        let damaged = |at: usize, what| EmbeddedError::Damaged { path: path.clone(), at: at as u64, what };
        let bytes = fs::read(path).map_err(io)?;
        // A removed journal may be back, if its folder was not synced since; the numbers then have a gap.
        let last = before.take().filter(|(previous, _)| previous + 1 == *number).map(|(_, last)| last);
        let (end, last) = groups(&bytes, last).map_err(|at| damaged(at, "a group is not the next one"))?;
        let rest = &bytes[end..];
        if !is_zero(rest) {
            if index + 1 < journals.len() || holds_group(rest, seal) {
                return Err(damaged(end, "a group is broken, and later ones are not"));
            }
            tracing::info!(journal = %path.display(), at = end, "cut off a group that was not acknowledged");
            let file = OpenOptions::new().write(true).open(path).map_err(io)?;
            file.set_len(end as u64).and_then(|()| file.sync_all()).map_err(io)?;
        }
        before = last.map(|last| (*number, last));
    }
    Ok(before.and_then(|(_, last)| last.version))
}

/// The journals, oldest first. A name that the engine would not give is left to it.
fn journals(place: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        let stem = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        found.extend(stem.map(|number| (number, path)));
    }
    found.sort_unstable();
    Ok(found)
}

/// The last group so far.
#[derive(Debug, Clone, Copy)]
struct Last {
    seqno: u64,
    version: Option<u64>,
}

/// Where whole groups end, and the last of them.
///
/// # Errors
/// The place of a group that cannot follow the one before.
fn groups(bytes: &[u8], mut last: Option<Last>) -> Result<(usize, Option<Last>), usize> {
    let mut at = 0;
    while let Some(group) = Group::read(&bytes[at..]) {
        if let Some(last) = last {
            let next = last.version.zip(group.version).is_none_or(|(a, b)| a.checked_add(1) == Some(b));
            if group.seqno <= last.seqno || !next {
                return Err(at);
            }
        }
        // The engine's own numbers need their top bits; it does not check them.
        if group.seqno >> 62 != 0 {
            return Err(at);
        }
        last = Some(Last { seqno: group.seqno, version: group.version });
        at += group.length;
    }
    Ok((at, last))
}

fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// Whether a whole group of this store is somewhere in there.
fn holds_group(bytes: &[u8], seal: &Seal) -> bool {
    let places = bytes.windows(seal.len()).enumerate().filter(|(_, window)| window == seal);
    places.filter_map(|(at, _)| at.checked_sub(SEAL_AT)).any(|at| Group::read(&bytes[at..]).is_some())
}

/// One group, which the engine calls a batch: a header with the count of items, the items, a checksum over them.
struct Group {
    length: usize,
    seqno: u64,
    /// The commit version it sets.
    version: Option<u64>,
}

impl Group {
    /// The group at the beginning of these bytes, if it is whole. Format: `fjall` 3, `journal/entry.rs`.
    fn read(bytes: &[u8]) -> Option<Group> {
        let mut rest = bytes;
        let [1] = take(&mut rest)? else { return None };
        let items = u32::from_le_bytes(take(&mut rest)?);
        let seqno = u64::from_le_bytes(take(&mut rest)?);
        let (body, mut version) = (rest, None);
        for _ in 0..items {
            match take(&mut rest)? {
                [2] => version = item(&mut rest)?.or(version),
                // A keyspace that was emptied.
                [4] => drop(take::<8>(&mut rest)?),
                [_] => return None,
            }
        }
        let sum = xxh3_64(&body[..body.len() - rest.len()]);
        let [3] = take(&mut rest)? else { return None };
        let whole = u64::from_le_bytes(take(&mut rest)?) == sum && &take::<4>(&mut rest)? == b"FJL\x03";
        whole.then_some(Group { length: bytes.len() - rest.len(), seqno, version })
    }
}

/// Steps over an item. Gives the commit version if it sets that.
fn item(rest: &mut &[u8]) -> Option<Option<u64>> {
    let [_kind, _compression] = take(rest)?;
    let _keyspace: [u8; 8] = take(rest)?;
    let key = usize::from(u16::from_le_bytes(take(rest)?));
    let _plain: [u8; 4] = take(rest)?;
    let value = u32::from_le_bytes(take(rest)?) as usize;
    let (key, after) = rest.split_at_checked(key)?;
    let (value, after) = after.split_at_checked(value)?;
    *rest = after;
    let sets_version = key == keys::commit_version();
    Some(sets_version.then(|| Number::decode(value).ok().map(|number| number.0)).flatten())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAL: Seal = *b"sixteen bytes ok";

    fn put(items: &mut Vec<u8>, key: &[u8], value: &[u8]) {
        items.extend([2, 0, 0]);
        items.extend(1_u64.to_le_bytes());
        items.extend((key.len() as u16).to_le_bytes());
        items.extend((value.len() as u32).to_le_bytes());
        items.extend((value.len() as u32).to_le_bytes());
        items.extend(key);
        items.extend(value);
    }

    /// A group as the engine writes it.
    fn group(number: u64, seal: &Seal, value: &[u8]) -> Vec<u8> {
        let mut items = Vec::new();
        put(&mut items, &keys::batch_seal(), seal);
        put(&mut items, &keys::commit_version(), &Number(number).encode());
        put(&mut items, b"x", value);
        let mut bytes = vec![1];
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend(&items);
        bytes.push(3);
        bytes.extend(xxh3_64(&items).to_le_bytes());
        bytes.extend(b"FJL\x03");
        bytes
    }

    fn mended(bytes: &[u8]) -> (Result<Option<u64>, EmbeddedError>, u64) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.jnl");
        fs::write(&path, bytes).unwrap();
        (mend(dir.path(), &SEAL), fs::metadata(path).unwrap().len())
    }

    #[test]
    fn r142_a_last_group_with_a_hole_is_cut_off() {
        let mut bytes = [group(1, &SEAL, &[7; 900]), group(2, &SEAL, &[7; 900])].concat();
        let whole = bytes.len() as u64 / 2;
        bytes.extend([0; 3000]);
        assert!(matches!(mended(&bytes), (Ok(Some(2)), length) if length == bytes.len() as u64));
        bytes[1400..1500].fill(0);
        assert!(matches!(mended(&bytes), (Ok(Some(1)), length) if length == whole));
    }

    #[test]
    fn r51_a_broken_group_before_a_whole_one_is_damage() {
        let mut bytes = (1..=3).flat_map(|n| group(n, &SEAL, &[7; 900])).collect::<Vec<_>>();
        for at in [0, 3, 40, 500] {
            bytes[at] ^= 1;
            assert!(
                matches!(mended(&bytes), (Err(EmbeddedError::Damaged { at: 0, .. }), length) if length == bytes.len() as u64)
            );
            bytes[at] ^= 1;
        }
        let gap = [group(1, &SEAL, b"a"), group(3, &SEAL, b"b")].concat();
        assert!(matches!(mended(&gap), (Err(EmbeddedError::Damaged { .. }), _)));
    }

    /// A client cannot keep a store shut by sending what looks like a later group.
    #[test]
    fn r142_a_group_inside_a_message_is_not_the_stores() {
        let forged = group(9, b"guessed by a bad", b"x");
        let mut bytes = [group(1, &SEAL, b"a"), group(2, &SEAL, &[&forged[..], &[7; 900]].concat())].concat();
        let end = bytes.len();
        bytes[end - 500..end - 400].fill(0);
        assert!(matches!(mended(&bytes), (Ok(Some(1)), _)));
    }

    #[test]
    fn r51_a_sealed_journal_has_no_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        let first = group(1, &SEAL, b"a");
        fs::write(dir.path().join("0.jnl"), [&first[..], &first[..30]].concat()).unwrap();
        fs::write(dir.path().join("1.jnl"), [0; 64]).unwrap();
        assert!(matches!(mend(dir.path(), &SEAL), Err(EmbeddedError::Damaged { .. })));
    }
}
