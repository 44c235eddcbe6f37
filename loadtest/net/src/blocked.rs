//! UDP is blocked in both directions for a while; people type on, and nothing of it is lost (P1).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use loadtest_emulator::{Blocked, Direction, Settings};

use crate::cases::{Case, Choice};
use crate::row::{Report, Value};
use crate::stage::Stage;
use crate::talk::{Pace, talk, unsettled};

/// The round trip.
const ROUND_TRIP: Duration = Duration::from_millis(80);

/// No bound here is on times; a network later than this is none that anybody asked for.
const LATE_MAX: Duration = Duration::from_millis(100);

/// People talk for so long before.
const BEFORE: Duration = Duration::from_secs(3);

pub(crate) fn cases(choice: &Choice) -> Vec<Case> {
    let lasts = Duration::from_secs(choice.pick(5, 30));
    let setting = format!("UDP blocked for {} s, {} ms", lasts.as_secs(), ROUND_TRIP.as_millis());
    vec![Case::new("blocked", setting, move |choice| play(choice, lasts))]
}

fn play(choice: &Choice, lasts: Duration) -> Result<Report> {
    let stage = Stage::new(choice, &[], &[])?;
    stage.phones.set_both(&Settings::delayed(ROUND_TRIP / 2));
    // The last thing is said when the block ends.
    let pace = Pace::calm(BEFORE + lasts);
    let (mut blocked, mut lifted, mut waiting) = (None::<Instant>, None::<Instant>, 0);
    let talked = stage.with_phones(|| {
        talk(&stage, choice.seed, pace, |fleet, since| {
            match (blocked, lifted) {
                (None, _) if since >= BEFORE => {
                    blocked = Some(Instant::now());
                    stage.phones.update(|settings| settings.blocked = Blocked::Udp);
                }
                (Some(at), None) if at.elapsed() >= lasts => {
                    waiting = unsettled(fleet) as u64;
                    lifted = Some(Instant::now());
                    stage.phones.update(|settings| settings.blocked = Blocked::Nothing);
                }
                _ => {}
            }
            Ok(())
        })
    })?;
    let all_there = lifted.context("the block was never lifted")?.elapsed();
    let mut report = Report::default();
    report.figure("messages", Value::Count(talked.played.said as u64));
    report.figure("phones with something waiting", Value::Count(waiting));
    report.figure("from the block's end until all is there", Value::Seconds(all_there));
    report.figure("connections and attempts lost", Value::Count(talked.played.lost_connections));
    report.figure("connections made", Value::Count(talked.reconnects));
    let stopped = [Direction::Up, Direction::Down].map(|way| stage.phones.counters(way).blocked);
    ensure!(stopped.iter().all(|&packets| packets > 0), "nothing was blocked: {stopped:?}");
    ensure!(waiting > 0, "nobody typed while UDP was blocked");
    stage.end(&mut report, LATE_MAX)?;
    Ok(report)
}
