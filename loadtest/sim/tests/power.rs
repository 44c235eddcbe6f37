//! The simulation finds what it should: promises broken on purpose are noticed, and a seed is always the same run.

use std::time::Duration;

use loadtest_sim::{Options, Sabotage, Violation, run};

/// A sabotage leads to a violation within a few seeds.
fn noticed(sabotage: Sabotage, is_it: impl Fn(&Violation) -> bool) {
    noticed_in(Options::default().storm, sabotage, is_it);
}

fn noticed_in(storm: Duration, sabotage: Sabotage, is_it: impl Fn(&Violation) -> bool) {
    let options = Options { storm, calm: Duration::from_secs(40), sabotage: Some(sabotage) };
    let mut seen = Vec::new();
    for seed in 1..=12 {
        match run(seed, &options) {
            Err(failure) if is_it(&failure.violation) => return,
            Err(failure) => seen.push(failure.violation.to_string()),
            Ok(_) => {}
        }
    }
    panic!("{sabotage:?} went unnoticed; seen: {seen:#?}");
}

#[test]
fn i3_a_store_that_forgets_idempotency_is_noticed() {
    noticed(Sabotage::ForgetIdempotency, |v| matches!(v, Violation::Doubled { .. }));
}

#[test]
fn i1_an_acknowledged_message_that_was_thrown_away_is_noticed() {
    noticed(Sabotage::DropAcked, |v| matches!(v, Violation::AckLost { .. }));
}

#[test]
fn i4_a_device_that_loses_what_it_confirmed_is_noticed() {
    noticed(Sabotage::ForgetfulDisk, |v| matches!(v, Violation::CursorAhead { .. }));
}

#[test]
fn r141_lost_hints_that_nobody_repairs_are_noticed() {
    noticed(Sabotage::NoHintsNoSweeper, |v| matches!(v, Violation::NotConverged { .. }));
}

#[test]
fn i10_loops_that_hand_over_nothing_are_noticed() {
    noticed(Sabotage::NoSteering, |v| matches!(v, Violation::LostByMoving { .. }));
}

#[test]
fn g18_a_node_that_believes_a_replayed_flight_is_noticed() {
    noticed(Sabotage::BelieveReplays, |v| matches!(v, Violation::ReplayBelieved { .. }));
}

#[test]
fn i3_g18_early_data_that_is_taken_without_looking_is_noticed() {
    noticed(Sabotage::BlindEarly, |v| matches!(v, Violation::Doubled { .. }));
}

#[test]
fn g24_an_app_that_does_not_know_that_nobody_looks_is_noticed() {
    // Long enough for heartbeats, whatever else cuts connections short.
    noticed_in(Duration::from_secs(60), Sabotage::NeverBackground, |v| {
        matches!(v, Violation::NotQuiet { .. })
    });
}

#[test]
fn one_seed_is_one_run() {
    let options = Options { storm: Duration::from_secs(15), ..Options::default() };
    for seed in [3, 8] {
        let (first, second) = (run(seed, &options), run(seed, &options));
        let (first, second) = (first.expect("no promise is broken"), second.expect("nor now"));
        assert_eq!(first, second);
        assert_ne!(first.digest, run(seed + 1, &options).expect("nor now").digest);
    }
}
