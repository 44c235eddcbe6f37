//! The parts that are measured: which program does it, how it is built, how it is called.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::fdb::Fdb;
use crate::step;
use crate::workspace::{cargo, root, target};

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
    /// Stores on FoundationDB beside the embedded one: a benchmark of the store's crate, then the fleet on each of them.
    OnFdb,
}

/// All, in the order in which they are measured.
pub(super) const PARTS: [Part; 8] = [
    bench("wire", "wire", "frame", &[]),
    bench("store", "store", "commit", &[]),
    bench("allocations", "store", "allocations", &[]),
    bench("handshake", "wire-udp", "handshake", &[]),
    bench("echo", "wire-udp", "echo", &["1000"]),
    bench("idle", "wire-udp", "idle", &[]),
    Part { name: "node", program: Program::Fleet, words: &[] },
    Part { name: "fdb", program: Program::OnFdb, words: &[] },
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

/// The server that has FoundationDB in it, as its copy is called: cargo puts every `godwit` in one place.
const SERVER_ON_FDB: &str = "godwit-fdb";

/// The benchmark of stores, and its measurements, which have names of their own.
const STORES: &str = "stores";
const OF_STORES: [&str; 2] = ["commits", "bytes"];

/// The measurement that is the fleet's, and what the fleet calls its parts.
const OF_NODES: &str = "node";
const NODES: [&str; 3] = ["on-embedded", "on-fdb-one", "on-fdb-three"];

impl Part {
    /// Whether it has a measurement of this name. Those of the node are known to its load alone.
    pub(super) fn has_measurement(&self, name: &str) -> bool {
        match self.program {
            Program::Bench { .. } => false,
            Program::Fleet => true,
            Program::OnFdb => OF_STORES.contains(&name) || name == OF_NODES,
        }
    }

    /// The programs that these of its measurements need, or all of them.
    fn needs(&self, measurements: &[&str]) -> Vec<&'static str> {
        let is_wanted =
            |names: &[&str]| measurements.is_empty() || names.iter().any(|n| measurements.contains(n));
        match self.program {
            Program::Bench { bench, .. } => vec![bench],
            Program::Fleet => vec![SERVER.1, FLEET.1],
            Program::OnFdb => {
                let stores = is_wanted(&OF_STORES).then_some(STORES);
                let nodes = is_wanted(&[OF_NODES]).then_some([SERVER_ON_FDB, FLEET.1]);
                stores.into_iter().chain(nodes.into_iter().flatten()).collect()
            }
        }
    }

    /// Whether it needs FoundationDB.
    pub(super) fn is_on_fdb(&self) -> bool {
        self.program == Program::OnFdb
    }
}

/// Where the programs are, by name; benchmarks by theirs.
pub(super) struct Programs {
    paths: BTreeMap<String, PathBuf>,
    fdb: Fdb,
}

impl Programs {
    /// Builds what these measurements of these parts need, with optimisations; all of a part's, if none is named.
    ///
    /// The node and its load are built apart from each other and from the benchmarks, so that what tests and load switch on
    /// in shared crates is not in the server that is measured; what none of them changes is built once. So is what has
    /// FoundationDB in it, and first, for cargo leaves the last server in its place.
    ///
    /// # Errors
    /// The build's failure, or that the load generator is not in this tree.
    pub(super) fn build(wanted: &[(&Part, &[String])], fdb: Fdb) -> Result<Programs> {
        let mut programs = Programs { paths: BTreeMap::new(), fdb };
        let needs = wanted.iter().flat_map(|(part, measurements)| part.needs(&strs(measurements)));
        let needs: BTreeSet<&str> = needs.collect();
        if needs.contains(STORES) {
            let words =
                ["bench", "--no-run", "--package", "store", "--features", "store/fdb", "--bench", STORES];
            programs.add(programs.fdb.with_library(cargo(&words)))?;
        }
        if needs.contains(SERVER_ON_FDB) {
            programs.add_server_on_fdb()?;
        }
        if needs.contains(FLEET.1) {
            let is_here = root().join("loadtest/run/Cargo.toml").is_file();
            ensure!(
                is_here,
                "loadtest/run, which measures a whole node, is not in this tree; `--only` with the names of other benchmarks \
                 measures those"
            );
        }
        for (package, bin) in [SERVER, FLEET].into_iter().filter(|(_, bin)| needs.contains(bin)) {
            programs.add(cargo(&["build", "--release", "--package", package, "--bin", bin]))?;
        }
        let mut words = vec!["bench", "--no-run"];
        for (part, _) in wanted {
            if let Program::Bench { package, bench } = part.program {
                words.extend(["--package", package, "--bench", bench]);
            }
        }
        if words.contains(&"--bench") {
            programs.add(cargo(&words))?;
        }
        Ok(programs)
    }

