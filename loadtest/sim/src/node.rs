//! One node: a process' loops behind one address, and what they share: the kernel that chooses a loop for each datagram,
//! the sessions of TLS, and the table of who is on which loop.

mod event_loop;
mod unproved;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_proto::{Hint, Input, Now};
use wire::AccountId;
use wire_link::Steering;
use wire_link::testing::{PlainSessions, secrets};

use self::event_loop::{Handed, SimLoop};
use crate::outside::{Outside, Stores};

/// Loops of each node.
pub(crate) const LOOPS: usize = 2;

/// Datagrams that wait for a loop, in its socket and, apart from those, from other loops; more are lost. Much fewer than
/// in a real node, so that they are.
const DATAGRAMS_MAX: usize = 32;
const HANDED_MAX: usize = 12;

/// What a node is made from.
#[derive(Debug, Clone)]
pub(crate) struct NodePlan {
    /// Which process it belongs to.
    pub(crate) process: usize,
    /// Life of an access token, seconds.
    pub(crate) access_token_s: u32,
    /// Hints that wait for a loop; more are lost.
    pub(crate) hints_max: usize,
    /// Effects that each loop has in work at most, but for a few that never wait.
    pub(crate) effects_max: usize,
    /// What it remembers of clients' TLS sessions.
    pub(crate) sessions: Arc<PlainSessions>,
}

/// Its place in the world, which outlives its process.
pub(crate) struct SimNode {
    pub(crate) address: SocketAddr,
    pub(crate) common: Common,
    loops: Vec<SimLoop>,
    starts: u64,
}

/// What a node's loops share.
pub(crate) struct Common {
    pub(crate) index: usize,
    pub(crate) plan: NodePlan,
    seed: u64,
    /// How far its wall clock is ahead.
    skew: Duration,
    steering: Steering,
    registry: Registry,
    /// Hints of a loop for the others and for other nodes.
    published: Vec<Hint>,
}

impl Common {
    fn now(&self, out: &Outside) -> Now {
        Now { instant: out.time.instant(), wall: out.time.wall(self.skew) }
    }
}

impl SimNode {
    pub(crate) fn new(seed: u64, index: usize, plan: NodePlan) -> SimNode {
        let common = Common {
            index,
            plan,
            seed,
            skew: Duration::from_millis(seed.rotate_left(7 * index as u32) % 1000),
            steering: Steering::new(secrets(0).cid_key, LOOPS as u8),
            registry: Registry::default(),
            published: Vec::new(),
        };
        let address = SocketAddr::from(([10, 0, 0, index as u8 + 1], 443));
        SimNode { address, common, loops: Vec::new(), starts: 0 }
    }

    /// Its wall clock jumps.
    pub(crate) fn set_skew(&mut self, skew: Duration) {
        self.common.skew = skew;
    }

    /// Hints for it were lost: each of its loops is told.
    pub(crate) fn hints_lost(&mut self) {
        self.loops.iter_mut().for_each(|of| of.hints_lost = true);
    }

    /// Begins to run on a store.
    pub(crate) fn start(&mut self, out: &Outside, stores: &Stores) {
        self.starts += 1;
        self.common.registry = Registry::default();
        let start = |no| SimLoop::new(&self.common, self.starts, no, out, stores.clone());
        self.loops = (0..LOOPS).map(start).collect();
    }

