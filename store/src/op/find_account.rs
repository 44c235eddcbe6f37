//! The account of a phone number.

use wire::{AccountId, PersonName, Phone};

use super::read;
use crate::keys;
use crate::record::{Account, Owner};
use crate::run::{Attempt, Body, OpError};
use crate::tx::Tx;

/// The account of a phone number.
#[derive(Debug, Clone)]
pub struct FindAccount {
    /// The number.
    pub phone: Phone,
}

/// What others may know of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountInfo {
    /// Its id.
    pub account: AccountId,
    /// Its person's name.
    pub name: PersonName,
}

impl Body for FindAccount {
    type Output = Option<AccountInfo>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        match read::peek::<Owner, T>(tx, &keys::phone(&self.phone)).await? {
            Some(Owner(account)) => info(tx, account).await,
            None => Ok(None),
        }
    }
}

/// What others may know of an account, if it is there.
pub(super) async fn info<T: Tx>(tx: &T, account: AccountId) -> Result<Option<AccountInfo>, OpError> {
    let found = read::peek::<Account, T>(tx, &keys::account(account)).await?;
    Ok(found.map(|found| AccountInfo { account, name: found.name }))
}
