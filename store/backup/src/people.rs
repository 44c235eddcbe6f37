//! Accounts and the outbox, read after the logs: each account that a log names exists by then.
//!
//! An account and the key of its number, a device and its owner and tokens, are each read at one version, so that none is
//! there without the other. Tokens of devices that have ended are left out: they are refused either way. So are key packages,
//! but for the last resort: a restored one that was handed out meanwhile would be handed out again, to be refused by a device
//! that has used it; what a restored store has none of its devices publish.

use bytes::Bytes;
use futures_util::future::{join3, try_join_all};
use store::Clock;
use store::keys;
use store::parsed::Key;
use store::record::{Account, Device, Owner, Record};
use store::run::{Attempt, Body, OpError};
use store::tx::{Backend, Range, Tx, after_prefix};
use wire::{AccountId, DeviceId};

use crate::BackupError;
use crate::access::{Access, Page, Pair, ReadPage, Scan, read_page};
use crate::logs::unknown;
use crate::object::Writer;

/// Bytes of accounts' own keys in a page; with what is read along with them it stays well within five seconds.
const ACCOUNTS_BYTES: usize = 32 << 10;

/// Writes every account with all that is its own. `wrote` hears of pages.
pub(crate) async fn write<B: Backend, C: Clock>(
    access: &Access<B, C>,
    writer: &mut Writer<'_>,
    wrote: &(dyn Fn(&[Pair]) + Send + Sync),
) -> Result<(), BackupError> {
    let mut begin = Some(Bytes::from_static(b"a"));
    while let Some(from) = begin {
        let page = access.run(&People { begin: from }).await?;
        known(&page.pairs)?;
        writer.write(&page.pairs).await?;
        wrote(&page.pairs);
        begin = page.next;
    }
    Ok(())
}

/// Writes the outbox. What of it has no entry in the backup is told by who restores it.
pub(crate) async fn write_outbox<B: Backend, C: Clock>(
    access: &Access<B, C>,
    writer: &mut Writer<'_>,
    wrote: &(dyn Fn(&[Pair]) + Send + Sync),
) -> Result<(), BackupError> {
    let mut scan = Scan::new(access, [(Bytes::from_static(b"o"), Bytes::from_static(b"p"))]);
    loop {
        scan.fill().await?;
        let page = scan.take_page();
        if page.is_empty() {
            return Ok(());
        }
        known(&page)?;
        writer.write(&page).await?;
        wrote(&page);
    }
}

/// Whether the store has keys that none of the readers here looks at.
pub(crate) async fn only_known_letters<B: Backend, C: Clock>(
    access: &Access<B, C>,
) -> Result<(), BackupError> {
    let [before, (after, end)] = keys::all_but_the_stores_own();
    let letters = *b"adfklop";
    let at = |letter: u8| Bytes::copy_from_slice(&[letter]);
    let begins = std::iter::once(after).chain(letters.map(|letter| at(letter + 1)));
    let ends = letters.map(at).into_iter().chain(std::iter::once(end));
    let gaps = begins.zip(ends).filter(|(begin, end)| begin < end);
    let mut scan = Scan::new(access, std::iter::once(before).chain(gaps));
    scan.fill().await?;
    scan.take().map_or(Ok(()), |(key, _)| Err(unknown(&key)))
}

fn known(pairs: &[Pair]) -> Result<(), BackupError> {
    match pairs.iter().find(|(key, _)| Key::parse(key).is_none()) {
        Some((key, _)) => Err(unknown(key)),
        None => Ok(()),
    }
}

/// A page of accounts' own keys, each with what belongs to it elsewhere.
struct People {
    begin: Bytes,
}

impl Body for People {
    type Output = Page;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Page, OpError> {
        let tx = &*tx;
        let end = Bytes::from_static(b"b");
        let page = ReadPage { begin: self.begin.clone(), end, bytes_max: ACCOUNTS_BYTES };
        let Page { pairs, next } = read_page(tx, &page).await?;
        let along = try_join_all(pairs.iter().map(|pair| along(tx, pair))).await?;
        let pairs = pairs.into_iter().chain(along.into_iter().flatten()).collect();
        Ok(Page { pairs, next })
    }
}

/// What belongs to a key of an account elsewhere.
async fn along<T: Tx>(tx: &T, (key, value): &Pair) -> Result<Vec<Pair>, OpError> {
    match Key::parse(key) {
        Some(Key::Account(account)) => {
            let phone = keys::phone(&Account::decode(value)?.phone);
            Ok(owned(tx, phone, account).await?.into_iter().collect())
        }
        Some(Key::AccountDevice(account, device)) => device_along(tx, account, device, value).await,
        _ => Ok(Vec::new()),
    }
}

async fn device_along<T: Tx>(
    tx: &T,
    account: AccountId,
    device: DeviceId,
    value: &[u8],
) -> Result<Vec<Pair>, OpError> {
    let family = Device::decode(value)?.family;
    let (begin, used) = (keys::family(family), keys::family_used_prefix(family));
    // A family's own key and those of its older tokens lie together.
    let range = Range::new(begin, after_prefix(&used)).snapshot();
    let last_resort_key = keys::last_resort(device);
    let (owner, tokens, last_resort) = join3(
        owned(tx, keys::device_owner(device), account),
        tx.range(range),
        tx.get_snapshot(&last_resort_key),
    )
    .await;
    let last_resort = last_resort?.map(|value| (last_resort_key.clone(), value));
    Ok(owner?.into_iter().chain(tokens?).chain(last_resort).collect())
}

/// A key that says whose something is, if it is this account's.
async fn owned<T: Tx>(tx: &T, key: Bytes, account: AccountId) -> Result<Option<Pair>, OpError> {
    let Some(value) = tx.get_snapshot(&key).await? else { return Ok(None) };
    let owner = Owner::decode(&value)?;
    Ok((owner.0 == account).then_some((key, value)))
}
