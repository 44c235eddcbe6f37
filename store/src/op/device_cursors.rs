//! Where a device is in each of its account's chats, all of them: a key per chat, so in pages. One transaction for all
//! would go over its limit for somebody with some ten thousand chats.
//!
//! Invariant: a page changes nothing of a device that has a record. So it may be repeated, late or alone, and neither
//! moves a live device's cursor nor takes it away.

use futures_util::future::{try_join, try_join_all};
use wire::{AccountId, ChatId, DeviceId, Epoch, LogId, Phone};

use super::read;
use crate::keys;
use crate::record::{AccountChat, Device, DeviceCursor, Head, Owner, Record};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx, after_key};

/// Chats of one page: some 100 KB of a transaction.
const CHATS_MAX: usize = 500;

/// A page of chats in which a device that is about to be added to a phone number's account gets a cursor, at the head.
/// The device's record is written after the last page: until then nobody sees any of it.
#[derive(Debug)]
pub(crate) struct StartCursors<'a> {
    pub(crate) phone: &'a Phone,
    pub(crate) device: DeviceId,
    /// Chats with ids above this.
    pub(crate) after: Option<ChatId>,
}

/// A page of chats from which the cursors of a device that has ended are cleared. It says in which of them there is a group.
#[derive(Debug)]
pub(crate) struct ForgetCursors {
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    /// Chats with ids above this.
    pub(crate) after: Option<ChatId>,
}

/// All chats of a device that has ended were told.
#[derive(Debug)]
pub(crate) struct Forgotten {
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
}

impl Body for Forgotten {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<(), OpError> {
        tx.clear(keys::former(LogId::Device(self.device), self.account));
        Ok(())
    }
}

impl Body for StartCursors<'_> {
    /// After which chat the next page begins; `None` if there is none.
    type Output = Option<ChatId>;

    /// Shape: `l log d account device` per chat. Cost: two reads, a range, and one read per chat.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let Some(Owner(account)) = read::get::<Owner, T>(tx, &keys::phone(self.phone)).await? else {
            return Ok(None);
        };
        let Some((logs, next)) = page(tx, account, self.device, self.after).await? else { return Ok(None) };
        let reader = &*tx;
        let heads =
            try_join_all(logs.iter().map(async |log| read::peek::<Head, T>(reader, &keys::head(*log)).await));
        for (log, head) in logs.iter().zip(heads.await?) {
            let cursor = DeviceCursor { delivered: head.unwrap_or_default().seq };
            tx.set(keys::device_cursor(*log, account, self.device), cursor.encode());
        }
        Ok(next)
    }
}

impl Body for ForgetCursors {
    /// The chats with a group, and as that of [`StartCursors`].
    type Output = (Vec<LogId>, Option<ChatId>);

    /// Cost: one read, a range, and one read per chat.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let page = page(tx, self.account, self.device, self.after).await?;
        let Some((mut logs, next)) = page else { return Ok((Vec::new(), None)) };
        for log in &logs {
            tx.clear(keys::device_cursor(*log, self.account, self.device));
        }
        let epochs = epochs(&*tx, &logs).await?;
        let mut epochs = epochs.into_iter();
        logs.retain(|_| epochs.next().is_some_and(|epoch| epoch > Epoch::ZERO));
        Ok((logs, next))
    }
}

async fn epochs<T: Tx>(tx: &T, logs: &[LogId]) -> Result<Vec<Epoch>, OpError> {
    try_join_all(logs.iter().map(async |log| {
        let head = read::peek::<Head, T>(tx, &keys::head(*log)).await?;
        Ok(head.unwrap_or_default().epoch)
    }))
    .await
}

/// Some chats, and after which of them the next page begins; `None` if the device has a record, which conflicts with
/// its being written meanwhile.
async fn page<T: Tx>(
    tx: &T,
    account: AccountId,
    device: DeviceId,
    after: Option<ChatId>,
) -> Result<Option<(Vec<LogId>, Option<ChatId>)>, OpError> {
    let device_key = keys::account_device(account, device);
    let mut range = Range::prefix(keys::account_chats(account)).limit(CHATS_MAX).snapshot();
    if let Some(after) = after {
        range.begin = after_key(&keys::account_chat(account, after));
    }
    let device = read::get::<Device, T>(tx, &device_key);
    let (device, chats) = try_join(device, read::list::<AccountChat, T>(tx, range)).await?;
    if device.is_some() {
        return Ok(None);
    }
    let next = chats.last().filter(|_| chats.len() == CHATS_MAX).map(|(id, _)| ChatId::new(*id));
    Ok(Some((chats.into_iter().map(|(id, _)| LogId::Chat(ChatId::new(id))).collect(), next)))
}
