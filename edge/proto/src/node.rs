//! The node: it owns the connections of one loop, hands each input to whom it concerns, and each finished effect to
//! what was waiting for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mutation::Mutation;
use store::ephemeral::{EphemeralOutput, Route};
use store::op::OpOutput;
use wire::{AccountId, CloseCode, DeviceId, ErrorCode, Event, LogId};

use crate::command::{append, mismatch, taken};
use crate::conn::{Conn, Stage, Up, step_call};
use crate::counters::{Counters, Timing};
use crate::cx::{Cx, Pending};
use crate::fanout::Hint;
use crate::heads::SPREAD;
use crate::io::{EffectError, EffectOutput, Input, LinkId, Now, Output, StreamId};
use crate::limits::Limits;
use crate::timers::Timer;
use crate::token::Keys;
use crate::{early, presence, session};

/// What a node is made from.
pub struct NodeConfig {
    /// Its limits.
    pub limits: Limits,
    /// Its keys.
    pub keys: Arc<Keys>,
    /// Its number, its own among all loops of all nodes: routes name it.
    pub node: u64,
    /// What the SMS calls us.
    pub app_name: String,
    /// What clients call it: the names that the proofs of early data may be made for, as in its certificate.
    pub names: Vec<String>,
    /// Seed of its randomness: from the operating system, or from a simulation.
    pub seed: [u8; 32],
}

/// One loop's sessions and their decisions. See the [crate] documentation for its two doors.
pub struct Node {
    cx: Cx,
    conns: BTreeMap<LinkId, Conn>,
}

/// What a node holds at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Connections.
    pub connections: usize,
    /// Accounts with a device session.
    pub accounts: usize,
    /// Effects in work.
    pub effects: usize,
}

impl Node {
    /// A node without connections.
    pub fn new(config: NodeConfig, now: Now) -> Node {
        Node { cx: Cx::new(config, now), conns: BTreeMap::new() }
    }

    /// Takes one input. Drain [`Node::poll_output`] after it.
    pub fn handle_input(&mut self, input: Input, now: Now) {
        self.cx.now = now;
        self.dispatch(input);
        self.apply_hints();
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.cx.now = now;
        while let Some(timer) = self.cx.timers.pop_due(now.instant) {
            self.fire(timer);
            self.apply_hints();
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.cx.poll()
    }

    /// When [`Node::handle_timeout`] is next to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.cx.timers.next()
    }

    /// What it holds.
    pub fn stats(&self) -> Stats {
        let (connections, accounts) = (self.conns.len(), self.cx.accounts.len());
        Stats { connections, accounts, effects: self.cx.effects() }
    }

    /// What it has done.
    pub fn counters(&self) -> &Counters {
        &self.cx.counters
    }

    /// Takes what was timed since the last call; what is not taken is dropped past a bound.
    pub fn take_timings(&mut self) -> impl Iterator<Item = Timing> {
        self.cx.timings.take()
    }

    fn dispatch(&mut self, input: Input) {
        let cx = &mut self.cx;
        match input {
            Input::Early { link, remote } => self.begun(Conn::new(link, remote)),
            Input::Connected { link, remote, exporter, early } => {
                if !self.conns.contains_key(&link) {
                    self.begun(Conn::new(link, remote));
                }
                self.with(link, |conn, cx| early::completed(cx, conn, exporter, early));
            }
            Input::Closed { link } => self.closed(link),
            Input::Done { op, result } => {
                if let Some(pending) = cx.finished(op) {
                    self.done(pending, result);
                    self.take_turns();
                }
            }
            Input::Hint(hint) => {
                cx.counters.hints_received += 1;
                self.apply(&hint, None);
            }
            Input::HintsLost => self.hints_lost(),
            Input::Drain => self.drain(),
            Input::Opened { link, stream } => self.with(link, |conn, cx| conn.on_opened(cx, stream)),
            Input::Frame { link, stream, body } => {
                self.with(link, |conn, cx| conn.on_frame(cx, stream, &body))
            }
            Input::Finished { link, stream } => self.with(link, |conn, cx| conn.on_finished(cx, stream)),
            Input::Torn { link, stream } => self.with(link, |conn, cx| conn.on_torn(cx, stream)),
            Input::Reset { link, stream } => self.with(link, |conn, cx| conn.on_reset(cx, stream)),
            Input::Drained { link, stream } => self.with(link, |conn, cx| conn.drained(cx, stream)),
            Input::Delivered { link, stream } => self.with(link, |conn, cx| conn.on_delivered(cx, stream)),
            Input::DownOpened { link, log, stream } => {
                self.with(link, |conn, cx| conn.down_opened(cx, log, stream))
            }
            Input::StreamsAvailable { link } => self.with(link, |conn, cx| conn.streams_available(cx)),
        }
    }

