//! People talk through loss and distance (P1, C41).

use std::time::Duration;

use anyhow::{Result, ensure};
use loadtest_emulator::{Direction, Settings};

use crate::cases::{Case, Choice};
use crate::row::Report;
use crate::stage::Stage;
use crate::talk::{Pace, talk};

/// At this loss connections may be lost; below it none.
const MAY_LOSE: f64 = 0.1;

/// The latest packet of a run may be so late, or by half of the round trip: the percentiles hardly know it.
const LATE_MAX: Duration = Duration::from_millis(20);

/// One network: half of the round trip, and the loss, in each direction.
#[derive(Debug, Clone, Copy)]
struct Cell {
    loss: f64,
    round_trip: Duration,
    /// Delays vary by up to a quarter of the round trip, and a packet in twenty is overtaken.
    is_uneven: bool,
}

impl Cell {
    fn settings(self) -> Settings {
        let even = Settings { loss: self.loss, ..Settings::delayed(self.round_trip / 2) };
        if !self.is_uneven {
            return even;
        }
        Settings { jitter: self.round_trip / 4, reorder: 0.05, reorder_by: self.round_trip / 4, ..even }
    }

    fn name(self) -> String {
        let uneven = if self.is_uneven { ", jitter, reordering" } else { "" };
        format!("loss {:.0} %, {} ms{uneven}", self.loss * 100.0, self.round_trip.as_millis())
    }
}

/// All nine and an uneven one, or two that are far apart.
pub(crate) fn cases(choice: &Choice) -> Vec<Case> {
    let cell = |loss: f64, ms: u64| Cell { loss, round_trip: Duration::from_millis(ms), is_uneven: false };
    let mut cells = Vec::new();
    if choice.short {
        cells.extend([cell(0.02, 80), cell(0.1, 20)]);
    } else {
        for loss in [0.0, 0.02, 0.1] {
            cells.extend([20, 80, 300].map(|ms| cell(loss, ms)));
        }
        cells.push(Cell { is_uneven: true, ..cell(0.02, 80) });
    }
    cells.into_iter().map(|cell| Case::new("grid", cell.name(), move |choice| play(choice, cell))).collect()
}

fn play(choice: &Choice, cell: Cell) -> Result<Report> {
    let stage = Stage::new(choice, &[], &[])?;
    // Before anybody joins: a connection that has learned a short way takes seconds to unlearn it.
    stage.phones.set_both(&cell.settings());
    let pace = Pace::calm(Duration::from_secs(choice.pick(5, 20)));
    let talked = stage.with_phones(|| talk(&stage, choice.seed, pace, |_, _| Ok(())))?;
    let mut report = Report::default();
    talked.figures(&mut report);
    // The network was in the way, or this says nothing. The histogram keeps three digits.
    ensure!(talked.at(0.0) >= cell.round_trip.mul_f64(0.99), "something arrived faster than the network is");
    let lost: u64 = [Direction::Up, Direction::Down].map(|way| stage.phones.counters(way).lost).iter().sum();
    ensure!(cell.loss == 0.0 || lost > 0, "the network lost nothing");
    if cell.loss < MAY_LOSE {
        talked.demand_no_reconnect(&mut report);
    }
    stage.end(&mut report, LATE_MAX.max(cell.round_trip / 2))?;
    Ok(report)
}