    /// Its process is gone, and what it remembered of sessions, unless that was kept.
    pub(crate) fn die(&mut self, sessions_kept: bool) {
        self.loops.clear();
        if !sessions_kept {
            self.common.plan.sessions.forget();
        }
    }

    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.loops.iter().filter_map(SimLoop::next_timer).min()
    }

    /// The kernel gives a datagram to the loop that its addresses name; the loop handles it, or hands it to its owner.
    pub(crate) fn datagram(&mut self, out: &mut Outside, from: SocketAddr, bytes: &[u8]) {
        if self.loops.is_empty() {
            return;
        }
        let datagram = Handed { from, bytes: bytes.to_vec() };
        self.loops[kernel_choice(from, self.common.seed)].receive(datagram, out);
    }

    /// The operating system does not run a loop for a while.
    pub(crate) fn stall(&mut self, no: usize, until: Instant) {
        if let Some(stalled) = self.loops.get_mut(no) {
            stalled.stalled_until = Some(until);
        }
    }

    /// Every loop runs.
    pub(crate) fn unstall(&mut self) {
        self.loops.iter_mut().for_each(|stalled| stalled.stalled_until = None);
    }

    /// Does all that can be done now; true if there was something.
    pub(crate) fn turn(&mut self, out: &mut Outside) -> bool {
        let mut any = false;
        for no in 0..self.loops.len() {
            any |= self.loops[no].turn(&mut self.common, self.address, out);
            for (owner, datagram) in std::mem::take(&mut self.loops[no].to_hand_over) {
                any = true;
                self.loops[owner].hand(datagram, out);
            }
            self.publish(no, out);
        }
        any
    }

    /// An effect of a loop is done.
    pub(crate) fn done(&mut self, no: usize, input: Input) {
        if let Some(of) = self.loops.get_mut(no) {
            of.done.push_back(input);
        }
    }

    /// A hint from another process. A loop that has no room for it has lost it, and knows.
    pub(crate) fn hear(&mut self, hint: &Hint, out: &mut Outside) {
        let on = self.common.registry.loops(hint.accounts());
        let max = self.common.plan.hints_max;
        for (_, to) in self.loops.iter_mut().enumerate().filter(|(no, _)| on[*no]) {
            to.hear(hint, max, out);
        }
    }

    /// A hint that is given again if it is not taken, for the loops that its accounts are on; false if one of them had no
    /// room.
    pub(crate) fn hint(&mut self, hint: &Hint, out: &mut Outside) -> bool {
        let on = self.common.registry.loops(hint.accounts());
        let max = self.common.plan.hints_max;
        let mut all_taken = true;
        for (no, to) in self.loops.iter_mut().enumerate().filter(|(no, _)| on[*no]) {
            debug_assert!(no < LOOPS);
            all_taken &= to.hint(hint, max, out);
        }
        all_taken
    }

    /// Hands a loop's hints to the loops that their accounts are on, and to other nodes.
    fn publish(&mut self, from: usize, out: &mut Outside) {
        let max = self.common.plan.hints_max;
        for hint in std::mem::take(&mut self.common.published) {
            let on = self.common.registry.loops(hint.accounts());
            for (_, to) in self.loops.iter_mut().enumerate().filter(|(no, _)| *no != from && on[*no]) {
                to.hear(&hint, max, out);
            }
            out.publish(self.common.index, crate::world::NODES, &hint);
        }
    }
}

/// The loop whose socket gets what comes from an address, as a reuseport group of sockets has it.
fn kernel_choice(from: SocketAddr, seed: u64) -> usize {
    let text = from.to_string();
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = text.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, mix);
    (hash >> 32) as usize % LOOPS
}

/// Account -> how many connections on each loop, as the real node has it.
#[derive(Debug, Default)]
struct Registry(BTreeMap<AccountId, [u32; LOOPS]>);

impl Registry {
    fn add(&mut self, account: AccountId, no: usize) {
        self.0.entry(account).or_default()[no] += 1;
    }

    fn remove(&mut self, account: AccountId, no: usize) {
        if let Some(counts) = self.0.get_mut(&account) {
            counts[no] = counts[no].saturating_sub(1);
        }
    }

    fn loops(&self, accounts: &[AccountId]) -> [bool; LOOPS] {
        let mut on = [false; LOOPS];
        for counts in accounts.iter().filter_map(|account| self.0.get(account)) {
            for (on, count) in on.iter_mut().zip(counts) {
                *on |= *count > 0;
            }
        }
        on
    }
}

/// A queue that loses what it has no room for; true if it took it.
fn offer<T>(queue: &mut VecDeque<T>, max: usize, item: T) -> bool {
    let room = queue.len() < max;
    if room {
        queue.push_back(item);
    }
    room
}
