//! What a handshake costs a server: TLS 1.3 with X25519MLKEM768 as production has it, from the first datagram to the
//! ticket, the link's end included, in CPU time of a process that does nothing else.
//!
//! `cargo bench -p wire-udp --bench handshake`. The clients run in a process of their own, started from here. Three ways:
//! *full*, by clients that know no ticket; *resumed*, by such that do, which saves the certificate and its signature but
//! not the key exchange; *early*, resumed with a message of 128 bytes in the first flight, answered. All clients trust one
//! self-signed P-256 certificate, and their address has no limits ([`NewcomerLimits`]).
//!
//! A run is invalid, and ends with a failure, if another number of sessions was resumed, or of early data taken, than the
//! way should have (within 1 % and those under way), or if over 1.2 times the datagrams came that a handshake needs (five:
//! two of hello, two of acknowledgements, one of goodbye; two more with early data): who is starved gets retransmissions
//! of what is merely late.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use loadtest_figures::{Options, Report, process_cpu};
use wire::{CloseCode, Role};
use wire_link::testing::secrets;
use wire_link::tls::SessionStore;
use wire_link::{ClientConfig, Config, Endpoint, Event, LinkId, NewcomerLimits, ServerConfig};
use wire_udp::Driver;

mod common;
use common::{One, certificate, client_tls, server_tls};

/// A frame with a body of 128 bytes, of which only the length is looked at.
const MESSAGE: &[u8; 130] = &{
    let mut frame = [7; 130];
    frame[0] = 0x40;
    frame[1] = 128;
    frame
};

/// Handshakes of the clients under way at a time.
const UNDER_WAY: usize = 32;

/// Links that stay before the oldest is closed, so that its ticket has arrived.
const OPEN: usize = 256;

/// Servers that clients which come back know, by name: rustls remembers so many, eight tickets each.
const KNOWN: u64 = 32;

/// How long the clients get tickets, and the server's memory settles, before anything is counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long handshakes are counted.
const RUN: Duration = Duration::from_secs(4);

/// Over so many times the datagrams that a handshake needs, a run is invalid.
const DATAGRAMS_MAX: f64 = 1.2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Full,
    Resumed,
    Early,
}

impl Way {
    const ALL: [Way; 3] = [Way::Full, Way::Resumed, Way::Early];

    fn name(self) -> &'static str {
        match self {
            Way::Full => "full",
            Way::Resumed => "resumed",
            Way::Early => "early",
        }
    }

    /// Datagrams from a client that a handshake needs, its link's end included.
    fn datagrams(self) -> f64 {
        if self == Way::Early { 7.0 } else { 5.0 }
    }

    /// Before the names of its figures; a handshake is a full one if nothing else is said.
    fn prefix(self) -> &'static str {
        match self {
            Way::Full => "",
            Way::Resumed => "resumed_",
            Way::Early => "early_",
        }
    }
}

fn main() -> ExitCode {
    let options = Options::from_args();
    let words: Vec<&str> = options.rest.iter().map(String::as_str).collect();
    if let ["clients", to, root, way] = words[..] {
        let way = Way::ALL.into_iter().find(|known| known.name() == way).expect("a way");
        clients(to.parse().expect("an address"), root, way);
    }
    let mut report = Report::new(&options);
    report.line(format_args!(
        "{:>8} {:>12} {:>10} {:>15} {:>13} {:>12}",
        "way", "handshakes", "server µs", "per s and core", "datagrams in", "bytes out"
    ));
    for way in Way::ALL {
        serve(&options, way).report(&mut report, way);
    }
    report.finish()
}

/// A server's counts at a moment, or their growth.
struct Counts {
    handshakes: u64,
    resumed: u64,
    early: u64,
    cpu: Duration,
    datagrams_in: u64,
    bytes_out: u64,
}

impl Counts {
    fn since(&self, before: &Counts) -> Counts {
        Counts {
            handshakes: self.handshakes - before.handshakes,
            resumed: self.resumed - before.resumed,
            early: self.early - before.early,
            cpu: self.cpu - before.cpu,
            datagrams_in: self.datagrams_in - before.datagrams_in,
            bytes_out: self.bytes_out - before.bytes_out,
        }
    }

    fn report(&self, report: &mut Report, way: Way) {
        let per_handshake = |n: f64| n / self.handshakes.max(1) as f64;
        let cpu_us = per_handshake(self.cpu.as_secs_f64() * 1e6);
        let datagrams = per_handshake(self.datagrams_in as f64);
        let (name, per_s) = (way.name(), 1e6 / cpu_us);
        report.line(format_args!(
            "{name:>8} {:>12} {cpu_us:>10.1} {per_s:>15.0} {datagrams:>13.2} {:>12.0}",
            self.handshakes,
            per_handshake(self.bytes_out as f64),
        ));
        let is_about = |count: u64, wanted: bool| {
            let wanted = if wanted { self.handshakes } else { 0 };
            count.abs_diff(wanted) <= self.handshakes / 100 + 2 * UNDER_WAY as u64
        };
        if !is_about(self.resumed, way != Way::Full) || !is_about(self.early, way == Way::Early) {
            let (all, resumed, early) = (self.handshakes, self.resumed, self.early);
            report.invalid(format!("{name}: of {all}, {resumed} were resumed and {early} were early"));
        }
        if self.handshakes < 4 * UNDER_WAY as u64 || datagrams > DATAGRAMS_MAX * way.datagrams() {
            let all = self.handshakes;
            report.invalid(format!("{name}: starved, with {all} handshakes, {datagrams:.2} datagrams each"));
            return;
        }
        let prefix = way.prefix();
        report.figure(format!("{prefix}handshakes_per_s_core"), per_s);
        report.figure(format!("{prefix}handshake_cpu_us"), cpu_us);
        report.figure(format!("{prefix}handshake_datagrams"), datagrams);
    }
}

