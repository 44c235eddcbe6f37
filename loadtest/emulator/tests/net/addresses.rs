//! NAT, rebinding, and hosts that move, as the other side meets them.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use loadtest_emulator::{HostError, Namespace, Network};

use crate::two::{A, B, MS, Two, heard, kernel_counter, socket, tcp, wait_until};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(10, 77, 9, 9);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 77, 8, 8);

/// Waits until the NAT of A has turned away so many packets.
fn wait_for_unmapped(two: &Two, count: u64) {
    wait_until("the NAT has turned packets away", || two.a.nat_counters().unwrap().unmapped >= count);
}

#[test]
fn i10_a_nat_rewrites_the_source_and_answers_reach_the_inner_socket() {
    let test = "i10_a_nat_rewrites_the_source_and_answers_reach_the_inner_socket";
    let Some(two) = Two::new(test, 21) else { return };
    two.a.put_behind_nat(PUBLIC, None).unwrap();
    let (a, b) = two.sockets();
    let inner = a.local_addr().unwrap();
    for n in 0..200u32 {
        // All lengths and many contents: the kernel drops what has a wrong checksum.
        let data = vec![n as u8; 1 + n as usize * 7];
        a.send_to(&data, b.local_addr().unwrap()).unwrap();
        let seen = heard(&b, &data);
        assert_eq!(seen.ip(), PUBLIC);
        assert_ne!(seen, inner);
        b.send_to(&data, seen).unwrap();
        assert_eq!(heard(&a, &data), b.local_addr().unwrap());
    }
    assert_eq!(two.a.nat_counters().unwrap().mappings, 1);
    for host in [&two.a, &two.b] {
        assert_eq!(kernel_counter(host, "Udp", "InDatagrams"), 200);
        assert_eq!(kernel_counter(host, "Udp", "InCsumErrors"), 0);
        assert_eq!(kernel_counter(host, "Ip", "InHdrErrors"), 0);
    }
}

#[test]
fn i10_rebinding_changes_the_port_in_the_middle_and_the_old_one_is_dead() {
    let test = "i10_rebinding_changes_the_port_in_the_middle_and_the_old_one_is_dead";
    let Some(two) = Two::new(test, 22) else { return };
    two.a.put_behind_nat(PUBLIC, None).unwrap();
    let (a, b) = two.sockets();
    let to = b.local_addr().unwrap();
    let say = |data: &[u8]| {
        a.send_to(data, to).unwrap();
        heard(&b, data)
    };
    let first = say(b"one");
    assert_eq!(say(b"two"), first);
    two.a.rebind().unwrap();
    b.send_to(b"to the old port", first).unwrap();
    wait_for_unmapped(&two, 1);
    let second = say(b"three");
    assert_eq!(second.ip(), first.ip());
    assert_ne!(second.port(), first.port());
    b.send_to(b"to the old port", first).unwrap();
    wait_for_unmapped(&two, 2);
    b.send_to(b"to the new port", second).unwrap();
    assert_eq!(heard(&a, b"to the new port"), to);

    two.a.move_to(ELSEWHERE).unwrap();
    assert_eq!(say(b"four"), SocketAddr::from((ELSEWHERE, second.port())));
    b.send_to(b"home", (ELSEWHERE, second.port())).unwrap();
    assert_eq!(heard(&a, b"home"), to);
}

#[test]
fn i10_an_unused_mapping_is_forgotten() {
    let Some(two) = Two::new("i10_an_unused_mapping_is_forgotten", 23) else { return };
    two.a.put_behind_nat(PUBLIC, Some(Duration::from_millis(50))).unwrap();
    let (a, b) = two.sockets();
    a.send_to(b"one", b.local_addr().unwrap()).unwrap();
    let first = heard(&b, b"one");
    std::thread::sleep(100 * MS);
    b.send_to(b"too late", first).unwrap();
    wait_for_unmapped(&two, 1);
    a.send_to(b"two", b.local_addr().unwrap()).unwrap();
    assert_ne!(heard(&b, b"two").port(), first.port());
}

