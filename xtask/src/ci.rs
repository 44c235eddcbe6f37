//! `cargo xtask ci`: everything that must hold before a change lands.

use anyhow::Result;

use crate::fdb::Fdb;
use crate::step::{Outcome, Steps};
use crate::workspace::cargo;
use crate::{codegen, fuzz, interop, step, test, tools};

/// Runs every check, cheapest first, and stops at the first that fails.
///
/// # Errors
/// The failing step, as [`step::Failed`] where it was a program.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new();
    steps.command("formatting", &mut cargo(&["fmt", "--all", "--check"]))?;
    steps.run("generated code", || codegen::check().map(|()| Outcome::Passed))?;
    steps
        .command("lints", &mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // The feature changes the store and what stands on it; their dependencies stay built. Lints need no FoundationDB, but
    // what its binding is built with.
    let fdb = Fdb::find()?;
    steps.run("lints with FoundationDB", || {
        tools::libclang()?;
        step::run(&mut fdb.lints()).map(|()| Outcome::Passed)
    })?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    steps.command("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    steps.run("dependencies and licences", || {
        step::run(&mut tools::cargo_deny(&["check", "bans", "licenses", "sources"])?)
            .map(|()| Outcome::Passed)
    })?;
    test::tests(&mut steps, &fdb)?;
    steps.run(test::INTEROP, || interop::run(&fdb).map(|()| Outcome::Passed))?;
    fuzz::smoke(&mut steps)?;
    steps.finish("cargo xtask ci");
    Ok(())
}
