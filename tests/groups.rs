//! Groups as their members meet them: the real binary, a real node, real profiles. Who is in reads everything that is said while they
//! are in, as it was typed, in one order; who is not reads nothing of it (R59, R65, R67, I5, G16).

#![expect(clippy::disallowed_methods, reason = "real processes are killed in real time")]

mod support;

use std::process::Output;

use serde_json::Value;
use support::{Node, Person, Running, of, phone, texts};

const NAMES: [&str; 6] = ["Alice", "Bobby", "Carol", "David", "Ellen", "Frank"];

/// A node, and so many people who are registered on it.
fn people<const N: usize>(dir: &std::path::Path) -> (Node, [Person; N]) {
    let node = Node::start(dir);
    let people = std::array::from_fn(|n| node.person(&phone(n as u16 + 1), NAMES[n]));
    (node, people)
}

/// Makes a group of its maker and these; its id.
fn make(maker: &Person, members: &[&Person]) -> String {
    let numbers: Vec<&str> = members.iter().map(|member| member.phone.as_str()).collect();
    let made = maker.ok("group create", &[&["--name", "Picnic", "--with"][..], &numbers].concat());
    let made = of(&made, "group_created").next().expect("it is made");
    assert_eq!(made["missing"], Value::Array(Vec::new()));
    made["chat"].as_str().expect("an id").to_owned()
}

fn say(who: &Person, chat: &str, text: &str) {
    who.ok("send", &["--chat", chat, text]);
}

/// What somebody has not read yet, of which there is so much.
fn read(who: &Person, chat: &str, count: usize) -> Vec<String> {
    texts(&who.ok("tail", &["--count", &count.to_string(), "--chat", chat]))
}

/// Somebody who listens from now on.
fn listen(who: &Person) -> Running {
    let mut tail = who.start("tail", &[]);
    tail.until(|lines| of(lines, "synced").count() > 0);
    tail
}

/// The messages of a log, as somebody has them.
fn history(who: &Person, chat: &str) -> Vec<String> {
    let all = who.ok("history", &["--chat", chat]);
    let messages = all.iter().filter(|place| place["kind"] == "message");
    messages.map(|place| place["text"].as_str().expect("a text").to_owned()).collect()
}

fn members(who: &Person, chat: &str) -> Vec<Value> {
    let info = who.ok("group info", &["--chat", chat]);
    of(&info, "member").cloned().collect()
}

#[track_caller]
fn assert_fails(output: &Output, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains(words), "{:?}: {text}", output.status);
}

#[test]
fn r59_r65_r67_a_group_of_five_is_made_grows_and_shrinks_and_who_is_out_reads_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_node, [alice, bob, carol, david, ellen, frank]) = people::<6>(dir.path());
    let chat = make(&alice, &[&bob, &carol, &david, &ellen]);
    let info = alice.ok("group info", &["--chat", &chat]);
    assert_eq!((&info[0]["name"], &info[0]["members"]), (&"Picnic".into(), &5.into()));
    say(&alice, &chat, "who brings the salad");
    say(&bob, &chat, "that would be me");
    for person in [&carol, &david, &ellen] {
        assert_eq!(read(person, &chat, 2), ["who brings the salad", "that would be me"]);
    }
    // Only an admin adds, and who is added reads what is said from then on.
    assert_fails(&bob.run("group add", &["--chat", &chat, &frank.phone]), "only an admin");
    alice.ok("group add", &["--chat", &chat, &frank.phone]);
    assert_fails(&alice.run("group add", &["--chat", &chat, &frank.phone]), "in this group already");
    say(&carol, &chat, "and a blanket, Frank");
    assert_eq!(read(&frank, &chat, 1), ["and a blanket, Frank"]);
    assert_eq!(history(&frank, &chat), ["and a blanket, Frank"]);
    // Who is removed gets nothing of what follows, whether it listens or asks.
    let mut ear = listen(&bob);
    alice.ok("group remove", &["--chat", &chat, &bob.phone]);
    ear.until(|lines| of(lines, "gone").count() == 1);
    say(&david, &chat, "Bobby does not hear this");
    assert_eq!(read(&ellen, &chat, 2), ["and a blanket, Frank", "Bobby does not hear this"]);
    let heard = ear.kill();
    assert_eq!(texts(&heard), ["who brings the salad", "and a blanket, Frank"]);
    assert_fails(&bob.run("send", &["--chat", &chat, "hello?"]), "refused for good");
    assert_fails(&bob.run("group info", &["--chat", &chat]), "not in this group");
    assert_eq!(
        history(&bob, &chat),
        ["who brings the salad", "that would be me", "and a blanket, Frank"],
        "what was said while he was in stays his"
    );
    // One leaves by itself; whoever writes next removes its devices first, and nobody notices.
    let mut ear = alice.start("tail", &[]);
    ear.until(|lines| of(lines, "synced").count() > 0);
    let was = of(&ear.seen, "members").count();
    david.ok("group leave", &["--chat", &chat]);
    say(&frank, &chat, "David has gone");
    assert_eq!(read(&carol, &chat, 2), ["Bobby does not hear this", "David has gone"]);
    ear.until(|lines| texts(lines).last().is_some_and(|last| last == "David has gone"));
    let changes: Vec<Value> = of(&ear.kill(), "members").skip(was).cloned().collect();
    assert_eq!(changes.len(), 1, "he has left, and nobody has removed him: {changes:?}");
    assert_eq!((&changes[0]["removed"][0], &changes[0]["added"]), (&changes[0]["by"], &Value::Array(vec![])));
    assert_fails(&david.run("send", &["--chat", &chat, "wait"]), "refused for good");
    assert_eq!(members(&alice, &chat).len(), 4);
}

