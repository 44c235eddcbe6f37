//! What a round does, drawn from the seed. (The moments at which things then happen are those of a real machine.)

use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;

/// Who is struck, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Strike {
    Node,
    Sender,
    Receiver,
    NodeAndSender,
    /// The node, and once more while it starts again.
    NodeStarting,
    /// The node, after it was told to stop and while it does.
    NodeDraining,
    /// Everybody.
    All,
}

const STRIKES: [Strike; 7] = [
    Strike::Node,
    Strike::Sender,
    Strike::Receiver,
    Strike::NodeAndSender,
    Strike::NodeStarting,
    Strike::NodeDraining,
    Strike::All,
];

impl Strike {
    /// Whether the first sender dies of it.
    pub(crate) fn kills_sender(self) -> bool {
        matches!(self, Strike::Sender | Strike::NodeAndSender | Strike::All)
    }

    pub(crate) fn kills_receiver(self) -> bool {
        matches!(self, Strike::Receiver | Strike::All)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) strike: Strike,
    /// Texts that each sender says.
    pub(crate) burst: usize,
    /// Whether the receiver writes back.
    pub(crate) both_ways: bool,
    /// Whether a third person writes to the receiver as well.
    pub(crate) two_chats: bool,
    /// What the first sender waits for.
    pub(crate) wait: &'static str,
    /// From the first acknowledgement to the strike.
    pub(crate) after: Duration,
    /// How long a node that is struck twice has between the two.
    pub(crate) between: Duration,
}

impl Plan {
    /// Every kind of strike comes as often as the others, in any order.
    pub(crate) fn all(rng: &mut impl Rng, rounds: usize) -> Vec<Plan> {
        let mut plans = Vec::new();
        while plans.len() < rounds {
            let mut strikes = STRIKES;
            strikes.shuffle(rng);
            plans.extend(strikes.map(|strike| Plan::new(rng, strike)));
        }
        plans.truncate(rounds);
        plans
    }

    fn new(rng: &mut impl Rng, strike: Strike) -> Plan {
        // Blue ticks come in batches some seconds apart: who is killed does not wait for them.
        let waits: &[&str] =
            if strike.kills_sender() { &["sent", "delivered", "read"] } else { &["sent", "delivered"] };
        Plan {
            strike,
            burst: rng.random_range(40..200),
            both_ways: rng.random(),
            two_chats: rng.random(),
            wait: waits[rng.random_range(0..waits.len())],
            after: Duration::from_micros(rng.random_range(0..30_000)),
            between: Duration::from_micros(rng.random_range(0..60_000)),
        }
    }
}
