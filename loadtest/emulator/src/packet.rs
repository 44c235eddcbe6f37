//! IPv4 packets: as much of them as routing and address translation need.
//!
//! Invariant: a [`Packet`] has a whole IPv4 header, is as long as it says, and goes to a single address. A rewritten
//! packet's checksums are as right, or as wrong, as they were: they are updated by the difference (RFC 1624).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;

const HEADER_BYTES_MIN: usize = 20;
const HEADER_CHECKSUM: usize = 10;
const SOURCE: Range<usize> = 12..16;
const DESTINATION: Range<usize> = 16..20;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// One IPv4 packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    bytes: Vec<u8>,
}

/// A protocol with ports, as its number in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Transport(u8);

/// Which end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Destination,
}

impl Packet {
    /// `None`: not IPv4, not whole, or to nobody in particular (multicast, broadcast).
    pub(crate) fn parse(mut bytes: Vec<u8>) -> Option<Packet> {
        if bytes.len() < HEADER_BYTES_MIN || bytes[0] >> 4 != 4 {
            return None;
        }
        let header = usize::from(bytes[0] & 0xf) * 4;
        let total = usize::from(read(&bytes, 2));
        if header < HEADER_BYTES_MIN || total < header || bytes.len() < total {
            return None;
        }
        bytes.truncate(total);
        let packet = Packet { bytes };
        let to = packet.destination();
        if to.is_multicast() || to.is_broadcast() || to.is_unspecified() { None } else { Some(packet) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn protocol(&self) -> u8 {
        self.bytes[9]
    }

    pub(crate) fn destination(&self) -> Ipv4Addr {
        self.address(End::Destination)
    }

    /// The transport and that end's address and port; `None` for other protocols, and for fragments, whose ports are in
    /// another packet and whose checksum covers several.
    pub(crate) fn socket(&self, end: End) -> Option<(Transport, SocketAddrV4)> {
        let transport = self.transport()?;
        let port = read(&self.bytes, self.port_offset(end));
        Some((transport, SocketAddrV4::new(self.address(end), port)))
    }

    /// Gives that end another address and port, if the packet has ports.
    pub(crate) fn rewrite(&mut self, end: End, to: SocketAddrV4) {
        let Some(transport) = self.transport() else { return };
        let address = self.address_offset(end);
        let port = self.port_offset(end);
        let checksum = self.header_bytes() + transport.checksum_offset();
        // In UDP a checksum of zero says that there is none.
        let has_checksum = transport.0 != UDP || read(&self.bytes, checksum) != 0;
        let octets = to.ip().octets();
        for (at, word) in [
            (address, u16::from_be_bytes([octets[0], octets[1]])),
            (address + 2, u16::from_be_bytes([octets[2], octets[3]])),
        ] {
            let old = self.write(at, word);
            self.update_checksum(HEADER_CHECKSUM, old, word);
            if has_checksum {
                self.update_checksum(checksum, old, word);
            }
        }
        let old = self.write(port, to.port());
        if has_checksum {
            self.update_checksum(checksum, old, to.port());
            if transport.0 == UDP && read(&self.bytes, checksum) == 0 {
                self.write(checksum, 0xffff);
            }
        }
    }

    fn address(&self, end: End) -> Ipv4Addr {
        let at = self.address_offset(end);
        Ipv4Addr::new(self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3])
    }

    fn address_offset(&self, end: End) -> usize {
        match end {
            End::Source => SOURCE.start,
            End::Destination => DESTINATION.start,
        }
    }

    fn port_offset(&self, end: End) -> usize {
        match end {
            End::Source => self.header_bytes(),
            End::Destination => self.header_bytes() + 2,
        }
    }

    fn header_bytes(&self) -> usize {
        usize::from(self.bytes[0] & 0xf) * 4
    }

    /// The protocol if it is one with ports whose whole header is here.
    fn transport(&self) -> Option<Transport> {
        // More fragments follow, or this is not the first.
        let is_fragment = read(&self.bytes, 6) & 0x3fff != 0;
        let transport = Transport(self.protocol());
        let is_known = matches!(transport.0, TCP | UDP);
        let is_whole = self.bytes.len() >= self.header_bytes() + transport.header_bytes_min();
        (is_known && is_whole && !is_fragment).then_some(transport)
    }

    /// Writes a word and returns what stood there.
    fn write(&mut self, at: usize, word: u16) -> u16 {
        let old = read(&self.bytes, at);
        self.bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
        old
    }

    /// RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
    fn update_checksum(&mut self, at: usize, old: u16, new: u16) {
        let mut sum = u32::from(!read(&self.bytes, at)) + u32::from(!old) + u32::from(new);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        self.write(at, !(sum as u16));
    }
}

impl Transport {
    fn header_bytes_min(self) -> usize {
        if self.0 == UDP { 8 } else { 20 }
    }

    fn checksum_offset(self) -> usize {
        if self.0 == UDP { 6 } else { 16 }
    }
}

fn read(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
pub(crate) mod tests;
