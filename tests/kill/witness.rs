//! The independent checker: what processes said, against what lies on the disk. It is a function of both and of what lay there
//! before, and asks nobody.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::{Disk, Entry, Id, Kept, Log, hex};
use super::journal::{End, Fact, Process};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Violation {
    /// I1: what was acknowledged is not where it was acknowledged.
    LostAck { chat: Id, seq: u64, id: Id },
    /// I1: it is there with another text.
    WrongBytes { chat: Id, seq: u64, told: Option<String>, stored: String },
    /// A process that ended in order left something unanswered.
    Unanswered { told: usize, acked: usize },
    /// I2: places are not 1, 2, 3, …; or an entry, or the head, names another place.
    NotDense { chat: Id, expected: u64, found: Option<u64> },
    /// I3: one message id has two places.
    DoubledId { chat: Id, id: Id },
    /// I3: the idempotency records are not those of the entries.
    WrongIds { chat: Id },
    /// What was in the log before is not there any more, or not as it was.
    Changed { chat: Id, seq: u64 },
    /// It is in the log, and its sender did not say it; or said it once and it is there twice; or said it earlier than what
    /// stands before it.
    NotSaid { chat: Id, seq: u64, text: String },
    /// I4: a cursor went back, by the disk, by its receipts, or by what was printed.
    CursorBack { chat: Id, whose: Id },
    /// I4: a cursor is past the log's head, or a device's past its member's over what somebody else said.
    PastHead { chat: Id, whose: Id },
    /// I4: READ is past DELIVERED.
    ReadAhead { chat: Id, whose: Id },
    /// I4: DELIVERED is past what the device keeps.
    NotKept { chat: Id, seq: u64, whose: Id },
    /// What a device has opened is not what was said.
    NotAsSaid { chat: Id, seq: u64, whose: Id },
    /// A message lies in the log as it was typed.
    InTheClear { chat: Id, seq: u64 },
    /// I4: READ is past what was shown.
    NotShown { chat: Id, seq: u64, whose: Id },
    /// A tick was shown that the disk does not know.
    LostTick { chat: Id, seq: u64 },
    /// What was printed is not the log, from its beginning, in order, each entry once.
    NotThePrefix { chat: Id, whose: Id, seq: u64, expected: Option<u64> },
    /// At the end of everything: it never arrived.
    NeverArrived { chat: Id, whose: Id, seq: u64 },
}

/// Everything there is to know at one moment.
pub(crate) struct Evidence<'a> {
    /// In the order in which they were started.
    pub(crate) processes: &'a [Process],
    pub(crate) before: &'a Disk,
    pub(crate) disk: &'a Disk,
    /// What each account's device keeps.
    pub(crate) kept: &'a BTreeMap<Id, Kept>,
}

/// Everything that is wrong.
pub(crate) fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (chat, log) in &evidence.disk.logs {
        places(chat, log, &mut found);
        cursors(chat, log, &mut found);
        said(chat, log, evidence.processes, &mut found);
        arrived(chat, log, evidence, &mut found);
    }
    since(evidence.before, evidence.disk, &mut found);
    evidence.processes.iter().for_each(|process| told(process, evidence.disk, &mut found));
    found
}

/// At the end, with nobody killed since: everybody who listens has everything.
pub(crate) fn complete(evidence: &Evidence<'_>, listeners: &[Id]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (chat, log) in &evidence.disk.logs {
        for whose in listeners.iter().filter(|whose| log.members.contains(*whose)) {
            let shown = shown(chat, whose, evidence.processes);
            let missing = foreign(log, whose).filter(|(seq, _)| !shown.contains(seq));
            let (chat, whose) = (chat.clone(), whose.clone());
            found.extend(missing.map(|(seq, _)| Violation::NeverArrived {
                chat: chat.clone(),
                whose: whose.clone(),
                seq,
            }));
        }
    }
    found
}

/// Entries that say something.
fn messages(log: &Log) -> impl Iterator<Item = (&u64, &Entry)> {
    log.entries.iter().filter(|(_, entry)| entry.is_message)
}

fn foreign<'a>(log: &'a Log, whose: &Id) -> impl Iterator<Item = (u64, &'a Entry)> {
    messages(log).filter(move |(_, entry)| entry.sender != *whose).map(|(seq, entry)| (*seq, entry))
}

/// The log by itself.
fn places(chat: &Id, log: &Log, found: &mut Vec<Violation>) {
    for (expected, (&seq, entry)) in (1..).zip(&log.entries) {
        if let Some(&wrong) = [seq, entry.seq].iter().find(|seq| **seq != expected) {
            found.push(Violation::NotDense { chat: chat.clone(), expected, found: Some(wrong) });
            break;
        }
    }
    let last = log.entries.last_key_value().map_or(0, |(seq, _)| *seq);
    if log.head.unwrap_or(0) != last {
        found.push(Violation::NotDense { chat: chat.clone(), expected: last, found: log.head });
    }
    let mut ids = BTreeMap::new();
    for (seq, entry) in &log.entries {
        if ids.insert((entry.sender.clone(), entry.id.clone()), *seq).is_some() {
            found.push(Violation::DoubledId { chat: chat.clone(), id: entry.id.clone() });
        }
    }
    if ids != log.ids {
        found.push(Violation::WrongIds { chat: chat.clone() });
    }
}

