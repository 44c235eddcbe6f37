//! What goes wrong.

use std::time::Duration;

use rand::Rng;
use store::sim::Faults;
use wire::limits::EARLY_CLOCK_MAX;
use wire_link::testing::{Conditions, EarlyPolicy};

use super::{Action, Kind, Planner};
use crate::client::Death;
use crate::node::LOOPS;
use crate::outside::BusConditions;
use crate::world::NODES;
use loadtest_workload::Act;

impl Planner {
    pub(super) fn faults(&mut self) {
        match self.kind {
            Kind::Gentle => self.slow_store(),
            Kind::OnlyMoves => self.addresses(),
            Kind::Steady | Kind::Stormy => {
                if self.has() {
                    self.addresses();
                }
                self.weather();
                self.store();
                self.processes();
                self.phones();
                self.clocks();
                self.early();
            }
        }
    }

    /// Draws moments that are `mean` apart.
    fn moments(&mut self, mean: Duration) -> Vec<Duration> {
        let mut moments = Vec::new();
        let mut at = Duration::ZERO;
        loop {
            at += mean.mul_f64(-self.rng.random_range(0.001f64..1.0).ln());
            if at >= self.storm {
                return moments;
            }
            moments.push(at);
        }
    }

    fn add(&mut self, at: Duration, action: Action) {
        self.actions.push((at, action));
    }

    fn phone(&mut self) -> usize {
        self.rng.random_range(0..self.phones)
    }

    fn node(&mut self) -> usize {
        self.rng.random_range(0..NODES)
    }

    fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(least..most))
    }

    fn is_steady(&self) -> bool {
        self.kind == Kind::Steady
    }

    /// Whether this seed has a kind of fault.
    fn has(&mut self) -> bool {
        self.rng.random_bool(0.65)
    }

    /// Whether it has a kind of fault after which clients connect anew, and so find what they lack.
    fn has_breaks(&mut self) -> bool {
        self.has() && !self.is_steady()
    }

    /// A store that takes its time and does nothing worse, so that what happens at once can happen in any order.
    fn slow_store(&mut self) {
        let delay_max = self.between(20, 120);
        self.add(Duration::ZERO, Action::Faults(Faults { delay_max, ..Faults::NONE }));
    }

    /// Addresses change, most of them within a burst of messages in either direction.
    fn addresses(&mut self) {
        let only_moves = self.kind == Kind::OnlyMoves;
        if only_moves && self.has() {
            // A connection must survive that too.
            let (delay, jitter) = (self.between(1, 120), self.between(0, 40));
            let loss = self.rng.random_range(0.0..0.05);
            let weather = Conditions { delay, jitter, loss, duplication: 0.02, is_cut: false };
            self.add(Duration::ZERO, Action::Weather(weather));
        }
        for at in self.moments(Duration::from_secs(if only_moves { 1 } else { 3 })) {
            let (phone, other, told) = (self.phone(), self.phone(), self.rng.random_bool(0.5));
            let people = crate::world::USERS;
            let (phone_of, other_of) = (phone % people, other % people);
            if phone_of != other_of && self.rng.random_bool(0.7) {
                let (mine, count) = (self.rng.random_bool(0.5), self.rng.random_range(2..12));
                let (says, to) = if mine { (phone, other_of) } else { (other, phone_of) };
                self.add(at, Action::Act { phone: says, act: Act::Say { to, count } });
            }
            let then = self.between(0, 60);
            self.add(at + then, Action::Move { phone, told });
        }
    }

    fn weather(&mut self) {
        if self.has() {
            for at in self.moments(Duration::from_secs(5)) {
                let weather = Conditions {
                    delay: self.between(1, 120),
                    jitter: self.between(0, 80),
                    loss: self.rng.random_range(0.0..0.15),
                    duplication: self.rng.random_range(0.0..0.1),
                    is_cut: false,
                };
                self.add(at, Action::Weather(weather));
            }
        }
        if self.has_breaks() {
            for at in self.moments(Duration::from_secs(6)) {
                let (phone, down) = (self.phone(), self.between(50, 12_000));
                self.add(at, Action::Cut { phone, down });
            }
        }
        if self.has_breaks() {
            for at in self.moments(Duration::from_secs(20)) {
                let (node, down) = (self.node(), self.between(50, 8_000));
                self.add(at, Action::CutNode { node, down });
            }
        }
        if self.is_steady() || self.has() {
            let delay_max = self.between(1, 3_000);
            let all = self.is_steady() || self.rng.random_bool(0.2);
            let loss = if all { 1.0 } else { self.rng.random_range(0.0..0.6) };
            let duplication = self.rng.random_range(0.0..0.3);
            self.add(Duration::ZERO, Action::Bus(BusConditions { loss, duplication, delay_max }));
        }
    }

    fn store(&mut self) {
        let steady = self.is_steady();
        if steady || self.has() {
            for at in self.moments(Duration::from_secs(if steady { 3 } else { 8 })) {
                let badness = self.rng.random_range(0.0..3.0);
                let faults = Faults {
                    conflict: 0.1 * badness,
                    unknown_committed: if steady { 0.5 } else { 0.1 * badness },
                    unknown_lost: 0.1 * badness,
                    old_read_version: 0.2 * badness,
                    busy: 0.03 * badness,
                    delay_max: self.between(0, 20),
                };
                self.add(at, Action::Faults(faults));
            }
        }
        if self.has_breaks() {
            for at in self.moments(Duration::from_secs(12)) {
                self.add(at, Action::CrashStore);
            }
        }
        if self.has_breaks() {
            for at in self.moments(Duration::from_secs(15)) {
                let down = self.between(20, 4_000);
                self.add(at, Action::Reach(false));
                self.add(at + down, Action::Reach(true));
            }
        }
    }

    fn processes(&mut self) {
        if self.has_breaks() {
            for at in self.moments(Duration::from_secs(5)) {
                let death = if self.rng.random_bool(0.5) { Death::BeforeWrite } else { Death::AfterWrite };
                let (phone, down) = (self.phone(), self.between(10, 5_000));
                self.add(at, Action::Kill { phone, death, down });
            }
        }
        if self.has() {
            for at in self.moments(Duration::from_secs(2)) {
                let (node, no) = (self.node(), self.rng.random_range(0..LOOPS));
                let down = self.between(2, 800);
                self.add(at, Action::Stall { node, no, down });
            }
        }
        if self.has_breaks() {
            for at in self.moments(Duration::from_secs(10)) {
                let (node, down) = (self.node(), self.between(10, 5_000));
                let (memory_too, sessions_kept) = (self.rng.random_bool(0.5), self.rng.random_bool(0.5));
                self.add(at, Action::KillNode { node, down, memory_too, sessions_kept });
            }
        }
    }

    /// One is put away for long enough that a heartbeat would fall into it; some do not read.
    fn phones(&mut self) {
        if self.has_breaks() {
            let (phone, at) = (self.phone(), self.between(0, 3_000));
            self.add(at, Action::Act { phone, act: Act::Hide { down: 2 * self.storm } });
        }
        if self.has() {
            for at in self.moments(Duration::from_secs(6)) {
                let (phone, down) = (self.phone(), self.between(500, 9_000));
                self.add(at, Action::Dawdle { phone, down });
                // Somebody has much to say to it.
                let (other, people) = (self.phone(), crate::world::USERS);
                if other % people != phone % people && self.rng.random_bool(0.7) {
                    let act = Act::Say { to: phone % people, count: 60 };
                    self.add(at, Action::Act { phone: other, act });
                }
            }
        }
    }

    fn clocks(&mut self) {
        if self.rng.random_bool(0.3) {
            let (at, phone) = (self.between(0, 10_000), self.phone());
            let minutes = self.rng.random_range(1..40);
            let wrong = EARLY_CLOCK_MAX / 2 + Duration::from_secs(60 * minutes);
            let fast = self.rng.random_bool(0.5);
            let wrong = if fast { (wrong, Duration::ZERO) } else { (Duration::ZERO, wrong) };
            self.add(at, Action::Clock { phone, wrong });
        }
        if self.rng.random_bool(0.3) {
            for at in self.moments(Duration::from_secs(6)) {
                // Forward and back again, by less than nodes may differ.
                let (node, skew) = (self.node(), self.between(0, 50_000));
                self.add(at, Action::NodeClock { node, skew });
            }
        }
    }

    /// The thief, and nodes that take no early data.
    fn early(&mut self) {
        if self.has() {
            for at in self.moments(Duration::from_secs(2)) {
                let phone = self.phone();
                let cut = self.between(1, 12_000);
                let spared = self.is_steady() || self.rng.random_bool(0.4);
                let cut = if spared { Duration::ZERO } else { cut };
                self.add(at, Action::Capture { phone, cut });
            }
        }
        if self.rng.random_bool(0.3) {
            for at in self.moments(Duration::from_secs(10)) {
                let (node, down) = (self.node(), self.between(500, 10_000));
                self.add(at, Action::Early { node, policy: EarlyPolicy::Refuse });
                self.add(at + down, Action::Early { node, policy: EarlyPolicy::Accept });
            }
        }
    }
}
