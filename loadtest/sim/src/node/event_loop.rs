//! One loop of a node: a real endpoint and a real [`Node`], driven in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use edge_proto::quic::{self, Left};
use edge_proto::{
    Effect, EffectError, EffectOutput, Hint, Input, KeyMaterial, Keys, Limits, LinkId, Node, NodeConfig,
    OpId, Output, Rates, StreamId, TokenKey,
};
use store::StoreError;
use store::ephemeral::{Ephemeral, EphemeralOp};
use store::op::Op;
use wire::{ErrorCode, Secret};
use wire_link::testing::{plain_server_sharing, secrets};
use wire_link::{CidConfig, Config, Endpoint, Event, ServerConfig};

use super::unproved::Unproved;
use super::{Common, DATAGRAMS_MAX, HANDED_MAX, NodePlan, offer};
use crate::outside::{Outcome, Outside, Stores};
use crate::tasks::at_once;

/// Effects that never wait for room: routes that end, and tokens given back for as many messages as a stream may have
/// unanswered.
const EXEMPT_MAX: usize = 128;

/// Entries that wait for one stream at most: a burst, and one that a hint brought.
const BURST_MAX: usize = 33;

/// A datagram on its way between sockets and loops.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) from: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// A loop that runs.
pub(super) struct SimLoop {
    no: usize,
    endpoint: Endpoint,
    node: Node,
    stores: Stores,
    /// Until when the operating system runs something else.
    pub(super) stalled_until: Option<Instant>,
    /// What the kernel has brought, and what other loops have.
    socket: VecDeque<Handed>,
    handed: VecDeque<Handed>,
    hints: VecDeque<Hint>,
    pub(super) hints_lost: bool,
    /// Entries sent on each stream since its link last had room.
    bursts: BTreeMap<(LinkId, StreamId), usize>,
    /// What is done and not yet told to the node.
    pub(super) done: VecDeque<Input>,
    /// What belongs to other loops.
    pub(super) to_hand_over: Vec<(usize, Handed)>,
    unproved: Unproved,
    /// Effects that follow from what such a link said.
    early_ops: BTreeMap<OpId, LinkId>,
}

