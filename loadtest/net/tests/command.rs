//! The command line of `net`; that there is such a test also makes `cargo test` build the program, for the step of
//! `cargo xtask test` that runs its short part.

use std::process::{Command, Output};

fn net(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_net")).args(words).output().expect("it can be run")
}

#[test]
fn p1_every_scenario_is_listed_and_another_is_refused_by_name() {
    let listed = net(&["--list"]);
    let text = String::from_utf8(listed.stdout).expect("it is text");
    let names: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["grid", "address", "nat", "blocked", "stalled", "hostile"]);
    assert!(listed.status.success());

    let refused = net(&["--only", "weather"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no scenario weather"));
}

/// Without the right to make networks nothing passes for run: each scenario is named, and where they were promised the
/// command fails.
#[cfg(target_os = "linux")]
#[test]
fn p1_where_networks_cannot_be_made_every_scenario_is_said_not_to_run() {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    /// The user that may do nothing.
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().expect("there is room");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
    // Where that user can reach it. By another process: a file that any thread's child holds open for writing cannot be run.
    let program = folder.path().join("net");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_net")).arg(&program).status();
    assert!(copied.expect("there is cp").success());
    let may_make_networks = loadtest_emulator::probe().is_ok();
    let play = |required: &str| {
        let mut command = Command::new(&program);
        command.env("GODWIT_NET", required).args(["--only", "nat", "--only", "grid"]);
        if may_make_networks {
            command.uid(NOBODY);
        }
        command.output().expect("it can be run")
    };
    let (optional, required) = (play(""), play("required"));
    for output in [&optional, &required] {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = said.lines().filter(|line| line.starts_with("NOT RUN: net ")).collect();
        assert_eq!(lines.len(), 2, "{said}");
        assert!(lines[0].contains(" grid: ") && lines[1].contains(" nat: "), "{said}");
        assert!(output.stdout.is_empty(), "no table of nothing");
    }
    assert_eq!((optional.status.code(), required.status.code()), (Some(77), Some(1)));
}
