//! Keys of groups: their ids, who has gone, the leaf table, trees; and of key packages.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId, Epoch, LogId};

use super::{Key, chat_id, log_key};

/// The id of a group: as random as the id of the commit that makes it, and nobody can make one that is another chat's.
pub fn group_chat_id(creator: AccountId, client_msg_id: ClientMsgId) -> ChatId {
    let mut context = Context::new(&SHA256);
    context.update(b"godwit group chat\0");
    context.update(creator.as_bytes());
    context.update(client_msg_id.as_bytes());
    chat_id(context)
}

fn key_package_key(device: DeviceId, letter: u8) -> Key {
    Key::new(b'k').bytes(device.as_bytes()).letter(letter)
}

/// Which key packages of a device are left.
pub fn key_package_stock(device: DeviceId) -> Bytes {
    key_package_key(device, b's').done()
}

/// A key package.
pub fn key_package(device: DeviceId, number: u64) -> Bytes {
    key_package_key(device, b'p').number(number).done()
}

/// The key package of last resort.
pub fn last_resort(device: DeviceId) -> Bytes {
    key_package_key(device, b'l').done()
}

/// What all of a device's keys of key packages begin with.
pub fn key_packages(device: DeviceId) -> Bytes {
    Key::new(b'k').bytes(device.as_bytes()).done()
}

/// A membership that has ended.
pub fn former(log: LogId, account: AccountId) -> Bytes {
    log_key(log, b'v').bytes(account.as_bytes()).done()
}

/// What the keys of ended memberships begin with.
pub fn formers(log: LogId) -> Bytes {
    log_key(log, b'v').done()
}

/// What a group is.
pub fn group(log: LogId) -> Bytes {
    log_key(log, b'g').done()
}

/// A leaf of a group's tree.
pub fn leaf(log: LogId, leaf: u32) -> Bytes {
    log_key(log, b'n').bytes(&leaf.to_be_bytes()).done()
}

/// What the keys of a log's leaves begin with.
pub fn leaves(log: LogId) -> Bytes {
    log_key(log, b'n').done()
}

/// Which leaf a key of [`leaves`] is.
pub(crate) fn leaf_index(key: &[u8]) -> Option<u32> {
    key.last_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Which devices need an epoch's tree.
pub fn tree_needs(log: LogId, epoch: Epoch) -> Bytes {
    log_key(log, b'w').number(epoch.0).done()
}

/// What the keys of all of a log's [`tree_needs`] begin with.
pub fn all_tree_needs(log: LogId) -> Bytes {
    log_key(log, b'w').done()
}

/// The epoch in a key of [`tree_needs`].
pub(crate) fn tree_epoch(key: &[u8]) -> Option<Epoch> {
    key.last_chunk().map(|bytes| Epoch(u64::from_be_bytes(*bytes)))
}

/// A piece of an epoch's tree.
pub fn tree_part(log: LogId, epoch: Epoch, part: u16) -> Bytes {
    log_key(log, b'y').number(epoch.0).bytes(&part.to_be_bytes()).done()
}

/// What the keys of an epoch's tree begin with.
pub fn tree(log: LogId, epoch: Epoch) -> Bytes {
    log_key(log, b'y').number(epoch.0).done()
}

/// What the keys of all of a log's trees begin with.
pub fn trees(log: LogId) -> Bytes {
    log_key(log, b'y').done()
}
