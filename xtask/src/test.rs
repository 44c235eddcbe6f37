//! `cargo xtask test`: every test of the workspace, and what they need, from a fresh clone.
//!
//! Tests start their own servers, on ports the system picks and in folders of their own, so there is nothing to set
//! up beside the build.

use anyhow::Result;

use crate::fdb::Fdb;
use crate::step::{Outcome, Steps};
use crate::tools::Unavailable;
use crate::{codegen, interop, net};

/// Checks the generated code, then runs every test, then real nodes on bad networks, the second client last.
///
/// # Errors
/// The failing step.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new();
    // The code it would check is committed; the tests say whether it works.
    steps.run("generated code", || unless_unavailable(codegen::check()))?;
    let fdb = Fdb::find()?;
    tests(&mut steps, &fdb)?;
    steps.run(INTEROP, || unless_unavailable(interop::run(&fdb)))?;
    steps.finish("cargo xtask test");
    Ok(())
}

/// The step that runs the protocol's second client.
pub(crate) const INTEROP: &str = "a second client, in Python";

/// What cannot be done on this machine is skipped, and said in the table of steps.
fn unless_unavailable(result: Result<()>) -> Result<Outcome> {
    match result {
        Ok(()) => Ok(Outcome::Passed),
        Err(error) if error.is::<Unavailable>() => Ok(Outcome::Skipped(error.to_string())),
        Err(error) => Err(error),
    }
}

/// The tests alone, as steps of a longer chore: one build, then unit, behaviour and documentation tests; then those with nodes
/// again on FoundationDB, where it is; then the network scenarios' short part with the programs of that build, alone on the
/// machine and its table in sight.
///
/// # Errors
/// The failing step.
pub(crate) fn tests(steps: &mut Steps, fdb: &Fdb) -> Result<()> {
    let mut build = fdb.cargo(&["test", "--workspace", "--all-targets", "--no-run"]);
    steps.command("build of the tests", &mut build)?;
    fdb.tests(steps)?;
    fdb.end_to_end(steps)?;
    net::short(steps)
}
