//! The clocks of the machine, read here and handed on as arguments.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use edge_proto::Now;
use wire::WallTime;

/// Both readings.
pub fn now() -> Now {
    Now { instant: Instant::now(), wall: wall_now() }
}

/// Wall time; zero if the clock is before 1970.
pub fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// tokio's timer, for the store's retries.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    origin: Instant,
}

impl Default for TokioClock {
    fn default() -> Self {
        TokioClock { origin: Instant::now() }
    }
}

impl store::run::Clock for TokioClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(duration)
    }
}