#[test]
fn g16_the_last_admin_leaves_and_who_has_been_in_longest_becomes_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_node, [alice, bob, carol, david]) = people::<4>(dir.path());
    let chat = make(&alice, &[&bob, &carol]);
    let admins = |who: &Person| -> Vec<bool> {
        members(who, &chat).iter().map(|member| member["admin"] == true && member["mine"] == true).collect()
    };
    assert_fails(&carol.run("group remove", &["--chat", &chat, &bob.phone]), "only an admin");
    alice.ok("group leave", &["--chat", &chat]);
    let new = [&bob, &carol].map(|person| admins(person).contains(&true));
    assert_eq!(new.iter().filter(|is_admin| **is_admin).count(), 1, "one of the two who are left");
    let (admin, other) = if new[0] { (&bob, &carol) } else { (&carol, &bob) };
    admin.ok("group add", &["--chat", &chat, &david.phone]);
    say(admin, &chat, "welcome, David");
    assert_eq!(read(&david, &chat, 1), ["welcome, David"]);
    assert_eq!(read(other, &chat, 1), ["welcome, David"]);
    assert_fails(&alice.run("send", &["--chat", &chat, "and me?"]), "refused for good");
}

#[test]
fn r11_r149_each_device_of_an_account_reads_the_group_from_its_joining_on() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (node, [alice, bob, carol]) = people::<3>(dir.path());
    let tablet = node.person(&bob.phone, "Tablet");
    // Both of Bob's are in from the beginning.
    let chat = make(&alice, &[&bob, &carol]);
    say(&alice, &chat, "to three people");
    for device in [&bob, &tablet, &carol] {
        assert_eq!(read(device, &chat, 1), ["to three people"]);
    }
    say(&tablet, &chat, "from the tablet");
    assert_eq!(read(&bob, &chat, 1), ["from the tablet"]);
    // Carol gets another device later: her phone brings it into the group as soon as it hears of it.
    let mut phone = listen(&carol);
    let laptop = node.person(&carol.phone, "Laptop");
    let mut ear = laptop.start("tail", &[]);
    ear.until(|lines| of(lines, "members").any(|line| line["joined"] == true));
    say(&alice, &chat, "to four devices of others");
    ear.until(|lines| texts(lines) == ["to four devices of others"]);
    phone.until(|lines| texts(lines).last().is_some_and(|last| last == "to four devices of others"));
    ear.kill();
    assert_eq!(history(&laptop, &chat), ["to four devices of others"], "nothing of before");
    // And a device that is ended gets nothing more.
    let devices = laptop.ok("devices", &[]);
    let other = devices.iter().find(|device| device["current"] == false).expect("the phone");
    laptop.ok("revoke", &[other["device"].as_str().expect("an id")]);
    phone.finish();
    say(&alice, &chat, "the phone was lost");
    assert_eq!(read(&laptop, &chat, 1), ["the phone was lost"]);
}

