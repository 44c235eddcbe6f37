use std::net::SocketAddrV4;

use super::*;
use crate::packet::End;
use crate::packet::tests::udp;
use crate::settings::Rate;

const A: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 1, 1), 1000);
const B: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 2, 1), 443);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(10, 77, 9, 9);
const MS: Duration = Duration::from_millis(1);

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant comes from nowhere else; only differences from it matter"
)]
fn start() -> Instant {
    Instant::now()
}

/// Hosts 0 and 1, at A and B.
fn router() -> Router {
    let mut router = Router::new(7);
    assert_eq!(router.attach(*A.ip()), Ok(0));
    assert_eq!(router.attach(*B.ip()), Ok(1));
    router
}

/// What arrives by `now`: for whom, when it was due, and its last byte.
fn deliveries(router: &mut Router, now: Instant) -> Vec<(usize, Instant, u8)> {
    let poll = || router.poll_delivery(now).map(|d| (d.host, d.due, *d.packet.bytes().last().unwrap()));
    std::iter::from_fn(poll).collect()
}

/// Who is seen as the sender of the one packet that has arrived, if any has.
fn sender(router: &mut Router, now: Instant) -> Option<SocketAddrV4> {
    router.poll_delivery(now).map(|delivery| delivery.packet.socket(End::Source).unwrap().1)
}

#[test]
fn a_packet_goes_up_its_senders_path_and_down_its_receivers() {
    let (mut router, start) = (router(), start());
    router.set(0, Direction::Up, Settings::delayed(10 * MS));
    router.set(1, Direction::Down, Settings::delayed(5 * MS));
    // Neither is on the way.
    router.set(0, Direction::Down, Settings::delayed(1000 * MS));
    router.set(1, Direction::Up, Settings::delayed(100 * MS));
    router.handle_packet(0, udp(A, B, &[1]), start);
    assert_eq!(router.next_due(), Some(start + 10 * MS));
    assert_eq!(deliveries(&mut router, start + 15 * MS - Duration::from_nanos(1)), []);
    assert_eq!(deliveries(&mut router, start + 15 * MS), [(1, start + 15 * MS, 1)]);
    assert_eq!(router.next_due(), None);
    // Polled late, it was due no later.
    router.handle_packet(0, udp(A, B, &[2]), start + 20 * MS);
    assert_eq!(deliveries(&mut router, start + 900 * MS), [(1, start + 35 * MS, 2)]);
}

#[test]
fn order_is_kept_across_senders_and_changes_of_delay() {
    let (mut router, start) = (router(), start());
    router.set(1, Direction::Down, Settings::delayed(50 * MS));
    router.handle_packet(0, udp(A, B, &[1]), start);
    router.handle_packet(1, udp(B, B, &[2]), start);
    router.handle_packet(0, udp(A, B, &[3]), start + MS);
    assert_eq!(deliveries(&mut router, start + 2 * MS), []);
    router.set(1, Direction::Down, Settings::default());
    router.handle_packet(0, udp(A, B, &[4]), start + 3 * MS);
    let arrived: Vec<u8> = deliveries(&mut router, start + 100 * MS).iter().map(|d| d.2).collect();
    assert_eq!(arrived, [1, 2, 3, 4]);
}

#[test]
fn a_rate_is_held_to_the_nanosecond_over_many_packets() {
    let (mut router, start) = (router(), start());
    let rate = Rate { bits_per_second: 8_000_000, queue_bytes: 1_000_000 };
    router.set(0, Direction::Up, Settings { rate: Some(rate), ..Settings::default() });
    // 1,000 bytes with both headers: 1 ms each.
    for n in 0..500 {
        router.handle_packet(0, udp(A, B, &[0; 972]), start + (MS / 100) * n);
    }
    let due: Vec<Instant> = deliveries(&mut router, start + 1000 * MS).iter().map(|d| d.1).collect();
    assert_eq!(due, (1..=500).map(|n| start + MS * n).collect::<Vec<_>>());
    let counters = router.counters(0, Direction::Up, start);
    assert_eq!(counters.last_due.unwrap() - counters.first_due.unwrap(), 499 * MS);
}

