//! Names of links and streams.

use std::fmt;

use quinn_proto::{Dir, Side};

/// One connection of an [`Endpoint`](crate::Endpoint). Never used again for another one while the endpoint lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// Bits of a [`LinkId`] that hold its place in the endpoint's table; the others count connections.
const KEY_BITS: u32 = 24;

impl LinkId {
    /// Links that one endpoint can hold.
    pub(crate) const KEYS: usize = 1 << KEY_BITS;

    pub(crate) fn new(serial: u64, key: usize) -> LinkId {
        debug_assert!(key < LinkId::KEYS);
        LinkId(serial << KEY_BITS | key as u64)
    }

    /// As a bare number, for tables of its owner's.
    pub fn number(self) -> u64 {
        self.0
    }

    pub(crate) fn key(self) -> usize {
        self.0 as usize & (LinkId::KEYS - 1)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One stream of a link: QUIC's stream id (RFC 9000, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(crate) quinn_proto::StreamId);

impl StreamId {
    /// Its number on the wire.
    pub fn number(self) -> u64 {
        self.0.into()
    }

    /// The stream with this number. `None` if the number is no QUIC varint.
    pub fn from_number(number: u64) -> Option<StreamId> {
        let number = quinn_proto::VarInt::from_u64(number).ok()?;
        Some(StreamId(quinn_proto::StreamId::from(number)))
    }

    /// Whether both sides send on it.
    pub fn is_bidirectional(self) -> bool {
        self.0.dir() == Dir::Bi
    }

    /// Whether the client opened it.
    pub fn is_client_initiated(self) -> bool {
        self.0.initiator() == Side::Client
    }

    /// Its index among the streams of its kind and initiator, from 0.
    pub fn index(self) -> u64 {
        self.0.index()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.number(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_ids_keep_key_and_serial_apart() {
        let id = LinkId::new(7, LinkId::KEYS - 1);
        assert_eq!(id.key(), LinkId::KEYS - 1);
        assert_ne!(id, LinkId::new(8, LinkId::KEYS - 1));
    }

    #[test]
    fn stream_numbers_follow_rfc_9000() {
        for (number, client, bidirectional, index) in
            [(0, true, true, 0), (1, false, true, 0), (2, true, false, 0), (7, false, false, 1)]
        {
            let id = StreamId::from_number(number).expect("a varint");
            assert_eq!(
                (id.number(), id.is_client_initiated(), id.is_bidirectional(), id.index()),
                (number, client, bidirectional, index)
            );
        }
        assert_eq!(StreamId::from_number(1 << 62), None);
    }
}
