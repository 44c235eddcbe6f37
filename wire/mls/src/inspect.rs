//! What messages say without a key. Only what a group of ours may hold is read; all else is refused, with its reason.

use aws_lc_rs::digest::{SHA256, digest};
use wire::limits::{
    COMMIT_ADDS_MAX, DEVICE_KEY_BYTES, GROUP_LEAVES_MAX, HANDSHAKE_BYTES_MAX, KEY_PACKAGE_BYTES_MAX,
};
use wire::{AccountId, ClientMsgId, DeviceId};

use crate::leaves::Leaves;
use crate::name::{Binding, GroupName, device_of, parse_identity};
use crate::tls::{Reader, write_vector};
use crate::{LIFETIME_EXTENSION, SUITE};

/// Why bytes are not what a group of ours may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// It ends too early.
    #[error("it ends too early")]
    Truncated,
    /// It goes on where it should end.
    #[error("it goes on where it should end")]
    Trailing,
    /// A length is not in its shortest form.
    #[error("a length is not in its shortest form")]
    Length,
    /// A bound of `wire::limits` is passed.
    #[error("it is larger than allowed")]
    Oversize,
    /// It is not MLS 1.0, or not the kind of message asked for.
    #[error("it is another kind of message")]
    Kind,
    /// Another cipher suite than [`SUITE`].
    #[error("cipher suite {0:#06x} is not ours")]
    Suite(u16),
    /// The group id is none of ours.
    #[error("the group id is none of ours")]
    Group,
    /// The sender is not a member of the group.
    #[error("the sender is not a member")]
    Sender,
    /// The authenticated data is none of ours.
    #[error("the authenticated data is none of ours")]
    Binding,
    /// A proposal by reference: all of ours are in the commit itself.
    #[error("a proposal by reference")]
    ByReference,
    /// A proposal that is neither an add nor a remove.
    #[error("a proposal of kind {0}")]
    Proposal(u16),
    /// A commit that removes someone, or does nothing, has a path (RFC 9420, 12.4).
    #[error("a commit that needs a path has none")]
    NoPath,
    /// A leaf's credential or key is not of our shape.
    #[error("a leaf is not of our shape")]
    Leaf,
    /// A leaf names a device that its key does not make.
    #[error("a leaf names a device that is not its key's")]
    DeviceKey,
    /// An extension that we do not use, or one twice.
    #[error("extension {0:#06x}")]
    Extension(u16),
    /// A signature or a tag of another length than the suite's.
    #[error("a signature or tag is not of the suite's length")]
    Tag,
    /// A key package without a lifetime.
    #[error("a key package without a lifetime")]
    NoLifetime,
}

/// A device as its leaf certifies it: [`device_of`] the key is the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Whose it is, as it says itself.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
    /// Its Ed25519 public key.
    pub key: [u8; DEVICE_KEY_BYTES],
}

/// A device that a commit adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// The device.
    pub leaf: Leaf,
    /// Its key package's reference (RFC 9420, 5.2), by which its welcome names it.
    pub reference: [u8; 32],
}

/// What a commit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The group.
    pub group: GroupName,
    /// The epoch it was made for.
    pub epoch: u64,
    /// The committer's leaf.
    pub sender: u32,
    /// What it is bound to.
    pub client_msg_id: ClientMsgId,
    /// Devices added, at most [`COMMIT_ADDS_MAX`].
    pub adds: Vec<Added>,
    /// Leaves removed.
    pub removes: Vec<u32>,
    /// The committer's new leaf, if the commit has a path.
    pub path: Option<Leaf>,
}

/// What an application message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Application {
    /// The group.
    pub group: GroupName,
    /// The epoch it was made for.
    pub epoch: u64,
    /// What it is bound to.
    pub client_msg_id: ClientMsgId,
}

/// When a key package may be used, in wall seconds: from the first to before the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Not before.
    pub from: u64,
    /// Not at or after.
    pub until: u64,
}

/// What a key package says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPackage {
    /// The device that can be added with it.
    pub leaf: Leaf,
    /// When.
    pub lifetime: Lifetime,
    /// Whether it may be handed out again, because no other is left.
    pub last_resort: bool,
    /// Its reference (RFC 9420, 5.2).
    pub reference: [u8; 32],
}

/// An Ed25519 signature (RFC 8032).
const SIGNATURE_BYTES: usize = 64;
/// HMAC-SHA-256: a confirmation or membership tag of [`SUITE`].
const TAG_BYTES: usize = 32;

