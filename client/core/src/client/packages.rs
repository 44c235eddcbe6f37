//! This device's key packages: some are always there for those who want to add it.

use std::time::{Duration, Instant};

use client_crypto::{Lifetime, MlsError, Use};
use rand::Rng;
use wire::event::Event;
use wire::request::{PublishKeyPackages, Request};
use wire::{ErrorCode, Refusal, Retry, WallTime, limits};

use super::Client;
use super::errands::Errand;
use crate::io::Now;
use crate::kept::{KeyPackages, Publishing, Write};

/// When fewer are left than this, or than half of what is published at a time, more are published.
const FEW: usize = limits::KEY_PACKAGES_STORED_MAX / 4;

/// How long one may be used from when it was made; it is good from a day before, for clocks that are slow.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
const EARLIER: Duration = Duration::from_secs(24 * 3600);

/// A last resort that ends within this is replaced.
const RENEW_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// A busy server is not asked again sooner.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Private halves are kept for this long after: a log may be read that much later than a device was added by it.
const KEPT_AFTER: Duration = Duration::from_secs(90 * 24 * 3600);

/// Places that stay free for those of last resort: one is made every sixty days, and each is kept for 180.
const LAST_RESORTS: usize = 4;

impl Client {
    /// The server says how many are left: publishes more if they are few, or what may not have arrived.
    pub(super) fn publish_if_few(&mut self, left: u32, now: Now) {
        let time = self.server_now(now);
        let standing = &self.key_packages;
        let resort_ends = standing.last_resort_until <= time + RENEW_WITHIN;
        let are_few = (left as usize) < FEW.min(self.key_packages_batch.div_ceil(2));
        if standing.publishing.is_none() && (are_few || resort_ends) {
            match self.make_key_packages(are_few, resort_ends, time) {
                Ok(()) => {}
                Err(error @ MlsError::Storage(_)) => return self.broken(&error),
                // As many are out as may be: those of last resort are left.
                Err(_) => return,
            }
        }
        self.publish(now);
    }

    fn make_key_packages(&mut self, batch: bool, resort: bool, time: WallTime) -> Result<(), MlsError> {
        let seconds = |time: WallTime| time.as_millis() / 1000;
        let from = seconds(time).saturating_sub(EARLIER.as_secs());
        let lifetime = Lifetime { from, until: seconds(time + LIFETIME) };
        self.crypto.drop_key_packages(seconds(time).saturating_sub(KEPT_AFTER.as_secs()))?;
        let (kept, _) = self.crypto.key_packages_kept()?;
        let room = (client_crypto::KEY_PACKAGES_MAX - LAST_RESORTS).saturating_sub(kept);
        let count = if batch { room.min(self.key_packages_batch) } else { 0 };
        let mut packages = Vec::new();
        if count > 0 {
            packages = self.crypto.key_packages(count, lifetime, Use::Once)?;
        }
        let last_resort = if resort {
            self.crypto.key_packages(1, lifetime, Use::LastResort)?.pop().map(Into::into)
        } else {
            None
        };
        if packages.is_empty() && last_resort.is_none() {
            return Ok(());
        }
        let last_resort_until =
            if resort { WallTime(lifetime.until * 1000) } else { self.key_packages.last_resort_until };
        let packages = packages.into_iter().map(Into::into).collect();
        let publishing = Some(Publishing { request: self.request_id(), packages, last_resort });
        self.keep_key_packages(KeyPackages { last_resort_until, publishing });
        Ok(())
    }

    fn publish(&mut self, now: Now) {
        let Some(Publishing { request, packages, last_resort }) = self.key_packages.publishing.clone() else {
            return;
        };
        let publish = PublishKeyPackages { request, packages, last_resort };
        self.run(Errand::Publish, &Request::PublishKeyPackages(publish), now);
    }

    /// What is not answered, or refused for now, goes again after a while, or with the next connection.
    pub(super) fn on_published(&mut self, events: &[Event], now: Now) {
        match events {
            [Event::KeyPackagesStored { .. }] => {
                self.keep_key_packages(KeyPackages { publishing: None, ..self.key_packages.clone() });
            }
            // So many are there that these are not needed; of last resort there is the one before.
            [Event::Refused(refusal)] if refusal.code == ErrorCode::KeyPackageInvalid => {
                self.keep_key_packages(KeyPackages::default());
            }
            [Event::Refused(refusal)] if refusal.retry == Retry::Reauthenticate => {
                self.on_hello_refused(ErrorCode::TokenExpired.refuse(), now);
            }
            _ => self.publish_again_at = self.again_after(events, now),
        }
    }

    /// Asks again for what the server was too busy for.
    pub(super) fn ask_again_due(&mut self, now: Now) {
        if self.publish_again_at.take_if(|at| *at <= now.instant).is_some() {
            self.publish(now);
        }
        if self.own_devices.again_at.take_if(|at| *at <= now.instant).is_some() {
            self.list_devices(now);
        }
    }

    /// When a request that was not answered is made again on this connection.
    pub(super) fn again_after(&mut self, events: &[Event], now: Now) -> Option<Instant> {
        let at_least = match events {
            [] => AGAIN_AFTER,
            [Event::Refused(Refusal { retry: Retry::After(after), .. })] => AGAIN_AFTER.max(*after),
            _ => return None,
        };
        Some(now.instant + at_least.mul_f64(self.rng.random_range(1.0..2.0)))
    }

    pub(super) fn keep_key_packages(&mut self, standing: KeyPackages) {
        self.persist(Write::KeyPackages(standing.clone()));
        self.key_packages = standing;
    }
}
