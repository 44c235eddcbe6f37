//! What happened, in words: the end of it is shown when a run fails, all of it is hashed to compare runs.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::time::Duration;

/// Lines that are kept.
const KEPT: usize = 200;

/// The lines so far.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// Keep every line.
    pub(crate) whole: bool,
    kept: VecDeque<String>,
    digest: u64,
    lines: u64,
}

impl Timeline {
    /// Adds a line.
    pub(crate) fn say(&mut self, at: Duration, what: fmt::Arguments<'_>) {
        let mut line = String::with_capacity(80);
        // Writing to a String does not fail.
        let _ = write!(line, "{:>9.3} s  {what}", at.as_secs_f64());
        self.mix(line.as_bytes());
        self.lines += 1;
        if self.kept.len() == KEPT && !self.whole {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }

    /// Adds to the digest what is not worth a line.
    pub(crate) fn mix(&mut self, bytes: &[u8]) {
        let mix = |hash: u64, &byte: &u8| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(7)
        };
        self.digest = bytes.iter().fold(self.digest, mix);
    }

    /// A checksum of every line.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// The last lines, oldest first.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.kept.iter().cloned().collect()
    }
}
