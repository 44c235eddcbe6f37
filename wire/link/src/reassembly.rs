//! Cuts one stream's bytes into frames.
//!
//! Bytes are taken from QUIC only as far as the current frame needs them, so what follows it stays there and counts
//! against the peer's window. A frame that lies in one piece is handed on as that piece; one in several is copied
//! together, into memory that grows with what has arrived, never with what was announced.

use bytes::{Bytes, BytesMut};
use wire::DecodeError;
use wire::limits::FRAME_PREFIX_BYTES_MAX;

/// Where bytes come from: at most `max` of the next ones in order, in one piece; `None` if none have arrived.
pub(crate) trait Source {
    fn read(&mut self, max: usize) -> Option<Bytes>;
}

/// The frame at hand: nothing, some of its prefix, or its length and some of its body.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    prefix: [u8; FRAME_PREFIX_BYTES_MAX],
    prefix_bytes: u8,
    /// Length of the body, once the prefix is whole.
    body_bytes: Option<u32>,
    /// What has arrived of a body that came in pieces.
    partial: BytesMut,
}

impl Reassembly {
    /// The body of the next whole frame, or `None` until it has arrived.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] if the prefix announces more than the cap. The stream is of no use after.
    pub(crate) fn next_frame(&mut self, source: &mut impl Source) -> Result<Option<Bytes>, DecodeError> {
        let Some(body) = self.body_length(source)? else { return Ok(None) };
        while self.partial.len() < body {
            let Some(piece) = source.read(body - self.partial.len()) else { return Ok(None) };
            if piece.len() == body {
                return Ok(Some(self.done(piece)));
            }
            self.partial.extend_from_slice(&piece);
        }
        let whole = std::mem::take(&mut self.partial).freeze();
        Ok(Some(self.done(whole)))
    }

    /// Whether the stream stands within a frame.
    pub(crate) fn is_within_frame(&self) -> bool {
        self.prefix_bytes > 0
    }

    fn done(&mut self, body: Bytes) -> Bytes {
        self.prefix_bytes = 0;
        self.body_bytes = None;
        body
    }

    fn body_length(&mut self, source: &mut impl Source) -> Result<Option<usize>, DecodeError> {
        if let Some(body) = self.body_bytes {
            return Ok(Some(body as usize));
        }
        loop {
            let have = usize::from(self.prefix_bytes);
            if let Some((_, body)) = wire::frame::parse_prefix(&self.prefix[..have])? {
                self.body_bytes = Some(body as u32);
                return Ok(Some(body));
            }
            // A prefix's first byte says how long it is (RFC 9000, section 16). One longer than any frame of ours needs is
            // refused by `parse_prefix` without its last bytes.
            let whole = if have == 0 { 1 } else { FRAME_PREFIX_BYTES_MAX.min(1 << (self.prefix[0] >> 6)) };
            let Some(piece) = source.read(whole - have) else { return Ok(None) };
            self.prefix[have..have + piece.len()].copy_from_slice(&piece);
            self.prefix_bytes += piece.len() as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use wire::limits::FRAME_BYTES_MAX;

    use super::*;

    struct Pieces(VecDeque<Bytes>);

    impl Source for Pieces {
        fn read(&mut self, max: usize) -> Option<Bytes> {
            let front = self.0.front_mut()?;
            let piece = front.split_to(max.min(front.len()));
            if front.is_empty() {
                self.0.pop_front();
            }
            Some(piece)
        }
    }

    fn frame(body: &[u8], prefix: usize) -> Vec<u8> {
        let tag = (prefix.trailing_zeros() as u64) << (8 * prefix - 2);
        let mut frame = (tag | body.len() as u64).to_be_bytes()[8 - prefix..].to_vec();
        frame.extend_from_slice(body);
        frame
    }

    fn body(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i * 31 + bytes) as u8).collect()
    }

    #[test]
    fn r115_frames_of_every_length_split_at_every_byte() {
        for (bytes, prefix) in [(0, 1), (0, 4), (1, 1), (1, 2), (63, 1), (64, 2), (300, 2), (300, 4)] {
            let mut stream = frame(&body(bytes), prefix);
            stream.extend(frame(&body(5), 1));
            for split in 1..stream.len() {
                let pieces = [&stream[..split], &stream[split..]].map(Bytes::copy_from_slice);
                let mut source = Pieces(pieces.into_iter().collect());
                let mut reassembly = Reassembly::default();
                assert_eq!(reassembly.next_frame(&mut source).unwrap().unwrap(), body(bytes));
                assert_eq!(reassembly.next_frame(&mut source).unwrap().unwrap(), body(5));
                assert_eq!(reassembly.next_frame(&mut source), Ok(None));
                assert!(!reassembly.is_within_frame());
            }
        }
    }

    #[test]
    fn r115_a_frame_fed_byte_by_byte_is_whole_only_at_its_last() {
        let stream = frame(&body(300), 2);
        let mut reassembly = Reassembly::default();
        for (i, &byte) in stream.iter().enumerate() {
            let mut source = Pieces(VecDeque::from([Bytes::copy_from_slice(&[byte])]));
            let found = reassembly.next_frame(&mut source).unwrap();
            assert_eq!(found.is_some(), i + 1 == stream.len());
            assert_eq!(reassembly.is_within_frame(), i + 1 < stream.len());
        }
    }

    #[test]
    fn the_largest_frame_passes_and_one_byte_more_is_refused() {
        let mut reassembly = Reassembly::default();
        let largest = Bytes::from(frame(&body(FRAME_BYTES_MAX), 4));
        let found = reassembly.next_frame(&mut Pieces(VecDeque::from([largest]))).unwrap().unwrap();
        assert_eq!(found, body(FRAME_BYTES_MAX));

        let over = Bytes::from(frame(&body(FRAME_BYTES_MAX + 1), 4));
        assert!(reassembly.next_frame(&mut Pieces(VecDeque::from([over]))).is_err());
        let mut reassembly = Reassembly::default();
        let eight = Bytes::from(frame(&body(3), 8));
        assert!(reassembly.next_frame(&mut Pieces(VecDeque::from([eight]))).is_err());
    }

    #[test]
    fn a_frame_in_one_piece_is_not_copied() {
        let whole = Bytes::from(frame(&body(100), 2));
        let at = whole[2..].as_ptr();
        let found = Reassembly::default().next_frame(&mut Pieces(VecDeque::from([whole]))).unwrap().unwrap();
        assert_eq!(found.as_ptr(), at);
    }

    #[test]
    fn memory_grows_with_what_arrived_not_with_what_was_announced() {
        let mut announced = frame(&body(FRAME_BYTES_MAX), 4);
        announced.truncate(4 + 100);
        let mut reassembly = Reassembly::default();
        let found = reassembly.next_frame(&mut Pieces(VecDeque::from([Bytes::from(announced)])));
        assert_eq!(found, Ok(None));
        assert!(reassembly.partial.capacity() < 1024, "{}", reassembly.partial.capacity());
    }
}
