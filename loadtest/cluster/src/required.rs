//! What tests do where FoundationDB is missing: they say so where it is seen, and fail where it was promised.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use crate::programs::{Missing, Programs};

/// Set to `required` in the environment, this variable makes [`can_run`] fail where FoundationDB is missing.
pub const REQUIRED_VARIABLE: &str = "GODWIT_TEST_FDB";

/// In the environment: a file to which the names of tests that could not run are appended, one a line, for whoever counts
/// them.
pub const NOT_RUN_VARIABLE: &str = "GODWIT_TEST_NOT_RUN";

/// FoundationDB's programs, if they are here. If not, a line on standard error says that `what` is not run, and why; it is
/// seen even if the test harness keeps a test's output to itself.
///
/// # Panics
/// They are missing, and the environment has `GODWIT_TEST_FDB=required`.
#[must_use]
pub fn can_run(what: &str) -> Option<Programs> {
    let missing = match Programs::find() {
        Ok(programs) => return Some(programs),
        Err(missing) => missing,
    };
    let is_required = std::env::var_os(REQUIRED_VARIABLE).is_some_and(|value| value == "required");
    assert!(!is_required, "{REQUIRED_VARIABLE}=required, but {}", not_run(what, &missing));
    note_not_run(&not_run(what, &missing), what);
    None
}

/// Says on standard error that a test is not run, and writes its name to the file that [`NOT_RUN_VARIABLE`] names.
pub fn note_not_run(line: &str, what: &str) {
    // If standard error is closed nobody listens.
    let _ = writeln!(io::stderr().lock(), "{line}");
    if let Some(file) = std::env::var_os(NOT_RUN_VARIABLE) {
        // Whoever counts sees too few; the line above stands.
        let _ = append(Path::new(&file), what);
    }
}

fn append(file: &Path, what: &str) -> io::Result<()> {
    // One write, so that lines of tests that run at a time do not mix.
    OpenOptions::new().create(true).append(true).open(file)?.write_all(format!("{what}\n").as_bytes())
}

fn not_run(what: &str, missing: &Missing) -> String {
    format!("NOT RUN: {what}: {missing}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_run_is_named_with_the_reason_and_can_be_counted() {
        let missing = Missing { what: vec!["fdbcli"], looked_in: vec!["/nowhere".into()] };
        let line = not_run("fdb::kill", &missing);
        assert!(line.starts_with("NOT RUN: fdb::kill: fdbcli is not here; "), "{line}");

        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("not-run");
        ["one", "two"].iter().for_each(|what| append(&file, what).expect("it is written"));
        assert_eq!(std::fs::read_to_string(file).expect("it is there"), "one\ntwo\n");
    }
}
