//! A server that says who it saw, and clients that ask it.

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A socket that tests give up on.
fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

struct Bench {
    relay: Relay,
    server: UdpSocket,
    client: UdpSocket,
}

impl Bench {
    fn start() -> Bench {
        let server = socket();
        let relay = Relay::start(server.local_addr().unwrap()).unwrap();
        Bench { relay, server, client: socket() }
    }

    /// The client says something; where the server saw it.
    fn say(&self, data: &[u8]) -> SocketAddr {
        self.client.send_to(data, self.relay.address()).unwrap();
        self.heard(data)
    }

    fn heard(&self, data: &[u8]) -> SocketAddr {
        let mut buffer = [0; 2048];
        let (len, from) = self.server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], data);
        from
    }

    fn answer(&self, data: &[u8], to: SocketAddr) {
        self.server.send_to(data, to).unwrap();
    }

    fn got(&self, data: &[u8]) {
        let mut buffer = [0; 2048];
        let (len, from) = self.client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (data, self.relay.address()));
    }

    fn until(&self, done: impl Fn(Counts) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self.relay.counts()) {
            assert!(Instant::now() < deadline, "{:?}", self.relay.counts());
            std::thread::sleep(NAP_MAX);
        }
    }
}

/// A datagram that begins a connection of the client's id `id`.
fn long(id: u8, said: &[u8]) -> Vec<u8> {
    [&[0xc0, 0, 0, 0, 1, 3, 9, 9, 9, 2, id, id][..], said].concat()
}

#[test]
fn both_ways_and_each_client_by_itself() {
    let bench = Bench::start();
    let seen = bench.say(b"ping");
    assert_ne!(seen, bench.client.local_addr().unwrap());
    let other = socket();
    other.send_to(b"other", bench.relay.address()).unwrap();
    let other_seen = bench.heard(b"other");
    assert_ne!(seen, other_seen);
    bench.answer(b"pong", seen);
    bench.got(b"pong");
    assert_eq!(bench.relay.counts(), Counts { to_server: 2, to_clients: 1, swallowed: 0 });
    assert_eq!(bench.relay.clients().len(), 2);
    assert!(bench.relay.clients().contains(&(bench.client.local_addr().unwrap(), seen)));
}

#[test]
fn i10_a_rebinding_changes_the_port_and_a_move_the_address() {
    let bench = Bench::start();
    let before = bench.say(b"1");
    bench.relay.rebind().unwrap();
    bench.answer(b"lost", before);
    let rebound = bench.say(b"2");
    assert_eq!(before.ip(), rebound.ip());
    assert_ne!(before.port(), rebound.port());
    bench.answer(b"found", rebound);
    bench.got(b"found");
    for wrong in ["192.0.2.1", "::1"] {
        let wrong = bench.relay.move_to(wrong.parse().unwrap()).unwrap_err();
        assert_eq!(wrong.kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(bench.say(b"3"), rebound, "nothing has changed");
    if cfg!(target_os = "linux") {
        // Elsewhere loopback may have one address only.
        bench.relay.move_to("127.0.0.2".parse().unwrap()).unwrap();
        assert_eq!(bench.say(b"4").ip(), "127.0.0.2".parse::<IpAddr>().unwrap());
    }
    assert!(Relay::start("192.0.2.1:1".parse().unwrap()).is_err());
}

#[test]
fn a_delay_keeps_the_order_also_when_it_shrinks() {
    let bench = Bench::start();
    bench.relay.set_delay(Duration::from_millis(200));
    let began = Instant::now();
    bench.client.send_to(b"first", bench.relay.address()).unwrap();
    // It has its time, which it keeps.
    while bench.relay.clients().is_empty() {
        std::thread::sleep(NAP_MIN);
    }
    bench.relay.set_delay(Duration::ZERO);
    bench.client.send_to(b"second", bench.relay.address()).unwrap();
    bench.heard(b"first");
    assert!(began.elapsed() >= Duration::from_millis(200));
    bench.heard(b"second");
}

#[test]
fn a_black_hole_swallows_both_ways_and_what_is_under_way() {
    let bench = Bench::start();
    let seen = bench.say(b"before");
    bench.relay.set_delay(Duration::from_secs(3600));
    bench.client.send_to(b"under way", bench.relay.address()).unwrap();
    bench.answer(b"under way", seen);
    bench.relay.set_blackhole(true);
    bench.client.send_to(b"gone", bench.relay.address()).unwrap();
    bench.answer(b"gone", seen);
    bench.until(|counts| counts.swallowed == 4);
    bench.relay.set_blackhole(false);
    bench.relay.set_delay(Duration::ZERO);
    assert_eq!(bench.say(b"after"), seen);
    bench.answer(b"answer", seen);
    bench.got(b"answer");
}

#[test]
fn a_first_flight_is_what_a_client_says_unanswered() {
    let bench = Bench::start();
    bench.relay.set_first_flight_only(true);
    let seen = bench.say(&long(1, b"hello"));
    bench.say(b"\x40more of the first flight");
    bench.answer(b"answer", seen);
    bench.got(b"answer");
    bench.client.send_to(&long(1, b"late"), bench.relay.address()).unwrap();
    bench.client.send_to(b"\x40late too", bench.relay.address()).unwrap();
    bench.until(|counts| counts.swallowed == 2);
    bench.say(&long(2, b"another connection"));
}

#[test]
fn g18_captures_are_the_beginnings_of_connections() {
    let bench = Bench::start();
    bench.say(&long(1, b"not captured"));
    bench.relay.set_captures(2);
    let said = [long(2, b"a"), b"\x40b".to_vec(), b"\x40c".to_vec(), long(3, b"d")];
    said.iter().for_each(|data| assert_ne!(bench.say(data).port(), 0));
    let captures = bench.relay.captures();
    let datagrams: Vec<_> = captures.iter().map(|capture| capture.datagrams.clone()).collect();
    assert_eq!(datagrams, [vec![said[0].clone(), said[1].clone()], vec![said[3].clone()]]);
    assert_eq!(captures[0].client, bench.client.local_addr().unwrap());
}

#[test]
fn short_and_cut_datagrams_have_no_id() {
    for data in [&b""[..], b"\x40abc", b"\xc0", b"\xc0\0\0\0\x01\xff", b"\xc0\0\0\0\x01\0\x05abc"] {
        assert_eq!(capture::client_id(data), None, "{data:?}");
    }
    assert_eq!(capture::client_id(&long(7, b"")), Some(&[7, 7][..]));
}

#[test]
fn a_server_that_is_gone_ends_nothing() {
    let mut bench = Bench::start();
    bench.say(b"before");
    let address = bench.server.local_addr().unwrap();
    bench.server = socket();
    for _ in 0..3 {
        bench.client.send_to(b"to nobody", bench.relay.address()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    bench.server = UdpSocket::bind(address).unwrap();
    bench.server.set_read_timeout(Some(PATIENCE)).unwrap();
    bench.until(|counts| counts.to_server + counts.swallowed == 4);
    bench.say(b"after");
}
