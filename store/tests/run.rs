//! What a caller gets when the store does not go along: a typed error that says when to try again.

#![cfg(feature = "testing")]

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use store::run::{Attempt, Body, Budget, OpError, Runner};
use store::sim::{Faults, Sim};
use store::testing::{Executor, VirtualClock};
use store::tx::{KEY_BYTES_MAX, Tx, TxError};
use store::{Clock, StoreError};

/// Writes one key and counts its runs.
#[derive(Default)]
struct Write {
    key: Bytes,
    runs: AtomicU32,
    maybe_committed: AtomicU32,
}

impl Body for Write {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T, attempt: Attempt) -> Result<(), OpError> {
        assert_eq!(self.runs.fetch_add(1, Ordering::Relaxed), attempt.number);
        self.maybe_committed.fetch_add(attempt.maybe_committed.into(), Ordering::Relaxed);
        tx.set(self.key.clone(), Bytes::new());
        Ok(())
    }
}

fn with_faults<T>(faults: Faults, test: impl AsyncFnOnce(Runner<Sim<VirtualClock>, VirtualClock>) -> T) -> T {
    let mut executor = Executor::new(1);
    let clock = executor.clock();
    let sim = Sim::new(1, clock.clone());
    sim.set_faults(faults);
    executor.block_on(test(Runner::new(sim, clock, Budget::default(), 1)))
}

#[test]
fn a_budget_of_attempts_ends_in_busy_with_its_cause() {
    let faults = Faults { conflict: 1.0, ..Faults::NONE };
    with_faults(faults, async |runner| {
        let body = Write::default();
        let error = runner.run(&body).await.unwrap_err();
        assert!(matches!(error, StoreError::Busy { source: Some(TxError::Conflict), .. }), "{error:?}");
        assert!(!error.maybe_committed(), "a conflict wrote nothing");
        assert!(error.source().is_some() && error.retry_after() >= Some(Duration::from_millis(100)));
        assert_eq!(body.runs.into_inner(), Budget::default().attempts_max);
        assert!(runner.clock().now() > Duration::from_secs(1), "it waited in between");
        assert!(runner.clock().now() < Budget::default().time_max);
    });
}

#[test]
fn i7_a_budget_of_time_ends_in_busy_however_slow_the_store() {
    let faults = Faults { delay_max: Duration::from_secs(3600), ..Faults::NONE };
    with_faults(faults, async |runner| {
        let error = runner.run(&Write::default()).await.unwrap_err();
        assert!(matches!(error, StoreError::Busy { source: None, .. }), "{error:?}");
        assert!(error.maybe_committed(), "it may have been in its commit");
        assert_eq!(runner.clock().now(), Budget::default().time_max);
    });
}

#[test]
fn a_store_that_is_gone_is_said_to_be_gone_at_once() {
    with_faults(Faults::NONE, async |runner| {
        runner.backend().set_reachable(false);
        let error = runner.run(&Write::default()).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Unavailable { source: TxError::Unavailable(_), .. }),
            "{error:?}"
        );
        assert!(!error.maybe_committed(), "nothing was begun");
        let unavailable = error.source().expect("the transaction's error");
        let chain = [unavailable.to_string(), unavailable.source().expect("the backend's error").to_string()];
        assert_eq!(chain, ["the store is unavailable", "the simulated store is down"]);
        runner.backend().set_reachable(true);
        runner.run(&Write::default()).await.unwrap();
    });
}

#[test]
fn a_limit_is_not_tried_again() {
    with_faults(Faults::NONE, async |runner| {
        let body = Write { key: Bytes::from(vec![0; KEY_BYTES_MAX + 1]), ..Write::default() };
        let error = runner.run(&body).await.unwrap_err();
        assert!(matches!(error, StoreError::Limit(TxError::KeyTooLarge { .. })), "{error:?}");
        assert_eq!((error.retry_after(), body.runs.into_inner()), (None, 1));
    });
}

#[test]
fn a_body_is_told_of_an_unknown_commit() {
    let faults = Faults { unknown_lost: 0.9, ..Faults::NONE };
    with_faults(faults, async |runner| {
        let body = Write::default();
        // It may or may not succeed in the end; either way every try but the first knows.
        if let Err(error) = runner.run(&body).await {
            assert!(error.maybe_committed(), "and so does whoever asked");
        }
        let runs = body.runs.into_inner();
        assert!(runs > 1 && body.maybe_committed.into_inner() == runs - 1);
    });
}
