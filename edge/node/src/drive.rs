//! One loop: a thread that owns a UDP socket, its QUIC endpoint and one `edge-proto` node, and carries between them.
//!
//! A turn: wait for datagrams, a timer or a finished effect; hand each to the node; perform what it asks; send what the
//! endpoint has. Nothing here is locked. Effects that wait for a disk run elsewhere; their results come back through a channel
//! that holds no more than the node has in work, which it bounds itself (`effects_in_flight`); hints come through one
//! that loses them when full.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::task::{Context, Poll};
use std::time::Instant;

use edge_proto::quic::{self, Left};
use edge_proto::{Effect, EffectError, EffectOutput, Hint, Input, Node, OpId};
use wire_udp::{Driver, Waker};

use crate::clock::now;
use crate::metrics::{LoopMetrics, LoopState};
use crate::perform::Performer;

/// Hints that wait for a loop; more are lost, and its sessions then look for themselves what is new.
const HINTS_MAX: usize = 16 * 1024;

/// A way to reach a loop from elsewhere.
#[derive(Debug, Clone)]
pub struct LoopHandle {
    loop_no: u8,
    hints: SyncSender<Hint>,
    waker: Waker,
    stop: Arc<Stop>,
}

/// What a loop was told.
#[derive(Debug, Default)]
struct Stop {
    drain: AtomicBool,
    end: AtomicBool,
    /// Hints for it were lost.
    hints_lost: AtomicBool,
}

impl LoopHandle {
    /// The loop's number.
    pub fn loop_no(&self) -> u8 {
        self.loop_no
    }

    /// Tells the loop something. `false` if that is lost, because the loop is behind or over: then its sessions will look
    /// for themselves what is new.
    pub fn hint(&self, hint: Hint) -> bool {
        let taken = self.offer(hint);
        if !taken {
            self.stop.hints_lost.store(true, Ordering::Release);
        }
        taken
    }

    /// Tells the loop something that will be said again if it is not taken; `false` if it is not.
    pub(crate) fn offer(&self, hint: Hint) -> bool {
        let taken = self.hints.try_send(hint).is_ok();
        if taken {
            self.waker.wake();
        }
        taken
    }

