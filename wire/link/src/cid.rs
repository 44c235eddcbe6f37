//! Connection ids that say which loop of a node owns the connection, to those who hold the key.
//!
//! An id is 7 random bytes and one that is the loop's number under a one-time pad: the first byte of AES-256 over the
//! 7. AES because one block of it is a pseudo-random function for this many inputs, and it is here already, in hardware
//! on every server (0.1 µs with the call, unoptimised): SipHash would do as well, but no dependency of ours exports one. Without
//! the key every byte of an id is noise, so nobody can tell the loop or which ids belong together (RFC 9000, section 5.1).

use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::quic::{AES_256, HeaderProtectionKey};
use quinn_proto::{ConnectionId, ConnectionIdGenerator};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// Length of our connection ids, bytes.
pub(crate) const CID_BYTES: usize = 8;

/// How many of them are random.
const RANDOM_BYTES: usize = CID_BYTES - 1;

/// Input of the cipher, bytes.
const BLOCK_BYTES: usize = 16;

/// What is inside an endpoint's connection ids. `Debug` does not show the key.
#[derive(Clone, PartialEq, Eq)]
pub struct CidConfig {
    /// The number of the loop that the endpoint belongs to.
    pub loop_no: u8,
    /// Hides it: [`Secrets::cid_key`](crate::Secrets::cid_key).
    pub key: [u8; 32],
}

impl fmt::Debug for CidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CidConfig").field("loop_no", &self.loop_no).finish_non_exhaustive()
    }
}

/// Tells which loop a datagram belongs to, before any endpoint has seen it. The same input gives the same answer on
/// every loop, so what is handed over once is never handed on.
pub struct Steering {
    pad: Pad,
    loops: u8,
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering").field("loops", &self.loops).finish_non_exhaustive()
    }
}

impl Steering {
    /// For loops numbered from 0 that hide their numbers under this key.
    pub fn new(cid_key: [u8; 32], loops: u8) -> Steering {
        Steering { pad: Pad::new(&cid_key), loops }
    }

    /// The loop whose connection this datagram belongs to, by the destination connection id of its first packet
    /// (RFC 8999, section 5). A client's first datagrams carry an id that the client made up: if it happens to look like
    /// one of ours, one loop is named, always the same.
    ///
    /// `None` if it is no QUIC packet (the fixed bit is not set), is cut short, or its id is of another length or names
    /// no loop: whoever received it handles it.
    pub fn owner(&self, datagram: &[u8]) -> Option<u8> {
        if mutation::on(mutation::Mutation::NoSteering) {
            return None;
        }
        let loop_no = self.pad.loop_no(destination(datagram)?);
        (loop_no < self.loops).then_some(loop_no)
    }
}

/// The destination connection id of the first packet, if it has our ids' length.
fn destination(datagram: &[u8]) -> Option<&[u8; CID_BYTES]> {
    const LONG: u8 = 0x80;
    const FIXED: u8 = 0x40;
    /// The first byte, the version and the id's length.
    const LONG_HEADER_BYTES: usize = 6;
    let first = *datagram.first()?;
    if first & FIXED == 0 {
        return None;
    }
    let id = if first & LONG == 0 {
        &datagram[1..]
    } else {
        let &length = datagram.get(LONG_HEADER_BYTES - 1)?;
        (usize::from(length) == CID_BYTES).then(|| &datagram[LONG_HEADER_BYTES..])?
    };
    id.first_chunk()
}

/// The pad over a loop's number.
struct Pad(HeaderProtectionKey);

impl Pad {
    fn new(key: &[u8; 32]) -> Pad {
        Pad(HeaderProtectionKey::new(&AES_256, key).expect("AES-256 takes any 32 bytes"))
    }

    fn byte(&self, random: &[u8; RANDOM_BYTES]) -> u8 {
        let mut block = [0; BLOCK_BYTES];
        block[..RANDOM_BYTES].copy_from_slice(random);
        self.0.new_mask(&block).expect("the cipher takes any 16 bytes")[0]
    }

    fn loop_no(&self, id: &[u8; CID_BYTES]) -> u8 {
        let [random @ .., last] = id;
        last ^ self.byte(random)
    }
}

