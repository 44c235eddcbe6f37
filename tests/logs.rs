//! What is written about people: nothing that names them, by number, name, word, code, token, key or address (R162).
//!
//! Every test of this suite reads its own logs at its end (`support/hygiene.rs`). Here is what shows that it would see something.

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use support::hygiene::{LOG_LEVEL, append, clients_file, database, get};
use support::{GODWIT, Node, Person, canary, of, phone, texts};

struct Two {
    node: Node,
    alice: Person,
    bob: Person,
    _dir: tempfile::TempDir,
}

/// Alice and Bob have talked; somebody was refused, and a stop was begun.
fn talked() -> Two {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path());
    let (alice, bob) = (node.person(&phone(1), "Alice"), node.person(&phone(2), "Bobby"));
    alice.ok("send", &["--to", &bob.phone, &canary(1)]);
    assert_eq!(texts(&bob.ok("tail", &["--count", "1", "--read"])), [canary(1)]);
    // A number that nobody has, and a device that may not come any more.
    let _ = alice.run("send", &["--to", &phone(9), &canary(2)]);
    let tablet = node.person(&phone(1), "Tablet");
    let devices = tablet.ok("devices", &[]);
    let other = devices.iter().find(|device| device["current"] == false).expect("the phone");
    tablet.ok("revoke", &[other["device"].as_str().expect("an id")]);
    assert_eq!(alice.run("chats", &[]).status.code(), Some(4));
    assert_eq!(node.terminate(), Some(0));
    node.spawn();
    Two { node, alice, bob, _dir: dir }
}

#[test]
fn r162_every_crate_that_logs_was_read_at_its_most_verbose() {
    let Two { _dir, node, .. } = talked();
    assert!(LOG_LEVEL.starts_with("trace,"));
    let log = std::fs::read_to_string(node.log()).expect("a log");
    let crates: BTreeSet<&str> = log
        .lines()
        .filter_map(|line| {
            line.split_once("\"target\":\"").and_then(|(_, rest)| rest.split([':', '"']).next())
        })
        .collect();
    for name in ["godwit", "edge_node", "edge_proto", "wire_udp"] {
        assert!(crates.contains(name), "{name} said nothing: {crates:?}");
    }
    assert!(log.contains("\"level\":\"DEBUG\"") && log.lines().count() > 15, "it says something: {log}");
    assert!(std::fs::read_to_string(clients_file(&node.log())).expect("a log").contains("godwit: "));
    let metrics = get(node.admin, "/metrics").expect("it answers");
    assert!(metrics.lines().count() > 100, "{metrics}");
    assert!(node.secrets().len() > 40, "and there is something to look for");
}

#[test]
fn r162_what_is_planted_in_a_log_is_found() {
    let Two { _dir, node, alice, bob } = talked();
    let secrets = node.secrets();
    let finds = |line: &str| secrets.find(line, &node.allowed()).len();
    let db = database(&bob.profile);
    let key: Vec<u8> = db.query_row("SELECT seed FROM device", [], |row| row.get(0)).expect("a key");
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let sms = std::fs::read_to_string(node.sms()).expect("messages");
    let code = &sms.split("code is: ").nth(1).expect("a code")[..6];
    let login = "SELECT access, refresh FROM login";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (access, refresh): (String, Vec<u8>) = db.query_row(login, [], row).expect("a login");
    drop(db);
    let planted = [
        alice.phone.clone(),
        bob.phone[1..].to_owned(),
        "Bobby".into(),
        canary(1),
        format!("{:?}", canary(1).as_bytes().escape_ascii().to_string()),
        code.to_owned(),
        access.clone(),
        access[..20].to_owned(),
        format!("{refresh:?}"),
        hex,
        format!("{key:?}"),
        format!("{:?}", bytes::Bytes::from(key)),
        "127.0.0.1:1".into(),
    ];
    for secret in &planted {
        let line =
            serde_json::json!({"timestamp": "2026-01-01T00:00:00.000000Z", "message": format!("x {secret}")});
        assert_eq!(finds(&line.to_string()), 1, "{secret} is not found");
    }
    let ours = format!("listen {} data {}", node.listen, node.dir.display());
    assert_eq!(finds(&ours), 0, "its own address and place are no secret");
    assert_eq!(
        finds(&format!("{{\"timestamp\":\"2026-01-01T00:00:00.{code}Z\",\"took\":0.{code},\"n\":{code}1}}")),
        0
    );
    // The check at the end of every test is this one: a line in the node's log, then one in the clients'.
    for path in [node.log(), clients_file(&node.log())] {
        let whole = std::fs::read(&path).expect("a log");
        writeln!(append(&path), "hello {}", canary(1)).expect("written");
        let checked = catch_unwind(AssertUnwindSafe(|| node.check_logs()));
        assert!(checked.is_err(), "{} was not read", path.display());
        std::fs::write(&path, whole).expect("as it was");
        node.check_logs();
    }
}

#[test]
fn r162_doctor_says_nothing_of_people() {
    let Two { _dir, node, bob, .. } = talked();
    let mut tail = bob.start("tail", &[]);
    tail.until(|lines| of(lines, "synced").count() > 0);
    let (listen, admin) = (node.listen.to_string(), node.admin.to_string());
    let output = Command::new(GODWIT)
        .args(["doctor", "--json", "--listen", &listen, "--admin", &admin, "--data"])
        .arg(&node.dir)
        .arg("--profile")
        .arg(&bob.profile)
        .output()
        .expect("the binary runs");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(said.lines().count() > 10, "{said}");
    let leaks = node.secrets().find(&said, &node.allowed());
    assert_eq!(leaks, [], "doctor is shown to others, for help");
}