const MLS10: u16 = 1;
const PUBLIC_MESSAGE: u16 = 1;
const PRIVATE_MESSAGE: u16 = 2;
const WELCOME: u16 = 3;
const KEY_PACKAGE: u16 = 5;

/// Reads a commit: a PublicMessage of a member, whose proposals are all in it, adds and removes only.
///
/// # Errors
/// [`InspectError`] with the first thing that is wrong.
pub fn commit(bytes: &[u8]) -> Result<Commit, InspectError> {
    let mut reader = message(bytes, PUBLIC_MESSAGE, HANDSHAKE_BYTES_MAX)?;
    let group = GroupName::from_bytes(reader.vector()?).ok_or(InspectError::Group)?;
    let epoch = reader.u64()?;
    let sender = match reader.u8()? {
        MEMBER => reader.u32()?,
        _ => return Err(InspectError::Sender),
    };
    let client_msg_id = Binding::from_bytes(reader.vector()?).ok_or(InspectError::Binding)?.0;
    if reader.u8()? != CONTENT_COMMIT {
        return Err(InspectError::Kind);
    }
    let (adds, removes) = proposals(reader.inner()?)?;
    let path = optional(&mut reader, update_path)?;
    if path.is_none() && (adds.is_empty() || !removes.is_empty()) {
        return Err(InspectError::NoPath);
    }
    let _signature = reader.tag(SIGNATURE_BYTES)?;
    for _confirmation_membership in 0..2 {
        reader.tag(TAG_BYTES)?;
    }
    reader.end()?;
    Ok(Commit { group, epoch, sender, client_msg_id, adds, removes, path })
}

/// Reads what an application message, a PrivateMessage, says in the clear.
///
/// # Errors
/// [`InspectError`] with the first thing that is wrong.
pub fn application(bytes: &[u8]) -> Result<Application, InspectError> {
    let mut reader = message(bytes, PRIVATE_MESSAGE, wire::limits::CONTENT_BYTES_MAX)?;
    let group = GroupName::from_bytes(reader.vector()?).ok_or(InspectError::Group)?;
    let epoch = reader.u64()?;
    if reader.u8()? != CONTENT_APPLICATION {
        return Err(InspectError::Kind);
    }
    let client_msg_id = Binding::from_bytes(reader.vector()?).ok_or(InspectError::Binding)?.0;
    for _sender_data_ciphertext in 0..2 {
        reader.vector()?;
    }
    reader.end()?;
    Ok(Application { group, epoch, client_msg_id })
}

/// Reads a key package.
///
/// # Errors
/// [`InspectError`] with the first thing that is wrong.
pub fn key_package(bytes: &[u8]) -> Result<KeyPackage, InspectError> {
    let mut reader = message(bytes, KEY_PACKAGE, KEY_PACKAGE_BYTES_MAX)?;
    let package = bare_key_package(&mut reader)?;
    reader.end()?;
    Ok(package)
}

/// Reads whom a welcome is for: the reference of the one key package that can open it.
///
/// # Errors
/// [`InspectError`] with the first thing that is wrong; [`InspectError::Kind`] if it holds the secrets of none or of several.
pub fn welcome(bytes: &[u8]) -> Result<[u8; 32], InspectError> {
    let (secrets, _group_info) = welcome_parts(bytes)?;
    let mut secrets = secrets;
    let reference = encrypted_group_secrets(&mut secrets)?.0;
    if secrets.is_empty() { Ok(reference) } else { Err(InspectError::Kind) }
}

/// A welcome for one device, behind the reference of its key package.
pub type OneWelcome = ([u8; 32], Vec<u8>);

/// Reads who is in a tree, the nodes of which are leaves and parents in turn (RFC 9420, 12.4.3.3).
///
/// # Errors
/// [`InspectError`] with the first thing that is wrong.
pub fn tree(bytes: &[u8]) -> Result<Leaves, InspectError> {
    if bytes.len() > HANDSHAKE_BYTES_MAX {
        return Err(InspectError::Oversize);
    }
    let mut reader = Reader::new(bytes);
    let mut nodes = reader.inner()?;
    reader.end()?;
    let (mut rows, mut at) = (Vec::new(), 0_u32);
    while !nodes.is_empty() {
        if at >> (TREE_LEVELS_MAX + 1) > 0 {
            return Err(InspectError::Oversize);
        }
        if let Some(Some(leaf)) = optional(&mut nodes, |nodes| tree_node(nodes, at.is_multiple_of(2)))? {
            rows.push((at / 2, leaf));
        }
        at += 1;
    }
    Ok(Leaves::from_rows(rows))
}

