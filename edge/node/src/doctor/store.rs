//! The store: there or not, and whether somebody has it open. An embedded store's schema cannot be seen without opening
//! it, which changes files, so `godwit serve` says that. A cluster is asked for a read version, as a node would.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use ::doctor::Finding;
use ::store::any::{AnyBackend, AnyConfig, Location};
use ::store::tx::Backend;

use super::ports::NodeThere;
use crate::clock::TokioClock;
use crate::config::Config;
use crate::perform::chain;

/// How long a cluster may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// How the store is found.
#[derive(Debug)]
enum Found {
    Absent,
    Free,
    /// Held, by this process as far as the lock file says.
    Locked(Option<u32>),
    Unreadable(io::Error),
}

pub(super) fn examine(config: &Config, node: NodeThere) -> Finding {
    match config.store_location() {
        Location::Embedded(path) => judge(&look_at(&path), node),
        Location::Fdb(_) => judge_cluster(&ask_cluster(config)),
    }
}

/// What a cluster answers to a node that begins a transaction.
fn ask_cluster(config: &Config) -> Cluster {
    let any = AnyConfig { prefix: config.store_prefix.clone(), ..AnyConfig::default() };
    let clock = TokioClock::default();
    let backend = match AnyBackend::open(&config.store_location(), &any, clock) {
        Ok(backend) => backend,
        Err(error) => return Cluster::Unusable(chain(&error)),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return Cluster::Unusable(error.to_string()),
    };
    match runtime.block_on(async { tokio::time::timeout(PATIENCE, backend.begin()).await }) {
        Ok(Ok(_)) => Cluster::Answers,
        Ok(Err(error)) => Cluster::Silent(chain(&error)),
        Err(_) => Cluster::Silent(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// How a cluster is found.
#[derive(Debug)]
enum Cluster {
    Answers,
    Silent(String),
    Unusable(String),
}

fn judge_cluster(cluster: &Cluster) -> Finding {
    let check = "store";
    match cluster {
        Cluster::Answers => Finding::ok(check, "the FoundationDB cluster answers."),
        Cluster::Silent(why) => Finding::problem(
            check,
            format!("the FoundationDB cluster does not answer: {why}."),
            "Look at it with `fdbcli -C CLUSTERFILE --exec status`; a node waits for it at its start, and answers \"busy\" while it is away.",
        ),
        Cluster::Unusable(why) => Finding::problem(
            check,
            format!("the store on FoundationDB cannot be opened: {why}."),
            "Correct `store` and `store_prefix`; docs/CONFIGURATION.md says what they may be.",
        ),
    }
}

/// The lock is the kernel's (`flock`). A shared one, given back at once, tells without writing; a node that starts in
/// that very instant would find the store locked.
fn look_at(store: &Path) -> Found {
    let mut file = match File::open(store.join("LOCK")) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Found::Absent;
        }
        Err(error) => return Found::Unreadable(error),
    };
    match file.try_lock_shared() {
        Ok(()) if store.join("data").is_dir() => Found::Free,
        Ok(()) => Found::Absent,
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = (&mut file).take(32).read_to_string(&mut text);
            Found::Locked(read.ok().and_then(|_| text.trim().parse().ok()))
        }
        Err(TryLockError::Error(error)) => Found::Unreadable(error),
    }
}

fn judge(found: &Found, node: NodeThere) -> Finding {
    let check = "store";
    match found {
        Found::Absent => Finding::ok(check, "there is no store yet; the first start makes it."),
        Found::Free => Finding::ok(check, "the store is there, and no process has it open."),
        Found::Locked(pid) => {
            let who = pid.map_or_else(|| "a process".into(), |pid| format!("process {pid}"));
            match node {
                NodeThere::Yes(_) => {
                    Finding::ok(check, format!("{who} has the store open: the node that runs here."))
                }
                NodeThere::No => Finding::problem(
                    check,
                    format!("{who} has the store open, but no node answers on the admin address."),
                    "If it is a node with another `admin` address, all is well; otherwise look at it (`ps -fp PID`) and stop it before you start a node.",
                ),
            }
        }
        Found::Unreadable(error) => Finding::problem(
            check,
            format!("the store cannot be looked at: {error}."),
            "Give the data directory to the node's user, or run the doctor as that user.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use ::doctor::Level;

    use super::*;

    #[test]
    fn a_cluster_is_judged_by_its_answer() {
        for (cluster, level, says) in [
            (Cluster::Answers, Level::Ok, "answers"),
            (Cluster::Silent("no answer within 3 s".into()), Level::Problem, "does not answer"),
            (Cluster::Unusable("no such file".into()), Level::Problem, "cannot be opened: no such file"),
        ] {
            let finding = judge_cluster(&cluster);
            assert!(finding.level == level && finding.found.contains(says), "{finding:?}");
        }
        let store = Some(Location::Fdb("/nowhere/fdb.cluster".into()));
        let found = examine(&Config { store, ..Config::default() }, NodeThere::No);
        assert!(found.level == Level::Problem, "{found:?}");
    }

    #[test]
    fn whose_store_it_is_is_seen_from_outside() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = dir.path().join("store");
        assert!(matches!(look_at(&store), Found::Absent));
        std::fs::create_dir_all(store.join("data")).expect("a directory");
        std::fs::write(store.join("LOCK"), "42\n").expect("a file");
        assert!(matches!(look_at(&store), Found::Free));
        let held = File::options().write(true).open(store.join("LOCK")).expect("the file");
        held.lock().expect("the lock");
        assert!(matches!(look_at(&store), Found::Locked(Some(42))));
        held.unlock().expect("unlocked");
        assert!(matches!(look_at(&store), Found::Free), "and looking leaves no lock");
    }

    #[test]
    fn a_lock_without_a_node_is_a_problem() {
        for (found, node, level, said) in [
            (Found::Absent, NodeThere::No, Level::Ok, "no store yet"),
            (Found::Free, NodeThere::No, Level::Ok, "no process"),
            (Found::Locked(Some(42)), NodeThere::Yes("serving"), Level::Ok, "process 42"),
            (Found::Locked(None), NodeThere::No, Level::Problem, "a process has the store open"),
            (
                Found::Unreadable(ErrorKind::PermissionDenied.into()),
                NodeThere::No,
                Level::Problem,
                "cannot be looked at",
            ),
        ] {
            let finding = judge(&found, node);
            assert!(finding.level == level && finding.found.contains(said), "{finding:?}");
        }
    }
}
