//! Text messages of a node under load: one-time codes, by number.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A node's file of text messages, read as it grows.
#[derive(Debug)]
pub(crate) struct Texts {
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// What was read of a line that is not whole yet.
    part: String,
    codes: HashMap<String, String>,
}

impl Texts {
    /// The file need not exist yet.
    pub(crate) fn new(path: &Path) -> Texts {
        Texts { path: path.to_owned(), file: None, part: String::new(), codes: HashMap::new() }
    }

    /// Takes the latest code that a number was sent.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn take(&mut self, number: &str) -> io::Result<Option<String>> {
        self.read()?;
        Ok(self.codes.remove(number))
    }

    fn read(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = match File::open(&self.path) {
                Ok(file) => Some(BufReader::new(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        while file.read_line(&mut self.part)? > 0 {
            if !self.part.ends_with('\n') {
                break;
            }
            let line = std::mem::take(&mut self.part);
            if let Ok(text) = serde_json::from_str::<Value>(&line)
                && let (Some(to), Some(said)) = (text["to"].as_str(), text["text"].as_str())
                && let Some(code) = said.split(|c: char| !c.is_ascii_digit()).find(|word| word.len() == 6)
            {
                self.codes.insert(to.to_owned(), code.to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn p1_codes_are_found_by_number_in_a_file_that_grows_and_each_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sms.jsonl");
        let mut texts = Texts::new(&path);
        assert_eq!(texts.take("+491").unwrap(), None);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"{\"to\":\"+491\",\"text\":\"Your code is 123456.\",\"at\":1}\n{\"to\":\"+492\",")
            .unwrap();
        assert_eq!(texts.take("+491").unwrap().as_deref(), Some("123456"));
        assert_eq!(texts.take("+491").unwrap(), None);
        assert_eq!(texts.take("+492").unwrap(), None);
        file.write_all(b"\"text\":\"654321 is it\"}\n").unwrap();
        assert_eq!(texts.take("+492").unwrap().as_deref(), Some("654321"));
    }
}
