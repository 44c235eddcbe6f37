//! A flood of newcomers, with Retry on: it costs the node a datagram each, and an honest one a round trip (C20, R115).

mod common;

use common::support::{alice_and_bob, generous, scrape_until};
use common::*;
use loadtest_hostile::{Dose, Flood, flood};

#[test]
fn c20_a_flood_from_many_ports_must_prove_its_addresses_and_whoever_vanishes_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = edge_node::Config { loops: 2, ..generous(dir.path()) };
    config.handshakes.retry_past = 16;
    config.limits.hello_timeout_s = 2;
    let (node, people, chat) = alice_and_bob(config);
    let target = target(&node, &[[127, 0, 0, 3], [127, 0, 0, 4], [127, 0, 0, 5]]);
    let number = number(4_000);
    let options = Flood { dose: Dose::new(number, 1_000), seed: 7, vanishing: 8 };
    let (report, honest) = while_people_chat(&node, &people, chat, || flood(&target, &options));
    let report = report.unwrap();
    eprintln!(
        "{report:#?}\n{} messages, {} newcomers, {} MB",
        honest.messages,
        honest.newcomers,
        honest.grew_bytes() / 1e6
    );
    assert!(report.silent + report.vanishing >= number && report.unsent < number / 10, "{report:#?}");
    assert!(honest.newcomers > 0 && report.vanished > 0, "those who answer the Retry get in: {report:#?}");
    // Nearly all were asked to prove their address, which kept no state: few handshakes were begun for them.
    assert!(report.answers.retries > report.silent / 2, "{report:#?}");
    assert!(honest.grew("godwit_retry_sent_total") >= report.answers.retries as f64);
    let rounds = report.took.as_secs() / 10 + 1;
    let begun = honest.grew("godwit_connections_opened_total") - (report.vanishing + honest.newcomers) as f64;
    assert!(begun <= (16 * rounds) as f64 + 16.0, "{begun} handshakes begun for {}", report.silent);
    // What the flood left behind ends by itself.
    let before = honest.before.get("godwit_connections");
    scrape_until(&node, "the flood to be forgotten", |s| s.get("godwit_connections") <= before);
}
