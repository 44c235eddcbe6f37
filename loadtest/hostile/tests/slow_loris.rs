//! Handshakes that are begun and dripped: they hold no more places than their addresses may have, and not for ever; the
//! honest get in all the while (C20, R115).

mod common;

use std::time::Duration;

use common::support::{Scrape, admin, alice_and_bob, generous, scrape_until};
use common::*;
use loadtest_hostile::{Dose, SlowLoris, slow_loris};

/// Handshakes that one address may have under way, those who have proved it and those who have not counted apart.
const PER_ADDRESS: u32 = 32;

#[test]
fn c20_r115_handshakes_that_are_dripped_hold_a_bounded_number_of_places_for_a_bounded_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = edge_node::Config { loops: 2, ..generous(dir.path()) };
    config.handshakes.per_address_max = PER_ADDRESS;
    let (node, people, chat) = alice_and_bob(config);
    let target = target(&node, &[[127, 0, 0, 3]]);
    let number = number(400);
    let options = SlowLoris {
        drip: Duration::from_millis(500),
        life: Duration::from_secs(3),
        ..SlowLoris::new(Dose::new(number, 200), 11, 200)
    };
    let attack = || {
        let watch = std::thread::scope(|scope| {
            let attack = scope.spawn(|| slow_loris(&target, &options));
            let mut most: f64 = 0.0;
            while !attack.is_finished() {
                most = most.max(Scrape::of(admin(&node)).get("godwit_handshakes"));
                std::thread::sleep(Duration::from_millis(100));
            }
            (attack.join().expect("it ends by itself"), most)
        });
        (watch.0, watch.1)
    };
    let ((report, most), honest) = while_people_chat(&node, &people, chat, attack);
    let report = report.unwrap();
    eprintln!(
        "{report:#?}\nat most {most} under way; {} messages, {} newcomers, {} MB",
        honest.messages,
        honest.newcomers,
        honest.grew_bytes() / 1e6
    );
    assert_eq!(report.begun, number);
    assert!(report.datagrams > report.begun, "some are dripped: {report:#?}");
    // They were in the way, proved their address to be let in past its limit, and found that it has another.
    assert!(report.held >= 16 && report.proved > 0, "{report:#?}");
    assert!(report.turned_away.by_transport.of(&2) > 0, "{report:#?}");
    assert!(honest.grew("godwit_newcomers_refused_total{reason=\"address\"}") > 0.0);
    assert!((16.0..=f64::from(2 * PER_ADDRESS + 4)).contains(&most), "{most} under way");
    assert!(honest.newcomers > 0, "the honest get in");
    scrape_until(&node, "their places to be free again", |s| s.get("godwit_handshakes") == 0.0);
}
