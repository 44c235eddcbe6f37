//! Reads what travels between endpoints whose keys are the stand-in's ([`plain_server`](super::plain_server)): it seals
//! with a checksum and hides nothing, so packets and frames lie open to whoever emulates the network.
//!
//! Nothing here panics, whatever the bytes: what cannot be read is `None`, the whole datagram with it.

use std::ops::Range;

use quinn_proto::VarInt;
use quinn_proto::coding::Codec;

use super::plain::TAG_BYTES;
use crate::cid::CID_BYTES;

/// What a packet is for (RFC 9000, section 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketKind {
    /// The handshake's first.
    Initial,
    /// Early data.
    ZeroRtt,
    /// The rest of the handshake.
    Handshake,
    /// "Prove your address first"; it carries no frames.
    Retry,
    /// Everything after the handshake.
    OneRtt,
}

/// One packet of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// What it is for.
    pub kind: PacketKind,
    /// What it carries, in order; padding is left out.
    pub frames: Vec<Frame>,
}

/// One QUIC frame (RFC 9000, section 19).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A part of a stream.
    Stream(Part),
    /// Any other, by its type.
    Other(u64),
}

/// A part of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The stream's number.
    pub stream: u64,
    /// Which bytes of it, from its beginning; perhaps none, if it is only its end.
    pub bytes: Range<u64>,
    /// Whether the stream ends with it.
    pub fin: bool,
}

/// The packets of one datagram, coalesced ones too.
///
/// `None` if any of it cannot be read: other keys than the stand-in's, version negotiation, connection ids that are not
/// ours, a stateless reset (which looks like a packet and rarely reads as one), damage. Seals are not checked.
pub fn packets(datagram: &[u8]) -> Option<Vec<Packet>> {
    let mut rest = Reader(datagram);
    let mut packets = Vec::new();
    while !rest.is_empty() {
        packets.push(packet(&mut rest)?);
    }
    (!packets.is_empty()).then_some(packets)
}

/// The parts of streams that a datagram carries, in order. `None` as for [`packets`].
pub fn stream_parts(datagram: &[u8]) -> Option<Vec<Part>> {
    let frames = packets(datagram)?.into_iter().flat_map(|packet| packet.frames);
    let part = |frame| if let Frame::Stream(part) = frame { Some(part) } else { None };
    Some(frames.filter_map(part).collect())
}

const LONG: u8 = 0x80;
const FIXED: u8 = 0x40;

fn packet(datagram: &mut Reader<'_>) -> Option<Packet> {
    let first = datagram.byte()?;
    if first & FIXED == 0 {
        return None;
    }
    if first & LONG != 0 {
        return long(first, datagram);
    }
    // A short header says neither how long its connection id is nor where the packet ends (section 17.3).
    datagram.take(CID_BYTES)?;
    let sealed = std::mem::take(&mut datagram.0);
    Some(Packet { kind: PacketKind::OneRtt, frames: opened(first, sealed)? })
}

/// The rest of a packet with a long header (section 17.2), up to where its length says.
fn long(first: u8, datagram: &mut Reader<'_>) -> Option<Packet> {
    let version = datagram.take(4)?;
    if version == [0; 4] {
        return None;
    }
    for _ in ["destination", "source"] {
        let id_bytes = datagram.byte()?;
        datagram.take(usize::from(id_bytes))?;
    }
    let kind = match first >> 4 & 3 {
        0 => PacketKind::Initial,
        1 => PacketKind::ZeroRtt,
        2 => PacketKind::Handshake,
        _ => {
            // Its token and tag are the rest of the datagram.
            datagram.0 = &[];
            return Some(Packet { kind: PacketKind::Retry, frames: Vec::new() });
        }
    };
    if kind == PacketKind::Initial {
        datagram.counted()?;
    }
    let sealed = datagram.counted()?;
    Some(Packet { kind, frames: opened(first, sealed)? })
}

/// The frames of what follows the header: packet number, frames, tag.
fn opened(first: u8, sealed: &[u8]) -> Option<Vec<Frame>> {
    let number_bytes = usize::from(first & 3) + 1;
    let end = sealed.len().checked_sub(TAG_BYTES)?;
    let mut payload = Reader(sealed.get(number_bytes..end)?);
    let mut frames = Vec::new();
    while !payload.is_empty() {
        frames.extend(frame(&mut payload)?);
    }
    Some(frames)
}

/// `Some(None)` is padding.
fn frame(payload: &mut Reader<'_>) -> Option<Option<Frame>> {
    let kind = payload.varint()?;
    match kind {
        0x00 => return Some(None),
        0x08..=0x0f => return Some(Some(Frame::Stream(part(kind, payload)?))),
        // PING, HANDSHAKE_DONE, IMMEDIATE_ACK.
        0x01 | 0x1e | 0x1f => {}
        0x02 | 0x03 => ack(kind == 0x03, payload)?,
        // RESET_STREAM.
        0x04 => payload.varints(3)?,
        // STOP_SENDING, MAX_STREAM_DATA, STREAM_DATA_BLOCKED.
        0x05 | 0x11 | 0x15 => payload.varints(2)?,
        // CRYPTO.
        0x06 => {
            payload.varint()?;
            payload.counted()?;
        }
        // NEW_TOKEN.
        0x07 => drop(payload.counted()?),
        // MAX_DATA, MAX_STREAMS, DATA_BLOCKED, STREAMS_BLOCKED, RETIRE_CONNECTION_ID.
        0x10 | 0x12..=0x14 | 0x16 | 0x17 | 0x19 => payload.varints(1)?,
        // NEW_CONNECTION_ID: sequence, retired up to, the id, a reset token.
        0x18 => {
            payload.varints(2)?;
            let id_bytes = payload.byte()?;
            payload.take(usize::from(id_bytes) + 16)?;
        }
        // PATH_CHALLENGE, PATH_RESPONSE.
        0x1a | 0x1b => drop(payload.take(8)?),
        // CONNECTION_CLOSE: code, of QUIC's own also the frame's type, reason.
        0x1c | 0x1d => {
            payload.varints(if kind == 0x1c { 2 } else { 1 })?;
            payload.counted()?;
        }
        // ACK_FREQUENCY (draft-ietf-quic-ack-frequency).
        0xaf => payload.varints(4)?,
        _ => return None,
    }
    Some(Some(Frame::Other(kind)))
}

/// Section 19.8.
fn part(kind: u64, payload: &mut Reader<'_>) -> Option<Part> {
    let stream = payload.varint()?;
    let start = if kind & 0x04 != 0 { payload.varint()? } else { 0 };
    let data = if kind & 0x02 != 0 { payload.counted()? } else { std::mem::take(&mut payload.0) };
    let end = start.checked_add(data.len() as u64)?;
    Some(Part { stream, bytes: start..end, fin: kind & 0x01 != 0 })
}

/// Section 19.3: largest, delay, how many ranges, the first one, the others, and the counts of ECN.
fn ack(has_ecn: bool, payload: &mut Reader<'_>) -> Option<()> {
    payload.varints(2)?;
    let ranges = payload.varint()?;
    payload.varint()?;
    for _ in 0..ranges {
        payload.varints(2)?;
    }
    if has_ecn { payload.varints(3) } else { Some(()) }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> Option<u8> {
        u8::decode(&mut self.0).ok()
    }

    fn varint(&mut self) -> Option<u64> {
        VarInt::decode(&mut self.0).ok().map(VarInt::into_inner)
    }

    fn varints(&mut self, count: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.varint().map(drop))
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    /// Bytes behind their count.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let bytes = usize::try_from(self.varint()?).ok()?;
        self.take(bytes)
    }
}
