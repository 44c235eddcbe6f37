//! Every chore of this repository, as `cargo xtask COMMAND`.
//!
//! Invariant: a chore that ends well leaves exit code 0; one that does not prints one line saying what failed and what
//! to do, and leaves the failing program's own code. This crate depends on almost nothing, because everyone waits for
//! it before anything else happens.
#![expect(clippy::print_stdout, reason = "a chore's answer belongs on the terminal")]

mod bench;
mod ci;
mod codegen;
mod demo;
mod fdb;
mod fuzz;
mod interop;
mod net;
mod sim;
mod step;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
The chores of this repository.

Usage: cargo xtask <COMMAND>

Commands:
  demo              Two people chat through a node that is killed; `demo --help` for its options
  test              Install what the tests need, check the generated code, run every test,
                    those with nodes again on FoundationDB where it is installed, then
                    the short part of `net`
  ci                What continuous integration runs: formatting, lints, documentation,
                    licences, `test`, then a short run of every fuzz target
  sim               Play seeds of the whole cluster in virtual time; `sim --help` for its options
  net               Play a real node and real phones on bad networks, as root on Linux;
                    `net --help` for its options
  fuzz              Fuzz decoding and whole sessions; `fuzz --help` for its options
  bench             Measure the parts and a whole node; `bench --help` for its options
  fdb               Run the tests that start nodes with the nodes on FoundationDB, as `test`
                    does where it is installed
  codegen           Make wire/src/generated/ from wire/schema/
  codegen --check   Fail if wire/src/generated/ is not what the schema makes
  interop           Run the protocol's second client (wire/interop, in Python) against a node
  help              This text

The tools they fetch are kept in target/tools/, each at one pinned version.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            error
                .downcast_ref::<step::Failed>()
                .map_or(ExitCode::FAILURE, |failed| ExitCode::from(failed.code))
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] | ["help" | "--help" | "-h", ..] => print!("{HELP}"),
        ["demo", "--help" | "-h"] => print!("{}", demo::HELP),
        ["demo", options @ ..] => demo::run(&demo::options(options)?)?,
        ["sim", "--help" | "-h"] => sim::run(&["--help"])?,
        ["net", "--help" | "-h"] => net::run(&["--help"])?,
        ["fuzz", "--help" | "-h"] => print!("{}", fuzz::HELP),
        ["fuzz", options @ ..] => fuzz::run(&fuzz::options(options)?)?,
        ["bench", "--help" | "-h"] => print!("{}", bench::HELP),
        ["bench", options @ ..] => bench::run(&bench::options(options)?)?,
        [_, "--help" | "-h"] => print!("{HELP}"),
        ["test"] => test::run()?,
        ["ci"] => ci::run()?,
        ["fdb"] => fdb::run()?,
        ["interop"] => interop::run(&fdb::Fdb::find()?)?,
        ["sim", options @ ..] => sim::run(options)?,
        ["net", options @ ..] => net::run(options)?,
        ["codegen"] => codegen::write()?,
        ["codegen", "--check"] => codegen::check()?,
        other => bail!("no such chore: `{}`; `cargo xtask help` lists them", other.join(" ")),
    }
    Ok(())
}
