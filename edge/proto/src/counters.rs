//! What a node counts and times, as plain numbers: whoever drives it publishes them.
//!
//! Invariant: everything here has a fixed size, whoever the peers are; timings that nobody takes are dropped, and
//! counted.

use std::time::Duration;

use wire::ErrorCode;

/// Timings that wait to be taken; more are dropped. One input makes a few of them, a
/// message to a large group some hundreds.
const TIMINGS_MAX: usize = 1024;

/// How often each code was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByCode([u64; ErrorCode::ALL.len()]);

impl ByCode {
    /// How often this code was said.
    pub fn of(&self, code: ErrorCode) -> u64 {
        place(code).map_or(0, |place| self.0[place])
    }

    /// Each code and how often it was said, in the order of [`ErrorCode::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (ErrorCode, u64)> {
        ErrorCode::ALL.iter().copied().zip(self.0)
    }

    pub(crate) fn add(&mut self, code: ErrorCode) {
        if let Some(place) = place(code) {
            self.0[place] += 1;
        }
    }
}

impl Default for ByCode {
    fn default() -> ByCode {
        ByCode([0; ErrorCode::ALL.len()])
    }
}

fn place(code: ErrorCode) -> Option<usize> {
    ErrorCode::ALL.iter().position(|&c| c == code)
}

/// What a node has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// `Hello`s of devices that led to a session.
    pub hellos: u64,
    /// `Hello`s that led to an anonymous session.
    pub hellos_anonymous: u64,
    /// Device sessions that began to be hinted. Less [`Counters::sessions_ended`], it is how many there are.
    pub sessions_begun: u64,
    /// Those that ended.
    pub sessions_ended: u64,
    /// What was refused, by code: `Hello`s, requests, messages and cursor moves.
    pub refused: ByCode,
    /// Live connections that were told to go, by the code that they were told.
    pub goodbyes: ByCode,
    /// Frames that did not verify.
    pub malformed: u64,
    /// Requests begun, refused ones included; messages, cursor moves and typing are none.
    pub requests: u64,
    /// Messages committed for the first time.
    pub appends: u64,
    /// Messages that had been committed before.
    pub repeats: u64,
    /// Cursor moves committed that moved something.
    pub cursor_moves: u64,
    /// Entries handed to recipients' streams; not to the device that said it, if its ack stands for it.
    pub deliveries: u64,
    /// Typing indicators of devices that were told on.
    pub typing_published: u64,
    /// Typing indicators handed to recipients' streams.
    pub typing_sent: u64,
    /// Typing indicators dropped: too many, under load, or a stream that takes nothing now.
    pub typing_dropped: u64,
    /// Early data taken.
    pub early_accepted: u64,
    /// Early data that was not: not ours, not timely, no such device; or a proof without early data.
    pub early_refused: u64,
    /// Early data refused unread, because its address had used up its rate or the count could not be made.
    pub early_counted_out: u64,
    /// Hints of this node for others.
    pub hints_published: u64,
    /// Hints of others for this node, the sweeper included.
    pub hints_received: u64,
    /// Sessions' heads read again since hints were lost.
    pub heads_read: u64,
    /// Timings that were dropped, because nobody took those before them.
    pub timings_lost: u64,
}

/// Something that took a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// From a message's arrival to its ack on the stream; whatever waited before it is in it.
    Acked(Duration),
    /// From an entry's own time (just before its commit) to its place on a recipient's stream, in steps of a
    /// millisecond. Entries that no hint of a commit led to (what a device missed while away) have none; of several that
    /// wait for a stream together, the oldest has one.
    Delivered(Duration),
    /// From `Hello` to `Connected`, on either kind of session; after early data the rest of the handshake is in it.
    Connected(Duration),
}

/// Timings that wait to be taken.
#[derive(Debug, Default)]
pub(crate) struct Timings(Vec<Timing>);

impl Timings {
    /// Keeps one; `false` if there is no room.
    pub(crate) fn push(&mut self, timing: Timing) -> bool {
        let room = self.0.len() < TIMINGS_MAX;
        if room {
            self.0.push(timing);
        }
        room
    }

    pub(crate) fn take(&mut self) -> impl Iterator<Item = Timing> {
        self.0.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_place_of_its_own() {
        let mut by_code = ByCode::default();
        for &code in ErrorCode::ALL {
            by_code.add(code);
        }
        by_code.add(ErrorCode::Busy);
        for (code, count) in by_code.iter() {
            assert_eq!((count, by_code.of(code)), if code == ErrorCode::Busy { (2, 2) } else { (1, 1) });
        }
    }

    #[test]
    fn timings_that_nobody_takes_are_bounded() {
        let mut timings = Timings::default();
        let kept = (0..5000).filter(|_| timings.push(Timing::Acked(Duration::ZERO))).count();
        assert_eq!((kept, timings.take().count(), timings.take().count()), (TIMINGS_MAX, TIMINGS_MAX, 0));
    }
}
