//! Two nodes, the store and the ephemeral state behind them, and the driver between.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edge_proto::{
    Effect, EffectError, EffectOutput, Hint, Input, KeyMaterial, Keys, Limits, LinkId, Node, NodeConfig, Now,
    OpId, Output, Rates, StreamId, TokenKey,
};
use store::ephemeral::Ephemeral;
use store::ephemeral::memory::Memory;
use store::op::{Op, OpOutput};
use store::sim::Sim;
use store::{Clock, Store, StoreConfig};
use wire::event::Verified;
use wire::{ErrorCode, Event, Request, Secret, WallTime};

use super::link::{Kind, Link, Said, Stream, UNREAD_MAX};
use super::model::{Device, Model};

/// What clients call the nodes.
pub(super) const NAME: &str = "edge.test";

const START: WallTime = WallTime(1_700_000_000_000);

/// What the driver keeps of a stream that is not read; past it, the real one closes the connection.
const QUEUE_BYTES_MAX: usize = 512 * 1024;

/// What a node may have on a chat's down stream that the reader has not taken: a burst, and one entry over it.
const BURST_BYTES_MAX: usize = 16 * 1024 + wire::limits::FRAME_BYTES_MAX;

/// Timers that may fire in one step of time: past it, something re-arms itself for ever.
const FIRINGS_MAX: usize = 100_000;

/// Time that stands still: the simulated store has no faults here, so nothing in it waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Still;

impl Clock for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// An answer on its way: to which node.
pub(super) type Answer = (usize, OpId, Result<EffectOutput, EffectError>);

/// Everything.
pub(super) struct World {
    pub(super) nodes: [Node; 2],
    pub(super) limits: Limits,
    pub(super) store: Store<Sim<Still>, Still>,
    pub(super) ephemeral: Memory,
    pub(super) now: Now,
    pub(super) devices: Vec<Device>,
    pub(super) links: Vec<Link>,
    pub(super) model: Model,
    /// The newest one-time password.
    pub(super) code: String,
    /// The registrations that clients were told of.
    pub(super) registrations: Vec<wire::RegistrationId>,
    pub(super) holds: bool,
    pub(super) effects: VecDeque<(usize, OpId, Effect)>,
    pub(super) answers: VecDeque<Answer>,
    pub(super) holds_hints: bool,
    pub(super) hints: VecDeque<(usize, Hint)>,
    pub(super) serial: u64,
    /// Devices that were added to the store.
    enrolments: Vec<Op>,
}

/// Any moment will do: only differences count.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to have an Instant; only differences count"
)]
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

fn keys() -> Arc<Keys> {
    static KEYS: OnceLock<Arc<Keys>> = OnceLock::new();
    let make = || {
        let token_keys = vec![TokenKey { kid: "fuzz".into(), seed: Secret::new([1; 32]) }];
        let material = KeyMaterial { token_keys, secret: Secret::new([2; 32]) };
        Arc::new(Keys::new(&material).expect("a seed is a key"))
    };
    KEYS.get_or_init(make).clone()
}

fn limits(small: bool) -> Limits {
    if !small {
        return Limits::default();
    }
    let rates = Rates { messages_per_minute: 20, requests_per_minute: 20, ..Rates::default() };
    Limits { rates, requests_in_flight: 2, connections: 6, effects_in_flight: 12, ..Limits::default() }
}

impl World {
    /// Three people with four devices, nobody connected.
    ///
    /// They register once in a process, as clients do, and each world does to its store what that did: signatures are
    /// most of what a short input costs.
    pub(super) fn new(small: bool) -> World {
        static ENROLLED: OnceLock<(Vec<Op>, Vec<Verified>)> = OnceLock::new();
        let (ops, devices) = ENROLLED.get_or_init(|| {
            let mut world = World::empty(false);
            world.enrol();
            (world.enrolments, world.devices.into_iter().map(|device| device.verified).collect())
        });
        let mut world = World::empty(small);
        for op in ops {
            world.execute(op.clone());
        }
        devices.iter().for_each(|verified| world.enrolled(verified.clone()));
        world
    }

