//! What a connection costs that the kernel brings to another loop than its own: two loops on one port, 128 bytes there and
//! back, first where the links began, then after their address has moved to the other loop's socket.
//!
//! `cargo bench -p wire-udp --bench handover`. CPU figures are of both loops' threads together; a share of handed over
//! datagrams other than 0 and 1 says that the move was not what it should be. As for `echo`, over 1.2 datagrams per
//! message make a run invalid.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use wire_link::testing::secrets;
use wire_link::{CidConfig, ClientConfig, Config, Endpoint, Event, Secrets, ServerConfig, Steering};
use wire_udp::{Driver, Options, Stats, Waker, steering};

mod common;
mod load;
use common::{One, certificate, client_tls, server_tls};
use load::{RUN, frame, local, measure, warm_up};
use loadtest_figures::thread_cpu;

const LOOPS: u8 = 2;
const LINKS: usize = 100;

/// Tries to find a port that the kernel gives to the other loop; each has an even chance.
const PORTS_MAX: usize = 64;

fn main() {
    let (root, serving) = certificate("localhost");
    let node = Node::start(ServerConfig::new(server_tls(One(serving), Arc::default())));
    let config = Config { links_max: LINKS, ..Config::client(secrets(2)) };
    let crypto = ClientConfig::new(client_tls(root));
    let mut client =
        Driver::bind(local(), Endpoint::client(config, crypto, Instant::now())).expect("a socket");
    warm_up(&mut client, node.address, LINKS);
    println!(
        "{:>10} {:>9} {:>12} {:>14} {:>12}",
        "links", "msg/s", "server µs", "datagrams/msg", "handed over"
    );
    let home = node.measure(&mut client);
    home.print("at home");
    for _ in 0..PORTS_MAX {
        let before = node.sample();
        client.rebind(local(), &Options::default()).expect("another port");
        let (messages, _) = measure(&mut client, Duration::from_millis(200));
        assert!(messages > 0, "the links survive the move");
        if node.sample().1.handed_over > before.1.handed_over {
            break;
        }
    }
    let moved = node.measure(&mut client);
    moved.print("moved");
    println!("a moved link costs {:.2} of one at home", moved.per_message() / home.per_message());
    node.end();
}

/// CPU time and counts of all loops together.
type Sample = (Duration, Stats);

struct Node {
    address: std::net::SocketAddr,
    wakers: Vec<Waker>,
    phase: Arc<AtomicU8>,
    samples: Mutex<Receiver<Sample>>,
    threads: Vec<thread::JoinHandle<()>>,
}

struct Measured {
    messages: u64,
    elapsed: Duration,
    cpu: Duration,
    datagrams: u64,
    handed_over: u64,
}

impl Node {
    fn start(server: ServerConfig) -> Node {
        let (epoch, mut address) = (Instant::now(), local());
        let key = secrets(1).cid_key;
        let (phase, (sender, samples)) = (Arc::new(AtomicU8::new(0)), channel());
        let (mut wakers, mut threads) = (Vec::new(), Vec::new());
        let seats = steering(LOOPS.into(), Steering::new(key, LOOPS));
        for (loop_no, seat) in (0..LOOPS).zip(seats) {
            let secrets = Secrets { seed: [loop_no + 10; 32], ..secrets(1) };
            let cids = CidConfig { loop_no, key };
            let config = Config { cids, epoch: Some(epoch), ..Config::server(secrets) };
            let endpoint = Endpoint::server(config, server.clone(), epoch);
            let options = Options { reuse_port: true, ..Options::default() };
            let mut driver = Driver::bind_with(address, endpoint, &options).expect("a socket");
            address = driver.local_addr().expect("an address");
            driver.sit(seat);
            wakers.push(driver.waker());
            let (phase, sender) = (phase.clone(), sender.clone());
            threads.push(thread::spawn(move || {
                let mut seen = 0;
                while seen != u8::MAX {
                    turn(&mut driver);
                    let now = phase.load(Ordering::Acquire);
                    if now != seen {
                        seen = now;
                        let _ = sender.send((thread_cpu(), driver.stats()));
                    }
                }
            }));
        }
        Node { address, wakers, phase, samples: Mutex::new(samples), threads }
    }

    /// Asks every loop for its figures.
    fn sample(&self) -> Sample {
        self.phase.fetch_add(1, Ordering::AcqRel);
        self.wakers.iter().for_each(Waker::wake);
        let samples = self.samples.lock().expect("not poisoned");
        let mut sum = Sample::default();
        for (cpu, stats) in samples.iter().take(LOOPS.into()) {
            sum.0 += cpu;
            sum.1.datagrams_in += stats.datagrams_in;
            sum.1.handed_over += stats.handed_over;
        }
        sum
    }

    fn measure(&self, client: &mut Driver) -> Measured {
        let before = self.sample();
        let (messages, elapsed) = measure(client, RUN);
        let after = self.sample();
        Measured {
            messages,
            elapsed,
            cpu: after.0 - before.0,
            datagrams: after.1.datagrams_in - before.1.datagrams_in,
            handed_over: after.1.handed_over - before.1.handed_over,
        }
    }

    fn end(self) {
        self.phase.store(u8::MAX, Ordering::Release);
        self.wakers.iter().for_each(Waker::wake);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    }
}

impl Measured {
    fn per_message(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.messages.max(1) as f64
    }

    fn print(&self, name: &str) {
        println!(
            "{name:>10} {:>9.0} {:>12.2} {:>14.2} {:>12.2}",
            self.messages as f64 / self.elapsed.as_secs_f64(),
            self.per_message(),
            self.datagrams as f64 / self.messages.max(1) as f64,
            self.handed_over as f64 / self.datagrams.max(1) as f64,
        );
    }
}

/// Every frame goes back.
fn turn(driver: &mut Driver) {
    driver.wait(None).expect("the socket works");
    while let Some((link, event)) = driver.endpoint().poll_event() {
        if let Event::Frame { stream, body } = event {
            driver.endpoint().send(link, stream, frame(&body)).expect("room");
        }
    }
    driver.flush().expect("the socket works");
}
