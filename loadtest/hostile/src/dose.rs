//! How much of an attack: a number, a rate, an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How much, how fast and how long. Whichever of the bounds is reached first ends the attack.
#[derive(Debug, Clone)]
pub struct Dose {
    /// So many datagrams, frames or newcomers, whatever the attack counts.
    pub number: u64,
    /// At most so many of them a second, evenly; 0 is as fast as it goes.
    pub per_second: u32,
    /// Not longer than this.
    pub limit: Duration,
    /// Ends it early when it is set, within a fraction of a second.
    pub stop: Arc<AtomicBool>,
}

impl Dose {
    /// So many at most at this rate, for ten minutes at most.
    pub fn new(number: u64, per_second: u32) -> Dose {
        Dose { number, per_second, limit: Duration::from_secs(600), stop: Arc::default() }
    }

    /// With another limit of time.
    pub fn within(self, limit: Duration) -> Dose {
        Dose { limit, ..self }
    }
}

/// A dose that is being given.
#[derive(Debug)]
pub(crate) struct Pace {
    dose: Dose,
    began: Instant,
    given: u64,
}

impl Pace {
    pub(crate) fn begin(dose: &Dose) -> Pace {
        Pace { dose: dose.clone(), began: Instant::now(), given: 0 }
    }

    /// Whether there is time left and nobody has said stop.
    pub(crate) fn may_go_on(&self) -> bool {
        self.began.elapsed() < self.dose.limit && !self.dose.stop.load(Ordering::Acquire)
    }

    /// Whether all has been given, or time is up.
    pub(crate) fn is_over(&self) -> bool {
        self.given >= self.dose.number || !self.may_go_on()
    }

    /// How many may be given now, `most` at most; 0 if the rate wants a pause.
    pub(crate) fn now(&self, most: u64) -> u64 {
        let left = self.dose.number.saturating_sub(self.given).min(most);
        if self.dose.per_second == 0 {
            return left;
        }
        let due = self.began.elapsed().as_micros() * u128::from(self.dose.per_second) / 1_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        left.min((due + 1).saturating_sub(self.given))
    }

    /// So many were given.
    pub(crate) fn gave(&mut self, number: u64) {
        self.given += number;
    }

    /// How long it has taken so far.
    pub(crate) fn took(&self) -> Duration {
        self.began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dose_is_never_over_its_number_or_its_rate() {
        let mut pace = Pace::begin(&Dose::new(100, 0));
        assert_eq!(pace.now(64), 64);
        pace.gave(64);
        assert_eq!(pace.now(64), 36);
        pace.gave(36);
        assert!(pace.is_over());
        let mut slow = Pace::begin(&Dose::new(100, 1));
        assert!((1..=64).contains(&slow.now(64)));
        slow.gave(64);
        assert!(slow.now(64) == 0 || slow.took() >= Duration::from_secs(60));
    }

    #[test]
    fn a_dose_ends_when_it_is_told_to_or_its_time_is_over() {
        let dose = Dose::new(100, 0);
        let pace = Pace::begin(&dose);
        assert!(!pace.is_over());
        dose.stop.store(true, Ordering::Release);
        assert!(pace.is_over());
        assert!(Pace::begin(&Dose::new(100, 0).within(Duration::ZERO)).is_over());
    }
}