    fn with(&mut self, link: LinkId, f: impl FnOnce(&mut Conn, &mut Cx)) {
        if let Some(conn) = self.conns.get_mut(&link) {
            f(conn, &mut self.cx);
        }
    }

    fn begun(&mut self, conn: Conn) {
        let link = conn.link;
        if self.conns.len() >= self.cx.limits.connections {
            return self.cx.output(Output::Close { link, code: CloseCode::Refused });
        }
        self.cx.after(Duration::from_secs(self.cx.limits.hello_timeout_s.into()), Timer::Hello(link));
        self.conns.insert(link, conn);
    }

    fn closed(&mut self, link: LinkId) {
        let Some(conn) = self.conns.remove(&link) else { return };
        if let Stage::Opening(session) | Stage::Active(session) = conn.stage {
            session::ended(&mut self.cx, &session, link);
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Moves(log) => {
                self.cx.flush_moves(log);
                if self.cx.moves.has(log) {
                    self.cx.after(Duration::from_millis(50), Timer::Moves(log));
                }
            }
            Timer::Hello(link) => self.with(link, |conn, cx| {
                if matches!(conn.stage, Stage::Greeting) {
                    cx.output(Output::Close { link, code: CloseCode::Refused });
                }
            }),
            Timer::Stale(link) => self.with(link, |conn, cx| session::stale(cx, conn)),
            Timer::Offline(account, at) => presence::look(&mut self.cx, account, at),
            Timer::Recheck(link) => self.with(link, |conn, cx| session::recheck(cx, conn)),
            Timer::Commits(link) => self.with(link, |conn, cx| conn.end_slow_commits(cx)),
            Timer::Heads(link) => self.with(link, Conn::read_heads),
            Timer::Log(link, log) => self.with(link, |conn, cx| conn.log_timer(cx, log)),
            Timer::Goodbye(link) => {
                self.with(link, |conn, cx| conn.goodbye(cx, ErrorCode::ShuttingDown.refuse()))
            }
            Timer::Close(link) => self.with(link, |conn, cx| conn.close(cx)),
        }
    }

    /// Sessions look again, one after another.
    fn hints_lost(&mut self) {
        if mutation::on(Mutation::LostHintsIgnored) {
            return;
        }
        let count = u32::try_from(self.conns.len()).unwrap_or(u32::MAX).max(1);
        for (place, conn) in (0u32..).zip(self.conns.values_mut()) {
            conn.lose_hints(&mut self.cx, SPREAD * place / count);
        }
    }

    /// Reads that waited begin as far as there is room again.
    fn take_turns(&mut self) {
        while self.cx.has_room_for_read()
            && let Some(link) = self.cx.turns.call()
        {
            self.with(link, |conn, cx| conn.take_turn(cx));
            self.cx.turns.done();
        }
    }

    /// Tells every client to move, spread over the configured time.
    fn drain(&mut self) {
        self.cx.draining = true;
        let spread = Duration::from_millis(self.cx.limits.drain_spread_ms.into());
        let count = u32::try_from(self.conns.len()).unwrap_or(u32::MAX).max(1);
        for (place, &link) in (0u32..).zip(self.conns.keys()) {
            self.cx.after(spread * place / count, Timer::Goodbye(link));
        }
    }

