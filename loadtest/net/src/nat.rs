//! A NAT forgets its mappings in mid-burst: the phones' datagrams come from other ports, and nobody is told (I10).

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

/// What the node sees of the phones.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(10, 77, 4, 1);

/// From one rebinding to the next, at least.
const BETWEEN: Duration = Duration::from_millis(1_500);

pub(crate) fn cases(_: &Choice) -> Vec<Case> {
    vec![Case::new("nat", format!("rebinding in mid-burst, {} ms", ROUND_TRIP.as_millis()), play)]
}

fn play(choice: &Choice) -> Result<Report> {
    let stage = Stage::new(choice, &[], &[])?;
    stage.phones.set_both(&Settings::delayed(ROUND_TRIP / 2));
    stage.phones.put_behind_nat(PUBLIC, None)?;
    let rebindings_max = choice.pick(3, 12);
    let pace = Pace::bursts(BETWEEN * (rebindings_max + 2));
    let before = stage.metrics()?;
    let (mut rebindings, mut in_burst) = (0, 0);
    let talked = stage.with_phones(|| {
        talk(&stage, choice.seed, pace, |fleet, since| {
            let busy = unsettled(fleet);
            if rebindings == rebindings_max || busy == 0 || since < BETWEEN * (rebindings + 1) {
                return Ok(());
            }
            rebindings += 1;
            in_burst += busy as u64;
            Ok(stage.phones.rebind()?)
        })
    })?;
    let mut report = Report::default();
    talked.figures(&mut report);
    let nat = stage.phones.nat_counters().unwrap_or_default();
    let migrations = stage.metrics()?.sum("godwit_migrations_total") - before.sum("godwit_migrations_total");
    report.figure("rebindings", Value::Count(rebindings.into()));
    report.figure("phones in mid-burst, all of them", Value::Count(in_burst));
    report.figure("datagrams to forgotten ports", Value::Count(nat.unmapped));
    report.figure("migrations", Value::Count(migrations as u64));
    ensure!(rebindings >= 2, "only {rebindings} rebindings found anybody in mid-burst");
    ensure!(migrations > 0.0, "no connection came from another port");
    talked.demand_no_reconnect(&mut report);
    stage.end(&mut report, LATE_MAX)?;
    Ok(report)
}
