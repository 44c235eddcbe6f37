//! What every handler of a node shares: its configuration, its present moment, and what it has asked for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use store::ephemeral::EphemeralOp;
use store::op::{CheckDevice, Message, Op};
use wire::{AccountId, ChatId, Event, LogId};

use crate::collect::Room;
use crate::command::{Call, Caller};
use crate::counters::{Counters, Timing, Timings};
use crate::delivery::Turns;
use crate::fanout::Hint;
use crate::io::{Effect, LinkId, Now, OpId, Output, StreamId};
use crate::limits::Limits;
use crate::moves::{Move, Moves};
use crate::node::NodeConfig;
use crate::timers::{Timer, Timers};
use crate::token::Keys;

/// The shared part of a node. Connections are not in it, so that one of them and this can be borrowed at once.
pub(crate) struct Cx {
    pub(crate) limits: Limits,
    pub(crate) keys: Arc<Keys>,
    pub(crate) node: u64,
    pub(crate) app_name: String,
    pub(crate) names: Vec<String>,
    pub(crate) now: Now,
    pub(crate) draining: bool,
    pub(crate) timers: Timers,
    pub(crate) moves: Moves,
    /// Who waits for a read.
    pub(crate) turns: Turns,
    /// Which connections an account has here. Bounded by the connections.
    pub(crate) accounts: BTreeMap<AccountId, Vec<LinkId>>,
    /// Hints this input caused, for sessions here, but not for the one named; drained before the input is done.
    pub(crate) hints: VecDeque<(Hint, Option<LinkId>)>,
    pub(crate) counters: Counters,
    pub(crate) timings: Timings,
    /// What commits take up that arrive or are in work.
    pub(crate) commits: Room,
    rng: ChaCha20Rng,
    out: VecDeque<Output>,
    pending: BTreeMap<OpId, Pending>,
    /// How many of those are reads for delivery.
    reads: usize,
    ops: u64,
}

/// What goes on when an effect has finished.
#[derive(Debug)]
pub(crate) enum Pending {
    /// Nothing: its failure costs nothing that is promised.
    Nothing,
    /// An anonymous `Hello` was counted.
    Anonymous { link: LinkId },
    /// The device of an expired token was looked up.
    Expired { link: LinkId },
    /// Early data was counted, before anything of it is looked at.
    EarlyCounted { link: LinkId },
    /// The device of early data was looked up.
    EarlyDevice { link: LinkId },
    /// A chat's members were read, for typing.
    Members { link: LinkId, stream: StreamId, typing: bool },
    /// It was asked whether somebody is connected anywhere.
    Online { account: AccountId, at: wire::WallTime },
    /// A route was registered.
    Route { link: LinkId },
    /// A session's state was read.
    Session { link: LinkId },
    /// The heads of a session's chats were read again.
    Heads { link: LinkId },
    /// A session's device was checked again.
    Recheck { link: LinkId },
    /// Messages were counted.
    AppendCounted { link: LinkId, stream: StreamId, account: AccountId, messages: Vec<Message> },
    /// Messages were committed, or refused.
    Append { link: LinkId, stream: StreamId, account: AccountId, chat: ChatId, messages: Vec<Message> },
    /// A cursor move was committed, or refused.
    Move(Move),
    /// Entries were read for delivery.
    Tail { link: LinkId, log: LogId },
    /// A chat that became active was read.
    OpenChat { link: LinkId, log: LogId },
    /// Members' cursors were read for delivery.
    Cursors { link: LinkId, log: LogId },
    /// A step of a request finished.
    Call { link: LinkId, stream: StreamId, caller: Box<Caller>, call: Box<Call> },
}

impl Pending {
    /// Whether it is a read for delivery.
    fn is_read(&self) -> bool {
        matches!(self, Pending::Tail { .. } | Pending::OpenChat { .. } | Pending::Cursors { .. })
    }
}

impl Cx {
    pub(crate) fn new(config: NodeConfig, now: Now) -> Cx {
        let commits = Room::of(config.limits.commit_bytes_in_flight);
        Cx {
            limits: config.limits,
            keys: config.keys,
            node: config.node,
            app_name: config.app_name,
            names: config.names,
            now,
            draining: false,
            timers: Timers::default(),
            moves: Moves::default(),
            turns: Turns::default(),
            accounts: BTreeMap::new(),
            hints: VecDeque::new(),
            counters: Counters::default(),
            timings: Timings::default(),
            commits,
            rng: ChaCha20Rng::from_seed(config.seed),
            out: VecDeque::new(),
            pending: BTreeMap::new(),
            reads: 0,
            ops: 0,
        }
    }

