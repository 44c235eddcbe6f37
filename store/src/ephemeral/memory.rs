//! The ephemeral side in this process.
//!
//! Everything has an end and a bound: what has ended makes room, and when there is none, a request is refused and never
//! let through (R138). One lock; every request takes well under a microsecond.

mod bucket;
mod expiring;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use wire::{AccountId, DeviceId, Phone, RegistrationId, RequestId, Secret, WallTime};

use super::{
    Bucket, Ephemeral, EphemeralError, EphemeralOp, EphemeralOutput, Limited, OtpError, PutOtp, Route, Take,
    Verified, VerifyOtp,
};
use bucket::Level;
use expiring::Expiring;

/// How long a route lives without a touch (R26, R28).
pub const ROUTE_TTL: Duration = Duration::from_secs(300);

/// How much is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Token buckets that are not full; a full one is the same as none. About 150 bytes each.
    pub buckets_max: usize,
    /// One-time passwords, about 400 bytes each.
    pub otps_max: usize,
    /// Routes, about 150 bytes each.
    pub routes_max: usize,
}

impl Default for MemoryConfig {
    fn default() -> MemoryConfig {
        MemoryConfig { buckets_max: 4_000_000, otps_max: 100_000, routes_max: 2_000_000 }
    }
}

/// Ephemeral state in memory.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Inner>);

impl Memory {
    /// Empty state with these bounds.
    pub fn new(config: &MemoryConfig) -> Memory {
        Memory(Mutex::new(Inner::new(config)))
    }
}

impl Ephemeral for Memory {
    async fn execute(&self, op: EphemeralOp, now: WallTime) -> Result<EphemeralOutput, EphemeralError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).execute(op, now)
    }
}

#[derive(Debug)]
struct Inner {
    buckets: Expiring<Bucket, Level>,
    otps: Expiring<RegistrationId, Otp>,
    /// The one live password of each number.
    by_phone: BTreeMap<Phone, RegistrationId>,
    routes: Expiring<(AccountId, DeviceId), Route>,
}

#[derive(Debug)]
struct Otp {
    request: RequestId,
    verified: Verified,
    code_hash: Secret<[u8; 32]>,
    expires: WallTime,
    attempts_left: u8,
    used_by: Option<DeviceId>,
}

impl Default for Inner {
    fn default() -> Inner {
        Inner::new(&MemoryConfig::default())
    }
}

impl Inner {
    fn new(config: &MemoryConfig) -> Inner {
        Inner {
            buckets: Expiring::new(config.buckets_max),
            otps: Expiring::new(config.otps_max),
            by_phone: BTreeMap::new(),
            routes: Expiring::new(config.routes_max),
        }
    }

    fn execute(&mut self, op: EphemeralOp, now: WallTime) -> Result<EphemeralOutput, EphemeralError> {
        Ok(match op {
            EphemeralOp::Take(takes) => EphemeralOutput::Take(self.take(&takes, now)),
            EphemeralOp::Refund(take) => {
                self.refund(take, now);
                EphemeralOutput::Refund
            }
            EphemeralOp::PutOtp(put) => self.put_otp(put)?,
            EphemeralOp::VerifyOtp(verify) => EphemeralOutput::VerifyOtp(self.verify_otp(&verify)),
            EphemeralOp::PutRoute(route) => EphemeralOutput::PutRoute(self.put_route(route, now)?),
            EphemeralOp::DropRoute(route) => {
                if self.routes.get(&route.key()) == Some(&route) {
                    self.routes.remove(&route.key());
                }
                EphemeralOutput::DropRoute
            }
            EphemeralOp::TouchRoute(route) => {
                // A route that has ended, or was lost with its store, comes back; somebody else's stays.
                self.routes.expire(now, |_, _| {});
                if self.routes.get(&route.key()).is_none_or(|found| *found == route) {
                    self.put_route(route, now)?;
                }
                EphemeralOutput::TouchRoute
            }
            EphemeralOp::IsOnline(account) => {
                self.routes.expire(now, |_, _| {});
                let from = (account, DeviceId::new([0; 16]));
                EphemeralOutput::IsOnline(self.routes.next(&from).is_some_and(|((of, _), _)| *of == account))
            }
        })
    }

    // ---- buckets ----

    /// One token from each, or from none. A bucket for which there is no memory refuses.
    fn take(&mut self, takes: &[Take], now: WallTime) -> Result<(), Limited> {
        let mut wait = None;
        for (n, take) in takes.iter().enumerate() {
            let earlier = takes[..n].iter().filter(|other| other.bucket == take.bucket).count();
            let level = self.level(take, now).after(take.rate, earlier as u32);
            wait = wait.max(
                level.and_then(|level| level.wait(take.rate)).or(level.is_none().then_some(take.rate.per)),
            );
        }
        if let Some(retry_after) = wait {
            return Err(Limited { retry_after });
        }
        for (n, take) in takes.iter().enumerate() {
            let level = self
                .level(take, now)
                .after(take.rate, 1)
                .expect("each was found to have a token for each take");
            if let Err(limited) = self.keep(take, level, now) {
                takes[..n].iter().for_each(|taken| self.refund(taken.clone(), now));
                return Err(limited);
            }
        }
        Ok(())
    }

    fn refund(&mut self, take: Take, now: WallTime) {
        let level = self.level(&take, now).refunded(take.rate);
        // A bucket that is known has its place; one that is not is full, and has nothing to get back.
        let _ = self.keep(&take, level, now);
    }

