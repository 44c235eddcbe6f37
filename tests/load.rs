//! The load generator against the real node: its phones are what they stand for, and its oracle finds what it should (P1).
#![expect(clippy::disallowed_methods, reason = "real processes run in real time")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client_cli::profile::Profile;
use client_cli::session::{Session, now};
use client_core::ClientEvent;
use client_db::Unlock;
use loadtest_run::{Fleet, Metrics, Play, PlayError, Target, Violation};
use loadtest_workload::{Act, Phone, Shape, words};
use support::*;
use wire::content::{Content, Text};
use wire::{AccountId, ChatId, Seq};

const SEED: u64 = 11;

fn shape(people: usize, lasts_s: u64, away: bool) -> Shape {
    let lasts = Duration::from_secs(lasts_s);
    let away = away.then_some((Duration::from_secs(4), Duration::from_secs(2)));
    Shape {
        people,
        second_phones: if people > 2 { people / 3 } else { 0 },
        contacts: 3,
        lasts,
        quiet_after: lasts,
        says_every: Duration::from_millis(400),
        bursts: (0.2, 6),
        reads_every: Duration::from_millis(900),
        types_every: Some(Duration::from_secs(2)),
        snoops: 0.0,
        leaves_every: away,
        hides_every: away,
    }
}

/// Phones of fleets with different numbers are different devices.
fn fleet(node: &Node, number: u64) -> Fleet {
    let target = Target { address: node.listen, name: "localhost".into(), ca: node.ca() };
    Fleet::new(target, 3, SEED + number).unwrap()
}

/// Somebody with one phone, whoever drives it.
trait Somebody {
    fn turn(&mut self, until: Instant);
    fn say(&mut self, chat: ChatId, peer: AccountId, content: Bytes);
    fn read(&mut self, chat: ChatId, seq: Seq);
    fn is_settled(&self) -> bool;
    fn events(&self) -> &[ClientEvent];
}

/// A phone of the load generator.
struct OfFleet {
    fleet: Fleet,
    events: Vec<ClientEvent>,
}

impl Somebody for OfFleet {
    fn turn(&mut self, until: Instant) {
        self.fleet.turn(until).unwrap();
        while let Some(happened) = self.fleet.happened() {
            self.events.push(happened.event);
        }
    }
    fn say(&mut self, chat: ChatId, peer: AccountId, content: Bytes) {
        self.fleet.send(0, chat, peer, content).unwrap();
    }
    fn read(&mut self, chat: ChatId, seq: Seq) {
        self.fleet.mark_read(0, chat, seq);
    }
    fn is_settled(&self) -> bool {
        self.fleet.is_ready(0) && self.fleet.is_settled(0)
    }
    fn events(&self) -> &[ClientEvent] {
        &self.events
    }
}

/// The real client: its profile on disk, its own socket.
struct Real {
    session: Session,
    events: Vec<ClientEvent>,
}

impl Somebody for Real {
    fn turn(&mut self, until: Instant) {
        self.events.extend(self.session.turn(until).unwrap());
    }
    fn say(&mut self, chat: ChatId, peer: AccountId, content: Bytes) {
        self.session.client.send(chat, Some(peer), content, now()).unwrap();
    }
    fn read(&mut self, chat: ChatId, seq: Seq) {
        self.session.client.mark_read(chat, seq, now());
    }
    fn is_settled(&self) -> bool {
        self.session.client.is_ready() && self.session.client.is_settled()
    }
    fn events(&self) -> &[ClientEvent] {
        &self.events
    }
}

/// What is left of an evening: what each of the two saw, and what the node counted.
#[derive(Debug, PartialEq)]
struct Evening {
    /// Of each: the texts shown, in order, and which of them are one's own and ticked.
    shown: [Vec<String>; 2],
    ticked: [usize; 2],
    /// How far each shows the other: delivered and read.
    cursors: [(u64, u64); 2],
}

