//! What a dead node has stored, and what lies in a person's profile: readers of their own.
//!
//! The node's files are copied, and the copy is opened with the engine alone; a node on FoundationDB is read with FoundationDB's
//! command line alone. What a key means is taken from the tree at the head
//! of `store/src/keys.rs`, what a value means from the forms that `store/src/record/` pins; no code of the store, the node or
//! the client runs here. A key that the tree does not know is an error, and so is a value of another length.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fjall::{Database, Guard, KeyspaceCreateOptions};
use loadtest_cluster::store_of_node;
use wire::content::Content;
use wire::event::Event;
use wire::frame;

/// An id as everything prints it: 32 hexadecimal digits.
pub(crate) type Id = String;

/// The schema version that begins every value.
const SCHEMA: u8 = 1;

/// Everything that a node has promised to keep.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Disk {
    /// Whose a phone number is.
    pub(crate) phones: BTreeMap<String, Id>,
    /// By chat.
    pub(crate) logs: BTreeMap<Id, Log>,
}

/// One chat.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Log {
    /// By the place that the key names.
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// The last place, as the head says.
    pub(crate) head: Option<u64>,
    /// Place by account and message id.
    pub(crate) ids: BTreeMap<(Id, Id), u64>,
    pub(crate) members: BTreeSet<Id>,
    /// By account.
    pub(crate) cursors: BTreeMap<Id, Cursors>,
    /// By account and device.
    pub(crate) devices: BTreeMap<(Id, Id), u64>,
    /// Every move of a cursor in the order of commits, by account and `d` or `r`.
    pub(crate) receipts: BTreeMap<(Id, u8), Vec<u64>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The place that the frame itself names.
    pub(crate) seq: u64,
    pub(crate) sender: Id,
    pub(crate) id: Id,
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cursors {
    pub(crate) delivered: u64,
    pub(crate) read: u64,
}

impl Disk {
    /// Reads what the node of a data directory, which is dead, has stored.
    pub(crate) fn read(data: &Path) -> Result<Disk, String> {
        if let Some(store) = store_of_node(data) {
            let mut disk = Disk::default();
            for (key, value) in store.read().map_err(|error| error.to_string())? {
                disk.take_or_say(&key, &value)?;
            }
            return Ok(disk);
        }
        let copy = tempfile::tempdir().map_err(|error| error.to_string())?;
        let place = data.join("store/data");
        if !place.exists() {
            return Ok(Disk::default());
        }
        copy_all(&place, copy.path()).map_err(|error| error.to_string())?;
        let db = Database::builder(copy.path()).open().map_err(|error| error.to_string())?;
        let keys = db.keyspace("keys", KeyspaceCreateOptions::default).map_err(|error| error.to_string())?;
        let mut disk = Disk::default();
        for pair in keys.iter().map(Guard::into_inner) {
            let (key, value) = pair.map_err(|error| error.to_string())?;
            disk.take_or_say(&key, &value)?;
        }
        Ok(disk)
    }

    fn take_or_say(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        self.take(key, value).ok_or_else(|| format!("no key or value of the tree: {}", hex(key)))
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (&letter, mut key) = key.split_first()?;
        match letter {
            b'p' => {
                let number = std::str::from_utf8(key).ok()?.to_owned();
                let [account] = exact(value, 1)?.try_into().ok()?;
                self.phones.insert(number, account);
                Some(())
            }
            b'l' if key.first() == Some(&b'c') => {
                key = &key[1..];
                let chat = id(&mut key)?;
                self.logs.entry(chat).or_default().take(key, value)
            }
            // Not of messages: people, devices, tokens, the sweeper's list, the store itself.
            b'0' | b'a' | b'd' | b'f' | b'o' => Some(()),
            _ => None,
        }
    }
}

impl Log {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (&letter, mut key) = key.split_first()?;
        match letter {
            b'e' => drop(self.entries.insert(last(&mut key)?, entry(value)?)),
            b'h' => self.head = Some(numbers::<2>(value)?[0]),
            b'i' => {
                let name = (id(&mut key)?, id(&mut key)?);
                // Place, time, incarnation, versionstamp.
                let (seq, rest) = fields(value)?.split_first_chunk()?;
                (rest.len() == 26).then_some(())?;
                self.ids.insert(name, u64::from_be_bytes(*seq));
            }
            b'm' => drop(self.members.insert(id(&mut key)?)),
            b'c' => {
                let [delivered, _, read, _] = numbers(value)?;
                self.cursors.insert(id(&mut key)?, Cursors { delivered, read });
            }
            b'd' => drop(self.devices.insert((id(&mut key)?, id(&mut key)?), numbers::<1>(value)?[0])),
            b'r' => {
                let account = id(&mut key)?;
                let (&kind, rest) = key.split_first()?;
                // Incarnation, versionstamp, place in the batch.
                key = rest.get(20..)?;
                self.receipts.entry((account, kind)).or_default().push(numbers::<2>(value)?[0]);
            }
            b't' => return (key.is_empty() && value.len() == 8).then_some(()),
            _ => return None,
        }
        key.is_empty().then_some(())
    }
}

fn fields(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(&[SCHEMA])
}

fn numbers<const N: usize>(value: &[u8]) -> Option<[u64; N]> {
    let (chunks, rest) = fields(value)?.as_chunks();
    let all: Vec<u64> = chunks.iter().map(|chunk| u64::from_be_bytes(*chunk)).collect();
    rest.is_empty().then(|| all.try_into().ok())?
}

fn exact(value: &[u8], ids: usize) -> Option<Vec<Id>> {
    let (chunks, rest) = fields(value)?.as_chunks::<16>();
    (rest.is_empty() && chunks.len() == ids).then(|| chunks.iter().map(|chunk| hex(chunk)).collect())
}

fn id(key: &mut &[u8]) -> Option<Id> {
    let (head, rest) = key.split_at_checked(16)?;
    *key = rest;
    Some(hex(head))
}

fn last(key: &mut &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes((*key).try_into().ok()?);
    *key = &[];
    Some(number)
}

fn entry(value: &[u8]) -> Option<Entry> {
    let bytes = bytes::Bytes::copy_from_slice(fields(value)?);
    let (prefix, length) = frame::parse_prefix(&bytes).ok()??;
    (bytes.len() == prefix + length).then_some(())?;
    let Ok(Event::Entry(entry)) = Event::decode(&bytes.slice(prefix..)) else { return None };
    let Ok(Content::Text(text)) = Content::decode(&entry.content) else { return None };
    let (sender, id) = (entry.sender.to_string(), entry.client_msg_id.to_string());
    Some(Entry { seq: entry.seq.0, sender, id, text: text.text })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        let target = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            copy_all(&file.path(), &target)?;
        } else {
            std::fs::copy(file.path(), target)?;
        }
    }
    Ok(())
}

/// Chat and place of every message that a profile keeps.
pub(crate) fn kept(profile: &Path) -> BTreeSet<(Id, u64)> {
    let db = super::support::hygiene::database(profile);
    let mut statement = db.prepare("SELECT chat, seq FROM messages").expect("the table is there");
    let row = |row: &rusqlite::Row<'_>| {
        let (chat, seq): (Vec<u8>, i64) = (row.get(0)?, row.get(1)?);
        Ok((hex(&chat), seq as u64))
    };
    statement.query_map([], row).expect("read").map(|row| row.expect("a row")).collect()
}
