//! The binary as its users meet it: exit codes that scripts can trust, errors that say what to do, devices that come
//! and go.

mod support;

use std::process::Output;

use loadtest_cluster::store_of_node;
use support::{Node, Person, of, phone, texts};

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, words: &str) {
    let (exit, text) = said(output);
    assert!(
        exit == Some(code) && text.contains(words),
        "expected {code} and {words:?}, got {exit:?}: {text}"
    );
}

#[test]
fn r12_two_people_chat_and_see_their_ticks() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path());
    let (alice, bob) = (node.person(&phone(1), "Alice"), node.person(&phone(2), "Bob"));
    alice.ok("send", &["--to", &bob.phone, "hello", "Bob"]);
    let ticks = |person: &Person| -> Vec<String> {
        let history = person.ok("history", &["--with", &bob.phone]);
        let messages = history.iter().filter(|entry| entry["kind"] == "message");
        messages.map(|entry| entry["ticks"].as_str().unwrap_or("").to_owned()).collect()
    };
    assert_eq!(ticks(&alice), ["✓"]);
    bob.ok("tail", &["--count", "1"]);
    assert_eq!(ticks(&alice), ["✓✓"]);
    let mut tail = bob.start("tail", &["--read"]);
    let told = alice.ok("send", &["--to", &bob.phone, "--wait", "read", "word two"]);
    assert!(of(&told, "read").count() == 1, "{told:?}");
    assert_eq!(ticks(&alice), ["✓✓ read", "✓✓ read"]);
    tail.until(|lines| texts(lines) == ["word two"]);
    tail.kill();
    let chats = bob.ok("chats", &[]);
    assert_eq!((&chats[0]["name"], &chats[0]["messages"]), (&"Alice".into(), &2.into()));
    let chat = chats[0]["chat"].as_str().expect("an id").to_owned();
    let info = alice.ok("info", &["--chat", &chat, "--seq", "3"]);
    assert!(
        info[0]["delivered_at"].as_u64() <= info[0]["read_at"].as_u64() && info[0]["read_at"].is_u64(),
        "{info:?}"
    );
}

#[test]
fn a_message_is_queued_for_the_process_that_is_connected() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path());
    let (alice, bob) = (node.person(&phone(1), "Alice"), node.person(&phone(2), "Bob"));
    alice.ok("send", &["--to", &bob.phone, "word one"]);
    let mut tail = alice.start("tail", &[]);
    tail.until(|lines| of(lines, "synced").count() > 0);
    let sent = alice.ok("send", &["--to", &bob.phone, "word two"]);
    assert_eq!(sent[0]["seq"], 3, "behind the first, which is behind the commit that makes the chat's group");
    assert_eq!(texts(&bob.ok("tail", &["--count", "2"])), ["word one", "word two"]);
}

#[test]
fn exit_codes_and_errors_say_what_happened_and_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path());
    let alice = node.person(&phone(1), "Alice");
    assert_fails(&alice.run("send", &["--to", &phone(9), "hi"]), 1, "nobody with this number");
    assert_fails(&alice.run("send", &["--to", "0151", "hi"]), 2, "country code");
    assert_fails(&alice.run("send", &["--to", &phone(9)]), 2, "TEXT");
    assert_fails(&alice.run("send", &["--chat", &"a".repeat(32), "hi"]), 1, "refused for good");
    assert_fails(&alice.run("history", &["--chat", &"a".repeat(32)]), 1, "not a member");
    let stranger = node.stranger(&phone(8), "Evelyn");
    assert_fails(&stranger.run("tail", &[]), 4, "godwit register --profile");
    let (listen, ca) = (node.listen.to_string(), node.ca());
    let wrong = ["--server", &listen, "--ca", ca.to_str().expect("UTF-8")];
    let register = |code: &str| {
        let who = ["--phone", &phone(8), "--name", "Evelyn", "--code", code];
        stranger.run("register", &[&wrong[..], &who[..]].concat())
    };
    assert_fails(&register("abc"), 1, "the code is wrong");
    assert_fails(&stranger.run("register", &["--phone", &phone(8), "--name", ""]), 2, "a name is");
    // A second node on the same files is told who has them; a database is there for several.
    if store_of_node(&node.dir).is_none() {
        let again = std::process::Command::new(env!("CARGO_BIN_EXE_godwit"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"])
            .arg(&node.dir)
            .output()
            .expect("the binary runs");
        assert_fails(&again, 1, "open in another process");
    }
    assert_eq!(node.terminate(), Some(0), "SIGTERM is a clean stop");
    assert_fails(&alice.run("chats", &["--timeout", "1"]), 3, "did not answer within 1 s");
    node.spawn();
    assert!(alice.ok("chats", &[]).is_empty(), "and it starts again");
}

#[test]
fn g6_devices_are_listed_revoked_and_logged_out() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path());
    let (alice, bob) = (node.person(&phone(1), "Alice"), node.person(&phone(2), "Bob"));
    let mut tail = alice.start("tail", &[]);
    tail.until(|lines| of(lines, "synced").count() > 0);
    let tablet = node.person(&phone(1), "Tablet");
    tail.until(|lines| of(lines, "device_added").count() == 1);
    tail.kill();
    bob.ok("send", &["--to", &alice.phone, "to all your devices"]);
    assert_eq!(texts(&tablet.ok("tail", &["--count", "1"])), ["to all your devices"]);
    let devices = tablet.ok("devices", &[]);
    let other = devices.iter().find(|device| device["current"] == false).expect("the phone");
    let mut live = alice.start("tail", &[]);
    live.until(|lines| of(lines, "synced").count() > 0);
    tablet.ok("revoke", &[other["device"].as_str().expect("an id")]);
    live.finish();
    assert_fails(&alice.run("tail", &[]), 4, "register");
    assert_eq!(tablet.ok("devices", &[]).len(), 1);
    tablet.ok("logout", &[]);
    assert_fails(&tablet.run("chats", &[]), 4, "not logged in");
    let back = node.person(&phone(1), "Alice");
    assert_eq!(back.ok("chats", &[]).len(), 1, "a new login of the same account has its chats");
}

#[test]
fn c1_an_expired_token_is_renewed_and_nobody_notices() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // A client renews a token in its last minute: with this life, at every connection.
    let node = Node::start_with(dir.path(), vec![("GODWIT_LIMITS__ACCESS_TOKEN_S".into(), "2".into())]);
    let (alice, bob) = (node.person(&phone(1), "Alice"), node.person(&phone(2), "Bob"));
    for n in 1..=3 {
        let sent = alice.ok("send", &["--to", &bob.phone, &n.to_string()]);
        assert_eq!(sent[0]["seq"], n + 1, "the first entry is the commit that makes the chat's group");
    }
    assert_eq!(texts(&bob.ok("tail", &["--count", "3"])), ["1", "2", "3"]);
}