    pub(crate) fn perform(&mut self, effect: Effect, then: Pending) {
        self.ops += 1;
        let op = OpId(self.ops);
        self.reads += usize::from(then.is_read());
        self.pending.insert(op, then);
        self.out.push_back(Output::Perform { op, effect });
    }

    pub(crate) fn store(&mut self, op: Op, then: Pending) {
        self.perform(Effect::Store(op), then);
    }

    pub(crate) fn ephemeral(&mut self, op: EphemeralOp, then: Pending) {
        self.perform(Effect::Ephemeral(op), then);
    }

    pub(crate) fn finished(&mut self, op: OpId) -> Option<Pending> {
        let pending = self.pending.remove(&op)?;
        self.reads -= usize::from(pending.is_read());
        Some(pending)
    }

    /// How many effects are in work.
    pub(crate) fn effects(&self) -> usize {
        self.pending.len()
    }

    /// Whether the node has taken on as much as it may, what is kept for reads aside. What goes on from one effect to the
    /// next asks only once; what gives back (a dropped route, tokens) does not ask.
    pub(crate) fn is_busy(&self) -> bool {
        let others_max = self.limits.effects_in_flight.saturating_sub(self.reads_max()).max(1);
        self.pending.len() - self.reads >= others_max
    }

    /// Whether a read for delivery may begin: a quarter of what may be in work is for them, so that neither they nor
    /// requests crowd the others out.
    pub(crate) fn may_read(&self) -> bool {
        self.has_room_for_read() && self.turns.is_free()
    }

    /// Whether there is room for a read, whoever's turn it is.
    pub(crate) fn has_room_for_read(&self) -> bool {
        self.reads < self.reads_max()
    }

    fn reads_max(&self) -> usize {
        (self.limits.effects_in_flight / 4).max(1)
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.out.push_back(output);
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    pub(crate) fn send(&mut self, link: LinkId, stream: StreamId, event: &Event) {
        self.send_frame(link, stream, event.encode());
    }

    pub(crate) fn send_frame(&mut self, link: LinkId, stream: StreamId, frame: Bytes) {
        self.out.push_back(Output::Send { link, stream, frame });
    }

    /// Tells sessions here, and the other loops and nodes.
    pub(crate) fn publish(&mut self, hint: Hint) {
        self.publish_except(hint, None);
    }

    /// Tells all sessions but one of this loop, for which it is no news.
    pub(crate) fn publish_except(&mut self, hint: Hint, knows: Option<LinkId>) {
        self.counters.hints_published += 1;
        self.out.push_back(Output::Publish(hint.clone()));
        self.hints.push_back((hint, knows));
    }

    /// Notes how long something took.
    pub(crate) fn timed(&mut self, timing: Timing) {
        if !self.timings.push(timing) {
            self.counters.timings_lost += 1;
        }
    }

    pub(crate) fn after(&mut self, delay: Duration, timer: Timer) {
        self.timers.at(self.now.instant + delay, timer);
    }

    pub(crate) fn random_id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        id
    }

    /// A random id that sorts by the time it was made: 48 bits of milliseconds, then chance (as RFC 9562's version 7).
    pub(crate) fn random_id_by_time(&mut self) -> [u8; 16] {
        let mut id = self.random_id();
        id[..6].copy_from_slice(&self.now.wall.as_millis().to_be_bytes()[2..]);
        id
    }

    /// Some time up to `max`.
    pub(crate) fn random_part_of(&mut self, max: Duration) -> Duration {
        use rand::Rng;
        max.mul_f64(self.rng.random_range(0.0..1.0))
    }

    /// Six digits from the node's generator, each code as likely as another (R15).
    pub(crate) fn random_otp(&mut self) -> String {
        use rand::Rng;
        format!("{:06}", self.rng.random_range(0..1_000_000))
    }

    /// Whether it has taken on so much that what may be dropped is dropped: half of what makes it [busy](Cx::is_busy).
    pub(crate) fn is_loaded(&self) -> bool {
        self.pending.len() >= self.limits.effects_in_flight / 2
    }

    /// Asks whether a device may still have a session, its refresh tokens being alive.
    pub(crate) fn check_device(&mut self, account: AccountId, device: wire::DeviceId, then: Pending) {
        let family_at = Some(self.now.wall);
        self.store(Op::CheckDevice(CheckDevice { account, device, family_at }), then);
    }

    /// Performs the moves that were gathered for a log; those that find no room stay, and are due again.
    pub(crate) fn flush_moves(&mut self, log: LogId) {
        while !self.is_busy()
            && let Some(mut gathered) = self.moves.take(log)
        {
            gathered.op.now = self.now.wall;
            self.store(Op::MoveCursor(gathered.op.clone()), Pending::Move(gathered));
        }
    }
}
