//! What a message costs on real sockets: 128 bytes there and back on a long-lived stream, for a growing number of
//! connections, with the cheap keys of the test bench (the driver's and the link's share) and with TLS 1.3.
//!
//! `cargo bench -p wire-udp --bench echo [-- LINKS...]`. CPU figures are of the server's thread. A run with over 1.2
//! datagrams per message was starved, says nothing (QUIC retransmits what is merely late), and ends with a failure.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use loadtest_figures::{Options, Report, thread_cpu};
use wire_link::testing::{plain_client, plain_server, secrets};
use wire_link::{ClientConfig, Config, Endpoint, Event, ServerConfig};
use wire_udp::{Driver, Stats};

mod common;
mod load;
use common::{One, certificate, client_tls, server_tls};
use load::{RUN, frame, local, measure, warm_up};

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Over so many received datagrams per message, a run is invalid.
const DATAGRAMS_MAX: f64 = 1.2;

fn main() -> ExitCode {
    let options = Options::from_args();
    let mut report = Report::new(&options);
    report.line(format_args!(
        "{:>5} {:>6} {:>9} {:>12} {:>14} {:>16} {:>16}",
        "keys", "links", "msg/s", "server µs", "datagrams/msg", "per recvmmsg", "per sendmmsg"
    ));
    for with_tls in [false, true] {
        for links in links_wanted(&options) {
            run(with_tls, links, options.run(RUN)).report(&mut report);
        }
    }
    report.finish()
}

fn run(with_tls: bool, links: usize, time: Duration) -> Measured {
    let (client_config, server_config) = if with_tls { tls_pair() } else { plain_pair() };
    let now = Instant::now();
    let mut server =
        Driver::bind(local(), Endpoint::server(Config::server(secrets(1)), server_config, now)).unwrap();
    let address = server.local_addr().unwrap();
    let (waker, phase) = (server.waker(), Arc::new(AtomicU8::new(WARMING)));
    let seen = phase.clone();
    let thread = thread::spawn(move || {
        let serve = |server: &mut Driver, until: u8| {
            while seen.load(Ordering::Acquire) != until {
                turn(server);
            }
            (thread_cpu(), server.stats())
        };
        (serve(&mut server, MEASURING), serve(&mut server, OVER))
    });
    let config = Config { links_max: links, ..Config::client(secrets(2)) };
    let mut client = Driver::bind(local(), Endpoint::client(config, client_config, now)).unwrap();
    warm_up(&mut client, address, links);
    let enter = |next| {
        phase.store(next, Ordering::Release);
        waker.wake();
    };
    enter(MEASURING);
    let (messages, elapsed) = measure(&mut client, time);
    enter(OVER);
    let ((cpu_before, before), (cpu_after, after)) = thread.join().unwrap();
    Measured { with_tls, links, messages, elapsed, cpu: cpu_after - cpu_before, before, after }
}

/// What one cell of the table comes from.
struct Measured {
    with_tls: bool,
    links: usize,
    messages: u64,
    elapsed: Duration,
    cpu: Duration,
    before: Stats,
    after: Stats,
}

impl Measured {
    fn report(&self, report: &mut Report) {
        let per = |a: u64, b: u64| a as f64 / b.max(1) as f64;
        let grown = |field: fn(&Stats) -> u64| field(&self.after) - field(&self.before);
        let (links, messages) = (self.links, self.messages);
        let cpu_us = self.cpu.as_secs_f64() * 1e6 / messages.max(1) as f64;
        let datagrams = per(grown(|s| s.datagrams_in), messages);
        let (keys, infix) = if self.with_tls { ("TLS", "") } else { ("plain", "_plain") };
        report.line(format_args!(
            "{keys:>5} {links:>6} {:>9.0} {cpu_us:>12.2} {datagrams:>14.2} {:>16.1} {:>16.1}",
            messages as f64 / self.elapsed.as_secs_f64(),
            per(grown(|s| s.datagrams_in), grown(|s| s.batches_in)),
            per(grown(|s| s.datagrams_out), grown(|s| s.batches_out)),
        ));
        if messages == 0 || datagrams > DATAGRAMS_MAX {
            report.invalid(format!("{keys}, {links} links: {datagrams:.2} datagrams for each of {messages}"));
        }
        report.figure(format!("echo{infix}_cpu_us_{links}"), cpu_us);
        report.figure(format!("echo{infix}_datagrams_per_message_{links}"), datagrams);
    }
}

/// The server: every frame goes back.
fn turn(driver: &mut Driver) {
    driver.wait(None).unwrap();
    while let Some((link, event)) = driver.endpoint().poll_event() {
        if let Event::Frame { stream, body } = event {
            driver.endpoint().send(link, stream, frame(&body)).unwrap();
        }
    }
    driver.flush().unwrap();
}

fn plain_pair() -> (ClientConfig, ServerConfig) {
    (ClientConfig::new(plain_client()), ServerConfig::new(plain_server()))
}

fn tls_pair() -> (ClientConfig, ServerConfig) {
    let (root, serving) = certificate("localhost");
    (ClientConfig::new(client_tls(root)), ServerConfig::new(server_tls(One(serving), Arc::default())))
}

/// The numbers of links to try: those given as arguments, or a range.
fn links_wanted(options: &Options) -> Vec<usize> {
    let given: Vec<usize> =
        options.rest.iter().map(|word| word.parse().expect("a number of links")).collect();
    if given.is_empty() { vec![1, 10, 100, 1000] } else { given }
}
