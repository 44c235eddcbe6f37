//! The account's other devices: each chat is to have them.
//!
//! Which there are is asked with a connection, and when the server tells of a new one, which it does to those whom it
//! reaches at that moment. Those that every chat was seen to have
//! are kept, so that a device is not looked for in all chats with each start.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use wire::event::Event;
use wire::request::Request;
use wire::{AccountId, ChatId, DeviceId};

use super::Client;
use super::errands::Errand;
use crate::group::Stage;
use crate::io::Now;
use crate::kept::Write;

/// Which devices there are is not asked again sooner, unless the server tells of one.
const LISTED_FOR: Duration = Duration::from_secs(60);

/// The account's other devices.
#[derive(Debug, Default)]
pub(super) struct OwnDevices {
    /// As the server said; `None` before it has.
    listed: Option<BTreeSet<DeviceId>>,
    asked_at: Option<Instant>,
    /// The server was busy: it is asked again then.
    pub(super) again_at: Option<Instant>,
    /// Those of them that were seen to: see [`Write::OwnDevices`].
    seen: BTreeSet<DeviceId>,
}

impl OwnDevices {
    pub(super) fn new(seen: Vec<DeviceId>) -> OwnDevices {
        OwnDevices { listed: None, asked_at: None, again_at: None, seen: seen.into_iter().collect() }
    }
}

impl Client {
    /// There is a connection: asks which devices there are, unless that was asked just now.
    pub(super) fn list_devices_if_old(&mut self, now: Now) {
        let asked_at = self.own_devices.asked_at.filter(|_| self.own_devices.listed.is_some());
        if asked_at.is_none_or(|at| at + LISTED_FOR <= now.instant) {
            self.list_devices(now);
        }
    }

    pub(super) fn list_devices(&mut self, now: Now) {
        self.own_devices.asked_at = Some(now.instant);
        self.own_devices.again_at = None;
        self.run(Errand::Devices, &Request::ListDevices, now);
    }

    pub(super) fn on_devices(&mut self, events: &[Event], now: Now) {
        let [Event::Devices(devices)] = events else {
            self.own_devices.again_at = self.again_after(events, now);
            return;
        };
        let own = self.device();
        let listed: BTreeSet<DeviceId> =
            devices.iter().map(|device| device.device).filter(|device| *device != own).collect();
        let is_news = !listed.is_subset(&self.own_devices.seen);
        self.own_devices.listed = Some(listed);
        if !is_news {
            return;
        }
        let chats: Vec<ChatId> = self.chats.keys().copied().collect();
        for chat in chats {
            if matches!(self.stage(chat), Stage::Inside(_)) {
                let inside = self.leaves(chat).into_iter().map(|(_, device)| device).collect();
                self.need_own_devices(chat, &inside, now);
            }
        }
        self.own_devices_seen();
    }

    /// Key packages of this account were asked for, and all of its devices named.
    pub(super) fn own_devices_are(&mut self, devices: impl Iterator<Item = DeviceId>) {
        let own = self.device();
        self.own_devices.listed = Some(devices.filter(|device| *device != own).collect());
    }

    /// A device of this account has ended.
    pub(super) fn own_device_ended(&mut self, device: DeviceId) {
        if let Some(listed) = &mut self.own_devices.listed {
            listed.remove(&device);
        }
    }

    /// If devices of this account have no leaf among these, they are to be added.
    pub(super) fn need_own_devices(&mut self, chat: ChatId, inside: &BTreeSet<DeviceId>, now: Now) {
        let lacks = self.lacks_own_devices(inside);
        let Some(state) = self.chats.get_mut(&chat) else { return };
        state.group.needs.devices = lacks;
        if lacks {
            self.own_devices_unseen();
            self.tidy(chat, true, now);
        }
    }

    /// Whether some of the account's devices are not among these: as the server said, or as was known before.
    pub(super) fn lacks_own_devices(&self, inside: &BTreeSet<DeviceId>) -> bool {
        let OwnDevices { listed, seen, .. } = &self.own_devices;
        !listed.as_ref().unwrap_or(seen).is_subset(inside)
    }

    /// If no chat lacks any of them, they need not be looked for again.
    pub(super) fn own_devices_seen(&mut self) {
        let Some(listed) = &self.own_devices.listed else { return };
        let lacks = self.chats.values().any(|state| state.group.needs.devices);
        if !lacks && *listed != self.own_devices.seen {
            self.own_devices.seen = listed.clone();
            let devices = listed.iter().copied().collect();
            self.persist(Write::OwnDevices(devices));
        }
    }

    /// A chat is without some of them: they are to be looked for again with the next start, if not before.
    pub(super) fn own_devices_unseen(&mut self) {
        if !self.own_devices.seen.is_empty() {
            self.own_devices.seen.clear();
            self.persist(Write::OwnDevices(Vec::new()));
        }
    }

    /// This account, if other devices of it are to be added where it is, or may be.
    pub(super) fn own_account_with_others(&self) -> Option<AccountId> {
        let is_alone = self.own_devices.listed.as_ref().is_some_and(BTreeSet::is_empty);
        (!is_alone).then(|| self.own_account())
    }

    /// This account. Groups are worked on only by a device of one.
    pub(super) fn own_account(&self) -> AccountId {
        self.login.as_ref().map_or(AccountId::new([0; 16]), |login| login.account)
    }
}
