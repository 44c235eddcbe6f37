//! What an operator measures (R157, R160): exact figures of a real node on real sockets, and a table that is complete.

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::*;
use wire::event::Event;
use wire::proof;
use wire::request::{Credentials, EarlyProof, Hello, Request};
use wire::{AccountId, ErrorCode, Role, Seq};

/// Two people chat: `n` messages of Alice, each acknowledged and delivered to Bob, who reads them.
fn chat(node: &TestNode, people: &[Person; 2], chat: wire::ChatId, n: u64) -> (Raw, Raw) {
    let [alice, bob] = people;
    let (mut a, mut b) = (node.online(alice), node.online(bob));
    let up = a.chat_up(chat, Some(bob.account()));
    for i in 1..=n {
        a.append(up, i, "canary one");
        assert!(matches!(a.next(up), Event::AppendAck { seq: Seq(s), .. } if s == i));
    }
    b.until(|b| b.seqs(chat).len() as u64 == n);
    let b_up = b.chat_up(chat, None);
    b.say(b_up, &Request::MoveCursor { delivered: Seq(n), read: Seq(n) });
    a.until(|a| a.cursor(chat, bob.account()) == (Seq(n), Seq(n)));
    (a, b)
}

#[test]
fn r157_the_counters_say_exactly_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat_id) = alice_and_bob(config(dir.path()));
    let before = Scrape::of(admin(&node));
    assert_eq!((before.get("godwit_up"), before.get("godwit_appends_total")), (1.0, 0.0));
    assert_eq!(before.get("godwit_hellos_total{kind=\"anonymous\"}"), 2.0, "each registered");
    assert_eq!(before.get("godwit_sms_total{outcome=\"sent\"}"), 2.0);
    let (mut a, _b) = chat(&node, &people, chat_id, 7);
    let up = a.chat_up(chat_id, Some(people[1].account()));
    a.append(up, 7, "canary one");
    assert!(matches!(a.next(up), Event::AppendAck { seq: Seq(7), .. }), "a repeat");
    let after = Scrape::of(admin(&node));
    assert!(after.get("godwit_loops") >= 1.0);
    assert_eq!(after.get("godwit_appends_total"), 7.0);
    assert_eq!(after.get("godwit_append_repeats_total"), 1.0);
    assert_eq!(after.get("godwit_append_ack_seconds_count"), 8.0, "every ack is timed");
    assert_eq!(after.get("godwit_hellos_total{kind=\"device\"}"), 2.0);
    assert_eq!(after.get("godwit_sessions"), 2.0);
    assert_eq!(after.get("godwit_hello_seconds_count"), 4.0);
    assert_eq!(after.get("godwit_cursor_moves_total"), 1.0);
    assert_eq!(after.get("godwit_store_op_seconds_count{op=\"append\"}"), 8.0);
    // Both devices have every entry, Alice her own too.
    let after = scrape_until(&node, "14 deliveries", |s| s.get("godwit_deliveries_total") >= 14.0);
    assert_eq!(after.get("godwit_deliveries_total"), 14.0);
    let timed = after.get("godwit_delivery_seconds_count");
    assert!((1.0..=14.0).contains(&timed), "{timed}");
    assert!(
        after.sum("godwit_frames_received_total") > 8.0 && after.sum("godwit_received_bytes_total") > 1000.0
    );
    assert_eq!(after.sum("godwit_timings_lost_total"), 0.0);
}

#[test]
fn r157_sessions_and_connections_go_down_again() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, _) = alice_and_bob(config(dir.path()));
    let mut alice = node.online(&people[0]);
    // Those that registered have gone without a word: the node finds out later.
    let there = Scrape::of(admin(&node));
    assert_eq!((there.get("godwit_sessions"), there.get("godwit_accounts")), (1.0, 1.0));
    assert!((1.0..=3.0).contains(&there.get("godwit_connections")));
    assert_eq!(there.get("godwit_connections_established_total"), 3.0);
    let link = alice.link;
    alice.driver.endpoint().close(link, wire::CloseCode::Done, "");
    alice.until(|raw| raw.closed.is_some());
    let gone = scrape_until(&node, "nobody", |s| s.get("godwit_sessions") == 0.0);
    assert_eq!(gone.get("godwit_accounts"), 0.0);
    let closed =
        scrape_until(&node, "it to be forgotten", |s| s.get("godwit_connections_closed_total") >= 1.0);
    let (opened, closed_count) =
        (closed.get("godwit_connections_opened_total"), closed.get("godwit_connections_closed_total"));
    assert_eq!(closed.get("godwit_connections"), opened - closed_count);
}

