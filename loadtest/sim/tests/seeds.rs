//! Fixed seeds, played on every run of the tests.
//!
//! `cargo xtask sim` plays others, as many as wanted.

use loadtest_sim::{Counts, Failure, Kind, Options, Report, run};

/// Seeds that are always played: the first few, and one in which somebody has published no key package yet.
fn seeds() -> impl Iterator<Item = u64> {
    (1..=32).chain([45])
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

type Count = fn(&Counts) -> u64;

/// What the fixed seeds must have seen, so that nothing holds only because it never happened.
const SEEN: [(&str, Count); 31] = [
    ("early data accepted", |c| c.early_accepted),
    ("early data refused", |c| c.early_refused),
    ("appends before the handshake was complete", |c| c.early_appends),
    ("first flights with a wrong clock", |c| c.early_wrong_clock),
    ("moves", |c| c.moves),
    ("rebindings", |c| c.rebinds),
    ("migrations as nodes see them", |c| c.migrations),
    ("datagrams handed over", |c| c.handed_over),
    ("datagrams without room", |c| c.handover_lost),
    ("hints without room", |c| c.hints_dropped),
    ("hints lost between nodes", |c| c.hints_lost),
    ("repairs", |c| c.repairs),
    ("replays", |c| c.replays),
    ("replays taken as early data", |c| c.replays_early),
    ("connections let go in the background", |c| c.asleep),
    ("typing said", |c| c.typed),
    ("typing shown", |c| c.typing_shown),
    ("keys pressed in others' chats", |c| c.snooped),
    ("tokens renewed", |c| c.renewed),
    ("messages put off", |c| c.delayed),
    ("second phones", |c| c.second_phones),
    ("phones added while things went wrong", |c| c.late_phones),
    ("times that an app did not read", |c| c.dawdled),
    ("times that heads were read again", |c| c.looked_again),
    ("jumps of nodes' clocks", |c| c.clock_jumps),
    ("commits that phones made", |c| c.commits),
    ("groups joined by a welcome", |c| c.joined),
    ("changes of a group's members that were done", |c| c.plans),
    ("phones whose person was put out of a group or left it", |c| c.gone),
    ("messages that failed for that", |c| c.failed),
    ("times that somebody had no key package", |c| c.unreachable),
];

#[test]
fn r141_r11_r37_i1_i2_i3_i4_i5_i6_i10_c29_g15_g18_g21_g24_r34_hold_through_faults() {
    let played = play(seeds());
    for report in &played {
        eprintln!("seed {}: {:?}, {:?}", report.seed, report.kind, report.counts);
    }
    let virtual_s: f64 = played.iter().map(|report| report.lasted.as_secs_f64()).sum();
    eprintln!("{} seeds, {virtual_s:.0} virtual seconds", played.len());
    for (what, of) in SEEN {
        let seen: u64 = played.iter().map(|report| of(&report.counts)).sum();
        eprintln!("{seen:>8} {what}");
        assert!(seen > 0, "the fixed seeds have seen no {what}");
    }
    let of = |kind| played.iter().filter(move |report| report.kind == kind).map(|report| report.counts);
    for counts in of(Kind::OnlyMoves) {
        assert!(counts.migrations > 0 && counts.handed_over > 0, "{counts:?}");
        assert_eq!((counts.disconnected, counts.replaced), (0, 0), "only addresses have changed");
    }
    for kind in [Kind::OnlyMoves, Kind::Gentle, Kind::Steady, Kind::Stormy] {
        eprintln!("{:>8} seeds {kind:?}", of(kind).count());
        assert!(of(kind).count() > 2, "too few seeds {kind:?}");
    }
}