fn cursors(chat: &Id, log: &Log, found: &mut Vec<Violation>) {
    let head = log.head.unwrap_or(0);
    for (whose, cursors) in &log.cursors {
        let (chat, whose) = (chat.clone(), whose.clone());
        if cursors.read > cursors.delivered {
            found.push(Violation::ReadAhead { chat: chat.clone(), whose: whose.clone() });
        }
        if cursors.delivered > head {
            found.push(Violation::PastHead { chat: chat.clone(), whose: whose.clone() });
        }
        // The receipts tell the same story, and only ever forward.
        for (kind, cursor) in [(b'd', cursors.delivered), (b'r', cursors.read)] {
            let receipts = log.receipts.get(&(whose.clone(), kind)).map_or(&[][..], Vec::as_slice);
            if !receipts.is_sorted_by(|a, b| a < b) || receipts.last().copied().unwrap_or(0) != cursor {
                found.push(Violation::CursorBack { chat: chat.clone(), whose: whose.clone() });
            }
        }
    }
    for ((whose, _), &delivered) in &log.devices {
        // A device's own messages move its cursor alone.
        let member = log.cursors.get(whose).map_or(0, |cursors| cursors.delivered);
        let mut past = foreign(log, whose).filter(|(seq, _)| (member + 1..=delivered).contains(seq));
        if delivered > head || past.next().is_some() {
            found.push(Violation::PastHead { chat: chat.clone(), whose: whose.clone() });
        }
    }
}

/// Nothing is in the log that nobody said, and each sender's texts are in the order they were said in, each once.
fn said(chat: &Id, log: &Log, processes: &[Process], found: &mut Vec<Violation>) {
    for sender in &log.members {
        let told = processes.iter().filter(|process| process.who == *sender).flat_map(|p| &p.told);
        let order: BTreeMap<&str, usize> = told.enumerate().map(|(n, text)| (text.as_str(), n)).collect();
        let mut next = 0;
        for (&seq, entry) in messages(log).filter(|(_, entry)| entry.sender == *sender) {
            match order.get(entry.text.as_str()) {
                Some(&n) if n >= next => next = n + 1,
                _ => found.push(Violation::NotSaid { chat: chat.clone(), seq, text: entry.text.clone() }),
            }
        }
    }
    for (&seq, entry) in messages(log) {
        if !entry.text.is_empty() && entry.bytes.contains(&hex(entry.text.as_bytes())) {
            found.push(Violation::InTheClear { chat: chat.clone(), seq });
        }
    }
    for (&seq, entry) in log.entries.iter().filter(|(_, entry)| !log.members.contains(&entry.sender)) {
        found.push(Violation::NotSaid { chat: chat.clone(), seq, text: entry.text.clone() });
    }
}

/// What the log's entries became on the other side.
fn arrived(chat: &Id, log: &Log, evidence: &Evidence<'_>, found: &mut Vec<Violation>) {
    for whose in &log.members {
        let shown = printed(chat, log, whose, evidence.processes, found);
        let cursors = log.cursors.get(whose).copied().unwrap_or_default();
        let Some(kept) = evidence.kept.get(whose) else { continue };
        for (seq, entry) in foreign(log, whose) {
            let here = kept.messages.get(&(chat.clone(), seq));
            if seq <= cursors.delivered && here.is_none() {
                found.push(Violation::NotKept { chat: chat.clone(), seq, whose: whose.clone() });
            }
            // What was sealed there is what was opened here.
            if here.is_some_and(|text| *text != entry.text) {
                found.push(Violation::NotAsSaid { chat: chat.clone(), seq, whose: whose.clone() });
            }
            if seq <= cursors.read && !shown.contains(&seq) {
                found.push(Violation::NotShown { chat: chat.clone(), seq, whose: whose.clone() });
            }
        }
    }
}

/// Every place of a chat that was shown to somebody.
fn shown(chat: &Id, whose: &Id, processes: &[Process]) -> BTreeSet<u64> {
    let of_chat = |fact: &Fact| match fact {
        Fact::Got { chat: of, seq, .. } if of == chat => Some(*seq),
        _ => None,
    };
    processes
        .iter()
        .filter(|process| process.who == *whose)
        .flat_map(|p| &p.facts)
        .filter_map(of_chat)
        .collect()
}