    fn empty(small: bool) -> World {
        let now = Now { instant: start(), wall: START };
        let limits = limits(small);
        let node = |number: u8| {
            let config = NodeConfig {
                limits: limits.clone(),
                keys: keys(),
                node: number.into(),
                app_name: "Godwit".into(),
                names: vec![NAME.into()],
                seed: [number; 32],
            };
            Node::new(config, now)
        };
        let store = block_on(Store::open(Sim::new(1, Still), StoreConfig::default(), Still));
        World {
            nodes: [node(1), node(2)],
            limits: limits.clone(),
            store: store.expect("an empty store opens"),
            ephemeral: Memory::default(),
            now,
            devices: Vec::new(),
            links: Vec::new(),
            model: Model::default(),
            code: String::new(),
            registrations: Vec::new(),
            holds: false,
            effects: VecDeque::new(),
            answers: VecDeque::new(),
            holds_hints: false,
            hints: VecDeque::new(),
            serial: 0,
            enrolments: Vec::new(),
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    // ---- Time.

    /// Lets time pass, stopping at every timer.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        for firing in 0.. {
            assert!(firing < FIRINGS_MAX, "timers fire and fire");
            let due = self.nodes.iter().filter_map(Node::poll_timeout).min().filter(|&due| due <= end);
            let to = due.unwrap_or(end).max(self.now.instant);
            self.now.wall = self.now.wall + (to - self.now.instant);
            self.now.instant = to;
            if due.is_none() {
                return;
            }
            for node in 0..2 {
                if self.nodes[node].poll_timeout().is_some_and(|due| due <= to) {
                    self.nodes[node].handle_timeout(self.now);
                    self.run(node);
                }
            }
        }
    }

    // ---- Effects.

    pub(super) fn perform(&mut self, effect: Effect) -> Result<EffectOutput, EffectError> {
        match effect {
            Effect::Store(op) => {
                if matches!(op, Op::AddDevice(_)) {
                    self.enrolments.push(op.clone());
                }
                let output = self.execute(op.clone());
                self.model.groups.happened(&op, &output);
                Ok(EffectOutput::Store(output))
            }
            Effect::Ephemeral(op) => {
                let output = block_on(self.ephemeral.execute(op, self.now.wall));
                output.map(EffectOutput::Ephemeral).map_err(|_| failure(false))
            }
            Effect::Sms(sms) => {
                sms.text.expose().rsplit(' ').next().unwrap_or_default().clone_into(&mut self.code);
                Ok(EffectOutput::Sms)
            }
        }
    }

    pub(super) fn execute(&self, op: Op) -> OpOutput {
        block_on(self.store.execute(op)).expect("a store without faults answers")
    }

    pub(super) fn answer(&mut self, (node, op, result): Answer) {
        self.input(node, Input::Done { op, result });
    }

    /// Performs and answers everything that waits.
    pub(super) fn release(&mut self) {
        self.holds = false;
        loop {
            if let Some(answer) = self.answers.pop_front() {
                self.answer(answer);
            } else if let Some((node, op, effect)) = self.effects.pop_front() {
                let result = self.perform(effect);
                self.answer((node, op, result));
            } else {
                return;
            }
        }
    }

    // ---- The driver.

    pub(super) fn input(&mut self, node: usize, input: Input) {
        self.nodes[node].handle_input(input, self.now);
        self.run(node);
    }

    /// Performs what a node asks for, and all that follows from it.
    pub(super) fn run(&mut self, node: usize) {
        loop {
            if let Some(output) = self.nodes[node].poll_output() {
                self.output(node, output);
            } else if let Some(input) = self.room(node) {
                self.nodes[node].handle_input(input, self.now);
            } else {
                break;
            }
        }
        let stats = self.nodes[node].stats();
        assert!(stats.connections <= self.limits.connections, "connections are bounded: {stats:?}");
        assert!(stats.accounts <= self.devices.len(), "accounts are those of sessions: {stats:?}");
    }

    /// What the driver has to tell of streams that took everything.
    fn room(&mut self, node: usize) -> Option<Input> {
        let links = self.links.iter_mut().filter(|link| link.node == node && !link.closed);
        for (link, stream) in links.flat_map(|link| {
            let id = link.id;
            link.streams.iter_mut().map(move |stream| (id, stream))
        }) {
            if stream.stalled {
                continue;
            }
            let id = stream.id;
            if std::mem::take(&mut stream.drained_owed) {
                stream.unsent = 0;
                return Some(Input::Drained { link, stream: id });
            }
            if std::mem::take(&mut stream.finished_owed) {
                return Some(Input::Delivered { link, stream: id });
            }
        }
        None
    }

    fn output(&mut self, node: usize, output: Output) {
        match output {
            Output::Perform { op, effect } if self.holds => self.effects.push_back((node, op, effect)),
            Output::Perform { op, effect } => {
                let result = self.perform(effect);
                self.nodes[node].handle_input(Input::Done { op, result }, self.now);
            }
            Output::Publish(hint) => {
                let to = 1 - node;
                if self.holds_hints {
                    self.hints.push_back((to, hint));
                } else {
                    self.input(to, Input::Hint(hint));
                }
            }
            Output::OpenDown { link, log } => self.open_down(node, link, log),
            Output::Send { link, stream, frame } => self.sent(link, stream, &frame),
            Output::Close { link, .. } => self.close(link),
            Output::Finish { link, stream } => self.on(link, stream, |stream| {
                stream.finished_owed = !stream.down_over;
                stream.down_over = true;
            }),
            Output::Stop { link, stream, .. } => self.on(link, stream, |stream| {
                stream.up_over = true;
                stream.unread.clear();
            }),
            Output::Reset { link, stream, .. } => self.on(link, stream, Stream::is_over),
            Output::Pause { link, stream } => self.on(link, stream, |stream| stream.paused = true),
            Output::Resume { link, stream } => self.resume(node, link, stream),
        }
    }

