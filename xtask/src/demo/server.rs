//! What the server has of the conversation: read from its disk while it is dead, by the engine and the wire's forms alone.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use wire::event::{EntryKind, Event};
use wire::frame;

#[path = "../../../tests/support/planted.rs"]
#[expect(unreachable_pub, dead_code, reason = "tests use all of it")]
mod planted;
#[path = "../../../tests/support/stored.rs"]
#[expect(unreachable_pub, reason = "it is written for tests")]
mod stored;

use planted::Planted;

/// The version that an entry's value begins with, and what it begins with if further parts lie elsewhere.
const WHOLE: u8 = 1;
const IN_PARTS: u8 = 2;

/// Of a ciphertext so many bytes are shown.
const EXCERPT_BYTES: usize = 12;

/// One entry as the server has it.
#[derive(Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) kind: &'static str,
    /// The epoch of the group that it was sealed for.
    pub(crate) epoch: u64,
    /// Of the ciphertext.
    pub(crate) bytes: usize,
    /// Its last bytes, in hexadecimal.
    pub(crate) excerpt: String,
}

/// Every entry of a chat, in order, by the data directory of a node that is dead.
///
/// # Errors
/// If the store cannot be read, or holds something else than entries.
pub(crate) fn entries(data: &Path, chat: &str) -> Result<Vec<Stored>> {
    let prefix = [&b"lc"[..], &unhex(chat).context("a chat's id")?, b"e"].concat();
    let pairs = stored::pairs(data).map_err(|error| anyhow!("the node's store cannot be read: {error}"))?;
    let mut entries = pairs
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix))
        .map(|(_, value)| entry(value).context("the store has an entry that is none"))
        .collect::<Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| entry.seq);
    Ok(entries)
}

/// Where any piece of what was said is in the server's files, logs among them, or under its keys.
///
/// # Errors
/// If something of it cannot be read.
pub(crate) fn places(folder: &Path, data: &Path, said: &[(bool, String)]) -> Result<Search> {
    let planted = Planted::every_piece(said.iter().map(|(_, text)| text.as_str()));
    let mut places = Vec::new();
    let files = stored::files(folder).context("the node's folder cannot be read")?;
    for file in &files {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        places.extend(planted.find(&bytes).map(|found| format!("{}: {:?}", file.display(), found.text)));
    }
    let pairs = stored::pairs(data).map_err(|error| anyhow!("the node's store cannot be read: {error}"))?;
    for (key, value) in &pairs {
        let found = planted.find(key).or_else(|| planted.find(value));
        places.extend(found.map(|found| format!("{}: {:?}", key.escape_ascii(), found.text)));
    }
    Ok(Search { patterns: planted.len(), files: files.len(), keys: pairs.len(), places })
}

/// What was looked for, and where it was found.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) patterns: usize,
    pub(crate) files: usize,
    pub(crate) keys: usize,
    pub(crate) places: Vec<String>,
}

fn entry(value: &[u8]) -> Option<Stored> {
    let frame = match value.split_first()? {
        (&WHOLE, frame) => frame,
        (&IN_PARTS, rest) => rest.get(4..)?,
        _ => return None,
    };
    let bytes = Bytes::copy_from_slice(frame);
    let (prefix, _) = frame::parse_prefix(&bytes).ok()??;
    let Ok(Event::Entry(entry)) = Event::decode(&bytes.slice(prefix..)) else { return None };
    let kind = match entry.what {
        EntryKind::Message => "message",
        EntryKind::Commit { .. } => "commit",
        EntryKind::Control(_) | EntryKind::Unknown => "control",
    };
    let tail = &entry.content[entry.content.len().saturating_sub(EXCERPT_BYTES)..];
    let excerpt = tail.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Stored { seq: entry.seq.0, kind, epoch: entry.epoch.0, bytes: entry.content.len(), excerpt })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(std::str::from_utf8);
    digits.map(|pair| u8::from_str_radix(pair.ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_file_of_the_server_is_found() {
        planted::assert_finds_what_is_planted();
        let folder = tempfile::tempdir().expect("a folder");
        let said = [(true, "My train is late again.".to_owned())];
        std::fs::write(folder.path().join("node.log"), "nothing of it").expect("written");
        let search = places(folder.path(), &folder.path().join("data"), &said).expect("read");
        assert_eq!((search.files, search.places.len()), (1, 0));
        std::fs::write(folder.path().join("node.log"), "he says: train is late ag").expect("written");
        let search = places(folder.path(), &folder.path().join("data"), &said).expect("read");
        assert_eq!(search.places.len(), 1);
    }

    #[test]
    fn an_id_is_sixteen_bytes_and_what_is_no_entry_is_none() {
        assert_eq!(unhex("00ff10"), Some(vec![0, 255, 16]));
        assert_eq!((unhex("0g"), entry(b""), entry(&[WHOLE, 1, 2])), (None, None, None));
    }
}
