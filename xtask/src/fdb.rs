//! FoundationDB in the chores: where it is, tests are built with it and run on it; where it is not, that is said, once and
//! last.
//!
//! `RUSTFLAGS` is never touched, which would build everything anew: the binding's build is told of a library outside the
//! standard folders by the variable that it reads, and programs by the loader's.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};
use loadtest_cluster::{Cluster, LIBRARY_VARIABLE, NOT_RUN_VARIABLE, Programs, STORE_VARIABLE, Shape};
use serde_json::Value;

use crate::step::{self, Outcome, Steps};
use crate::tools::{self, Unavailable};
use crate::workspace::{self, cargo};

/// The feature, as it is given to cargo for the whole workspace.
const FEATURE: [&str; 2] = ["--features", "godwit/fdb"];

/// The step that runs tests again.
const END_TO_END: &str = "end to end on FoundationDB";

/// Where the tests of backups look for an S3-compatible server's program.
const S3S_FS_VARIABLE: &str = "GODWIT_TEST_S3S_FS";

/// Folders of the packages whose integration tests start nodes, and so can be run again on another store.
const WITH_NODES: [&str; 3] = ["", "edge/node", "client/cli"];

/// Of those tests the ones whose nodes have a store of the test's choice, clusters of their own or an embedded one: they have been
/// run.
const WITH_OWN_STORES: [&str; 2] = ["backup", "cluster"];

/// Asks `fdbcli` for one of the keys of tests' nodes, which begin with the tuple of their prefix
/// ([`loadtest_cluster::store_of_node`]).
const STORED_BY_TESTS: &str = r"getrange \x02godwit-test/ \x02godwit-test0 1";

/// Where the system's loader looks for libraries before the standard folders.
const LOADER_VARIABLE: &str = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };

/// FoundationDB on this machine, or what of it is missing.
pub(crate) struct Fdb(Result<Programs, String>);

/// The tests with nodes on FoundationDB, and nothing else.
///
/// # Errors
/// [`Unavailable`] with what is missing; otherwise the failing step.
pub(crate) fn run() -> Result<()> {
    let fdb = Fdb::find()?;
    if let Err(missing) = &fdb.0 {
        return Err(Unavailable(missing.clone()).into());
    }
    let mut steps = Steps::new();
    fdb.end_to_end(&mut steps)?;
    steps.finish("cargo xtask fdb");
    Ok(())
}

impl Fdb {
    /// Looks for it, and for what its binding needs to be built, which is installed where that is allowed.
    ///
    /// # Errors
    /// What apt said, where it may install and did not.
    pub(crate) fn find() -> Result<Fdb> {
        let programs = match Programs::find() {
            Ok(programs) => programs,
            Err(missing) => return Ok(Fdb(Err(missing.to_string()))),
        };
        match tools::libclang() {
            Ok(()) => Ok(Fdb(Ok(programs))),
            Err(error) if error.is::<Unavailable>() => Ok(Fdb(Err(error.to_string()))),
            Err(error) => Err(error),
        }
    }