impl SimLoop {
    pub(super) fn new(common: &Common, starts: u64, no: usize, out: &Outside, stores: Stores) -> SimLoop {
        let own = common.seed ^ (common.index as u64 + 1) << 48 ^ (no as u64) << 44 ^ starts << 32;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&own.to_le_bytes());
        let config = NodeConfig {
            limits: limits(&common.plan),
            keys: keys(),
            node: (common.index as u64 + 1) << 8 | no as u64,
            app_name: "Godwit".into(),
            names: vec![crate::world::NAME.into()],
            seed,
        };
        let server = ServerConfig::new(plain_server_sharing(Arc::clone(&common.plan.sessions)));
        let secrets = secrets(own);
        let link = Config {
            cids: CidConfig { loop_no: no as u8, key: secrets.cid_key },
            epoch: Some(out.time.epoch()),
            ..Config::server(secrets)
        };
        SimLoop {
            no,
            endpoint: Endpoint::server(link, server, out.time.instant()),
            node: Node::new(config, common.now(out)),
            stores,
            stalled_until: None,
            socket: VecDeque::new(),
            handed: VecDeque::new(),
            hints: VecDeque::new(),
            hints_lost: false,
            bursts: BTreeMap::new(),
            done: VecDeque::new(),
            to_hand_over: Vec::new(),
            unproved: Unproved::default(),
            early_ops: BTreeMap::new(),
        }
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        if self.stalled_until.is_some() {
            return self.stalled_until;
        }
        [self.endpoint.poll_timeout(), self.node.poll_timeout()].into_iter().flatten().min()
    }

    /// The kernel brings a datagram.
    pub(super) fn receive(&mut self, datagram: Handed, out: &mut Outside) {
        if !offer(&mut self.socket, DATAGRAMS_MAX, datagram) {
            out.counts.handover_lost += 1;
        }
    }

    /// Another loop brings one.
    pub(super) fn hand(&mut self, datagram: Handed, out: &mut Outside) {
        out.counts.handed_over += 1;
        if !offer(&mut self.handed, HANDED_MAX, datagram) {
            out.counts.handover_lost += 1;
        }
    }

    /// Something is said once: if there is no room for it, it is lost, and the loop knows.
    pub(super) fn hear(&mut self, hint: &Hint, max: usize, out: &mut Outside) {
        self.hints_lost |= !self.hint(hint, max, out);
    }

    /// False if there is no room.
    pub(super) fn hint(&mut self, hint: &Hint, max: usize, out: &mut Outside) -> bool {
        let taken = offer(&mut self.hints, max, hint.clone());
        out.counts.hints_dropped += u64::from(!taken);
        taken
    }

    // ---- a turn ----

    /// Does all that can be done now; true if there was something.
    pub(super) fn turn(&mut self, common: &mut Common, address: SocketAddr, out: &mut Outside) -> bool {
        let now = out.time.instant();
        if self.stalled_until.is_some_and(|until| now < until) {
            return false;
        }
        let mut any = self.stalled_until.take().is_some();
        any |= self.datagrams(common, now);
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now);
            any = true;
        }
        if self.node.poll_timeout().is_some_and(|at| at <= now) {
            self.node.handle_timeout(common.now(out));
            self.perform(common, None, out);
            any = true;
        }
        any |= self.events(common, out);
        if std::mem::take(&mut self.hints_lost) {
            out.counts.looked_again += 1;
            self.input(common, Input::HintsLost, None, out);
            any = true;
        }
        while let Some(hint) = self.hints.pop_front() {
            self.input(common, Input::Hint(hint), None, out);
            any = true;
        }
        while let Some(done) = self.done.pop_front() {
            let of = if let Input::Done { op, .. } = &done { self.early_ops.remove(op) } else { None };
            self.input(common, done, of, out);
            any = true;
        }
        let effects = self.node.stats().effects;
        if effects > common.plan.effects_max + EXEMPT_MAX {
            out.fail(crate::Violation::Overload { effects });
        }
        out.flush(address, &mut self.endpoint) || any
    }

    fn datagrams(&mut self, common: &Common, now: Instant) -> bool {
        let any = !self.handed.is_empty() || !self.socket.is_empty();
        while let Some(datagram) = self.handed.pop_front() {
            self.handle(now, &datagram);
        }
        while let Some(datagram) = self.socket.pop_front() {
            let owner = common.steering.owner(&datagram.bytes).map(usize::from);
            match owner.filter(|&owner| owner != self.no) {
                Some(owner) => self.to_hand_over.push((owner, datagram)),
                None => self.handle(now, &datagram),
            }
        }
        any
    }

    fn handle(&mut self, now: Instant, datagram: &Handed) {
        let bytes = BytesMut::from(&datagram.bytes[..]);
        self.endpoint.handle_datagram(now, datagram.from, None, None, bytes);
    }

    fn events(&mut self, common: &mut Common, out: &mut Outside) -> bool {
        let mut any = false;
        while let Some((link, event)) = self.endpoint.poll_event() {
            any = true;
            out.counts.migrations += u64::from(matches!(event, Event::Moved { .. }));
            let link = LinkId(link.0);
            self.unproved.see(link, &event, out);
            if let Some(input) = quic::input_of(wire_link::LinkId(link.0), event) {
                self.input(common, input, Some(link), out);
            }
        }
        any
    }

    /// Gives the node one input, perhaps of a link, and performs what follows from it.
    fn input(&mut self, common: &mut Common, input: Input, of: Option<LinkId>, out: &mut Outside) {
        let typed = matches!(&input, Input::Frame { body, .. }
            if matches!(wire::Request::decode(body), Ok(wire::Request::Typing { .. })));
        if let Input::Drained { link, stream } | Input::Reset { link, stream } = &input {
            self.bursts.remove(&(*link, *stream));
        }
        if let Input::Closed { link } = &input {
            self.bursts.retain(|(of, _), _| of != link);
        }
        self.node.handle_input(input, common.now(out));
        if typed {
            out.counts.typed += 1;
        }
        self.perform(common, of.map(|link| (link, typed)), out);
    }

    // ---- what follows from it ----

    /// Of what a session owes, no more waits for a stream than one burst.
    fn judge_burst(&mut self, output: &Output, out: &mut Outside) {
        let Output::Send { link, stream, frame } = output else { return };
        if !matches!(wire::Event::decode(&wire::frame::body_of(frame)), Ok(wire::Event::Entry(_))) {
            return;
        }
        // Answers to requests are no deliveries; chats' down streams are the server's.
        if stream.0 & 1 == 0 {
            return;
        }
        let entries = self.bursts.entry((*link, *stream)).or_default();
        *entries += 1;
        if *entries > BURST_MAX {
            out.fail(crate::Violation::Unbounded { entries: *entries });
        }
    }

    /// `of`: the link whose input it follows from, and whether somebody typed.
    fn perform(&mut self, common: &mut Common, of: Option<(LinkId, bool)>, out: &mut Outside) {
        let now = common.now(out);
        while let Some(output) = self.node.poll_output() {
            self.unproved.judge(&output, out);
            self.judge_burst(&output, out);
            if let (Some((_, true)), Output::Perform { effect: Effect::Store(op), .. }) = (of, &output)
                && writes(op)
            {
                out.fail(crate::Violation::TypingStored);
            }
            match quic::perform(&mut self.endpoint, output) {
                Left::Nothing => {}
                Left::Input(input) => self.node.handle_input(input, now),
                Left::Publish(hint) => common.published.push(hint),
                Left::Effect(op, effect) => {
                    let early = of.map(|(link, _)| link).filter(|&link| self.unproved.contains(link));
                    self.early_ops.extend(early.map(|link| (op, link)));
                    self.start(common, op, effect, early.is_some(), out);
                }
            }
        }
    }

    fn start(&mut self, common: &mut Common, op: OpId, effect: Effect, early: bool, out: &mut Outside) {
        let result = match effect {
            Effect::Store(store_op) => return self.start_store(common, op, store_op, early, out),
            Effect::Ephemeral(ephemeral_op) => {
                if let EphemeralOp::PutRoute(route) = &ephemeral_op {
                    common.registry.add(route.account, self.no);
                }
                if let EphemeralOp::DropRoute(route) = &ephemeral_op {
                    common.registry.remove(route.account, self.no);
                }
                let memory = Arc::clone(&out.memory);
                let output = at_once(memory.execute(ephemeral_op, common.now(out).wall));
                let output = output.expect("the in-process side never waits");
                let (code, retry_after) = (ErrorCode::Unavailable, Duration::from_secs(1));
                let busy = EffectError { code, retry_after, maybe_done: true };
                output.map(EffectOutput::Ephemeral).map_err(|_| busy)
            }
            Effect::Sms(sms) => {
                let code = sms.text.expose().rsplit(' ').next().unwrap_or_default().to_owned();
                out.texts.insert(sms.to.expose().to_owned(), code);
                Ok(EffectOutput::Sms)
            }
        };
        self.done.push_back(Input::Done { op, result });
    }

    fn start_store(&mut self, common: &Common, op: OpId, store_op: Op, early: bool, out: &mut Outside) {
        out.counts.early_appends += u64::from(early && matches!(store_op, Op::Append(_)));
        let store = if early { self.stores.for_early() } else { self.stores.store.clone() };
        let (node, no) = (common.index, self.no);
        out.tasks.spawn(common.plan.process, async move {
            let result = store.execute(store_op).await;
            let result = result.map(EffectOutput::Store).map_err(|error| store_error(&error));
            Outcome::Done { node, no, op, result }
        });
    }
}

