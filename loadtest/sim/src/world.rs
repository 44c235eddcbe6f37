//! The whole of it: two nodes, four people, and time that passes only when nothing else is left to do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client_core::seal;
use edge_proto::{Hint, Input};
use rand::Rng;
use store::keys::{OUTBOX_SHARDS, direct_chat_id};
use store::op::{Behind, ClearOutbox, Op, OpOutput, Sweep, Swept};
use store::sim::Faults;
use store::{Clock, Store, StoreConfig};
use wire::LogId;
use wire::content::{Content, Text};
use wire_link::testing::Conditions;

use crate::Sabotage;
use crate::check::Window;
use crate::check::{Checker, Violation};
use crate::client::{SimClient, name};
use crate::disk::Disk;
use crate::node::SimNode;
use crate::outside::{BusConditions, Outcome, Outside, SimStore};
use crate::plan::{Action, Plan};
use crate::tamper::Tampered;
use crate::tasks::Turn;

/// Nodes, each with one loop.
pub(crate) const NODES: usize = 2;

/// People, each with one phone.
pub(crate) const USERS: usize = 4;

/// As in the real node's sweeper.
const GRACE: Duration = Duration::from_secs(5);
const ROUND: Duration = Duration::from_secs(1);
const SWEEP_KEYS_MAX: usize = 256;

/// How often everything is looked at from the beginning.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(2);

/// Turns that may happen without time passing; more mean that somebody talks to itself for ever.
const TURNS_MAX: u64 = 200_000;

/// Everything.
pub(crate) struct World {
    pub(crate) out: Outside,
    nodes: Vec<SimNode>,
    clients: Vec<SimClient>,
    backend: Tampered,
    faults: Faults,
    reachable: bool,
    /// Whether each process runs, or is starting.
    alive: [bool; NODES],
    agenda: BTreeMap<(Instant, u64), Action>,
    planned: u64,
    looked_back: Duration,
    sabotage: Option<Sabotage>,
    seed: u64,
}

impl World {
    pub(crate) fn new(seed: u64, plan: &Plan, sabotage: Option<Sabotage>) -> World {
        let out = Outside::new(seed, Checker::default());
        let process = |node| if plan.one_process { 0 } else { node };
        World {
            nodes: (0..NODES).map(|n| SimNode::new(seed, n, process(n), plan.access_token_s)).collect(),
            clients: (0..USERS).map(|user| SimClient::new(seed, user, sabotage)).collect(),
            backend: Tampered::new(seed ^ 0x7374_6f72, out.time.clock(), sabotage),
            out,
            faults: Faults::NONE,
            reachable: true,
            alive: [false; NODES],
            agenda: BTreeMap::new(),
            planned: 0,
            looked_back: Duration::ZERO,
            sabotage,
            seed,
        }
    }

    // ---- phases ----

    /// Starts the nodes and registers everybody, without faults.
    pub(crate) fn open(&mut self) -> Result<(), Violation> {
        let processes: std::collections::BTreeSet<usize> =
            self.nodes.iter().map(|node| node.process).collect();
        for process in processes {
            self.boot(process);
        }
        for user in 0..USERS {
            self.clients[user].go_online(&mut self.out)?;
            let end = self.out.time.instant() + Duration::from_secs(30);
            if !self.run_until(end, |world| world.clients[user].is_ready())? {
                return Err(Violation::NotRegistered { user });
            }
        }
        for a in 0..USERS {
            for b in a + 1..USERS {
                let chat = direct_chat_id(self.account(a), self.account(b));
                self.out.checker.may_chat(chat, [a, b]);
            }
        }
        Ok(())
    }

    /// Everything in the plan happens.
    pub(crate) fn storm(&mut self, plan: &Plan, storm: Duration) -> Result<(), Violation> {
        let start = self.out.time.instant();
        if self.sabotage == Some(Sabotage::NoHintsNoSweeper) {
            self.out.bus.conditions.loss = 1.0;
        }
        for (at, action) in &plan.actions {
            self.at(start + *at, action.clone());
        }
        self.run_until(start + storm, |_| false).map(drop)
    }

    /// Faults are over and everybody is there. Within `calm` everybody must have everything, with nobody doing anything
    /// that would help; then everybody reads, and within `calm` the server must know.
    pub(crate) fn calm(&mut self, calm: Duration) -> Result<(), Violation> {
        self.out.say(format_args!("calm"));
        self.agenda.clear();
        self.mend()?;
        self.converge(calm, false)?;
        for user in 0..USERS {
            self.read_all(user)?;
        }
        self.converge(calm, true)?;
        self.reconnect_all(calm)
    }