/// An endpoint's connection ids, their random part from a seeded cipher.
pub(crate) struct NumberedCids {
    rng: StdRng,
    pad: Pad,
    loop_no: u8,
}

impl NumberedCids {
    pub(crate) fn new(config: &CidConfig, seed: [u8; 32]) -> NumberedCids {
        NumberedCids { rng: StdRng::from_seed(seed), pad: Pad::new(&config.key), loop_no: config.loop_no }
    }
}

impl ConnectionIdGenerator for NumberedCids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut random = [0; RANDOM_BYTES];
        self.rng.fill_bytes(&mut random);
        let mut id = [0; CID_BYTES];
        id[..RANDOM_BYTES].copy_from_slice(&random);
        id[RANDOM_BYTES] = self.loop_no ^ self.pad.byte(&random);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn ids(loop_no: u8, seed: u8) -> NumberedCids {
        NumberedCids::new(&CidConfig { loop_no, key: KEY }, [seed; 32])
    }

    fn short(id: &[u8]) -> Vec<u8> {
        [&[0x5a], id, &[9; 20]].concat()
    }

    fn long(id: &[u8]) -> Vec<u8> {
        [&[0xc3, 0, 0, 0, 1, id.len() as u8], id, &[9; 20]].concat()
    }

    #[test]
    fn i10_every_loop_finds_its_own_in_short_and_long_headers() {
        let steering = Steering::new(KEY, 4);
        for loop_no in 0..6 {
            let mut ids = ids(loop_no, loop_no);
            for _ in 0..500 {
                let id = ids.generate_cid();
                let owner = (loop_no < 4).then_some(loop_no);
                assert_eq!(steering.owner(&short(&id)), owner);
                assert_eq!(steering.owner(&long(&id)), owner);
            }
        }
    }

    #[test]
    fn i10_any_bytes_get_one_answer_and_never_a_loop_that_is_not_there() {
        let steering = Steering::new(KEY, 3);
        let again = Steering::new(KEY, 3);
        let mut rng = StdRng::from_seed([1; 32]);
        let mut named = 0;
        for n in 0..100_000 {
            let mut bytes = vec![0; n % 40];
            rng.fill_bytes(&mut bytes);
            if n % 3 == 0 && bytes.len() > 5 {
                (bytes[0], bytes[5]) = (0xc0 | bytes[0], 8);
            }
            let owner = steering.owner(&bytes);
            assert_eq!(owner, again.owner(&bytes));
            assert!(owner.is_none_or(|loop_no| loop_no < 3), "{owner:?}");
            named += usize::from(owner.is_some());
        }
        // Three of 256 of those that are long enough.
        assert!((200..1500).contains(&named), "{named}");
    }

    #[test]
    fn packets_that_are_no_quic_or_have_other_ids_are_nobodys() {
        let steering = Steering::new(KEY, u8::MAX);
        let id = ids(0, 1).generate_cid();
        assert_eq!(steering.owner(&short(&id)[..9]), Some(0));
        assert_eq!(steering.owner(&short(&id)[..8]), None);
        assert_eq!(steering.owner(&long(&id)[..14]), Some(0));
        assert_eq!(steering.owner(&long(&id)[..13]), None);
        assert_eq!(steering.owner(&long(&[1; 16])), None);
        assert_eq!(steering.owner(&long(&[])), None);
        assert_eq!(steering.owner(&[]), None);
        // STUN, DTLS, RTP (RFC 9443).
        for first in [0x00, 0x16, 0x90] {
            let mut datagram = short(&id);
            datagram[0] = first;
            assert_eq!(steering.owner(&datagram), None);
        }
    }

    #[test]
    fn the_last_byte_looks_random_too_and_another_key_reads_nothing() {
        let mut ids = ids(0, 1);
        let all: Vec<ConnectionId> = (0..2000).map(|_| ids.generate_cid()).collect();
        let last: BTreeSet<u8> = all.iter().map(|id| id[7]).collect();
        assert!(last.len() > 250, "{}", last.len());
        let stranger = Steering::new([8; 32], 2);
        let read = all.iter().filter(|id| stranger.owner(&short(id)).is_some()).count();
        assert!(read < 60, "{read}");
    }
}
