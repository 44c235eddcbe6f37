//! A captured first flight, said again by whoever captured it, does what it did and nothing more (G18, I3, I4).
//!
//! Two things stand between a replay and a second message: a ticket is good once, so that early data under it is taken
//! once, and what early data may do is idempotent. The first is forgotten at every restart and would not be shared by
//! nodes; here it is taken away, by a store of sessions that gives each out as often as it is asked and outlives the node,
//! so that the second is what these tests see: they count that the early data of the replays *was* accepted and its ops
//! *were* run. With the look at the idempotency record planted away, the same procedure sees the second message.
//!
//! A replay is accepted within 60 seconds of its capture: past it rustls finds that the age of the ticket which the client
//! states and the one which the server knows differ by more, and refuses early data, whoever says it. So the tests must
//! come to their replays within that time, and fail, saying what they waited for, on a machine where they do not.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use loadtest_relay::Relay;
use mutation::Mutation;
use support::*;
use wire::event::{Event, Receipt};
use wire::request::{GetMessages, Request};
use wire::{AccountId, ChatId, ErrorCode, Role, Seq};
use wire_link::tls::SessionStore;

/// Replays that each node is to accept: more than the quota allows new messages.
const REPLAYS: f64 = 3.0;

/// Alice's quota for a minute.
const QUOTA: u32 = 2;

/// A node whose clients' sessions are given out again and again, also by the node after it; its people, and who has gone.
struct Scene {
    node: TestNode,
    sessions: Arc<SessionStore>,
    mistake: Option<Mutation>,
    people: Arc<[Person; 2]>,
    chat: ChatId,
    /// Connections whose clients have gone without a word: the node finds out later.
    mute: f64,
}

/// What the replays to one node came to.
#[derive(Debug)]
struct Replayed {
    before: Scrape,
    after: Scrape,
}

impl Replayed {
    /// What a counter grew by.
    fn grew(&self, sample: &str) -> f64 {
        self.after.get(sample) - self.before.get(sample)
    }

    /// First flights whose early data the node took.
    fn accepted(&self) -> f64 {
        self.grew(ACCEPTED)
    }
}

const ACCEPTED: &str = "godwit_early_data_total{outcome=\"accepted\"}";
const APPENDS: &str = "godwit_appends_total";
const REPEATS: &str = "godwit_append_repeats_total";
const LIMITED: &str = "godwit_refused_total{code=\"RateLimited\"}";
const MOVES: &str = "godwit_cursor_moves_total";
const MOVE_OPS: &str = "godwit_store_op_seconds_count{op=\"move_cursor\"}";
const HISTORY_OPS: &str = "godwit_store_op_seconds_count{op=\"history\"}";
const TAKEN: &str = "godwit_tls_sessions_taken_total";

impl Scene {
    fn begin(mut config: edge_node::Config, mistake: Option<Mutation>) -> Scene {
        let sessions = Arc::new(SessionStore::default().that_repeats());
        // While a replayed handshake waits for its end, its loop takes the next replay for a part of it; others do not.
        config.loops = 8;
        let node = TestNode::start_with(config, Some(sessions.clone()), mistake);
        let (people, chat) = node.alice_and_bob();
        let mute = Scrape::of(admin(&node)).get("godwit_connections");
        Scene { node, sessions, mistake, people, chat, mute }
    }

    /// Somebody who was here before says a first flight, and the node does all of it before the handshake is complete;
    /// then it is completed, and what is left to say on it is said. Afterwards the node has forgotten the connection.
    fn captured(
        &self,
        person: &Person,
        say: impl FnOnce(&mut Raw),
        then: impl FnOnce(&mut Raw),
    ) -> Vec<Vec<u8>> {
        let relay = Relay::start(self.node.addr).unwrap();
        let mut raw = Raw::connect(relay.address(), &self.node.ca(), 9);
        assert!(matches!(raw.hello(Some(person)), Event::Connected(_)));
        relay.set_delay(Duration::from_millis(20));
        relay.set_first_flight_only(true);
        relay.set_captures(16);
        raw.again_early(relay.address());
        let session = raw.say_early_hello(person, wall());
        say(&mut raw);
        relay.set_captures(0);
        relay.set_first_flight_only(false);
        let connected = raw.next(session);
        assert!(matches!(connected, Event::Connected(_)), "{connected:?}");
        assert_eq!(raw.early, Some(true));
        then(&mut raw);
        raw.leave();
        let gone = |s: &Scrape| s.get("godwit_connections") <= self.mute;
        scrape_until(&self.node, "the connection to be forgotten", gone);
        let flight = relay.captures().pop().expect("captured").datagrams;
        assert!(flight.len() >= 2, "a ClientHello with a post-quantum share, and what was said");
        flight
    }