    fn done(&mut self, pending: Pending, result: Result<EffectOutput, EffectError>) {
        match pending {
            Pending::Nothing => {}
            Pending::Anonymous { link } => {
                let limited = match &result {
                    Ok(output) => taken(output).err(),
                    Err(error) => Some((*error).into()),
                };
                self.with(link, |conn, cx| session::anonymous(cx, conn, limited));
            }
            Pending::EarlyCounted { link } => {
                let counted = result.map_err(Into::into).and_then(|output| taken(&output));
                self.with(link, |conn, cx| early::counted(cx, conn, counted));
            }
            Pending::EarlyDevice { link } => {
                let device = result.map(checked);
                self.with(link, |conn, cx| early::admitted(cx, conn, device));
            }
            Pending::Members { link, stream, typing } => {
                let members = result.map(|output| match output {
                    EffectOutput::Store(OpOutput::Members(members)) => members,
                    other => mismatch("Members", &other),
                });
                if let Some((up, cx)) = self.chat_up(link, stream) {
                    up.members_read(cx, typing, members);
                }
            }
            Pending::Online { account, at } => match result {
                Ok(EffectOutput::Ephemeral(EphemeralOutput::IsOnline(online))) => {
                    presence::looked(&mut self.cx, account, at, online);
                }
                Ok(other) => mismatch("IsOnline", &other),
                Err(error) => tracing::warn!(%error, "nobody knows who is online"),
            },
            Pending::Route { link } => self.routed(link, result),
            Pending::Expired { link } => {
                let device = result.map(checked);
                self.with(link, |conn, cx| session::expired(cx, conn, device));
            }
            Pending::Recheck { link } => {
                let device = result.map(checked);
                self.with(link, |conn, cx| session::rechecked(cx, conn, device));
            }
            Pending::Session { link } => {
                let state = result.map(|output| match output {
                    EffectOutput::Store(OpOutput::OpenSession(state)) => state,
                    other => mismatch("OpenSession", &other),
                });
                self.with(link, |conn, cx| session::opened(cx, conn, state));
            }
            Pending::Heads { link } => {
                let state = result.map(|output| match output {
                    EffectOutput::Store(OpOutput::OpenSession(state)) => state,
                    other => mismatch("OpenSession", &other),
                });
                self.with(link, |conn, cx| conn.heads_read(cx, state));
            }
            Pending::Call { link, stream, caller, call } => {
                let step = call.resume(&mut self.cx, &caller, result);
                step_call(&mut self.cx, self.conns.get_mut(&link), (link, stream), *caller, step);
            }
            said @ (Pending::AppendCounted { .. } | Pending::Append { .. } | Pending::Move(_)) => {
                self.said(said, result)
            }
            read => self.read(read, result),
        }
    }

    /// Effects of what a device said in a chat.
    fn said(&mut self, pending: Pending, result: Result<EffectOutput, EffectError>) {
        match pending {
            Pending::AppendCounted { link, stream, account, messages } => {
                let taken = result.map_err(Into::into).and_then(|output| taken(&output));
                match self.chat_up(link, stream) {
                    Some((up, cx)) => up.counted(cx, link, stream, messages, taken),
                    None if taken.is_ok() => append::refund(&mut self.cx, account, messages.len()),
                    None => {}
                }
            }
            Pending::Append { link, stream, account, chat, messages } => {
                let results = result.map(|output| match output {
                    EffectOutput::Store(OpOutput::Append(results)) => results,
                    other => mismatch("Append", &other),
                });
                let count = messages.len();
                let mut own = None;
                if let Some((up, cx)) = self.chat_up(link, stream) {
                    let is_over = up.committed(cx, link, stream, messages, &results);
                    own = self.conns.get_mut(&link);
                    if let (Some(conn), true) = (&mut own, is_over) {
                        conn.streams.remove(&stream);
                    }
                }
                match &results {
                    Ok(results) => append::fan_out(&mut self.cx, own, account, chat, results),
                    Err(error) => append::not_committed(&mut self.cx, account, count, *error),
                }
            }
            Pending::Move(gathered) => {
                let moved = result.map(|output| match output {
                    EffectOutput::Store(OpOutput::MoveCursor(moved)) => moved,
                    other => mismatch("MoveCursor", &other),
                });
                let is_connected = self.conns.contains_key(&gathered.link);
                append::moved(&mut self.cx, is_connected, gathered, moved);
            }
            other => unreachable!("{other:?} is nothing said"),
        }
    }

    /// Reads for delivery.
    fn read(&mut self, pending: Pending, result: Result<EffectOutput, EffectError>) {
        match pending {
            Pending::Tail { link, log } => {
                let tailed = result.map(|output| match output {
                    EffectOutput::Store(OpOutput::Tail(tailed)) => tailed,
                    other => mismatch("Tail", &other),
                });
                self.with(link, |conn, cx| conn.tailed(cx, log, tailed));
            }
            Pending::OpenChat { link, log } => {
                let state = result.map(|output| match output {
                    EffectOutput::Store(OpOutput::OpenChat(state)) => state,
                    other => mismatch("OpenChat", &other),
                });
                self.with(link, |conn, cx| conn.chat_opened(cx, log, state));
            }
            Pending::Cursors { link, log } => {
                let cursors = result.map(|output| match output {
                    EffectOutput::Store(OpOutput::MemberCursors(cursors)) => cursors,
                    other => mismatch("MemberCursors", &other),
                });
                self.with(link, |conn, cx| conn.cursors_read(cx, log, cursors));
            }
            other => unreachable!("{other:?} is no read"),
        }
    }

    fn chat_up(&mut self, link: LinkId, stream: StreamId) -> Option<(&mut append::ChatUp, &mut Cx)> {
        match self.conns.get_mut(&link)?.streams.get_mut(&stream)? {
            Up::Chat(up) => Some((up, &mut self.cx)),
            _ => None,
        }
    }

