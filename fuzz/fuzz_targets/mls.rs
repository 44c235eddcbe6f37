//! libFuzzer's door to [`fuzz::mls`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::mls::run(data));
