//! Noise and damaged datagrams: they cost the node a look each, and nobody a connection (R152).

mod common;

use common::support::{alice_and_bob, generous};
use common::*;
use loadtest_hostile::{Datagrams, Dose, Kind, datagrams};

#[test]
fn r152_noise_and_damaged_datagrams_change_nothing_for_living_connections() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat) = alice_and_bob(edge_node::Config { loops: 2, ..generous(dir.path()) });
    let (target, mallory) = (target(&node, &[[127, 0, 0, 1], [127, 0, 0, 5]]), mallory(&node));
    let number = number(20_000);
    let options = Datagrams {
        identity: Some(identity(&mallory)),
        life: std::time::Duration::from_millis(300),
        ..Datagrams::new(Dose::new(number, 8_000), 42)
    };
    let (report, honest) = while_people_chat(&node, &people, chat, || datagrams(&target, &options));
    let report = report.unwrap();
    eprintln!(
        "{report:#?}\n{} messages, {} newcomers, {} MB",
        honest.messages,
        honest.newcomers,
        honest.grew_bytes() / 1e6
    );
    // The attack was one: everything was said, in every way of being wrong, at connections that were there.
    assert_eq!(report.sent.total() + report.unsent, number);
    assert!(report.unsent < number / 10, "{report:#?}");
    assert!(Kind::ALL.iter().all(|kind| report.sent.of(kind) > number / 100), "{report:#?}");
    assert!(report.ports > 32 && report.victim.connected >= 2 && report.victim.heard > 10, "{report:#?}");
    assert!(report.answers.total() > 0, "the node saw what was for nobody: {report:#?}");
    // Whoever sees a client's datagrams cannot end its connections, nor make the node say much more than was said to it.
    assert_eq!(report.victim.lost.total(), 0, "{report:#?}");
    assert!(report.answers.bytes < 3 * report.sent_bytes, "{report:#?}");
    assert!(
        honest.grew("godwit_datagrams_handed_over_total") > 0.0,
        "some were for connections of the other loop"
    );
    assert!(honest.grew("godwit_datagrams_received_total") > number as f64 / 2.0);
}
