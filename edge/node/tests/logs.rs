//! The logs of nodes say nothing of people (R162): every test of this suite reads its own at its end; here is what shows that it
//! would see something.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use support::*;

#[test]
fn r162_the_log_is_read_and_what_is_planted_in_it_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (mut node, people, chat) = alice_and_bob(config(dir.path()));
    let [alice, bob] = &*people;
    let mut a = node.online(alice);
    let up = a.chat_up(chat, Some(bob.account()));
    a.append(up, 1, "canary in plain text");
    a.next(up);
    let mut raw = node.client(9);
    raw.hello_with(Some(alice), Some("no token".into()));
    let log = std::fs::read_to_string(hygiene::log()).unwrap();
    for target in ["edge_node", "edge_proto", "wire_udp"] {
        assert!(log.contains(&format!("\"target\":\"{target}")), "{target} says nothing: {log}");
    }
    assert_eq!(hygiene::leaks(), []);
    let token = alice.verified.tokens.access.expose().clone();
    let refresh = format!("{:?}", alice.verified.tokens.refresh.expose());
    for secret in ["canary in plain text", "+4915100000001", "Alice", &token, &refresh, "127.0.0.1:9"] {
        assert_eq!(hygiene::secrets().find(&format!("x {secret} y"), &[]).len(), 1, "{secret}");
    }
    assert_eq!(hygiene::secrets().find(&format!("x {:?} y", [1_u8; 32]), &[]).len(), 1, "a device's key");
    // The end of every node looks there: a line that leaks, in the log itself, is the end of its test.
    tracing::info!("hello Alice");
    assert_eq!(hygiene::leaks().len(), 1);
    assert!(catch_unwind(AssertUnwindSafe(|| node.end())).is_err(), "it was not read");
    let clean: String =
        log.lines().filter(|line| !line.contains("Alice")).map(|l| format!("{l}\n")).collect();
    std::fs::write(hygiene::log(), clean).unwrap();
}
