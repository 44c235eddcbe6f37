//! Key packages: what a device is added to a group by. Each is handed out once; when none is left, the one of last resort.

use std::ops::Bound;

use bytes::Bytes;
use futures_util::future::{try_join, try_join_all};
use wire::{AccountId, DeviceId, RequestId, limits};

use super::device::{self, DeviceError};
use super::read;
use super::table::Table;
use crate::keys;
use crate::record::{self, Record, Stock};
use crate::run::{Attempt, Body, OpError};
use crate::tx::Tx;

/// Stores key packages of a device.
#[derive(Debug, Clone)]
pub struct PublishKeyPackages {
    /// Whose device.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// The idempotency key: the last request of a device is known, and changes nothing when it is repeated. A device
    /// publishes one lot after another.
    pub request: RequestId,
    /// At most [`limits::KEY_PACKAGES_PUBLISHED_MAX`], each of 1 to [`limits::KEY_PACKAGE_BYTES_MAX`] bytes.
    pub packages: Vec<Bytes>,
    /// Replaces the one of last resort.
    pub last_resort: Option<Bytes>,
}

/// Why no key package was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The device is not a current one.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// One is empty or too large, or there are too many in one request.
    #[error("a key package is empty or too large, or there are too many")]
    Invalid,
    /// More than [`limits::KEY_PACKAGES_STORED_MAX`] would be stored.
    #[error("{stored} key packages are stored, and these would be too many")]
    Full {
        /// How many there are.
        stored: u32,
    },
}

/// Takes one key package of each current device of some accounts. What is taken is not handed out again, whether or not its
/// answer is heard.
#[derive(Debug, Clone)]
pub struct ClaimKeyPackages {
    /// Whose; at most [`limits::CLAIM_ACCOUNTS_MAX`].
    pub accounts: Vec<AccountId>,
    /// Devices after this one.
    pub after: Option<(AccountId, DeviceId)>,
}

/// What [`ClaimKeyPackages`] took.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// By account and device; at most [`limits::CLAIM_DEVICES_MAX`], and [`limits::CLAIM_BYTES_MAX`] bytes of packages.
    pub packages: Vec<ClaimedPackage>,
    /// Whether there are more devices after the last.
    pub has_more: bool,
}

/// One device of those that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedPackage {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// Its key package; `None` if it has none left.
    pub package: Option<Bytes>,
    /// Whether that is the one of last resort.
    pub last_resort: bool,
}

impl Body for PublishKeyPackages {
    type Output = Result<u32, PublishError>;

    /// Shape: `k device s`, `k device p number` each, `k device l`. Cost: three reads, together.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        if !self.is_valid() {
            return Ok(Err(PublishError::Invalid));
        }
        let stock_key = keys::key_package_stock(self.device);
        let found = device::find(&*tx, self.account, self.device);
        let (found, stock) = try_join(found, read::get::<Stock, T>(&*tx, &stock_key)).await?;
        if let Err(refused) = found {
            return Ok(Err(refused.into()));
        }
        if let Some(stock) = stock.filter(|stock| stock.request == self.request) {
            return Ok(Ok(stock.count() as u32));
        }
        let (first, mut next) = stock.map_or((0, 0), |stock| (stock.first, stock.next));
        let stored = next - first;
        if stored + self.packages.len() as u64 > limits::KEY_PACKAGES_STORED_MAX as u64 {
            return Ok(Err(PublishError::Full { stored: stored as u32 }));
        }
        for package in &self.packages {
            tx.set(keys::key_package(self.device, next), record::encode_entry(package).0);
            next += 1;
        }
        if let Some(last_resort) = &self.last_resort {
            tx.set(keys::last_resort(self.device), record::encode_entry(last_resort).0);
        }
        let stock = Stock { first, next, request: self.request };
        tx.set(stock_key, stock.encode());
        Ok(Ok(stock.count() as u32))
    }
}

impl PublishKeyPackages {
    fn is_valid(&self) -> bool {
        let mut all = self.packages.iter().chain(&self.last_resort);
        self.packages.len() <= limits::KEY_PACKAGES_PUBLISHED_MAX
            && all.all(|package| (1..=limits::KEY_PACKAGE_BYTES_MAX).contains(&package.len()))
    }
}