#[test]
fn i10_a_new_address_is_seen_by_others_and_the_old_one_is_gone() {
    let test = "i10_a_new_address_is_seen_by_others_and_the_old_one_is_gone";
    let Some(two) = Two::new(test, 24) else { return };
    let (bound, b) = two.sockets();
    let anywhere = socket(&two.a, IpAddr::from([0, 0, 0, 0]));
    let to = b.local_addr().unwrap();
    bound.send_to(b"one", to).unwrap();
    assert_eq!(heard(&b, b"one").ip(), A);
    anywhere.send_to(b"two", to).unwrap();
    assert_eq!(heard(&b, b"two").ip(), A);

    let new = Ipv4Addr::new(10, 77, 1, 2);
    two.a.change_address(new).unwrap();
    assert_eq!(two.a.address(), new);
    // Whoever bound to the old address is stuck to it; whoever bound to none goes on; whoever binds now gets the new one.
    bound.send_to(b"from nowhere", to).unwrap_err();
    anywhere.send_to(b"three", to).unwrap();
    assert_eq!(heard(&b, b"three"), SocketAddr::from((new, anywhere.local_addr().unwrap().port())));
    let fresh = socket(&two.a, new.into());
    fresh.send_to(b"four", to).unwrap();
    assert_eq!(heard(&b, b"four"), fresh.local_addr().unwrap());
    b.send_to(b"five", fresh.local_addr().unwrap()).unwrap();
    assert_eq!(heard(&fresh, b"five"), to);
    two.a.namespace().run(|| std::net::UdpSocket::bind((A, 0))).unwrap().unwrap_err();
    b.send_to(b"to the old address", bound.local_addr().unwrap()).unwrap();
    wait_until("the packet has reached nobody", || two.network.totals().unroutable == 1);
    // Back again.
    two.a.change_address(A).unwrap();
    bound.send_to(b"six", to).unwrap();
    assert_eq!(heard(&b, b"six"), bound.local_addr().unwrap());
}

#[test]
fn i10_a_host_behind_a_nat_changes_its_inside_address() {
    let Some(two) = Two::new("i10_a_host_behind_a_nat_changes_its_inside_address", 25) else { return };
    two.a.put_behind_nat(PUBLIC, None).unwrap();
    let (a, b) = two.sockets();
    a.send_to(b"one", b.local_addr().unwrap()).unwrap();
    let first = heard(&b, b"one");
    let new = Ipv4Addr::new(10, 77, 1, 2);
    two.a.change_address(new).unwrap();
    let fresh = socket(&two.a, new.into());
    fresh.send_to(b"two", b.local_addr().unwrap()).unwrap();
    let second = heard(&b, b"two");
    assert_eq!(second.ip(), PUBLIC);
    assert_ne!(second.port(), first.port());
    b.send_to(b"three", second).unwrap();
    assert_eq!(heard(&fresh, b"three"), b.local_addr().unwrap());
}

#[test]
fn tcp_passes_a_nat() {
    let Some(two) = Two::new("tcp_passes_a_nat", 26) else { return };
    two.a.put_behind_nat(PUBLIC, None).unwrap();
    let (mut client, mut server) = tcp(&two);
    assert_eq!(server.peer_addr().unwrap().ip(), PUBLIC);
    assert_ne!(server.peer_addr().unwrap().port(), client.local_addr().unwrap().port());
    let data: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| client.write_all(&data).unwrap());
        let mut received = vec![0; data.len()];
        server.read_exact(&mut received).unwrap();
        assert!(received == data);
    });
    for host in [&two.a, &two.b] {
        assert_eq!(kernel_counter(host, "Tcp", "InCsumErrors"), 0);
    }
}

#[test]
fn addresses_that_cannot_be_given_are_refused_by_name() {
    let Some(two) = Two::new("addresses_that_cannot_be_given_are_refused_by_name", 27) else { return };
    for outside in ["192.168.0.1", "10.78.0.1", "10.77.0.0", "10.77.255.255"] {
        let outside: Ipv4Addr = outside.parse().unwrap();
        let namespace = Namespace::new().unwrap();
        let refused = two.network.attach(&namespace, outside).unwrap_err();
        assert!(matches!(refused, HostError::Outside(address) if address == outside));
        assert!(matches!(two.a.change_address(outside), Err(HostError::Outside(_))));
        assert!(matches!(two.a.put_behind_nat(outside, None), Err(HostError::Outside(_))));
    }
    let namespace = Namespace::new().unwrap();
    assert!(matches!(two.network.attach(&namespace, B), Err(HostError::Taken(B))));
    // Nothing was left behind in it.
    let third = two.network.attach(&namespace, Ipv4Addr::new(10, 77, 3, 1)).unwrap();
    assert!(matches!(third.change_address(B), Err(HostError::Taken(B))));
    assert!(matches!(third.put_behind_nat(B, None), Err(HostError::Taken(B))));
    assert!(matches!(third.rebind(), Err(HostError::NoNat)));
    assert!(matches!(third.move_to(PUBLIC), Err(HostError::NoNat)));
    let again = two.network.attach(&namespace, Ipv4Addr::new(10, 77, 3, 2));
    assert!(matches!(again, Err(HostError::Device { .. })));
    let elsewhere = Network::new(1).unwrap();
    assert!(matches!(elsewhere.attach(&namespace, B), Err(HostError::Device { .. })));
}
