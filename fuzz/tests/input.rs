//! One input, from the file that `GODWIT_FUZZ_INPUT` names: for whoever looks for what a crash means. The target is the
//! name of the file's folder, as in `corpus/` and `target/fuzz-artifacts/`.

use std::path::{Path, PathBuf};

#[test]
fn an_input_of_one_s_own() {
    let Some(path) = std::env::var_os("GODWIT_FUZZ_INPUT").map(PathBuf::from) else { return };
    // From the repository's root, where whoever asks is.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("fuzz/ is a folder of the repository");
    let input = std::fs::read(root.join(&path)).expect("a readable input");
    match path.parent().and_then(|folder| folder.file_name()?.to_str()) {
        Some("frames") => fuzz::frames::run(&input),
        Some("session") => fuzz::session::run(&input),
        Some("torn") => fuzz::torn::run(&input),
        Some("mls") => fuzz::mls::run(&input),
        Some("link") => fuzz::link::run(&input),
        other => panic!("the input's folder is named for its target, not {other:?}"),
    }
}