    fn on(&mut self, link: LinkId, stream: StreamId, act: impl FnOnce(&mut Stream)) {
        if let Some(stream) = self.link(link).and_then(|link| link.stream(stream)) {
            act(stream);
        }
    }

    /// A link that is not closed.
    pub(super) fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.id == id && !link.closed)
    }

    fn open_down(&mut self, node: usize, id: LinkId, log: wire::LogId) {
        let number = StreamId(self.number());
        let Some(link) = self.link(id) else { return };
        let stream = (link.downs() < link.allowed).then_some(number);
        link.wants_streams |= stream.is_none();
        if let Some(number) = stream {
            let last = wire::Seq::ZERO;
            let kind = match log {
                wire::LogId::Chat(chat) => {
                    Kind::Down { chat, begun: false, last, cursors: Default::default() }
                }
                wire::LogId::Device(_) => Kind::InboxDown { begun: false, last },
                wire::LogId::Call(_) => panic!("nobody calls"),
            };
            let mut stream = Stream::new(number, kind);
            (stream.up_over, stream.stalled) = (true, link.stalls_new);
            link.streams.push(stream);
        }
        self.nodes[node].handle_input(Input::DownOpened { link: id, log, stream }, self.now);
    }

    fn resume(&mut self, node: usize, id: LinkId, stream: StreamId) {
        self.on(id, stream, |stream| stream.paused = false);
        loop {
            let found = self.link(id).and_then(|link| link.stream(stream));
            let Some(found) = found.filter(|stream| !stream.paused) else { return };
            let input = match found.unread.pop_front() {
                Some(Said::Frame(body)) => Input::Frame { link: id, stream, body },
                Some(Said::Finished) => Input::Finished { link: id, stream },
                None => return,
            };
            // What the node asks for in answer to one comes before the next.
            self.nodes[node].handle_input(input, self.now);
            self.run(node);
        }
    }

    /// The client says something on a stream. It keeps to what a QUIC stack lets it do.
    pub(super) fn say(&mut self, id: LinkId, stream: StreamId, said: Said) {
        let Some(link) = self.link(id) else { return };
        let node = link.node;
        let Some(found) = link.stream(stream).filter(|stream| !stream.up_over) else { return };
        found.up_over = matches!(said, Said::Finished);
        if let Said::Frame(body) = &said
            && let Ok(request) = Request::decode(body)
        {
            self.note(id, stream, &request);
        }
        let Some(found) = self.link(id).and_then(|link| link.stream(stream)) else { return };
        if found.paused {
            if found.unread.len() < UNREAD_MAX || found.up_over {
                found.unread.push_back(said);
            }
            return;
        }
        let input = match said {
            Said::Frame(body) => Input::Frame { link: id, stream, body },
            Said::Finished => Input::Finished { link: id, stream },
        };
        self.input(node, input);
    }

    pub(super) fn close(&mut self, id: LinkId) {
        let Some(link) = self.link(id) else { return };
        link.closed = true;
        link.streams.clear();
        let node = link.node;
        self.input(node, Input::Closed { link: id });
    }

    fn sent(&mut self, id: LinkId, stream: StreamId, frame: &Bytes) {
        let event = Event::decode(&wire::frame::body_of(frame)).expect("a node sends what decodes");
        assert_ne!(event, Event::Unknown, "a node says what it knows");
        crate::show(&format_args!("  {} on {}: {event:.160?}", id.0, stream.0));
        let Some(link) = self.links.iter_mut().find(|link| link.id == id && !link.closed) else { return };
        let Some(place) = link.streams.iter().position(|s| s.id == stream) else { return };
        let found = &mut link.streams[place];
        if found.down_over {
            return;
        }
        found.unsent += frame.len();
        found.drained_owed = true;
        let (unsent, is_down) = (found.unsent, matches!(found.kind, Kind::Down { .. }));
        assert!(!is_down || unsent <= BURST_BYTES_MAX, "a chat that is not read costs a burst, not {unsent}");
        if unsent > QUEUE_BYTES_MAX {
            return self.close(id);
        }
        self.heard(id, place, event);
    }
}

/// What the outside says when it did not do its part.
pub(super) fn failure(maybe_done: bool) -> EffectError {
    EffectError { code: ErrorCode::Unavailable, retry_after: Duration::from_secs(1), maybe_done }
}

/// Runs what never waits.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}
