//! A loop's side: it counts in plain numbers of its own, and adds what they grew by when somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edge_proto::{ByCode, Timing};
use metrics::{Counter, Gauge, Histogram};
use wire::ErrorCode;

use super::register::{Register, TURN};
use super::tables::{LOOP_COUNTERS, LOOP_GAUGES, LoopState};

/// What all loops of a node add to.
#[derive(Clone)]
pub(super) struct LoopFigures {
    counters: Vec<Counter>,
    gauges: Vec<Gauge>,
    refused: Vec<Counter>,
    goodbyes: Vec<Counter>,
    acked: Histogram,
    delivered: Histogram,
    connected: Histogram,
}

impl LoopFigures {
    pub(super) fn new(register: &Register) -> LoopFigures {
        let by_code = |name, help| {
            let of = |code: &ErrorCode| register.counter(name, help, Some(("code", code_name(*code))));
            ErrorCode::ALL.iter().map(of).collect()
        };
        LoopFigures {
            counters: LOOP_COUNTERS
                .iter()
                .map(|row| register.counter(row.name, row.help, row.label))
                .collect(),
            gauges: LOOP_GAUGES.iter().map(|row| register.gauge(row.name, row.help, row.label)).collect(),
            refused: by_code(
                "godwit_refused_total",
                "Refusals of hellos, requests, messages and cursor moves.",
            ),
            goodbyes: by_code("godwit_goodbyes_total", "Live connections that were told to go."),
            acked: register.histogram(
                "godwit_append_ack_seconds",
                "From a message's arrival to its ack on the stream.",
                None,
            ),
            delivered: register.histogram(
                "godwit_delivery_seconds",
                "From just before an entry's commit to its place on a recipient's stream.",
                None,
            ),
            connected: register.histogram("godwit_hello_seconds", "From Hello to Connected.", None),
        }
    }
}

/// A code's name in the protocol.
fn code_name(code: ErrorCode) -> &'static str {
    macro_rules! names {
        ($($name:ident)*) => { match code { $(ErrorCode::$name => stringify!($name),)* } };
    }
    names! {
        Unauthenticated TokenInvalid TokenExpired TokenRevoked ProofInvalid AccountSuspended AccountUnknown RefreshReused
        SessionReplaced EarlyRefused PhoneInvalid NameInvalid OtpWrong OtpExpired OtpExhausted RegistrationUnknown
        DeviceKeyInvalid NotMember RecipientUnknown ContentTooLarge ContentEmpty ChatMismatch CursorAhead PageInvalid StaleEpoch CommitFirst CommitInvalid
        CommitTooLarge NotAdmin GroupFull AlreadyMember ChatExists CannotLeave KeyPackageInvalid IdUsed
        NotFound Malformed Unexpected Unsupported VersionUnsupported RateLimited Busy Unavailable ShuttingDown SmsFailed
    }
}

/// Which scrape is wanted, and which each loop has published for.
#[derive(Debug, Clone)]
pub(super) struct Published(Arc<AtomicU64>);

impl Published {
    pub(super) fn has(&self, scrape: u64) -> bool {
        self.0.load(Ordering::Acquire) >= scrape
    }
}

/// One loop's metrics, owned by it.
pub(crate) struct LoopMetrics {
    figures: LoopFigures,
    turn: Histogram,
    wanted: Arc<AtomicU64>,
    seen: u64,
    published: Published,
    last: LoopState,
    turn_began: Option<Instant>,
}

impl LoopMetrics {
    pub(super) fn new(
        register: &Register,
        figures: LoopFigures,
        wanted: Arc<AtomicU64>,
        loop_no: u8,
    ) -> (LoopMetrics, Published) {
        let turn = register.of_loop(
            TURN,
            "From a loop's waking to its next wait; the sum is its busy time.",
            loop_no,
        );
        let published = Published(Arc::default());
        let (seen, last, turn_began) = (0, LoopState::default(), None);
        (
            LoopMetrics { figures, turn, wanted, seen, published: published.clone(), last, turn_began },
            published,
        )
    }

    /// The loop woke up.
    pub(crate) fn woke(&mut self) {
        self.turn_began = Some(Instant::now());
    }

    /// The loop is about to wait.
    pub(crate) fn waits(&mut self) {
        if let Some(began) = self.turn_began.take() {
            record(&self.turn, began.elapsed());
        }
    }

    /// Something was timed.
    pub(crate) fn timed(&self, timing: Timing) {
        match timing {
            Timing::Acked(time) => record(&self.figures.acked, time),
            Timing::Delivered(time) => record(&self.figures.delivered, time),
            Timing::Connected(time) => record(&self.figures.connected, time),
        }
    }

    /// Publishes if a scrape has asked since the last time; else it costs one read of memory that seldom changes.
    pub(crate) fn publish_if_wanted(&mut self, state: impl FnOnce() -> LoopState) {
        let wanted = self.wanted.load(Ordering::Acquire);
        if wanted != self.seen {
            self.seen = wanted;
            self.add(state());
            self.published.0.store(wanted, Ordering::Release);
        }
    }

    /// The loop ends: its last figures, and no scrape waits for it any more.
    pub(crate) fn end(&mut self, state: LoopState) {
        self.add(state);
        self.published.0.store(u64::MAX, Ordering::Release);
    }

    fn add(&mut self, new: LoopState) {
        let old = std::mem::replace(&mut self.last, new);
        for (row, counter) in LOOP_COUNTERS.iter().zip(&self.figures.counters) {
            grow(counter, (row.read)(&old), (row.read)(&new));
        }
        for (row, gauge) in LOOP_GAUGES.iter().zip(&self.figures.gauges) {
            gauge.increment((row.read)(&new) as f64 - (row.read)(&old) as f64);
        }
        grow_by_code(&self.figures.refused, &old.node.refused, &new.node.refused);
        grow_by_code(&self.figures.goodbyes, &old.node.goodbyes, &new.node.goodbyes);
    }
}

fn record(histogram: &Histogram, time: Duration) {
    histogram.record(time.as_secs_f64());
}

fn grow(counter: &Counter, old: u64, new: u64) {
    if new > old {
        counter.increment(new - old);
    }
}

fn grow_by_code(counters: &[Counter], old: &ByCode, new: &ByCode) {
    for (counter, ((_, old), (_, new))) in counters.iter().zip(old.iter().zip(new.iter())) {
        grow(counter, old, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r157_a_code_is_named_as_in_the_protocol() {
        for &code in ErrorCode::ALL {
            assert_eq!(code_name(code), format!("{code:?}"));
        }
    }
}
