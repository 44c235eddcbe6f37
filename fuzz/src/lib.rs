//! What the fuzz targets do with one input, as plain functions: [`frames::run`], [`session::run`], [`link::run`],
//! [`torn::run`], [`mls::run`].
//!
//! libFuzzer calls them from `fuzz_targets/` (feature `libfuzzer`, see `README.md`); `cargo test` calls them with every
//! file of `corpus/` and with some inputs from a seed, so that what a fuzzer found once is checked on every run.
//!
//! Invariant: an input alone decides what happens. Nothing here reads a clock or ambient randomness, so a crash repeats.

pub mod frames;
pub mod link;
pub mod mls;
pub mod session;
pub mod torn;

/// Prints what an input does, for whoever looks for what a crash means.
fn show(act: &dyn std::fmt::Debug) {
    if std::env::var_os("GODWIT_FUZZ_SHOW").is_some() {
        eprintln!("{act:?}");
    }
}