const NODE_LEAF: u8 = 1;
const NODE_PARENT: u8 = 2;

/// A node of a tree, and the device there if it is a leaf (RFC 9420, 7.1, 7.2).
fn tree_node(reader: &mut Reader<'_>, is_leaf: bool) -> Result<Option<Leaf>, InspectError> {
    match (reader.u8()?, is_leaf) {
        (NODE_LEAF, true) => Ok(Some(leaf_node(reader)?.0)),
        (NODE_PARENT, false) => {
            for _encryption_key_parent_hash_unmerged_leaves in 0..3 {
                reader.vector()?;
            }
            Ok(None)
        }
        _ => Err(InspectError::Kind),
    }
}

/// Splits a welcome for several devices into one for each, with only its own secrets, in the order in which they are there.
///
/// # Errors
/// [`InspectError`] with the first thing that is wrong.
pub fn split_welcome(bytes: &[u8]) -> Result<Vec<OneWelcome>, InspectError> {
    let (mut secrets, group_info) = welcome_parts(bytes)?;
    let mut welcomes = Vec::new();
    while !secrets.is_empty() {
        let (reference, own) = encrypted_group_secrets(&mut secrets)?;
        let mut one = Vec::with_capacity(own.len() + group_info.len() + 16);
        for field in [MLS10, WELCOME, SUITE] {
            one.extend_from_slice(&field.to_be_bytes());
        }
        write_vector(&mut one, own);
        write_vector(&mut one, group_info);
        welcomes.push((reference, one));
    }
    Ok(welcomes)
}

/// The encrypted secrets of every device, and the encrypted group info (RFC 9420, 12.4.3.1).
fn welcome_parts(bytes: &[u8]) -> Result<(Reader<'_>, &[u8]), InspectError> {
    let mut reader = message(bytes, WELCOME, HANDSHAKE_BYTES_MAX)?;
    suite(&mut reader)?;
    let secrets = reader.inner()?;
    let group_info = reader.vector()?;
    reader.end()?;
    Ok((secrets, group_info))
}

/// One device's, with the reference that names it.
fn encrypted_group_secrets<'a>(reader: &mut Reader<'a>) -> Result<([u8; 32], &'a [u8]), InspectError> {
    let before = *reader;
    let reference = reader.vector()?.try_into().map_err(|_| InspectError::Length)?;
    for _kem_output_ciphertext in 0..2 {
        reader.vector()?;
    }
    Ok((reference, reader.since(before)))
}

const MEMBER: u8 = 1;
const CONTENT_APPLICATION: u8 = 1;
const CONTENT_COMMIT: u8 = 3;

/// The body of an MLSMessage of this kind.
fn message(bytes: &[u8], kind: u16, bytes_max: usize) -> Result<Reader<'_>, InspectError> {
    if bytes.len() > bytes_max {
        return Err(InspectError::Oversize);
    }
    let mut reader = Reader::new(bytes);
    if (reader.u16()?, reader.u16()?) == (MLS10, kind) { Ok(reader) } else { Err(InspectError::Kind) }
}

fn suite(reader: &mut Reader<'_>) -> Result<(), InspectError> {
    match reader.u16()? {
        SUITE => Ok(()),
        other => Err(InspectError::Suite(other)),
    }
}

fn optional<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, InspectError>,
) -> Result<Option<T>, InspectError> {
    match reader.u8()? {
        0 => Ok(None),
        1 => read(reader).map(Some),
        _ => Err(InspectError::Kind),
    }
}

const BY_VALUE: u8 = 1;
const ADD: u16 = 1;
const REMOVE: u16 = 3;

fn proposals(mut reader: Reader<'_>) -> Result<(Vec<Added>, Vec<u32>), InspectError> {
    let (mut adds, mut removes) = (Vec::new(), Vec::new());
    while !reader.is_empty() {
        if reader.u8()? != BY_VALUE {
            return Err(InspectError::ByReference);
        }
        match reader.u16()? {
            ADD => {
                let package = bare_key_package(&mut reader)?;
                adds.push(Added { leaf: package.leaf, reference: package.reference });
            }
            REMOVE => removes.push(reader.u32()?),
            other => return Err(InspectError::Proposal(other)),
        }
        if adds.len() > COMMIT_ADDS_MAX || removes.len() > GROUP_LEAVES_MAX {
            return Err(InspectError::Oversize);
        }
    }
    Ok((adds, removes))
}

