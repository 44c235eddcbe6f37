//! A device ends: its record and its tokens.

use futures_util::future::try_join;
use wire::{AccountId, DeviceId, LogId, Seq, WallTime};

use super::device::DeviceError;
use super::leave::Left;
use super::{read, refresh};
use crate::keys;
use crate::record::{Account, Device, Former, Present, Record};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Tx, after_prefix};

/// Ends a device: its record, its tokens, its key packages and its inbox. Idempotent: one that is already ended is `Ok`.
///
/// Afterwards, page by page ([`Store::execute`](crate::Store::execute)), its cursors are cleared, and each chat whose group it
/// is in gets an entry that says so; the next commit there must remove its leaf. What cannot be done of it now the sweeper does:
/// whose device it was stays in the inbox's log until all is done, and an outbox key without an entry names it.
#[derive(Debug, Clone)]
pub struct RevokeDevice {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// The server's wall time.
    pub now: WallTime,
}

/// What [`RevokeDevice`] did beside ending the device.
#[derive(Debug, Clone, Default)]
pub struct DeviceRevoked {
    /// What it appended to chats, for fan-out. The first [`TOLD_MAX`](DeviceRevoked::TOLD_MAX) of them: of others the sweeper
    /// tells.
    pub told: Vec<Left>,
}

impl DeviceRevoked {
    /// How many chats' members are told at once: each has up to 256.
    pub const TOLD_MAX: usize = 64;
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
        let inbox = LogId::Device(self.device);
        for own in [keys::key_packages(self.device), keys::log(inbox)] {
            let end = after_prefix(&own);
            tx.clear_range(own, end);
        }
        let former = Former { joined: Seq::ZERO, left: Seq::ZERO, left_at: self.now };
        tx.set(keys::former(inbox, self.account), former.encode());
        tx.set(keys::outbox(self.now, inbox, Seq::ZERO), Present.encode());
        refresh::end_family(tx, device.family).await?;
        Ok(Ok(()))
    }
}