/// Registered phones of the fleet's kind and of the real kind talk to each other; each finds the other by number.
fn evening(node: &Node, real: bool) -> (Evening, BTreeMap<&'static str, f64>) {
    let phone = |number| Phone { number, person: number };
    let mut alice = OfFleet { fleet: fleet(node, 0), events: Vec::new() };
    alice.fleet.add(1);
    alice.fleet.register(0..1, &node.sms()).unwrap();
    let number = Fleet::number(1);
    let mut bob: Box<dyn Somebody> = if real {
        let person = node.person(&number, "Bob");
        let session = Session::open(Profile::open(&person.profile, &Unlock::KeyFile).unwrap()).unwrap();
        Box::new(Real { session, events: Vec::new() })
    } else {
        let mut other = fleet(node, 1);
        // The first phone of this fleet has another number.
        other.add_of(1);
        other.register(0..1, &node.sms()).unwrap();
        Box::new(OfFleet { fleet: other, events: Vec::new() })
    };
    let deadline = Instant::now() + PATIENCE;
    while !(bob.is_settled() && alice.is_settled()) {
        assert!(Instant::now() < deadline, "they do not connect");
        bob.turn(Instant::now() + Duration::from_millis(20));
        alice.turn(Instant::now() + Duration::from_millis(20));
    }
    // Both know the chat, and Alice's account is the one that is not Bob's.
    let (chat, bobs) = alice.fleet.find_number(0, &number).unwrap();
    let alices = alice.fleet.account(0).unwrap();
    let before = scrape(node);
    let shape = Shape { contacts: 1, ..shape(2, 6, false) };
    let mut acts: Vec<(Duration, usize, Act)> =
        (0..2).flat_map(|who| shape.acts(SEED, phone(who)).map(move |(at, act)| (at, who, act))).collect();
    acts.sort_by_key(|(at, who, _)| (*at, *who));
    let mut said = [0_u64; 2];
    let began = Instant::now();
    for (at, who, act) in acts {
        while Instant::now() < began + at {
            let until = (began + at).min(Instant::now() + Duration::from_millis(2));
            alice.turn(until);
            bob.turn(until);
        }
        let person: &mut dyn Somebody = if who == 0 { &mut alice } else { &mut *bob };
        match act {
            Act::Say { count, .. } => {
                for _ in 0..count {
                    let text = words(SEED, phone(who), said[who]);
                    said[who] += 1;
                    let content = Content::Text(Text { text, sent_at_us: 0, reply_to: None });
                    person.say(chat, if who == 0 { bobs } else { alices }, content.encode());
                }
            }
            // All of it: a part would depend on what has come by now.
            Act::Read { .. } => {
                let last = person.events().iter().rev().find_map(|event| match event {
                    ClientEvent::Arrived(message) => Some(message.seq),
                    _ => None,
                });
                last.into_iter().for_each(|seq| person.read(chat, seq));
            }
            _ => {}
        }
    }
    let total = said[0] + said[1];
    // The chat begins with the commit that made its group.
    let head = total + 1;
    let deadline = Instant::now() + PATIENCE;
    let mut read = false;
    loop {
        let evening = seen(&alice, &*bob, alices);
        if evening.shown.iter().all(|shown| shown.len() as u64 == total) {
            if !std::mem::replace(&mut read, true) {
                alice.read(chat, Seq(head));
                bob.read(chat, Seq(head));
            }
            if evening.cursors == [(head, head); 2] && alice.is_settled() && bob.is_settled() {
                let after = scrape(node);
                let grown = NAMES.map(|name| (name, after.sum(name) - before.sum(name)));
                return (evening, grown.into());
            }
        }
        assert!(Instant::now() < deadline, "not whole: {evening:?}");
        alice.turn(Instant::now() + Duration::from_millis(10));
        bob.turn(Instant::now() + Duration::from_millis(10));
    }
}

const NAMES: [&str; 8] = [
    "godwit_appends_total",
    "godwit_append_repeats_total",
    "godwit_requests_total",
    "godwit_refused_total",
    "godwit_malformed_frames_total",
    "godwit_hellos_total",
    "godwit_cursor_moves_total",
    "godwit_frames_received_total",
];

fn scrape(node: &Node) -> Metrics {
    Metrics::of(node.admin).unwrap()
}

