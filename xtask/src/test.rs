//! `cargo xtask test`: every test of the workspace, and what they need, from a fresh clone.
//!
//! Tests start their own servers, on ports the system picks and in folders of their own, so there is nothing to set
//! up beside the build.

use anyhow::Result;

use crate::codegen;
use crate::step::{Outcome, Steps};
use crate::tools::Unavailable;
use crate::workspace::cargo;

/// Checks the generated code, then runs every test.
///
/// # Errors
/// The failing step.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new();
    steps.run("generated code", || match codegen::check() {
        Ok(()) => Ok(Outcome::Passed),
        // The code it would check is committed; the tests say whether it works.
        Err(error) if error.is::<Unavailable>() => Ok(Outcome::Skipped(error.to_string())),
        Err(error) => Err(error),
    })?;
    tests(&mut steps)?;
    steps.finish("cargo xtask test");
    Ok(())
}

/// The tests alone, as steps of a longer chore: one build, then unit, behaviour and documentation tests.
///
/// # Errors
/// The failing step.
pub(crate) fn tests(steps: &mut Steps) -> Result<()> {
    steps.command("build of the tests", &mut cargo(&["test", "--workspace", "--all-targets", "--no-run"]))?;
    steps.command("tests", &mut cargo(&["test", "--workspace", "--no-fail-fast"]))
}
