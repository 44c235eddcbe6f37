//! The parts that are measured: which program does it, how it is built, how it is called.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step;
use crate::workspace::{cargo, root};

/// One program that measures something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// What `--only` and failures call it.
    pub(super) name: &'static str,
    program: Program,
    /// Words for it, besides those that every part gets.
    words: &'static [&'static str],
}

#[derive(Debug, PartialEq, Eq)]
enum Program {
    /// A benchmark of a crate.
    Bench { package: &'static str, bench: &'static str },
    /// `loadtest/run` against a real `godwit serve`.
    Fleet,
}

/// All, in the order in which they are measured.
pub(super) const PARTS: [Part; 7] = [
    bench("wire", "wire", "frame", &[]),
    bench("store", "store", "commit", &[]),
    bench("allocations", "store", "allocations", &[]),
    bench("handshake", "wire-udp", "handshake", &[]),
    bench("echo", "wire-udp", "echo", &["1000"]),
    bench("idle", "wire-udp", "idle", &[]),
    Part { name: "node", program: Program::Fleet, words: &["bench"] },
];

const fn bench(
    name: &'static str,
    package: &'static str,
    bench: &'static str,
    words: &'static [&'static str],
) -> Part {
    Part { name, program: Program::Bench { package, bench }, words }
}

/// The packages and programs of the whole node.
const FLEET: (&str, &str) = ("loadtest-run", "loadtest-run");
const SERVER: (&str, &str) = ("godwit", "godwit");

impl Part {
    /// Whether its measurements have names of their own.
    pub(super) fn has_measurements(&self) -> bool {
        self.program == Program::Fleet
    }
}

/// Where the programs are, by name; benchmarks by theirs.
pub(super) struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// Builds what these parts need, with optimisations.
    ///
    /// The node and its load are built apart from each other and from the benchmarks, so that what tests and load switch on
    /// in shared crates is not in the server that is measured; what none of them changes is built once.
    ///
    /// # Errors
    /// The build's failure, or that the load generator is not in this tree.
    pub(super) fn build(parts: &[&Part]) -> Result<Programs> {
        let mut programs = Programs(BTreeMap::new());
        let mut words = vec!["bench", "--no-run"];
        for part in parts {
            match part.program {
                Program::Bench { package, bench } => words.extend(["--package", package, "--bench", bench]),
                Program::Fleet => {
                    if !root().join("loadtest/run/Cargo.toml").is_file() {
                        bail!(
                            "loadtest/run, which measures a whole node, is not in this tree; `--only` with the names \
                             of other benchmarks measures those"
                        );
                    }
                    for (package, bin) in [SERVER, FLEET] {
                        programs.add(&["build", "--release", "--package", package, "--bin", bin])?;
                    }
                }
            }
        }
        if words.contains(&"--bench") {
            programs.add(&words)?;
        }
        Ok(programs)
    }

    fn add(&mut self, words: &[&str]) -> Result<()> {
        let mut build = cargo(words);
        build.arg("--message-format=json-render-diagnostics");
        self.0.extend(executables(&step::capture(&mut build)?));
        Ok(())
    }

    /// What a part says on its standard output. Its standard error is ours.
    ///
    /// # Errors
    /// [`step::Failed`] if it ends with anything but success, as it does after an invalid run.
    pub(super) fn measure(&self, part: &Part, measurements: &[String], quick: bool) -> Result<String> {
        let mut command = self.command(part)?;
        command.arg("--json").args(quick.then_some("--quick"));
        for measurement in measurements {
            command.args(["--only", measurement]);
        }
        step::capture(command.current_dir(root()))
    }

    fn command(&self, part: &Part) -> Result<Command> {
        let program = |name: &str| self.0.get(name).with_context(|| format!("cargo built no `{name}`"));
        match part.program {
            Program::Bench { bench, .. } => {
                let mut command = Command::new(program(bench)?);
                command.args(part.words);
                Ok(command)
            }
            Program::Fleet => {
                let mut command = Command::new(program(FLEET.1)?);
                command.args(part.words).arg("--godwit").arg(program(SERVER.1)?);
                Ok(command)
            }
        }
    }
}

/// The programs that a build made, from cargo's messages: one JSON object a line.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = message.get("executable")?.as_str()?;
        Some((message.get("target")?.get("name")?.as_str()?.to_owned(), PathBuf::from(path)))
    };
    messages.lines().filter_map(executable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Programs {
        let paths = ["frame", "loadtest-run", "godwit"]
            .map(|name| (name.to_owned(), PathBuf::from("/built").join(name)));
        Programs(paths.into())
    }

    fn words(command: &Command) -> Vec<String> {
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn programs_are_found_in_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"wire"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"frame"},"executable":"/t/release/deps/frame-1"}"#,
            "\nnot JSON\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let found = executables(messages);
        assert_eq!(found, BTreeMap::from([("frame".to_owned(), PathBuf::from("/t/release/deps/frame-1"))]));
    }

    #[test]
    fn the_load_is_told_where_the_server_is() {
        let part = |name: &str| PARTS.iter().find(|part| part.name == name).expect("a part");
        let node = programs().command(part("node")).expect("both are built");
        assert_eq!(words(&node), ["/built/loadtest-run", "bench", "--godwit", "/built/godwit"]);
        let frame = programs().command(part("wire")).expect("it is built");
        assert_eq!(words(&frame), ["/built/frame"]);
    }

    #[test]
    fn what_a_part_says_is_captured_and_its_failure_is_ours() {
        let node = PARTS.iter().find(|part| part.name == "node").expect("a part");
        let with = |program: &str| {
            let paths = [("loadtest-run", program), ("godwit", "godwit")];
            Programs(paths.map(|(name, path)| (name.to_owned(), path.into())).into())
        };
        let said = with("echo").measure(node, &["w8".to_owned()], true).expect("it succeeds");
        assert_eq!(said, "bench --godwit godwit --json --quick --only w8\n");
        let error = with("false").measure(node, &[], false).expect_err("it fails");
        assert!(error.is::<step::Failed>(), "{error:#}");
    }

    #[test]
    fn what_was_not_built_is_named() {
        let error = programs().command(&PARTS[1]).expect_err("commit is not built");
        assert!(error.to_string().contains("commit"), "{error}");
    }

    #[test]
    fn every_benchmark_is_where_the_table_says() {
        for part in &PARTS {
            let Program::Bench { package, bench } = part.program else { continue };
            let folder = root().join(package.replace('-', "/"));
            let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a package's manifest");
            assert!(manifest.contains(&format!("name = \"{bench}\"\nharness = false")), "{package}: {bench}");
        }
    }
}
