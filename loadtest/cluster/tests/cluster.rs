//! Real clusters: they come up, keep what was committed through kills and pauses, and leave nothing behind. Where FoundationDB is
//! missing each test says on standard error that it is not run, and fails if the environment has `GODWIT_TEST_FDB=required`.
#![cfg(unix)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use loadtest_cluster::{Cluster, ClusterError, PATIENCE, Programs, Shape, StoreOfNode, can_run};
use rustix::process::{Pid, test_kill_process};

/// In the environment of the process that is killed: where it says which servers it has started.
const PIDS_VARIABLE: &str = "GODWIT_CLUSTER_PIDS";

fn start(what: &str, shape: Shape) -> Option<Cluster> {
    let programs = can_run(&format!("loadtest-cluster::{what}"))?;
    Some(Cluster::start_with(programs, shape).unwrap_or_else(|error| panic!("{what}: {error}")))
}

fn set(cluster: &Cluster, key: &str, value: &str) {
    let said = cluster.cli(&format!("writemode on; set {key} {value}")).expect("it commits");
    assert!(said.contains("Committed"), "{said}");
}

fn value(cluster: &Cluster, key: &str) -> String {
    cluster.cli(&format!("get {key}")).expect("it reads")
}

fn lives(pid: u32) -> bool {
    let pid = Pid::from_raw(pid.try_into().expect("a process id")).expect("not 0");
    test_kill_process(pid).is_ok()
}

#[track_caller]
fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn one_server_keeps_what_was_committed_when_it_is_killed() {
    let Some(mut cluster) = start("one_server", Shape::One) else { return };
    assert_eq!(cluster.process_count(), 1);
    let said = cluster.cli("status").expect("it answers");
    assert!(said.contains("single") && said.contains("ssd"), "{said}");
    let roles = cluster.roles(0).expect("it answers");
    assert!(
        ["coordinator", "log", "storage"].iter().all(|role| roles.iter().any(|is| is == role)),
        "{roles:?}"
    );

    set(&cluster, "color", "green");
    // What the witness of other tests reads with: the keys of one prefix, whatever bytes they are of.
    set(&cluster, r"\x02a/b\x00k\x00\xff\\", r"v\x80");
    set(&cluster, r"\x02a/b2\x00k", "other");
    let of = |prefix: &str| StoreOfNode {
        store: format!("fdb:{}", cluster.cluster_file().display()),
        prefix: prefix.to_owned(),
    };
    let stored = of("a/b").read().expect("it reads");
    assert_eq!(stored, [(b"k\x00\xff\\".to_vec(), b"v\x80".to_vec())]);
    assert_eq!(of("nobody").read().expect("it reads"), []);
    let pid = cluster.pid(0).expect("it runs");
    cluster.kill(0).expect("it runs");
    assert!(!lives(pid));
    assert!(matches!(cluster.kill(0), Err(ClusterError::WrongState { process: 0, .. })));
    assert!(!cluster.status().expect("the client says something").is_available());
    cluster.start_again(0).expect("it starts");
    cluster.wait_healthy(PATIENCE).expect("it recovers");
    assert!(value(&cluster, "color").contains("green"));
}

#[test]
fn a_paused_server_answers_nobody_and_goes_on_where_it_was() {
    let Some(mut cluster) = start("a_paused_server", Shape::One) else { return };
    set(&cluster, "color", "blue");
    cluster.pause_all().expect("it runs");
    let error = cluster.cli("get color").expect_err("nobody answers");
    assert!(matches!(&error, ClusterError::Cli { command, .. } if command == "get color"), "{error}");
    let late = cluster.wait_available(Duration::from_secs(1)).expect_err("nobody answers");
    assert!(matches!(late, ClusterError::Late { wanted: "available", .. }), "{late}");
    cluster.resume_all().expect("it is there");
    cluster.wait_healthy(PATIENCE).expect("it goes on");
    assert!(value(&cluster, "color").contains("blue"));
}

