//! Reads what is stored with `fdbcli` alone, for witnesses that must share nothing with the code under test.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::cli;
use crate::error::ClusterError;
use crate::programs::Programs;

/// More keys than any test stores; all of them are read in one transaction, and so as of one moment.
const KEYS_MAX: usize = 1_000_000;

const PATIENCE: Duration = Duration::from_secs(30);

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// All keys that begin with `prefix`, in order, without it, with their values.
///
/// # Errors
/// [`ClusterError`]; a range of more than [`KEYS_MAX`] keys is one, and so is a line that cannot be read.
pub(crate) fn read(cluster_file: &Path, prefix: &[u8]) -> Result<Vec<Pair>, ClusterError> {
    let programs = Programs::find()?;
    let command = format!("getrange {} {}\\xff {}", escaped(prefix), escaped(prefix), KEYS_MAX);
    let said = cli::run(&programs, cluster_file, &command, PATIENCE)?;
    let unreadable = |line: &str| ClusterError::Cli { command: command.clone(), said: line.to_owned() };
    let mut pairs = Vec::new();
    for line in said.lines().filter(|line| line.starts_with('`')) {
        let (key, value) = pair(line).ok_or_else(|| unreadable(line))?;
        let key = key.strip_prefix(prefix).ok_or_else(|| unreadable(line))?;
        pairs.push((key.to_vec(), value));
    }
    if pairs.len() < KEYS_MAX { Ok(pairs) } else { Err(unreadable("there are too many keys")) }
}

/// As `fdbcli` reads bytes.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "\\x{byte:02x}");
        text
    })
}

/// `` `KEY' is `VALUE' ``, both as `fdbcli` writes bytes.
fn pair(line: &str) -> Option<Pair> {
    let (key, value) = line.strip_prefix('`')?.strip_suffix('\'')?.split_once("' is `")?;
    Some((unescaped(key)?, unescaped(value)?))
}

/// Printable characters stand for themselves; a backslash is two, any other byte is `\xNN`.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        match rest {
            [b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [b'x', high, low, after @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                rest = after;
            }
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_and_read_as_fdbcli_does() {
        assert_eq!(escaped(b"\x02a;\x00"), r"\x02\x61\x3b\x00");
        let line = r"`\x02a\\b\x00' is `it's \xff'";
        assert_eq!(pair(line), Some((b"\x02a\\b\x00".to_vec(), b"it's \xff".to_vec())));
        for wrong in ["`a' is `b", r"`a\q' is `b'", r"`a\x0' is `b'", "`a'"] {
            assert_eq!(pair(wrong), None, "{wrong}");
        }
    }
}
