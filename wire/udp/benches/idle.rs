//! What an idle connection costs a server: resident memory per connection after a TLS handshake, with no stream and with
//! one used stream, in a process that holds nothing else.
//!
//! `cargo bench -p wire-udp --bench idle`. The clients run in a process of their own, started from here.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use loadtest_figures::{Options, Report};
use wire::Role;
use wire_link::testing::secrets;
use wire_link::{ClientConfig, Config, Endpoint, Event, NewcomerLimits, ServerConfig};
use wire_udp::Driver;

mod common;
use common::{One, certificate, client_tls, server_tls};

/// Streams per link, as words of the command line.
const NONE: &str = "none";
const ONE: &str = "one";

/// Links of a whole run, and of a short one.
const LINKS: usize = 10_000;
const LINKS_QUICK: usize = 1_000;

/// Handshakes of the clients under way at a time.
const HANDSHAKES: usize = 100;

fn main() -> ExitCode {
    let options = Options::from_args();
    let links = if options.quick { LINKS_QUICK } else { LINKS };
    let words: Vec<&str> = options.rest.iter().map(String::as_str).collect();
    let mut report = Report::new(&options);
    match words[..] {
        ["clients", to, root, streams] => clients(to.parse().unwrap(), root, links, streams == ONE),
        // Its line goes to the process that started it.
        ["serve", streams] => report.line(format_args!("{}", serve(&options, links, streams))),
        _ => {
            report.line(format_args!("{:>8} {:>8} {:>14}", "streams", "links", "kB per link"));
            // A process each: the second would find the first one's memory.
            for (streams, key) in [(NONE, "idle_link_bytes"), (ONE, "idle_link_stream_bytes")] {
                let bytes = serve_apart(&options, streams);
                report.line(format_args!("{streams:>8} {links:>8} {:>14.1}", bytes / 1024.0));
                report.figure(key, bytes);
            }
        }
    }
    report.finish()
}

/// Bytes per link of a server in a process of its own.
fn serve_apart(options: &Options, streams: &str) -> f64 {
    let mut server = this(options);
    let output = server.args(["serve", streams]).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// This program, to be started again in the same length.
fn this(options: &Options) -> Command {
    let mut this = Command::new(std::env::current_exe().unwrap());
    this.args(options.quick.then_some("--quick"));
    this
}

fn serve(options: &Options, links: usize, streams: &str) -> f64 {
    let with_stream = streams == ONE;
    let (root, serving) = certificate("localhost");
    let server = ServerConfig::new(server_tls(One(serving), Arc::default()));
    // All clients have one address.
    let server = ServerConfig { newcomers: NewcomerLimits::UNLIMITED, ..server };
    let endpoint = Endpoint::server(Config::server(secrets(1)), server, Instant::now());
    let mut driver = Driver::bind((Ipv4Addr::LOCALHOST, 0).into(), endpoint).unwrap();
    let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
    let before = resident_bytes();
    let address = driver.local_addr().unwrap().to_string();
    let mut clients = this(options).args(["clients", &address, &root, streams]).spawn().unwrap();
    let mut ready = 0;
    while ready < links {
        driver.wait(None).unwrap();
        while let Some((link, event)) = driver.endpoint().poll_event() {
            match event {
                Event::Connected { .. } if !with_stream => ready += 1,
                Event::Frame { stream, .. } => {
                    driver.endpoint().send(link, stream, Bytes::from_static(&[1, 1])).unwrap();
                    ready += 1;
                }
                Event::Closed { reason } => panic!("{reason}"),
                _ => {}
            }
        }
        driver.flush().unwrap();
    }
    settle(&mut driver);
    let per_link = (resident_bytes() - before) as f64 / links as f64;
    end(&mut clients);
    per_link
}

/// Lets acknowledgements and timers pass.
fn settle(driver: &mut Driver) {
    let end = Instant::now() + std::time::Duration::from_secs(2);
    while Instant::now() < end {
        driver.wait(Some(end)).unwrap();
        while driver.endpoint().poll_event().is_some() {}
        driver.flush().unwrap();
    }
}

fn end(clients: &mut Child) {
    clients.kill().unwrap();
    clients.wait().unwrap();
}

fn clients(to: SocketAddr, root: &str, links: usize, with_stream: bool) {
    let root: Vec<u8> =
        (0..root.len()).step_by(2).map(|at| u8::from_str_radix(&root[at..at + 2], 16).unwrap()).collect();
    let config = Config { links_max: links, ..Config::client(secrets(2)) };
    let endpoint = Endpoint::client(config, ClientConfig::new(client_tls(root)), Instant::now());
    let mut driver = Driver::bind((Ipv4Addr::LOCALHOST, 0).into(), endpoint).unwrap();
    let (mut begun, mut connected) = (0, 0);
    loop {
        while begun < links && begun - connected < HANDSHAKES {
            driver.endpoint().connect(Instant::now(), to, "localhost").unwrap();
            begun += 1;
        }
        driver.flush().unwrap();
        driver.wait(None).unwrap();
        while let Some((link, event)) = driver.endpoint().poll_event() {
            if let Event::Connected { .. } = event {
                connected += 1;
                if with_stream {
                    let stream = driver.endpoint().open(link, Role::Session).unwrap();
                    driver.endpoint().send(link, stream, Bytes::from_static(&[1, 1])).unwrap();
                }
            }
        }
    }
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells a process its size");
    let pages: usize = text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    pages * 4096
}
