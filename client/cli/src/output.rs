//! What commands print: JSON, one object a line, for scripts; text with ticks for people. Both go to standard output,
//! line by line; a reader that went away ends the command.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;
use wire::content::Content;
use wire::event::Cursor;
use wire::{AccountId, Seq, WallTime};

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Text { colour: bool },
}

impl Form {
    pub(crate) fn new(json: bool) -> Form {
        if json { Form::Json } else { Form::Text { colour: io::stdout().is_terminal() } }
    }

    /// Prints one thing, in whichever form.
    pub(crate) fn print(self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self {
            Form::Json => writeln!(out, "{}", json())?,
            Form::Text { .. } => writeln!(out, "{}", text())?,
        }
        out.flush()
    }
}

/// What a message says, as text for a person; nothing in it can move the cursor or hide other text.
pub(crate) fn text_of(content: &[u8]) -> String {
    match Content::decode(content) {
        Ok(Content::Text(text)) => text.text,
        Ok(Content::Unknown) => "(update to see this)".into(),
        Err(_) => "(unreadable)".into(),
    }
}

/// Control characters shown as such, for a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// When the sender pressed send, by its own clock.
pub(crate) fn sent_at_us(content: &[u8]) -> Option<u64> {
    match Content::decode(content) {
        Ok(Content::Text(text)) => Some(text.sent_at_us),
        _ => None,
    }
}

/// One, two, or blue ticks: for the sender, the least of the others' cursors.
pub(crate) fn ticks(form: Form, seq: Seq, me: AccountId, cursors: &[Cursor]) -> String {
    let others = || cursors.iter().filter(|cursor| cursor.member != me);
    let any = others().next().is_some();
    let read = any && others().all(|cursor| covers(cursor, cursor.read, seq));
    let delivered = any && others().all(|cursor| covers(cursor, cursor.delivered, seq));
    match (read, delivered, form) {
        (true, _, Form::Text { colour: true }) => "\x1b[34m✓✓\x1b[0m".into(),
        (true, _, _) => "✓✓ read".into(),
        (_, true, _) => "✓✓".into(),
        _ => "✓".into(),
    }
}

/// Whether a member's cursor that stands at `to` ticks a message (C8: never one that is withheld).
pub(crate) fn covers(cursor: &Cursor, to: Seq, seq: Seq) -> bool {
    to >= seq && !cursor.withheld.iter().any(|&(first, last)| (first..=last).contains(&seq))
}

/// Hours and minutes in UTC, as a chat shows them.
pub(crate) fn clock(at: WallTime) -> String {
    let minutes = at.as_millis() / 60_000;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_c8_ticks_are_the_least_of_the_others_and_never_for_what_is_withheld() {
        let (me, bob, carol) = (AccountId::new([1; 16]), AccountId::new([2; 16]), AccountId::new([3; 16]));
        let cursor = |member, delivered, read, withheld: &[(Seq, Seq)]| Cursor {
            member,
            delivered: Seq(delivered),
            delivered_at: WallTime(0),
            read: Seq(read),
            read_at: WallTime(0),
            withheld: withheld.to_vec(),
        };
        let tick = |cursors: &[Cursor]| ticks(Form::Json, Seq(5), me, cursors);
        assert_eq!(tick(&[]), "✓");
        assert_eq!(tick(&[cursor(me, 9, 9, &[])]), "✓", "one's own cursor ticks nothing");
        assert_eq!(tick(&[cursor(bob, 5, 4, &[])]), "✓✓");
        assert_eq!(tick(&[cursor(bob, 5, 5, &[]), cursor(carol, 5, 4, &[])]), "✓✓");
        assert_eq!(tick(&[cursor(bob, 9, 9, &[]), cursor(carol, 5, 5, &[])]), "✓✓ read");
        assert_eq!(tick(&[cursor(bob, 9, 9, &[(Seq(5), Seq(6))])]), "✓");
    }

    #[test]
    fn c19_escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\u{9b}c\nd"), "a\u{fffd}[2Jb\u{fffd}c\nd");
    }
}
