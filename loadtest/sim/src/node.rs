//! One loop of a node: a real endpoint and a real [`Node`], driven in virtual time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use edge_proto::quic::{self, Left};
use edge_proto::{
    Effect, EffectError, EffectOutput, Input, KeyMaterial, Keys, Limits, Node, NodeConfig, Now, OpId, Rates,
    TokenKey,
};
use store::StoreError;
use store::ephemeral::Ephemeral;
use wire::{ErrorCode, Secret};
use wire_link::testing::{plain_server, secrets};
use wire_link::{Config, Endpoint, ServerConfig};

use crate::outside::{Outcome, Outside, SimStore};
use crate::tasks::at_once;

/// Its place in the world, which outlives its process.
pub(crate) struct SimNode {
    pub(crate) index: usize,
    /// Which process it belongs to.
    pub(crate) process: usize,
    pub(crate) address: SocketAddr,
    /// How far its wall clock is ahead.
    pub(crate) skew: Duration,
    pub(crate) up: Option<Up>,
    starts: u64,
    seed: u64,
    access_token_s: u32,
}

/// A node that runs.
pub(crate) struct Up {
    endpoint: Endpoint,
    node: Node,
    store: SimStore,
    ready: VecDeque<(OpId, Result<EffectOutput, EffectError>)>,
}

impl SimNode {
    pub(crate) fn new(seed: u64, index: usize, process: usize, access_token_s: u32) -> SimNode {
        let address = SocketAddr::from(([10, 0, 0, index as u8 + 1], 443));
        let skew = Duration::from_millis(seed.rotate_left(7 * index as u32) % 1000);
        SimNode { index, process, address, skew, up: None, starts: 0, seed, access_token_s }
    }

    fn now(&self, out: &Outside) -> Now {
        Now { instant: out.time.instant(), wall: out.time.wall(self.skew) }
    }

    /// Begins to run on a store.
    pub(crate) fn start(&mut self, out: &Outside, store: SimStore) {
        self.starts += 1;
        let own = self.seed ^ (self.index as u64 + 1) << 48 ^ self.starts << 32;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&own.to_le_bytes());
        let config = NodeConfig {
            limits: limits(self.access_token_s),
            keys: keys(),
            node: self.index as u64 + 1,
            app_name: "Godwit".into(),
            names: vec![crate::world::NAME.into()],
            seed,
        };
        let server = ServerConfig::new(plain_server());
        let endpoint = Endpoint::server(Config::server(secrets(own)), server, out.time.instant());
        let node = Node::new(config, self.now(out));
        self.up = Some(Up { endpoint, node, store, ready: VecDeque::new() });
    }

    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let up = self.up.as_ref()?;
        [up.endpoint.poll_timeout(), up.node.poll_timeout()].into_iter().flatten().min()
    }

    pub(crate) fn datagram(&mut self, out: &Outside, from: SocketAddr, bytes: &[u8]) {
        if let Some(up) = &mut self.up {
            up.endpoint.handle_datagram(out.time.instant(), from, None, None, BytesMut::from(bytes));
        }
    }

    /// Does all that can be done now; true if there was something.
    pub(crate) fn turn(&mut self, out: &mut Outside, nodes: usize) -> bool {
        let now = out.time.instant();
        let mut any = false;
        let Some(up) = &mut self.up else { return false };
        if up.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            up.endpoint.handle_timeout(now);
            any = true;
        }
        if up.node.poll_timeout().is_some_and(|at| at <= now) {
            let now = Now { instant: now, wall: out.time.wall(self.skew) };
            up.node.handle_timeout(now);
            self.perform(out, nodes);
            any = true;
        }
        while let Some(input) = self.next_input() {
            self.input(out, nodes, input);
            any = true;
        }
        let Some(up) = &mut self.up else { return any };
        out.flush(self.address, &mut up.endpoint) || any
    }

    fn next_input(&mut self) -> Option<Input> {
        let up = self.up.as_mut()?;
        if let Some((op, result)) = up.ready.pop_front() {
            return Some(Input::Done { op, result });
        }
        loop {
            let (link, event) = up.endpoint.poll_event()?;
            if let Some(input) = quic::input_of(link, event) {
                return Some(input);
            }
        }
    }

    /// Gives the node one input and performs what follows from it.
    pub(crate) fn input(&mut self, out: &mut Outside, nodes: usize, input: Input) {
        let now = self.now(out);
        if let Some(up) = &mut self.up {
            up.node.handle_input(input, now);
            self.perform(out, nodes);
        }
    }

    fn perform(&mut self, out: &mut Outside, nodes: usize) {
        let now = self.now(out);
        let (index, process) = (self.index, self.process);
        let Some(up) = &mut self.up else { return };
        while let Some(output) = up.node.poll_output() {
            match quic::perform(&mut up.endpoint, output) {
                Left::Nothing => {}
                Left::Input(input) => up.node.handle_input(input, now),
                Left::Publish(hint) => out.publish(index, nodes, &hint),
                Left::Effect(op, Effect::Store(store_op)) => {
                    let store = up.store.clone();
                    out.tasks.spawn(process, async move {
                        let result = store.execute(store_op).await;
                        let result = result.map(EffectOutput::Store).map_err(|error| store_error(&error));
                        Outcome::Done { node: index, op, result }
                    });
                }
                Left::Effect(op, Effect::Ephemeral(ephemeral_op)) => {
                    let memory = Arc::clone(&out.memory);
                    let output = at_once(memory.execute(ephemeral_op, now.wall));
                    let output = output.expect("the in-process side never waits");
                    let busy =
                        EffectError { code: ErrorCode::Unavailable, retry_after: Duration::from_secs(1) };
                    up.ready.push_back((op, output.map(EffectOutput::Ephemeral).map_err(|_| busy)));
                }
                Left::Effect(op, Effect::Sms(sms)) => {
                    let code = sms.text.expose().rsplit(' ').next().unwrap_or_default().to_owned();
                    out.texts.insert(sms.to.expose().to_owned(), code);
                    up.ready.push_back((op, Ok(EffectOutput::Sms)));
                }
            }
        }
    }
}

/// What a store's failure means to a client, as the real node has it.
fn store_error(error: &StoreError) -> EffectError {
    let (code, retry_after) = match error {
        StoreError::Busy { retry_after, .. } => (ErrorCode::Busy, *retry_after),
        StoreError::Unavailable(_) => (ErrorCode::Unavailable, Duration::from_secs(1)),
        StoreError::Record(_) | StoreError::Limit(_) => (ErrorCode::Unavailable, Duration::from_secs(30)),
    };
    EffectError { code, retry_after }
}

/// The defaults, with rates that four talkative people do not reach; the limiter stays in the path.
fn limits(access_token_s: u32) -> Limits {
    let rates = Rates {
        messages_per_minute: 10_000,
        requests_per_minute: 10_000,
        anonymous_per_minute: 100_000,
        ..Rates::default()
    };
    Limits { rates, access_token_s, ..Limits::default() }
}

fn keys() -> Arc<Keys> {
    let token_keys = vec![TokenKey { kid: "sim".into(), seed: Secret::new([1; 32]) }];
    let material = KeyMaterial { token_keys, secret: Secret::new([2; 32]) };
    Arc::new(Keys::new(&material).expect("any 32 bytes are an Ed25519 seed"))
}
