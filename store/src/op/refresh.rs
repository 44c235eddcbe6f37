//! Refresh tokens: rotated on each use, and a family ended by reuse (C1).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use wire::{AccountId, DeviceId, Phone, RequestId, Secret, WallTime};

use super::device::{self, DeviceError};
use super::read;
use crate::keys;
use crate::record::{Family, PreviousToken, Record, UsedToken};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx, after_prefix};

/// Used tokens that one rotation looks at. It starts at a random one (a hash) and drops those that have expired, so
/// that a family in use settles at about one expired token in sixteen.
const USED_LOOKED_AT: usize = 16;

/// Rotates a refresh token. `presented` and `successor` are SHA-256 of the secrets; the successor is derived from the
/// presented token and the request id, so that a repeat gets the same one.
///
/// The current token: it becomes the previous one, the successor current. The previous token with the id that rotated
/// it: a repeat. The previous token with another id: the successor is replaced, as long as it was not used itself
/// (the client lost the reply); anything older is reuse and ends the family.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// The family the token names.
    pub family: RequestId,
    /// The device whose proof came with it: a family of another device is unknown to it.
    pub device: DeviceId,
    /// SHA-256 of the presented secret.
    pub presented: Secret<[u8; 32]>,
    /// The client's id for this request.
    pub request: RequestId,
    /// SHA-256 of the successor's secret.
    pub successor: Secret<[u8; 32]>,
    /// When the successor ends.
    pub successor_expires: WallTime,
    /// The server's wall time.
    pub now: WallTime,
}

/// A rotated token's bearer.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// Whose it is.
    pub account: AccountId,
    /// Its phone number, for the new token's claims.
    pub phone: Phone,
    /// When the successor ends; for a repeat, as the first time.
    pub expires: WallTime,
}

/// Why a token was not rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// No such family, or not a token of it that ever was.
    #[error("no such refresh token")]
    Unknown,
    /// The token is too old.
    #[error("the refresh token has expired")]
    Expired,
    /// The family was ended: by logout, by revocation or by reuse.
    #[error("the token's family was revoked")]
    Revoked,
    /// This was reuse: the family is now ended, and its device with it begins no session any more.
    #[error("the refresh token was used before; its family is now revoked")]
    Reused {
        /// Whose device it is.
        account: AccountId,
    },
    /// See [`DeviceError`].
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl Body for Refresh {
    type Output = Result<Refreshed, RefreshError>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let found = read::get::<Family, T>(tx, &keys::family(self.family)).await?;
        let Some(mut family) = found.filter(|family| family.device == self.device) else {
            return Ok(Err(RefreshError::Unknown));
        };
        if family.revoked {
            return Ok(Err(RefreshError::Revoked));
        }
        let (account, _) = match device::find(tx, family.account, family.device).await? {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused.into())),
        };
        let before = family.clone();
        match self.turn(&mut family) {
            Turn::Done => {}
            Turn::Expired => return Ok(Err(RefreshError::Expired)),
            Turn::Older => return self.older(tx, family.account).await,
        }
        if family != before {
            tx.set(keys::family(self.family), family.encode());
            self.retire(tx, &before, &family).await?;
        }
        let expires = family.current_expires;
        Ok(Ok(Refreshed { account: family.account, phone: account.phone, expires }))
    }
}

/// What a presented token does to its family.
enum Turn {
    Done,
    Expired,
    Older,
}

impl Refresh {
    fn turn(&self, family: &mut Family) -> Turn {
        if same(&self.presented, &family.current) {
            if self.now >= family.current_expires {
                return Turn::Expired;
            }
            let hash = std::mem::replace(&mut family.current, self.successor.clone());
            let expires = std::mem::replace(&mut family.current_expires, self.successor_expires);
            family.previous = Some(PreviousToken { hash, expires, request: self.request });
            return Turn::Done;
        }
        let Some(previous) = family.previous.as_mut().filter(|p| same(&self.presented, &p.hash)) else {
            return Turn::Older;
        };
        if self.now >= previous.expires {
            return Turn::Expired;
        }
        if previous.request != self.request {
            previous.request = self.request;
            family.current_expires = self.successor_expires;
        }
        family.current = self.successor.clone();
        Turn::Done
    }

    /// A token that is neither current nor previous: reuse if it ever was one, else a guess, which ends nothing.
    async fn older<T: Tx>(
        &self,
        tx: &mut T,
        account: AccountId,
    ) -> Result<Result<Refreshed, RefreshError>, OpError> {
        let key = keys::family_used(self.family, self.presented.expose());
        if read::get::<UsedToken, T>(tx, &key).await?.is_none() {
            return Ok(Err(RefreshError::Unknown));
        }
        end_family(tx, self.family).await?;
        Ok(Err(RefreshError::Reused { account }))
    }

    /// Keeps the token that a rotation pushed out of the record, and drops a few that have expired.
    async fn retire<T: Tx>(&self, tx: &mut T, before: &Family, after: &Family) -> Result<(), OpError> {
        let Some(old) = before.previous.as_ref() else { return Ok(()) };
        if after.previous.as_ref().is_some_and(|previous| previous.hash == old.hash) {
            return Ok(());
        }
        let used = UsedToken { expires: old.expires };
        tx.set(keys::family_used(self.family, old.hash.expose()), used.encode());
        let begin = keys::family_used(self.family, self.successor.expose());
        let end = after_prefix(&keys::family_used_prefix(self.family));
        let range = Range::new(begin, end).limit(USED_LOOKED_AT).snapshot();
        for (key, used) in read::pairs::<UsedToken, T>(tx, range).await? {
            if used.expires <= self.now {
                tx.clear(key);
            }
        }
        Ok(())
    }
}

fn same(a: &Secret<[u8; 32]>, b: &Secret<[u8; 32]>) -> bool {
    verify_slices_are_equal(a.expose(), b.expose()).is_ok()
}

/// Ends a family: none of its tokens is good for anything any more.
pub(super) async fn end_family<T: Tx>(tx: &mut T, id: RequestId) -> Result<(), OpError> {
    let key = keys::family(id);
    if let Some(family) = read::get::<Family, T>(tx, &key).await? {
        tx.set(key, Family { revoked: true, ..family }.encode());
    }
    let used = keys::family_used_prefix(id);
    let end = after_prefix(&used);
    tx.clear_range(used, end);
    Ok(())
}
