//! The load of the benchmarks that send messages there and back, and what it costs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::Role;
use wire_link::Event;
use wire_udp::Driver;

/// Bytes of one message.
pub(crate) const BODY_BYTES: usize = 128;

/// How long messages are counted.
pub(crate) const RUN: Duration = Duration::from_secs(3);

/// Connects so many links, each with one message under way.
pub(crate) fn warm_up(driver: &mut Driver, address: SocketAddr, links: usize) {
    let (mut begun, mut ready) = (0, 0);
    while ready < links {
        while begun < links && begun - ready < 50 {
            driver.endpoint().connect(Instant::now(), address, "localhost").unwrap();
            begun += 1;
        }
        driver.flush().unwrap();
        driver.wait(None).unwrap();
        while let Some((link, event)) = driver.endpoint().poll_event() {
            match event {
                Event::Connected { .. } => {
                    let stream = driver.endpoint().open(link, Role::ChatUp).unwrap();
                    driver.endpoint().send(link, stream, frame(&[0; BODY_BYTES])).unwrap();
                }
                // The first answer is kept for `measure` to go on with.
                Event::Frame { stream, body } => {
                    driver.endpoint().send(link, stream, frame(&body)).unwrap();
                    ready += 1;
                }
                Event::Closed { reason } => panic!("{reason}"),
                _ => {}
            }
        }
    }
    driver.flush().unwrap();
}

/// Each link has one message under way; how many came back.
pub(crate) fn measure(driver: &mut Driver, time: Duration) -> (u64, Duration) {
    let (mut messages, began) = (0, Instant::now());
    while began.elapsed() < time {
        driver.wait(Some(began + time)).unwrap();
        while let Some((link, event)) = driver.endpoint().poll_event() {
            match event {
                Event::Frame { stream, body } => {
                    messages += 1;
                    driver.endpoint().send(link, stream, frame(&body)).unwrap();
                }
                Event::Closed { reason } => panic!("{reason}"),
                _ => {}
            }
        }
        driver.flush().unwrap();
    }
    (messages, began.elapsed())
}

/// A frame with this body.
pub(crate) fn frame(body: &[u8]) -> Bytes {
    let mut frame = (body.len() as u16 | 0x4000).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame.into()
}

/// Any port of this machine.
pub(crate) fn local() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