    /// Says a flight again and again, from one address and many ports, until the node has accepted it [`REPLAYS`] times and done
    /// what it says.
    fn replayed(&self, flight: &[Vec<u8>], from: [u8; 4], is_done: impl Fn(&Replayed) -> bool) -> Replayed {
        let before = Scrape::of(admin(&self.node));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let after = Scrape::of(admin(&self.node));
            let replayed = Replayed { before: before.clone(), after };
            let are_done = is_done(&replayed);
            if replayed.accepted() >= REPLAYS && are_done {
                return replayed;
            }
            assert!(Instant::now() < deadline, "replays are not accepted, or not done: {replayed:#?}");
            // One after the other: what is under way is charged until it is known for a repeat, and a slow store keeps it there.
            if replayed.accepted() < REPLAYS && are_done {
                say_again(&self.node, from, flight);
            }
        }
    }

    /// Stops the node and starts it again: the same data, keys and memory of sessions.
    fn restart(&mut self) {
        self.node.end();
        let config = edge_node::Config { listen: self.node.addr, ..self.node.config.clone() };
        self.node = TestNode::start_with(config, Some(self.sessions.clone()), self.mistake);
        self.mute = 0.0;
    }

    /// The log, as the other of the two reads it.
    fn log(&self) -> Vec<u64> {
        let mut bob = self.node.online(&self.people[1]);
        let get = GetMessages { chat: self.chat, limit: 500, before: Seq::ZERO, after: Seq::ZERO };
        let seq = |event| if let Event::Entry(entry) = event { Some(entry.seq.0) } else { None };
        let log = bob.ask(&Request::GetMessages(get)).into_iter().filter_map(seq).collect();
        bob.leave();
        log
    }
}

/// Says a flight from a port of its own, and waits for what comes back within a moment.
fn say_again(node: &TestNode, from: [u8; 4], flight: &[Vec<u8>]) {
    let socket = UdpSocket::bind(SocketAddr::from((from, 0))).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    for datagram in flight {
        socket.send_to(datagram, node.addr).unwrap();
    }
    let _ = socket.recv_from(&mut [0; 2048]);
}

/// Where nobody else is; on Linux all of 127/8 is this machine.
fn elsewhere() -> [u8; 4] {
    if cfg!(target_os = "linux") { [127, 0, 0, 2] } else { [127, 0, 0, 1] }
}

/// What became of one message whose flight was replayed to the node and, after a restart, to the next.
#[derive(Debug)]
struct Message {
    same_node: Replayed,
    restarted: Replayed,
    /// The log after the replays to each.
    logs: [Vec<u64>; 2],
    /// What Alice could say after the first replays until her quota was used up.
    said: u64,
    /// What has come back to her quota since she said the first.
    refilled: u64,
}

impl Message {
    /// What is wrong with it; nothing if it was committed once.
    fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for replayed in [&self.same_node, &self.restarted] {
            if replayed.grew(APPENDS) != 0.0 {
                broken.push(format!("a replay was committed {} times", replayed.grew(APPENDS)));
            }
            if replayed.grew(LIMITED) != 0.0 {
                broken.push(format!("a replay was charged {} times", replayed.grew(LIMITED)));
            }
        }
        let [first, second] = &self.logs;
        if *first != [1] {
            broken.push(format!("not one entry: {first:?}"));
        }
        if *second != (1..=1 + self.said).collect::<Vec<_>>() {
            broken.push(format!("not one entry and what was said later: {second:?}"));
        }
        let left = u64::from(QUOTA) - 1;
        if !(left..=left + self.refilled).contains(&self.said) {
            broken.push(format!("{} could be said after one of {QUOTA}", self.said));
        }
        broken
    }
}

