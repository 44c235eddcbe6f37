//! The phones' address changes in mid-burst, as from Wi-Fi to cellular, and with it the loop that the kernel brings their
//! datagrams to: no reconnect and no gap (I10).

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use loadtest_emulator::Settings;

use crate::cases::{Case, Choice};
use crate::row::{Report, Value};
use crate::stage::Stage;
use crate::talk::{Pace, talk, unsettled};

/// The round trip.
const ROUND_TRIP: Duration = Duration::from_millis(80);

/// No bound here is on times; a network later than this is none that anybody asked for.
const LATE_MAX: Duration = Duration::from_millis(100);

/// From one change to the next, at least.
const BETWEEN: Duration = Duration::from_millis(1_200);

/// After the last change people talk on for so long.
const AFTER: Duration = Duration::from_secs(2);

pub(crate) fn cases(_: &Choice) -> Vec<Case> {
    vec![Case::new("address", format!("new addresses in mid-burst, {} ms", ROUND_TRIP.as_millis()), play)]
}

fn play(choice: &Choice) -> Result<Report> {
    let stage = Stage::new(choice, &[], &[])?;
    stage.phones.set_both(&Settings::delayed(ROUND_TRIP / 2));
    let moves_max = choice.pick(4, 15);
    let pace = Pace::bursts(BETWEEN * (moves_max + 1) + AFTER);
    let before = stage.metrics()?;
    let (mut moves, mut in_burst, mut across_after) = (0, 0, None);
    let talked = stage.with_phones(|| {
        talk(&stage, choice.seed, pace, |fleet, since| {
            let busy = unsettled(fleet);
            if moves == moves_max || busy == 0 || since < BETWEEN * (moves + 1) {
                return Ok(());
            }
            if across_after.is_none() && handed_over(&stage)? > before.sum(HANDED_OVER) {
                across_after = Some(moves);
            }
            moves += 1;
            in_burst += busy as u64;
            stage.phones.change_address(Ipv4Addr::new(10, 77, 3, moves as u8))?;
            fleet.move_all()?;
            Ok(())
        })
    })?;
    let mut report = Report::default();
    talked.figures(&mut report);
    let after = stage.metrics()?;
    let grew = |name: &str| (after.sum(name) - before.sum(name)) as u64;
    report.figure("moves", Value::Count(moves.into()));
    report.figure("phones in mid-burst, all moves", Value::Count(in_burst));
    report.figure("across loops after move", Value::Count(across_after.unwrap_or(moves).into()));
    report.figure("handed over", Value::Count(grew(HANDED_OVER)));
    report.figure("migrations", Value::Count(grew("godwit_migrations_total")));
    ensure!(moves >= 3, "only {moves} moves found anybody in mid-burst");
    // Each of the eight sockets changes its loop with every second move: that none of them ever did is no chance.
    ensure!(grew(HANDED_OVER) > 0, "nothing was handed from loop to loop");
    ensure!(grew("godwit_migrations_total") > 0, "no connection migrated");
    talked.demand_no_reconnect(&mut report);
    stage.end(&mut report, LATE_MAX)?;
    Ok(report)
}

const HANDED_OVER: &str = "godwit_datagrams_handed_over_total";

fn handed_over(stage: &Stage) -> Result<f64> {
    Ok(stage.metrics()?.sum(HANDED_OVER))
}