    /// A server that has all stores in it.
    fn add_server_on_fdb(&mut self) -> Result<()> {
        let (package, bin) = SERVER;
        let words = ["build", "--release", "--package", package, "--features", "godwit/fdb", "--bin", bin];
        self.add(self.fdb.with_library(cargo(&words)))?;
        let built = self.paths.remove(bin).with_context(|| format!("cargo built no `{bin}`"))?;
        let kept = target().join(SERVER_ON_FDB);
        std::fs::copy(&built, &kept).with_context(|| format!("cannot copy {}", built.display()))?;
        self.paths.insert(SERVER_ON_FDB.to_owned(), kept);
        Ok(())
    }

    fn add(&mut self, mut build: Command) -> Result<()> {
        build.arg("--message-format=json-render-diagnostics");
        self.paths.extend(executables(&step::capture(&mut build)?));
        Ok(())
    }

    /// What a part's programs say on their standard output, each for itself. Their standard error is ours.
    ///
    /// # Errors
    /// [`step::Failed`] if one ends with anything but success, as it does after an invalid run.
    pub(super) fn measure(&self, part: &Part, measurements: &[String], quick: bool) -> Result<Vec<String>> {
        let commands = self.commands(part, measurements)?;
        let measure = |mut command: Command| {
            command.arg("--json").args(quick.then_some("--quick"));
            step::capture(command.current_dir(root()))
        };
        commands.into_iter().map(measure).collect()
    }

    fn commands(&self, part: &Part, measurements: &[String]) -> Result<Vec<Command>> {
        let named = strs(measurements);
        match part.program {
            Program::Bench { bench, .. } => {
                let mut command = Command::new(self.program(bench)?);
                command.args(part.words);
                Ok(vec![command])
            }
            Program::Fleet => Ok(vec![self.fleet(SERVER.1, &named)?]),
            Program::OnFdb => self.on_fdb(&part.needs(&named), &named),
        }
    }

    /// The load on a server, with these measurements or those that it makes by itself.
    fn fleet(&self, server: &str, measurements: &[&str]) -> Result<Command> {
        let mut command = Command::new(self.program(FLEET.1)?);
        command.arg("bench").arg("--godwit").arg(self.program(server)?);
        for measurement in measurements {
            command.args(["--only", measurement]);
        }
        Ok(command)
    }

    /// All stores in one go: first the stores alone, then whole nodes on them.
    fn on_fdb(&self, needs: &[&str], measurements: &[&str]) -> Result<Vec<Command>> {
        let mut commands = Vec::new();
        if needs.contains(&STORES) {
            let mut command = Command::new(self.program(STORES)?);
            command.args(OF_STORES.iter().filter(|name| measurements.contains(name)));
            commands.push(self.fdb.with_library(command));
        }
        if needs.contains(&SERVER_ON_FDB) {
            commands.push(self.fdb.with_library(self.fleet(SERVER_ON_FDB, &NODES)?));
        }
        Ok(commands)
    }