    /// Lets time pass until nothing is missing; of cursors only the delivered ones, unless all are `read`.
    fn converge(&mut self, calm: Duration, read: bool) -> Result<(), Violation> {
        let end = self.out.time.instant() + calm;
        loop {
            self.look()?;
            let missing = self.out.checker.missing(&self.disks(), read).or_else(|| self.unsettled(read));
            let Some(missing) = missing else { return Ok(()) };
            if self.out.time.instant() >= end {
                return Err(Violation::NotConverged { missing });
            }
            let soon = self.out.time.instant() + Duration::from_millis(200);
            self.run_until(soon, |_| false)?;
        }
    }

    fn unsettled(&self, read: bool) -> Option<String> {
        let client = self.clients.iter().find(|client| !client.is_ready() || read && !client.is_settled())?;
        Some(format!("{} has something left to say, or nobody to say it to", name(client.user)))
    }

    /// Everybody connects anew: then all ticks must be shown as they are.
    fn reconnect_all(&mut self, calm: Duration) -> Result<(), Violation> {
        for user in 0..USERS {
            self.clients[user].go_offline(&mut self.out)?;
        }
        let soon = self.out.time.instant() + Duration::from_millis(100);
        self.run_until(soon, |_| false)?;
        for user in 0..USERS {
            self.clients[user].go_online(&mut self.out)?;
        }
        let end = self.out.time.instant() + calm;
        if !self.run_until(end, |world| world.out.checker.stale_ticks(&world.disks()).is_none())? {
            let missing = self.out.checker.stale_ticks(&self.disks()).unwrap_or_default();
            return Err(Violation::NotConverged { missing });
        }
        self.look()?;
        self.out.checker.look_back(&self.window())
    }

    fn mend(&mut self) -> Result<(), Violation> {
        self.out.weather = Conditions::default();
        self.out.cuts.clear();
        self.set_faults(Faults::NONE);
        self.set_reachable(true);
        if self.sabotage != Some(Sabotage::NoHintsNoSweeper) {
            self.out.bus.conditions = BusConditions::GOOD;
        }
        for process in 0..NODES {
            self.boot(process);
        }
        for user in 0..USERS {
            self.clients[user].dies = None;
            self.clients[user].go_online(&mut self.out)?;
        }
        Ok(())
    }

    // ---- time ----

    /// Lets time pass until `end`, or until `done` says so.
    fn run_until(&mut self, end: Instant, done: impl Fn(&World) -> bool) -> Result<bool, Violation> {
        loop {
            self.settle()?;
            if done(self) {
                return Ok(true);
            }
            let next = self.next_moment().filter(|&next| next <= end);
            let Some(next) = next else {
                self.out.time.advance_to(end);
                return Ok(false);
            };
            self.out.time.advance_to(next);
            self.arrivals();
            self.acts()?;
        }
    }

