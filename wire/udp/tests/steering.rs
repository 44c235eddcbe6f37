//! Two loops on one port: what the kernel brings to the wrong one still reaches its connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::{CloseCode, Role};
use wire_link::testing::{plain_client, plain_server, secrets};
use wire_link::{ClientConfig, Config, Endpoint, Event, LinkId, Secrets, ServerConfig, Steering, StreamId};
use wire_udp::{Driver, Options, Seat, Stats, Waker, steering};

const LOOPS: usize = 2;

fn local() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// One node's loops, each on a thread, each answering every frame with the same.
struct Node {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    handed_over: Arc<AtomicU64>,
    loops: Vec<(Waker, thread::JoinHandle<Ended>)>,
}

/// What one loop did.
struct Ended {
    stats: Stats,
    connected: u64,
    resets: u64,
}

impl Node {
    /// With seats or, to show what they are for, without.
    fn start(is_seated: bool) -> Node {
        let (epoch, key) = (Instant::now(), secrets(0).cid_key);
        let mut address = local();
        let mut drivers = Vec::new();
        for (loop_no, seat) in steering(LOOPS, Steering::new(key, LOOPS as u8)).into_iter().enumerate() {
            let secrets = Secrets { seed: [loop_no as u8 + 1; 32], ..secrets(0) };
            let mut config = Config { epoch: Some(epoch), ..Config::server(secrets) };
            config.cids.loop_no = loop_no as u8;
            let endpoint = Endpoint::server(config, ServerConfig::new(plain_server()), epoch);
            let options = Options { reuse_port: true, ..Options::default() };
            let driver = Driver::bind_with(address, endpoint, &options).unwrap();
            address = driver.local_addr().unwrap();
            drivers.push((driver, is_seated.then_some(seat)));
        }
        let (is_over, handed_over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let loops = drivers
            .into_iter()
            .map(|(driver, seat)| {
                let (waker, is_over, handed_over) = (driver.waker(), is_over.clone(), handed_over.clone());
                (waker, thread::spawn(move || echo(driver, seat, &is_over, &handed_over)))
            })
            .collect();
        Node { address, is_over, handed_over, loops }
    }

    fn handed_over(&self) -> u64 {
        self.handed_over.load(Ordering::Relaxed)
    }

    fn end(self) -> Vec<Ended> {
        self.is_over.store(true, Ordering::Release);
        self.loops.iter().for_each(|(waker, _)| waker.wake());
        self.loops.into_iter().map(|(_, thread)| thread.join().unwrap()).collect()
    }
}

fn echo(mut driver: Driver, seat: Option<Seat>, is_over: &AtomicBool, handed_over: &AtomicU64) -> Ended {
    if let Some(seat) = seat {
        driver.sit(seat);
    }
    let (mut before, mut resets) = (0, 0);
    while !is_over.load(Ordering::Acquire) {
        driver.wait(None).unwrap();
        while let Some((link, event)) = driver.endpoint().poll_event() {
            match event {
                Event::Frame { stream, body } => {
                    driver.endpoint().send(link, stream, frame(&body)).unwrap();
                }
                Event::Closed { .. } => resets += 1,
                _ => {}
            }
        }
        driver.flush().unwrap();
        let now = driver.stats().handed_over;
        handed_over.fetch_add(now - before, Ordering::Relaxed);
        before = now;
    }
    let connected = driver.endpoint().counters().connected;
    driver.endpoint().close_all(CloseCode::ShuttingDown, "end");
    driver.flush().unwrap();
    Ended { stats: driver.stats(), connected, resets }
}

fn frame(body: &[u8]) -> Bytes {
    let mut frame = (body.len() as u16 | 0x4000).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame.into()
}

/// A client with one link and one stream.
struct Client {
    driver: Driver,
    link: LinkId,
    stream: StreamId,
    sent: u32,
    received: u32,
}

impl Client {
    fn connect(to: SocketAddr, seed: u64) -> Client {
        let config = Config::client(secrets(seed));
        let endpoint = Endpoint::client(config, ClientConfig::new(plain_client()), Instant::now());
        let mut driver = Driver::bind(local(), endpoint).unwrap();
        let link = driver.endpoint().connect(Instant::now(), to, "localhost").unwrap();
        until(&mut driver, |event| matches!(event, Event::Connected { .. })).unwrap();
        let stream = driver.endpoint().open(link, Role::ChatUp).unwrap();
        Client { driver, link, stream, sent: 0, received: 0 }
    }

