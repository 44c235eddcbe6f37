//! A real node of one loop, on a simulated store that does as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::BytesMut;
use edge_proto::quic::{self, Left};
use edge_proto::{
    Effect, EffectError, EffectOutput, Input, KeyMaterial, Keys, Limits, LinkId, Node, NodeConfig, Now, OpId,
    Rates, TokenKey,
};
use store::ephemeral::Ephemeral;
use store::ephemeral::memory::Memory;
use store::op::Op;
use store::sim::Sim;
use store::testing::VirtualClock;
use store::{Store, StoreConfig};
use wire::{ErrorCode, LogId, Secret};
use wire_link::testing::{Datagram, Network, plain_server, secrets};
use wire_link::{Config, Endpoint, Event, ServerConfig};

use crate::shared::Shared;
use crate::time::Time;

type SimStore = Store<Sim<VirtualClock>, VirtualClock>;
type Task = Pin<Box<dyn Future<Output = Input>>>;

/// Where the node is.
pub(crate) fn address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 443))
}

/// The node, its endpoint, and the effects it waits for.
pub(crate) struct Edge {
    pub(crate) endpoint: Endpoint,
    node: Node,
    store: SimStore,
    memory: Memory,
    tasks: Vec<Task>,
    woken: Arc<Woken>,
    done: VecDeque<Input>,
    /// Whose each link is.
    remotes: BTreeMap<LinkId, SocketAddr>,
    /// The last code that was sent to each number.
    pub(crate) texts: BTreeMap<String, String>,
    shared: Shared,
}

/// Whether any task can go on: they are few, so all are polled then.
#[derive(Debug)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Edge {
    pub(crate) fn new(seed: u64, time: &Time, shared: Shared) -> Edge {
        let config = NodeConfig {
            limits: limits(),
            keys: keys(),
            node: 1,
            app_name: "Godwit".into(),
            names: vec![crate::NAME.into()],
            seed: [seed as u8; 32],
        };
        let clock = time.clock();
        let opening = Store::open(Sim::new(seed, clock.clone()), StoreConfig::default(), clock);
        let opened = at_once(opening).expect("without faults nothing waits for time");
        let server = ServerConfig::new(plain_server());
        Edge {
            endpoint: Endpoint::server(Config::server(secrets(seed)), server, time.instant()),
            node: Node::new(config, now(time)),
            store: opened.expect("it is empty and has no faults"),
            memory: Memory::default(),
            tasks: Vec::new(),
            woken: Arc::new(Woken(AtomicBool::new(false))),
            done: VecDeque::new(),
            remotes: BTreeMap::new(),
            texts: BTreeMap::new(),
            shared,
        }
    }

    pub(crate) fn next_timer(&self) -> Option<std::time::Instant> {
        [self.endpoint.poll_timeout(), self.node.poll_timeout()].into_iter().flatten().min()
    }

    pub(crate) fn datagram(&mut self, time: &Time, datagram: &Datagram) {
        let bytes = BytesMut::from(&datagram.bytes[..]);
        self.endpoint.handle_datagram(time.instant(), datagram.from, None, None, bytes);
    }

    /// Does all that can be done now; true if there was something.
    pub(crate) fn turn(&mut self, time: &Time, network: &mut Network) -> bool {
        let now = now(time);
        let mut any = false;
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.endpoint.handle_timeout(now.instant);
            any = true;
        }
        if self.node.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.node.handle_timeout(now);
            self.perform(now);
            any = true;
        }
        while let Some((link, event)) = self.endpoint.poll_event() {
            any = true;
            if let Event::Connected { remote, .. } = event {
                self.remotes.insert(LinkId(link.0), remote);
            }
            if let Some(input) = quic::input_of(link, event) {
                self.input(input, now);
            }
        }
        any |= self.poll_tasks();
        while let Some(done) = self.done.pop_front() {
            any = true;
            self.input(done, now);
        }
        crate::flush(address(), &mut self.endpoint, time, network) || any
    }

    fn poll_tasks(&mut self) -> bool {
        if !self.woken.0.swap(false, Ordering::Relaxed) {
            return false;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        let done = &mut self.done;
        self.tasks.retain_mut(|task| match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => true,
            Poll::Ready(input) => {
                done.push_back(input);
                false
            }
        });
        true
    }

    fn input(&mut self, input: Input, now: Now) {
        self.note(&input);
        self.node.handle_input(input, now);
        self.perform(now);
    }

    /// Which stream carries which chat to whom is for the network to know, which has to choose.
    fn note(&self, input: &Input) {
        if let &Input::DownOpened { link, log: LogId::Chat(chat), stream: Some(stream) } = input
            && let Some(&remote) = self.remotes.get(&link)
        {
            self.shared.borrow_mut().streams.insert((remote, stream.0), chat);
        }
    }

    fn perform(&mut self, now: Now) {
        while let Some(output) = self.node.poll_output() {
            match quic::perform(&mut self.endpoint, output) {
                // There is nobody else to tell.
                Left::Nothing | Left::Publish(_) => {}
                Left::Input(input) => {
                    self.note(&input);
                    self.node.handle_input(input, now);
                }
                Left::Effect(op, effect) => self.start(op, effect, now),
            }
        }
    }

    fn start(&mut self, op: OpId, effect: Effect, now: Now) {
        let result = match effect {
            Effect::Store(store_op) => return self.start_store(op, store_op),
            Effect::Ephemeral(of) => {
                let output = at_once(self.memory.execute(of, now.wall)).expect("it never waits");
                output.map(EffectOutput::Ephemeral).map_err(|_| unavailable())
            }
            Effect::Sms(sms) => {
                let code = sms.text.expose().rsplit(' ').next().unwrap_or_default().to_owned();
                self.texts.insert(sms.to.expose().to_owned(), code);
                Ok(EffectOutput::Sms)
            }
        };
        self.done.push_back(Input::Done { op, result });
    }

    fn start_store(&mut self, op: OpId, store_op: Op) {
        let store = self.store.clone();
        self.tasks.push(Box::pin(async move {
            let result = store.execute(store_op).await;
            Input::Done { op, result: result.map(EffectOutput::Store).map_err(|_| unavailable()) }
        }));
        self.woken.0.store(true, Ordering::Relaxed);
    }
}

fn now(time: &Time) -> Now {
    Now { instant: time.instant(), wall: time.wall() }
}

fn unavailable() -> EffectError {
    EffectError { code: ErrorCode::Unavailable, retry_after: Duration::from_secs(1), maybe_done: true }
}

/// The defaults, with rates that these people do not reach.
fn limits() -> Limits {
    let rates = Rates { messages_per_minute: 10_000, requests_per_minute: 10_000, ..Rates::default() };
    Limits { rates, ..Limits::default() }
}

fn keys() -> Arc<Keys> {
    let token_keys = vec![TokenKey { kid: "sim".into(), seed: Secret::new([1; 32]) }];
    let material = KeyMaterial { token_keys, secret: Secret::new([2; 32]) };
    Arc::new(Keys::new(&material).expect("any 32 bytes are an Ed25519 seed"))
}

/// Runs a future that waits for nothing. `None` if it does wait.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
