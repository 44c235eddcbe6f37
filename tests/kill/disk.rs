//! What a dead node has stored, and what lies in a person's profile: readers of their own.
//!
//! Keys and values are read by [`pairs`]. What a key means is taken from the tree at the head
//! of `store/src/keys.rs`, what a value means from the forms that `store/src/record/` pins; no code of the store, the node or
//! the client runs here. A key that the tree does not know is an error, and so is a value of another length.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use wire::content::Content;
use wire::event::{EntryKind, Event};
use wire::frame;

use super::support::stored::pairs;

/// An id as everything prints it: 32 hexadecimal digits.
pub(crate) type Id = String;

/// The schema version that begins every value.
const SCHEMA: u8 = 1;

/// What the value of an entry begins with if further parts of it lie under keys of their own.
const IN_PARTS: u8 = 2;

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
    /// Else it is a commit.
    pub(crate) is_message: bool,
    /// What it says, which the node cannot know: as its sender's device has it. Empty for what is no message.
    pub(crate) text: String,
    /// The frame as it is stored, in hexadecimal: ciphertext.
    pub(crate) bytes: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cursors {
    pub(crate) delivered: u64,
    pub(crate) read: u64,
}

impl Disk {
    /// Reads what the node of a data directory, which is dead, has stored.
    pub(crate) fn read(data: &Path) -> Result<Disk, String> {
        let mut disk = Disk::default();
        for (key, value) in pairs(data)? {
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
            // A device's inbox is a log, too, and holds no messages.
            b'l' if key.first() == Some(&b'd') => Some(()),
            b'l' if key.first() == Some(&b'c') => {
                key = &key[1..];
                let chat = id(&mut key)?;
                self.logs.entry(chat).or_default().take(key, value)
            }
            // Not of messages: people, devices, tokens, key packages, the sweeper's list, the store itself.
            b'0' | b'a' | b'd' | b'f' | b'k' | b'o' => Some(()),
            _ => None,
        }
    }
}

impl Log {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (&letter, mut key) = key.split_first()?;
        match letter {
            b'e' => drop(self.entries.insert(last(&mut key)?, entry(value)?)),
            b'h' => self.head = Some(head(value)?),
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
            // The group: its name, leaves, former members, trees, the further parts of a commit.
            b'g' => return (key.is_empty()).then_some(()),
            b'n' => return (key.len() == 4).then_some(()),
            b'v' => return (key.len() == 16).then_some(()),
            b'w' => return (key.len() == 8).then_some(()),
            b'x' | b'y' => return (key.len() == 10).then_some(()),
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

/// A place and a time, and, of a chat with a group, its epoch, whether a commit must come first, where a membership ended.
fn head(value: &[u8]) -> Option<u64> {
    let fields = fields(value)?;
    let place = fields.first_chunk().map(|place| u64::from_be_bytes(*place));
    place.filter(|_| [16, 16 + 17].contains(&fields.len()))
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
    // One with further parts says how many bytes these have.
    let stored = match value.split_first()? {
        (&SCHEMA, frame) => frame,
        (&IN_PARTS, rest) => rest.get(4..)?,
        _ => return None,
    };
    let bytes = bytes::Bytes::copy_from_slice(stored);
    let (prefix, length) = frame::parse_prefix(&bytes).ok()??;
    (bytes.len() == prefix + length).then_some(())?;
    let Ok(Event::Entry(entry)) = Event::decode(&bytes.slice(prefix..)) else { return None };
    let (sender, id) = (entry.sender.to_string(), entry.client_msg_id.to_string());
    let is_message = entry.what == EntryKind::Message;
    Some(Entry { seq: entry.seq.0, sender, id, is_message, text: String::new(), bytes: hex(stored) })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a profile keeps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// Chat and place of every message, with its text.
    pub(crate) messages: BTreeMap<(Id, u64), String>,
    /// The text of everything that was ever said on it and not cancelled, by its id.
    pub(crate) said: BTreeMap<Id, String>,
}

impl Kept {
    pub(crate) fn read(profile: &Path, account: &Id) -> Kept {
        let db = super::support::hygiene::database(profile);
        let mut kept = Kept::default();
        let text = |content: Vec<u8>| match Content::decode(&content) {
            Ok(Content::Text(text)) => text.text,
            other => panic!("a profile keeps {other:?}"),
        };
        let mut statement = db
            .prepare("SELECT chat, seq, sender, client_msg_id, content FROM messages")
            .expect("the table is there");
        let row = |row: &rusqlite::Row<'_>| {
            let [chat, sender, id, content]: [Vec<u8>; 4] =
                [row.get(0)?, row.get(2)?, row.get(3)?, row.get(4)?];
            Ok((hex(&chat), row.get::<_, i64>(1)? as u64, hex(&sender), hex(&id), text(content)))
        };
        for row in statement.query_map([], row).expect("read") {
            let (chat, seq, sender, id, text) = row.expect("a row");
            if sender == *account {
                kept.said.insert(id, text.clone());
            }
            kept.messages.insert((chat, seq), text);
        }
        let mut statement =
            db.prepare("SELECT client_msg_id, content FROM outbox").expect("the table is there");
        let row = |row: &rusqlite::Row<'_>| Ok((hex(&row.get::<_, Vec<u8>>(0)?), text(row.get(1)?)));
        kept.said.extend(statement.query_map([], row).expect("read").map(|row| row.expect("a row")));
        kept
    }
}

impl Disk {
    /// Gives each message the text that its sender's own device has under its id: a message is on that disk before it leaves.
    /// One that is not stays without.
    pub(crate) fn translate(&mut self, kept: &BTreeMap<Id, Kept>) {
        let entries = self.logs.values_mut().flat_map(|log| log.entries.values_mut());
        for entry in entries.filter(|entry| entry.is_message) {
            let said = kept.get(&entry.sender).and_then(|kept| kept.said.get(&entry.id));
            entry.text = said.cloned().unwrap_or_default();
        }
    }
}
