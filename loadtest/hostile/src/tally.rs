//! Counting what came back, without letting the peer decide how much memory that takes.

use std::collections::BTreeMap;

use wire_link::CloseReason;

/// Different things that are told apart; more are counted together.
const DIFFERENT_MAX: usize = 64;

/// How often each of a few things happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally<K: Ord> {
    counts: BTreeMap<K, u64>,
    others: u64,
}

impl<K: Ord> Default for Tally<K> {
    fn default() -> Self {
        Tally { counts: BTreeMap::new(), others: 0 }
    }
}

impl<K: Ord> Tally<K> {
    /// It happened once more.
    pub(crate) fn add(&mut self, what: K) {
        if let Some(count) = self.counts.get_mut(&what) {
            *count += 1;
        } else if self.counts.len() < DIFFERENT_MAX {
            self.counts.insert(what, 1);
        } else {
            self.others += 1;
        }
    }

    /// How often this happened.
    pub fn of(&self, what: &K) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// How often anything happened.
    pub fn total(&self) -> u64 {
        self.counts.values().sum::<u64>() + self.others
    }

    /// Each thing that happened, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&K, u64)> {
        self.counts.iter().map(|(what, &count)| (what, count))
    }
}

/// How connections ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    /// Closed by the node, by the numbers of [`wire::CloseCode`].
    pub by_node: Tally<u64>,
    /// Failed in QUIC or TLS, by the codes of RFC 9000, section 20.1: 2 is a refused newcomer.
    pub by_transport: Tally<u64>,
    /// The node said nothing any more.
    pub timed_out: u64,
    /// The node did not know the connection.
    pub reset: u64,
    /// Closed here.
    pub here: u64,
}

impl Ends {
    pub(crate) fn add(&mut self, reason: &CloseReason) {
        match reason {
            CloseReason::Peer { code, .. } => self.by_node.add(*code),
            CloseReason::Transport { code, .. } => self.by_transport.add(*code),
            CloseReason::TimedOut => self.timed_out += 1,
            CloseReason::Reset => self.reset += 1,
            CloseReason::Here(_) => self.here += 1,
        }
    }

    /// How many ended, in whatever way.
    pub fn total(&self) -> u64 {
        self.by_node.total() + self.by_transport.total() + self.timed_out + self.reset + self.here
    }
}

/// Datagrams that came back, as far as somebody without the keys can tell them apart (RFC 9000, section 17.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// Retries: prove your address.
    pub retries: u64,
    /// "I speak other versions."
    pub versions: u64,
    /// Of a handshake, refusals included.
    pub handshakes: u64,
    /// With a short header: stateless resets, and what is meant for a connection.
    pub short: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Answers {
    pub(crate) fn add(&mut self, datagram: &[u8]) {
        let count = match Answer::of(datagram) {
            Answer::Retry => &mut self.retries,
            Answer::Versions => &mut self.versions,
            Answer::Handshake => &mut self.handshakes,
            Answer::Short => &mut self.short,
        };
        *count += 1;
        self.bytes += datagram.len() as u64;
    }

    /// How many came back.
    pub fn total(&self) -> u64 {
        self.retries + self.versions + self.handshakes + self.short
    }
}

/// What one datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Retry,
    Versions,
    Handshake,
    Short,
}

impl Answer {
    pub(crate) fn of(datagram: &[u8]) -> Answer {
        match datagram {
            [first, 0, 0, 0, 0, ..] if first & 0x80 != 0 => Answer::Versions,
            [first, ..] if first & 0xf0 == 0xf0 => Answer::Retry,
            [first, ..] if first & 0x80 != 0 => Answer::Handshake,
            _ => Answer::Short,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_does_not_grow_with_what_a_peer_says() {
        let mut tally = Tally::default();
        (0..1000).for_each(|code| tally.add(code));
        tally.add(3);
        assert_eq!((tally.iter().count(), tally.total(), tally.of(&3)), (DIFFERENT_MAX, 1001, 2));
    }

    #[test]
    fn answers_are_told_apart_by_their_header() {
        for (datagram, answer) in [
            (&[0xc0, 0, 0, 0, 0, 8][..], Answer::Versions),
            (&[0xf5, 0, 0, 0, 1], Answer::Retry),
            (&[0xc3, 0, 0, 0, 1], Answer::Handshake),
            (&[0x4a, 1, 2], Answer::Short),
            (&[], Answer::Short),
        ] {
            assert_eq!(Answer::of(datagram), answer, "{datagram:?}");
        }
    }
}
