use super::*;

/// An UDP or TCP packet with right checksums.
pub(crate) fn packet(transport: u8, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let header = Transport(transport).header_bytes_min();
    let mut bytes = vec![0; 20 + header];
    bytes[0] = 0x45;
    bytes[8] = 64;
    bytes[9] = transport;
    bytes.extend(payload);
    let total = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    bytes[SOURCE].copy_from_slice(&from.ip().octets());
    bytes[DESTINATION].copy_from_slice(&to.ip().octets());
    bytes[20..22].copy_from_slice(&from.port().to_be_bytes());
    bytes[22..24].copy_from_slice(&to.port().to_be_bytes());
    if transport == UDP {
        bytes[24..26].copy_from_slice(&(total - 20).to_be_bytes());
    }
    let sum = header_sum(&bytes);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    let at = 20 + Transport(transport).checksum_offset();
    let sum = transport_sum(&bytes);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

pub(crate) fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    packet(UDP, from, to, payload)
}

/// The checksum over `bytes`: zero if they contain the right one.
fn sum(bytes: &[u8], more: u32) -> u16 {
    let mut sum = more;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn header_sum(bytes: &[u8]) -> u16 {
    sum(&bytes[..20], 0)
}

fn transport_sum(bytes: &[u8]) -> u16 {
    let pseudo = u32::from(bytes[9]) + bytes.len() as u32 - 20;
    let addresses = (12..20).step_by(2).map(|at| u32::from(read(bytes, at))).sum::<u32>();
    sum(&bytes[20..], pseudo + addresses)
}

fn assert_valid(packet: &Packet) {
    assert_eq!(header_sum(packet.bytes()), 0);
    assert_eq!(transport_sum(packet.bytes()), 0);
}

fn at(last: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, last), port)
}

#[test]
fn rewritten_packets_have_right_checksums() {
    for transport in [UDP, TCP] {
        for n in 0..=u16::MAX / 16 {
            let payload = n.to_be_bytes();
            let bytes = packet(transport, at(1, 1000), at(2, 443), &payload[..1 + usize::from(n % 2)]);
            let mut packet = Packet::parse(bytes).unwrap();
            assert_valid(&packet);
            let new = SocketAddrV4::new(Ipv4Addr::from(u32::from(n) * 0x1_0003), n.wrapping_mul(17));
            packet.rewrite(End::Source, new);
            assert_valid(&packet);
            assert_eq!(packet.socket(End::Source), Some((Transport(transport), new)));
            assert_eq!(packet.socket(End::Destination), Some((Transport(transport), at(2, 443))));
            packet.rewrite(End::Destination, at(9, 9));
            assert_valid(&packet);
            assert_eq!(packet.socket(End::Destination), Some((Transport(transport), at(9, 9))));
        }
    }
}

#[test]
fn no_udp_checksum_stays_none_and_a_wrong_one_stays_wrong() {
    let mut bytes = udp(at(1, 1000), at(2, 443), b"x");
    bytes[26..28].fill(0);
    let mut packet = Packet::parse(bytes).unwrap();
    packet.rewrite(End::Source, at(3, 2000));
    assert_eq!(read(packet.bytes(), 26), 0);

    let mut bytes = udp(at(1, 1000), at(2, 443), b"x");
    bytes[28] ^= 1;
    let mut packet = Packet::parse(bytes).unwrap();
    packet.rewrite(End::Source, at(3, 2000));
    assert_ne!(transport_sum(packet.bytes()), 0);
}

#[test]
fn what_is_no_whole_packet_to_one_address_is_none() {
    let good = udp(at(1, 1000), at(2, 443), b"hello");
    assert!(Packet::parse(good.clone()).is_some());
    for len in 0..good.len() {
        assert_eq!(Packet::parse(good[..len].to_vec()), None, "{len} bytes");
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Packet::parse(bytes)
    };
    assert_eq!(with(0, 0x65), None, "IPv6");
    assert_eq!(with(0, 0x44), None, "a short header");
    assert_eq!(with(3, 10), None, "a total shorter than the header");
    assert_eq!(with(16, 224), None, "multicast");
    // What follows the packet is no part of it.
    let longer = [good.as_slice(), b"padding"].concat();
    assert_eq!(Packet::parse(longer), Packet::parse(good.clone()));
}

#[test]
fn fragments_and_other_protocols_have_no_ports() {
    let bytes = udp(at(1, 1000), at(2, 443), b"hello");
    for (position, value) in [(6, 0x20), (7, 1), (9, 1)] {
        let mut bytes = bytes.clone();
        bytes[position] = value;
        let mut packet = Packet::parse(bytes.clone()).unwrap();
        assert_eq!(packet.socket(End::Source), None);
        packet.rewrite(End::Source, at(7, 7));
        assert_eq!(packet.bytes(), bytes);
    }
    // "Do not fragment" is no fragment.
    let mut bytes = bytes;
    bytes[6] = 0x40;
    assert!(Packet::parse(bytes).unwrap().socket(End::Source).is_some());
    // A header that says it has options, and a transport that does not fit behind them.
    let mut short = packet(UDP, at(1, 1000), at(2, 443), b"");
    short[0] = 0x47;
    assert_eq!(Packet::parse(short).unwrap().socket(End::Source), None);
}