    /// Asks the loop to stop accepting and tell its clients to move.
    pub fn drain(&self) {
        self.stop.drain.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Wakes the loop, so that it sees what is wanted of it.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Asks the loop to end, whatever is left.
    pub fn end(&self) {
        self.stop.end.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// A loop, ready to run on a thread of its own.
pub struct Loop {
    loop_no: u8,
    driver: Driver,
    node: Node,
    performer: Performer,
    others: Vec<LoopHandle>,
    done: (Sender<Done>, Receiver<Done>),
    hints: Receiver<Hint>,
    stop: Arc<Stop>,
    draining: bool,
    metrics: LoopMetrics,
    /// Hints for other loops that they did not take.
    hints_lost: u64,
    /// Results that were there at once.
    ready: VecDeque<Done>,
}

type Done = (OpId, Result<EffectOutput, EffectError>);

impl Loop {
    /// A loop and the handle to reach it.
    pub fn new(loop_no: u8, driver: Driver, node: Node, performer: Performer) -> (Loop, LoopHandle) {
        let (hint_sender, hints) = sync_channel(HINTS_MAX);
        let stop = Arc::<Stop>::default();
        let handle = LoopHandle { loop_no, hints: hint_sender, waker: driver.waker(), stop: stop.clone() };
        let done = std::sync::mpsc::channel();
        let metrics = performer.metrics.of_loop(loop_no);
        let (others, ready, draining, hints_lost) = (Vec::new(), VecDeque::new(), false, 0);
        let made = Loop {
            loop_no,
            driver,
            node,
            performer,
            others,
            done,
            hints,
            stop,
            draining,
            metrics,
            hints_lost,
            ready,
        };
        (made, handle)
    }

    /// Names the other loops of the process, for hints.
    pub fn join(&mut self, others: Vec<LoopHandle>) {
        self.others = others;
    }

    /// Runs until it is told to end, or has drained.
    ///
    /// # Errors
    /// The socket cannot be waited on.
    pub fn run(mut self) -> std::io::Result<()> {
        // Requests and links have numbers of their loop's own: with it they are unique in the log.
        let _span = tracing::info_span!("loop", loop_no = self.loop_no).entered();
        tracing::info!("loop begins");
        let result = self.turns();
        let (state, stats) = (self.state(), self.node.stats());
        self.metrics.end(state);
        let (connections, effects) = (stats.connections, stats.effects);
        tracing::info!(connections, effects, drained = self.has_drained(), "loop ends");
        result
    }

    fn turns(&mut self) -> std::io::Result<()> {
        while !self.stop.end.load(Ordering::Acquire) {
            self.driver.wait(self.wait_until())?;
            self.metrics.woke();
            // What is done may make more to do (a stream that is read again has frames already): all of it before the
            // next wait, which would not know.
            loop {
                let any = self.turn();
                self.driver.flush()?;
                if !any {
                    break;
                }
            }
            self.measure();
            if self.draining && self.has_drained() {
                break;
            }
        }
        self.driver.flush()
    }

    /// Hands on what was counted, if somebody asks for it.
    fn measure(&mut self) {
        let (driver, node, hints_lost) = (&mut self.driver, &self.node, self.hints_lost);
        self.metrics.publish_if_wanted(|| state(driver, node, hints_lost));
        self.metrics.waits();
    }

    fn state(&mut self) -> LoopState {
        state(&mut self.driver, &self.node, self.hints_lost)
    }

    fn wait_until(&self) -> Option<Instant> {
        // A result that is there already is not waited for.
        if self.ready.is_empty() { self.node.poll_timeout() } else { Some(now().instant) }
    }

    fn has_drained(&self) -> bool {
        let stats = self.node.stats();
        stats.connections == 0 && stats.effects == 0
    }

    /// Does what there is to do; `false` if there was nothing.
    fn turn(&mut self) -> bool {
        let mut any = false;
        if !self.draining && self.stop.drain.load(Ordering::Acquire) {
            self.draining = true;
            tracing::info!(connections = self.node.stats().connections, "loop drains");
            self.driver.endpoint().set_accepting(false);
            self.input(Input::Drain);
        }
        self.node.handle_timeout(now());
        any |= self.perform_outputs();
        while let Some((link, event)) = self.driver.endpoint().poll_event() {
            any = true;
            if let Some(input) = quic::input_of(link, event) {
                self.input(input);
            }
        }
        if self.stop.hints_lost.swap(false, Ordering::AcqRel) {
            any = true;
            self.input(Input::HintsLost);
        }
        for _ in 0..HINTS_MAX {
            let Ok(hint) = self.hints.try_recv() else { break };
            any = true;
            self.input(Input::Hint(hint));
        }
        while let Some((op, result)) = self.ready.pop_front().or_else(|| self.done.1.try_recv().ok()) {
            any = true;
            self.input(Input::Done { op, result });
        }
        any
    }

    fn input(&mut self, input: Input) {
        self.node.handle_input(input, now());
        self.perform_outputs();
        for timing in self.node.take_timings() {
            self.metrics.timed(timing);
        }
    }

    fn perform_outputs(&mut self) -> bool {
        let mut any = false;
        while let Some(output) = self.node.poll_output() {
            any = true;
            match quic::perform(self.driver.endpoint(), output) {
                Left::Nothing => {}
                Left::Input(input) => self.node.handle_input(input, now()),
                Left::Effect(op, effect) => self.start(op, effect),
                Left::Publish(hint) => self.publish(&hint),
            }
        }
        any
    }

    /// What may be lost is decided in memory, at once and in order; what may wait for a disk runs as a task, so that
    /// the loop never does.
    fn start(&mut self, op: OpId, effect: Effect) {
        let in_memory = matches!(effect, Effect::Ephemeral(_));
        let mut future = Box::pin(self.performer.clone().perform(self.loop_no, op, effect));
        if in_memory {
            let mut context = Context::from_waker(std::task::Waker::noop());
            if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
                return self.ready.push_back((op, result));
            }
        }
        let (sender, waker) = (self.done.0.clone(), self.driver.waker());
        self.performer.runtime.spawn(async move {
            let result = future.await;
            if sender.send((op, result)).is_ok() {
                waker.wake();
            }
        });
    }

    fn publish(&mut self, hint: &Hint) {
        if self.others.is_empty() {
            return;
        }
        let on = self.performer.registry.loops(hint.accounts());
        for other in self.others.iter().filter(|other| on.contains(other.loop_no)) {
            self.hints_lost += u64::from(!other.hint(hint.clone()));
        }
    }
}

fn state(driver: &mut Driver, node: &Node, hints_lost: u64) -> LoopState {
    let (udp, stats, node) = (driver.stats(), node.stats(), *node.counters());
    let endpoint = driver.endpoint();
    LoopState {
        node,
        link: endpoint.counters(),
        udp,
        links: endpoint.links(),
        handshakes: endpoint.handshakes(),
        accounts: stats.accounts,
        effects: stats.effects,
        hints_lost,
    }
}
