//! Where the repository is, and how its commands are started.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root, whatever folder the chore was started from.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ is a folder of the repository")
}

/// The target folder of this workspace, honouring `CARGO_TARGET_DIR`.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        // A relative path means relative to the root here: every cargo of ours runs there.
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The cargo that runs this chore, started in the repository's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    // Set for us by `cargo run`; a cargo below would take them for its own.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}
