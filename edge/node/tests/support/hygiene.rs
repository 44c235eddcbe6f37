//! All nodes of a test process write one log, at its most verbose; at the end of each node it is read for what must not be in
//! it (R162). What that is, the harness notes where it makes it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;

use super::Person;

#[path = "../../../../tests/support/scan.rs"]
mod scan;

pub use scan::{Leak, Secrets};

/// As the binary does it: of the QUIC library, which names addresses, warnings only.
const LEVELS: &str = "trace,quinn_proto=warn,quinn_udp=warn";

static SECRETS: OnceLock<Mutex<Secrets>> = OnceLock::new();
static LOG: OnceLock<PathBuf> = OnceLock::new();

/// Everything that was noted so far.
pub fn secrets() -> MutexGuard<'static, Secrets> {
    SECRETS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where this process writes its log; begins it.
pub fn log() -> &'static Path {
    LOG.get_or_init(|| {
        let name = concat!(env!("CARGO_PKG_NAME"), "-", env!("CARGO_CRATE_NAME"));
        let path = scan::folder(env!("CARGO_TARGET_TMPDIR"), name).join("node.log");
        let file = Arc::new(File::create(&path).unwrap());
        let builder = tracing_subscriber::fmt().json().flatten_event(true).with_writer(file);
        builder.with_env_filter(EnvFilter::new(LEVELS)).init();
        path
    })
}

/// A device's tokens and key, and its person's name.
pub fn note(person: &Person) {
    let mut secrets = secrets();
    let tokens = &person.verified.tokens;
    secrets.word("a name", &person.verified.name);
    secrets.word("a token", tokens.access.expose());
    secrets.bytes("a token", tokens.refresh.expose());
    secrets.bytes("a device's key", &[person.seed; 32]);
}

/// What the log of this process says too much.
pub fn leaks() -> Vec<Leak> {
    secrets().find(&std::fs::read_to_string(log()).unwrap(), &[])
}

/// Lines of this process's log that say that there is a bug.
pub fn errors() -> Vec<String> {
    let log = std::fs::read_to_string(log()).unwrap();
    let is_error = |line: &&str| line.contains("\"level\":\"ERROR\"");
    log.lines().filter(is_error).map(str::to_owned).collect()
}

/// Panics with the first lines that say too much.
pub fn check(sms: &Path) {
    secrets().codes(&std::fs::read_to_string(sms).unwrap_or_default());
    let leaks = leaks();
    assert!(leaks.is_empty(), "{} says too much: {:#?}", log().display(), &leaks[..leaks.len().min(5)]);
}
