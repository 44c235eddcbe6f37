//! Key packages: published by the device that they add, claimed by whoever adds it.
//!
//! Invariant: what is stored names the device that published it, with its key, our cipher suite, and a lifetime that has begun
//! and not ended. Its signature is for who claims it to check, and nobody's but that device's would be of use to anybody.

use std::collections::BTreeSet;

use store::ephemeral::{Bucket, Take};
use store::op::{self, Claimed, ClaimedPackage, Op, OpOutput, PublishError};
use wire::event::KeyPackage;
use wire::{AccountId, ErrorCode, Event, WallTime, request};
use wire_mls::inspect;

use super::{Call, Identity, Step, mismatch};
use crate::io::{Effect, EffectOutput};
use crate::limits::Rates;
use crate::session::device_refusal;

/// `PublishKeyPackages` and `ClaimKeyPackages`.
#[derive(Debug)]
pub(crate) enum KeyPackagesCall {
    Publish,
    Claim,
}

impl KeyPackagesCall {
    pub(super) fn publish(
        who: Identity,
        now: WallTime,
        request: request::PublishKeyPackages,
    ) -> Result<Step, ErrorCode> {
        let request::PublishKeyPackages { request, packages, last_resort } = request;
        let are_own = packages.iter().all(|package| is_own(package, who, now, false))
            && last_resort.iter().all(|package| is_own(package, who, now, true));
        if !are_own {
            return Err(ErrorCode::KeyPackageInvalid);
        }
        let Identity { account, device } = who;
        let op = op::PublishKeyPackages { account, device, request, packages, last_resort };
        let effect = Effect::Store(Op::PublishKeyPackages(op));
        Ok(Step::perform(effect, Call::KeyPackages(KeyPackagesCall::Publish)))
    }

    pub(super) fn claim(request: request::ClaimKeyPackages) -> Step {
        let request::ClaimKeyPackages { accounts, after } = request;
        let effect = Effect::Store(Op::ClaimKeyPackages(op::ClaimKeyPackages { accounts, after }));
        Step::perform(effect, Call::KeyPackages(KeyPackagesCall::Claim))
    }

    pub(super) fn resume(self, output: EffectOutput) -> Step {
        match (self, output) {
            (KeyPackagesCall::Publish, EffectOutput::Store(OpOutput::PublishKeyPackages(result))) => {
                match result {
                    Ok(count) => Step::answer(&Event::KeyPackagesStored { count }),
                    Err(PublishError::Device(error)) => Step::Refuse(device_refusal(error)),
                    Err(PublishError::Invalid | PublishError::Full { .. }) => {
                        ErrorCode::KeyPackageInvalid.into()
                    }
                }
            }
            (KeyPackagesCall::Claim, EffectOutput::Store(OpOutput::ClaimKeyPackages(claimed))) => {
                let Claimed { packages, has_more } = claimed;
                let packages = packages.into_iter().map(package).collect();
                Step::answer(&Event::KeyPackages { packages, has_more })
            }
            (_, other) => mismatch("a key package op", &other),
        }
    }
}

/// What a claim counts against: one token for each account that is asked for, of who asks and of the two together.
pub(super) fn claim_takes(rates: &Rates, who: Identity, claim: &request::ClaimKeyPackages) -> Vec<Take> {
    let by = who.account;
    let requests = Take { bucket: Bucket::Requests(by), rate: Rates::per_minute(rates.requests_per_minute) };
    let claims = Take { bucket: Bucket::Claims(by), rate: Rates::per_hour(rates.claims_per_hour) };
    let rate = Rates::per_hour(rates.claims_of_one_per_hour);
    // Those before it were answered, and counted, before.
    let from = claim.after.map(|(account, _)| account);
    let asked = claim.accounts.iter().copied().filter(|account| Some(*account) >= from);
    let asked: BTreeSet<AccountId> = asked.collect();
    let of_each =
        asked.into_iter().flat_map(|of| [claims.clone(), Take { bucket: Bucket::ClaimsOf { by, of }, rate }]);
    std::iter::once(requests).chain(of_each).collect()
}

/// Whether a key package adds this very device, at this time, and as often as it is meant to.
fn is_own(package: &[u8], who: Identity, now: WallTime, last_resort: bool) -> bool {
    let Ok(seen) = inspect::key_package(package) else { return false };
    let now_s = now.as_millis() / 1000;
    // That the key is the device's is what its id says.
    (seen.leaf.account, seen.leaf.device) == (who.account, who.device)
        && (seen.lifetime.from..seen.lifetime.until).contains(&now_s)
        && seen.last_resort == last_resort
}

fn package(claimed: ClaimedPackage) -> KeyPackage {
    let ClaimedPackage { account, device, package, last_resort } = claimed;
    KeyPackage { account, device, bytes: package, last_resort }
}
