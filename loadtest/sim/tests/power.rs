//! The simulation finds what it should: mistakes in the product's code and promises that the world breaks are noticed
//! within a few seeds, and a seed is always the same run. How many seeds each takes is printed.

use std::time::Duration;

use loadtest_sim::{Kind, Mutation, Options, Sabotage, Violation, run};

/// Seeds within which a mistake is noticed.
const SEEDS: u64 = 48;

fn noticed(options: Options, is_it: impl Fn(&Violation) -> bool) {
    let what = options.mutation.map_or(format!("{:?}", options.sabotage), |mutation| format!("{mutation:?}"));
    let mut seen = Vec::new();
    for seed in 1..=SEEDS {
        match run(seed, &options) {
            Err(failure) if is_it(&failure.violation) => {
                return eprintln!("{what}: noticed with seed {seed}: {}", failure.violation);
            }
            Err(failure) => seen.push(failure.violation.to_string()),
            Ok(_) => {}
        }
    }
    panic!("{what} went unnoticed in {SEEDS} seeds; seen: {seen:#?}");
}

fn options() -> Options {
    Options { calm: Duration::from_secs(40), ..Options::default() }
}

fn mutant(mutation: Mutation, is_it: impl Fn(&Violation) -> bool) {
    // Some are noticed in seeds of one kind alone.
    let kind = match mutation {
        Mutation::RouteAfterHeads => Some(Kind::Gentle),
        Mutation::SweeperOff | Mutation::ClearUnhinted => Some(Kind::Steady),
        Mutation::NoSteering => Some(Kind::OnlyMoves),
        _ => None,
    };
    noticed(Options { kind, mutation: Some(mutation), ..options() }, is_it);
}

fn saboteur(sabotage: Sabotage, is_it: impl Fn(&Violation) -> bool) {
    noticed(Options { sabotage: Some(sabotage), ..options() }, is_it);
}

/// One test for each mutation, so that they run beside each other; a mutation without one does not compile.
macro_rules! mutants {
    ($($test:ident: $mutation:ident => $violation:pat),* $(,)?) => {
        $(#[test]
        fn $test() {
            mutant(Mutation::$mutation, |violation| matches!(violation, $violation));
        })*

        #[test]
        fn p3_every_mutation_has_its_test() {
            let tested = |mutation| match mutation { $(Mutation::$mutation => stringify!($test),)* };
            let tests: std::collections::BTreeSet<&str> = Mutation::ALL.into_iter().map(tested).collect();
            assert_eq!(tests.len(), Mutation::ALL.len());
        }
    };
}

use Violation::*;

mutants! {
    i3_an_append_that_does_not_look_is_noticed: NoIdempotencyRead => Doubled { .. },
    i1_an_ack_before_the_commit_is_noticed: AckBeforeCommit => AckLost { .. },
    i2_a_head_read_without_conflict_is_noticed: HeadBySnapshot => AckLost { .. } | Changed { .. } | LogGap { .. },
    i4_delivered_that_counts_as_read_is_noticed: DeliveredIsRead => CursorAhead { .. },
    i4_a_cursor_that_goes_back_is_noticed: CursorMayGoBack => CursorBack { .. },
    i4_a_cursor_that_jumps_over_what_is_before_an_own_message_is_noticed: OwnCursorJumps => CursorAhead { .. },
    i5_members_told_to_anybody_are_noticed: MembersForAnybody => TypingLeaked { .. },
    c29_a_route_after_the_heads_is_noticed: RouteAfterHeads => Late { .. },
    i4_a_cursor_that_moves_on_send_is_noticed: CursorOnSend => CursorAhead { .. },
    i2_a_hint_without_a_look_at_what_was_before_is_noticed: HintWithoutReread => LeftOut { .. },
    r141_lost_hints_that_nobody_looks_after_are_noticed: LostHintsIgnored => NotConverged { .. },
    r141_a_sweeper_that_does_not_sweep_is_noticed: SweeperOff => NotConverged { .. },
    r141_an_outbox_that_is_cleared_unhinted_is_noticed: ClearUnhinted => NotConverged { .. },
    g18_early_data_that_is_believed_is_noticed: EarlyBelieved => ReplayBelieved { .. },
    g15_a_stream_that_is_sent_more_than_it_takes_is_noticed: SendWithoutRoom => Unbounded { .. },
    i10_loops_that_hand_over_nothing_are_noticed: NoSteering => LostByMoving { .. },
    g21_an_outbox_that_forgets_on_send_is_noticed: OutboxForgetsOnSend => NotConverged { .. } | CursorAhead { .. },
    i3_a_new_id_for_a_retry_is_noticed: NewIdOnRetry => Invented { .. } | Doubled { .. },
    r50_a_repeat_that_is_kept_is_noticed: RepeatsKept => Gap { .. },
    i2_an_ack_that_is_not_awaited_is_noticed: AckNotAwaited => LeftOut { .. },
}

#[test]
fn i1_an_acknowledged_message_that_the_store_throws_away_is_noticed() {
    saboteur(Sabotage::DropAcked, |violation| matches!(violation, AckLost { .. }));
}

#[test]
fn i4_a_device_that_loses_what_it_confirmed_is_noticed() {
    saboteur(Sabotage::ForgetfulDisk, |violation| matches!(violation, CursorAhead { .. }));
}

#[test]
fn i3_g18_early_data_that_is_taken_without_looking_is_noticed() {
    saboteur(Sabotage::BlindEarly, |violation| matches!(violation, Doubled { .. }));
}

#[test]
fn g24_an_app_that_does_not_know_that_nobody_looks_is_noticed() {
    // Long enough for heartbeats, whatever else cuts connections short.
    let storm = Duration::from_secs(60);
    let sabotage = Some(Sabotage::NeverBackground);
    noticed(Options { storm, sabotage, ..options() }, |violation| matches!(violation, NotQuiet { .. }));
}

#[test]
fn p3_one_seed_is_one_run() {
    let options = Options { storm: Duration::from_secs(15), ..Options::default() };
    for seed in [3, 8] {
        let (first, second) = (run(seed, &options), run(seed, &options));
        let (first, second) = (first.expect("no promise is broken"), second.expect("nor now"));
        assert_eq!(first, second);
        assert_ne!(first.digest, run(seed + 1, &options).expect("nor now").digest);
    }
}

#[test]
fn p3_the_whole_timeline_says_who_said_what_to_whom() {
    let report = run(1, &Options { whole_timeline: true, ..options() }).expect("no promise is broken");
    let written = report.timeline.iter().filter(|line| line.contains(" writes to ")).count() as u64;
    assert_eq!(written, report.counts.sent);
    assert!(report.timeline.iter().any(|line| line.contains("sees one tick at")));
    assert!(report.timeline.iter().any(|line| line.contains(" gets ") && line.contains(": ")));
}
