//! `cargo xtask bench`: builds for release, measures every part and the whole node, prints one table of figures.
//!
//! Each part is a program that says its figures as one flat JSON object ([`parts`]); they are merged ([`figures`]) and
//! explained from one static table ([`keys`]). Invariant: a figure that was asked for is printed or the chore fails; a part
//! that fails, or calls its run invalid, fails the chore by name. The one exception is the part "fdb" where FoundationDB is not:
//! that is said, first and last, and in the figures too. With `--json` standard output is one object, and
//! everything else goes to standard error.

mod figures;
mod keys;
mod parts;

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};

use loadtest_cluster::REQUIRED_VARIABLE;

use crate::fdb::Fdb;
use figures::Figures;
use parts::{Part, Programs};

/// What `cargo xtask bench --help` says.
pub(crate) const HELP: &str = "\
Measures the parts and a whole node, and prints one table of figures with what limits each.

Usage: cargo xtask bench [--json] [--quick] [--only NAME...]

  --json          One flat JSON object of numbers on standard output, everything else on standard error
  --quick         Short runs, to see that all of it works; the figures mean little
  --only NAME...  Only these: wire, store, allocations, handshake, echo, idle, node, fdb;
                  or node:NAME, one measurement of the node by the name that loadtest-run gives it;
                  or fdb:commits, fdb:bytes, fdb:node

The part fdb measures stores and whole nodes on the embedded store, on a FoundationDB of one server and on one of
three, side by side. It starts them itself. Where FoundationDB is not installed it says NOT RUN, and none of its figures,
which begin with fdb_, is there (with GODWIT_TEST_FDB=required in the environment that is a failure).

Everything is built with optimisations, in the same target folder. A machine that does something else meanwhile spoils
the figures: CPU per message least, latencies and rates most. docs/BENCHMARKS.md says what each of them is.
";

/// One way to call this chore.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    json: bool,
    quick: bool,
    chosen: Vec<Chosen>,
}

/// A part, and which of its measurements; all, if none is named.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    part: &'static Part,
    measurements: Vec<String>,
}

/// Reads the words after `bench`.
///
/// # Errors
/// A word that means nothing.
pub(crate) fn options(words: &[&str]) -> Result<Options> {
    let mut options = Options { json: false, quick: false, chosen: Vec::new() };
    let (mut names, mut only) = (Vec::new(), false);
    for &word in words {
        match word {
            "--json" => options.json = true,
            "--quick" => options.quick = true,
            "--only" => only = true,
            name if only && !name.starts_with('-') => names.push(name),
            other => bail!("`{other}` is not an option of bench; see `cargo xtask bench --help`"),
        }
    }
    if only && names.is_empty() {
        bail!("--only needs a name; `cargo xtask bench --help` lists them");
    }
    options.chosen = chosen(&names)?;
    Ok(options)
}

/// The parts of these names, in the order in which they are measured.
fn chosen(names: &[&str]) -> Result<Vec<Chosen>> {
    let split = |name: &&str| {
        name.split_once(':').map_or((name.to_string(), None), |(part, measurement)| {
            (part.to_owned(), Some(measurement.to_owned()))
        })
    };
    let names: Vec<(String, Option<String>)> = names.iter().map(split).collect();
    for (name, measurement) in &names {
        let part = parts::PARTS.iter().find(|part| part.name == name);
        let part = part.with_context(|| format!("no such benchmark: `{name}`; --help lists them"))?;
        if measurement.as_deref().is_some_and(|measurement| !part.has_measurement(measurement)) {
            bail!(
                "`{name}` has no measurement of that name; `cargo xtask bench --help` says which have names"
            );
        }
    }
    let of_part = |part: &'static Part| {
        let own = || names.iter().filter(|(name, _)| name == part.name);
        // Named as a whole too, it is measured as a whole.
        let whole = own().any(|(_, measurement)| measurement.is_none());
        let measurements =
            own().filter_map(|(_, measurement)| measurement.clone()).filter(|_| !whole).collect();
        (names.is_empty() || own().next().is_some()).then_some(Chosen { part, measurements })
    };
    Ok(parts::PARTS.iter().filter_map(of_part).collect())
}

/// Builds, measures, prints.
///
/// # Errors
/// The build's failure; a part's, by its name; figures that are missing, doubled or no numbers.
pub(crate) fn run(options: &Options) -> Result<()> {
    let load = load_average();
    let mut figures = Figures::default();
    let fdb = Fdb::find()?;
    let not_run = fdb.why_missing().filter(|_| options.chosen.iter().any(|c| c.part.is_on_fdb()));
    let not_run = not_run.map(not_run_line);
    if let Some(line) = &not_run {
        eprintln!("{line}");
        let is_required = std::env::var_os(REQUIRED_VARIABLE).is_some_and(|value| value == "required");
        ensure!(!is_required, "{REQUIRED_VARIABLE}=required, but FoundationDB is missing");
    }
    figures.has_fdb(fdb.why_missing().is_none());
    let is_here = |chosen: &&Chosen| not_run.is_none() || !chosen.part.is_on_fdb();
    let chosen: Vec<&Chosen> = options.chosen.iter().filter(is_here).collect();
    measure(&chosen, fdb, options.quick, &mut figures)?;
    figures.machine(load)?;
    print!("{}", if options.json { figures.to_json() } else { table(&figures, options.quick) });
    if let Some(line) = not_run {
        eprintln!("\n{line}");
    }
    Ok(())
}

