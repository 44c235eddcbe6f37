//! A cluster that loses processes, is away, or is slow: answers are typed and come, and nothing is lost or doubled.

#![expect(clippy::disallowed_methods, reason = "a real cluster lives in real time")]

use std::sync::Arc;
use std::time::Duration;

use loadtest_cluster::{Cluster, Shape};
use store::fdb::Fdb;
use store::{Budget, OpenError, Store, StoreConfig, StoreError};

use crate::on_cluster::{TestClock, block_on, open_as};
use crate::writers::{self, Writers};

const PATIENCE: Duration = Duration::from_secs(120);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

/// A cluster of its own, since it is to be hurt.
fn cluster(test: &str, shape: Shape) -> Option<Cluster> {
    let programs = loadtest_cluster::can_run(test)?;
    Some(Cluster::start_with(programs, shape).unwrap())
}

/// A store that gives up sooner than it would in earnest, so that a test sees it give up.
async fn open(cluster: &Cluster) -> Result<Store<Fdb, TestClock>, OpenError> {
    let clock = TestClock::new();
    let budget = Budget { time_max: Duration::from_millis(1_500), ..Budget::default() };
    Store::open(
        open_as(cluster, "outages", clock.clone()),
        StoreConfig { budget, ..StoreConfig::default() },
        clock,
    )
    .await
}

/// Each of three processes, which are all coordinators, is killed under load and comes back.
#[test]
fn i1_i2_i3_no_killed_process_takes_a_message_with_it() {
    let Some(mut cluster) = cluster("i1_i2_i3_no_killed_process…", Shape::Three) else { return };
    runtime().block_on(async {
        let store = open(&cluster).await.unwrap();
        writers::register(&store).await;
        let writers = Writers::start(&store);
        for victim in 0..3 {
            writers.hear(100).await;
            cluster.kill(victim).unwrap();
            // The two that are left elect, recover, and go on.
            writers.hear(100).await;
            cluster.start_again(victim).unwrap();
            cluster.wait_healthy(PATIENCE).unwrap();
        }
        writers.hear(100).await;
        let heard = writers.stop().await;
        writers::check(&store, &heard).await;
    });
}

/// The only process of a cluster is killed under load: what was acknowledged is on its disk.
#[test]
fn i1_what_was_acknowledged_is_on_disk() {
    let Some(mut cluster) = cluster("i1_what_was_acknowledged_is_on_disk", Shape::One) else { return };
    runtime().block_on(async {
        let store = open(&cluster).await.unwrap();
        writers::register(&store).await;
        let writers = Writers::start(&store);
        for _ in 0..2 {
            writers.hear(200).await;
            cluster.kill(0).unwrap();
            writers.are_told_later(1).await;
            cluster.start_again(0).unwrap();
        }
        writers.hear(200).await;
        let heard = writers.stop().await;
        assert!(heard.later >= 2);
        writers::check(&store, &heard).await;
    });
}

/// A cluster that answers nobody: each op is told so within its budget, and all is done once it is back.
#[test]
fn r51_a_cluster_that_is_away_is_busy_and_nothing_waits_for_ever() {
    let Some(mut cluster) = cluster("r51_a_cluster_that_is_away…", Shape::Three) else { return };
    runtime().block_on(async {
        let store = open(&cluster).await.unwrap();
        writers::register(&store).await;
        let writers = Writers::start(&store);
        writers.hear(50).await;
        cluster.pause_all().unwrap();
        // Every one of them several times.
        writers.are_told_later(30).await;
        match open(&cluster).await {
            Err(OpenError::Store(StoreError::Busy { .. } | StoreError::Unavailable { .. })) => {}
            other => panic!("a store that is away was opened: {other:?}"),
        }
        cluster.resume_all().unwrap();
        writers.hear(200).await;
        let heard = writers.stop().await;
        writers::check(&store, &heard).await;
        // Who opened it while it was away can do so now.
        writers::check(&open(&cluster).await.unwrap(), &heard).await;
    });
}

/// A cluster that stops and goes on, again and again, longer than some ops wait.
#[test]
fn i1_i3_a_stuttering_cluster_loses_and_doubles_nothing() {
    let Some(mut cluster) = cluster("i1_i3_a_stuttering_cluster…", Shape::One) else { return };
    runtime().block_on(async {
        let store = open(&cluster).await.unwrap();
        writers::register(&store).await;
        let writers = Writers::start(&store);
        for round in 0..12u64 {
            writers.hear(5).await;
            cluster.pause(0).unwrap();
            if round % 3 == 0 {
                writers.are_told_later(3).await;
            } else {
                tokio::time::sleep(Duration::from_millis(100 * round)).await;
            }
            cluster.resume(0).unwrap();
        }
        let heard = writers.stop().await;
        assert!(heard.later > 0);
        writers::check(&store, &heard).await;
    });
}

/// The last store that goes leaves the client library usable.
#[test]
fn a_store_is_opened_again_in_the_same_process() {
    let Some(cluster) = cluster("a_store_is_opened_again…", Shape::One) else { return };
    let cluster = Arc::new(cluster);
    for _ in 0..3 {
        block_on(async { drop(open(&cluster).await.unwrap()) });
    }
}
