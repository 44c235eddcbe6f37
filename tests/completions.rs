//! `godwit completions`: the scripts are ones that shells accept, and bash completes with its own.

use std::io::{ErrorKind, Write};
use std::process::{Command, Output, Stdio};

fn script(shell: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_godwit"))
        .args(["completions", shell])
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs a shell with a script as its standard input; `None`, said where the test's reader sees it, if the shell is not
/// installed.
fn run(shell: &str, args: &[&str], script: &str) -> Option<Output> {
    let spawned = Command::new(shell)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Past the test harness, which would keep it to itself.
            writeln!(std::io::stderr(), "NOT TESTED: {shell} is not installed here").expect("standard error");
            return None;
        }
        Err(error) => panic!("{shell}: {error}"),
    };
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(script.as_bytes()).expect("it reads");
    drop(stdin);
    Some(child.wait_with_output().expect("it ends"))
}

/// What bash offers for the last of these words.
fn offered(words: &[&str]) -> Vec<String> {
    let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
    let ask = format!(
        "{}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_godwit godwit '{last}' '{before}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        script("bash"),
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1,
    );
    let output = run("bash", &["--norc", "--noprofile", "-s"], &ask).expect("bash is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn bash_accepts_its_script_and_completes() {
    let checked = run("bash", &["-n"], &script("bash")).expect("bash is installed");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(offered(&["godwit", "doc"]), ["doctor"]);
    let commands = offered(&["godwit", ""]);
    for command in ["serve", "certs", "doctor", "completions", "register", "send", "tail"] {
        assert!(commands.iter().any(|offered| offered == command), "{command} is not in {commands:?}");
    }
    assert_eq!(offered(&["godwit", "doctor", "--serv"]), ["--server"]);
    assert_eq!(offered(&["godwit", "completions", "ba"]), ["bash"]);
}

#[test]
fn other_shells_accept_theirs_where_they_are_installed() {
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = script(shell);
        assert!(script.contains("doctor") && script.contains("godwit"), "{shell}");
        // The other two have no way to check a script without running it.
        if matches!(shell, "zsh" | "fish")
            && let Some(checked) = run(shell, &["-n"], &script)
        {
            assert!(checked.status.success(), "{shell}: {}", String::from_utf8_lossy(&checked.stderr));
        }
    }
    let unknown = Command::new(env!("CARGO_BIN_EXE_godwit")).args(["completions", "tcsh"]).output();
    assert_eq!(unknown.expect("the binary runs").status.code(), Some(2), "wrong usage");
}
