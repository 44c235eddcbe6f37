//! Reads logs for what must be in none of them: numbers, names, texts, codes, tokens, keys, addresses (R162).
//!
//! Two test suites use this file: that of the binary, and that of `edge/node`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

static FOLDER: OnceLock<(PathBuf, File)> = OnceLock::new();

/// Where this process keeps the logs of its tests: the same place in each run, unless another process has it.
pub fn folder(tmp: &str, name: &str) -> PathBuf {
    let take = |n: usize| {
        let folder = Path::new(tmp).join("logs-of-tests").join(format!("{name}-{n}"));
        std::fs::create_dir_all(&folder).expect("a folder for logs");
        let lock = File::create(folder.join("lock")).expect("a lock file");
        lock.try_lock().is_ok().then_some((folder, lock))
    };
    FOLDER.get_or_init(|| (0..).find_map(take).expect("there is always a next one")).0.clone()
}

/// All phone numbers of the suites begin with this (without the plus).
const PHONES: &str = "49151000";

/// What access tokens begin with: the start of a JSON object in base64.
const TOKENS: &str = "eyJ";

/// Shorter texts are found by accident.
const TEXT_BYTES_MIN: usize = 5;

/// How much of a text is looked for: tests send large ones, too.
const TEXT_CHARS_MAX: usize = 48;

/// What is looked for, and what each is called in a failure.
#[derive(Debug)]
pub struct Secrets(BTreeMap<String, &'static str>);

/// A line that says too much.
#[derive(Debug, PartialEq)]
pub struct Leak {
    pub what: &'static str,
    pub line: String,
}

impl Default for Secrets {
    fn default() -> Secrets {
        // Everything here is on loopback, so an address of anybody begins with one of these.
        let always = [(PHONES, "a phone number"), (TOKENS, "a token")];
        let addresses = ["127.0.0.1:", "[::1]", "::ffff:127.0.0.1"].map(|start| (start, "an address"));
        Secrets(always.into_iter().chain(addresses).map(|(text, what)| (text.to_owned(), what)).collect())
    }
}

impl Secrets {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A name, a token: something that is looked for as it is.
    pub fn word(&mut self, what: &'static str, word: &str) {
        assert!(word.len() > 2, "{what} {word:?} would be found by accident");
        self.0.insert(word.to_owned(), what);
    }

    /// What somebody wrote, by how it begins, as it is and as `{:?}` shows it. Very short texts are left out.
    pub fn text(&mut self, text: &str) {
        let text = text.char_indices().nth(TEXT_CHARS_MAX).map_or(text, |(end, _)| &text[..end]);
        if text.len() >= TEXT_BYTES_MIN && !self.0.contains_key(text) {
            for form in [text.to_owned(), text.escape_debug().to_string(), debug_of_bytes(text.as_bytes())] {
                self.form("a text", form);
            }
        }
    }

    /// One form of something, as a log has it that is text, and as one has it that is JSON.
    fn form(&mut self, what: &'static str, form: String) {
        let json = serde_json::Value::from(form.as_str()).to_string();
        self.0.insert(json[1..json.len() - 1].to_owned(), what);
        self.0.insert(form, what);
    }

    /// The one-time codes in the file of a node's text messages.
    pub fn codes(&mut self, sms: &str) {
        for rest in sms.split("code is: ").skip(1) {
            let code: String = rest.chars().take_while(char::is_ascii_digit).collect();
            assert!(code.len() >= 6, "a code");
            self.0.insert(code, CODE);
        }
    }

    /// Bytes, in each form in which they might be written.
    pub fn bytes(&mut self, what: &'static str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
        let forms = [
            hex.to_uppercase(),
            hex,
            list.join(", "),
            list.join(","),
            debug_of_bytes(bytes),
            bytes.escape_ascii().to_string(),
            STANDARD_NO_PAD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
        ];
        forms.into_iter().for_each(|form| self.form(what, form));
    }

    /// Looks through text, line by line. What is `allowed` is taken out first: a node's own address and place.
    pub fn find(&self, text: &str, allowed: &[String]) -> Vec<Leak> {
        let words: Vec<(&String, &&str)> = self.0.iter().collect();
        let search = AhoCorasick::new(words.iter().map(|(word, _)| word)).expect("few and short");
        let mut leaks = Vec::new();
        for line in text.lines() {
            let rest = without_time(line);
            let looked_at = allowed.iter().fold(rest.to_owned(), |line, this| line.replace(this, "…"));
            let found = search.find_overlapping_iter(&looked_at).find(|found| {
                let what = *words[found.pattern().as_usize()].1;
                what != CODE || is_alone(&looked_at, found.start(), found.end())
            });
            if let Some(found) = found {
                let what = *words[found.pattern().as_usize()].1;
                leaks.push(Leak { what, line: line.to_owned() });
            }
        }
        leaks
    }
}

/// What `{:?}` of `Bytes` shows, without its quotes.
fn debug_of_bytes(bytes: &[u8]) -> String {
    let shown = format!("{:?}", bytes::Bytes::copy_from_slice(bytes));
    shown[2..shown.len() - 1].to_owned()
}

const CODE: &str = "a one-time code";

/// A log line without its time, whose digits are anybody's.
fn without_time(line: &str) -> &str {
    let rest = line.strip_prefix("{\"timestamp\":\"");
    rest.and_then(|rest| rest.split_once('"')).map_or(line, |(_, rest)| rest)
}

/// Six digits that are part of a longer number, or of a fraction, are no code.
fn is_alone(line: &str, start: usize, end: usize) -> bool {
    let is_number = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let bytes = line.as_bytes();
    let before = start.checked_sub(1).is_some_and(|at| is_number(bytes[at]));
    let after = bytes.get(end).is_some_and(|byte| is_number(*byte));
    !before && !after
}
