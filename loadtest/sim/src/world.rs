//! The whole of it: three nodes, four people, and time that passes only when nothing else is left to do.

mod acts;
mod groups;
mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use loadtest_workload::Phone;
use store::keys::direct_chat_id;
use store::sim::Faults;
use wire_link::testing::{Conditions, EarlyPolicy, PlainSessions};

use crate::check::Window;
use crate::check::{Checker, Violation};
use crate::client::{SimClient, name};
use crate::disk::Disk;
use crate::node::{NodePlan, SimNode};
use crate::outside::{BusConditions, Heard, Outside};
use crate::plan::{Action, Kind, Plan};
use crate::tamper::Tampered;
use crate::tasks::Turn;
use crate::{Options, Sabotage};

use self::processes::Process;

/// Nodes, each with several loops.
pub(crate) const NODES: usize = 3;

/// What clients call the nodes.
pub(crate) const NAME: &str = "localhost";

/// People; some have a second phone.
pub(crate) const USERS: usize = 4;

/// How often everything is looked at from the beginning.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(2);

/// How often it is looked at whether anybody waits too long.
const LOOK_AT_PHONES_EVERY: Duration = Duration::from_millis(200);

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
    /// Processes that run or are starting.
    processes: Vec<Option<Process>>,
    agenda: BTreeMap<(Instant, u64), Action>,
    planned: u64,
    looked_back: Duration,
    looked_at_phones: Duration,
    kind: Kind,
    sabotage: Option<Sabotage>,
    seed: u64,
}

impl World {
    pub(crate) fn new(seed: u64, plan: &Plan, options: &Options) -> World {
        let mut out = Outside::new(seed, Checker::default());
        out.timeline.whole = options.whole_timeline;
        let sabotage = options.sabotage;
        let sessions = PlainSessions::new(EarlyPolicy::Accept);
        let node = |index| {
            let own = || PlainSessions::new(EarlyPolicy::Accept);
            let plan = NodePlan {
                process: if plan.one_process { 0 } else { index },
                access_token_s: plan.access_token_s,
                hints_max: plan.hints_max,
                effects_max: plan.effects_max,
                sessions: if plan.one_memory { sessions.clone() } else { own() },
            };
            SimNode::new(seed, index, plan)
        };
        let only_moves = plan.kind == Kind::OnlyMoves;
        let client = |phone: Phone| {
            let is_late = plan.late_phones && phone.number >= USERS;
            let mut client = SimClient::new(seed, phone, only_moves, sabotage);
            client.is_late = is_late;
            client
        };
        World {
            nodes: (0..NODES).map(node).collect(),
            clients: plan.shape.phones().map(client).collect(),
            backend: Tampered::new(seed ^ 0x7374_6f72, out.time.clock(), sabotage),
            out,
            faults: Faults::NONE,
            reachable: true,
            processes: (0..NODES).map(|_| None).collect(),
            agenda: BTreeMap::new(),
            planned: 0,
            looked_back: Duration::ZERO,
            looked_at_phones: Duration::ZERO,
            kind: plan.kind,
            sabotage,
            seed,
        }
    }

    // ---- phases ----

    /// Starts the nodes and registers every phone, without faults.
    pub(crate) fn open(&mut self, plan: &Plan) -> Result<(), Violation> {
        let processes: BTreeSet<usize> = self.nodes.iter().map(|node| node.common.plan.process).collect();
        for process in processes {
            self.boot(process);
        }
        for user in (0..self.clients.len()).filter(|&user| user < USERS || !plan.late_phones) {
            self.clients[user].go_online(&mut self.out)?;
            let end = self.out.time.instant() + Duration::from_secs(30);
            if !self.run_until(end, |world| world.clients[user].is_ready())? {
                return Err(Violation::NotRegistered { user });
            }
        }
        self.out.counts.second_phones += (plan.shape.phones().count() - USERS) as u64;
        for a in 0..USERS {
            for b in a + 1..USERS {
                let chat = direct_chat_id(self.account(a), self.account(b));
                let of = [(a, self.account(a)), (b, self.account(b))];
                self.out.checker.may_chat(chat, of);
            }
        }
        Ok(())
    }

    /// Everything in the plan happens.
    pub(crate) fn storm(&mut self, plan: &Plan, storm: Duration) -> Result<(), Violation> {
        let start = self.out.time.instant();
        for (at, action) in &plan.actions {
            self.at(start + *at, action.clone());
        }
        self.run_until(start + storm, |_| false).map(drop)
    }

