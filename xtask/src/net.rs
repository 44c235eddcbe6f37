//! `cargo xtask net`: real nodes and phones on bad networks (`loadtest/net`), all of it or the short part that `test` runs.

use std::env::consts::EXE_SUFFIX;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::step::{self, Steps};
use crate::workspace::{self, cargo};

/// Builds the node and the player, as tests are built, and hands the player what was asked for.
///
/// # Errors
/// The build's failure, or [`step::Failed`] with the player's own code: 1 if a promise was broken.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let build = ["build", "--quiet", "--package", "godwit", "--package", "loadtest-net", "--bins"];
    step::run(&mut cargo(&build))?;
    step::run(player()?.args(options))
}

/// The short part, as a step of a longer chore that has built the tests: both programs are there then.
///
/// # Errors
/// As [`run`].
pub(crate) fn short(steps: &mut Steps) -> Result<()> {
    steps.command("bad networks, the short part", player()?.arg("--short"))
}

/// The player, where cargo puts it; the node lies beside it.
fn player() -> Result<Command> {
    let program = workspace::target().join("debug").join(format!("net{EXE_SUFFIX}"));
    ensure!(program.is_file(), "cargo made no {}", program.display());
    let mut command = Command::new(program);
    command.current_dir(workspace::root());
    Ok(command)
}
