//! MLS as bytes (RFC 9420), from what a server reads of it. What it does not read is filled in: keys, signatures and ciphertexts
//! are made up, and are of their length.

use wire_mls::inspect::{Application, Commit, KeyPackage};
use wire_mls::{Binding, LIFETIME_EXTENSION, Leaf, Leaves, SUITE, identity};

const MLS10: u16 = 1;
const LAST_RESORT: u16 = 0x000A;
/// Where a leaf is from.
const KEY_PACKAGE: u8 = 1;
const COMMIT: u8 = 3;

pub(crate) fn commit(commit: &Commit) -> Vec<u8> {
    let mut proposals = Vec::new();
    for added in &commit.adds {
        proposals.extend_from_slice(&[1, 0, 1]);
        proposals.extend(bare_key_package(&added.leaf, (0, u64::MAX), false));
    }
    for removed in &commit.removes {
        proposals.extend_from_slice(&[1, 0, 3]);
        proposals.extend_from_slice(&removed.to_be_bytes());
    }
    let mut out = message(1);
    vector(&mut out, &commit.group.to_bytes());
    out.extend_from_slice(&commit.epoch.to_be_bytes());
    out.push(1);
    out.extend_from_slice(&commit.sender.to_be_bytes());
    vector(&mut out, &Binding(commit.client_msg_id).to_bytes());
    out.push(3);
    vector(&mut out, &proposals);
    out.push(commit.path.is_some().into());
    if let Some(path) = &commit.path {
        out.extend(leaf(path, COMMIT));
        vector(&mut out, &[]);
    }
    for tag in [64, 32, 32] {
        vector(&mut out, &vec![7; tag]);
    }
    out
}

pub(crate) fn application(message_of: &Application) -> Vec<u8> {
    let mut out = message(2);
    vector(&mut out, &message_of.group.to_bytes());
    out.extend_from_slice(&message_of.epoch.to_be_bytes());
    out.push(1);
    vector(&mut out, &Binding(message_of.client_msg_id).to_bytes());
    for ciphertext in [28, 200] {
        vector(&mut out, &vec![6; ciphertext]);
    }
    out
}

pub(crate) fn key_package(package: &KeyPackage) -> Vec<u8> {
    let life = (package.lifetime.from, package.lifetime.until);
    [message(5), bare_key_package(&package.leaf, life, package.last_resort)].concat()
}

/// A welcome for the device with this key package.
pub(crate) fn welcome(reference: &[u8; 32]) -> Vec<u8> {
    let mut secrets = Vec::new();
    for content in [reference, &[8; 32], &[9; 64][..]] {
        vector(&mut secrets, content);
    }
    let mut out = message(3);
    out.extend_from_slice(&SUITE.to_be_bytes());
    vector(&mut out, &secrets);
    vector(&mut out, &[5; 300]);
    out
}

/// A tree of these, with no node at all above a leaf: to a server they are all alike.
pub(crate) fn tree(leaves: &Leaves) -> Vec<u8> {
    let mut nodes = Vec::new();
    let width = leaves.iter().last().map_or(0, |(at, _)| at + 1);
    for at in 0..width {
        if at > 0 {
            nodes.push(0);
        }
        match leaves.at(at) {
            None => nodes.push(0),
            Some(of) => {
                nodes.extend_from_slice(&[1, 1]);
                nodes.extend(leaf(of, KEY_PACKAGE));
            }
        }
    }
    let mut out = Vec::new();
    vector(&mut out, &nodes);
    out
}

fn message(kind: u16) -> Vec<u8> {
    [MLS10.to_be_bytes(), kind.to_be_bytes()].concat()
}

fn bare_key_package(of: &Leaf, (from, until): (u64, u64), last_resort: bool) -> Vec<u8> {
    let mut extensions = LIFETIME_EXTENSION.to_be_bytes().to_vec();
    vector(&mut extensions, &[from.to_be_bytes(), until.to_be_bytes()].concat());
    if last_resort {
        extensions.extend_from_slice(&LAST_RESORT.to_be_bytes());
        vector(&mut extensions, &[]);
    }
    let mut out = [MLS10.to_be_bytes(), SUITE.to_be_bytes()].concat();
    vector(&mut out, &[1; 32]);
    out.extend(leaf(of, KEY_PACKAGE));
    vector(&mut out, &extensions);
    vector(&mut out, &[2; 64]);
    out
}

fn leaf(of: &Leaf, source: u8) -> Vec<u8> {
    let mut out = Vec::new();
    vector(&mut out, &[3; 32]);
    vector(&mut out, &of.key);
    out.extend_from_slice(&[0, 1]);
    vector(&mut out, &identity(of.account, of.device));
    let no_capabilities = [0; 5];
    out.extend_from_slice(&no_capabilities);
    out.push(source);
    match source {
        KEY_PACKAGE => out.extend_from_slice(&[[0; 8], [0xFF; 8]].concat()),
        _ => vector(&mut out, &[]),
    }
    vector(&mut out, &[]);
    vector(&mut out, &[4; 64]);
    out
}

/// RFC 9420, 2.1.2.
fn vector(out: &mut Vec<u8>, content: &[u8]) {
    let length = u32::try_from(content.len()).expect("content is bounded");
    match length {
        0..=0x3F => out.push(length as u8),
        0x40..=0x3FFF => out.extend_from_slice(&(length as u16 | 1 << 14).to_be_bytes()),
        _ => out.extend_from_slice(&(length | 2 << 30).to_be_bytes()),
    }
    out.extend_from_slice(content);
}
