//! Which scenarios there are, and which cases of them a run plays.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;

use crate::row::{Report, Row};

/// Every scenario by name, with a line about it, in the order in which they are played.
pub(crate) const SCENARIOS: &[(&str, &str)] = &[
    ("grid", "people talk through loss of 0, 2 and 10 % at round trips of 20, 80 and 300 ms"),
    ("address", "the phones' address changes in mid-burst, across loops: no reconnect, no gap"),
    ("nat", "a NAT forgets its mappings in mid-burst and tells nobody: no reconnect, no gap"),
    (
        "blocked",
        "UDP is blocked, while people go on typing: everything arrives afterwards, once and in order",
    ),
    ("stalled", "one chat's reader stalls: the others' p99 stays within 1.5 times"),
    ("hostile", "noise, damaged datagrams and frames, floods, dripped handshakes: the honest notice nothing"),
];

/// What a run was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// The node's binary.
    pub(crate) godwit: PathBuf,
    /// Everything that is drawn follows from it.
    pub(crate) seed: u64,
    /// Few cases and short ones.
    pub(crate) short: bool,
}

impl Choice {
    /// One of two, by how much is to be done.
    pub(crate) fn pick<T>(&self, short: T, full: T) -> T {
        if self.short { short } else { full }
    }
}

type Play = Box<dyn Fn(&Choice) -> Result<Report>>;

/// One row of the table to be.
pub(crate) struct Case {
    /// The scenario it belongs to, of [`SCENARIOS`].
    pub(crate) scenario: &'static str,
    /// What sets it apart from its scenario's other cases.
    pub(crate) setting: String,
    play: Play,
}

impl Case {
    /// A case; `play` fails if a promise was broken, whatever the network did.
    pub(crate) fn new(
        scenario: &'static str,
        setting: impl Into<String>,
        play: impl Fn(&Choice) -> Result<Report> + 'static,
    ) -> Case {
        Case { scenario, setting: setting.into(), play: Box::new(play) }
    }

    /// Plays it.
    pub(crate) fn play(&self, choice: &Choice) -> Row {
        let began = Instant::now();
        let report = (self.play)(choice);
        Row::new(self.scenario, &self.setting, report, began.elapsed())
    }
}

/// All cases of a run.
#[cfg(target_os = "linux")]
pub(crate) fn all(choice: &Choice) -> Vec<Case> {
    use crate::{address, blocked, grid, hostile, nat, stalled};
    let parts = [grid::cases, address::cases, nat::cases, blocked::cases, stalled::cases, hostile::cases];
    parts.iter().flat_map(|cases| cases(choice)).collect()
}

/// None, where there are no networks.
#[cfg(not(target_os = "linux"))]
pub(crate) fn all(_: &Choice) -> Vec<Case> {
    Vec::new()
}
