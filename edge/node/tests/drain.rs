//! A node that is told to stop: its clients hear so one after the other, and nobody new gets in (R36).

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::*;
use wire::event::Event;
use wire::{ErrorCode, Retry};
use wire_link::CloseReason;

/// RFC 9000, section 20.1.
const CONNECTION_REFUSED: u64 = 2;

#[test]
fn r36_clients_are_told_one_after_the_other_and_newcomers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let defaults = config(dir.path());
    let mut config = edge_node::Config { loops: 2, ..generous(dir.path()) };
    config.stop_timeout_ms = defaults.stop_timeout_ms;
    let mut node = TestNode::start(config);
    let mut raws: Vec<Raw> = (0..24).map(|n| node.client(n)).collect();
    raws.iter_mut().for_each(|raw| assert!(matches!(raw.hello(None), Event::Connected(_))));
    let running = node.node.take().expect("it runs");
    let began = Instant::now();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| node.runtime.block_on(running.stop()));
        let mut told: BTreeMap<usize, Instant> = BTreeMap::new();
        let mut newcomers: Vec<Raw> = Vec::new();
        while told.len() < raws.len() || newcomers.iter().any(|raw| raw.closed.is_none()) {
            assert!(began.elapsed() < PATIENCE, "{} were told", told.len());
            for (n, raw) in raws.iter_mut().enumerate() {
                raw.turn(Instant::now());
                let session = raw.session.expect("said");
                if !told.contains_key(&n) && raw.waiting(session) > 0 {
                    let Event::Goodbye(refusal) = raw.next(session) else { panic!("nothing else is said") };
                    assert_eq!(refusal.code, ErrorCode::ShuttingDown);
                    assert!(matches!(refusal.retry, Retry::After(_)), "{refusal:?}");
                    told.insert(n, Instant::now());
                }
            }
            if newcomers.is_empty() && told.len() >= 2 {
                newcomers = (0..4).map(|n| Raw::begin(local(0), node.addr, &node.ca(), n)).collect();
            }
            newcomers.iter_mut().for_each(|raw| raw.turn(Instant::now()));
            std::thread::sleep(Duration::from_millis(2));
        }
        for raw in newcomers {
            let is_refused = |reason: &CloseReason| {
                matches!(reason, CloseReason::Transport { code: CONNECTION_REFUSED, .. })
            };
            assert!(raw.closed.as_ref().is_some_and(is_refused), "{:?}", raw.closed);
        }
        let (first, last) = (told.values().min().unwrap(), told.values().max().unwrap());
        // Spread over two seconds: not all at once, however busy this machine is.
        assert!(*last - *first > Duration::from_millis(300), "{:?}", *last - *first);
        raws.iter_mut().for_each(|raw| raw.until(|raw| raw.closed.is_some()));
        stopping.join().unwrap();
    });
    assert!(began.elapsed() < Duration::from_millis(defaults.stop_timeout_ms.into()), "it has drained");
}
