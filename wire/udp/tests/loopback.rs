//! Drivers on real sockets of this machine.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::{CloseCode, Role};
use wire_link::testing::{plain_client, plain_server, secrets};
use wire_link::{ClientConfig, Config, Endpoint, Event, LinkId, ServerConfig};
use wire_udp::{Driver, Options};

fn local() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn server(address: SocketAddr) -> Driver {
    let endpoint =
        Endpoint::server(Config::server(secrets(1)), ServerConfig::new(plain_server()), Instant::now());
    Driver::bind(address, endpoint).unwrap()
}

fn client(seed: u64, links_max: usize) -> Driver {
    let config = Config { links_max, ..Config::client(secrets(seed)) };
    let endpoint = Endpoint::client(config, ClientConfig::new(plain_client()), Instant::now());
    Driver::bind(local(), endpoint).unwrap()
}

/// A server's thread that answers each frame with the same, until it is told to end.
struct Echo {
    address: SocketAddr,
    waker: wire_udp::Waker,
    end: std::sync::mpsc::Sender<()>,
    thread: thread::JoinHandle<wire_udp::Stats>,
}

impl Echo {
    fn begin(mut driver: Driver) -> Echo {
        let (end, ended) = std::sync::mpsc::channel();
        let (address, waker) = (driver.local_addr().unwrap(), driver.waker());
        let thread = thread::spawn(move || {
            while ended.try_recv().is_err() {
                driver.wait(None).unwrap();
                while let Some((link, event)) = driver.endpoint().poll_event() {
                    if let Event::Frame { stream, body } = event {
                        driver.endpoint().send(link, stream, frame(&body)).unwrap();
                    }
                }
                driver.flush().unwrap();
            }
            driver.endpoint().close_all(CloseCode::ShuttingDown, "end");
            driver.linger(Duration::from_secs(5)).unwrap();
            driver.stats()
        });
        Echo { address, waker, end, thread }
    }

    fn end(self) -> wire_udp::Stats {
        self.end.send(()).unwrap();
        self.waker.wake();
        self.thread.join().unwrap()
    }
}

fn frame(body: &[u8]) -> Bytes {
    let mut frame = (body.len() as u16 | 0x4000).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame.into()
}

/// Turns until `done` says so.
fn turn(driver: &mut Driver, mut done: impl FnMut(&mut Driver, LinkId, Event) -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < end, "nothing within 30 s");
        driver.flush().unwrap();
        driver.wait(Some(end)).unwrap();
        while let Some((link, event)) = driver.endpoint().poll_event() {
            if done(driver, link, event) {
                driver.flush().unwrap();
                return;
            }
        }
    }
}

/// Connects, sends one frame of each size, and has each back.
fn echo_each(driver: &mut Driver, to: SocketAddr, sizes: &[usize]) {
    driver.endpoint().connect(Instant::now(), to, "localhost").unwrap();
    let mut left = sizes.iter().copied();
    turn(driver, |driver, link, event| {
        let stream = match event {
            Event::Connected { .. } => driver.endpoint().open(link, Role::Request).unwrap(),
            Event::Frame { stream, .. } => stream,
            Event::Closed { reason } => panic!("{reason}"),
            _ => return false,
        };
        let Some(size) = left.next() else { return true };
        driver.endpoint().send(link, stream, frame(&vec![7; size])).unwrap();
        false
    });
}

#[test]
fn r12_frames_cross_real_sockets() {
    for address in [local(), (Ipv6Addr::UNSPECIFIED, 0).into()] {
        let echo = Echo::begin(server(address));
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, echo.address.port()));
        echo_each(&mut client(2, 1), to, &[0, 1, 100, 1200, 16_000]);
        let stats = echo.end();
        assert!(stats.datagrams_in > 5 && stats.datagrams_out > 5, "{stats:?}");
        assert_eq!(stats.dropped_out, 0);
    }
}