#[test]
fn g18_r157_early_data_and_remembered_sessions_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, _) = alice_and_bob(config(dir.path()));
    let mut alice = node.online(&people[0]);
    // What comes after Connected has brought the ticket along.
    assert!(matches!(&alice.ask(&Request::ListDevices)[..], [Event::Devices(_)]));
    let before = Scrape::of(admin(&node));
    assert_eq!(before.sum("godwit_early_data_total"), 0.0);
    assert!(before.get("godwit_tls_sessions") >= 1.0 && before.get("godwit_tls_session_bytes") >= 100.0);
    alice.link = alice.driver.endpoint().connect(Instant::now(), node.addr, "localhost").unwrap();
    let token = people[0].verified.tokens.access.clone();
    let signed_at = edge_node::clock::wall_now();
    let message = proof::early_message(token.expose(), "localhost", signed_at);
    let proof = people[0].key.sign(&message).as_ref().try_into().unwrap();
    let early = Some(EarlyProof { signed_at, server_name: "localhost".into() });
    let credentials = Some(Credentials { token, proof, early });
    let (receipts_since, cursors, client) = (wire::WallTime(0), vec![], "raw".into());
    let hello = Hello { version: 1, credentials, receipts_since, cursors, client };
    // In the first flight, before anything has come back.
    let session = alice.driver.endpoint().open(alice.link, Role::Session).expect("the server is remembered");
    alice.say(session, &Request::Hello(hello));
    let deadline = Instant::now() + PATIENCE;
    let after = loop {
        alice.turn(Instant::now() + Duration::from_millis(20));
        let scrape = Scrape::of(admin(&node));
        if scrape.sum("godwit_early_data_total") >= 1.0 {
            break scrape;
        }
        assert!(Instant::now() < deadline, "{:#?}", scrape.samples);
    };
    assert_eq!(after.get("godwit_early_data_total{outcome=\"accepted\"}"), 1.0);
    assert_eq!(after.get("godwit_tls_sessions_taken_total"), 1.0);
}

#[test]
fn r160_refusals_are_counted_by_their_code() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.rates.messages_per_minute = 3;
    let (node, people, chat_id) = alice_and_bob(config);
    let refused = |code: ErrorCode| format!("godwit_refused_total{{code=\"{code:?}\"}}");
    assert_eq!(Scrape::of(admin(&node)).sum("godwit_refused_total"), 0.0);
    let forged = node.client(9).hello_with(Some(&people[0]), Some("forged".into()));
    assert!(matches!(forged, Event::Refused(r) if r.code == ErrorCode::TokenInvalid), "{forged:?}");
    let mut alice = node.online(&people[0]);
    let stranger = alice.chat_up(chat_id, Some(AccountId::new([7; 16])));
    assert!(matches!(alice.next(stranger), Event::Refused(r) if r.code == ErrorCode::ChatMismatch));
    let up = alice.chat_up(chat_id, Some(people[1].account()));
    alice.append(up, 100, "");
    assert!(matches!(alice.next(up), Event::AppendRefused { .. }));
    for n in 1..=3 {
        alice.append(up, n, "within the rate");
        assert!(matches!(alice.next(up), Event::AppendAck { .. }));
    }
    alice.append(up, 4, "over it");
    let over = alice.next(up);
    assert!(matches!(over, Event::AppendRefused { refusal, .. } if refusal.code == ErrorCode::RateLimited));
    let scrape = Scrape::of(admin(&node));
    for code in
        [ErrorCode::TokenInvalid, ErrorCode::ChatMismatch, ErrorCode::ContentEmpty, ErrorCode::RateLimited]
    {
        assert_eq!(scrape.get(&refused(code)), 1.0, "{code:?}");
    }
    assert_eq!(scrape.sum("godwit_refused_total"), 4.0, "and nothing else");
    assert_eq!(scrape.get("godwit_appends_total"), 3.0);
}

#[test]
fn r160_the_cache_s_hits_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat_id) = alice_and_bob(config(dir.path()));
    let asked = |s: &Scrape| s.get("godwit_recent_hits_total") + s.get("godwit_recent_misses_total");
    let before = Scrape::of(admin(&node));
    assert_eq!((asked(&before), before.get("godwit_recent_bytes")), (0.0, 0.0));
    chat(&node, &people, chat_id, 3);
    let after = scrape_until(&node, "a hit", |s| s.get("godwit_recent_hits_total") >= 1.0);
    assert!(after.get("godwit_recent_bytes") > 0.0);
}

