//! A profile with a passphrase, as its owner uses it: typed on a terminal and never shown, or in a file for scripts.

mod support;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use support::terminal::Terminal;
use support::{GODWIT, Node, phone};

const SCREEN: (u16, u16) = (24, 120);
const PASSPHRASE: &str = "correct horse battery staple";

/// Registers Alice on a terminal, and types.
fn register(node: &Node, profile: &Path, typed: &[(&str, &str)]) -> (Terminal, bool) {
    let (listen, number, ca, sms) = (node.listen.to_string(), phone(1), node.ca(), node.sms());
    let mut args = ["register", "--passphrase", "--name", "Alice", "--server", &listen, "--phone", &number]
        .map(OsStr::new)
        .to_vec();
    args.extend(["--profile".as_ref(), profile.as_os_str(), "--ca".as_ref(), ca.as_os_str()]);
    args.extend(["--code-file".as_ref(), sms.as_os_str()]);
    let mut terminal = Terminal::run(&args, SCREEN);
    for (asked, answer) in typed {
        terminal.until_shows(asked);
        terminal.press(answer);
    }
    let is_done = terminal.finish().success();
    (terminal, is_done)
}

fn said(terminal: &Terminal) -> String {
    String::from_utf8_lossy(&terminal.raw.lock().expect("not poisoned")).into_owned()
}

#[test]
fn r165_a_passphrase_is_typed_unseen_and_then_needed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path());
    let profile = dir.path().join("alice");
    let (first, again) = ("A passphrase for this profile:", "The same again:");
    let (terminal, is_done) =
        register(&node, &profile, &[(first, "correct horse\r"), (again, "correct house\r")]);
    assert!(!is_done && said(&terminal).contains("are not the same"), "{}", said(&terminal));
    assert!(!profile.exists(), "nothing was made");
    let typed = [(first, "correct horxx\x7f\x7fse battery staple\r"), (again, &format!("{PASSPHRASE}\r"))];
    let (terminal, is_done) = register(&node, &profile, &typed);
    assert!(is_done && said(&terminal).contains("Alice is registered"), "{}", said(&terminal));
    assert!(!said(&terminal).contains("horse"), "it was shown: {}", said(&terminal));

    // A script has it in a file.
    let file = dir.path().join("passphrase");
    let devices = |passphrase: &str| {
        std::fs::write(&file, passphrase).expect("written");
        let mut command = Command::new(GODWIT);
        command.args(["devices", "--json", "--profile"]).arg(&profile).arg("--passphrase-file").arg(&file);
        let output = command.output().expect("the binary runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(devices(&format!("{PASSPHRASE}\n")), (true, String::new()));
    let (is_done, error) = devices("correct horse\n");
    assert!(!is_done && error == "godwit: wrong passphrase\n", "{error}");

    // On a terminal it is asked for, and the screen begins only with the right one.
    let mut chat = Terminal::chat(&profile, SCREEN);
    chat.until_shows("Passphrase:");
    chat.press("sesame\r");
    assert!(!chat.finish().success() && said(&chat).contains("wrong passphrase"), "{}", said(&chat));
    let mut chat = Terminal::chat(&profile, SCREEN);
    chat.until_shows("Passphrase:");
    chat.press(&format!("{PASSPHRASE}\r"));
    chat.until_shows("● connected");
    assert!(!said(&chat).contains("horse"));
    // Ctrl-C at the question ends it.
    let mut chat = Terminal::chat(&profile, SCREEN);
    chat.until_shows("Passphrase:");
    chat.press("\x03");
    assert!(!chat.finish().success() && said(&chat).contains("no passphrase was given"), "{}", said(&chat));
}
