//! When a person was last seen (R30).

use wire::{AccountId, WallTime};

use crate::keys;
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Atomic, Tx};

/// Keeps when an account's last connection ended; an earlier time than the one that is kept changes nothing.
#[derive(Debug, Clone)]
pub struct SawLast {
    /// Whose.
    pub account: AccountId,
    /// When.
    pub at: WallTime,
}

impl Body for SawLast {
    type Output = ();

    /// Cost: one write, no read, so two nodes never meet on it.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        tx.atomic(Atomic::Max, keys::last_seen(self.account), self.at.0);
        Ok(())
    }
}
