//! What one phone does: several kinds of act, each with its own arrivals, merged by time.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Phone, Shape};

/// Something that a person does with a phone. Others are named by their number.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Says so many things to another, one right after the other.
    Say {
        /// To whom.
        to: usize,
        /// How many.
        count: u32,
    },
    /// Reads what another has said, up to a part of what has come.
    Read {
        /// Whose chat.
        of: usize,
        /// How much of it, 0 to 1.
        part: f64,
    },
    /// Opens a chat and types in it; then closes it, or forgets to.
    Type {
        /// Of whom the chat is. If the phone's person is none of them, it has no business there.
        of: [usize; 2],
        /// When keys are pressed, since the act began.
        keys: Vec<Duration>,
        /// When the chat is closed.
        closes: Option<Duration>,
    },
    /// Leaves the network for a while.
    Leave {
        /// For how long.
        down: Duration,
    },
    /// Puts the app into the background for a while.
    Hide {
        /// For how long.
        down: Duration,
    },
}

const KINDS: usize = 5;

/// The acts of one phone and their moments, in order.
#[derive(Debug)]
pub struct Acts {
    rng: ChaCha8Rng,
    shape: Shape,
    phone: Phone,
    contacts: Vec<usize>,
    /// When the next act of each kind comes.
    next: [Option<Duration>; KINDS],
}

impl Acts {
    pub(crate) fn new(seed: u64, shape: &Shape, phone: Phone) -> Acts {
        let own = seed ^ (phone.number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let contacts = shape.contacts_of(phone.person).collect();
        let rng = ChaCha8Rng::seed_from_u64(own);
        let mut acts = Acts { rng, shape: shape.clone(), phone, contacts, next: [None; KINDS] };
        for kind in 0..KINDS {
            acts.next[kind] = acts.after(kind, Duration::ZERO);
        }
        acts
    }

    /// When the act of a kind comes that follows one at `at`.
    fn after(&mut self, kind: usize, at: Duration) -> Option<Duration> {
        let Shape { quiet_after, lasts, .. } = self.shape;
        let (mean, end) = match kind {
            0 => (self.shape.says_every, quiet_after),
            1 => (self.shape.reads_every, quiet_after),
            2 => (self.shape.types_every?, lasts),
            3 => (self.shape.leaves_every?.0, lasts),
            _ => (self.shape.hides_every?.0, lasts),
        };
        let next = at + mean.mul_f64(-self.rng.random_range(0.001f64..1.0).ln());
        (next < end.min(lasts)).then_some(next)
    }

    fn act(&mut self, kind: usize) -> Act {
        match kind {
            0 => {
                let (part, most) = self.shape.bursts;
                let count =
                    if self.rng.random_bool(part) { self.rng.random_range(2..=most.max(2)) } else { 1 };
                Act::Say { to: self.contact(), count }
            }
            1 => Act::Read { of: self.contact(), part: self.rng.random_range(0.3..1.0) },
            2 => self.typing(),
            3 => Act::Leave { down: self.up_to(self.shape.leaves_every) },
            _ => Act::Hide { down: self.up_to(self.shape.hides_every) },
        }
    }

    fn typing(&mut self) -> Act {
        let other = self.contact();
        let strangers = self.shape.people > 2 && self.rng.random_bool(self.shape.snoops);
        let of = if strangers { [other, self.stranger(other)] } else { [self.phone.person, other] };
        let count = self.rng.random_range(1..8);
        let mut keys: Vec<Duration> = (0..count).map(|_| self.between(1, 6_000)).collect();
        keys.sort_unstable();
        let closes = (strangers || self.rng.random_bool(0.5)).then(|| self.between(3_000, 9_000));
        Act::Type { of, keys, closes }
    }

    /// A contact of somebody else that is not this phone's person.
    fn stranger(&self, other: usize) -> usize {
        let theirs = self.shape.contacts_of(other).find(|&third| third != self.phone.person);
        theirs.unwrap_or(self.phone.person)
    }

    fn contact(&mut self) -> usize {
        self.contacts[self.rng.random_range(0..self.contacts.len())]
    }

    fn up_to(&mut self, every: Option<(Duration, Duration)>) -> Duration {
        let most = every.map_or(Duration::ZERO, |(_, most)| most);
        self.between(50, (most.as_millis() as u64).max(51))
    }

    fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(least_ms..most_ms))
    }
}

impl Iterator for Acts {
    type Item = (Duration, Act);

    fn next(&mut self) -> Option<(Duration, Act)> {
        let due = self.next.iter().enumerate().filter_map(|(kind, at)| at.map(|at| (at, kind)));
        let (at, kind) = due.min()?;
        let act = self.act(kind);
        self.next[kind] = self.after(kind, at);
        Some((at, act))
    }
}
