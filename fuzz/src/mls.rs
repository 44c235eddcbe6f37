//! What a server reads of MLS without a key (`wire-mls`): any bytes, and commits one after another on a table of leaves.
//!
//! An input's first byte says which of the two it is.
//!
//! - **Bytes** are read as every kind of message and as a tree. What is accepted is of one kind, whole (a byte less or more is
//!   refused), within bounds, and says the same when it is written anew (`write`); OpenMLS, where it reads those bytes too,
//!   finds the same in them and nothing beside.
//! - **A history** is commits of devices that may fit or not (`history`): the table does what a row of seats does, or says why not.

mod history;
mod openmls;
pub(crate) mod write;

use wire::limits;
use wire_mls::{Leaves, inspect};

/// Takes one input.
///
/// # Panics
/// If what is read is not what is there.
pub fn run(data: &[u8]) {
    match data.split_first() {
        Some((how, rest)) if how & 1 == 1 => history::run(rest),
        Some((_, rest)) => judge(rest),
        None => {}
    }
}

/// Reads bytes as everything.
fn judge(bytes: &[u8]) {
    let kinds = [commit(bytes), application(bytes), key_package(bytes), welcomes(bytes)];
    assert!(kinds.into_iter().filter(|is_it| *is_it).count() <= 1, "a message is of one kind");
    tree(bytes);
}

/// Nothing can be left out of what is accepted, or follow it.
fn assert_whole<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, inspect::InspectError>) {
    assert!(read(&bytes[..bytes.len() - 1]).is_err(), "a byte less");
    assert!(read(&[bytes, &[0]].concat()).is_err(), "a byte more");
}

fn commit(bytes: &[u8]) -> bool {
    let Ok(commit) = inspect::commit(bytes) else { return false };
    assert_whole(bytes, inspect::commit);
    assert!(bytes.len() <= limits::HANDSHAKE_BYTES_MAX);
    assert!(commit.adds.len() <= limits::COMMIT_ADDS_MAX && commit.removes.len() <= limits::GROUP_LEAVES_MAX);
    assert!(commit.path.is_some() || (!commit.adds.is_empty() && commit.removes.is_empty()));
    let anew = write::commit(&commit);
    assert_eq!(
        inspect::commit(&anew).map(unreferenced),
        Ok(unreferenced(commit.clone())),
        "it says the same"
    );
    openmls::commit(bytes, &commit);
    openmls::commit(&anew, &commit);
    true
}

/// A commit without the hashes of its key packages, which cover what a server does not read.
fn unreferenced(mut commit: inspect::Commit) -> inspect::Commit {
    commit.adds.iter_mut().for_each(|added| added.reference = [0; 32]);
    commit
}

fn application(bytes: &[u8]) -> bool {
    let Ok(message) = inspect::application(bytes) else { return false };
    assert_whole(bytes, inspect::application);
    assert!(bytes.len() <= limits::CONTENT_BYTES_MAX);
    assert_eq!(inspect::application(&write::application(&message)), Ok(message), "it says the same");
    openmls::application(bytes, &message);
    true
}

fn key_package(bytes: &[u8]) -> bool {
    let Ok(package) = inspect::key_package(bytes) else { return false };
    assert_whole(bytes, inspect::key_package);
    assert!(bytes.len() <= limits::KEY_PACKAGE_BYTES_MAX);
    assert_eq!(package.reference, inspect::reference(&bytes[4..]));
    let anew = inspect::key_package(&write::key_package(&package)).expect("it says the same");
    assert_eq!(inspect::KeyPackage { reference: package.reference, ..anew }, package, "it says the same");
    openmls::key_package(bytes, &package);
    true
}

fn welcomes(bytes: &[u8]) -> bool {
    let one = inspect::welcome(bytes);
    let Ok(welcomes) = inspect::split_welcome(bytes) else {
        assert!(one.is_err(), "a welcome for one is a welcome");
        return false;
    };
    assert_whole(bytes, inspect::split_welcome);
    for (reference, welcome) in &welcomes {
        assert_eq!(inspect::welcome(welcome), Ok(*reference), "each holds its own secrets");
        assert!(welcome.len() <= bytes.len(), "and no more than was there");
    }
    match &welcomes[..] {
        [(reference, only)] => assert_eq!((one, &only[..]), (Ok(*reference), bytes), "one is itself"),
        _ => assert!(one.is_err(), "a welcome for none or for several is nobody's"),
    }
    openmls::welcomes(bytes, &welcomes);
    true
}

fn tree(bytes: &[u8]) {
    let Ok(leaves) = inspect::tree(bytes) else { return };
    assert_whole(bytes, inspect::tree);
    assert!(leaves.iter().all(|(at, _)| (at as usize) < limits::GROUP_LEAVES_MAX.next_power_of_two()));
    assert_eq!(inspect::tree(&write::tree(&leaves)), Ok(leaves.clone()), "it says the same");
    openmls::tree(bytes, &leaves);
}

/// A table as a list, which is how the other readers have it.
fn rows(leaves: &Leaves) -> Vec<(u32, wire_mls::Leaf)> {
    leaves.iter().map(|(at, leaf)| (at, *leaf)).collect()
}