/// Serves clients of a process that comes and goes with this call.
fn serve(options: &Options, way: Way) -> Counts {
    // Names differ, so that a client knows a server or does not.
    let (root, serving) = certificate("*.bench.example");
    let sessions = Arc::new(SessionStore::default());
    let server = ServerConfig::new(server_tls(One(serving), sessions.clone()));
    let server = ServerConfig { newcomers: NewcomerLimits::UNLIMITED, ..server };
    let endpoint = Endpoint::server(Config::server(secrets(1)), server, Instant::now());
    let mut server = Server { driver: Driver::bind(any_port(), endpoint).expect("a socket"), sessions };
    let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut clients = Command::new(std::env::current_exe().expect("this program"))
        .args(["clients", &server.driver.local_addr().expect("an address").to_string(), &root, way.name()])
        .spawn()
        .expect("this program again");
    server.run(options.run(WARM_UP));
    let before = server.counts();
    server.run(options.run(RUN));
    let counts = server.counts().since(&before);
    end(&mut clients);
    counts
}

struct Server {
    driver: Driver,
    sessions: Arc<SessionStore>,
}

impl Server {
    fn counts(&mut self) -> Counts {
        let (stats, links) = (self.driver.stats(), self.driver.endpoint().counters());
        Counts {
            handshakes: links.connected,
            resumed: self.sessions.stats().taken,
            early: links.early_accepted,
            cpu: process_cpu(),
            datagrams_in: stats.datagrams_in,
            bytes_out: stats.bytes_out,
        }
    }

    fn run(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.driver.wait(Some(end)).expect("the socket works");
            while let Some((link, event)) = self.driver.endpoint().poll_event() {
                if let Event::Frame { stream, .. } = event {
                    let answer = Bytes::from_static(MESSAGE);
                    self.driver.endpoint().send(link, stream, answer).expect("room");
                    self.driver.endpoint().finish(link, stream);
                }
            }
            self.driver.flush().expect("the socket works");
        }
    }
}

/// # Panics
/// If they have ended by themselves: then nothing was measured.
fn end(clients: &mut Child) {
    let ended = clients.try_wait().expect("a child of ours");
    assert!(ended.is_none(), "the clients ended early: {ended:?}");
    clients.kill().expect("they run until then");
    clients.wait().expect("they end");
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Begins handshakes for as long as it lives.
fn clients(to: SocketAddr, root: &str, way: Way) -> ! {
    let byte = |at: usize| u8::from_str_radix(&root[at..at + 2], 16).expect("hexadecimal");
    let root: Vec<u8> = (0..root.len()).step_by(2).map(byte).collect();
    let config = Config { links_max: 4 * OPEN, ..Config::client(secrets(2)) };
    let endpoint = Endpoint::client(config, ClientConfig::new(client_tls(root)), Instant::now());
    let driver = Driver::bind(any_port(), endpoint).expect("a socket");
    let mut clients = Clients { driver, to, way, begun: 0, under_way: 0, open: VecDeque::new() };
    loop {
        clients.turn();
    }
}

struct Clients {
    driver: Driver,
    to: SocketAddr,
    way: Way,
    begun: u64,
    under_way: usize,
    open: VecDeque<LinkId>,
}

impl Clients {
    fn turn(&mut self) {
        while self.under_way < UNDER_WAY && self.begin() {}
        self.driver.flush().expect("the socket works");
        self.driver.wait(None).expect("the socket works");
        while let Some((link, event)) = self.driver.endpoint().poll_event() {
            match event {
                Event::Early { .. } => self.speak(link),
                Event::Connected { .. } => self.connected(link),
                Event::Closed { reason } if !self.open.contains(&link) => {
                    // One of ours that is over; anything else is no measurement.
                    let ended_here = matches!(reason, wire_link::CloseReason::Here(_));
                    assert!(ended_here, "{reason}");
                }
                Event::Closed { reason } => panic!("{reason}"),
                _ => {}
            }
        }
    }

    /// Begins one, unless links that end still fill the table.
    fn begin(&mut self) -> bool {
        let number = match self.way {
            Way::Full => self.begun,
            Way::Resumed | Way::Early => self.begun % KNOWN,
        };
        let (name, early) = (format!("n{number:09}.bench.example"), self.way == Way::Early);
        let link = self.driver.endpoint().connect_with(Instant::now(), self.to, &name, early);
        self.begun += u64::from(link.is_ok());
        self.under_way += usize::from(link.is_ok());
        link.is_ok()
    }

    fn speak(&mut self, link: LinkId) {
        let stream = self.driver.endpoint().open(link, Role::Request).expect("a stream");
        self.driver.endpoint().send(link, stream, Bytes::from_static(MESSAGE)).expect("room");
        self.driver.endpoint().finish(link, stream);
    }

    fn connected(&mut self, link: LinkId) {
        self.under_way -= 1;
        self.open.push_back(link);
        if self.open.len() > OPEN {
            let oldest = self.open.pop_front().expect("there are some");
            self.driver.endpoint().close(oldest, CloseCode::Done, "");
        }
    }
}
