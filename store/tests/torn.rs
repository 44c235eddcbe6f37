//! Files of a store that were cut, grown, zeroed or flipped: it opens with what is intact or says which file is not
//! (R51, I1).
//!
//! A longer run: `TORN_RUNS=100000 TORN_SEED=7 cargo test -p store --test torn`.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use store::testing::{Torn, torn};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn r51_i1_a_damaged_store_opens_with_what_is_intact_or_says_which_file_is_not() {
    let (runs, seed) = (setting("TORN_RUNS", 400), setting("TORN_SEED", 1));
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for run in 0..runs {
        let mut rng = ChaCha8Rng::seed_from_u64(seed << 32 | run);
        let mut input = vec![0; 8 * rng.random_range(1..=2)];
        rng.fill(&mut input[..]);
        let torn = std::panic::catch_unwind(|| torn(&input))
            .unwrap_or_else(|_| panic!("run {run} of seed {seed}, input {input:?}"));
        let kind = match torn {
            Torn::Opened(120) => "whole",
            Torn::Opened(_) => "shorter",
            Torn::Unreadable => "unreadable",
            Torn::Refused(why) => {
                assert!(why.contains("/data/"), "it does not name the file: {why}, input {input:?}");
                if why.contains("later ones are not") { "a hole in the journal" } else { "refused" }
            }
        };
        *seen.entry(kind).or_default() += 1;
    }
    for kind in ["whole", "shorter", "unreadable", "refused", "a hole in the journal"] {
        assert!(seen.contains_key(kind), "no run was {kind}: {seen:?}");
    }
}
