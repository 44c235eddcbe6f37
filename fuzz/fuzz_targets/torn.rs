//! libFuzzer's door to [`fuzz::torn`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::torn::run(data));
