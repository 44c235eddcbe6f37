//! What opens a profile: the key beside it, or a passphrase, from a file or typed.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use client_db::{DbError, Passphrase, Protection, Unlock};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::profile::Profile;

/// The longest passphrase that is read, in bytes.
const PASSPHRASE_BYTES_MAX: usize = 1024;

/// Which profile, and what opens it.
#[derive(Debug, Clone, Args)]
pub struct ProfileArgs {
    /// The folder of this device: its key, tokens, outbox and messages, encrypted.
    #[arg(long, value_name = "DIR", env = "GODWIT_PROFILE", default_value = "godwit-profile")]
    pub profile: PathBuf,
    /// Take the profile's passphrase from the first line of this file. Without it, a profile that has one asks on the
    /// terminal.
    #[arg(long, value_name = "FILE", env = "GODWIT_PASSPHRASE_FILE")]
    pub passphrase_file: Option<PathBuf>,
}

impl ProfileArgs {
    /// Opens the profile, which exists.
    ///
    /// # Errors
    /// As [`Profile::open`]; [`CliError::Usage`] if there is no passphrase to be had.
    pub fn open(&self) -> Result<Profile, CliError> {
        let protection = Protection::of(&self.profile)?;
        let unlock = match &self.passphrase_file {
            Some(file) => Unlock::Passphrase(first_line(file)?),
            None if protection == Protection::Passphrase => Unlock::Passphrase(asked("Passphrase: ")?),
            None => Unlock::KeyFile,
        };
        Profile::open(&self.profile, &unlock)
    }

    /// Opens the profile, or makes it: protected by a passphrase if there is a file with one, or if it is `wanted`, which is
    /// then asked for twice.
    ///
    /// # Errors
    /// As [`Profile::create`]; [`CliError::Usage`] if there is no passphrase to be had.
    pub fn create(&self, wanted: bool) -> Result<Profile, CliError> {
        let protection = Protection::of(&self.profile)?;
        let unlock = match (&self.passphrase_file, protection) {
            (Some(file), _) => Unlock::Passphrase(first_line(file)?),
            (None, Protection::Passphrase) => Unlock::Passphrase(asked("Passphrase: ")?),
            (None, Protection::Missing) if wanted => Unlock::Passphrase(asked_twice()?),
            (None, Protection::KeyFile) if wanted => {
                return Err(DbError::NoPassphrase { dir: self.profile.clone() }.into());
            }
            (None, _) => Unlock::KeyFile,
        };
        Profile::create(&self.profile, &unlock)
    }
}

/// A file's first line, without its end.
fn first_line(path: &Path) -> Result<Passphrase, CliError> {
    let wrong = |source| CliError::Profile { path: path.to_owned(), source };
    // Allocated once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX + 2));
    let file = File::open(path).map_err(wrong)?;
    file.take(PASSPHRASE_BYTES_MAX as u64 + 2).read_to_end(&mut bytes).map_err(wrong)?;
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    passphrase(line.strip_suffix(b"\r").unwrap_or(line))
}

