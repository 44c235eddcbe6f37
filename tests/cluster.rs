//! People talk on a node whose store is a FoundationDB cluster of three, while the cluster is hurt: the oracle ends a run at
//! the first message lost, doubled or reordered (I1 to I4, R51, P3).
#![expect(clippy::disallowed_methods, reason = "real processes run in real time")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use loadtest_cluster::{Cluster, Shape as ClusterShape};
use loadtest_run::{Fleet, FleetError, Metrics, Play, Played, Target};
use loadtest_workload::Shape;
use support::*;

const SEED: u64 = 7;

fn cluster(test: &str, shape: ClusterShape) -> Option<Cluster> {
    let programs = loadtest_cluster::can_run(test)?;
    Some(Cluster::start_with(programs, shape).unwrap())
}

/// A node on the cluster, with limits out of the way.
fn node(dir: &Path, cluster: &Cluster) -> Node {
    let limits = [
        "MESSAGES_PER_MINUTE",
        "REQUESTS_PER_MINUTE",
        "OTP_PER_HOUR",
        "REGISTRATIONS_PER_HOUR",
        "LOOKUPS_PER_HOUR",
        "EARLY_PER_MINUTE",
    ];
    let limits = limits.map(|name| (format!("GODWIT_LIMITS__RATES__{name}"), "1000000".to_owned()));
    Node::start_with(dir, limits.into_iter().chain(store(cluster)).collect())
}

fn store(cluster: &Cluster) -> [(String, String); 2] {
    let place = format!("fdb:{}", cluster.cluster_file().display());
    [("GODWIT_STORE".to_owned(), place), ("GODWIT_STORE_PREFIX".to_owned(), "cluster test".to_owned())]
}

/// Nine people with twelve phones.
fn shape(lasts: Duration) -> Shape {
    Shape {
        people: 9,
        second_phones: 3,
        contacts: 3,
        lasts,
        quiet_after: lasts,
        says_every: Duration::from_millis(800),
        bursts: (0.2, 6),
        reads_every: Duration::from_millis(900),
        types_every: None,
        snoops: 0.0,
        leaves_every: Some((Duration::from_secs(10), Duration::from_secs(2))),
        hides_every: None,
    }
}

/// Lets them talk; `meanwhile` hurts the cluster.
fn talk(node: &Node, lasts: Duration, mut meanwhile: impl FnMut(Duration)) -> Played {
    let target = Target { address: node.listen, name: "localhost".into(), ca: node.ca() };
    let mut fleet = Fleet::new(target, 3, SEED).unwrap();
    let play = Play::new(&mut fleet, &shape(lasts), SEED, &node.sms()).unwrap();
    let played = play.run(|_, since| -> Result<(), FleetError> {
        meanwhile(since);
        Ok(())
    });
    let played = played.unwrap();
    assert!(played.said > 50 && played.delivered >= played.said as u64, "{played:?}");
    played
}

/// How often the node's ops ended without an answer, and were told to come back.
fn turned_away(node: &Node) -> f64 {
    Metrics::of(node.admin).unwrap().sum("godwit_store_errors_total")
}

#[test]
fn p3_i1_people_talk_on_while_each_process_of_the_cluster_is_killed() {
    let Some(mut cluster) = cluster("p3_i1_people_talk_on…", ClusterShape::Three) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut node = node(dir.path(), &cluster);
    // Each is a coordinator and keeps a part of the data; one at a time may be away.
    let mut plan =
        vec![(27, 2, false), (21, 2, true), (17, 1, false), (11, 1, true), (7, 0, false), (2, 0, true)];
    talk(&node, Duration::from_secs(32), |since| {
        let due = |(at, ..): &mut (u64, usize, bool)| Duration::from_secs(*at) <= since;
        if let Some((_, process, kill)) = plan.pop_if(due) {
            if kill {
                cluster.kill(process).unwrap();
            } else {
                cluster.start_again(process).unwrap();
                cluster.wait_healthy(PATIENCE).unwrap();
            }
        }
    });
    assert!(plan.is_empty());
    assert_eq!(node.terminate(), Some(0), "a node on FoundationDB ends in order");
}

#[test]
fn p3_r51_a_cluster_that_is_away_for_a_minute_costs_no_message() {
    let Some(mut cluster) = cluster("p3_r51_a_cluster_that_is_away…", ClusterShape::One) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut node = node(dir.path(), &cluster);
    let mut plan = vec![(65, false), (5, true)];
    talk(&node, Duration::from_secs(70), |since| {
        if let Some((_, away)) = plan.pop_if(|(at, _)| Duration::from_secs(*at) <= since) {
            if away { cluster.pause_all().unwrap() } else { cluster.resume_all().unwrap() }
        }
    });
    assert!(plan.is_empty());
    assert!(turned_away(&node) > 10.0, "a minute without a store, and nobody was told to come back");
    assert_eq!(node.terminate(), Some(0));
}

/// Starts the node's program and gives back its process and what it says on standard error.
fn launch(
    dir: &Path,
    cluster: &Cluster,
    patience_s: u32,
) -> (std::process::Child, BufReader<std::process::ChildStderr>) {
    let mut child = Command::new(GODWIT)
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"])
        .arg(dir)
        .envs(store(cluster))
        .env("GODWIT_STORE_PATIENCE_S", patience_s.to_string())
        .env_remove("GODWIT_KILL_SEED")
        .env_remove("GODWIT_KILL_ROUNDS")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stderr.take().unwrap());
    (child, said)
}

/// Reads until a line has this in it.
fn until(said: &mut impl BufRead, what: &str) -> String {
    let mut all = String::new();
    loop {
        let before = all.len();
        assert!(said.read_line(&mut all).unwrap() > 0, "it ended without {what:?}: {all}");
        if all[before..].contains(what) {
            return all;
        }
    }
}

#[test]
fn p3_a_node_waits_for_a_cluster_that_is_down_and_gives_up_in_time() {
    let Some(mut cluster) = cluster("p3_a_node_waits_for_a_cluster…", ClusterShape::One) else { return };
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    cluster.pause_all().unwrap();
    // One that gives up.
    let (mut child, mut said) = launch(dirs[0].path(), &cluster, 8);
    until(&mut said, "the store cannot be reached yet");
    let last = until(&mut said, "does not open");
    assert!(last.contains("godwit: the store fdb:"), "{last}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    // One that is told to stop while it waits.
    let (mut child, mut said) = launch(dirs[1].path(), &cluster, 600);
    until(&mut said, "the store cannot be reached yet");
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    until(&mut said, "stopped before it served");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // One that waits long enough.
    let (mut child, mut said) = launch(dirs[2].path(), &cluster, 600);
    until(&mut said, "the store cannot be reached yet");
    cluster.resume_all().unwrap();
    let began = Instant::now();
    until(&mut said, "\"message\":\"serving\"");
    assert!(began.elapsed() < PATIENCE);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_cluster_file_that_is_none_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fdb.cluster");
    for (text, says) in [(None, "cannot be read"), (Some("hello"), "names no cluster")] {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let output = Command::new(GODWIT)
            .args(["serve", "--data"])
            .arg(dir.path())
            .arg("--store")
            .arg(format!("fdb:{}", file.display()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(says), "{said}");
    }
}
