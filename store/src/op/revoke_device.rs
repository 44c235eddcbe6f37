//! A device ends: its record and its tokens.

use futures_util::future::try_join;
use wire::{AccountId, DeviceId, WallTime};

use super::device::DeviceError;
use super::{read, refresh};
use crate::keys;
use crate::record::{Account, Device};
use crate::run::{Attempt, Body, OpError};
use crate::tx::Tx;

/// Ends a device. Idempotent: one that is already ended is `Ok`. Its cursors are cleared after it, page by page
/// ([`Store::execute`](crate::Store::execute)).
#[derive(Debug, Clone)]
pub struct RevokeDevice {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// The server's wall time.
    pub now: WallTime,
}

impl Body for RevokeDevice {
    type Output = Result<(), DeviceError>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let (account_key, key) =
            (keys::account(self.account), keys::account_device(self.account, self.device));
        let (account, device) =
            try_join(read::get::<Account, T>(tx, &account_key), read::get::<Device, T>(tx, &key)).await?;
        if account.is_none() {
            return Ok(Err(DeviceError::AccountUnknown));
        }
        let Some(device) = device else { return Ok(Ok(())) };
        tx.clear(key);
        tx.clear(keys::device_owner(self.device));
        refresh::end_family(tx, device.family).await?;
        Ok(Ok(()))
    }
}