    fn send(&mut self) {
        let body = self.sent.to_be_bytes();
        self.driver.endpoint().send(self.link, self.stream, frame(&body)).unwrap();
        self.sent += 1;
    }

    /// All that was sent comes back, in order; or why the link ended.
    fn receive_all(&mut self) -> Result<(), Event> {
        let (sent, received) = (self.sent, &mut self.received);
        until(&mut self.driver, |event| {
            if let Event::Frame { body, .. } = event {
                assert_eq!(body[..], received.to_be_bytes(), "in order, and none left out");
                *received += 1;
            }
            *received == sent
        })
    }

    fn move_on(&mut self) {
        self.driver.rebind(local(), &Options::default()).unwrap();
    }
}

/// Turns until an event like this; the error is the link's end.
fn until(driver: &mut Driver, mut like: impl FnMut(&Event) -> bool) -> Result<(), Event> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < end, "nothing within a minute");
        driver.flush().unwrap();
        driver.wait(Some(end)).unwrap();
        while let Some((_, event)) = driver.endpoint().poll_event() {
            if matches!(event, Event::Closed { .. }) {
                return Err(event);
            }
            if like(&event) {
                driver.flush().unwrap();
                return Ok(());
            }
        }
    }
}

/// The kernel's choice follows from the port: of so many ports all give the same loop once in a million million.
const PORTS: usize = 40;

#[test]
fn i10_a_client_whose_datagrams_land_on_another_loop_keeps_its_connection() {
    let node = Node::start(true);
    let mut client = Client::connect(node.address, 9);
    let mut moves = 0;
    while node.handed_over() == 0 && moves < PORTS {
        client.send();
        client.move_on();
        moves += 1;
        // Some are under way while it moves, some begin after.
        (0..5).for_each(|_| client.send());
        client.receive_all().unwrap();
    }
    assert!(node.handed_over() > 0, "{moves} moves, all to the first loop");
    // And it stays alive there, however often it moves between the loops.
    for _ in 0..10 {
        client.move_on();
        (0..20).for_each(|_| client.send());
        client.receive_all().unwrap();
    }
    assert_eq!(client.driver.endpoint().counters().connected, 1);
    let ended = node.end();
    assert_eq!(ended.iter().map(|ended| ended.connected).sum::<u64>(), 1, "no second connection");
    assert_eq!(ended.iter().map(|ended| ended.resets).sum::<u64>(), 0);
    let sum = |of: fn(&Stats) -> u64| ended.iter().map(|ended| of(&ended.stats)).sum::<u64>();
    assert_eq!(sum(|stats| stats.handover_dropped), 0);
    // What is still on its way when the loops end is taken by nobody.
    assert!(sum(|stats| stats.taken_over) > 0);
    assert!(sum(|stats| stats.taken_over) <= sum(|stats| stats.handed_over));
}

#[test]
fn i10_without_steering_the_wrong_loop_kills_the_connection() {
    let node = Node::start(false);
    let mut client = Client::connect(node.address, 9);
    let died = (0..PORTS).any(|_| {
        client.move_on();
        (0..5).for_each(|_| {
            let body = client.sent.to_be_bytes();
            // Over as soon as the reset is here.
            if client.driver.endpoint().send(client.link, client.stream, frame(&body)).is_ok() {
                client.sent += 1;
            }
        });
        client.receive_all().is_err()
    });
    assert!(died, "the first test proves nothing if this one fails");
    node.end();
}

#[test]
fn k1_clients_of_two_loops_need_no_hand_over() {
    let node = Node::start(true);
    for seed in 10..20 {
        let mut client = Client::connect(node.address, seed);
        (0..20).for_each(|_| client.send());
        client.receive_all().unwrap();
    }
    let ended = node.end();
    assert_eq!(ended.iter().map(|ended| ended.connected).sum::<u64>(), 10);
    assert_eq!(ended.iter().map(|ended| ended.stats.handed_over).sum::<u64>(), 0);
}
