//! For tests (feature `testing`): commits larger than any that a small group makes.

use crate::Leaf;
use crate::inspect::{self, Commit};
use crate::name::identity;
use crate::tls::write_vector;

/// Bytes behind a commit's path: the signature, two tags, and their lengths.
const TAIL_BYTES: usize = 66 + 33 + 33;

/// The smallest ciphertext, so that lengths have their longest form whatever it is.
const CIPHERTEXT_BYTES: usize = 1 << 14;

/// A commit that says what this one says, and is `bytes` long: its path, by `by`, has one ciphertext as large as that needs. A server
/// takes it for any other; no member could follow it.
///
/// # Panics
/// If `commit` is none, or too long already.
pub fn inflated(commit: &[u8], by: Leaf, bytes: usize) -> Vec<u8> {
    let said = inspect::commit(commit).expect("a commit");
    let wanted = Commit { path: Some(by), ..said };
    let (before, tail) = commit.split_at(commit.len() - TAIL_BYTES);
    // Where the path begins only the bytes say: where something else is cut off, the rest is no commit.
    let with = |at: usize, ciphertext: usize| [&before[..at], &path(by, ciphertext), tail].concat();
    let is_it = |at: &usize| inspect::commit(&with(*at, CIPHERTEXT_BYTES)).as_ref() == Ok(&wanted);
    let at = (0..before.len()).rev().find(is_it).expect("a commit has a place for its path");
    let more = bytes.checked_sub(with(at, CIPHERTEXT_BYTES).len()).expect("it is to be longer than it must");
    with(at, CIPHERTEXT_BYTES + more)
}

/// A path of one node.
fn path(by: Leaf, ciphertext: usize) -> Vec<u8> {
    let mut ciphertexts = Vec::new();
    for content in [vec![3; 32], vec![4; ciphertext]] {
        write_vector(&mut ciphertexts, &content);
    }
    let mut node = Vec::new();
    write_vector(&mut node, &[2; 32]);
    write_vector(&mut node, &ciphertexts);
    let mut path = vec![1];
    write_vector(&mut path, &[1; 32]);
    write_vector(&mut path, &by.key);
    path.extend_from_slice(&[0, 1]);
    write_vector(&mut path, &identity(by.account, by.device));
    let (no_capabilities, from_a_commit) = ([0; 5], 3);
    path.extend_from_slice(&no_capabilities);
    path.push(from_a_commit);
    for content in [&[][..], &[], &[5; 64]] {
        write_vector(&mut path, content);
    }
    write_vector(&mut path, &node);
    path
}
