//! One person's side of the conversation, as their device reported it, and what must be true of it.
//!
//! Invariant: a tick is only ever what the device said; nothing here is filled in from what the demo knows it sent.

use std::collections::BTreeMap;

/// The place of a chat's first message: before it is the commit that begins the chat's encryption.
pub(crate) const FIRST: u64 = 2;

/// How far a message got, as its sender sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tick {
    /// On the server's disk.
    Sent,
    /// On the other person's device.
    Delivered,
    /// Seen.
    Read,
}

/// One message on a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) mine: bool,
}

/// What one device has reported of one chat.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    lines: BTreeMap<u64, Line>,
    /// The highest place that came as a message. Own ones are known from their ack first, and may come back later.
    heard: u64,
    /// The other person's cursors.
    delivered: u64,
    read: u64,
    /// What went wrong, in words.
    broken: Vec<String>,
}

impl Screen {
    /// The server acknowledged a message of this person.
    pub(crate) fn sent(&mut self, seq: u64, text: &str) {
        self.put(seq, Line { text: text.to_owned(), mine: true });
    }

    /// A message came to the device. Each comes once, in the order of the log.
    pub(crate) fn message(&mut self, seq: u64, line: Line) {
        if seq <= self.heard {
            self.broken.push(format!("message {seq} came after {}: {:?}", self.heard, line.text));
        }
        self.heard = self.heard.max(seq);
        self.put(seq, line);
    }

    fn put(&mut self, seq: u64, line: Line) {
        let known = self.lines.entry(seq).or_insert_with(|| line.clone());
        if *known != line {
            self.broken.push(format!("message {seq} was {:?} and became {:?}", known.text, line.text));
        }
    }

    /// Where the other person's cursors stand, as this device was told. They may only advance.
    pub(crate) fn cursors(&mut self, delivered: u64, read: u64) {
        if delivered < self.delivered || read < self.read {
            let (before, now) = ((self.delivered, self.read), (delivered, read));
            self.broken.push(format!("cursors (delivered, read) went back from {before:?} to {now:?}"));
        }
        if read > delivered {
            self.broken.push(format!("read up to {read}, but delivered only up to {delivered}"));
        }
        self.delivered = self.delivered.max(delivered);
        self.read = self.read.max(read);
    }

    /// The highest `seq` shown.
    pub(crate) fn last(&self) -> u64 {
        self.lines.keys().next_back().copied().unwrap_or(FIRST - 1)
    }

    pub(crate) fn lines(&self) -> &BTreeMap<u64, Line> {
        &self.lines
    }

    /// How far a message of this person got.
    pub(crate) fn tick(&self, seq: u64) -> Tick {
        if seq <= self.read {
            Tick::Read
        } else if seq <= self.delivered {
            Tick::Delivered
        } else {
            Tick::Sent
        }
    }

    /// Whether everything of this person's own was read by the other.
    pub(crate) fn all_read(&self) -> bool {
        let mut own = self.lines.iter().filter(|(_, line)| line.mine);
        own.all(|(seq, _)| self.tick(*seq) == Tick::Read)
    }

    /// What does not hold, given what the two people really said, in order of the log: `(by this person, text)`.
    pub(crate) fn verdict(&self, said: &[(bool, String)]) -> Vec<String> {
        let mut broken = self.broken.clone();
        for (at, (mine, text)) in said.iter().enumerate() {
            let seq = at as u64 + FIRST;
            match self.lines.get(&seq) {
                None => broken.push(format!("message {seq} is missing: {text:?}")),
                Some(line) if line.text != *text || line.mine != *mine => {
                    broken.push(format!("message {seq} should be {text:?} and is {:?}", line.text));
                }
                Some(_) => {}
            }
        }
        for (seq, line) in self.lines.range(said.len() as u64 + FIRST..) {
            broken.push(format!("message {seq} was never sent: {:?}", line.text));
        }
        for (seq, _) in self.lines.iter().filter(|(seq, line)| line.mine && self.tick(**seq) != Tick::Read) {
            broken.push(format!("message {seq} was not read in the end, only {:?}", self.tick(*seq)));
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(mine: bool, text: &str) -> Line {
        Line { text: text.to_owned(), mine }
    }

    fn said() -> Vec<(bool, String)> {
        vec![(true, "a".to_owned()), (false, "b".to_owned())]
    }

    fn good() -> Screen {
        let mut screen = Screen::default();
        screen.sent(2, "a");
        screen.message(2, line(true, "a"));
        screen.message(3, line(false, "b"));
        screen.cursors(2, 0);
        screen.cursors(3, 2);
        screen
    }

    #[test]
    fn a_good_screen_has_no_complaint() {
        assert_eq!(good().verdict(&said()), Vec::<String>::new());
        assert!(good().all_read());
    }

    #[test]
    fn every_fault_is_named() {
        type Fault = fn(&mut Screen);
        let faults: [(&str, Fault); 6] = [
            ("came after", |screen| screen.message(3, line(false, "b"))),
            ("became", |screen| screen.message(3, line(false, "other"))),
            ("became", |screen| screen.sent(3, "b")),
            ("never sent", |screen| screen.message(4, line(false, "c"))),
            ("went back", |screen| screen.cursors(2, 2)),
            ("delivered only", |screen| screen.cursors(3, 4)),
        ];
        for (words, fault) in faults {
            let mut screen = good();
            fault(&mut screen);
            let verdict = screen.verdict(&said());
            assert!(verdict.iter().any(|text| text.contains(words)), "{words}: {verdict:?}");
        }
    }

    #[test]
    fn what_is_missing_or_unread_is_named() {
        let mut screen = Screen::default();
        screen.sent(FIRST, "a");
        let verdict = screen.verdict(&said());
        assert!(verdict.iter().any(|text| text.contains("missing")), "{verdict:?}");
        assert!(verdict.iter().any(|text| text.contains("not read")), "{verdict:?}");
        assert!(!screen.all_read());
    }

    #[test]
    fn ticks_follow_the_cursors() {
        let mut screen = good();
        assert_eq!(
            [screen.tick(2), screen.tick(3), screen.tick(4)],
            [Tick::Read, Tick::Delivered, Tick::Sent]
        );
        screen.cursors(4, 4);
        assert_eq!(screen.tick(4), Tick::Read);
    }
}
