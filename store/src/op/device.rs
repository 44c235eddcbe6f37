//! Devices: whether one may have a session, and which there are.

use futures_util::future::join;
use wire::{AccountId, DeviceId, WallTime};

use super::read;
use crate::keys;
use crate::record::{Account, Device, Family};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// Whether a device may still have a session: account active, device not revoked.
#[derive(Debug, Clone)]
pub struct CheckDevice {
    /// Who.
    pub account: AccountId,
    /// Which device.
    pub device: DeviceId,
    /// If set, the family of the device's refresh tokens must be alive then too: not ended by reuse, not expired. That
    /// is what lets an access token that has only expired pass for early data.
    pub family_at: Option<WallTime>,
}

/// Why a device may not have a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No such account.
    #[error("no such account")]
    AccountUnknown,
    /// The account is suspended.
    #[error("the account is suspended")]
    Suspended,
    /// The device was revoked or logged out, or never was; or its refresh tokens are worth nothing any more.
    #[error("no such device on this account")]
    Revoked,
}

/// An account's devices.
#[derive(Debug, Clone)]
pub struct Devices {
    /// Whose.
    pub account: AccountId,
}

/// One device, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its id.
    pub device: DeviceId,
    /// What its owner calls it.
    pub name: String,
    /// When it was added.
    pub added_at: WallTime,
}

impl Body for CheckDevice {
    type Output = Result<(), DeviceError>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let family = match find(tx, self.account, self.device).await? {
            Ok((_, device)) => device.family,
            Err(refused) => return Ok(Err(refused)),
        };
        let Some(at) = self.family_at else { return Ok(Ok(())) };
        let family = read::get::<Family, T>(tx, &keys::family(family)).await?;
        let alive = family.is_some_and(|family| !family.revoked && at < family.current_expires);
        Ok(if alive { Ok(()) } else { Err(DeviceError::Revoked) })
    }
}

impl Body for Devices {
    type Output = Vec<DeviceInfo>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Vec<DeviceInfo>, OpError> {
        let devices = all(tx, self.account).await?.into_iter();
        let info = |(id, device): (_, Device)| DeviceInfo {
            device: id,
            name: device.name,
            added_at: device.added_at,
        };
        Ok(devices.map(info).collect())
    }
}

/// A device that may have a session, and its account.
pub(super) async fn find<T: Tx>(
    tx: &T,
    account: AccountId,
    device: DeviceId,
) -> Result<Result<(Account, Device), DeviceError>, OpError> {
    let (account_key, device_key) = (keys::account(account), keys::account_device(account, device));
    let found =
        join(read::get::<Account, T>(tx, &account_key), read::get::<Device, T>(tx, &device_key)).await;
    Ok(match (found.0?, found.1?) {
        (None, _) => Err(DeviceError::AccountUnknown),
        (Some(account), _) if account.suspended => Err(DeviceError::Suspended),
        (Some(_), None) => Err(DeviceError::Revoked),
        (Some(account), Some(device)) => Ok((account, device)),
    })
}

/// Every device of an account.
pub(super) async fn all<T: Tx>(tx: &T, account: AccountId) -> Result<Vec<(DeviceId, Device)>, OpError> {
    let range = Range::prefix(keys::account_devices(account)).snapshot();
    let devices = read::list::<Device, T>(tx, range).await?;
    Ok(devices.into_iter().map(|(id, device)| (DeviceId::new(id), device)).collect())
}