/// RFC 9420, 10.
fn bare_key_package(reader: &mut Reader<'_>) -> Result<KeyPackage, InspectError> {
    let before = *reader;
    if reader.u16()? != MLS10 {
        return Err(InspectError::Kind);
    }
    suite(reader)?;
    let _init_key = reader.vector()?;
    let (leaf, source) = leaf_node(reader)?;
    if source != SOURCE_KEY_PACKAGE {
        return Err(InspectError::Leaf);
    }
    let (lifetime, last_resort) = key_package_extensions(reader.inner()?)?;
    let _signature = reader.tag(SIGNATURE_BYTES)?;
    let bytes = reader.since(before);
    if bytes.len() > KEY_PACKAGE_BYTES_MAX {
        return Err(InspectError::Oversize);
    }
    Ok(KeyPackage { leaf, lifetime, last_resort, reference: reference(bytes) })
}

const LAST_RESORT: u16 = 0x000A;

fn key_package_extensions(mut reader: Reader<'_>) -> Result<(Lifetime, bool), InspectError> {
    let (mut lifetime, mut last_resort) = (None, false);
    while !reader.is_empty() {
        let kind = reader.u16()?;
        let mut data = reader.inner()?;
        match kind {
            LIFETIME_EXTENSION if lifetime.is_none() => {
                lifetime = Some(Lifetime { from: data.u64()?, until: data.u64()? });
            }
            LAST_RESORT if !last_resort => last_resort = true,
            other => return Err(InspectError::Extension(other)),
        }
        data.end()?;
    }
    Ok((lifetime.ok_or(InspectError::NoLifetime)?, last_resort))
}

/// The reference of a key package, without the message around it: the hash of a label and it (RFC 9420, 5.2).
pub fn reference(key_package: &[u8]) -> [u8; 32] {
    let mut input = Vec::with_capacity(key_package.len() + 48);
    write_vector(&mut input, b"MLS 1.0 KeyPackage Reference");
    write_vector(&mut input, key_package);
    digest(&SHA256, &input).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

const SOURCE_KEY_PACKAGE: u8 = 1;
const SOURCE_COMMIT: u8 = 3;

/// RFC 9420, 7.6: the new leaf; the nodes above it are for those who have keys.
fn update_path(reader: &mut Reader<'_>) -> Result<Leaf, InspectError> {
    let (leaf, source) = leaf_node(reader)?;
    if source != SOURCE_COMMIT {
        return Err(InspectError::Leaf);
    }
    let mut nodes = reader.inner()?;
    let mut levels = 0;
    while !nodes.is_empty() {
        levels += 1;
        let _encryption_key = nodes.vector()?;
        let mut ciphertexts = nodes.inner()?;
        let mut resolution = 0;
        while !ciphertexts.is_empty() {
            resolution += 1;
            for _kem_output_ciphertext in 0..2 {
                ciphertexts.vector()?;
            }
        }
        if levels > TREE_LEVELS_MAX || resolution > GROUP_LEAVES_MAX {
            return Err(InspectError::Oversize);
        }
    }
    Ok(leaf)
}

/// Levels above the leaves of a tree for [`GROUP_LEAVES_MAX`] devices. New ones take the leftmost blank leaf, so none is ever wider.
const TREE_LEVELS_MAX: u32 = GROUP_LEAVES_MAX.next_power_of_two().ilog2();

const BASIC_CREDENTIAL: u16 = 1;

/// RFC 9420, 7.2: the leaf and where it came from.
fn leaf_node(reader: &mut Reader<'_>) -> Result<(Leaf, u8), InspectError> {
    let _encryption_key = reader.vector()?;
    let key = reader.vector()?.try_into().map_err(|_| InspectError::Leaf)?;
    if reader.u16()? != BASIC_CREDENTIAL {
        return Err(InspectError::Leaf);
    }
    let (account, device) = parse_identity(reader.vector()?).ok_or(InspectError::Leaf)?;
    if device_of(&key) != device {
        return Err(InspectError::DeviceKey);
    }
    for _versions_suites_extensions_proposals_credentials in 0..5 {
        reader.vector()?;
    }
    let source = reader.u8()?;
    match source {
        SOURCE_KEY_PACKAGE => {
            reader.take(16)?;
        }
        SOURCE_COMMIT => {
            let _parent_hash = reader.vector()?;
        }
        _ => return Err(InspectError::Leaf),
    }
    let mut extensions = reader.inner()?;
    if !extensions.is_empty() {
        return Err(InspectError::Extension(extensions.u16()?));
    }
    let _signature = reader.tag(SIGNATURE_BYTES)?;
    Ok((Leaf { account, device, key }, source))
}