/// Whether an op changes anything.
fn writes(op: &Op) -> bool {
    matches!(
        op,
        Op::Append(_)
            | Op::MoveCursor(_)
            | Op::AddDevice(_)
            | Op::Refresh(_)
            | Op::RevokeDevice(_)
            | Op::ClearOutbox(_)
            | Op::Commit(_)
            | Op::Leave(_)
            | Op::PublishKeyPackages(_)
            | Op::ClaimKeyPackages(_)
    )
}

/// What a store's failure means to a client, as the real node has it.
fn store_error(error: &StoreError) -> EffectError {
    let (code, retry_after) = match error {
        StoreError::Busy { retry_after, .. } => (ErrorCode::Busy, *retry_after),
        StoreError::Unavailable { .. } => (ErrorCode::Unavailable, Duration::from_secs(1)),
        StoreError::Record(_) | StoreError::Limit(_) => (ErrorCode::Unavailable, Duration::from_secs(30)),
    };
    EffectError { code, retry_after, maybe_done: error.maybe_committed() }
}

/// The defaults, with rates that four talkative people do not reach; the limiter stays in the path.
fn limits(plan: &NodePlan) -> Limits {
    let rates = Rates {
        messages_per_minute: 10_000,
        requests_per_minute: 10_000,
        anonymous_per_minute: 100_000,
        otp_per_hour: 1_000,
        ..Rates::default()
    };
    let (access_token_s, effects_in_flight) = (plan.access_token_s, plan.effects_max);
    Limits { rates, access_token_s, effects_in_flight, ..Limits::default() }
}

fn keys() -> Arc<Keys> {
    let token_keys = vec![TokenKey { kid: "sim".into(), seed: Secret::new([1; 32]) }];
    let material = KeyMaterial { token_keys, secret: Secret::new([2; 32]) };
    Arc::new(Keys::new(&material).expect("any 32 bytes are an Ed25519 seed"))
}