/// Parts, one after another, and that they owe nothing.
fn measure(chosen: &[&Chosen], fdb: Fdb, quick: bool, figures: &mut Figures) -> Result<()> {
    let wanted: Vec<(&Part, &[String])> = chosen.iter().map(|c| (c.part, &c.measurements[..])).collect();
    let programs = Programs::build(&wanted, fdb)?;
    for chosen in chosen {
        let name = chosen.part.name;
        eprintln!("\n=== {name}");
        let said = programs.measure(chosen.part, &chosen.measurements, quick);
        let taken = said.and_then(|said| said.iter().try_for_each(|said| figures.take(name, said)));
        taken.with_context(|| format!("the benchmark \"{name}\" failed"))?;
    }
    let whole: Vec<&str> = chosen.iter().filter(|c| c.measurements.is_empty()).map(|c| c.part.name).collect();
    figures.refuse_gaps(&whole)
}

/// What is said, first and last, where FoundationDB is missing.
fn not_run_line(why: &str) -> String {
    format!("NOT RUN: the benchmark \"fdb\", and so no figure that begins with fdb_: {why}")
}

fn table(figures: &Figures, quick: bool) -> String {
    let mut text = String::from("\n");
    let rows: Vec<_> = figures.rows();
    let width = rows.iter().map(|row| row.key.len()).max().unwrap_or_default();
    let unit_width = rows.iter().map(|row| row.unit.chars().count()).max().unwrap_or_default();
    for row in rows {
        let line = format!("{:<width$} {:>11} {:<unit_width$}  {}", row.key, row.value, row.unit, row.limit);
        writeln!(text, "{}", line.trim_end()).expect("a string takes all");
    }
    if quick {
        text.push_str("\nShort runs: they show that it works, and no more.\n");
    }
    text
}

/// Programs that ran or wanted to in the last minute, on average, before anything is measured: what a figure owes to
/// its neighbours is seen here. `None` where the system does not say.
fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(options: &Options) -> Vec<&str> {
        options.chosen.iter().map(|chosen| chosen.part.name).collect()
    }

    #[test]
    fn options_are_read_or_refused() {
        let all = options(&[]).expect("nothing is all");
        assert_eq!(names(&all), ["wire", "store", "allocations", "handshake", "echo", "idle", "node", "fdb"]);
        assert!(!all.json && !all.quick && all.chosen.iter().all(|chosen| chosen.measurements.is_empty()));
        let some =
            options(&["--only", "store", "wire", "--json", "--quick"]).expect("all words mean something");
        assert!(some.json && some.quick);
        assert_eq!(names(&some), ["wire", "store"]);
        let twice = options(&["--only", "idle", "--only", "echo"]).expect("it may be said twice");
        assert_eq!(names(&twice), ["echo", "idle"]);
        for wrong in [
            &["everything"][..],
            &["--only"],
            &["--only", "x"],
            &["--only", "store:x"],
            &["--only", "fdb:x"],
            &["-j"],
            &["store"],
        ] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_measurement_of_the_node_is_chosen_unless_all_are() {
        let some = options(&["--only", "node:w8", "node:idle"]).expect("measurements of the node");
        assert_eq!(some.chosen.len(), 1);
        assert_eq!(some.chosen[0].measurements, ["w8", "idle"]);
        let all = options(&["--only", "node:w8", "node"]).expect("the node as a whole");
        assert_eq!((all.chosen.len(), all.chosen[0].measurements.len()), (1, 0));
    }

    #[test]
    fn what_is_missing_is_one_line_that_names_the_figures_that_are_not_there() {
        let line = not_run_line("fdbcli is not here");
        assert!(line.starts_with("NOT RUN: ") && line.contains("fdb_") && !line.contains('\n'), "{line}");
        assert!(line.ends_with(": fdbcli is not here"), "{line}");
    }

    #[test]
    fn the_table_is_aligned_and_leaves_nothing_out() {
        let mut figures = Figures::default();
        figures
            .take(
                "store",
                r#"{"a_new_one_ms":12.345,"fdatasync_ms":0.164,"embedded_commits_per_s_64":47742}"#,
            )
            .expect("figures");
        let text = table(&figures, false);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[2].starts_with("a_new_one_ms "), "unknown ones last: {text}");
        // All values end in one column.
        let ends = ["47742", "0.164", "12.3"]
            .map(|value| text.lines().find_map(|l| Some(l.find(value)? + value.len())));
        assert!(ends[0].is_some() && ends.iter().all(|end| *end == ends[0]), "{text}");
    }
}
