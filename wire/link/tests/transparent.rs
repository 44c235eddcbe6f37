//! The look into plain packets: it reads all that two endpoints say to each other, nothing makes it panic, and what is
//! said for the first time is told from what is said again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use wire::{CloseCode, Role};
use wire_link::testing::transparent::{Frame, PacketKind, Part, packets, stream_parts};
use wire_link::testing::{Datagram, FirstCarriers, Pair};

mod common;
use common::frame;
use common::returning::{Bench, Memory};

type Sent = Rc<RefCell<Vec<Datagram>>>;

/// Everything that is sent from here on, whether it arrives or not.
fn record(pair: &mut Pair) -> Sent {
    let sent = Sent::default();
    let copies = sent.clone();
    pair.network.lose_if(move |_, datagram| {
        copies.borrow_mut().push(datagram.clone());
        false
    });
    sent
}

/// Connections with everything in them: a Retry, early data, streams that are finished, abandoned and stopped, loss, a
/// client that moves, and a close.
fn life() -> Vec<Datagram> {
    let mut bench = Bench::plain(1);
    let sent = record(&mut bench.pair);
    bench.introduce();
    bench.restart_with(Memory::Kept, |server| server.handshakes_before_retry = 0);
    let (link, stream) = bench.speak(300);
    bench.outcome();
    let stream = stream.expect("the server is remembered");
    bench.pair.network.conditions.loss = 0.1;
    for size in [1, 100, 5_000, 30_000] {
        let other = bench.pair.client.open(link, Role::Request).expect("four are allowed");
        bench.pair.client.send(link, other, frame(size)).expect("there is room");
        bench.pair.run(Duration::from_millis(100));
        bench.serve();
        match size {
            1 => bench.pair.client.abandon(link, other, CloseCode::Cancelled),
            100 => bench.pair.client.stop(link, other, CloseCode::Cancelled),
            _ => bench.pair.client.finish(link, other),
        }
    }
    bench.pair.client.finish(link, stream);
    bench.pair.client_address.set_port(9);
    bench.pair.client.local_address_changed();
    bench.pair.run(Duration::from_secs(5));
    bench.pair.client.close(link, CloseCode::Done, "");
    bench.pair.run(Duration::from_secs(5));
    sent.take()
}

