//! A proved phone number becomes an account, and gets a device.

use futures_util::future::{join, try_join};
use wire::{AccountId, DeviceId, PersonName, Phone, RequestId, Secret, WallTime};

use super::find_account::AccountInfo;
use super::{read, refresh};
use crate::keys;
use crate::record::{Account, Device, Family, Owner, Record, RecordError};
use crate::run::{Attempt, Body, OpError};
use crate::tx::Tx;

/// Creates the account of a proved phone number if there is none (C4: known or not, the same flow), adds the device,
/// and begins its token family. A repeat with the same device key is the same device and replaces its family.
///
/// A new device's cursors start at the entries that are last when it is added; older ones come as history. They are
/// written before it, page by page ([`Store::execute`](crate::Store::execute)).
#[derive(Debug, Clone)]
pub struct AddDevice {
    /// The proved number.
    pub phone: Phone,
    /// The name, for a new account; a known one keeps its own.
    pub name: PersonName,
    /// The id a new account gets.
    pub new_account: AccountId,
    /// The device: the hash of its key.
    pub device: DeviceId,
    /// Its Ed25519 public key.
    pub device_key: [u8; 32],
    /// What its owner calls it.
    pub device_name: String,
    /// The family of its tokens: a random id.
    pub family: RequestId,
    /// SHA-256 of the first refresh token's secret.
    pub refresh_hash: Secret<[u8; 32]>,
    /// When that token ends.
    pub refresh_expires: WallTime,
    /// The server's wall time.
    pub now: WallTime,
}

/// What [`AddDevice`] made.
#[derive(Debug, Clone)]
pub struct DeviceAdded {
    /// The account, with the name it has.
    pub account: AccountInfo,
    /// Whether the account is new.
    pub created: bool,
    /// Whether the device is new to the account, so that its others are told.
    pub device_new: bool,
}

/// Why no device was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddDeviceError {
    /// The device key belongs to another account.
    #[error("the device key belongs to another account")]
    KeyTaken,
    /// The account is suspended.
    #[error("the account is suspended")]
    Suspended,
}

impl Body for AddDevice {
    type Output = Result<DeviceAdded, AddDeviceError>;

    /// Shape: `a account`, `p phone`, `a account d device`, `d device`, `f family`. Cost: two reads, then two; a repeat, and the
    /// family that it ends, another.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let (phone_key, owner_key) = (keys::phone(&self.phone), keys::device_owner(self.device));
        let owners = join(read::get::<Owner, T>(tx, &phone_key), read::get::<Owner, T>(tx, &owner_key)).await;
        let (known, key_owner) = (owners.0?, owners.1?);
        let id = known.map_or(self.new_account, |owner| owner.0);
        if key_owner.is_some_and(|owner| owner.0 != id) {
            return Ok(Err(AddDeviceError::KeyTaken));
        }
        let (account_key, device_key) = (keys::account(id), keys::account_device(id, self.device));
        let (account, device) =
            try_join(read::get::<Account, T>(tx, &account_key), read::get::<Device, T>(tx, &device_key))
                .await?;
        let account = match known {
            Some(_) => account.ok_or(MISSING)?,
            None => self.make_account(tx),
        };
        if account.suspended {
            return Ok(Err(AddDeviceError::Suspended));
        }
        let account = AccountInfo { account: id, name: account.name };
        if let Some(device) = device.as_ref().filter(|device| device.family == self.family) {
            let (created, device_new) = (device.made_account, device.made_device);
            return Ok(Ok(DeviceAdded { account, created, device_new }));
        }
        if let Some(device) = &device {
            refresh::end_family(tx, device.family).await?;
        }
        self.make_device(tx, id, device.as_ref(), known.is_none());
        Ok(Ok(DeviceAdded { account, created: known.is_none(), device_new: device.is_none() }))
    }
}

const MISSING: RecordError =
    RecordError::Damaged { record: "account", what: "its number is there and it is not" };

impl AddDevice {
    fn make_account<T: Tx>(&self, tx: &mut T) -> Account {
        let account = Account {
            created_at: self.now,
            suspended: false,
            phone: self.phone.clone(),
            name: self.name.clone(),
        };
        tx.set(keys::account(self.new_account), account.encode());
        tx.set(keys::phone(&self.phone), Owner(self.new_account).encode());
        account
    }

    fn make_device<T: Tx>(&self, tx: &mut T, account: AccountId, old: Option<&Device>, made_account: bool) {
        let device = Device {
            key: self.device_key,
            added_at: old.map_or(self.now, |old| old.added_at),
            family: self.family,
            made_device: old.is_none(),
            made_account,
            name: self.device_name.clone(),
        };
        let family = Family {
            account,
            device: self.device,
            revoked: false,
            current: self.refresh_hash.clone(),
            current_expires: self.refresh_expires,
            previous: None,
        };
        tx.set(keys::account_device(account, self.device), device.encode());
        tx.set(keys::device_owner(self.device), Owner(account).encode());
        tx.set(keys::family(self.family), family.encode());
    }
}