fn passphrase(bytes: &[u8]) -> Result<Passphrase, CliError> {
    if bytes.len() > PASSPHRASE_BYTES_MAX {
        return Err(CliError::Usage("a passphrase is at most 1,024 bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| CliError::Usage("a passphrase is text, in UTF-8"))?;
    Ok(Passphrase::new(text.to_owned())?)
}

fn asked_twice() -> Result<Passphrase, CliError> {
    let first = asked("A passphrase for this profile: ")?;
    if first.is(&asked("The same again: ")?) {
        Ok(first)
    } else {
        Err(CliError::Usage("the two passphrases are not the same; nothing was made"))
    }
}

/// A line that is typed on the terminal, and not shown. Standard input is left alone: it may be messages.
fn asked(prompt: &str) -> Result<Passphrase, CliError> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let Ok(terminal) = terminal else {
        return Err(CliError::Usage(
            "this profile has a passphrase and there is no terminal to ask for it on: use --passphrase-file",
        ));
    };
    // Hidden before it is asked for: what is typed at once is not shown, either.
    let hidden = Hidden::begin(&terminal)?;
    let line =
        (&terminal).write_all(prompt.as_bytes()).map_err(CliError::from).and_then(|()| typed(&terminal));
    drop(hidden);
    (&terminal).write_all(b"\n")?;
    passphrase(&line?)
}

/// While it lives, what is typed is not shown, and Ctrl-C is a byte like others: the terminal is always given back.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl Hidden<'_> {
    fn begin(terminal: &File) -> Result<Hidden<'_>, CliError> {
        let before = tcgetattr(terminal).map_err(std::io::Error::from)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &quiet).map_err(std::io::Error::from)?;
        Ok(Hidden { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // Nothing better is left to do.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// The bytes of a line; Backspace and Ctrl-U do what they do everywhere.
#[expect(clippy::unbuffered_bytes, reason = "what is typed after the line belongs to whoever reads next")]
fn typed(terminal: impl Read) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut line = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX + 1));
    for byte in terminal.bytes() {
        match byte? {
            b'\n' | b'\r' => return Ok(line),
            0x03 | 0x04 => break,
            0x08 | 0x7f => drop_last(&mut line),
            0x15 => line.clear(),
            // Longer than it may be, which is then said.
            byte if line.len() <= PASSPHRASE_BYTES_MAX => line.push(byte),
            _ => {}
        }
    }
    Err(CliError::Usage("no passphrase was given"))
}

/// Takes the last character away, all of its bytes.
fn drop_last(line: &mut Vec<u8>) {
    while let Some(byte) = line.pop()
        && byte & 0xc0 == 0x80
    {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_a_line_with_its_mistakes_taken_back() {
        let line = |bytes: &[u8]| typed(bytes).ok().map(|line| line.to_vec());
        assert_eq!(line(b"sesame\nmore"), Some(b"sesame".to_vec()));
        assert_eq!(line(b"sesamo\x7fe\r"), Some(b"sesame".to_vec()));
        assert_eq!(line("sé\u{7f}esame\n".as_bytes()), Some(b"sesame".to_vec()), "a character is its bytes");
        assert_eq!(line(b"\x7f\x7fwrong\x15sesame\n"), Some(b"sesame".to_vec()));
        assert_eq!(line(b"sesame\x03"), None, "given up");
        assert_eq!(line(b"sesame"), None, "the terminal is gone");
        let long = line(&[&[b'x'; 2000][..], b"\n"].concat()).expect("a line");
        assert!(matches!(passphrase(&long), Err(CliError::Usage(_))), "not cut to something else");
    }

    #[test]
    fn a_file_s_first_line_is_the_passphrase() {
        let dir = tempfile::tempdir().expect("a folder");
        let read = |text: &[u8]| {
            let path = dir.path().join("passphrase");
            std::fs::write(&path, text).expect("written");
            first_line(&path)
        };
        let is = |text: &[u8], expected: &str| {
            read(text).is_ok_and(|read| read.is(&Passphrase::new(expected.to_owned()).expect("a passphrase")))
        };
        assert!(is(b"open sesame\nnot this", "open sesame") && is(b"open sesame\r\n", "open sesame"));
        assert!(is(b" spaces stay ", " spaces stay "));
        assert!(matches!(read(b"\nx"), Err(CliError::Database(DbError::PassphraseEmpty))));
        assert!(matches!(read(b"\xff\n"), Err(CliError::Usage(_))));
        assert!(matches!(read(&[b'x'; 3000]), Err(CliError::Usage(_))));
        assert!(is(&[&[b'x'; 1024][..], b"\r\n"].concat(), &"x".repeat(1024)));
        assert!(matches!(first_line(&dir.path().join("none")), Err(CliError::Profile { .. })));
    }
}
