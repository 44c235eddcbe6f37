//! Processes of nodes: they start on their store, sweep it, and die.

use std::time::Duration;

use edge_proto::sweeper::{Step, Sweeper};
use edge_proto::{Hint, Input};
use store::testing::VirtualClock;
use store::{Clock, Store, StoreConfig};

use super::World;
use crate::Sabotage;
use crate::outside::{Outcome, SimStore, Stores};
use crate::plan::Kind;
use crate::tamper::Tampered;

/// A process that runs, or is starting.
#[derive(Default)]
pub(crate) struct Process {
    sweeper: Sweeper,
    /// Once it has opened it.
    store: Option<SimStore>,
}

impl World {
    pub(super) fn boot(&mut self, process: usize) {
        let is_one = self.nodes.iter().any(|node| node.common.plan.process == process);
        if self.processes[process].is_some() || !is_one {
            return;
        }
        self.processes[process] = Some(Process::default());
        let (backend, clock) = (self.backend.clone(), self.out.time.clock());
        let mut config = StoreConfig { seed: self.seed ^ process as u64, ..StoreConfig::default() };
        if self.kind == Kind::Steady {
            // It gives up early, and often on what was committed: nobody is told of that but by the sweeper.
            config.budget.attempts_max = 2;
        }
        let is_blind = self.sabotage == Some(Sabotage::BlindEarly);
        self.out.tasks.spawn(process, async move {
            let store = opened(&backend, &config, &clock).await;
            let blind = if is_blind { Some(opened(&backend.blind(), &config, &clock).await) } else { None };
            Outcome::Booted { process, stores: Stores { store, blind } }
        });
    }

    pub(super) fn ended(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done { node, no, op, result } => {
                self.out.counts.store_errors += u64::from(result.is_err());
                self.nodes[node].done(no, Input::Done { op, result });
            }
            Outcome::Booted { process, stores } => {
                self.out.say(format_args!("process {process} is up"));
                for node in self.nodes.iter_mut().filter(|node| node.common.plan.process == process) {
                    node.start(&self.out, &stores);
                    self.out.replay_all(node.common.index);
                }
                if let Some(of) = &mut self.processes[process] {
                    of.store = Some(stores.store);
                }
                self.sweep(process);
            }
            Outcome::Paused { process } => self.sweep(process),
            Outcome::Swept { process, output } => {
                if let Some(of) = &mut self.processes[process] {
                    of.sweeper.stored(output);
                }
                self.sweep(process);
            }
        }
    }

    /// Performs what a process' sweeper decides, until it waits for something.
    fn sweep(&mut self, process: usize) {
        let time = self.out.time.clone();
        loop {
            let Some(Process { sweeper, store: Some(store) }) = &mut self.processes[process] else { return };
            match sweeper.next(time.wall(Duration::ZERO)) {
                Step::Wait(pause) => {
                    return self.out.tasks.spawn(process, async move {
                        time.clock().sleep(pause).await;
                        Outcome::Paused { process }
                    });
                }
                Step::Store(op) => {
                    let store = store.clone();
                    return self.out.tasks.spawn(process, async move {
                        Outcome::Swept { process, output: store.execute(op).await.ok() }
                    });
                }
                Step::Hint(hints) => {
                    let mut all_taken = true;
                    for hint in &hints {
                        all_taken &= self.hint(process, hint);
                    }
                    if let Some(of) = &mut self.processes[process] {
                        of.sweeper.hinted(all_taken);
                    }
                }
            }
        }
    }

    /// The sweeper's hints are for its own process' loops, and go to other nodes like any other; false if one of its own
    /// has no room for one.
    fn hint(&mut self, process: usize, hint: &Hint) -> bool {
        self.out.counts.repairs += 1;
        let mut all_taken = true;
        let mut from = None;
        for node in self.nodes.iter_mut().filter(|node| node.common.plan.process == process) {
            from.get_or_insert(node.common.index);
            all_taken &= node.hint(hint, &mut self.out);
        }
        for to in 0..self.nodes.len() {
            if let Some(from) = from.filter(|_| self.nodes[to].common.plan.process != process) {
                self.out.post(from, to, hint);
            }
        }
        all_taken
    }

    pub(super) fn kill_process(&mut self, process: usize, sessions_kept: bool) {
        self.processes[process] = None;
        self.out.tasks.kill(process);
        let its = self.nodes.iter_mut().filter(|node| node.common.plan.process == process);
        its.for_each(|node| node.die(sessions_kept));
        self.out.counts.node_crashes += 1;
        self.out.say(format_args!("process {process} is killed"));
    }
}

/// Opens the store, as often as it takes.
async fn opened(backend: &Tampered, config: &StoreConfig, clock: &VirtualClock) -> SimStore {
    loop {
        match Store::open(backend.clone(), config.clone(), clock.clone()).await {
            Ok(store) => return store,
            Err(_) => clock.sleep(Duration::from_millis(500)).await,
        }
    }
}
