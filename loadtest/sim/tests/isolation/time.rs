//! Virtual time.

use std::sync::OnceLock;
use std::time::Instant;

use store::Clock;
use store::testing::VirtualClock;
use wire::WallTime;

/// The one clock of a run.
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
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        Time { clock: VirtualClock::default(), origin: *ORIGIN.get_or_init(Instant::now) }
    }

    /// As the store sees it.
    pub(crate) fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }

    /// As sockets and state machines see it.
    pub(crate) fn instant(&self) -> Instant {
        self.origin + self.clock.now()
    }

    /// As everybody's wall clock shows it.
    pub(crate) fn wall(&self) -> WallTime {
        WallTime(1_700_000_000_000) + self.clock.now()
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
