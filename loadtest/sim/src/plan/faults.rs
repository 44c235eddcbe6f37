//! What happens to phones: addresses, clocks, the background, keys that are pressed, and the thief on their way.

use std::time::Duration;

use rand::Rng;
use wire::limits::EARLY_CLOCK_MAX;
use wire_link::testing::{Conditions, EarlyPolicy};

use super::{Action, Planner};
use crate::world::{NODES, USERS};

impl Planner {
    /// Addresses change, most of them within a burst of messages in either direction.
    pub(super) fn addresses(&mut self, only_moves: bool) {
        if !only_moves && !self.has() {
            return;
        }
        if only_moves && self.has() {
            // A connection must survive that too.
            let (delay, jitter) = (self.between(1, 120), self.between(0, 40));
            let loss = self.rng.random_range(0.0..0.05);
            let weather = Conditions { delay, jitter, loss, duplication: 0.02, is_cut: false };
            self.add(Duration::ZERO, Action::Weather(weather));
        }
        for at in self.moments(Duration::from_secs(if only_moves { 1 } else { 3 })) {
            let ((user, peer), told) = (self.pair(), self.rng.random_bool(0.5));
            if self.rng.random_bool(0.7) {
                let (mine, count) = (self.rng.random_bool(0.5), self.rng.random_range(2..12));
                let (user, peer) = if mine { (user, peer) } else { (peer, user) };
                self.add(at, Action::Say { user, peer, count });
            }
            let then = self.between(0, 60);
            self.add(at + then, Action::Move { user, told });
        }
    }

    /// People open chats, press keys, and close them or forget to; now and then in a chat of two others.
    pub(super) fn typing(&mut self) {
        if !self.has() {
            return;
        }
        for at in self.moments(Duration::from_secs(2)) {
            let (user, peer) = self.pair();
            let mut of = [user, peer];
            if self.rng.random_bool(0.15) {
                let other = (0..USERS).find(|other| !of.contains(other)).unwrap_or(peer);
                of[0] = other;
            }
            self.add(at, Action::Open { user, of, open: true });
            let others: Vec<usize> = of.into_iter().filter(|&other| other != user).collect();
            for &other in &others {
                if self.rng.random_bool(0.7) {
                    self.add(at, Action::Open { user: other, of, open: true });
                }
            }
            // Where somebody has no business, others are busy.
            let pressing = if others.len() > 1 { &[user, others[0], others[1]][..] } else { &[user] };
            for &user in pressing {
                for _ in 0..self.rng.random_range(1..8) {
                    let after = self.between(1, 6_000);
                    self.add(at + after, Action::Press { user, of });
                }
            }
            if !of.contains(&user) || self.rng.random_bool(0.5) {
                let after = self.between(3_000, 9_000);
                self.add(at + after, Action::Open { user, of, open: false });
            }
        }
    }

    pub(super) fn phones(&mut self) {
        // One of them for long enough that a heartbeat would fall into it.
        let away = self.user();
        if self.has_breaks() {
            let at = self.between(0, 3_000);
            self.add(at, Action::Look { user: away, foreground: false });
            for at in self.moments(Duration::from_secs(4)) {
                let (user, down) = (self.user(), self.between(50, 20_000));
                if user != away {
                    self.add(at, Action::Look { user, foreground: false });
                    self.add(at + down, Action::Look { user, foreground: true });
                }
            }
        }
        if self.rng.random_bool(0.3) {
            let (at, user) = (self.between(0, 10_000), self.user());
            let minutes = self.rng.random_range(1..40);
            let wrong = EARLY_CLOCK_MAX / 2 + Duration::from_secs(60 * minutes);
            let fast = self.rng.random_bool(0.5);
            let wrong = if fast { (wrong, Duration::ZERO) } else { (Duration::ZERO, wrong) };
            self.add(at, Action::Clock { user, wrong });
        }
    }

    /// The thief, and nodes that take no early data.
    pub(super) fn early(&mut self) {
        if self.has() {
            for at in self.moments(Duration::from_secs(2)) {
                let user = self.user();
                let cut = self.between(1, 12_000);
                let cut = if self.steady || self.rng.random_bool(0.4) { Duration::ZERO } else { cut };
                self.add(at, Action::Capture { user, cut });
            }
        }
        if self.rng.random_bool(0.3) {
            for at in self.moments(Duration::from_secs(10)) {
                let (node, down) = (self.rng.random_range(0..NODES), self.between(500, 10_000));
                self.add(at, Action::Early { node, policy: EarlyPolicy::Refuse });
                self.add(at + down, Action::Early { node, policy: EarlyPolicy::Accept });
            }
        }
    }
}
