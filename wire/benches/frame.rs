//! What a frame costs, in nanoseconds: *encode* from a value into shared bytes, with the builder that the thread reuses,
//! as a node does; *verify* its body, which a node does to learn what a stream is for; *decode* it, which verifies it and
//! reads it in place. The frames are those that a message needs on its way, contents of 100 bytes.
//!
//! `cargo bench -p wire --bench frame`. Warm caches and one kind of frame after another: a lower bound, good for ratios.

use std::process::ExitCode;

use bytes::Bytes;
use loadtest_figures::{Options, Report, cost};
use wire::event::{Cursor, Entry, EntryKind, Kind};
use wire::request::Append;
use wire::{AccountId, ClientMsgId, DeviceId, Epoch, Event, Request, Seq, WallTime, frame};

/// Bytes of a message's content.
const CONTENT: [u8; 100] = [7; 100];

/// A moment of 2025.
const AT: WallTime = WallTime(1_750_000_000_000);

fn main() -> ExitCode {
    let options = Options::from_args();
    let mut bench = Bench { report: Report::new(&options), options };
    bench.report.line(format_args!(
        "{:>12} {:>6} {:>10} {:>10} {:>10}   (best: encode, verify, decode)",
        "frame", "bytes", "encode ns", "verify ns", "decode ns"
    ));
    let id = ClientMsgId::new([3; 16]);
    let append = Append {
        client_msg_id: id,
        content: Bytes::from_static(&CONTENT),
        kind: Kind::Text,
        epoch: Epoch(7),
    };
    bench.request("append", &Request::Append(append));
    bench.request("move_cursor", &Request::MoveCursor { delivered: Seq(70_000), read: Seq(69_999) });
    let entry = Entry {
        seq: Seq(70_000),
        sender: AccountId::new([1; 16]),
        device: DeviceId::new([2; 16]),
        client_msg_id: id,
        at: AT,
        kind: Kind::Text,
        content: Bytes::from_static(&CONTENT),
        what: EntryKind::Message,
        epoch: Epoch(7),
    };
    bench.event("entry", &Event::Entry(entry));
    bench.event(
        "append_ack",
        &Event::AppendAck { client_msg_id: id, seq: Seq(70_000), at: AT, delivered: Seq(70_000) },
    );
    let cursor = Cursor {
        member: AccountId::new([1; 16]),
        delivered: Seq(70_000),
        delivered_at: AT,
        read: Seq(69_999),
        read_at: AT,
        withheld: Vec::new(),
    };
    bench.event("cursor_moved", &Event::CursorMoved(cursor));
    bench.report.finish()
}

struct Bench {
    options: Options,
    report: Report,
}

impl Bench {
    fn request(&mut self, name: &str, request: &Request) {
        assert_eq!(Request::decode(&frame::body_of(&request.encode())).as_ref(), Ok(request));
        self.measure(name, || request.encode(), Request::decode);
    }

    fn event(&mut self, name: &str, event: &Event) {
        assert_eq!(Event::decode(&frame::body_of(&event.encode())).as_ref(), Ok(event));
        self.measure(name, || event.encode(), Event::decode);
    }

    fn measure<T>(&mut self, name: &str, encode: impl Fn() -> Bytes, decode: impl Fn(&Bytes) -> T) {
        let whole = encode();
        let body = frame::body_of(&whole);
        let costs = [
            ("encode", cost(&self.options, &encode)),
            ("verify", cost(&self.options, || frame::first_role(std::hint::black_box(&body)))),
            ("decode", cost(&self.options, || decode(std::hint::black_box(&body)))),
        ];
        let [encode, verify, decode] = costs.map(|(_, cost)| cost);
        self.report.line(format_args!(
            "{name:>12} {:>6} {:>10.1} {:>10.1} {:>10.1}   ({:.1}, {:.1}, {:.1})",
            whole.len(),
            encode.median_ns,
            verify.median_ns,
            decode.median_ns,
            encode.best_ns,
            verify.best_ns,
            decode.best_ns,
        ));
        for (what, cost) in costs {
            self.report.figure(format!("wire_{what}_{name}_ns"), cost.median_ns);
        }
    }
}