#[test]
fn r149_a_peer_s_new_device_reads_a_chat_of_two_once_its_first_one_knows() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (node, [alice, bob]) = people::<2>(dir.path());
    alice.ok("send", &["--to", &bob.phone, "before the tablet"]);
    assert_eq!(texts(&bob.ok("tail", &["--count", "1"])), ["before the tablet"]);
    let tablet = node.person(&bob.phone, "Tablet");
    // Bob's phone was off; it finds the new device when it is next on.
    let mut phone = listen(&bob);
    let mut ear = tablet.start("tail", &[]);
    ear.until(|lines| of(lines, "members").any(|line| line["joined"] == true));
    alice.ok("send", &["--to", &bob.phone, "after the tablet"]);
    ear.until(|lines| texts(lines) == ["after the tablet"]);
    phone.until(|lines| texts(lines) == ["after the tablet"]);
}

#[test]
fn i6_two_who_begin_one_chat_at_the_same_moment_are_in_one_chat() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_node, [alice, bob]) = people::<2>(dir.path());
    let both = [(&alice, &bob), (&bob, &alice)];
    let senders =
        both.map(|(from, to)| from.start("send", &["--to", &to.phone, &format!("hello {}", to.phone)]));
    for sender in senders {
        let lines = sender.finish();
        assert_eq!(of(&lines, "sent").count(), 1, "{lines:?}");
    }
    let (a, b) = (alice.ok("history", &["--with", &bob.phone]), bob.ok("history", &["--with", &alice.phone]));
    let log = |history: &[Value]| -> Vec<(u64, String)> {
        let messages = history.iter().filter(|place| place["kind"] == "message");
        messages
            .map(|m| (m["seq"].as_u64().expect("a place"), m["text"].as_str().expect("a text").to_owned()))
            .collect()
    };
    assert_eq!(log(&a), log(&b));
    assert_eq!(log(&a).len(), 2, "{a:?}");
}

#[test]
fn i6_a_node_killed_while_a_group_is_made_has_made_it_once_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut node, [alice, bob, carol, david, ellen]) = people::<5>(dir.path());
    let numbers = [&bob, &carol, &david, &ellen].map(|person| person.phone.as_str());
    for wait_ms in [0, 5, 15, 40] {
        let mut making =
            alice.start("group create", &[&["--name", "Picnic", "--with"][..], &numbers].concat());
        making.until(|lines| of(lines, "group_begun").count() == 1);
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        node.kill();
        node.spawn();
        let lines = making.finish();
        let made = of(&lines, "group_created").next().expect("it goes on by itself").clone();
        let chat = made["chat"].as_str().expect("an id");
        say(&alice, chat, "are you all here");
        for person in [&bob, &carol, &david, &ellen] {
            assert_eq!(read(person, chat, 1), ["are you all here"], "killed after {wait_ms} ms");
        }
    }
    // Each is there once: no half of one, and none twice.
    assert_eq!(alice.ok("chats", &[]).len(), 4);
    assert_eq!(ellen.ok("chats", &[]).len(), 4);
}

#[test]
fn r149_a_phone_killed_between_its_commit_and_the_answer_goes_on() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_node, [alice, bob, carol]) = people::<3>(dir.path());
    let numbers = [&bob, &carol].map(|person| person.phone.as_str());
    for wait_ms in [0, 2, 8, 30] {
        let mut making =
            alice.start("group create", &[&["--name", "Picnic", "--with"][..], &numbers].concat());
        making.until(|lines| of(lines, "group_begun").count() == 1);
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        making.kill();
    }
    // What was begun and kept is done by whatever of the profile runs next. None is left half done.
    let begun = begun(&alice);
    let mut tail = alice.start("tail", &[]);
    tail.until(|lines| of(lines, "group_done").count() == begun);
    tail.kill();
    let chats = alice.ok("chats", &[]);
    assert_eq!(chats.len(), 4, "each that was begun");
    for chat in &chats {
        let chat = chat["chat"].as_str().expect("an id");
        say(&alice, chat, "we go on");
        for person in [&bob, &carol] {
            assert_eq!(read(person, chat, 1), ["we go on"]);
        }
    }
}

/// Changes of members that a profile has begun.
fn begun(who: &Person) -> usize {
    let db = support::hygiene::database(&who.profile);
    let count = db.query_row("SELECT count(*) FROM plans", [], |row| row.get::<_, i64>(0));
    usize::try_from(count.expect("read")).expect("few")
}
