//! Token buckets in whole numbers, so that they neither drift nor round.
//!
//! A level counts in units of which a token costs `per` in nanoseconds, and of which every nanosecond brings `burst`:
//! then `burst` tokens come back in exactly `per`, evenly.

use std::time::Duration;

use wire::WallTime;

use crate::ephemeral::Rate;

/// How full a bucket is, and when that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    units: u128,
    at: WallTime,
}

fn token(rate: Rate) -> u128 {
    rate.per.as_nanos()
}

fn capacity(rate: Rate) -> u128 {
    token(rate) * u128::from(rate.burst)
}

impl Level {
    pub(super) fn full(rate: Rate, now: WallTime) -> Level {
        Level { units: capacity(rate), at: now }
    }

    /// The level now. A clock that went back brings nothing and takes nothing.
    pub(super) fn refilled(self, rate: Rate, now: WallTime) -> Level {
        let brought = now.saturating_since(self.at).as_nanos() * u128::from(rate.burst);
        Level { units: (self.units + brought).min(capacity(rate)), at: self.at.max(now) }
    }

    /// The level after so many tokens are taken, if they are there.
    pub(super) fn after(self, rate: Rate, tokens: u32) -> Option<Level> {
        let units = self.units.checked_sub(token(rate) * u128::from(tokens))?;
        Some(Level { units, ..self })
    }

    pub(super) fn refunded(self, rate: Rate) -> Level {
        Level { units: (self.units + token(rate)).min(capacity(rate)), ..self }
    }

    /// How long until there is a token, or `None` if there is one.
    pub(super) fn wait(self, rate: Rate) -> Option<Duration> {
        let missing = token(rate).checked_sub(self.units).filter(|missing| *missing > 0)?;
        Some(time_for(missing, rate))
    }

    /// When the bucket is full again.
    pub(super) fn full_at(self, rate: Rate) -> WallTime {
        self.at + time_for(capacity(rate) - self.units.min(capacity(rate)), rate)
    }
}

/// The time that brings so many units, in whole milliseconds, rounded up; a bucket without tokens takes its whole `per`.
fn time_for(units: u128, rate: Rate) -> Duration {
    let per_ms = u128::from(rate.burst) * 1_000_000;
    if per_ms == 0 {
        return rate.per;
    }
    Duration::from_millis(u64::try_from(units.div_ceil(per_ms)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r117_a_bucket_refills_evenly_and_exactly() {
        let rate = Rate { burst: 7, per: Duration::from_secs(10) };
        let mut level = Level::full(rate, WallTime(0));
        for _ in 0..7 {
            level = level.after(rate, 1).unwrap();
        }
        assert_eq!(level.after(rate, 1), None);
        assert_eq!(level.wait(rate), Some(Duration::from_millis(1429)), "10 s / 7, rounded up");
        let mut taken = 0;
        for ms in 1..=100_000 {
            level = level.refilled(rate, WallTime(ms));
            if let Some(after) = level.after(rate, 1) {
                level = after;
                taken += 1;
                assert_eq!(ms, (taken * 10_000_u64).div_ceil(7), "token {taken}");
            }
        }
        assert_eq!(taken, 70, "no drift");
        assert_eq!(level.full_at(rate), WallTime(110_000));
    }

    #[test]
    fn odd_rates_hold() {
        let none = Rate { burst: 0, per: Duration::from_secs(10) };
        let empty = Level::full(none, WallTime(0));
        assert_eq!((empty.after(none, 1), empty.wait(none)), (None, Some(Duration::from_secs(10))));
        let unlimited = Rate { burst: 1, per: Duration::ZERO };
        assert!(Level::full(unlimited, WallTime(0)).after(unlimited, 1_000_000).is_some());
        let huge = Rate { burst: u32::MAX, per: Duration::from_secs(86_400) };
        let level = Level::full(huge, WallTime(0)).after(huge, u32::MAX).unwrap();
        assert_eq!(level.refilled(huge, WallTime(u64::MAX)), Level::full(huge, WallTime(u64::MAX)));
        let back = Level { units: 5, at: WallTime(100) };
        assert_eq!(back.refilled(huge, WallTime(50)), back);
    }
}
