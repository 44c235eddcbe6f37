//! The simulated store, without faults or delays: every op is decided in one poll.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use store::op::{Op, OpOutput};
use store::sim::Sim;
use store::{Clock, Store, StoreConfig};

pub type TestStore = Store<Sim<Still>, Still>;

/// Time that stands still, and waits for nothing.
#[derive(Debug, Clone, Copy)]
pub struct Still;

impl Clock for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

pub fn store() -> TestStore {
    block_on(Store::open(Sim::new(1, Still), StoreConfig::default(), Still)).expect("an empty store opens")
}

pub fn execute(store: &TestStore, op: Op) -> OpOutput {
    block_on(store.execute(op)).expect("a store without faults answers")
}

/// Runs what never waits.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}
