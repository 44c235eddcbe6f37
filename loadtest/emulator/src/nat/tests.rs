use super::*;
use crate::packet::tests::udp;

const PUBLIC: Ipv4Addr = Ipv4Addr::new(10, 77, 9, 9);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 2, 1), 443);

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant comes from nowhere else; only differences from it matter"
)]
fn start() -> Instant {
    Instant::now()
}

fn inside(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 77, 1, 1), port)
}

/// As whom the server sees an inside socket.
fn go_out(nat: &mut Nat, from: SocketAddrV4, now: Instant) -> SocketAddrV4 {
    let mut packet = Packet::parse(udp(from, SERVER, b"out")).unwrap();
    assert!(nat.go_out(&mut packet, now));
    assert_eq!(packet.socket(End::Destination).unwrap().1, SERVER);
    packet.socket(End::Source).unwrap().1
}

/// Which inside socket gets what comes to a public one.
fn come_in(nat: &mut Nat, to: SocketAddrV4, now: Instant) -> Option<SocketAddrV4> {
    let mut packet = Packet::parse(udp(SERVER, to, b"in")).unwrap();
    nat.come_in(&mut packet, now).then(|| packet.socket(End::Destination).unwrap().1)
}

#[test]
fn a_socket_keeps_its_public_port_and_answers_find_it() {
    let (mut nat, now) = (Nat::new(PUBLIC, None), start());
    let first = go_out(&mut nat, inside(1000), now);
    let second = go_out(&mut nat, inside(2000), now);
    assert_eq!(*first.ip(), PUBLIC);
    assert_ne!(first, second);
    assert_eq!(go_out(&mut nat, inside(1000), now), first);
    assert_eq!(come_in(&mut nat, first, now), Some(inside(1000)));
    assert_eq!(come_in(&mut nat, second, now), Some(inside(2000)));
    assert_eq!(come_in(&mut nat, SocketAddrV4::new(PUBLIC, 1), now), None);
    assert_eq!(nat.counters(), NatCounters { mappings: 2, unmapped: 1, ..NatCounters::default() });
}

#[test]
fn rebinding_gives_other_ports_and_old_ones_reach_nobody() {
    let (mut nat, now) = (Nat::new(PUBLIC, None), start());
    let old = go_out(&mut nat, inside(1000), now);
    nat.rebind();
    assert_eq!(come_in(&mut nat, old, now), None);
    let new = go_out(&mut nat, inside(1000), now);
    assert_ne!(old.port(), new.port());
    assert_eq!(come_in(&mut nat, old, now), None);
    assert_eq!(come_in(&mut nat, new, now), Some(inside(1000)));
}

#[test]
fn another_public_address_keeps_the_ports() {
    let (mut nat, now) = (Nat::new(PUBLIC, None), start());
    let old = go_out(&mut nat, inside(1000), now);
    let elsewhere = Ipv4Addr::new(10, 77, 8, 8);
    nat.move_to(elsewhere);
    assert_eq!(go_out(&mut nat, inside(1000), now), SocketAddrV4::new(elsewhere, old.port()));
}

#[test]
fn unused_mappings_are_forgotten_and_used_ones_are_not() {
    let idle = Duration::from_secs(30);
    let (mut nat, start) = (Nat::new(PUBLIC, Some(idle)), start());
    let port = go_out(&mut nat, inside(1000), start);
    // Either direction keeps it.
    assert_eq!(come_in(&mut nat, port, start + idle / 2), Some(inside(1000)));
    assert_eq!(go_out(&mut nat, inside(1000), start + idle), port);
    assert_eq!(come_in(&mut nat, port, start + idle * 2), None);
    let new = go_out(&mut nat, inside(1000), start + idle * 2);
    assert_ne!(new, port);
    assert_eq!(come_in(&mut nat, port, start + idle * 2), None);
    assert_eq!(come_in(&mut nat, new, start + idle * 2), Some(inside(1000)));
    assert_eq!(nat.counters().mappings, 1);
}

#[test]
fn the_oldest_mapping_goes_for_a_new_one_and_ports_wrap_around() {
    let (mut nat, now) = (Nat::new(PUBLIC, None), start());
    let lasting = go_out(&mut nat, inside(1), now);
    for port in 2..=60_000 {
        go_out(&mut nat, inside(port), now);
        if usize::from(port) == MAPPINGS_MAX {
            assert_eq!((nat.counters().mappings, nat.counters().evicted), (MAPPINGS_MAX, 0));
            assert_eq!(come_in(&mut nat, lasting, now), Some(inside(1)));
        }
        if usize::from(port) == MAPPINGS_MAX + 1 {
            assert_eq!(come_in(&mut nat, lasting, now), None);
        }
    }
    let counters = nat.counters();
    assert_eq!((counters.mappings, counters.evicted), (MAPPINGS_MAX, 60_000 - MAPPINGS_MAX as u64));
    assert_eq!(nat.by_port.len(), MAPPINGS_MAX);
    assert_eq!(nat.by_age.len(), MAPPINGS_MAX);
}

#[test]
fn what_has_no_ports_does_not_pass() {
    let (mut nat, now) = (Nat::new(PUBLIC, None), start());
    let mut icmp = udp(inside(0), SERVER, b"");
    icmp[9] = 1;
    let mut icmp = Packet::parse(icmp).unwrap();
    assert!(!nat.go_out(&mut icmp, now));
    assert!(!nat.come_in(&mut icmp, now));
    assert_eq!(nat.counters().untranslatable, 2);
}
