//! No server ever has what people say (R11): people talk in a chat of two and in a group through a real node, and every byte that
//! it received, stored or logged is read for it. The node is in this process, where its frames can be heard after QUIC has
//! opened them; the people are processes of their own.

mod support;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge_node::{Config, RunningNode};
use serde_json::Value;
use support::planted::{self, Planted};
use support::{Person, hygiene, of, phone, stored, texts};
use tracing_subscriber::EnvFilter;
use wire_link::testing::tap;

/// What is said, by whom in turn. Each has pieces that nothing else has, and scripts of one, two and four bytes a character.
const DIRECT: [&str; 4] = [
    "the heron stands in the reeds at dawn",
    "Über sieben Brücken mußt du gehn, heute um halb neun",
    "мы встретимся у фонтана в полночь",
    "👩‍🚀🛰️🌍 launch window opens tomorrow 05:42 sharp",
];
const GROUP: [&str; 3] = [
    "bring the blue suitcase to platform seventeen",
    "nobody tells Marguerite about the orchestra",
    "the password of the boathouse is quicksilver-lantern",
];
const DRAFTED_LATER: &str = "and this was said when the group had other members";

/// A node in this process, which logs everything.
struct Node {
    runtime: tokio::runtime::Runtime,
    running: Option<RunningNode>,
    dir: PathBuf,
    log: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Node {
    fn start(dir: &Path) -> Node {
        let log = hygiene::log_file();
        let file = Arc::new(File::create(&log).expect("a log file"));
        let builder = tracing_subscriber::fmt().json().flatten_event(true).with_writer(file);
        builder.with_env_filter(EnvFilter::new("trace")).init();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let data = dir.join("node");
        let mut config = Config { listen: any, admin: any, data: data.clone(), ..Config::default() };
        if let Some(store) = loadtest_cluster::store_of_node(&data) {
            config.store = Some(store.store.parse().expect("a place for a store"));
            config.store_prefix = Some(store.prefix);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let running = runtime.block_on(edge_node::start(&config)).expect("the node starts");
        let (listen, admin) = (running.listen, running.admin);
        Node { runtime, running: Some(running), dir: data, log, listen, admin }
    }

    fn person(&self, n: u16, name: &str) -> Person {
        let person = Person::new(self.dir.with_file_name(name), &phone(n), &self.log);
        let (listen, ca, sms) =
            (self.listen.to_string(), self.dir.join("certs/ca.pem"), self.dir.join("sms.jsonl"));
        let paths = [ca.to_str().expect("UTF-8"), sms.to_str().expect("UTF-8")];
        let who = ["--phone", &person.phone, "--name", name];
        let server = ["--server", &listen, "--ca", paths[0], "--code-file", paths[1]];
        person.ok("register", &[&who[..], &server].concat());
        person
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}

/// Everything that the server got to see.
struct Seen {
    received: Vec<Vec<u8>>,
    stored: Vec<(String, Vec<u8>)>,
    logged: Vec<(String, Vec<u8>)>,
}

impl Seen {
    fn of(node: &mut Node) -> Seen {
        let metrics = hygiene::get(node.admin, "/metrics").expect("metrics");
        node.stop();
        let received = tap::recorded().iter().map(|frame| frame.to_vec()).collect();
        let files = stored::files(&node.dir).expect("a node's directory");
        let mut stored: Vec<(String, Vec<u8>)> = files
            .iter()
            .map(|file| (file.display().to_string(), std::fs::read(file).expect("a file")))
            .collect();
        for (key, value) in stored::pairs(&node.dir).expect("a store that can be read") {
            let name = key.escape_ascii().to_string();
            stored.push((name.clone(), key));
            stored.push((name, value));
        }
        let log = std::fs::read(&node.log).expect("a log");
        let logged = vec![("the log".to_owned(), log), ("metrics".to_owned(), metrics.into_bytes())];
        Seen { received, stored, logged }
    }

    /// Where something that was said is in it.
    fn find(&self, planted: &Planted) -> Vec<String> {
        let received = self.received.iter().enumerate();
        let received = received.map(|(n, frame)| (format!("received frame {n}"), frame.as_slice()));
        let kept =
            self.stored.iter().chain(&self.logged).map(|(name, bytes)| (name.clone(), bytes.as_slice()));
        let found = received.chain(kept).filter_map(|(name, bytes)| Some((name, planted.find(bytes)?)));
        found.map(|(name, found)| format!("{name}: {found:?}")).collect()
    }
}

#[test]
fn canary_the_search_finds_every_form() {
    planted::assert_finds_what_is_planted();
}

#[test]
fn canary_r11_what_people_say_is_in_nothing_that_a_server_received_stored_or_logged() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    tap::record();
    let mut node = Node::start(dir.path());
    let people = [(1, "Alice"), (2, "Bobby"), (3, "Carol")].map(|(n, name)| node.person(n, name));
    talk(&people);
    let seen = Seen::of(&mut node);
    let all = || DIRECT.into_iter().chain(GROUP).chain([DRAFTED_LATER]);
    let planted = Planted::every_piece(all());
    // It would be seen, wherever it were: planted into each of the three, and into the middle of what is really there.
    assert!(seen.received.len() > 100 && seen.stored.len() > 50, "the server got to see something");
    for text in all() {
        let inside = |bytes: &[u8]| {
            let (before, after) = bytes.split_at(bytes.len() / 2);
            planted.find(&[before, text.as_bytes(), after].concat()).is_some()
        };
        let largest = seen.received.iter().max_by_key(|frame| frame.len()).expect("there are some");
        assert!(inside(largest) && inside(&seen.stored[0].1) && inside(&seen.logged[0].1), "{text}");
    }
    // What is no secret from a server is there, so that what is read is what it had: the name of the group, and numbers.
    let open = Planted::every_piece(["Reading circle of the harbour"]);
    let places = seen.find(&open);
    assert!(places.iter().any(|place| place.starts_with("received")), "{places:?}");
    assert!(places.iter().any(|place| !place.starts_with("received")), "{places:?}");
    assert_eq!(seen.find(&planted), Vec::<String>::new());
}

/// Everybody says everything, and everybody else reads it.
fn talk([alice, bob, carol]: &[Person; 3]) {
    for (n, text) in DIRECT.into_iter().enumerate() {
        let (from, to) = if n % 2 == 0 { (alice, bob) } else { (bob, alice) };
        from.ok("send", &["--to", &to.phone, text]);
        let got = texts(&to.ok("tail", &["--count", "1", "--read"]));
        assert_eq!(got, [text], "it was said, and read");
    }
    let name = ["--name", "Reading circle of the harbour", "--description", "on Thursdays"];
    let made = alice.ok("group create", &[&name[..], &["--with", &bob.phone, &carol.phone]].concat());
    let chat =
        of(&made, "group_created").next().and_then(|made| made["chat"].as_str()).expect("a chat").to_owned();
    let say = |from: &Person, to: &[&Person], text: &str| {
        from.ok("send", &["--chat", &chat, text]);
        for person in to {
            let got: Vec<Value> = person.ok("tail", &["--count", "1", "--chat", &chat]);
            assert_eq!(texts(&got), [text]);
        }
    };
    say(alice, &[bob, carol], GROUP[0]);
    say(bob, &[alice, carol], GROUP[1]);
    say(carol, &[alice, bob], GROUP[2]);
    alice.ok("group remove", &["--chat", &chat, &bob.phone]);
    say(carol, &[alice], DRAFTED_LATER);
}
