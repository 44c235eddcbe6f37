//! Two endpoints and the network between them, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use wire::{CloseCode, Role, limits};
use wire_link::testing::{EarlyPolicy, PlainSessions, plain_client, plain_server_sharing, secrets};
use wire_link::{ClientConfig, Config, Endpoint, LinkId, NewcomerLimits, ServerConfig, StreamId};

use super::act::{Act, At, Fate, Setting, Side, Size};
use super::ledger::Ledger;

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 4433);

/// One way.
const DELAY: Duration = Duration::from_millis(10);

/// Datagrams that can be replayed.
const OLD_MAX: usize = 64;

/// Links that a client makes in one run.
const LINKS_MAX: usize = 6;

/// Bytes of frames in one run: more would only be slow.
const BYTES_MAX: usize = 1 << 20;

/// Steps of a run, and datagrams: past it, something never comes to rest.
const STEPS_MAX: usize = 200_000;

/// Longer than any link lives that hears nothing: the idle timeout is a minute.
const TAIL: Duration = Duration::from_secs(150);

#[derive(Debug, Clone)]
struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// Everything.
pub(super) struct Bench {
    client: Endpoint,
    server: Endpoint,
    serve: ServerConfig,
    server_config: Config,
    now: Instant,
    address: SocketAddr,
    under_way: BTreeMap<(Instant, usize), Datagram>,
    fates: VecDeque<Fate>,
    old: VecDeque<Datagram>,
    ledger: Ledger,
    /// Links that were made, datagrams that were sent and that were under way, bytes of frames, steps, servers.
    connects: usize,
    datagrams: usize,
    put_count: usize,
    bytes: usize,
    steps: usize,
    servers: u8,
}

/// Any moment will do.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to have an Instant; only differences count"
)]
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

fn client_address(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 1, number)), 1000)
}

impl Bench {
    pub(super) fn new(setting: &Setting) -> Bench {
        let policy = if setting.early { EarlyPolicy::Accept } else { EarlyPolicy::Refuse };
        let sessions: Arc<PlainSessions> = PlainSessions::new(policy);
        let mut serve = ServerConfig::new(plain_server_sharing(sessions));
        if setting.retry {
            serve.handshakes_before_retry = 0;
        }
        let mut server_config = Config::server(secrets(1 << 32));
        if setting.small {
            (serve.handshakes_max, server_config.links_max) = (2, 3);
            serve.newcomers =
                NewcomerLimits { per_minute: 60, burst: 3, addresses_max: 2, in_handshake_max: 2 };
        }
        // What lives shows it, so that what does not can be told from it.
        let mut client_config = Config::client(secrets(1));
        client_config.keep_alive = Some(Duration::from_secs(5));
        let now = start();
        Bench {
            client: Endpoint::client(client_config, ClientConfig::new(plain_client()), now),
            server: Endpoint::server(server_config.clone(), serve.clone(), now),
            serve,
            server_config,
            now,
            address: client_address(0),
            under_way: BTreeMap::new(),
            fates: VecDeque::new(),
            old: VecDeque::new(),
            ledger: Ledger::default(),
            connects: 0,
            datagrams: 0,
            put_count: 0,
            bytes: 0,
            steps: 0,
            servers: 0,
        }
    }

