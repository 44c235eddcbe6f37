//! What one address may do before its handshakes are complete.
//!
//! Invariants: an address costs memory only in a table of bounded size, and whoever forges addresses neither uses up
//! what their owners may do nor makes room in the table for himself: newcomers who have proved theirs (by a Retry) are
//! counted apart from those who have not, each in a table of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Limits per IPv4 address or IPv6 /64, which is what one subscriber has.
///
/// They are set for carrier NAT, where thousands of phones share an address and come back together when a train leaves
/// a tunnel: they stop a single machine, not a crowd. Past them a newcomer that has not proved its address gets a Retry,
/// which costs a flood of forged addresses everything and us nothing; one that has is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewcomerLimits {
    /// Handshakes begun per minute, in the long run.
    pub per_minute: u32,
    /// Handshakes begun at once, by an address that was quiet before.
    pub burst: u32,
    /// Addresses remembered, about 150 bytes each; as many of newcomers who have proved theirs and of those who have
    /// not. Past it the one that was quiet for longest is forgotten, which gives it a full burst again: who commands more
    /// addresses than this is for the limits of all to stop
    /// ([`ServerConfig::handshakes_max`](crate::ServerConfig::handshakes_max)).
    pub addresses_max: usize,
    /// Handshakes under way.
    pub in_handshake_max: u32,
}

impl Default for NewcomerLimits {
    /// 6,000 a minute after a burst of 2,000: a NAT's phones, all back within seconds, pass. One machine that does
    /// nothing but shake hands gets 100 a second, some 3 % of a core. 1,000 under way is a quarter of what all may have.
    /// 4,096 addresses, twice, are about a megabyte.
    fn default() -> Self {
        NewcomerLimits { per_minute: 6_000, burst: 2_000, addresses_max: 4_096, in_handshake_max: 1_000 }
    }
}

impl NewcomerLimits {
    /// No limit per address: for load tests from one machine.
    pub const UNLIMITED: NewcomerLimits = NewcomerLimits {
        per_minute: u32::MAX,
        burst: u32::MAX,
        addresses_max: 1,
        in_handshake_max: u32::MAX,
    };
}

/// An address as it is counted: IPv4 as it is, also inside IPv6; the upper half of other IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u64, bool);

impl Place {
    fn of(address: SocketAddr) -> Place {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Place(u32::from(ip).into(), false),
            IpAddr::V6(ip) => Place((u128::from(ip) >> 64) as u64, true),
        }
    }
}

/// A handshake under way, counted. Given back by [`Newcomers::leave`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    place: Place,
    is_proved: bool,
}

/// The addresses of late, and what they did.
#[derive(Debug)]
pub(crate) struct Newcomers {
    limits: NewcomerLimits,
    /// By whether the newcomer had proved its address.
    tables: [Table; 2],
}

#[derive(Debug, Default)]
struct Table {
    places: BTreeMap<Place, Count>,
    /// Every place once, by when it was last seen.
    by_age: BTreeSet<(Instant, Place)>,
}

/// A token bucket, filled up to when it was last seen, and the handshakes under way.
#[derive(Debug, Clone, Copy)]
struct Count {
    seen: Instant,
    tokens: f64,
    under_way: u32,
}

impl Newcomers {
    pub(crate) fn new(limits: NewcomerLimits) -> Newcomers {
        Newcomers { limits, tables: Default::default() }
    }

    /// Counts a newcomer in; `None` if its address has no more to spend.
    pub(crate) fn enter(&mut self, now: Instant, from: SocketAddr, is_proved: bool) -> Option<Counted> {
        let place = Place::of(from);
        let count = self.tables[usize::from(is_proved)].seen(now, place, &self.limits);
        if count.tokens < 1.0 || count.under_way >= self.limits.in_handshake_max {
            return None;
        }
        count.tokens -= 1.0;
        count.under_way += 1;
        Some(Counted { place, is_proved })
    }

    /// Its handshake is complete, or over.
    pub(crate) fn leave(&mut self, counted: Counted) {
        // It may have been forgotten since, and come again.
        if let Some(count) = self.tables[usize::from(counted.is_proved)].places.get_mut(&counted.place) {
            count.under_way = count.under_way.saturating_sub(1);
        }
    }
}

impl Table {
    /// The count of a place, its bucket filled up to now.
    fn seen(&mut self, now: Instant, place: Place, limits: &NewcomerLimits) -> &mut Count {
        let burst = f64::from(limits.burst);
        if !self.places.contains_key(&place) {
            while self.places.len() >= limits.addresses_max.max(1)
                && let Some((_, oldest)) = self.by_age.pop_first()
            {
                self.places.remove(&oldest);
            }
            self.by_age.insert((now, place));
        }
        let count = self.places.entry(place).or_insert(Count { seen: now, tokens: burst, under_way: 0 });
        if now > count.seen {
            self.by_age.remove(&(count.seen, place));
            self.by_age.insert((now, place));
            count.tokens = (count.tokens + earned(limits.per_minute, now - count.seen)).min(burst);
            count.seen = now;
        }
        count
    }
}