#[test]
fn k1_a_thousand_connections_between_two_sockets() {
    const LINKS: usize = 1000;
    let echo = Echo::begin(server(local()));
    let mut driver = client(2, LINKS);
    let (mut begun, mut answered) = (0, 0);
    let connect = |driver: &mut Driver| {
        driver.endpoint().connect(Instant::now(), echo.address, "localhost").unwrap();
    };
    // 50 handshakes at a time: all at once would overflow small socket buffers and only test retransmission.
    for _ in 0..50 {
        connect(&mut driver);
        begun += 1;
    }
    turn(&mut driver, |driver, link, event| {
        match event {
            Event::Connected { .. } => {
                let stream = driver.endpoint().open(link, Role::Session).unwrap();
                driver.endpoint().send(link, stream, frame(b"hello")).unwrap();
            }
            Event::Frame { body, .. } => {
                assert_eq!(&body[..], b"hello");
                answered += 1;
                if begun < LINKS {
                    connect(driver);
                    begun += 1;
                }
            }
            Event::Closed { reason } => panic!("{reason}"),
            _ => {}
        }
        answered == LINKS
    });
    assert_eq!(driver.endpoint().links(), LINKS);
    echo.end();
}

#[test]
fn a_peer_that_is_not_there_does_not_end_the_loop() {
    let nobody = UdpSocket::bind(local()).unwrap().local_addr().unwrap();
    let mut driver = client(2, 2);
    driver.endpoint().connect(Instant::now(), nobody, "localhost").unwrap();
    let end = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < end {
        driver.flush().unwrap();
        driver.wait(Some(end)).unwrap();
    }
    let echo = Echo::begin(server(local()));
    echo_each(&mut driver, echo.address, &[10]);
    echo.end();
}

#[test]
fn a_waker_ends_a_wait_and_wakes_before_it_count() {
    let mut driver = server(local());
    let waker = driver.waker();
    waker.wake();
    waker.wake();
    driver.wait(None).unwrap();
    let began = Instant::now();
    driver.wait(Some(began + Duration::from_millis(20))).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(20), "two wakes are one");
    let other = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        waker.wake();
    });
    driver.wait(None).unwrap();
    other.join().unwrap();
}

#[test]
fn a_past_time_is_not_waited_for() {
    let mut driver = server(local());
    let began = Instant::now();
    driver.wait(Some(began)).unwrap();
    driver.wait(began.checked_sub(Duration::from_secs(1))).unwrap();
    assert!(began.elapsed() < Duration::from_millis(500));
}

#[test]
fn several_sockets_may_share_a_port_only_if_asked() {
    let options = Options { reuse_port: true, ..Options::default() };
    let endpoint =
        || Endpoint::server(Config::server(secrets(1)), ServerConfig::new(plain_server()), Instant::now());
    let first = Driver::bind_with(local(), endpoint(), &options).unwrap();
    let address = first.local_addr().unwrap();
    Driver::bind_with(address, endpoint(), &options).unwrap();
    assert!(Driver::bind(address, endpoint()).is_err());
}

#[test]
fn i10_a_client_that_rebinds_keeps_its_link() {
    let echo = Echo::begin(server(local()));
    let mut driver = client(2, 1);
    let link = driver.endpoint().connect(Instant::now(), echo.address, "localhost").unwrap();
    turn(&mut driver, |_, _, event| matches!(event, Event::Connected { .. }));
    let stream = driver.endpoint().open(link, Role::ChatUp).unwrap();
    for round in 0..3 {
        driver.endpoint().send(link, stream, frame(&[round])).unwrap();
        turn(&mut driver, |_, _, event| matches!(event, Event::Frame { body, .. } if body[0] == round));
        driver.rebind(local(), &Options::default()).unwrap();
    }
    echo.end();
}

#[test]
fn a_full_socket_loses_nothing() {
    let echo = Echo::begin(server(local()));
    let options = Options { send_buffer_bytes: 1, receive_buffer_bytes: 1, ..Options::default() };
    let config = Config::client(secrets(5));
    let endpoint = Endpoint::client(config, ClientConfig::new(plain_client()), Instant::now());
    let mut driver = Driver::bind_with(local(), endpoint, &options).unwrap();
    echo_each(&mut driver, echo.address, &[16_000; 20]);
    echo.end();
}