#[test]
fn r157_metrics_are_there_while_the_node_drains() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    // One loop, and only its first client is told to go before it is over: it drains for all of this time.
    config.loops = 1;
    (config.stop_timeout_ms, config.limits.drain_spread_ms) = (8_000, 600_000);
    let (mut node, people, chat_id) = alice_and_bob(config);
    let _online = chat(&node, &people, chat_id, 2);
    let running = node.node.take().expect("it runs");
    let admin = running.admin;
    assert_eq!(http(admin, "GET", "/health").0, 200);
    let stopping = node.runtime.spawn(running.stop());
    let mut drained = None;
    let deadline = Instant::now() + PATIENCE;
    while drained.is_none() {
        assert!(Instant::now() < deadline);
        let (status, _) = http(admin, "GET", "/health");
        let scrape = Scrape::of(admin);
        drained = (status == 503 && scrape.get("godwit_draining") == 1.0).then_some(scrape);
    }
    let scrape = drained.expect("just seen");
    assert_eq!((scrape.get("godwit_up"), scrape.get("godwit_appends_total")), (0.0, 2.0));
    assert!(scrape.get("godwit_connections") >= 1.0, "somebody is still there");
    node.runtime.block_on(stopping).unwrap();
}

#[test]
fn r157_two_nodes_of_one_process_have_figures_of_their_own() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (busy, people, chat_id) = alice_and_bob(config(dirs[0].path()));
    let idle = TestNode::start(config(dirs[1].path()));
    let _online = chat(&busy, &people, chat_id, 2);
    assert_eq!(Scrape::of(admin(&busy)).get("godwit_appends_total"), 2.0);
    let idle = Scrape::of(admin(&idle));
    for name in ["godwit_appends_total", "godwit_connections_opened_total", "godwit_store_batches_total"] {
        assert_eq!(idle.get(name), 0.0, "{name}");
    }
    assert_eq!(idle.get("godwit_up"), 1.0);
}

#[test]
fn r152_who_asks_for_something_else_gets_a_status() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(config(dir.path()));
    let admin = admin(&node);
    for (method, path, status) in [
        ("GET", "/metrics/", 404),
        ("GET", "/", 404),
        ("GET", "/metrics/../../etc/passwd", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/metrics", 405),
        ("GET", "/metrics?name[]=godwit_up", 200),
        ("GET", "/health", 200),
    ] {
        assert_eq!(http(admin, method, path).0, status, "{method} {path}");
    }
    // A scraper that goes away in the middle costs nobody anything, and many at once are served.
    for _ in 0..20 {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
    }
    let scrapers: Vec<_> = (0..8).map(|_| std::thread::spawn(move || Scrape::of(admin))).collect();
    for scraper in scrapers {
        assert_eq!(scraper.join().unwrap().get("godwit_up"), 1.0);
    }
}

/// The table of `docs/METRICS.md`: name, type, labels.
fn documented() -> BTreeSet<(String, String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/METRICS.md");
    let text = std::fs::read_to_string(path).expect("docs/METRICS.md is there");
    let mut rows = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [name, kind, _unit, labels, what, _worry] = cells[..] else { panic!("six columns: {line}") };
        assert!(!what.is_empty(), "{line}");
        let new = rows.insert((name.to_owned(), kind.to_owned(), labels.to_owned()));
        assert!(new, "{name} is there once");
    }
    rows
}

fn exported(scrape: &Scrape) -> BTreeSet<(String, String, String)> {
    let of = |name: &str, kind: &str| {
        let samples = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        let labels = scrape.samples.keys().find_map(|sample| {
            sample.strip_prefix(&samples).filter(|rest| rest.is_empty() || rest.starts_with('{'))
        });
        let labels = labels.unwrap_or_else(|| panic!("{name} has a sample")).trim_start_matches('{');
        let label = labels.split('=').next().unwrap_or_default();
        (name.to_owned(), kind.to_owned(), label.to_owned())
    };
    scrape.types.iter().map(|(name, kind)| of(name, kind)).collect()
}

#[test]
fn r157_r160_r161_the_documentation_names_every_metric_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let node = TestNode::start(config(dir.path()));
    let (documented, fresh) = (documented(), exported(&Scrape::of(admin(&node))));
    assert!(fresh.len() > 50, "{}", fresh.len());
    let undocumented: Vec<_> = fresh.difference(&documented).collect();
    let missing: Vec<_> = documented.difference(&fresh).collect();
    assert!(
        undocumented.is_empty() && missing.is_empty(),
        "undocumented {undocumented:#?}, not exported {missing:#?}"
    );
    drop(node);
    // After traffic it is the same: nothing appears only in use, with labels that peers made.
    let dir = tempfile::tempdir().unwrap();
    let (node, people, chat_id) = alice_and_bob(config(dir.path()));
    let start = Scrape::of(admin(&node));
    let _online = chat(&node, &people, chat_id, 3);
    let end = Scrape::of(admin(&node));
    assert_eq!(start.samples.keys().collect::<Vec<_>>(), end.samples.keys().collect::<Vec<_>>());
    assert_eq!(exported(&end), documented);
    for (name, kind, _) in &documented {
        assert_eq!(
            kind == "counter",
            name.ends_with("_total"),
            "{name}: a counter, and only that, ends in _total"
        );
    }
}
