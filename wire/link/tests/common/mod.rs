//! What the tests share.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod returning;
pub(crate) mod talkative;
pub(crate) mod tls;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire_link::testing::Pair;
use wire_link::{Event, StreamId};

/// Virtual time begins here. An `Instant` can only come from the clock; which one it is makes no difference.
pub(crate) fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "the one reading that virtual time starts from")]
    *START.get_or_init(Instant::now)
}

/// A frame's body of this size; different sizes differ in every byte they can.
pub(crate) fn body(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 31 + bytes) as u8).collect()
}

/// The frame around [`body`], with the shortest prefix.
pub(crate) fn frame(bytes: usize) -> Bytes {
    let mut frame = match bytes {
        0..64 => vec![bytes as u8],
        64..16_384 => (bytes as u16 | 0x4000).to_be_bytes().to_vec(),
        _ => (bytes as u32 | 0x8000_0000).to_be_bytes().to_vec(),
    };
    frame.extend(body(bytes));
    frame.into()
}

/// The event that [`frame`] becomes.
pub(crate) fn frame_of(stream: StreamId, bytes: usize) -> Event {
    Event::Frame { stream, body: body(bytes).into() }
}

/// All there is.
pub(crate) fn drain<T>(mut next: impl FnMut() -> Option<T>) -> Vec<T> {
    std::iter::from_fn(&mut next).collect()
}

/// Lets time pass and counts the bytes of frames that the client gets on each of `streams`.
pub(crate) fn client_bytes(pair: &mut Pair, duration: Duration, streams: &[StreamId]) -> Vec<usize> {
    pair.run(duration);
    let mut bytes = vec![0; streams.len()];
    while let Some((_, event)) = pair.client_event() {
        if let Event::Frame { stream, body } = event
            && let Some(n) = streams.iter().position(|&s| s == stream)
        {
            bytes[n] += body.len();
        }
    }
    bytes
}
