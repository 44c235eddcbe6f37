//! The bridge to a real endpoint: requests that are larger than what waits on a stream.

use std::time::{Duration, Instant};

use bytes::Bytes;
use client_core::quic::Bridge;
use client_core::{Output, StreamTag};
use wire::request::Request;
use wire::{Role, limits};
use wire_link::Event;
use wire_link::testing::Pair;

#[expect(clippy::disallowed_methods, reason = "a test begins at some time")]
fn start() -> Instant {
    Instant::now()
}

/// Several of the largest commits at once are more than a connection's queues take: what has no room follows as there is.
#[test]
fn r125_requests_larger_than_a_queue_arrive_whole_and_end_nothing() {
    let mut pair = Pair::new(1, start());
    let mut bridge = Bridge::default();
    let (link, _) = pair.connected();
    bridge.connecting(link);
    let parts = limits::COMMIT_BYTES_MAX / limits::PART_BYTES_MAX;
    let tags = [1, 2, 3].map(StreamTag);
    for stream in tags {
        bridge.perform(&mut pair.client, Output::Open { stream, role: Role::Request });
        for left in (0..parts as u32).rev() {
            let part = Request::Part { bytes: Bytes::from(vec![7; limits::PART_BYTES_MAX]), left };
            bridge.perform(&mut pair.client, Output::Send { stream, frame: part.encode() });
        }
        bridge.perform(&mut pair.client, Output::Finish { stream });
    }
    let (mut came, mut ended) = (0, 0);
    let end = pair.now + Duration::from_secs(60);
    while pair.now < end {
        pair.run(Duration::from_millis(100));
        while let Some((_, event)) = pair.server_event() {
            came += usize::from(matches!(event, Event::Frame { .. }));
            ended += usize::from(matches!(event, Event::Finished { .. }));
        }
        while let Some((link, event)) = pair.client_event() {
            assert!(!matches!(event, Event::Closed { .. }), "the connection stands");
            let input = bridge.input_of(&mut pair.client, link, event);
            assert!(input.is_none(), "{input:?}");
        }
    }
    assert_eq!((came, ended), (3 * parts, 3), "all of it, and then the ends");
}
