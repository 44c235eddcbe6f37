//! A device ends: its record, its tokens, its cursors.

use wire::{AccountId, ChatId, DeviceId, LogId, WallTime};

use super::device::DeviceError;
use super::{read, refresh};
use crate::keys;
use crate::record::{Account, AccountChat, Device};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx};

/// Ends a device. Idempotent: one that is already ended is `Ok`.
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
        if read::get::<Account, T>(tx, &keys::account(self.account)).await?.is_none() {
            return Ok(Err(DeviceError::AccountUnknown));
        }
        let key = keys::account_device(self.account, self.device);
        let Some(device) = read::get::<Device, T>(tx, &key).await? else { return Ok(Ok(())) };
        tx.clear(key);
        tx.clear(keys::device_owner(self.device));
        refresh::end_family(tx, device.family).await?;
        let range = Range::prefix(keys::account_chats(self.account)).snapshot();
        for (chat, _) in read::list::<AccountChat, T>(tx, range).await? {
            let log = LogId::Chat(ChatId::new(chat));
            tx.clear(keys::device_cursor(log, self.account, self.device));
        }
        Ok(Ok(()))
    }
}