    fn program(&self, name: &str) -> Result<&PathBuf> {
        self.paths.get(name).with_context(|| format!("cargo built no `{name}`"))
    }
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
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
        built(&["frame", "stores", "loadtest-run", "godwit", "godwit-fdb"].map(|name| (name, name)))
    }

    /// As if these had been built, by name.
    fn built(names: &[(&str, &str)]) -> Programs {
        let paths = names.iter().map(|(name, path)| ((*name).to_owned(), PathBuf::from(path))).collect();
        Programs { paths, fdb: Fdb::missing("it is not here") }
    }

    fn part(name: &str) -> &'static Part {
        PARTS.iter().find(|part| part.name == name).expect("a part")
    }

    /// Every command's words.
    fn words(name: &str, measurements: &[&str]) -> Vec<String> {
        let measurements: Vec<String> = measurements.iter().map(|&name| name.to_owned()).collect();
        let commands = programs().commands(part(name), &measurements).expect("all is built");
        let words = |command: &Command| {
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        commands.iter().map(words).collect()
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
        assert_eq!(words("node", &[]), ["loadtest-run bench --godwit godwit"]);
        assert_eq!(words("node", &["w8"]), ["loadtest-run bench --godwit godwit --only w8"]);
        assert_eq!(words("wire", &[]), ["frame"]);
    }

    #[test]
    fn stores_are_measured_alone_and_then_under_nodes_unless_one_of_both_is_chosen() {
        let stores = |what: &str| format!("stores{what}");
        let nodes =
            "loadtest-run bench --godwit godwit-fdb --only on-embedded --only on-fdb-one --only on-fdb-three"
                .to_owned();
        assert_eq!(words("fdb", &[]), [stores(""), nodes.clone()]);
        assert_eq!(words("fdb", &["bytes"]), [stores(" bytes")]);
        assert_eq!(words("fdb", &["node", "commits"]), [stores(" commits"), nodes]);
        assert_eq!(part("fdb").needs(&["bytes"]), ["stores"], "no server is built in vain");
        assert_eq!(part("fdb").needs(&["node"]), ["godwit-fdb", "loadtest-run"]);
        for (name, measurement, is_one) in [
            ("fdb", "commits", true),
            ("fdb", "w8", false),
            ("store", "commits", false),
            ("node", "w8", true),
        ] {
            assert_eq!(part(name).has_measurement(measurement), is_one, "{name}:{measurement}");
        }
    }

    #[test]
    fn what_a_part_says_is_captured_and_its_failure_is_ours() {
        let with = |program: &str| built(&[("loadtest-run", program), ("godwit", "godwit")]);
        let said = with("echo").measure(part("node"), &["w8".to_owned()], true).expect("it succeeds");
        assert_eq!(said, ["bench --godwit godwit --only w8 --json --quick\n"]);
        let error = with("false").measure(part("node"), &[], false).expect_err("it fails");
        assert!(error.is::<step::Failed>(), "{error:#}");
    }

    #[test]
    fn what_was_not_built_is_named() {
        let error = programs().commands(part("store"), &[]).expect_err("commit is not built");
        assert!(error.to_string().contains("commit"), "{error}");
    }

    #[test]
    fn every_benchmark_is_where_the_table_says() {
        let of_part = |part: &Part| match part.program {
            Program::Bench { package, bench } => Some((package, bench)),
            Program::OnFdb => Some(("store", STORES)),
            Program::Fleet => None,
        };
        for (package, bench) in PARTS.iter().filter_map(of_part) {
            let folder = root().join(package.replace('-', "/"));
            let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a package's manifest");
            assert!(manifest.contains(&format!("name = \"{bench}\"\nharness = false")), "{package}: {bench}");
        }
        let load = root().join("loadtest/run/src/bench.rs");
        let load = std::fs::read_to_string(load).expect("the load's list");
        assert!(NODES.iter().all(|name| load.contains(&format!("name: \"{name}\""))), "{NODES:?}");
    }
}
