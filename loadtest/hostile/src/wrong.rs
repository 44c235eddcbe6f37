//! Frames that nobody should send: right ones in wrong places, and damaged ones.

use bytes::Bytes;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore};
use rand_chacha::ChaCha8Rng;
use wire::event::Event;
use wire::request::Request;
use wire::{AccountId, ChatId, ErrorCode, frame};

/// In what way a frame is wrong, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrameKind {
    /// A right one, on a stream of any role.
    Right,
    /// One that only servers send.
    Servers,
    /// One to eight bits are wrong.
    Flipped,
    /// The end is missing; what follows on the stream is taken for it.
    Truncated,
    /// The beginning of one and the end of another, its length right.
    Spliced,
    /// Noise of a length that is said rightly.
    Noise,
    /// Its length is another than it says.
    Length,
    /// Longer than any may be.
    Oversized,
    /// Noise and nothing else.
    Bytes,
}

impl FrameKind {
    /// All of them.
    pub const ALL: [FrameKind; 9] = [
        FrameKind::Right,
        FrameKind::Servers,
        FrameKind::Flipped,
        FrameKind::Truncated,
        FrameKind::Spliced,
        FrameKind::Noise,
        FrameKind::Length,
        FrameKind::Oversized,
        FrameKind::Bytes,
    ];
}

/// Makes wrong frames out of right ones.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// Bodies of every request there is, of an attacker's own chat; without a `Logout`, which would end the attack.
    right: Vec<Bytes>,
    servers: Vec<Bytes>,
}

impl Wrong {
    pub(crate) fn new(chat: ChatId, peer: AccountId) -> Wrong {
        let mut requests: Vec<Request> =
            wire::testing::every_request(chat).into_iter().map(|(_, request)| request).collect();
        requests.push(Request::ChatUp { chat, peer: Some(peer) });
        requests.retain(|request| *request != Request::Logout);
        let right = requests.iter().map(|request| frame::body_of(&request.encode())).collect();
        let servers = [
            Event::Refused(ErrorCode::Busy.refuse()),
            Event::Receipts(Vec::new()),
            Event::ChatDown { chat, from_seq: wire::Seq(1), peer: None },
        ];
        let servers = servers.iter().map(|event| frame::body_of(&event.encode())).collect();
        Wrong { right, servers }
    }

    /// The next one, as the bytes to send.
    pub(crate) fn make(&self, rng: &mut ChaCha8Rng) -> (FrameKind, Bytes) {
        let kind = FrameKind::ALL.choose_weighted(rng, |kind| match kind {
            // It ends the connection.
            FrameKind::Oversized | FrameKind::Length | FrameKind::Bytes => 1,
            FrameKind::Right => 30,
            _ => 15,
        });
        let kind = kind.copied().unwrap_or(FrameKind::Right);
        (kind, self.of_kind(kind, rng))
    }

    fn of_kind(&self, kind: FrameKind, rng: &mut ChaCha8Rng) -> Bytes {
        match kind {
            FrameKind::Right => framed(&choose(&self.right, rng)),
            FrameKind::Servers => framed(&choose(&self.servers, rng)),
            FrameKind::Flipped => framed(&self.flipped(rng)),
            FrameKind::Truncated => {
                let whole = framed(&choose(&self.right, rng));
                whole.slice(..rng.random_range(1..whole.len()))
            }
            FrameKind::Spliced => framed(&self.spliced(rng)),
            FrameKind::Noise => framed(&noise(600, rng)),
            FrameKind::Length => {
                let lie = varint(rng.random_range(0..wire::limits::FRAME_BYTES_MAX as u64));
                [lie, choose(&self.right, rng).to_vec()].concat().into()
            }
            FrameKind::Oversized => {
                let length = rng.random_range(wire::limits::FRAME_BYTES_MAX as u64 + 1..1 << 40);
                [varint(length), noise(100, rng)].concat().into()
            }
            FrameKind::Bytes => noise(600, rng).into(),
        }
    }

    fn flipped(&self, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let mut body = choose(&self.right, rng).to_vec();
        for _ in 0..rng.random_range(1..=8) {
            let place = rng.random_range(0..body.len());
            body[place] ^= 1 << rng.random_range(0..8);
        }
        self.harmless(body)
    }

    fn spliced(&self, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let (head, tail) = (choose(&self.right, rng), choose(&self.right, rng));
        let (a, b) = (rng.random_range(0..head.len()), rng.random_range(0..tail.len()));
        self.harmless([&head[..a], &tail[b..]].concat())
    }

    /// A damaged frame may be a right `Logout`.
    fn harmless(&self, body: Vec<u8>) -> Vec<u8> {
        match Request::decode(&Bytes::from(body.clone())) {
            Ok(Request::Logout) => Vec::new(),
            _ => body,
        }
    }
}

fn choose(of: &[Bytes], rng: &mut ChaCha8Rng) -> Bytes {
    of.choose(rng).cloned().unwrap_or_default()
}

fn noise(bytes_max: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(0..=bytes_max)];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// A body with its length before it.
fn framed(body: &[u8]) -> Bytes {
    [&varint(body.len() as u64)[..], body].concat().into()
}

/// RFC 9000, section 16, as short as it goes.
fn varint(n: u64) -> Vec<u8> {
    match n {
        0..0x40 => vec![n as u8],
        0x40..0x4000 => (n as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (n as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (n | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_seed_makes_the_same_frames_of_every_kind_and_never_a_logout() {
        let wrong = Wrong::new(ChatId::new([1; 16]), AccountId::new([2; 16]));
        let made = |seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            (0..20_000).map(|_| wrong.make(&mut rng)).collect::<Vec<_>>()
        };
        let first = made(1);
        assert_eq!(first, made(1));
        let kinds: BTreeSet<FrameKind> = first.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds.len(), FrameKind::ALL.len());
        let mut right = 0;
        for (_, bytes) in &first {
            if let Ok(Some((prefix, body))) = frame::parse_prefix(bytes)
                && bytes.len() >= prefix + body
                && let Ok(request) = Request::decode(&bytes.slice(prefix..prefix + body))
            {
                right += 1;
                assert_ne!(request, Request::Logout);
            }
        }
        assert!((4_000..16_000).contains(&right), "{right}");
    }

    #[test]
    fn lengths_are_written_as_they_are_read() {
        for n in [0, 0x3f, 0x40, 0x3fff, 0x4000, wire::limits::FRAME_BYTES_MAX] {
            let bytes = varint(n as u64);
            assert_eq!(frame::parse_prefix(&bytes), Ok(Some((bytes.len(), n))));
        }
    }
}