/// Alice's flight, which says a message: captured and delivered; then replayed, to the same node and after a restart.
fn a_message_replayed(mistake: Option<Mutation>) -> Message {
    let dir = tempfile::tempdir().unwrap();
    let mut config = generous(dir.path());
    config.limits.rates.messages_per_minute = QUOTA;
    let mut scene = Scene::begin(config, mistake);
    let (people, chat) = (scene.people.clone(), scene.chat);
    let [alice, bob] = &*people;
    let began = Instant::now();
    let say = |raw: &mut Raw| {
        let up = raw.chat_up(chat, Some(bob.account()));
        raw.append(up, 1, "once");
        assert!(matches!(raw.next(up), Event::AppendAck { seq: Seq(1), .. }), "one tick");
    };
    let flight = scene.captured(alice, say, |_| {});
    assert_eq!(scene.log(), [1]);
    let is_done = |r: &Replayed| r.grew(APPENDS) + r.grew(REPEATS) + r.grew(LIMITED) >= r.accepted();
    let same_node = scene.replayed(&flight, [127, 0, 0, 1], is_done);
    let first_log = scene.log();
    let said = speak(&scene.node, alice, bob.account(), chat);
    let refilled = began.elapsed().as_secs() * u64::from(QUOTA) / 60;
    scene.restart();
    let restarted = scene.replayed(&flight, elsewhere(), is_done);
    let logs = [first_log, scene.log()];
    Message { same_node, restarted, logs, said, refilled }
}

/// Alice says other things until her quota is used up; how many.
fn speak(node: &TestNode, alice: &Person, bob: AccountId, chat: ChatId) -> u64 {
    let mut raw = node.online(alice);
    let up = raw.chat_up(chat, Some(bob));
    let is_taken = |raw: &mut Raw, n: u64| {
        raw.append(up, 100 + n, "something else");
        match raw.next(up) {
            Event::AppendAck { .. } => true,
            Event::AppendRefused { refusal, .. } => {
                assert_eq!(refusal.code, ErrorCode::RateLimited);
                false
            }
            other => panic!("{other:?}"),
        }
    };
    let said = (0..).take_while(|&n| is_taken(&mut raw, n)).count();
    raw.leave();
    said as u64
}

#[test]
fn g18_i3_a_replayed_message_is_accepted_and_committed_once_also_after_a_restart() {
    let message = a_message_replayed(None);
    assert_eq!(message.broken(), [""; 0], "{message:#?}");
    // It was the early data of replays that was looked at, and each of them that was a repeat.
    for replayed in [&message.same_node, &message.restarted] {
        assert!(replayed.accepted() >= REPLAYS);
        assert!(replayed.grew(TAKEN) >= REPLAYS, "one ticket, taken again and again");
        assert_eq!(replayed.grew(REPEATS), replayed.accepted());
    }
}

#[cfg(debug_assertions)]
#[test]
fn i3_a_replay_that_is_not_looked_up_is_noticed() {
    let message = a_message_replayed(Some(Mutation::NoIdempotencyRead));
    assert!(message.same_node.grew(APPENDS) >= 1.0, "{message:#?}");
    assert!(message.restarted.grew(APPENDS) >= 1.0, "{message:#?}");
    assert!(message.logs[0].len() > 1, "a second entry: {message:#?}");
    let broken = message.broken();
    assert!(broken.iter().any(|what| what.starts_with("not one entry")), "{broken:?}");
}

/// What became of a cursor whose move was replayed, and of a read that was.
#[derive(Debug)]
struct Cursor {
    replays: [Replayed; 2],
    /// Delivered and read, as Alice sees them after each.
    cursors: [(Seq, Seq); 2],
    /// When each message was delivered and read: before, and after each.
    receipts: [Vec<Receipt>; 3],
}

impl Cursor {
    fn broken(&self) -> Vec<&'static str> {
        let mut broken = Vec::new();
        if self.replays.iter().any(|replayed| replayed.grew(MOVES) != 0.0) {
            broken.push("a replay moved a cursor");
        }
        if self.cursors != [(Seq(3), Seq(3)); 2] {
            broken.push("a cursor is elsewhere");
        }
        if self.receipts.iter().any(|receipts| *receipts != self.receipts[0]) {
            broken.push("receipts have changed");
        }
        broken
    }
}

