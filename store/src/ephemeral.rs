//! What may be lost: one-time passwords, routes, presence, token buckets. In-process here; Redis in a cluster, later.
//!
//! One [`EphemeralOp`], one [`EphemeralOutput`], as with the durable ops. Losing all of it loses no message.

pub mod memory;
#[cfg(feature = "testing")]
pub mod suite;

use std::future::Future;
use std::time::Duration;

use wire::{AccountId, DeviceId, InstallId, PersonName, Phone, RegistrationId, RequestId, Secret, WallTime};

use crate::tx::Cause;

/// Where ephemeral state is kept.
pub trait Ephemeral: Send + Sync + 'static {
    /// Performs one request; each is atomic. `now` is the server's wall time.
    ///
    /// # Errors
    /// [`EphemeralError`]: nothing changed. A refusal by a bucket or a code is part of the output. Whoever gets an
    /// error refuses what it was about: limits fail closed (R138).
    ///
    /// # Cancel safety
    /// A request whose future is dropped may or may not have happened.
    fn execute(
        &self,
        op: EphemeralOp,
        now: WallTime,
    ) -> impl Future<Output = Result<EphemeralOutput, EphemeralError>> + Send;
}

/// Why a request was not performed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EphemeralError {
    /// As much is kept as memory is set aside for.
    #[error("the ephemeral store is full")]
    Full(#[source] Limited),
    /// It cannot be reached.
    #[error("the ephemeral store is unavailable")]
    Unavailable(#[source] Cause),
}

/// One request.
#[derive(Debug, Clone)]
pub enum EphemeralOp {
    /// Takes one token from each bucket, or from none.
    Take(Vec<Take>),
    /// Gives one token back: what it paid for did not happen or had been paid before.
    Refund(Take),
    /// Keeps a one-time password; a new one for the same phone replaces the old.
    PutOtp(PutOtp),
    /// Compares a one-time password, in constant time.
    VerifyOtp(VerifyOtp),
    /// Registers a route; the answer is the one it replaced.
    PutRoute(Route),
    /// Removes a route if it is still this one.
    DropRoute(Route),
    /// Extends a route's life and presence (R28).
    TouchRoute(Route),
    /// Asks whether any device of an account has a route.
    IsOnline(AccountId),
}

/// The answer, variant for variant.
#[derive(Debug, Clone)]
pub enum EphemeralOutput {
    /// All taken, or how long until they could be.
    Take(Result<(), Limited>),
    /// See [`EphemeralOp::Refund`].
    Refund,
    /// The registration the password belongs to: the first one's for a repeated request, and whether it was one.
    PutOtp {
        /// The registration to tell the client.
        registration: RegistrationId,
        /// Whether the same request was made before: then no second message is sent.
        repeat: bool,
        /// Until it ends.
        expires_in: Duration,
    },
    /// What the registration proved, or why not.
    VerifyOtp(Result<Verified, OtpError>),
    /// The route that was replaced.
    PutRoute(Option<Route>),
    /// See [`EphemeralOp::DropRoute`].
    DropRoute,
    /// See [`EphemeralOp::TouchRoute`].
    TouchRoute,
    /// Whether one has.
    IsOnline(bool),
}

/// Refused by a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("rate limited for {retry_after:?}")]
pub struct Limited {
    /// Until a token is there.
    pub retry_after: Duration,
}

/// One token of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// Whose bucket.
    pub bucket: Bucket,
    /// How it fills; the caller's configuration, the same for every take of one kind.
    pub rate: Rate,
}

/// What is limited, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bucket {
    /// Messages of an account (R117).
    Messages(AccountId),
    /// Other requests of an account.
    Requests(AccountId),
    /// Lookups of an account.
    Lookups(AccountId),
    /// Commits of an account.
    Commits(AccountId),
    /// Groups that an account makes (R119).
    Groups(AccountId),
    /// Accounts whose key packages an account asks for.
    Claims(AccountId),
    /// Key packages of one account that another asks for.
    ClaimsOf {
        /// Who asks.
        by: AccountId,
        /// Whose.
        of: AccountId,
    },
    /// Unauthenticated requests of an address (R122, C20).
    Anonymous(std::net::IpAddr),
    /// Early data from an address, before anything of it is looked at (G18).
    Early(std::net::IpAddr),
    /// OTP sends to a number (C2).
    OtpPhone(Phone),
    /// OTP sends for an install (C2).
    OtpInstall(InstallId),
    /// Completed registrations of an address (R123, C2).
    Registrations(std::net::IpAddr),
}

/// A token bucket's shape: `burst` tokens at most, filled evenly so that `burst` come back in `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens in a full bucket.
    pub burst: u32,
    /// Time in which an empty bucket fills.
    pub per: Duration,
}

/// A one-time password to keep.
#[derive(Debug, Clone)]
pub struct PutOtp {
    /// The registration a new one gets.
    pub registration: RegistrationId,
    /// The client's idempotency key.
    pub request: RequestId,
    /// The number it proves.
    pub phone: Phone,
    /// The name that came with it.
    pub name: PersonName,
    /// Keyed hash of the digits (C22).
    pub code_hash: Secret<[u8; 32]>,
    /// Its life.
    pub ttl: Duration,
    /// Wrong tries until it is dead.
    pub attempts_max: u8,
    /// Now.
    pub now: WallTime,
}

/// A try at a one-time password.
#[derive(Debug, Clone)]
pub struct VerifyOtp {
    /// Which registration.
    pub registration: RegistrationId,
    /// Keyed hash of the digits that were typed.
    pub code_hash: Secret<[u8; 32]>,
    /// The device that will be added: a right code is used up by one device, which may repeat the request.
    pub device: DeviceId,
    /// Now.
    pub now: WallTime,
}

/// What a right code proves.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The number.
    pub phone: Phone,
    /// The name that came with it.
    pub name: PersonName,
}

/// Why a code proves nothing (R18): distinct errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OtpError {
    /// Wrong digits; one try fewer.
    #[error("the code is wrong")]
    Wrong,
    /// Too old.
    #[error("the code has expired")]
    Expired,
    /// Too many wrong tries, or used by another device.
    #[error("the code is used up")]
    Exhausted,
    /// No such registration, or replaced by a newer one.
    #[error("no such registration")]
    Unknown,
}

/// Where a device is connected. It is deleted only if the connection still matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Whose device.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// On which node.
    pub node: u64,
    /// On which of its connections.
    pub connection: u64,
}
