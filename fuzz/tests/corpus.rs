//! Every committed input, and some from a seed, through every target's body; and what fuzzing found, by name.

use std::fs;
use std::path::Path;

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Runs a target's body over its corpus, then over random inputs that grow.
fn replay(target: &str, random: u32, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has inputs", folder.display());
    for file in files {
        let input = fs::read(&file).expect("a readable input");
        // The name of the one that fails is on the captured output.
        eprintln!("{}", file.display());
        run(&input);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for n in 0..random {
        let mut input = vec![0; rng.random_range(0..=usize::try_from(n % 512).expect("small"))];
        rng.fill_bytes(&mut input);
        eprintln!("random input {n}: {input:02x?}");
        run(&input);
    }
}

#[test]
fn r115_r152_frames_in_any_pieces_decode_or_are_refused() {
    replay("frames", 20_000, fuzz::frames::run);
}

#[test]
fn i1_i2_i3_i4_sessions_hold_whatever_goes_wrong() {
    replay("session", 300, fuzz::session::run);
}

#[test]
fn r50_r115_links_hold_whatever_the_network_does() {
    replay("link", 300, fuzz::link::run);
}

#[test]
fn i6_what_a_server_reads_of_mls_is_what_is_there() {
    replay("mls", 2_000, fuzz::mls::run);
}

#[test]
fn r51_torn_files_are_read_or_named() {
    replay("torn", 30, fuzz::torn::run);
}
