//! Limits an operator may change: rates, lifetimes, counts. The protocol's own bounds are [`wire::limits`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::ephemeral::Rate;

/// Every limit of a node. The defaults are the requirements' values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How fast things may be asked.
    pub rates: Rates,
    /// Life of a one-time password, seconds (R15).
    pub otp_ttl_s: u32,
    /// Wrong tries at a one-time password until it is dead (R15).
    pub otp_attempts: u8,
    /// Life of an access token, seconds (C1).
    pub access_token_s: u32,
    /// Life of a refresh token, seconds, from its last use (C1).
    pub refresh_token_s: u32,
    /// A connection that has not said `Hello` by then is closed, seconds.
    pub hello_timeout_s: u32,
    /// Request streams of one connection in work at a time; more are answered with "busy".
    pub requests_in_flight: usize,
    /// Connections of this loop at a time; more are answered with "busy".
    pub connections: usize,
    /// Effects in work at a time. A quarter of them is kept for reads of what is to be delivered, which take turns. With the
    /// others used up, `Hello`, requests and appends are answered with "busy", and cursor moves wait: as many as this,
    /// more are answered with "busy".
    pub effects_in_flight: usize,
    /// Bytes of commits that arrive or are being committed at a time; more are answered with "busy". The largest is 800 kB, and
    /// most are a few.
    pub commit_bytes_in_flight: usize,
    /// Cursor moves are gathered, and committed at multiples of this, milliseconds: those of all chats share a group commit.
    pub cursor_coalesce_ms: u32,
    /// How long after the stop signal the last client is told to move, milliseconds.
    pub drain_spread_ms: u32,
}

/// Counts per time; each is a token bucket that holds the whole count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Messages of an account per minute (R117).
    pub messages_per_minute: u32,
    /// Other requests of an account per minute.
    pub requests_per_minute: u32,
    /// People an account may look up per hour.
    pub lookups_per_hour: u32,
    /// Commits of an account per minute. Each goes to every device of a chat, and may be half a megabyte; one after another
    /// at this rate still makes a group of 256 accounts with five devices each, 64 devices at a time, in twenty seconds.
    pub commits_per_minute: u32,
    /// Groups an account may make per day (R119).
    pub groups_per_day: u32,
    /// Accounts whose key packages an account may ask for per hour: a full group three times over.
    pub claims_per_hour: u32,
    /// How often per hour it may ask for those of one and the same account: twenty new chats and groups with somebody in an
    /// hour are many, and a stock of two hundred lasts ten hours against one who wants to drain it, in which its device comes
    /// by and publishes more. It is counted for each who asks, not for who is asked for: else anybody could keep everybody
    /// from adding somebody. Against many at once there is the key package of last resort.
    pub claims_of_one_per_hour: u32,
    /// Unauthenticated requests of an address per minute (R122, C20).
    pub anonymous_per_minute: u32,
    /// Connections with early data of an address per minute; past it, a full handshake is asked for (G18).
    pub early_per_minute: u32,
    /// One-time passwords per number, and per install, per hour (C2).
    pub otp_per_hour: u32,
    /// Completed registrations of an address per hour (R123, C2).
    pub registrations_per_hour: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            rates: Rates::default(),
            otp_ttl_s: 300,
            otp_attempts: 3,
            access_token_s: 3600,
            refresh_token_s: 30 * 24 * 3600,
            hello_timeout_s: 10,
            requests_in_flight: 16,
            connections: 1_000_000,
            effects_in_flight: 100_000,
            commit_bytes_in_flight: 64 * 1024 * 1024,
            cursor_coalesce_ms: 50,
            drain_spread_ms: 2_000,
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Rates {
            messages_per_minute: 100,
            requests_per_minute: 600,
            lookups_per_hour: 60,
            commits_per_minute: 60,
            groups_per_day: 10,
            claims_per_hour: 1000,
            claims_of_one_per_hour: 20,
            anonymous_per_minute: 1000,
            early_per_minute: 6000,
            otp_per_hour: 3,
            registrations_per_hour: 100,
        }
    }
}

impl Rates {
    pub(crate) fn per_minute(count: u32) -> Rate {
        Rate { burst: count, per: Duration::from_secs(60) }
    }

    pub(crate) fn per_hour(count: u32) -> Rate {
        Rate { burst: count, per: Duration::from_secs(3600) }
    }

    pub(crate) fn per_day(count: u32) -> Rate {
        Rate { burst: count, per: Duration::from_secs(24 * 3600) }
    }
}
