//! What came of a case, and the table of all.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

/// A number with its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    /// How many.
    Count(u64),
    /// A time, shown in milliseconds.
    Ms(Duration),
    /// A time, shown in seconds.
    Seconds(Duration),
    /// A ratio.
    Ratio(f64),
    /// Bytes, shown in MiB.
    Mib(f64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Count(count) => write!(f, "{count}"),
            Value::Ms(time) => write!(f, "{:.1} ms", time.as_secs_f64() * 1e3),
            Value::Seconds(time) => write!(f, "{:.1} s", time.as_secs_f64()),
            Value::Ratio(ratio) => write!(f, "{ratio:.2}"),
            Value::Mib(bytes) => write!(f, "{:.1} MiB", bytes / f64::from(1 << 20)),
        }
    }
}

/// What a case says of itself when no promise was broken outright.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<(&'static str, Value)>,
    missed: Vec<String>,
    unfit: Vec<String>,
}

impl Report {
    /// A figure for the table.
    pub(crate) fn figure(&mut self, name: &'static str, value: Value) {
        self.figures.push((name, value));
    }

    /// Something that must hold on a network which is what the setting says.
    pub(crate) fn demand(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.missed.push(otherwise());
        }
    }

    /// Something without which the run did not measure what its setting says.
    pub(crate) fn fit(&mut self, is_fit: bool, otherwise: impl FnOnce() -> String) {
        if !is_fit {
            self.unfit.push(otherwise());
        }
    }
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Every promise was kept.
    Held,
    /// The network or the load was not what the setting says: the figures mean nothing, and neither does a bound that was
    /// missed.
    Invalid(String),
    /// What was broken.
    Broken(String),
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    scenario: &'static str,
    setting: String,
    verdict: Verdict,
    figures: Vec<(&'static str, Value)>,
    took: Duration,
    is_second: bool,
}

impl Row {
    /// The row of a case. A promise that was broken outright counts whatever the network did.
    pub(crate) fn new(scenario: &'static str, setting: &str, report: Result<Report>, took: Duration) -> Row {
        let (verdict, figures) = match report {
            Err(error) => (Verdict::Broken(format!("{error:#}")), Vec::new()),
            Ok(Report { figures, missed, unfit }) => {
                let verdict = if !unfit.is_empty() {
                    Verdict::Invalid(unfit.join("; "))
                } else if !missed.is_empty() {
                    Verdict::Broken(missed.join("; "))
                } else {
                    Verdict::Held
                };
                (verdict, figures)
            }
        };
        Row { scenario, setting: setting.to_owned(), verdict, figures, took, is_second: false }
    }

    /// The case had been played before, and had said nothing.
    pub(crate) fn again(self) -> Row {
        Row { is_second: true, ..self }
    }

    /// Whether it says nothing.
    pub(crate) fn is_invalid(&self) -> bool {
        matches!(self.verdict, Verdict::Invalid(_))
    }

    /// What was broken, with the case's name.
    pub(crate) fn broken(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Broken(what) => Some(format!("{}, {}: {what}", self.scenario, self.setting)),
            _ => None,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.verdict {
            Verdict::Held => "held",
            Verdict::Invalid(_) => "INVALID",
            Verdict::Broken(_) => "BROKEN",
        }
    }

    /// The figures, and why the row is no good if it is not.
    fn rest(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        match &self.verdict {
            Verdict::Held => {}
            Verdict::Invalid(why) | Verdict::Broken(why) => parts.push(format!("[{why}]")),
        }
        parts.extend(self.figures.iter().map(|(name, value)| format!("{name} {value}")));
        parts.extend(self.is_second.then(|| "second try".to_owned()));
        parts.push(format!("took {}", Value::Seconds(self.took)));
        parts.join(", ")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.verdict(), self.rest())
    }
}

/// All rows, one under the other.
pub(crate) fn table(rows: &[Row]) -> String {
    let width = |of: fn(&Row) -> &str, least: usize| {
        rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0).max(least)
    };
    let (scenario, setting) = (width(|row| row.scenario, 8), width(|row| &row.setting, 7));
    let mut text = format!("{:scenario$}  {:setting$}  verdict  figures\n", "scenario", "setting");
    for row in rows {
        let line = format!(
            "{:scenario$}  {:setting$}  {:7}  {}\n",
            row.scenario,
            row.setting,
            row.verdict(),
            row.rest()
        );
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(report: Result<Report>) -> Row {
        Row::new("grid", "0 % at 20 ms", report, Duration::from_secs(2))
    }

    #[test]
    fn p1_a_missed_bound_is_broken_unless_the_network_was_no_good_and_a_broken_promise_always_is() {
        let mut report = Report::default();
        report.demand(true, || "never said".into());
        report.fit(true, || "never said".into());
        report.figure("p50", Value::Ms(Duration::from_micros(21_250)));
        let held = row(Ok(report));
        assert_eq!((held.broken(), held.is_invalid()), (None, false));
        assert_eq!(held.to_string(), "held: p50 21.2 ms, took 2.0 s");

        let mut report = Report::default();
        report.demand(false, || "3 connections were lost".into());
        let broken = row(Ok(report));
        assert_eq!(broken.broken().as_deref(), Some("grid, 0 % at 20 ms: 3 connections were lost"));

        let mut report = Report::default();
        report.demand(false, || "3 connections were lost".into());
        report.fit(false, || "the network was 50 ms late".into());
        let invalid = row(Ok(report));
        assert_eq!((invalid.broken(), invalid.is_invalid()), (None, true));

        let lost = row(Err(anyhow::anyhow!("2 messages are lost")));
        assert!(lost.broken().is_some() && !lost.is_invalid());
    }

    #[test]
    fn columns_are_aligned() {
        let mut long = row(Ok(Report::default()));
        long.setting.push_str(", with jitter");
        let table = table(&[row(Ok(Report::default())), long]);
        let at: Vec<_> = table.lines().skip(1).map(|line| line.find("held")).collect();
        assert!(at[0].is_some() && at[0] == at[1], "{table}");
    }
}