    fn next_moment(&self) -> Option<Instant> {
        let timers = self.nodes.iter().filter_map(SimNode::next_timer);
        let timers = timers.chain(self.clients.iter().filter_map(SimClient::next_timer)).min();
        let agenda = self.agenda.first_key_value().map(|(&(at, _), _)| at);
        [
            timers,
            agenda,
            self.out.network.next_arrival(),
            self.out.bus.next_arrival(),
            self.out.time.next_timer(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does all that can be done at this moment, then looks at what it did.
    fn settle(&mut self) -> Result<(), Violation> {
        for _ in 0..TURNS_MAX {
            let mut any = match self.out.tasks.turn() {
                Turn::Idle => false,
                Turn::Polled => true,
                Turn::Ended(outcome) => {
                    self.ended(outcome);
                    true
                }
            };
            for node in &mut self.nodes {
                any |= node.turn(&mut self.out, NODES);
            }
            for client in &mut self.clients {
                any |= client.turn(&mut self.out)?;
            }
            if !any {
                return if self.out.checker.has_news() { self.look() } else { Ok(()) };
            }
        }
        Err(Violation::NotConverged { missing: "somebody talks to itself for ever".into() })
    }

    fn arrivals(&mut self) {
        let now = self.out.time.instant();
        while let Some(datagram) = self.out.network.arrived(now) {
            if self.out.is_cut(datagram.to) {
                continue;
            }
            if let Some(node) = self.nodes.iter_mut().find(|node| node.address == datagram.to) {
                node.datagram(&self.out, datagram.from, &datagram.bytes);
            } else if let Some(client) = self.clients.iter_mut().find(|client| client.address == datagram.to)
            {
                client.datagram(&self.out, datagram.from, &datagram.bytes);
            }
        }
        for (to, hint) in self.out.bus.arrived(now) {
            self.nodes[to].input(&mut self.out, NODES, Input::Hint(hint));
        }
    }

    // ---- looking ----

    fn window(&self) -> Window<'_> {
        Window { sim: &self.backend.sim, faults: self.faults, reachable: self.reachable }
    }

    fn disks(&self) -> Vec<&Disk> {
        self.clients.iter().map(|client| &client.disk).collect()
    }

    fn look(&mut self) -> Result<(), Violation> {
        let window = Window { sim: &self.backend.sim, faults: self.faults, reachable: self.reachable };
        let disks: Vec<&Disk> = self.clients.iter().map(|client| &client.disk).collect();
        self.out.checker.look(&window, &disks)?;
        let now = self.out.time.since_start();
        if now >= self.looked_back + LOOK_BACK_EVERY {
            self.looked_back = now;
            self.out.checker.look_back(&window)?;
        }
        Ok(())
    }

    fn account(&self, user: usize) -> wire::AccountId {
        self.clients[user].identity().expect("everybody registers before the storm").0
    }

    // ---- processes ----

    fn boot(&mut self, process: usize) {
        if self.alive[process] || !self.nodes.iter().any(|node| node.process == process) {
            return;
        }
        self.alive[process] = true;
        let (backend, clock) = (self.backend.clone(), self.out.time.clock());
        let config = StoreConfig { seed: self.seed ^ process as u64, ..StoreConfig::default() };
        self.out.tasks.spawn(process, async move {
            loop {
                match Store::open(backend.clone(), config.clone(), clock.clone()).await {
                    Ok(store) => return Outcome::Booted { process, store },
                    Err(_) => clock.sleep(Duration::from_millis(500)).await,
                }
            }
        });
    }

    fn ended(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done { node, op, result } => {
                self.out.counts.store_errors += u64::from(result.is_err());
                self.nodes[node].input(&mut self.out, NODES, Input::Done { op, result });
            }
            Outcome::Booted { process, store } => {
                self.out.say(format_args!("process {process} is up"));
                for node in self.nodes.iter_mut().filter(|node| node.process == process) {
                    node.start(&self.out, store.clone());
                }
                if self.sabotage != Some(Sabotage::NoHintsNoSweeper) {
                    self.sweep(process, store, 0);
                }
            }
            Outcome::Swept { process, store, shard, swept } => {
                self.swept(process, store, shard, swept);
            }
            Outcome::Cleared { process, store, next } => self.sweep(process, store, next),
        }
    }

    /// Looks at one shard after a moment.
    fn sweep(&mut self, process: usize, store: SimStore, shard: u8) {
        let time = self.out.time.clone();
        self.out.tasks.spawn(process, async move {
            time.clock().sleep(ROUND / u32::from(OUTBOX_SHARDS)).await;
            let due = time.wall(Duration::ZERO) - GRACE;
            let swept = match store.execute(Op::Sweep(Sweep { shard, due, limit: SWEEP_KEYS_MAX })).await {
                Ok(OpOutput::Sweep(swept)) => Some(swept),
                _ => None,
            };
            Outcome::Swept { process, store, shard, swept }
        });
    }

    /// Clears what was looked at and hinted, then sweeps on.
    fn swept(&mut self, process: usize, store: SimStore, shard: u8, swept: Option<Swept>) {
        let next = (shard + 1) % OUTBOX_SHARDS;
        let Some(swept) = swept.filter(|swept| !swept.keys.is_empty()) else {
            return self.sweep(process, store, next);
        };
        let next = if swept.has_more { shard } else { next };
        swept.behind.into_iter().for_each(|behind| self.hint(behind));
        self.out.tasks.spawn(process, async move {
            let cleared = store.execute(Op::ClearOutbox(ClearOutbox { keys: swept.keys })).await;
            // What is not cleared is looked at again.
            drop(cleared);
            Outcome::Cleared { process, store, next }
        });
    }

    /// The sweeper's hints are for every loop, and are not lost.
    fn hint(&mut self, behind: Behind) {
        let LogId::Chat(chat) = behind.log else { return };
        let (head, account, device) = (behind.head, behind.account, behind.device);
        self.out.counts.repairs += 1;
        for node in 0..NODES {
            let hint = Hint::Behind { chat, head, account, device };
            self.out.bus.post_surely(self.out.time.instant(), node, hint);
        }
    }

    fn kill_process(&mut self, process: usize) {
        self.alive[process] = false;
        self.out.tasks.kill(process);
        self.nodes.iter_mut().filter(|node| node.process == process).for_each(|node| node.up = None);
        self.out.counts.node_crashes += 1;
        self.out.say(format_args!("process {process} is killed"));
    }

    fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.backend.sim.set_faults(faults);
    }

