//! SIGKILL of the node and of the client at random moments in a burst: nothing acknowledged is lost, nothing comes
//! twice, order holds (R50, R51, R141, I1–I3, G21).
#![expect(clippy::disallowed_methods, reason = "a kill comes at a random moment of real time")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::{Node, Person, of};

const ROUNDS: usize = 3;
const BURST: usize = 200;

/// A moment, different in every run and every round.
fn moment(bound_ms: u64) -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Duration::from_millis(u64::from(now.subsec_nanos()) / 1000 % bound_ms)
}

/// What Bob has, and what Alice was told.
struct Checker {
    /// Text -> place, of everything Alice was told is committed.
    acknowledged: BTreeMap<String, u64>,
}

impl Checker {
    fn heard(&mut self, sent: &[serde_json::Value], alice: &Person) {
        let told: BTreeMap<String, u64> = of(sent, "sent")
            .map(|line| {
                (
                    line["client_msg_id"].as_str().expect("an id").to_owned(),
                    line["seq"].as_u64().expect("a place"),
                )
            })
            .collect();
        // What the acknowledged messages say is in the log, page by page.
        let mut before = 0;
        loop {
            let page = alice.ok(
                "history",
                &["--with", "+4915100000002", "--limit", "500", "--before", &before.to_string()],
            );
            for entry in &page {
                if let Some(&seq) = told.get(entry["client_msg_id"].as_str().expect("an id")) {
                    assert_eq!(entry["seq"].as_u64(), Some(seq), "I1: at the place that was acknowledged");
                    self.acknowledged.insert(entry["text"].as_str().expect("a text").to_owned(), seq);
                }
            }
            match page.first().and_then(|entry| entry["seq"].as_u64()) {
                Some(first) if first > 1 => before = first,
                _ => break,
            }
        }
        let found = told.values().filter(|seq| self.acknowledged.values().any(|have| have == *seq)).count();
        assert_eq!(found, told.len(), "I1: everything acknowledged is in the log");
    }

    fn check(&self, received: &[serde_json::Value]) {
        let messages: Vec<_> = of(received, "message").collect();
        let seqs: Vec<u64> = messages.iter().map(|line| line["seq"].as_u64().expect("a place")).collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "I2: dense, in order, each once");
        let numbers: Vec<usize> = messages
            .iter()
            .map(|line| line["text"].as_str().expect("a text").parse().expect("a number"))
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "I3, G21: no text twice and none overtaken: {numbers:?}");
        for (text, seq) in &self.acknowledged {
            assert_eq!(messages[*seq as usize - 1]["text"], *text, "what was acknowledged is what arrived");
        }
    }
}

#[test]
fn r51_r141_sigkill_of_node_and_client_in_a_burst() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path());
    let (alice, bob) = (node.person("+4915100000001", "Alice"), node.person("+4915100000002", "Bob"));
    alice.ok("send", &["--to", &bob.phone, "0"]);
    let mut checker = Checker { acknowledged: BTreeMap::new() };
    let mut tail = bob.start("tail", &["--read"]);
    let mut received = Vec::new();
    let mut next = 1;
    for _ in 0..ROUNDS {
        let mut sending = alice.start("send", &["--to", &bob.phone, "--stdin", "--timeout", "50"]);
        for _ in 0..BURST {
            sending.say(&next.to_string());
            next += 1;
        }
        let acked = |count: usize| move |lines: &[serde_json::Value]| of(lines, "sent").count() >= count;
        sending.until(acked(1));
        std::thread::sleep(moment(30));
        node.kill();
        sending.drain();
        let before = of(&sending.seen, "sent").count();
        node.spawn();
        // It comes back by itself, and goes on where it was.
        sending.until(acked((before + 1).min(BURST)));
        std::thread::sleep(moment(20));
        let sent = sending.kill();
        received.extend(tail.kill());
        tail = bob.start("tail", &["--read"]);
        checker.heard(&sent, &alice);
    }
    // Whatever waits in the outbox leaves before this one.
    let last = next.to_string();
    let sent = alice.ok("send", &["--to", &bob.phone, "--timeout", "50", &last]);
    checker.heard(&sent, &alice);
    tail.until(|lines| of(lines, "message").any(|line| line["text"] == last.as_str()));
    received.extend(tail.kill());
    // A tail that is killed after printing and before noting it prints that message again: at most one per kill.
    let mut messages: Vec<_> = of(&received, "message").cloned().collect();
    messages.dedup_by(|b, a| a["seq"] == b["seq"] && a["client_msg_id"] == b["client_msg_id"]);
    checker.check(&messages);
    assert!(checker.acknowledged.len() > 2 * ROUNDS, "the bursts were acknowledged in part at least");
}