#[test]
fn three_servers_do_without_any_one_of_them() {
    let Some(mut cluster) = start("three_servers", Shape::Three) else { return };
    assert_eq!(cluster.with_role("coordinator").expect("it answers"), [0, 1, 2]);
    let said = cluster.cli("status").expect("it answers");
    assert!(said.contains("double") && said.contains("ssd"), "{said}");
    cluster.wait_healthy(PATIENCE).expect("copies are made");
    let status = cluster.status().expect("it answers");
    let copies = status.json().pointer("/cluster/data/state/min_replicas_remaining").and_then(|n| n.as_u64());
    assert_eq!(copies, Some(2), "each key is in two servers: {}", status.summary());

    set(&cluster, "n", "start");
    // The one that recoveries begin with is lost first.
    let master = cluster.with_role("master").expect("it answers")[0];
    for number in [master, (master + 1) % 3, (master + 2) % 3] {
        cluster.kill(number).expect("it runs");
        cluster.wait_available(PATIENCE).expect("two are enough");
        assert!(!cluster.status().expect("it answers").is_healthy(), "a coordinator is missing");
        set(&cluster, "n", &format!("without{number}"));
        cluster.start_again(number).expect("it starts");
        cluster.wait_healthy(PATIENCE).expect("it is taken back");
        assert!(value(&cluster, "n").contains(&format!("without{number}")));
    }
    // Two of three coordinators are needed.
    cluster.pause(0).expect("it runs");
    cluster.pause(1).expect("it runs");
    assert!(!cluster.status().expect("the client says something").is_available());
    cluster.resume(0).expect("it is there");
    cluster.wait_available(PATIENCE).expect("two are enough");
    cluster.kill(1).expect("also a paused one can be killed");
    cluster.start_again(1).expect("it starts");
    cluster.wait_healthy(PATIENCE).expect("all are back");
    assert!(value(&cluster, "n").contains("without"));
}

#[test]
fn a_server_that_ends_by_itself_is_named_with_its_log() {
    let Some(mut cluster) = start("a_server_that_ends", Shape::One) else { return };
    let pid =
        Pid::from_raw(cluster.pid(0).expect("it runs").try_into().expect("a process id")).expect("not 0");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let error = cluster.wait_available(PATIENCE);
    // Its end may be seen a moment later than the last good answer.
    let error = match error {
        Ok(()) => {
            until("it ends", || !lives_as_process(pid));
            cluster.wait_available(PATIENCE).expect_err("it is gone")
        }
        Err(error) => error,
    };
    assert!(matches!(error, ClusterError::Ended { process: 0, .. }), "{error}");
}

/// Whether it runs: a process that ended and was not waited for does not.
fn lives_as_process(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    !matches!(stat.rsplit(')').next().map(str::trim_start), Some(rest) if rest.is_empty() || rest.starts_with('Z'))
}

#[test]
fn a_test_that_panics_leaves_nothing_behind() {
    let Some(cluster) = start("a_test_that_panics", Shape::One) else { return };
    let (pid, file) = (cluster.pid(0).expect("it runs"), cluster.cluster_file().to_owned());
    assert!(lives(pid) && file.exists());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _cluster = cluster;
        panic!("as a test may");
    }));
    assert!(panicked.is_err());
    assert!(!lives(pid) && !file.exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_process_leaves_no_server_running() {
    if can_run("loadtest-cluster::a_killed_process").is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("pids");
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--ignored", "--exact", "hold_a_cluster_until_killed"]).env(PIDS_VARIABLE, &file);
    // What it leaves of its folder is removed with ours.
    command.env("TMPDIR", dir.path()).stdout(Stdio::null());
    let mut holder = command.spawn().expect("it starts");
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    until("the cluster is up", || read().ends_with('\n') || has_ended(holder.id()));
    let pids: Vec<u32> = read().split_whitespace().map(|pid| pid.parse().expect("a number")).collect();
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|&pid| lives(pid)));
    holder.kill().expect("it runs");
    holder.wait().expect("it ends");
    // Whoever inherits the dead may take its time to bury them.
    until("the servers are gone", || pids.iter().all(|&pid| has_ended(pid)));
}

#[cfg(target_os = "linux")]
fn has_ended(pid: u32) -> bool {
    Pid::from_raw(pid.try_into().expect("a process id")).is_none_or(|pid| !lives_as_process(pid))
}

#[test]
#[ignore = "run by a_killed_process_leaves_no_server_running"]
fn hold_a_cluster_until_killed() {
    let Some(file) = std::env::var_os(PIDS_VARIABLE) else { return };
    // Made on a thread that ends, as tests are.
    let cluster =
        std::thread::spawn(|| Cluster::start(Shape::Three)).join().expect("no panic").expect("it starts");
    let pids: Vec<String> =
        (0..3).filter_map(|number| cluster.pid(number)).map(|pid| pid.to_string()).collect();
    std::fs::write(Path::new(&file), format!("{}\n", pids.join(" "))).expect("it is written");
    std::thread::sleep(2 * PATIENCE);
}

#[test]
fn servers_that_do_not_start_are_an_error_with_what_they_said() {
    // Programs that every system has, and that know nothing of what servers are told.
    let programs = Programs {
        fdbserver: "/bin/ls".into(),
        fdbcli: "/bin/false".into(),
        client_library: "/usr/lib/libfdb_c.so".into(),
    };
    let error = Cluster::start_with(programs, Shape::Three).expect_err("they end at once");
    let ClusterError::Ended { status, log, .. } = &error else { panic!("{error}") };
    assert!(status.contains("exit status") && log.contains("cluster-file"), "{error}");
}