/// What is stored of one device's key packages.
struct Shelf {
    stock: Option<Stock>,
    package: Option<Bytes>,
    last_resort: Option<Bytes>,
}

impl Body for ClaimKeyPackages {
    type Output = Claimed;

    /// Shape: `k device s`, and what it names cleared. Whoever takes the same package meanwhile conflicts.
    ///
    /// Cost: a range for each account; then a read for each device; then another two, together.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Claimed, OpError> {
        let (devices, mut has_more) = self.devices(&*tx).await?;
        let reader = &*tx;
        let shelves = try_join_all(devices.iter().map(|(_, device)| Shelf::read(reader, *device))).await?;
        let (mut packages, mut bytes) = (Vec::with_capacity(devices.len()), 0);
        for ((account, device), shelf) in devices.into_iter().zip(shelves) {
            let package = shelf.package.as_ref().or(shelf.last_resort.as_ref()).cloned();
            bytes += package.as_ref().map_or(0, Bytes::len);
            if bytes > limits::CLAIM_BYTES_MAX && !packages.is_empty() {
                has_more = true;
                break;
            }
            let last_resort = shelf.package.is_none() && package.is_some();
            shelf.take(tx, device);
            packages.push(ClaimedPackage { account, device, package, last_resort });
        }
        Ok(Claimed { packages, has_more })
    }
}

impl ClaimKeyPackages {
    /// The devices that are next, and whether there are more.
    async fn devices<T: Tx>(&self, tx: &T) -> Result<(Vec<(AccountId, DeviceId)>, bool), OpError> {
        let from = self.after.map(|(account, _)| account);
        let accounts = self.accounts.iter().copied().filter(|account| Some(*account) >= from);
        let mut accounts: Vec<AccountId> = accounts.take(limits::CLAIM_ACCOUNTS_MAX).collect();
        let found = Table::read(accounts.clone(), |account| device::all(tx, account)).await?;
        accounts.sort_unstable();
        accounts.dedup();
        let devices = accounts
            .into_iter()
            .flat_map(|account| found.of(account).iter().map(move |(device, _)| (account, *device)));
        let after = self.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut devices: Vec<_> = devices
            .filter(|device| match after {
                Bound::Excluded(after) => *device > after,
                _ => true,
            })
            .collect();
        let has_more = devices.len() > limits::CLAIM_DEVICES_MAX;
        devices.truncate(limits::CLAIM_DEVICES_MAX);
        Ok((devices, has_more))
    }
}

impl Shelf {
    async fn read<T: Tx>(tx: &T, device: DeviceId) -> Result<Shelf, OpError> {
        let stock = read::get::<Stock, T>(tx, &keys::key_package_stock(device)).await?;
        let first = stock.filter(|stock| stock.count() > 0).map(|stock| stock.first);
        let package = async {
            match first {
                Some(number) => bytes_of(tx, &keys::key_package(device, number)).await,
                None => Ok(None),
            }
        };
        let last_resort_key = keys::last_resort(device);
        let (package, last_resort) = try_join(package, bytes_of(tx, &last_resort_key)).await?;
        Ok(Shelf { stock, package, last_resort })
    }

    /// What is taken is not there any more.
    fn take<T: Tx>(&self, tx: &mut T, device: DeviceId) {
        let Some(stock) = self.stock.filter(|stock| stock.count() > 0) else { return };
        tx.clear(keys::key_package(device, stock.first));
        let stock = Stock { first: stock.first + 1, ..stock };
        tx.set(keys::key_package_stock(device), stock.encode());
    }
}

/// Bytes that are stored as they are. The stock is what two who take conflict on.
async fn bytes_of<T: Tx>(tx: &T, key: &[u8]) -> Result<Option<Bytes>, OpError> {
    let value = tx.get_snapshot(key).await?;
    Ok(value.map(|value| record::decode_entry(&value)).transpose()?.map(|(bytes, _)| bytes))
}
