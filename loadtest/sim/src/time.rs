//! Virtual time, read three ways: monotonic, wall, and since the start.

use std::time::{Duration, Instant};

use store::Clock;
use store::testing::VirtualClock;
use wire::WallTime;

/// The wall time at which every run begins.
const START: WallTime = WallTime(1_700_000_000_000);

/// The one clock of a run. Clones are the same clock.
#[derive(Debug, Clone)]
pub(crate) struct Time {
    clock: VirtualClock,
    origin: Instant,
}

impl Time {
    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant has no other constructor; only differences are used"
    )]
    pub(crate) fn new() -> Time {
        Time { clock: VirtualClock::default(), origin: Instant::now() }
    }

    /// The store's view of it.
    pub(crate) fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }

    /// Since the start.
    pub(crate) fn since_start(&self) -> Duration {
        self.clock.now()
    }

    /// As sockets and state machines see it.
    pub(crate) fn instant(&self) -> Instant {
        self.origin + self.clock.now()
    }

    /// When every run begins.
    pub(crate) fn epoch(&self) -> Instant {
        self.origin
    }

    /// As somebody's wall clock shows it that is ahead by `skew`.
    pub(crate) fn wall(&self, skew: Duration) -> WallTime {
        START + self.clock.now() + skew
    }

    /// When the store's next timer is due.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.clock.next_timer().map(|at| self.origin + at)
    }

    /// Lets time pass.
    pub(crate) fn advance_to(&self, instant: Instant) {
        self.clock.advance_to(instant.saturating_duration_since(self.origin));
    }
}