    /// Faults are over and everybody is there. Within `calm` everybody must have everything, with nobody doing anything
    /// that would help, and see every tick; then everybody reads, and the server and everybody's ticks must show that
    /// too. Where only the sweeper is to help, the bus stays cut until all have everything.
    pub(crate) fn calm(&mut self, plan: &Plan, calm: Duration) -> Result<(), Violation> {
        self.out.say(format_args!("calm"));
        self.agenda.clear();
        self.mend()?;
        self.look_for_devices()?;
        if plan.kind == Kind::Steady {
            self.converge(calm, false)?;
        }
        self.out.bus.set(self.out.time.instant(), BusConditions::GOOD);
        self.converge(calm, false)?;
        self.show_ticks(calm)?;
        for phone in 0..self.clients.len() {
            self.read_all(phone)?;
        }
        self.converge(calm, true)?;
        self.show_ticks(calm)?;
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

    /// Lets time pass until everybody's ticks are shown as they are.
    fn show_ticks(&mut self, calm: Duration) -> Result<(), Violation> {
        let end = self.out.time.instant() + calm;
        loop {
            // A cursor that is told once more may still move.
            self.look()?;
            let Some(missing) = self.out.checker.stale_ticks(&self.disks()) else { return Ok(()) };
            if self.out.time.instant() >= end {
                return Err(Violation::NotConverged { missing });
            }
            let soon = self.out.time.instant() + Duration::from_millis(200);
            self.run_until(soon, |_| false)?;
        }
    }

    /// Everybody connects anew, and nothing is otherwise than before.
    fn reconnect_all(&mut self, calm: Duration) -> Result<(), Violation> {
        for client in &mut self.clients {
            client.only_moves = false;
            client.go_offline(&mut self.out)?;
        }
        let soon = self.out.time.instant() + Duration::from_millis(100);
        self.run_until(soon, |_| false)?;
        for client in &mut self.clients {
            client.go_online(&mut self.out)?;
        }
        let end = self.out.time.instant() + calm;
        if !self.run_until(end, |world| world.unsettled(true).is_none())? {
            let missing = self.unsettled(true).unwrap_or_default();
            return Err(Violation::NotConverged { missing });
        }
        self.converge(calm, true)?;
        self.show_ticks(calm)?;
        self.out.checker.look_back(&self.window())
    }

    /// That an account has another phone is told to those who are reached at that moment. Those who were not find it with
    /// their next connection, and bring it into their chats: so people with two phones connect the first one anew.
    fn look_for_devices(&mut self) -> Result<(), Violation> {
        let with_two = self.clients.len() - USERS;
        let soon = self.out.time.instant() + Duration::from_secs(61);
        if with_two == 0 || self.kind == Kind::OnlyMoves {
            return Ok(());
        }
        self.run_until(soon, |_| false)?;
        for client in &mut self.clients[..with_two] {
            client.go_offline(&mut self.out)?;
            client.go_online(&mut self.out)?;
        }
        Ok(())
    }

    fn mend(&mut self) -> Result<(), Violation> {
        self.out.weather = Conditions::default();
        self.out.cuts.clear();
        self.set_faults(Faults::NONE);
        self.set_reachable(true);
        for process in 0..NODES {
            self.boot(process);
        }
        self.nodes.iter_mut().for_each(SimNode::unstall);
        for client in &mut self.clients {
            client.dies = None;
            client.dawdles_until = None;
            client.set_foreground(&mut self.out, true)?;
            client.go_online(&mut self.out)?;
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
                any |= node.turn(&mut self.out);
            }
            for client in &mut self.clients {
                any |= client.turn(&mut self.out)?;
            }
            if let Some(violation) = self.out.broken.take() {
                return Err(violation);
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
                node.datagram(&mut self.out, datagram.from, &datagram.bytes);
            } else if let Some(client) = self.clients.iter_mut().find(|client| client.address == datagram.to)
            {
                client.datagram(&self.out, datagram.from, &datagram.bytes);
            }
        }
        for (to, heard) in self.out.bus.arrived(now) {
            match heard {
                Heard::Hint(hint) => self.nodes[to].hear(&hint, &mut self.out),
                Heard::Gap => self.nodes[to].hints_lost(),
            }
        }
    }

    // ---- looking ----

    fn window(&self) -> Window<'_> {
        Window {
            sim: &self.backend.sim,
            faults: self.faults,
            reachable: self.reachable,
            at: self.out.time.since_start(),
        }
    }

    fn disks(&self) -> Vec<&Disk> {
        self.clients.iter().map(|client| &client.disk).collect()
    }

    fn look(&mut self) -> Result<(), Violation> {
        let window = Window {
            sim: &self.backend.sim,
            faults: self.faults,
            reachable: self.reachable,
            at: self.out.time.since_start(),
        };
        let disks: Vec<&Disk> = self.clients.iter().map(|client| &client.disk).collect();
        self.out.checker.look(&window, &disks)?;
        let now = self.out.time.since_start();
        if now >= self.looked_back + LOOK_BACK_EVERY {
            self.looked_back = now;
            self.out.checker.look_back(&window)?;
        }
        if self.kind == Kind::Gentle && now >= self.looked_at_phones + LOOK_AT_PHONES_EVERY {
            self.looked_at_phones = now;
            let since: Vec<_> = self.clients.iter().map(|client| client.ready_since).collect();
            self.out.checker.prompt(&disks, &since, now)?;
        }
        Ok(())
    }

    fn account(&self, person: usize) -> wire::AccountId {
        self.clients[person].identity().expect("everybody registers before the storm").0
    }

    // ---- the store ----

    fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.backend.sim.set_faults(faults);
    }

    fn set_reachable(&mut self, reachable: bool) {
        self.reachable = reachable;
        self.backend.sim.set_reachable(reachable);
    }
}
