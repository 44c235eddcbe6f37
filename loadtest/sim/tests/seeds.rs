//! Fixed seeds, played on every run of the tests.
//!
//! `GODWIT_SIM_SEED=7` plays one seed and tells what happened; `GODWIT_SIM_SEEDS=1000` plays as many, from 1 on.

use loadtest_sim::{Failure, Options, Report, run};

/// Seeds that are always played: the first few, and those that once found a bug.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=32;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Plays seeds, and tells of each that failed; the first failure in full.
fn play(seeds: impl Iterator<Item = u64>) -> Vec<Report> {
    let (mut played, mut failed) = (Vec::new(), Vec::<Box<Failure>>::new());
    for seed in seeds {
        match run(seed, &Options::default()) {
            Ok(report) => played.push(report),
            Err(failure) => failed.push(failure),
        }
    }
    let list: Vec<String> = failed.iter().map(|f| format!("seed {}: {}", f.seed, f.violation)).collect();
    if let Some(first) = failed.first() {
        panic!("\n{first}\n\nall that failed, of {}:\n{}", played.len() + failed.len(), list.join("\n"));
    }
    played
}

#[test]
fn r141_i1_i2_i3_i4_g21_hold_through_faults() {
    let played = match (number("GODWIT_SIM_SEED"), number("GODWIT_SIM_SEEDS")) {
        (Some(seed), _) => play(std::iter::once(seed)),
        (None, Some(count)) => play(1..=count),
        (None, None) => play(SEEDS),
    };
    for report in &played {
        eprintln!("{report:?}");
    }
}