    /// A route is registered; whom it replaced is told.
    fn routed(&mut self, link: LinkId, result: Result<EffectOutput, EffectError>) {
        match result {
            Ok(EffectOutput::Ephemeral(EphemeralOutput::PutRoute(replaced))) => {
                if let Some(route) = replaced {
                    self.cx.publish(Hint::Replaced(route));
                }
            }
            Ok(other) => mismatch("PutRoute", &other),
            // A route may be lost: hints from here still find the session, and the sweeper repairs the rest.
            Err(error) => tracing::warn!(link = link.0, %error, "route not registered"),
        }
        self.with(link, |conn, cx| session::routed(cx, conn));
    }

    fn apply_hints(&mut self) {
        while let Some((hint, knows)) = self.cx.hints.pop_front() {
            self.apply(&hint, knows);
        }
    }

    /// Gives a hint to the sessions it concerns, and an entry not to the one that has it.
    fn apply(&mut self, hint: &Hint, has_entry: Option<LinkId>) {
        match hint {
            Hint::Entry { .. } => self.apply_entry(hint, has_entry),
            Hint::Inbox { account, device, seq, at, frame } => {
                self.for_device(*account, *device, |conn, cx| {
                    conn.hint_entry(cx, LogId::Device(*device), *seq, *at, Some(frame));
                })
            }
            Hint::Cursor { chat, cursor, except, accounts } => {
                self.for_accounts(accounts, |conn, cx| {
                    conn.hint_cursor(cx, LogId::Chat(*chat), *cursor, *except)
                });
            }
            Hint::Typing { chat, member, typing, except, accounts } => {
                self.for_accounts(accounts, |conn, cx| {
                    conn.hint_typing(cx, *chat, *member, *typing, *except)
                });
            }
            Hint::Behind { log, head, account, device } => self.for_device(*account, *device, |conn, cx| {
                let at = cx.now.wall;
                conn.hint_entry(cx, *log, *head, at, None);
            }),
            Hint::DeviceAdded { account, device, name, at } => self.for_accounts(&[*account], |conn, cx| {
                if conn.session().is_some_and(|session| session.device != *device) {
                    conn.say(cx, &Event::DeviceAdded { device: *device, name: name.to_string(), at: *at });
                }
            }),
            Hint::DeviceEnded { account, device } => self.for_device(*account, *device, |conn, cx| {
                conn.goodbye(cx, ErrorCode::TokenRevoked.refuse());
            }),
            Hint::Replaced(route) => self.replaced(route),
        }
    }

    fn apply_entry(&mut self, hint: &Hint, has_entry: Option<LinkId>) {
        let Hint::Entry { chat, seq, at, frame, accounts, ended } = hint else { return };
        let log = LogId::Chat(*chat);
        self.for_accounts(accounts, |conn, cx| {
            if !ended.is_empty() {
                conn.members_changed(Some(log));
            }
            let account = conn.hinted_session().map(|session| session.account);
            let has_gone = account.is_some_and(|account| ended.contains(&account));
            match frame {
                _ if has_entry == Some(conn.link) => {}
                Some(frame) if !has_gone => conn.hint_entry(cx, log, *seq, *at, Some(frame)),
                _ => conn.hint_to_read(cx, log, *seq, *at),
            }
        });
    }

    fn replaced(&mut self, route: &Route) {
        if route.node == self.cx.node {
            self.with(LinkId(route.connection), |conn, cx| {
                if conn.hinted_session().is_some_and(|session| session.device == route.device) {
                    conn.goodbye(cx, ErrorCode::SessionReplaced.refuse());
                }
            });
        }
    }

    fn for_device(&mut self, account: AccountId, device: DeviceId, mut f: impl FnMut(&mut Conn, &mut Cx)) {
        self.for_accounts(&[account], |conn, cx| {
            if conn.hinted_session().is_some_and(|session| session.device == device) {
                f(conn, cx);
            }
        });
    }

    fn for_accounts(&mut self, accounts: &[AccountId], mut f: impl FnMut(&mut Conn, &mut Cx)) {
        for account in accounts {
            let links = self.cx.accounts.get(account).cloned().unwrap_or_default();
            for link in links {
                self.with(link, &mut f);
            }
        }
    }
}

fn checked(output: EffectOutput) -> Result<(), store::op::DeviceError> {
    match output {
        EffectOutput::Store(OpOutput::CheckDevice(checked)) => checked,
        other => mismatch("CheckDevice", &other),
    }
}