    fn set_reachable(&mut self, reachable: bool) {
        self.reachable = reachable;
        self.backend.sim.set_reachable(reachable);
    }

    // ---- what happens ----

    fn at(&mut self, at: Instant, action: Action) {
        self.agenda.insert((at, self.planned), action);
        self.planned += 1;
    }

    fn later(&mut self, after: Duration, action: Action) {
        self.at(self.out.time.instant() + after, action);
    }

    fn acts(&mut self) -> Result<(), Violation> {
        let now = self.out.time.instant();
        while self.agenda.first_key_value().is_some_and(|(&(at, _), _)| at <= now) {
            if let Some((_, action)) = self.agenda.pop_first() {
                self.act(action)?;
            }
        }
        for user in 0..USERS {
            if std::mem::take(&mut self.clients[user].replaced) {
                self.later(Duration::from_secs(1), Action::Online { user });
            }
        }
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Say { user, peer, count } => self.say(user, peer, count)?,
            Action::Read { user, peer, part } => self.read(user, peer, part)?,
            Action::Offline { user, down } => {
                self.clients[user].go_offline(&mut self.out)?;
                self.later(down, Action::Online { user });
            }
            Action::Online { user } => self.clients[user].go_online(&mut self.out)?,
            Action::Kill { user, death, down } => {
                self.clients[user].dies = Some(death);
                self.later(down, Action::Online { user });
            }
            Action::Cut { user, down } => {
                let until = self.out.time.instant() + down;
                self.out.say(format_args!("{} is cut off for {} ms", name(user), down.as_millis()));
                self.out.cuts.insert(self.clients[user].address, until);
            }
            Action::CutNode { node, down } => {
                let until = self.out.time.instant() + down;
                self.out.say(format_args!("node {} is cut off for {} ms", node + 1, down.as_millis()));
                self.out.cuts.insert(self.nodes[node].address, until);
            }
            Action::KillNode { node, down, memory_too } => {
                let process = self.nodes[node].process;
                if self.alive[process] {
                    self.kill_process(process);
                    if memory_too {
                        self.out.memory = Default::default();
                    }
                    self.later(down, Action::Boot { process });
                }
            }
            Action::Boot { process } => self.boot(process),
            Action::Weather(weather) => self.out.weather = weather,
            Action::Faults(faults) => self.set_faults(faults),
            Action::CrashStore => {
                self.out.say(format_args!("the store crashes"));
                self.backend.sim.crash();
            }
            Action::Reach(reachable) => {
                self.out.say(format_args!("the store is {}", if reachable { "back" } else { "gone" }));
                self.set_reachable(reachable);
            }
            Action::Bus(conditions) => {
                if self.sabotage != Some(Sabotage::NoHintsNoSweeper) {
                    self.out.bus.conditions = conditions;
                }
            }
        }
        Ok(())
    }

    fn say(&mut self, user: usize, peer: usize, count: usize) -> Result<(), Violation> {
        let (own, other) = (self.account(user), self.account(peer));
        let chat = direct_chat_id(own, other);
        for _ in 0..count {
            let content = self.words(chat, user);
            self.out.say(format_args!("{} writes to {} ({} B)", name(user), name(peer), content.len()));
            self.clients[user].say(&mut self.out, chat, other, content)?;
        }
        Ok(())
    }

    /// A text that is said once; one in thirty is long.
    fn words(&mut self, chat: wire::ChatId, user: usize) -> Bytes {
        let length =
            if self.out.rng.random_ratio(1, 30) { self.out.rng.random_range(1_000..30_000) } else { 20 };
        let text = format!("{} {} {}", name(user), self.out.counts.sent, "la".repeat(length / 2));
        let sent_at_us = self.out.time.since_start().as_micros() as u64;
        seal::seal(chat, &Content::Text(Text { text, sent_at_us, reply_to: None }))
    }

    fn read(&mut self, user: usize, peer: usize, part: f64) -> Result<(), Violation> {
        let chat = direct_chat_id(self.account(user), self.account(peer));
        let have = self.clients[user].disk.have(chat).0;
        let seq = wire::Seq((have as f64 * part).ceil() as u64);
        self.clients[user].read(&mut self.out, chat, seq)
    }

    fn read_all(&mut self, user: usize) -> Result<(), Violation> {
        for peer in (0..USERS).filter(|&peer| peer != user) {
            self.read(user, peer, 1.0)?;
        }
        Ok(())
    }
}
