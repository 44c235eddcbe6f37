//! What tests do where networks cannot be made: they say so where it is seen, and fail where it was promised.

use std::error::Error;
use std::io::{self, Write};

use crate::error::Unavailable;
use crate::network::probe;

/// Set to `required` in the environment, this variable makes [`can_run`] fail where networks cannot be made.
pub const REQUIRED_VARIABLE: &str = "GODWIT_NET";

/// Whether networks can be made here. If not, a line on standard error says that `what` is not run, and why; it is seen
/// even if the test harness keeps a test's output to itself.
///
/// # Panics
/// They cannot, and the environment has `GODWIT_NET=required`.
#[must_use]
pub fn can_run(what: &str) -> bool {
    let Err(unavailable) = probe() else { return true };
    let line = not_run(what, &unavailable);
    let is_required = std::env::var_os(REQUIRED_VARIABLE).is_some_and(|value| value == "required");
    assert!(!is_required, "{REQUIRED_VARIABLE}=required, but {line}");
    // If standard error is closed nobody listens.
    let _ = writeln!(io::stderr().lock(), "{line}");
    false
}

fn not_run(what: &str, unavailable: &Unavailable) -> String {
    let why = unavailable.source().map(ToString::to_string).unwrap_or_default();
    format!("NOT RUN: {what}: {unavailable}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_run_is_named_with_the_reason() {
        let why = io::Error::from_raw_os_error(libc::EPERM);
        let line = not_run("net::loss", &Unavailable { what: "making a network namespace", why });
        assert!(line.starts_with("NOT RUN: net::loss: "), "{line}");
        assert!(line.contains("making a network namespace") && line.contains("not permitted"), "{line}");
    }
}