/// What was printed is the log's beginning, without what its reader wrote. A process that is killed after it has printed a
/// message and before it has noted that prints it again when it next runs: the last line before a kill, once.
fn printed(
    chat: &Id,
    log: &Log,
    whose: &Id,
    processes: &[Process],
    found: &mut Vec<Violation>,
) -> BTreeSet<u64> {
    let mut expected = foreign(log, whose);
    let (mut seen, mut again) = (BTreeSet::new(), None::<u64>);
    for process in processes.iter().filter(|process| process.who == *whose) {
        let mut last = None;
        for fact in &process.facts {
            let Fact::Got { chat: of, seq, from, id, text } = fact else { continue };
            if from == whose {
                // Its own: shown where the log brought it before its acknowledgement came.
                continue;
            }
            last = Some((of, *seq));
            if of != chat || again.take() == Some(*seq) {
                continue;
            }
            let next = expected.next();
            let is_next = next.is_some_and(|(at, entry)| {
                at == *seq && entry.sender == *from && entry.id == *id && entry.text == *text
            });
            if !is_next {
                let (chat, whose, expected) = (chat.clone(), whose.clone(), next.map(|(seq, _)| seq));
                found.push(Violation::NotThePrefix { chat, whose, seq: *seq, expected });
                return seen;
            }
            seen.insert(*seq);
        }
        if let Some((_, seq)) = last.filter(|(of, _)| *of == chat) {
            again = (process.end == End::Killed).then_some(seq);
        }
    }
    seen
}

/// Nothing goes back, and nothing that was there changes.
fn since(before: &Disk, now: &Disk, found: &mut Vec<Violation>) {
    let none = Log::default();
    for (chat, old) in &before.logs {
        let new = now.logs.get(chat).unwrap_or(&none);
        let changed = old.entries.iter().filter(|(seq, entry)| new.entries.get(*seq) != Some(*entry));
        found.extend(changed.map(|(&seq, _)| Violation::Changed { chat: chat.clone(), seq }));
        let back = |whose: &Id| Violation::CursorBack { chat: chat.clone(), whose: whose.clone() };
        for (whose, was) in &old.cursors {
            let is = new.cursors.get(whose).copied().unwrap_or_default();
            if is.delivered < was.delivered || is.read < was.read {
                found.push(back(whose));
            }
        }
        for (device, was) in &old.devices {
            if new.devices.get(device).is_none_or(|is| is < was) {
                found.push(back(&device.0));
            }
        }
    }
}

/// What one process was promised.
fn told(process: &Process, disk: &Disk, found: &mut Vec<Violation>) {
    let none = Log::default();
    let log = |chat: &Id| disk.logs.get(chat).unwrap_or(&none);
    let (mut acked, mut statuses) = (0, BTreeMap::new());
    for fact in &process.facts {
        match fact {
            Fact::Acked { chat, id, seq } => {
                match log(chat).entries.get(seq).filter(|e| e.sender == process.who && e.id == *id) {
                    None => found.push(Violation::LostAck { chat: chat.clone(), seq: *seq, id: id.clone() }),
                    Some(entry) => wrong_bytes(process, acked, chat, entry, found),
                }
                acked += 1;
            }
            Fact::Ticked { chat, seq, read } => {
                let others = log(chat).members.iter().filter(|member| **member != process.who);
                let reached = |member: &Id| {
                    let cursors = log(chat).cursors.get(member).copied().unwrap_or_default();
                    if *read { cursors.read >= *seq } else { cursors.delivered >= *seq }
                };
                let mut others = others.peekable();
                if others.peek().is_none() || !others.all(reached) {
                    found.push(Violation::LostTick { chat: chat.clone(), seq: *seq });
                }
            }
            Fact::Status { chat, member, delivered, read } => {
                let is = log(chat).cursors.get(member).copied().unwrap_or_default();
                if is.delivered < *delivered || is.read < *read {
                    found.push(Violation::LostTick { chat: chat.clone(), seq: *delivered });
                }
                let was = statuses.insert((chat, member), (*delivered, *read));
                if was.is_some_and(|(d, r)| d > *delivered || r > *read) {
                    found.push(Violation::CursorBack { chat: chat.clone(), whose: member.clone() });
                }
            }
            Fact::Got { chat, seq, from, id, text } => {
                let entry = log(chat).entries.get(seq);
                if !entry.is_some_and(|e| e.sender == *from && e.id == *id && e.text == *text) {
                    let (chat, whose) = (chat.clone(), process.who.clone());
                    found.push(Violation::NotThePrefix { chat, whose, seq: *seq, expected: None });
                }
            }
        }
    }
    if process.end == End::Finished && acked < process.told.len() {
        found.push(Violation::Unanswered { told: process.told.len(), acked });
    }
}

fn wrong_bytes(process: &Process, n: usize, chat: &Id, entry: &Entry, found: &mut Vec<Violation>) {
    // A process that only receives says what others of its profile have sent.
    if process.told.is_empty() {
        return;
    }
    let in_place = process.told.get(n);
    let is_right =
        if process.in_order { in_place == Some(&entry.text) } else { process.told.contains(&entry.text) };
    if !is_right {
        let (chat, told, stored) = (chat.clone(), in_place.cloned(), entry.text.clone());
        found.push(Violation::WrongBytes { chat, seq: entry.seq, told, stored });
    }
}
