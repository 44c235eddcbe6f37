//! Two hosts on a network, and numbered packets from the first to the second.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use loadtest_emulator::{Counters, Direction, Fate, Host, Namespace, Network, Path, Settings, can_run};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const A: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
pub(crate) const B: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 1);
/// A payload, and with the headers of UDP and IP a packet of 1,000 bytes.
pub(crate) const PAYLOAD_BYTES: usize = 972;

/// Longer than anything takes on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Two {
    pub(crate) network: Network,
    pub(crate) a: Host,
    pub(crate) b: Host,
    seed: u64,
}

/// A numbered packet that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) number: usize,
    pub(crate) at: Instant,
}

impl Two {
    /// `None`: there are no namespaces here, and that was said.
    pub(crate) fn new(test: &str, seed: u64) -> Option<Two> {
        if !can_run(test) {
            return None;
        }
        let network = Network::new(seed).unwrap();
        let a = network.attach(&Namespace::new().unwrap(), A).unwrap();
        let b = network.attach(&Namespace::new().unwrap(), B).unwrap();
        Some(Two { network, a, b, seed })
    }

    /// A socket of A and one of B, with room for all that tests send.
    pub(crate) fn sockets(&self) -> (UdpSocket, UdpSocket) {
        (socket(&self.a, A.into()), socket(&self.b, B.into()))
    }

    /// Sends that many numbered packets from A to B, `gap` apart, and reads until all that will arrive has. What arrived,
    /// in its order, and when each was sent.
    pub(crate) fn send_numbered(&self, count: usize, gap: Duration) -> (Vec<Arrived>, Vec<Instant>) {
        let (from, to) = self.sockets();
        let before = self.a.counters(Direction::Up).packets_in;
        let address = to.local_addr().unwrap();
        to.set_read_timeout(Some(MS)).unwrap();
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let mut arrived = Vec::new();
                let mut buffer = [0; 2048];
                let start = Instant::now();
                // Everything is delivered when nothing is under way: what waits then is in the socket.
                loop {
                    let is_settled = self.a.counters(Direction::Up).packets_in >= before + count as u64
                        && self.is_settled();
                    while let Ok((len, _)) = to.recv_from(&mut buffer) {
                        let at = Instant::now();
                        assert_eq!(len, PAYLOAD_BYTES);
                        let number = u32::from_be_bytes(buffer[..4].try_into().unwrap()) as usize;
                        arrived.push(Arrived { number, at });
                    }
                    if is_settled {
                        return arrived;
                    }
                    assert!(start.elapsed() < PATIENCE, "packets are under way for ever");
                }
            });
            let mut payload = [0; PAYLOAD_BYTES];
            let mut sent = Vec::new();
            for number in 0..count as u32 {
                payload[..4].copy_from_slice(&number.to_be_bytes());
                sent.push(Instant::now());
                from.send_to(&payload, address).unwrap();
                if !gap.is_zero() {
                    std::thread::sleep(gap);
                }
            }
            let arrived = receiver.join().unwrap();
            self.assert_nothing_escaped();
            (arrived, sent)
        })
    }

    /// Nothing is under way, and all that left has been written.
    pub(crate) fn is_settled(&self) -> bool {
        let all =
            [&self.a, &self.b].map(|host| [Direction::Up, Direction::Down].map(|way| host.counters(way)));
        let under_way: usize = all.iter().flatten().map(|counters| counters.under_way).sum();
        let left: u64 = all.iter().map(|[_, down]| down.packets_out).sum();
        let totals = self.network.totals();
        under_way == 0 && totals.delivered + totals.undelivered == left
    }

    /// No packet was lost or counted outside the paths, and each is in one place of its path's counters.
    pub(crate) fn assert_nothing_escaped(&self) {
        for host in [&self.a, &self.b] {
            assert_eq!(host.dropped_before().unwrap(), 0);
            for way in [Direction::Up, Direction::Down] {
                let counters = host.counters(way);
                let Counters { packets_in, duplicated, packets_out, under_way, .. } = counters;
                assert_eq!(packets_in + duplicated, packets_out + under_way as u64 + counters.dropped());
            }
        }
        let totals = self.network.totals();
        assert_eq!((totals.unroutable, totals.undelivered), (0, 0));
    }

    /// What the decision alone, without network and clock, says about the first packets from A: for each the number of
    /// copies that arrive, and whether it is held back.
    pub(crate) fn decided(&self, settings: &Settings, count: usize) -> Vec<(usize, bool)> {
        let mut path = Path::new(self.seed, 0, Direction::Up);
        path.set(settings.clone());
        let now = Instant::now();
        let decide = |_| match path.decide(now, PAYLOAD_BYTES + 28, 17) {
            Fate::Passed { is_duplicated, is_reordered, .. } => {
                (1 + usize::from(is_duplicated), is_reordered)
            }
            Fate::Dropped(_) => (0, false),
        };
        (0..count).map(decide).collect()
    }
}

/// A socket in a host's namespace, on any port.
pub(crate) fn socket(host: &Host, address: std::net::IpAddr) -> UdpSocket {
    let socket = host.namespace().run(|| UdpSocket::bind((address, 0))).unwrap().unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Waits until something is so, and fails if it never is.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "it was in vain to wait until {what}");
        std::thread::sleep(MS);
    }
}

/// Where a packet came from that says so much.
pub(crate) fn heard(socket: &UdpSocket, data: &[u8]) -> SocketAddr {
    let mut buffer = [0; 2048];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], data);
    from
}

/// A connection from A to B, whose ends wait for ever for nothing.
pub(crate) fn tcp(two: &Two) -> (TcpStream, TcpStream) {
    let listener = two.b.namespace().run(|| TcpListener::bind((B, 0))).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let client = two.a.namespace().run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap().unwrap();
    let (server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    (client, server)
}

/// A number of the kernel about a host's network, by its group and name in `/proc/net/snmp`.
pub(crate) fn kernel_counter(host: &Host, group: &str, name: &str) -> u64 {
    let table =
        host.namespace().run(|| std::fs::read_to_string("/proc/thread-self/net/snmp")).unwrap().unwrap();
    let mut rows = table.lines().filter(|line| line.split(':').next() == Some(group));
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    let column = names.split_whitespace().position(|column| column == name).unwrap();
    values.split_whitespace().nth(column).unwrap().parse().unwrap()
}