    // ---- Acts.

    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Fate { count, fate } => {
                let room = 64usize.saturating_sub(self.fates.len());
                self.fates.extend(std::iter::repeat_n(fate, usize::from(count % 16).min(room) + 1));
            }
            Act::Wait { ms } => self.wait(Duration::from_millis(ms.into())),
            Act::Connect { early } => self.connect(early),
            Act::Move { address, knows } => {
                self.address = client_address(address % 8);
                if knows {
                    self.client.local_address_changed();
                }
            }
            Act::Forge { side, from, bytes } => self.arrive(side, client_address(from % 8), &bytes),
            Act::Replay { side, old, from, at, mask } => {
                if let Some(mut datagram) = self.old(old) {
                    bend(&mut datagram.bytes, at, mask);
                    self.arrive(side, client_address(from % 8), &datagram.bytes);
                }
            }
            Act::Accepting(accepting) => self.server.set_accepting(accepting),
            Act::Restart => self.restart(),
            Act::Probe { side, link } => {
                if let Some(link) = self.link(side, link) {
                    self.endpoint(side).probe(link);
                }
            }
            Act::Close { side, link } => {
                if let Some(link) = self.link(side, link) {
                    self.endpoint(side).close(link, CloseCode::Done, "");
                }
            }
            act => self.on_stream(act),
        }
        self.poll();
    }

    fn on_stream(&mut self, act: Act) {
        match act {
            Act::Open { side, link, role } => self.open(side, link, role),
            Act::Send { at, size } => {
                let body = match size {
                    Size::Nothing => 0,
                    Size::Small(bytes) => bytes.into(),
                    Size::Medium(bytes) => usize::from(bytes),
                    Size::Most => limits::FRAME_BYTES_MAX,
                };
                let frame = frame(body, self.bytes);
                self.send(at, frame);
            }
            Act::Raw { at, bytes } => self.send(at, bytes.into()),
            Act::Finish { at } => {
                if let Some((link, stream)) = self.place(at) {
                    self.endpoint(at.side).finish(link, stream);
                    let is_own = stream.is_client_initiated() == (at.side == Side::Client);
                    if is_own || stream.is_bidirectional() {
                        self.ledger.link(at.side, link).stream(stream).finished = true;
                    }
                }
            }
            Act::Abandon { at } => {
                if let Some((link, stream)) = self.place(at) {
                    self.endpoint(at.side).abandon(link, stream, CloseCode::Cancelled);
                    self.ledger.link(at.side, link).stream(stream).abandoned = true;
                }
            }
            Act::Pause { at, paused } => {
                if let Some((link, stream)) = self.place(at) {
                    match paused {
                        true => self.endpoint(at.side).pause(link, stream),
                        false => self.endpoint(at.side).resume(link, stream),
                    }
                }
            }
            _ => {}
        }
    }

    fn endpoint(&mut self, side: Side) -> &mut Endpoint {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn link(&self, side: Side, number: u8) -> Option<LinkId> {
        let open = self.ledger.open(side);
        open.get(usize::from(number) % open.len().max(1)).copied()
    }

    fn place(&mut self, at: At) -> Option<(LinkId, StreamId)> {
        let link = self.link(at.side, at.link)?;
        let streams = &self.ledger.link(at.side, link).streams;
        Some((link, *streams.get(usize::from(at.stream) % streams.len().max(1))?))
    }

    fn connect(&mut self, early: bool) {
        if self.connects < LINKS_MAX {
            self.connects += 1;
            let link = self.client.connect_with(self.now, SERVER, "localhost", early);
            self.ledger.link(Side::Client, link.expect("a client has room for some links"));
        }
    }

    fn open(&mut self, side: Side, link: u8, role: u8) {
        let Some(link) = self.link(side, link) else { return };
        let role = match (side, role % 3) {
            (Side::Server, _) => Role::ChatDown,
            (_, 0) => Role::Session,
            (_, 1) => Role::ChatUp,
            _ => Role::Request,
        };
        if let Ok(stream) = self.endpoint(side).open(link, role) {
            self.ledger.link(side, link).stream(stream);
        }
    }

    fn send(&mut self, at: At, bytes: Bytes) {
        let Some((link, stream)) = self.place(at) else { return };
        if self.bytes + bytes.len() > BYTES_MAX {
            return;
        }
        if self.endpoint(at.side).send(link, stream, bytes.clone()).is_ok() {
            self.bytes += bytes.len();
            self.ledger.link(at.side, link).stream(stream).sent.extend_from_slice(&bytes);
        }
    }

    /// The old server says nothing more; what it had is no one's.
    fn restart(&mut self) {
        self.servers += 1;
        self.ledger.check(false);
        for link in self.ledger.open(Side::Server) {
            self.ledger.link(Side::Server, link).closed = Some(wire_link::CloseReason::Reset);
        }
        // Ids of the new one's links begin again.
        let gone: Vec<_> =
            self.ledger.links.keys().filter(|(side, _)| *side == Side::Server).copied().collect();
        for key in gone {
            self.ledger.links.remove(&key);
        }
        let mut config = self.server_config.clone();
        config.secrets.seed[31] = self.servers;
        self.server = Endpoint::server(config, self.serve.clone(), self.now);
    }

    // ---- The network.

    fn old(&self, number: u8) -> Option<Datagram> {
        self.old.get(usize::from(number) % self.old.len().max(1)).cloned()
    }

    fn transmit(&mut self, mut datagram: Datagram) {
        self.datagrams += 1;
        assert!(self.datagrams < STEPS_MAX, "datagrams come to an end");
        self.old.push_back(datagram.clone());
        if self.old.len() > OLD_MAX {
            self.old.pop_front();
        }
        let mut delay = DELAY;
        match self.fates.pop_front().unwrap_or(Fate::Pass) {
            Fate::Pass => {}
            Fate::Lost => return,
            Fate::Twice => self.put(DELAY, datagram.clone()),
            Fate::Late { ms } => delay += Duration::from_millis(u64::from(ms) * 4),
            Fate::Cut { to } => datagram.bytes.truncate(usize::from(to) % (datagram.bytes.len() + 1)),
            Fate::Bent { at, mask } => bend(&mut datagram.bytes, at, mask),
            Fate::Joined { old } => {
                if let Some(old) = self.old(old) {
                    datagram.bytes.extend_from_slice(&old.bytes);
                }
            }
            Fate::Swapped { old } => {
                if let Some(old) = self.old(old) {
                    datagram.bytes = old.bytes;
                }
            }
            Fate::From { address } => {
                if datagram.to == SERVER {
                    datagram.from = client_address(address % 8);
                }
            }
            Fate::Longer { by, byte } => datagram.bytes.put_bytes(byte, by.into()),
        }
        self.put(delay, datagram);
    }

    fn put(&mut self, delay: Duration, datagram: Datagram) {
        self.put_count += 1;
        self.under_way.insert((self.now + delay, self.put_count), datagram);
    }

    fn arrive(&mut self, side: Side, from: SocketAddr, bytes: &[u8]) {
        let now = self.now;
        let from = if side == Side::Client { SERVER } else { from };
        self.endpoint(side).handle_datagram(now, from, None, None, BytesMut::from(bytes));
    }

    // ---- Time.

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.poll();
            self.steps += 1;
            assert!(self.steps < STEPS_MAX, "a run comes to an end");
            let arrival = self.under_way.first_key_value().map(|((at, _), _)| *at);
            let next = [arrival, self.client.poll_timeout(), self.server.poll_timeout()];
            let Some(next) = next.into_iter().flatten().min().filter(|&next| next <= end) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let Datagram { from, to, bytes } = entry.remove();
                if to == SERVER {
                    self.arrive(Side::Server, from, &bytes);
                } else if to == self.address {
                    self.arrive(Side::Client, from, &bytes);
                }
            }
            for endpoint in [&mut self.client, &mut self.server] {
                if endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                    endpoint.handle_timeout(self.now);
                }
            }
        }
        self.now = end;
    }

    fn poll(&mut self) {
        for side in [Side::Client, Side::Server] {
            while let Some((link, event)) = self.endpoint(side).poll_event() {
                self.ledger.heard(side, link, event);
            }
            let mut buffer = Vec::new();
            let now = self.now;
            while let Some(transmit) = self.endpoint(side).poll_transmit(now, &mut buffer) {
                let from = if side == Side::Client { self.address } else { SERVER };
                let bytes = buffer[..transmit.size].to_vec();
                self.transmit(Datagram { from, to: transmit.destination, bytes });
            }
        }
        assert!(self.server.links() <= self.server_config.links_max.min(1000), "links are bounded");
        assert!(self.server.handshakes() <= self.server.links(), "handshakes are links");
    }

    // ---- The end.

    /// The network is good again: what lives gets its bytes, and the rest ends.
    pub(super) fn settle(&mut self) {
        self.fates.clear();
        for side in [Side::Client, Side::Server] {
            for link in self.ledger.open(side) {
                for stream in self.ledger.link(side, link).streams.clone() {
                    self.endpoint(side).resume(link, stream);
                }
            }
        }
        self.wait(TAIL);
        self.ledger.check(true);
        for endpoint in [&mut self.client, &mut self.server] {
            endpoint.close_all(CloseCode::Done, "");
        }
        self.wait(TAIL);
        assert_eq!((self.client.links(), self.server.links()), (0, 0), "nothing is left");
        assert_eq!((self.client.handshakes(), self.server.handshakes()), (0, 0), "nothing is left");
        assert_eq!(
            (self.client.poll_timeout(), self.server.poll_timeout()),
            (None, None),
            "no timer is left"
        );
        assert!(self.ledger.links.values().all(|known| known.closed.is_some()), "every link said its end");
    }
}

fn bend(bytes: &mut [u8], at: u16, mask: u8) {
    let place = usize::from(at) % bytes.len().max(1);
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= mask;
    }
}

/// A frame whose body is this long and like no other.
fn frame(bytes: usize, salt: usize) -> Bytes {
    let mut frame = BytesMut::new();
    match bytes {
        n @ 0..0x40 => frame.put_u8(n as u8),
        n @ 0x40..0x4000 => frame.put_u16(0x4000 | n as u16),
        n => frame.put_u32(0x8000_0000 | n as u32),
    }
    frame.extend((0..bytes).map(|place| (place ^ place >> 8 ^ salt ^ salt >> 8) as u8));
    frame.freeze()
}
