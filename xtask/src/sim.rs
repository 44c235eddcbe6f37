//! `cargo xtask sim`: the whole cluster in virtual time, seed by seed (`loadtest/sim`).

use anyhow::Result;

use crate::step;
use crate::workspace::cargo;

/// Builds the player and hands it what was asked for.
///
/// # Errors
/// The build's failure, or [`step::Failed`] with the player's own code: 1 if a promise was broken.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let mut arguments = vec!["run", "--quiet", "--package", "loadtest-sim", "--bin", "sim", "--"];
    arguments.extend(options);
    step::run(&mut cargo(&arguments))
}
