//! A real node and real phones on bad networks: `net` plays every network scenario and prints one table.
//!
//! A [`Stage`](stage::Stage) is a network of `loadtest/emulator`, a `godwit serve` process in one namespace and phones in
//! another. A scenario is a module that names its [cases](cases::Case), and a case ends in a [row](row::Row): a promise was
//! kept, or it was broken; a row whose network was not what its setting says is invalid, and measured once more.
//!
//! Invariant: nothing that did not run passes for run. Where networks cannot be made, every scenario is named, loudly.
#![expect(clippy::print_stdout, reason = "the table belongs on the terminal")]
#![cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "there are no cases where there are no networks")
)]

#[cfg(target_os = "linux")]
mod address;
#[cfg(target_os = "linux")]
mod blocked;
mod cases;
#[cfg(target_os = "linux")]
mod grid;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(target_os = "linux")]
mod nat;
mod row;
#[cfg(target_os = "linux")]
mod stage;
#[cfg(target_os = "linux")]
mod stalled;
#[cfg(target_os = "linux")]
mod talk;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use cases::{Case, Choice, SCENARIOS};
use row::Row;

/// Plays network scenarios through a real node and real phones, and prints what held.
///
/// Exit codes: 0 all held; 1 something did not; 77 nothing could run, because networks cannot be made here (with
/// GODWIT_NET=required that is 1).
#[derive(Debug, Parser)]
#[command(name = "net")]
struct Cli {
    /// The node's binary; the one beside this program if it is not said.
    #[arg(long, value_name = "FILE")]
    godwit: Option<PathBuf>,
    /// A part of it, in about a minute: what continuous integration runs.
    #[arg(long)]
    short: bool,
    /// Only this scenario; may be given more than once.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Decides what people say and when, what the network loses, and what attackers send.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// List the scenarios.
    #[arg(long)]
    list: bool,
}

/// Exit code if nothing ran because networks cannot be made here: no success, and nothing is broken.
const NOT_RUN: u8 = 77;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_RUN),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Plays what is wanted; `false` if networks cannot be made here.
fn run(cli: &Cli) -> Result<bool> {
    if let Some(unknown) = cli.only.iter().find(|name| SCENARIOS.iter().all(|(known, _)| known != name)) {
        bail!("there is no scenario {unknown}; --list names them");
    }
    if cli.list {
        SCENARIOS.iter().for_each(|(name, about)| println!("{name:10}{about}"));
        return Ok(true);
    }
    let wanted = |name: &str| cli.only.is_empty() || cli.only.iter().any(|only| only == name);
    if !can_run(SCENARIOS.iter().map(|(name, _)| *name).filter(|name| wanted(name)))? {
        return Ok(false);
    }
    let choice = Choice { godwit: godwit(cli.godwit.clone())?, seed: cli.seed, short: cli.short };
    let repeat = if cli.short { " --short" } else { "" };
    eprintln!("seed {0}: `cargo xtask net{repeat} --seed {0}` plays the same", cli.seed);
    let cases = cases::all(&choice);
    let rows: Vec<Row> =
        cases.iter().filter(|case| wanted(case.scenario)).map(|case| play(case, &choice)).collect();
    print!("{}", row::table(&rows));
    let broken: Vec<String> = rows.iter().filter_map(Row::broken).collect();
    ensure!(broken.is_empty(), "not everything held:\n  {}", broken.join("\n  "));
    Ok(true)
}

/// Plays a case; once more if the network was not what was asked for.
fn play(case: &Case, choice: &Choice) -> Row {
    eprintln!("{}, {}", case.scenario, case.setting);
    let first = case.play(choice);
    eprintln!("    {first}");
    if !first.is_invalid() {
        return first;
    }
    let second = case.play(choice).again();
    eprintln!("    {second}");
    second
}

/// Whether there can be networks here. If not, says so of every scenario by name.
///
/// # Errors
/// They cannot, and the environment requires them.
#[cfg(target_os = "linux")]
fn can_run<'a>(scenarios: impl Iterator<Item = &'a str>) -> Result<bool> {
    match loadtest_emulator::probe() {
        Ok(()) => Ok(true),
        Err(unavailable) => not_run(scenarios, &format!("{:#}", anyhow::Error::from(unavailable))),
    }
}

/// There are none but on Linux.
///
/// # Errors
/// The environment requires them.
#[cfg(not(target_os = "linux"))]
fn can_run<'a>(scenarios: impl Iterator<Item = &'a str>) -> Result<bool> {
    not_run(scenarios, "networks of ours can be made on Linux only")
}

fn not_run<'a>(scenarios: impl Iterator<Item = &'a str>, why: &str) -> Result<bool> {
    scenarios.for_each(|name| eprintln!("NOT RUN: net {name}: {why}"));
    let is_required = std::env::var_os("GODWIT_NET").is_some_and(|value| value == "required");
    ensure!(!is_required, "GODWIT_NET=required, but {why}");
    Ok(false)
}

/// The node's binary: what was said, or what lies beside this program.
fn godwit(said: Option<PathBuf>) -> Result<PathBuf> {
    let path = match said {
        Some(path) => path,
        None => std::env::current_exe().context("this program is nowhere")?.with_file_name("godwit"),
    };
    ensure!(
        path.is_file(),
        "there is no {}: `cargo build` makes it, --godwit says where else it is",
        path.display()
    );
    Ok(path)
}