    fn level(&self, take: &Take, now: WallTime) -> Level {
        match self.buckets.get(&take.bucket) {
            Some(level) => level.refilled(take.rate, now),
            None => Level::full(take.rate, now),
        }
    }

    fn keep(&mut self, take: &Take, level: Level, now: WallTime) -> Result<(), Limited> {
        let full_at = level.full_at(take.rate);
        if full_at <= now {
            self.buckets.remove(&take.bucket);
            return Ok(());
        }
        self.buckets.expire(now, |_, _| {});
        self.buckets.insert(take.bucket.clone(), level, full_at, now)
    }

    // ---- one-time passwords ----

    fn put_otp(&mut self, put: PutOtp) -> Result<EphemeralOutput, EphemeralError> {
        let by_phone = &mut self.by_phone;
        self.otps.expire(put.now, |id, otp| forget(by_phone, id, &otp));
        if let Some((registration, expires)) = self.repeated(&put) {
            let expires_in = expires.saturating_since(put.now);
            return Ok(EphemeralOutput::PutOtp { registration, repeat: true, expires_in });
        }
        if let Some(old) = self.by_phone.remove(&put.phone) {
            self.otps.remove(&old);
        }
        let expires = put.now + put.ttl;
        let otp = Otp {
            request: put.request,
            verified: Verified { phone: put.phone.clone(), name: put.name },
            code_hash: put.code_hash,
            expires,
            attempts_left: put.attempts_max,
            used_by: None,
        };
        // It is kept for a while after its end, so that a late try is told that it is late.
        let forgotten = expires + put.ttl;
        self.otps.insert(put.registration, otp, forgotten, put.now).map_err(EphemeralError::Full)?;
        self.by_phone.insert(put.phone, put.registration);
        Ok(EphemeralOutput::PutOtp { registration: put.registration, repeat: false, expires_in: put.ttl })
    }

    /// The registration that the same request made before, if it lives.
    fn repeated(&self, put: &PutOtp) -> Option<(RegistrationId, WallTime)> {
        let registration = *self.by_phone.get(&put.phone)?;
        let otp = self.otps.get(&registration)?;
        (otp.request == put.request && put.now < otp.expires).then_some((registration, otp.expires))
    }

    fn verify_otp(&mut self, verify: &VerifyOtp) -> Result<Verified, OtpError> {
        let otp = self.otps.get_mut(&verify.registration).ok_or(OtpError::Unknown)?;
        if verify.now >= otp.expires {
            return Err(OtpError::Expired);
        }
        let used_by_another = otp.used_by.is_some_and(|device| device != verify.device);
        if otp.attempts_left == 0 || used_by_another {
            return Err(OtpError::Exhausted);
        }
        if verify_slices_are_equal(otp.code_hash.expose(), verify.code_hash.expose()).is_err() {
            otp.attempts_left -= 1;
            return Err(OtpError::Wrong);
        }
        otp.used_by = Some(verify.device);
        Ok(otp.verified.clone())
    }

    // ---- routes ----

    fn put_route(&mut self, route: Route, now: WallTime) -> Result<Option<Route>, EphemeralError> {
        self.routes.expire(now, |_, _| {});
        let replaced = self.routes.get(&route.key()).copied().filter(|found| *found != route);
        self.routes.insert(route.key(), route, now + ROUTE_TTL, now).map_err(EphemeralError::Full)?;
        Ok(replaced)
    }
}

/// A password ended: its number is free, unless a newer one has it.
fn forget(by_phone: &mut BTreeMap<Phone, RegistrationId>, id: RegistrationId, otp: &Otp) {
    if by_phone.get(&otp.verified.phone) == Some(&id) {
        by_phone.remove(&otp.verified.phone);
    }
}

impl Route {
    fn key(&self) -> (AccountId, DeviceId) {
        (self.account, self.device)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::ephemeral::Rate;

    /// Nothing here ever waits.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("memory does not wait"),
        }
    }

    #[test]
    fn r138_full_memory_refuses_until_something_ends() {
        let memory = Memory::new(&MemoryConfig { buckets_max: 2, otps_max: 1, routes_max: 1 });
        let rate = Rate { burst: 2, per: Duration::from_secs(2) };
        let take = |n: u8, at| {
            let bucket = Bucket::Messages(AccountId::new([n; 16]));
            let op = EphemeralOp::Take(vec![Take { bucket, rate }]);
            match now(memory.execute(op, WallTime(at))).unwrap() {
                EphemeralOutput::Take(taken) => taken,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((take(1, 0), take(2, 500)), (Ok(()), Ok(())));
        assert_eq!(
            take(3, 600),
            Err(Limited { retry_after: Duration::from_millis(400) }),
            "room when 1 is full again"
        );
        assert_eq!(take(1, 600), Ok(()), "what is known goes on");
        assert_eq!(take(3, 1500), Ok(()));
        let route = |n: u8| Route {
            account: AccountId::new([n; 16]),
            device: DeviceId::new([n; 16]),
            node: 1,
            connection: 1,
        };
        let put = |n, at| now(memory.execute(EphemeralOp::PutRoute(route(n)), WallTime(at)));
        assert!(put(1, 0).is_ok());
        assert!(
            matches!(put(2, 1000), Err(EphemeralError::Full(Limited { retry_after })) if retry_after.as_secs() == 299)
        );
        assert!(put(2, 300_000).is_ok());
    }
}
