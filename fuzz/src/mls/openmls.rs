//! What the library that members use finds in the same bytes. A member that holds the group's secrets signs what it likes, so what
//! matters is that a server and the other members read one commit in it and not two.
//!
//! The library refuses some of what a server takes, such as capabilities that are none: whoever sends that harms their own chat, and it
//! is passed over here.

use ciborium::Value;
use openmls::prelude::{
    ContentType, KeyPackageIn, MlsMessageBodyIn, MlsMessageIn, PublicMessageIn, RatchetTreeIn, Sender,
};
use tls_codec::{DeserializeBytes, Serialize};
use wire_mls::inspect::{Application, Commit, KeyPackage, OneWelcome};
use wire_mls::{Leaf, Leaves, identity};

use super::rows;

/// The library's reading, if it reads all of it; then it writes the same.
fn read<T: DeserializeBytes + Serialize>(bytes: &[u8]) -> Option<T> {
    let read = T::tls_deserialize_exact_bytes(bytes).ok()?;
    let written = read.tls_serialize_detached().expect("what was read can be written");
    assert_eq!(written, bytes, "the library reads these bytes and no others");
    Some(read)
}

pub(super) fn commit(bytes: &[u8], seen: &Commit) {
    let Some(message) = read::<MlsMessageIn>(bytes) else { return };
    let MlsMessageBodyIn::PublicMessage(message) = message.extract() else { panic!("a PublicMessage") };
    assert_eq!(message.content_type(), ContentType::Commit);
    assert_eq!(message.group_id().as_slice(), seen.group.to_bytes());
    assert_eq!(message.epoch().as_u64(), seen.epoch);
    assert!(matches!(message.sender(), Sender::Member(leaf) if leaf.u32() == seen.sender));
    assert_body(&message, seen);
}

/// Adds, removes and the path, which the library shows only as it stores them.
fn assert_body(message: &PublicMessageIn, seen: &Commit) {
    let stored = Value::serialized(message).expect("it can be stored");
    let mut removed = Vec::new();
    fields(&stored, "removed", &mut |value| {
        removed.extend(value.as_integer().and_then(|leaf| u32::try_from(leaf).ok()));
    });
    assert_eq!(removed, seen.removes, "who is removed");
    let (mut keys, mut whose) = (Vec::new(), Vec::new());
    fields(&stored, "signature_key", &mut |value| keys.push(bytes_of(value)));
    fields(&stored, "serialized_credential_content", &mut |value| whose.push(bytes_of(value)));
    let leaves = || seen.adds.iter().map(|added| &added.leaf).chain(&seen.path);
    assert_eq!(
        keys,
        leaves().map(|leaf| leaf.key.to_vec()).collect::<Vec<_>>(),
        "who is added, and who commits"
    );
    assert_eq!(whose, leaves().map(credential).collect::<Vec<_>>(), "and whose devices they are");
    let mut bound = Vec::new();
    fields(&stored, "authenticated_data", &mut |value| bound = bytes_of(value));
    assert_eq!(bound, wire_mls::Binding(seen.client_msg_id).to_bytes(), "what it is bound to");
}

/// A basic credential's content.
fn credential(leaf: &Leaf) -> Vec<u8> {
    identity(leaf.account, leaf.device).to_vec()
}

/// Every field of this name, in order.
fn fields(value: &Value, name: &str, found: &mut impl FnMut(&Value)) {
    match value {
        Value::Map(pairs) => {
            for (key, field) in pairs {
                if key.as_text() == Some(name) {
                    found(field);
                } else {
                    fields(field, name, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, name, found)),
        _ => {}
    }
}

/// The bytes somewhere in a value: as such, or as a list of numbers.
fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Bytes(bytes) => bytes.clone(),
        Value::Integer(byte) => u8::try_from(*byte).into_iter().collect(),
        Value::Array(values) => values.iter().flat_map(bytes_of).collect(),
        Value::Map(pairs) => pairs.iter().flat_map(|(_, value)| bytes_of(value)).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn application(bytes: &[u8], seen: &Application) {
    let Some(message) = read::<MlsMessageIn>(bytes) else { return };
    let message = message.try_into_protocol_message().expect("a message of a group");
    assert_eq!(message.content_type(), ContentType::Application);
    assert_eq!(message.group_id().as_slice(), seen.group.to_bytes());
    assert_eq!(message.epoch().as_u64(), seen.epoch);
}

pub(super) fn key_package(bytes: &[u8], seen: &KeyPackage) {
    let Some(message) = read::<MlsMessageIn>(bytes) else { return };
    let MlsMessageBodyIn::KeyPackage(package) = message.extract() else { panic!("a KeyPackage") };
    assert_is(&package, &seen.leaf);
}

fn assert_is(package: &KeyPackageIn, leaf: &Leaf) {
    let named = package.unverified_credential();
    assert_eq!(named.signature_key.as_slice(), leaf.key);
    assert_eq!(named.credential.serialized_content(), credential(leaf));
}

pub(super) fn welcomes(bytes: &[u8], seen: &[OneWelcome]) {
    let Some(message) = read::<MlsMessageIn>(bytes) else { return };
    let MlsMessageBodyIn::Welcome(welcome) = message.extract() else { panic!("a Welcome") };
    let named = welcome.secrets().iter().map(|secrets| secrets.new_member());
    let named: Vec<Vec<u8>> = named.map(|reference| reference.as_slice().to_vec()).collect();
    assert_eq!(named, seen.iter().map(|(reference, _)| reference.to_vec()).collect::<Vec<_>>());
}

pub(super) fn tree(bytes: &[u8], seen: &Leaves) {
    let Some(tree) = read::<RatchetTreeIn>(bytes) else { return };
    let Ok(Value::Array(nodes)) = Value::serialized(&tree) else { panic!("a list of nodes") };
    let mut found = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        fields(node, "signature_key", &mut |key| found.push((at, bytes_of(key))));
    }
    let seen = rows(seen).into_iter().map(|(at, leaf)| (2 * at as usize, leaf.key.to_vec()));
    assert_eq!(found, seen.collect::<Vec<_>>(), "who is where");
}
