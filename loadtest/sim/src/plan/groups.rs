//! Groups: who makes them, who comes and goes, and what is said in them, at once with everything else.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Action, Kind, Planner};
use crate::world::USERS;

/// Something that a person does with a group. Groups are named by their number, people by theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GroupAct {
    /// Makes one.
    Make { with: Vec<usize> },
    /// Says so many things in one.
    Say { group: usize, count: u32 },
    /// Adds somebody.
    Add { group: usize, who: usize },
    /// Removes somebody.
    Remove { group: usize, who: usize },
    /// Leaves.
    Leave { group: usize },
}

impl Planner {
    /// Draws what happens in groups, in most seeds. From a seed of its own: all else stays as it is without.
    pub(super) fn groups(&mut self, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6772_6f75_7073);
        if self.kind == Kind::OnlyMoves || !rng.random_bool(0.7) {
            return;
        }
        let lasts = self.storm.mul_f64(0.9);
        let made = rng.random_range(1..4);
        for _ in 0..made {
            let at = rng.random_range(Duration::ZERO..lasts.mul_f64(0.4));
            let phone = rng.random_range(0..USERS);
            let with = (0..USERS).filter(|who| *who != phone && rng.random_bool(0.8)).collect();
            self.actions.push((at, Action::Group { phone, act: GroupAct::Make { with } }));
        }
        let mut at = Duration::ZERO;
        loop {
            at += Duration::from_secs(1).mul_f64(rng.random_range(0.0..2.0));
            if at >= lasts {
                return;
            }
            let (phone, group) = (rng.random_range(0..self.phones), rng.random_range(0..made));
            let who = rng.random_range(0..USERS);
            let act = match rng.random_range(0..100) {
                0..70 => GroupAct::Say { group, count: rng.random_range(1..8) },
                70..82 => GroupAct::Add { group, who },
                82..94 => GroupAct::Remove { group, who },
                _ => GroupAct::Leave { group },
            };
            self.actions.push((at, Action::Group { phone, act }));
        }
    }
}