fn seen(alice: &dyn Somebody, bob: &dyn Somebody, alices: AccountId) -> Evening {
    let text = |message: &client_core::Message| match Content::decode(&message.content) {
        Ok(Content::Text(text)) => text.text,
        other => panic!("{other:?}"),
    };
    let both = [alice, bob];
    let shown = both.map(|who| {
        // One's own messages are shown with their tick, or when they arrive.
        let there = |event: &ClientEvent| match event {
            ClientEvent::Arrived(message) | ClientEvent::Sent(message) => Some((message.seq, text(message))),
            _ => None,
        };
        let there: BTreeMap<Seq, String> = who.events().iter().filter_map(there).collect();
        there.into_values().collect()
    });
    let ticked =
        both.map(|who| who.events().iter().filter(|event| matches!(event, ClientEvent::Sent(_))).count());
    let cursors = [false, true].map(|is_bob| {
        let mut last = (0, 0);
        for event in both[usize::from(is_bob)].events() {
            if let ClientEvent::Cursor { cursor, .. } = event
                && (cursor.member == alices) == is_bob
            {
                last = (cursor.delivered.0.max(last.0), cursor.read.0.max(last.1));
            }
        }
        last
    });
    Evening { shown, ticked, cursors }
}

#[test]
fn p1_a_phone_of_the_load_generator_and_a_real_client_behave_alike() {
    let dirs = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let [(of_fleet, counted), (of_real, counted_real)] = [false, true].map(|real| {
        let node = Node::start(dirs[usize::from(real)].path());
        evening(&node, real)
    });
    // The same was said; who of two that speak at the same moment comes first is the network's choice.
    let sorted = |evening: &Evening| {
        let mut shown = evening.shown[1].clone();
        shown.sort_unstable();
        shown
    };
    assert_eq!(sorted(&of_fleet), sorted(&of_real));
    assert!(of_fleet.shown[0].len() > 20, "an evening of few words proves nothing");
    for evening in [&of_fleet, &of_real] {
        assert_eq!(evening.shown[0], evening.shown[1], "both see one order");
    }
    assert_eq!((of_fleet.ticked, of_fleet.cursors), (of_real.ticked, of_real.cursors));
    for (name, fleet) in &counted {
        let real = counted_real[name];
        let room = match *name {
            // What is gathered depends on moments.
            "godwit_cursor_moves_total" | "godwit_frames_received_total" => 0.3 * fleet + 5.0,
            _ => 0.0,
        };
        assert!((fleet - real).abs() <= room, "{name}: {fleet} of a fleet's phone, {real} of a real client");
    }
}

#[test]
fn p1_i1_people_talk_leave_and_come_back_while_the_node_is_killed_and_the_oracle_is_content() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start_with(
        dir.path(),
        [
            "MESSAGES_PER_MINUTE",
            "REQUESTS_PER_MINUTE",
            "OTP_PER_HOUR",
            "REGISTRATIONS_PER_HOUR",
            "LOOKUPS_PER_HOUR",
            "EARLY_PER_MINUTE",
        ]
        .map(|name| (format!("GODWIT_LIMITS__RATES__{name}"), "1000000".to_owned()))
        .into(),
    );
    let mut fleet = fleet(&node, 0);
    let sms = node.sms();
    let play = Play::new(&mut fleet, &shape(9, 8, true), SEED, &sms).unwrap();
    let mut kills = vec![Duration::from_secs(6), Duration::from_secs(3)];
    let played = play.run(|_, since| {
        if kills.pop_if(|at| *at <= since).is_some() {
            node.kill();
            node.spawn();
        }
        Ok(())
    });
    let played = played.unwrap();
    assert!(kills.is_empty());
    assert!(played.said > 100 && played.delivered >= played.said as u64, "{played:?}");
    assert!(played.lost_connections > 0, "the node was killed, and nobody noticed");
    assert!(!played.latencies.is_empty());
}

#[test]
fn p1_a_run_that_loses_a_message_has_no_figures() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path());
    let mut fleet = fleet(&node, 0);
    let shape = Shape { contacts: 1, ..shape(2, 2, false) };
    let sms = node.sms();
    let play = Play::new(&mut fleet, &shape, SEED, &sms).unwrap();
    // Somebody says something that the workload does not know of: the log is not what was said.
    let mut meddled = false;
    let played = play.run(|fleet, since| {
        if since > Duration::from_millis(500) && !std::mem::replace(&mut meddled, true) {
            let row = fleet.kept(0).chats.first().copied();
            let (chat, peer) = row.and_then(|row| Some((row.chat, row.peer?))).expect("they have talked");
            let content = Content::Text(Text { text: "unplanned".into(), sent_at_us: 0, reply_to: None });
            fleet.send(0, chat, peer, content.encode()).expect("there is room");
        }
        Ok(())
    });
    let is_noticed =
        matches!(played, Err(PlayError::Violation(Violation::Invented { .. } | Violation::WrongTick { .. })));
    assert!(meddled && is_noticed, "{:?}", played.err());
}
