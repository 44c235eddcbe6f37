//! Datagrams that nobody should send: noise, and real ones of a real connection, damaged.

use std::collections::VecDeque;

use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Real datagrams that are remembered, the newest.
const KEPT_MAX: usize = 256;

/// No datagram is longer: what fits an Ethernet frame, and a little more.
const BYTES_MAX: usize = 1500;

/// Bytes of the node's connection ids.
const ID_BYTES: usize = 8;

/// In what way a datagram is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Bytes of any length from 0 to 1,500.
    Random,
    /// A real one, said again from elsewhere.
    Repeated,
    /// One to eight bits are wrong.
    Flipped,
    /// The end is missing.
    Truncated,
    /// Noise follows it.
    Extended,
    /// The beginning of one and the end of another.
    Spliced,
    /// Another version, known or not.
    Version,
    /// Another connection id, of another length even.
    ConnectionId,
    /// Two in one datagram.
    Coalesced,
    /// A connection's id, and noise.
    ForConnection,
    /// A long header with noise behind it.
    LongHeader,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 11] = [
        Kind::Random,
        Kind::Repeated,
        Kind::Flipped,
        Kind::Truncated,
        Kind::Extended,
        Kind::Spliced,
        Kind::Version,
        Kind::ConnectionId,
        Kind::Coalesced,
        Kind::ForConnection,
        Kind::LongHeader,
    ];
}

/// Makes wrong datagrams out of right ones.
#[derive(Debug)]
pub(crate) struct Mutator {
    pub(crate) rng: ChaCha8Rng,
    kept: VecDeque<Vec<u8>>,
}

impl Mutator {
    pub(crate) fn new(seed: u64) -> Mutator {
        Mutator { rng: ChaCha8Rng::seed_from_u64(seed), kept: VecDeque::new() }
    }

    /// Remembers a real one; the oldest makes room.
    pub(crate) fn keep(&mut self, datagram: &[u8]) {
        if self.kept.len() >= KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(datagram.to_vec());
    }

    /// The next wrong one. Without any to damage, all is noise.
    pub(crate) fn make(&mut self) -> (Kind, Vec<u8>) {
        let kind = if self.kept.is_empty() { Kind::Random } else { self.choose(&Kind::ALL) };
        let mut datagram = self.of_kind(kind);
        datagram.truncate(BYTES_MAX);
        (kind, datagram)
    }

    fn of_kind(&mut self, kind: Kind) -> Vec<u8> {
        match kind {
            Kind::Random => self.noise(BYTES_MAX),
            Kind::Repeated => self.real(),
            Kind::Flipped => {
                let mut datagram = self.real();
                for _ in 0..self.rng.random_range(1..=8) {
                    let place = self.rng.random_range(0..datagram.len());
                    datagram[place] ^= 1 << self.rng.random_range(0..8);
                }
                datagram
            }
            Kind::Truncated => {
                let mut datagram = self.real();
                datagram.truncate(self.rng.random_range(0..datagram.len()));
                datagram
            }
            Kind::Extended => [self.real(), self.noise(300)].concat(),
            Kind::Spliced => {
                let (head, tail) = (self.real(), self.real());
                let (a, b) = (self.rng.random_range(0..head.len()), self.rng.random_range(0..tail.len()));
                [&head[..a], &tail[b..]].concat()
            }
            Kind::Version => self.other_version(),
            Kind::ConnectionId => self.other_id(),
            Kind::Coalesced => [self.real(), self.real()].concat(),
            Kind::ForConnection => self.for_connection(),
            Kind::LongHeader => self.long_header(),
        }
    }

    fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.rng).expect("there is something to choose from")
    }

    fn noise(&mut self, bytes_max: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.random_range(0..=bytes_max)];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A real one, never empty.
    fn real(&mut self) -> Vec<u8> {
        let place = self.rng.random_range(0..self.kept.len());
        self.kept[place].clone()
    }

    fn other_version(&mut self) -> Vec<u8> {
        let mut datagram = self.real();
        let version = match self.rng.random_range(0..4) {
            // Negotiation, version 2, one that is reserved to be unknown, anything.
            0 => 0,
            1 => 0x6b33_43cf,
            2 => 0x1a2a_3a4a,
            _ => self.rng.next_u32(),
        };
        if let (Some(first), Some(place)) = (datagram.first().copied(), datagram.get_mut(1..5)) {
            place.copy_from_slice(&version.to_be_bytes());
            datagram[0] = first | 0x80;
        }
        datagram
    }

    /// Long headers say how long their ids are: that is changed, too.
    fn other_id(&mut self) -> Vec<u8> {
        let mut datagram = self.real();
        let start = if datagram[0] & 0x80 != 0 { 6 } else { 1 };
        if start == 6 && self.rng.random_bool(0.5) && datagram.len() > 6 {
            datagram[5] = self.rng.next_u32() as u8;
        }
        let end = (start + ID_BYTES).min(datagram.len());
        if let Some(id) = datagram.get_mut(start..end) {
            self.rng.fill_bytes(id);
        }
        datagram
    }

    /// A connection's id is what follows the first byte of its short headers; those of long ones name it as well.
    fn for_connection(&mut self) -> Vec<u8> {
        let real = self.real();
        let start = if real[0] & 0x80 != 0 { 6 } else { 1 };
        let id = real.get(start..start + ID_BYTES).unwrap_or_default();
        let first = 0x40 | self.rng.next_u32() as u8 & 0x3f;
        [&[first][..], id, &self.noise(1400)].concat()
    }

    fn long_header(&mut self) -> Vec<u8> {
        let first = 0xc0 | self.rng.next_u32() as u8 & 0x3f;
        let id_bytes = self.choose(&[0, 8, 20, 21, 255]);
        [&[first, 0, 0, 0, 1, id_bytes][..], &self.noise(1400)].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_makes_the_same_wrong_datagrams_of_every_kind_and_length() {
        let made = |seed| {
            let mut mutator = Mutator::new(seed);
            assert_eq!(mutator.make().0, Kind::Random, "there is nothing to damage yet");
            for n in 0..300 {
                mutator.keep(&vec![if n % 2 == 0 { 0xc0 } else { 0x40 }; 20 + 4 * n]);
            }
            assert_eq!(mutator.kept.len(), KEPT_MAX);
            (0..5_000).map(|_| mutator.make()).collect::<Vec<_>>()
        };
        let first = made(1);
        assert_eq!(first, made(1));
        assert_ne!(first, made(2));
        let kinds: BTreeSet<Kind> = first.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds.len(), Kind::ALL.len());
        let lengths: BTreeSet<usize> = first.iter().map(|(_, datagram)| datagram.len()).collect();
        assert!(lengths.len() > 500 && lengths.last() <= Some(&BYTES_MAX), "{lengths:?}");
    }

    #[test]
    fn the_shortest_real_datagram_can_be_damaged_in_every_way() {
        let mut mutator = Mutator::new(3);
        mutator.keep(&[0xc0]);
        mutator.keep(&[0x40]);
        for kind in Kind::ALL {
            (0..200).for_each(|_| drop(mutator.of_kind(kind)));
        }
    }
}