/// Bob's flight, which moves his cursors and reads history: captured and delivered. He moves on and goes; then it is
/// replayed, to the same node and after a restart.
fn a_cursor_move_and_a_read_replayed(mistake: Option<Mutation>) -> Cursor {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::begin(generous(dir.path()), mistake);
    let (people, chat) = (scene.people.clone(), scene.chat);
    let [alice, bob] = &*people;
    let mut raw = scene.node.online(alice);
    let up = raw.chat_up(chat, Some(bob.account()));
    for n in 1..=3 {
        raw.append(up, n, "read me");
        assert!(matches!(raw.next(up), Event::AppendAck { .. }));
    }
    raw.leave();
    let moved = |scene: &Scene, times| {
        scrape_until(&scene.node, "the cursors to move", |s| s.get(MOVES) >= times);
    };
    let say = |raw: &mut Raw| {
        let up = raw.chat_up(chat, None);
        raw.say(up, &Request::MoveCursor { delivered: Seq(2), read: Seq(1) });
        let read = raw.open(Role::Request);
        let get = GetMessages { chat, limit: 500, before: Seq::ZERO, after: Seq::ZERO };
        raw.say(read, &Request::GetMessages(get));
        assert!(matches!(raw.next(read), Event::Entry(_)));
        moved(&scene, 1.0);
    };
    let then = |raw: &mut Raw| {
        let up = raw.chat_up(chat, None);
        raw.say(up, &Request::MoveCursor { delivered: Seq(3), read: Seq(3) });
        let deadline = Instant::now() + PATIENCE;
        while Scrape::of(admin(&scene.node)).get(MOVES) < 2.0 {
            assert!(Instant::now() < deadline);
            raw.turn(Instant::now() + Duration::from_millis(20));
        }
    };
    let flight = scene.captured(bob, say, then);
    let at_first = seen_by(&scene, alice, bob.account());
    assert_eq!(at_first.0, (Seq(3), Seq(3)));
    let is_done = |r: &Replayed| r.grew(MOVE_OPS) >= r.accepted() && r.grew(HISTORY_OPS) >= r.accepted();
    let same_node = scene.replayed(&flight, [127, 0, 0, 1], is_done);
    let after = seen_by(&scene, alice, bob.account());
    scene.restart();
    let restarted = scene.replayed(&flight, elsewhere(), is_done);
    let at_last = seen_by(&scene, alice, bob.account());
    Cursor {
        replays: [same_node, restarted],
        cursors: [after.0, at_last.0],
        receipts: [at_first.1, after.1, at_last.1],
    }
}

/// Somebody's cursors, and when each of the three messages reached people, as another sees it on a new connection.
fn seen_by(scene: &Scene, who: &Person, of: AccountId) -> ((Seq, Seq), Vec<Receipt>) {
    let mut raw = scene.node.online(who);
    let chat = scene.chat;
    raw.until(|raw| raw.cursor(chat, of) != (Seq::ZERO, Seq::ZERO));
    let cursor = raw.cursor(chat, of);
    let receipts = (1..=3).flat_map(|n| match &raw.ask(&Request::GetReceipts { chat, seq: Seq(n) })[..] {
        [Event::Receipts(receipts)] => receipts.clone(),
        other => panic!("{other:?}"),
    });
    let receipts = receipts.collect();
    raw.leave();
    (cursor, receipts)
}

#[test]
fn g18_i4_a_replayed_cursor_move_and_read_are_accepted_and_change_nothing_also_after_a_restart() {
    let cursor = a_cursor_move_and_a_read_replayed(None);
    assert_eq!(cursor.broken(), [""; 0], "{cursor:#?}");
    assert!(cursor.receipts[0].iter().any(|receipt| receipt.read_at.is_some()), "{cursor:#?}");
}

#[cfg(debug_assertions)]
#[test]
fn i4_a_replay_that_moves_a_cursor_back_is_noticed() {
    let cursor = a_cursor_move_and_a_read_replayed(Some(Mutation::CursorMayGoBack));
    let broken = cursor.broken();
    assert!(
        broken.contains(&"a replay moved a cursor") && broken.contains(&"a cursor is elsewhere"),
        "{cursor:#?}"
    );
}