    /// A cargo that builds tests: with the feature where FoundationDB is here, so that there is one build of them.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        if self.0.is_err() {
            return cargo(arguments);
        }
        // What follows is for the tests themselves.
        let end = arguments.iter().position(|&word| word == "--").unwrap_or(arguments.len());
        let (before, after) = arguments.split_at(end);
        self.with_library(cargo(&[before, &FEATURE, after].concat()))
    }

    /// Lints with the feature. They need no library; but the binding's build runs once for all that is built, and so must be
    /// told the same each time.
    pub(crate) fn lints(&self) -> Command {
        let [flag, feature] = FEATURE;
        let lints = ["clippy", "--workspace", "--all-targets", flag, feature, "--", "-D", "warnings"];
        self.with_library(cargo(&lints))
    }

    /// What of it is missing, if something is.
    pub(crate) fn why_missing(&self) -> Option<&str> {
        self.0.as_ref().err().map(String::as_str)
    }

    /// As on a machine without it.
    #[cfg(test)]
    pub(crate) fn missing(why: &str) -> Fdb {
        Fdb(Err(why.to_owned()))
    }

    /// The same command, told where the library is, if loaders and linkers do not find it by themselves.
    pub(crate) fn with_library(&self, mut command: Command) -> Command {
        if let Some(folder) = self.0.as_ref().ok().and_then(Programs::library_folder) {
            command.env(LIBRARY_VARIABLE, folder).env(LOADER_VARIABLE, before_others(folder));
        }
        command
    }

    /// Runs all tests. Where FoundationDB is not here, what was not run is the chore's last word.
    ///
    /// # Errors
    /// The failing step.
    pub(crate) fn tests(&self, steps: &mut Steps) -> Result<()> {
        let list = workspace::target().join("not-run.txt");
        let s3s_fs = tools::s3s_fs();
        // An earlier run's, if there is one.
        let _ = std::fs::remove_file(&list);
        let mut tests = self.cargo(&["test", "--workspace", "--no-fail-fast"]);
        match s3s_fs {
            Ok(program) => drop(tests.env(S3S_FS_VARIABLE, program)),
            Err(why) => steps.note(format!("NOT RUN: backups in a bucket of a real S3 server: {why:#}")),
        }
        steps.command("tests", tests.env(NOT_RUN_VARIABLE, &list))?;
        if let Err(why) = &self.0 {
            let said = std::fs::read_to_string(&list).unwrap_or_default();
            steps.note(not_run(&said, why));
        }
        Ok(())
    }

    /// Runs the tests that start nodes again, with the nodes on one FoundationDB, each in a place of its own.
    ///
    /// # Errors
    /// The failing step.
    pub(crate) fn end_to_end(&self, steps: &mut Steps) -> Result<()> {
        let Ok(programs) = &self.0 else { return Ok(()) };
        steps.run(END_TO_END, || {
            let tests = self.tests_with_nodes()?;
            let cluster = Cluster::start_with(programs.clone(), Shape::One)?;
            let store = format!("fdb:{}", cluster.cluster_file().display());
            println!("{STORE_VARIABLE}={store}");
            let mut failed = Vec::new();
            for test in &tests {
                let mut command = self.with_library(test.command());
                if let Err(error) = step::run(command.env(STORE_VARIABLE, &store)) {
                    println!("{error:#}");
                    failed.push(test.name());
                }
            }
            match failed[..] {
                // Nodes that had stored elsewhere would have passed as well.
                [] => cluster.cli(STORED_BY_TESTS).map_err(Into::into).and_then(|said| {
                    ensure!(said.contains("' is `"), "the tests stored nothing in {store}: {said}");
                    Ok(Outcome::Passed)
                }),
                _ => bail!("on FoundationDB these failed: {}", failed.join(", ")),
            }
        })
    }

    /// The integration tests of those who start nodes, as they were built before.
    fn tests_with_nodes(&self) -> Result<Vec<TestProgram>> {
        let build = ["test", "--workspace", "--all-targets", "--no-run", "--quiet"];
        let mut build = self.cargo(&[&build[..], &["--message-format", "json-render-diagnostics"]].concat());
        let said = step::capture(&mut build)?;
        let tests: BTreeSet<TestProgram> = said.lines().filter_map(TestProgram::of).collect();
        for package in WITH_NODES.map(|folder| workspace::root().join(folder)) {
            let has_some = tests.iter().any(|test| test.package == package);
            ensure!(has_some, "cargo built no integration test in {}", package.display());
        }
        Ok(tests.into_iter().collect())
    }
}

/// The loader's folders, with this one first.
fn before_others(folder: &Path) -> OsString {
    let others = std::env::var_os(LOADER_VARIABLE).unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&others));
    // A folder with a colon in its name cannot be said at all.
    std::env::join_paths(folders).unwrap_or_else(|_| folder.into())
}