fn earned(per_minute: u32, quiet: Duration) -> f64 {
    f64::from(per_minute) / 60.0 * quiet.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: NewcomerLimits =
        NewcomerLimits { per_minute: 60, burst: 3, addresses_max: 2, in_handshake_max: 100 };

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "the one reading that virtual time starts from")]
        Instant::now()
    }

    fn address(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 1)
    }

    /// How many of ten get in.
    fn ten(newcomers: &mut Newcomers, now: Instant, from: &str, is_proved: bool) -> usize {
        (0..10).filter(|_| newcomers.enter(now, address(from), is_proved).is_some()).count()
    }

    #[test]
    fn c20_a_burst_then_the_rate() {
        let (mut newcomers, now) = (Newcomers::new(LIMITS), now());
        assert_eq!(ten(&mut newcomers, now, "10.0.0.1", false), 3);
        assert_eq!(ten(&mut newcomers, now + Duration::from_secs(2), "10.0.0.1", false), 2);
        assert_eq!(ten(&mut newcomers, now + Duration::from_secs(600), "10.0.0.1", false), 3);
    }

    #[test]
    fn c20_who_forges_an_address_uses_up_nothing_of_its_owners() {
        let (mut newcomers, now) = (Newcomers::new(LIMITS), now());
        assert_eq!(ten(&mut newcomers, now, "10.0.0.1", false), 3);
        assert_eq!(ten(&mut newcomers, now, "10.0.0.1", true), 3);
    }

    #[test]
    fn c20_handshakes_under_way_are_bounded_and_leave() {
        let limits = NewcomerLimits { burst: 100, in_handshake_max: 2, ..LIMITS };
        let (mut newcomers, now) = (Newcomers::new(limits), now());
        let from = address("10.0.0.1");
        let first = newcomers.enter(now, from, true).unwrap();
        newcomers.enter(now, from, true).unwrap();
        assert!(newcomers.enter(now, from, true).is_none());
        newcomers.leave(first);
        assert!(newcomers.enter(now, from, true).is_some());
    }

    #[test]
    fn a_subscriber_is_one_place_whatever_its_address() {
        let (mut newcomers, now) = (Newcomers::new(LIMITS), now());
        assert_eq!(ten(&mut newcomers, now, "2001:db8:1:2::1", false), 3);
        assert_eq!(ten(&mut newcomers, now, "2001:db8:1:2:ffff::9", false), 0);
        assert_eq!(ten(&mut newcomers, now, "2001:db8:1:3::1", false), 3);
        let mut newcomers = Newcomers::new(LIMITS);
        assert_eq!(ten(&mut newcomers, now, "10.0.0.1", false), 3);
        assert_eq!(ten(&mut newcomers, now, "::ffff:10.0.0.1", false), 0);
    }

    #[test]
    fn c20_the_table_forgets_who_was_quiet_for_longest() {
        let (mut newcomers, now) = (Newcomers::new(LIMITS), now());
        let at = |ms| now + Duration::from_millis(ms);
        let left = newcomers.enter(now, address("10.0.0.9"), false).unwrap();
        ten(&mut newcomers, at(1), "10.0.0.1", false);
        ten(&mut newcomers, at(2), "10.0.0.2", false);
        ten(&mut newcomers, at(3), "10.0.0.1", false);
        for n in 0..100 {
            ten(&mut newcomers, at(4), &format!("10.1.0.{n}"), false);
            assert_eq!((newcomers.tables[0].places.len(), newcomers.tables[0].by_age.len()), (2, 2));
        }
        newcomers.leave(left);
        let mut newcomers = Newcomers::new(LIMITS);
        ten(&mut newcomers, at(1), "10.0.0.1", false);
        ten(&mut newcomers, at(2), "10.0.0.2", false);
        ten(&mut newcomers, at(3), "10.0.0.1", false);
        ten(&mut newcomers, at(4), "10.0.0.3", false);
        assert_eq!(ten(&mut newcomers, at(5), "10.0.0.1", false), 0, "it is still remembered");
    }

    #[test]
    fn c20_a_flood_of_forged_addresses_does_not_make_a_proved_one_forgotten() {
        let (mut newcomers, now) = (Newcomers::new(LIMITS), now());
        assert_eq!(ten(&mut newcomers, now, "10.0.0.1", true), 3);
        for n in 0..100 {
            ten(&mut newcomers, now + Duration::from_millis(n), &format!("10.1.0.{n}"), false);
        }
        assert_eq!(ten(&mut newcomers, now + Duration::from_millis(100), "10.0.0.1", true), 0);
    }
}
