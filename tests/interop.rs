//! The protocol proved by bytes that no code of ours made or read: a client in Python (`wire/interop/`), written from
//! `wire/PROTOCOL.md` and the schema alone, against this binary's node and this binary's client.
//!
//! It needs Python packages, so plain `cargo test` shows it as ignored; `cargo xtask interop` fetches them and runs it,
//! as do `cargo xtask test` and `ci`.

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{GODWIT, Node};

/// Where `cargo xtask` has put a Python with its packages (`venv/`) and the schema's Python code (`schema/`).
fn tools() -> PathBuf {
    std::env::var_os("INTEROP_TOOLS").map(PathBuf::from).expect(
        "INTEROP_TOOLS is not set: run this test by `cargo xtask interop`, which prepares what it needs",
    )
}

/// A node as the script's arguments name it.
fn named(node: &Node) -> String {
    format!("{}={}", node.listen, node.dir.display())
}

#[test]
#[ignore = "needs Python packages: run it by `cargo xtask interop`"]
fn r48_r50_r53_i2_i3_i4_c44_a_client_in_python_chats_misbehaves_and_is_answered_as_documented() {
    let tools = tools();
    let (dir, brief_dir) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let node = Node::start(dir.path());
    // Its access tokens live for a second, so that one can be seen to expire.
    let brief =
        Node::start_with(brief_dir.path(), vec![("GODWIT_LIMITS__ACCESS_TOKEN_S".into(), "1".into())]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire/interop/journey.py");
    let ran = Command::new(tools.join("venv/bin/python"))
        .arg(script)
        .args(["--node", &named(&node), "--brief-node", &named(&brief), "--godwit", GODWIT, "--work"])
        .arg(dir.path())
        .env("PYTHONPATH", tools.join("schema"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stderr(Stdio::inherit())
        .output()
        .expect("Python runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    let checks = said.lines().filter(|line| line.starts_with("ok  ")).count();
    // Past the test harness: whoever runs this by name wants to see what was checked.
    write!(std::io::stderr(), "{said}").expect("standard error");
    assert!(ran.status.success(), "the script ended with {:?} after {checks} checks", ran.status.code());
    for id in ["r48 ", "r50 ", "r53 ", "i2 ", "i3 ", "i4 ", "c44 "] {
        assert!(said.lines().any(|line| line.starts_with("ok  ") && line.contains(id)), "no check of {id}");
    }
    assert!(
        said.trim_end()
            .lines()
            .last()
            .is_some_and(|line| line.starts_with(&format!("{checks} checks passed")))
    );
}
