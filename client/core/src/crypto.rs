//! This device's end of every chat's group, as the rest of the client calls it: by chat.
//!
//! Nothing is decided here. What a call changed waits as rows for [`Crypto::drain`], which the client does before anything
//! leaves it.

use client_crypto::{
    Change, Committed, DeviceKey, Entry, GroupName, Joined, Kv, Leaves, Lifetime, Mls, MlsError, Received,
    Row, Use, Wanted,
};
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, Epoch, Secret};

use crate::group::Stage;
use crate::kept::Sealed;

/// The state of all groups, once it is known whose device this is.
pub(crate) struct Crypto {
    kv: Box<dyn Kv + Send>,
    mls: Option<Mls>,
}

type Done<T> = Result<T, MlsError>;

impl Crypto {
    pub(crate) fn new(kv: Box<dyn Kv + Send>) -> Crypto {
        Crypto { kv, mls: None }
    }

    /// Whose device this is. What another account's had is left as it is: its groups are none of this one's.
    pub(crate) fn login(&mut self, account: AccountId, key: &Secret<[u8; 32]>, seed: [u8; 32]) {
        if self.mls.as_ref().is_none_or(|mls| mls.own().account != account) {
            self.mls = Some(Mls::new(account, DeviceKey::from_seed(key.expose()), seed));
        }
    }

    /// Rows that changed since the last time.
    pub(crate) fn drain(&mut self) -> Vec<Row> {
        self.mls.as_mut().map(Mls::drain).unwrap_or_default()
    }

    fn with<T>(&mut self, call: impl FnOnce(&mut Mls, &dyn Kv) -> Done<T>) -> Done<T> {
        let mls = self.mls.as_mut().ok_or(MlsError::NotMember)?;
        call(mls, &*self.kv)
    }

    /// How far this device is in a chat's group.
    pub(crate) fn stage(&mut self, chat: ChatId) -> Done<Stage> {
        match self.with(|mls, kv| mls.epoch(kv, GroupName::Chat(chat))) {
            Ok(0) => Ok(Stage::Creating),
            Ok(epoch) => Ok(Stage::Inside(Epoch(epoch))),
            Err(MlsError::NotMember) => Ok(Stage::Outside),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn members(&mut self, chat: ChatId) -> Done<Leaves> {
        self.with(|mls, kv| mls.members(kv, GroupName::Chat(chat)))
    }

    /// Seals a content for the epoch that the group is in.
    pub(crate) fn seal(
        &mut self,
        chat: ChatId,
        epoch: Epoch,
        id: ClientMsgId,
        content: &[u8],
    ) -> Done<Sealed> {
        let sealed = self.with(|mls, kv| mls.encrypt(kv, GroupName::Chat(chat), id, content))?;
        Ok(Sealed { epoch, content: sealed.into() })
    }

    pub(crate) fn needs_update(&mut self, chat: ChatId) -> Done<bool> {
        self.with(|mls, kv| mls.needs_update(kv, GroupName::Chat(chat)))
    }

    pub(crate) fn look_at_commit(&mut self, chat: ChatId, entry: &wire::event::Entry) -> Done<Change> {
        self.with(|mls, kv| mls.look_at_commit(kv, &Entry::of(chat, entry)))
    }

    pub(crate) fn receive(&mut self, chat: ChatId, entry: &wire::event::Entry) -> Done<Received> {
        self.with(|mls, kv| mls.receive(kv, &Entry::of(chat, entry)))
    }

    pub(crate) fn join(
        &mut self,
        chat: ChatId,
        welcome: &[u8],
        tree: &[u8],
        may: impl FnOnce(&Leaves) -> bool,
    ) -> Done<Joined> {
        self.with(|mls, kv| mls.join_if(kv, GroupName::Chat(chat), welcome, tree, may))
    }

    /// The first commit of a chat; `now` in wall seconds, as everywhere here.
    pub(crate) fn create(
        &mut self,
        chat: ChatId,
        adds: &[Vec<u8>],
        id: ClientMsgId,
        now: u64,
    ) -> Done<Committed> {
        self.with(|mls, kv| mls.create(kv, GroupName::Chat(chat), adds, id, now))
    }

    pub(crate) fn commit(
        &mut self,
        chat: ChatId,
        adds: &[Vec<u8>],
        removes: &[DeviceId],
        id: ClientMsgId,
        now: u64,
    ) -> Done<Committed> {
        self.with(|mls, kv| mls.commit(kv, GroupName::Chat(chat), &Wanted { adds, removes }, id, now))
    }

    /// Drops the chat's pending commit, if there is one; a group that it would have made goes with it.
    pub(crate) fn drop_pending(&mut self, chat: ChatId) -> Done<()> {
        absent(self.with(|mls, kv| mls.drop_pending(kv, GroupName::Chat(chat))))
    }

    /// Deletes what there is of a chat's group.
    pub(crate) fn forget(&mut self, chat: ChatId) -> Done<()> {
        absent(self.with(|mls, kv| mls.forget(kv, GroupName::Chat(chat))))
    }

    pub(crate) fn key_packages(&mut self, count: usize, lifetime: Lifetime, used: Use) -> Done<Vec<Vec<u8>>> {
        self.with(|mls, kv| mls.key_packages(kv, count, lifetime, used))
    }

    /// How many key packages for one use have their private halves here, and those of last resort.
    pub(crate) fn key_packages_kept(&mut self) -> Done<(usize, usize)> {
        self.with(|mls, kv| mls.key_packages_kept(kv))
    }

    pub(crate) fn drop_key_packages(&mut self, ended_before: u64) -> Done<()> {
        self.with(|mls, kv| mls.drop_key_packages(kv, ended_before)).map(drop)
    }
}

/// Where there is no group, there is nothing to be done either.
fn absent<T>(done: Done<T>) -> Done<()> {
    match done {
        Ok(_) | Err(MlsError::NotMember) => Ok(()),
        Err(error) => Err(error),
    }
}
