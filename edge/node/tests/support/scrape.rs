//! What a node says of itself on its admin listener.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{PATIENCE, TestNode};

/// One request to the admin listener: status and body.
pub fn http(admin: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body =
        if head.to_lowercase().contains("transfer-encoding: chunked") { dechunk(body) } else { body.into() };
    (status, body)
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        whole.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
    }
    whole
}

/// One scrape: every sample by its name and labels, and the type of each metric.
#[derive(Debug, Clone)]
pub struct Scrape {
    pub samples: BTreeMap<String, f64>,
    pub types: BTreeMap<String, String>,
}

impl Scrape {
    /// A scrape that every loop answered: on a busy machine one may be late.
    pub fn of(admin: SocketAddr) -> Scrape {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, text) = http(admin, "GET", "/metrics");
            assert_eq!(status, 200);
            let scrape = Scrape::parse(&text);
            if scrape.get("godwit_loops_published") == scrape.get("godwit_loops") {
                return scrape;
            }
            assert!(Instant::now() < deadline, "loops do not answer");
        }
    }

    fn parse(text: &str) -> Scrape {
        let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert_eq!(types.insert(name.to_owned(), kind.to_owned()), None, "{name} has one type");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').expect("a sample");
                let value = value.parse().unwrap_or_else(|_| panic!("a number: {line}"));
                assert_eq!(samples.insert(name.to_owned(), value), None, "{name} has one value");
            }
        }
        Scrape { samples, types }
    }

    #[track_caller]
    pub fn get(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("{sample} is exported"))
    }

    /// The sum over labels.
    pub fn sum(&self, name: &str) -> f64 {
        let of = |sample: &str| sample.split('{').next() == Some(name);
        self.samples.iter().filter(|(sample, _)| of(sample)).map(|(_, value)| value).sum()
    }
}

pub fn admin(node: &TestNode) -> SocketAddr {
    node.node.as_ref().expect("it runs").admin
}

/// Scrapes until something holds, and gives the scrape in which it does.
#[track_caller]
pub fn scrape_until(node: &TestNode, what: &str, holds: impl Fn(&Scrape) -> bool) -> Scrape {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let scrape = Scrape::of(admin(node));
        if holds(&scrape) {
            return scrape;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}: {:#?}", scrape.samples);
        std::thread::sleep(Duration::from_millis(20));
    }
}