/// One line of what was not run and why, of the names that tests have left, one a line.
fn not_run(names: &str, why: &str) -> String {
    let names: BTreeSet<&str> = names.lines().collect();
    let list = names.iter().copied().collect::<Vec<_>>().join(", ");
    format!(
        "NOT RUN: {} tests of real clusters ({list}), the store's on FoundationDB, `{END_TO_END}`: {why}",
        names.len()
    )
}

/// A built integration test.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct TestProgram {
    /// Its package's folder.
    package: PathBuf,
    target: String,
    program: PathBuf,
}

impl TestProgram {
    /// Out of one of cargo's messages, if it is of such a test.
    fn of(line: &str) -> Option<TestProgram> {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_test = message["reason"] == "compiler-artifact" && message["target"]["kind"][0] == "test";
        let package = Path::new(message["manifest_path"].as_str()?).parent()?;
        let starts_nodes = WITH_NODES.iter().any(|folder| package == workspace::root().join(folder));
        let target = message["target"]["name"].as_str()?;
        (is_test && starts_nodes && !WITH_OWN_STORES.contains(&target)).then_some(TestProgram {
            package: package.to_owned(),
            target: target.to_owned(),
            program: message["executable"].as_str()?.into(),
        })
    }

    /// As cargo would start it.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.package).env("CARGO_MANIFEST_DIR", &self.package);
        command
    }

    fn name(&self) -> String {
        let package = self.package.strip_prefix(workspace::root()).unwrap_or(&self.package);
        package.join("tests").join(&self.target).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_run_is_one_line_with_number_names_and_reason() {
        let line = not_run("cluster::b\ncluster::a\ncluster::a\n", "fdbcli is not here");
        assert!(line.starts_with("NOT RUN: 2 tests of real clusters (cluster::a, cluster::b), "), "{line}");
        assert!(line.ends_with(": fdbcli is not here") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn integration_tests_of_nodes_are_found_in_what_cargo_says() {
        let line_of = |folder: &str, kind: &str, name: &str| {
            let manifest = workspace::root().join(folder).join("Cargo.toml");
            let message = serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": manifest,
                "target": {"kind": [kind], "name": name}, "executable": "/target/drain-1",
            });
            message.to_string()
        };
        let line = |folder: &str, kind: &str| line_of(folder, kind, "drain");
        let found = TestProgram::of(&line("edge/node", "test")).expect("it is one");
        assert_eq!(
            (found.name().as_str(), found.program.to_str()),
            ("edge/node/tests/drain", Some("/target/drain-1"))
        );
        assert_eq!(TestProgram::of(&line("", "test")).expect("it is one").name(), "tests/drain");
        for other in
            [line("store", "test"), line("edge/node", "bench"), line("edge/node", "lib"), "{}".into()]
        {
            assert_eq!(TestProgram::of(&other), None, "{other}");
        }
    }

    #[test]
    fn tests_are_built_with_the_feature_where_it_is_here_and_told_of_a_folder_of_its_own() {
        let here = |library: &str| {
            Fdb(Ok(Programs {
                fdbserver: "/x/fdbserver".into(),
                fdbcli: "/x/fdbcli".into(),
                client_library: library.into(),
            }))
        };
        let words = |fdb: &Fdb| {
            let command = fdb.cargo(&["test", "--", "--ignored"]);
            command.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let variable = |fdb: &Fdb| {
            let command = fdb.lints();
            command.get_envs().any(|(name, value)| name == LIBRARY_VARIABLE && value.is_some())
        };
        let [standard, odd] = [here("/usr/lib/libfdb_c.so"), here("/x/libfdb_c.so")];
        assert_eq!(words(&standard), ["test", "--features", "godwit/fdb", "--", "--ignored"]);
        assert_eq!(words(&Fdb(Err("missing".into()))), ["test", "--", "--ignored"]);
        assert!(variable(&odd) && !variable(&standard));
    }
}