#[test]
fn what_goes_to_nobody_or_is_no_packet_is_counted() {
    let (mut router, start) = (router(), start());
    let nobody = SocketAddrV4::new(Ipv4Addr::new(10, 77, 3, 3), 1);
    router.handle_packet(0, udp(A, nobody, &[1]), start);
    router.handle_packet(0, vec![0x60; 40], start);
    assert_eq!(deliveries(&mut router, start), []);
    assert_eq!((router.totals.unroutable, router.totals.foreign), (1, 1));
    // What is no packet took no part in any fate.
    assert_eq!(router.counters(0, Direction::Up, start).packets_in, 1);
}

#[test]
fn addresses_are_given_once() {
    let mut router = router();
    assert_eq!(router.attach(*A.ip()), Err(Taken));
    assert_eq!(router.change_address(0, *B.ip()), Err(Taken));
    assert_eq!(router.put_behind_nat(0, *B.ip(), None), Err(Taken));
    assert_eq!(router.address(0), *A.ip());
    assert_eq!(router.put_behind_nat(0, PUBLIC, None), Ok(()));
    assert_eq!(router.put_behind_nat(1, PUBLIC, None), Err(Taken));
    // Its inside address is its own business.
    assert_eq!(router.attach(*A.ip()), Ok(2));
    assert_eq!(router.move_to(0, *B.ip()), Err(Taken));
    assert_eq!(router.move_to(0, PUBLIC), Ok(true));
    assert_eq!((router.move_to(2, PUBLIC), router.rebind(2)), (Ok(false), false));
}

#[test]
fn a_changed_address_takes_the_route_along() {
    let (mut router, now) = (router(), start());
    let new = Ipv4Addr::new(10, 77, 1, 2);
    router.change_address(0, new).unwrap();
    router.handle_packet(1, udp(B, A, &[1]), now);
    assert_eq!(deliveries(&mut router, now), []);
    assert_eq!(router.totals.unroutable, 1);
    router.handle_packet(1, udp(B, SocketAddrV4::new(new, 1000), &[2]), now);
    assert_eq!(deliveries(&mut router, now), [(0, now, 2)]);
}

#[test]
fn behind_a_nat_a_host_is_seen_at_the_public_address_alone() {
    let (mut router, now) = (router(), start());
    router.put_behind_nat(0, PUBLIC, None).unwrap();
    router.handle_packet(0, udp(A, B, &[1]), now);
    let first = sender(&mut router, now).unwrap();
    assert_eq!(*first.ip(), PUBLIC);
    router.handle_packet(1, udp(B, first, &[2]), now);
    let answer = router.poll_delivery(now).unwrap();
    assert_eq!((answer.host, answer.packet.socket(End::Destination).unwrap().1), (0, A));
    // Its own address is not to be reached.
    router.handle_packet(1, udp(B, A, &[3]), now);
    assert_eq!(sender(&mut router, now), None);

    assert!(router.rebind(0));
    router.handle_packet(0, udp(A, B, &[4]), now);
    let second = sender(&mut router, now).unwrap();
    assert_ne!(second.port(), first.port());
    router.handle_packet(1, udp(B, first, &[5]), now);
    assert_eq!(sender(&mut router, now), None);
    assert_eq!(router.nat_counters(0).unwrap().unmapped, 1);

    let elsewhere = Ipv4Addr::new(10, 77, 8, 8);
    assert_eq!(router.move_to(0, elsewhere), Ok(true));
    router.handle_packet(0, udp(A, B, &[6]), now);
    assert_eq!(sender(&mut router, now), Some(SocketAddrV4::new(elsewhere, second.port())));
    assert_eq!(router.nat_counters(1), None);
}
