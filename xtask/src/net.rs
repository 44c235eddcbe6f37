//! `cargo xtask net`: real nodes and phones on bad networks (`loadtest/net`), all of it or the short part that `test` runs.

use std::env::consts::EXE_SUFFIX;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::step::{self, Failed, Outcome, Steps};
use crate::workspace::{self, cargo};

/// The player's exit code if it could run nothing; where `GODWIT_NET=required` it fails instead.
const NOT_RUN: u8 = 77;

/// Builds the node and the player, as tests are built, and hands the player what was asked for.
///
/// # Errors
/// The build's failure, or [`step::Failed`] with the player's own code: 1 if a promise was broken, 77 if nothing ran because
/// networks cannot be made here.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let build = ["build", "--quiet", "--package", "godwit", "--package", "loadtest-net", "--bins"];
    step::run(&mut cargo(&build))?;
    step::run(player()?.args(options))
}

/// The short part, as a step of a longer chore that has built the tests: both programs are there then.
///
/// # Errors
/// As [`run`]; that nothing could run skips the step.
pub(crate) fn short(steps: &mut Steps) -> Result<()> {
    steps.run("bad networks, the short part", || match step::run(player()?.arg("--short")) {
        Err(error) if error.downcast_ref::<Failed>().is_some_and(|failed| failed.code == NOT_RUN) => {
            Ok(Outcome::Skipped("networks cannot be made here: see the lines NOT RUN".into()))
        }
        other => other.map(|()| Outcome::Passed),
    })
}

/// The player, where cargo puts it; the node lies beside it.
fn player() -> Result<Command> {
    let program = workspace::target().join("debug").join(format!("net{EXE_SUFFIX}"));
    ensure!(program.is_file(), "cargo made no {}", program.display());
    let mut command = Command::new(program);
    command.current_dir(workspace::root());
    Ok(command)
}
