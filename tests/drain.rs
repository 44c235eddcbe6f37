//! A rolling restart of the node while people write: nothing lost, nothing doubled, order holds, and the node is gone within
//! its time (R36, I1–I3, G21).
#![expect(clippy::disallowed_methods, reason = "the process is told to stop in real time")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::{Node, Person, Running, of, phone};

const SENDERS: usize = 8;
const EACH: usize = 300;
const RESTARTS: usize = 2;
const STOP_TIMEOUT_MS: u64 = 8_000;

#[test]
fn r36_a_rolling_restart_under_load_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut env: Vec<(String, String)> =
        ["MESSAGES_PER_MINUTE", "REQUESTS_PER_MINUTE", "OTP_PER_HOUR", "REGISTRATIONS_PER_HOUR"]
            .map(|name| (format!("GODWIT_LIMITS__RATES__{name}"), "1000000".to_owned()))
            .into();
    env.push(("GODWIT_STOP_TIMEOUT_MS".into(), STOP_TIMEOUT_MS.to_string()));
    env.push(("GODWIT_LIMITS__DRAIN_SPREAD_MS".into(), "500".into()));
    let mut node = Node::start_with(dir.path(), env);
    let bob = node.person(&phone(9), "Bobby");
    let people: Vec<Person> =
        (0..SENDERS).map(|n| node.person(&phone(100 + n as u16), &format!("sender{n}"))).collect();
    let mut tail = bob.start("tail", &["--read"]);
    let args = ["--to", &bob.phone, "--stdin", "--timeout", "50"];
    let mut senders: Vec<Running> = people.iter().map(|person| person.start("send", &args)).collect();
    let acknowledged = |senders: &mut [Running]| -> usize {
        senders.iter_mut().for_each(Running::drain);
        senders.iter().map(|sender| of(&sender.seen, "sent").count()).sum()
    };
    let mut next = 0;
    for restart in 0..=RESTARTS {
        let part = EACH / (RESTARTS + 1);
        for _ in 0..part {
            senders.iter_mut().enumerate().for_each(|(n, sender)| sender.say(&format!("{n} sings {next}")));
            next += 1;
        }
        if restart == RESTARTS {
            break;
        }
        // In the middle of it: some of these are acknowledged and some are not.
        let deadline = Instant::now() + support::PATIENCE;
        while acknowledged(&mut senders) < restart * part * SENDERS + 1 {
            assert!(Instant::now() < deadline, "nobody gets through");
            std::thread::sleep(Duration::from_millis(1));
        }
        let before = acknowledged(&mut senders);
        assert!(before < next * SENDERS, "it is told in the middle of it");
        let told = Instant::now();
        assert_eq!(node.terminate(), Some(0), "it stops in order");
        // Its time, and what a busy machine adds to the end of a process.
        assert!(told.elapsed() < Duration::from_millis(STOP_TIMEOUT_MS) + Duration::from_secs(5));
        node.spawn();
    }
    let total = next * SENDERS;
    tail.until(|lines| of(lines, "message").count() >= total);
    for sender in senders {
        let lines = sender.finish();
        assert_eq!(of(&lines, "sent").count(), next, "each message is acknowledged, once");
        assert_eq!(of(&lines, "failed").count(), 0);
    }
    let received = tail.kill();
    let mut chats: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    for line in of(&received, "message") {
        let (chat, seq) = (line["chat"].as_str().expect("a chat"), line["seq"].as_u64().expect("a place"));
        chats.entry(chat).or_default().push((seq, line["text"].as_str().expect("a text")));
    }
    assert_eq!(chats.len(), SENDERS);
    for messages in chats.values() {
        let sender = messages[0].1.split(' ').next().expect("who");
        let expected: Vec<(u64, String)> =
            // The first place has the commit that makes the chat's group.
            (0..next).map(|n| (n as u64 + 2, format!("{sender} sings {n}"))).collect();
        assert!(
            messages.iter().map(|(seq, text)| (*seq, (*text).to_owned())).eq(expected),
            "I1, I2, I3: everything once, in order: {messages:?}"
        );
    }
}