#[test]
fn g15_i10_every_packet_of_two_plain_endpoints_can_be_read() {
    let (mut kinds, mut others, mut parts, mut coalesced) = (Vec::new(), BTreeSet::new(), 0, 0);
    for Datagram { bytes, .. } in life() {
        let Some(read) = packets(&bytes) else {
            // A stateless reset for who has not heard of the close: noise, and short.
            assert!(bytes[0] & 0xc0 == 0x40 && bytes.len() < 43, "{bytes:02x?}");
            continue;
        };
        coalesced += usize::from(read.len() > 1);
        for packet in read {
            assert_eq!(packet.kind == PacketKind::Retry, packet.frames.is_empty(), "{packet:?}");
            kinds.push(packet.kind);
            for frame in packet.frames {
                match frame {
                    Frame::Stream(_) => parts += 1,
                    Frame::Other(kind) => drop(others.insert(kind)),
                }
            }
        }
    }
    for kind in [
        PacketKind::Initial,
        PacketKind::ZeroRtt,
        PacketKind::Handshake,
        PacketKind::Retry,
        PacketKind::OneRtt,
    ] {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
    assert!(parts > 50 && coalesced > 1, "{parts} parts, {coalesced} datagrams of several packets");
    // ACK, RESET_STREAM, STOP_SENDING, CRYPTO, MAX_STREAM_DATA, NEW_CONNECTION_ID, RETIRE_CONNECTION_ID,
    // PATH_CHALLENGE, PATH_RESPONSE, CONNECTION_CLOSE, HANDSHAKE_DONE.
    for kind in [0x02, 0x04, 0x05, 0x06, 0x11, 0x18, 0x19, 0x1a, 0x1b, 0x1d, 0x1e] {
        assert!(others.contains(&kind), "{kind:#x} is not among {others:x?}");
    }
}

#[test]
fn g15_i10_the_parts_of_a_stream_are_what_was_sent_on_it() {
    let mut pair = Pair::new(3, common::start());
    let (_, server) = pair.connected();
    let sent = record(&mut pair);
    pair.network.conditions.loss = 0.3;
    let sizes = [50_000, 70, 20_000];
    let streams = sizes.map(|size| {
        let stream = pair.server.open(server, Role::ChatDown).expect("four are allowed");
        pair.server.send(server, stream, frame(size)).expect("there is room");
        pair.server.finish(server, stream);
        stream.number()
    });
    pair.run(Duration::from_secs(10));
    let mut seen: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut ends = BTreeMap::new();
    let (mut first, mut again) = (0, 0);
    let mut carriers = FirstCarriers::default();
    for datagram in sent.take().iter().filter(|datagram| datagram.from == pair.server_address()) {
        for carried in carriers.see(&(), &datagram.bytes).expect("it can be read") {
            let Part { stream, bytes, fin } = carried.part;
            let known = seen.entry(stream).or_default();
            let is_news = bytes.clone().any(|at| !known.contains(&at)) || fin && !ends.contains_key(&stream);
            assert_eq!(carried.is_first, is_news, "{stream} {bytes:?}");
            if is_news {
                first += 1
            } else {
                again += 1
            }
            known.extend(bytes.clone());
            if fin {
                assert_eq!(*ends.entry(stream).or_insert(bytes.end), bytes.end);
            }
        }
    }
    assert!(first > 10 && again > 2, "{first} parts for the first time, {again} again");
    for (stream, size) in streams.iter().zip(sizes) {
        let bytes = frame(size).len() as u64;
        assert_eq!(seen[stream], (0..bytes).collect());
        assert_eq!(ends[stream], bytes);
    }
    assert_eq!(seen.len(), streams.len());
}

#[test]
fn connections_have_memories_of_their_own_and_what_is_not_read_is_not_noted() {
    // Short header, id, a packet number of one byte, then a stream's part: number 3, with an offset, no length.
    let datagram = |offset: u8, data: &[u8]| {
        let tag = [0; 16];
        [&[0x40][..], &[7; 8], &[0], &[0x0c, 3, offset], data, &tag].concat()
    };
    let mut carriers = FirstCarriers::default();
    let mut is_first = |connection: &str, datagram: &[u8]| {
        let carried = carriers.see(&connection.to_owned(), datagram)?;
        Some(carried.iter().any(|carried| carried.is_first))
    };
    assert_eq!(is_first("one", &datagram(0, b"abc")), Some(true));
    assert_eq!(is_first("one", &datagram(0, b"abc")), Some(false));
    assert_eq!(is_first("two", &datagram(0, b"abc")), Some(true));
    assert_eq!(is_first("one", &datagram(0, b"abcdef")[..10]), None);
    assert_eq!(is_first("one", &datagram(2, b"cd")), Some(true), "partly");
    assert_eq!(is_first("one", &datagram(1, b"bcd")), Some(false));
    assert_eq!(stream_parts(&datagram(5, b"xy")), Some(vec![Part { stream: 3, bytes: 5..7, fin: false }]));
}

#[test]
fn no_bytes_make_it_panic() {
    let mut rng = StdRng::from_seed([1; 32]);
    let (mut read, mut unread) = (0, 0);
    let mut look = |bytes: &[u8]| if packets(bytes).is_some() { read += 1 } else { unread += 1 };
    for datagram in life() {
        let bytes = datagram.bytes;
        for end in 0..bytes.len().min(200) {
            look(&bytes[..end]);
        }
        for _ in 0..20 {
            let mut damaged = bytes.clone();
            let at = rng.random_range(0..damaged.len());
            damaged[at] ^= 1 << rng.random_range(0..8);
            look(&damaged);
        }
    }
    for n in 0..50_000 {
        let mut bytes = vec![0; n % 100];
        rng.fill_bytes(&mut bytes);
        look(&bytes);
    }
    assert!(read > 1000 && unread > 10_000, "{read} read, {unread} not");
    assert_eq!(packets(&[]), None);
}
