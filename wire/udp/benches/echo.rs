//! What a message costs on real sockets: 128 bytes there and back on a long-lived stream, for a growing number of
//! connections, with the cheap keys of the test bench (the driver's and the link's share) and with TLS 1.3.
//!
//! `cargo bench -p wire-udp --bench echo`. CPU figures are of the server's thread. A run with over 1.2 datagrams per
//! message was starved and says nothing (QUIC retransmits what is merely late).
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wire_link::testing::{plain_client, plain_server, secrets};
use wire_link::{ClientConfig, Config, Endpoint, Event, ServerConfig};
use wire_udp::{Driver, Stats};

mod common;
mod load;
use common::{One, certificate, client_tls, server_tls};
use load::{RUN, frame, local, measure, thread_cpu, warm_up};

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

fn main() {
    println!(
        "{:>5} {:>6} {:>9} {:>12} {:>14} {:>16} {:>16}",
        "keys", "links", "msg/s", "server µs", "datagrams/msg", "per recvmmsg", "per sendmmsg"
    );
    for with_tls in [false, true] {
        for links in links_wanted() {
            run(with_tls, links);
        }
    }
}

fn run(with_tls: bool, links: usize) {
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
    let (messages, elapsed) = measure(&mut client, RUN);
    enter(OVER);
    let ((cpu_before, before), (cpu_after, after)) = thread.join().unwrap();
    print(with_tls, links, messages, elapsed, cpu_after - cpu_before, before, after);
}

fn print(
    with_tls: bool,
    links: usize,
    messages: u64,
    elapsed: Duration,
    cpu: Duration,
    before: Stats,
    after: Stats,
) {
    let per = |a: u64, b: u64| a as f64 / b.max(1) as f64;
    let grown = |field: fn(&Stats) -> u64| field(&after) - field(&before);
    println!(
        "{:>5} {links:>6} {:>9.0} {:>12.2} {:>14.2} {:>16.1} {:>16.1}",
        if with_tls { "TLS" } else { "plain" },
        messages as f64 / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / messages.max(1) as f64,
        per(grown(|s| s.datagrams_in), messages),
        per(grown(|s| s.datagrams_in), grown(|s| s.batches_in)),
        per(grown(|s| s.datagrams_out), grown(|s| s.batches_out)),
    );
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
    let (root, serving) = certificate();
    (ClientConfig::new(client_tls(root)), ServerConfig::new(server_tls(One(serving))))
}

/// The numbers of links to try: those given as arguments, or a range.
fn links_wanted() -> Vec<usize> {
    let given: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    if given.is_empty() { vec![1, 10, 100, 1000] } else { given }
}
