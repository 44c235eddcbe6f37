//! A real node that is attacked, and two honest people who chat all the while.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loadtest_hostile::{Identity, Target};
use wire::ChatId;
use wire::Seq;
use wire::event::Event;
use wire::request::{GetMessages, Request};
use wire_link::tls::Trust;

#[path = "../../../../edge/node/tests/support/mod.rs"]
pub mod support;

use support::{Person, Raw, Scrape, TestNode, admin, hygiene};

/// What the process may grow by: attacks and honest clients are in it, too.
const GROWTH_BYTES_MAX: f64 = 256.0 * 1024.0 * 1024.0;

/// How often honest newcomers come, in messages of the two.
const NEWCOMER_EVERY: u64 = 8;

/// How many of an attack: a few, unless `GODWIT_HOSTILE_NUMBER` wants more.
pub fn number(few: u64) -> u64 {
    std::env::var("GODWIT_HOSTILE_NUMBER").ok().and_then(|number| number.parse().ok()).unwrap_or(few)
}

/// The node, attacked from these addresses of this machine.
pub fn target(node: &TestNode, from: &[[u8; 4]]) -> Target {
    let trust = Trust::roots(certs::load_roots(&node.ca()).expect("the node made its CA"));
    let crypto = wire_link::tls::client(trust).expect("it has an authority");
    // On Linux all of 127/8 is this machine.
    let from = if cfg!(target_os = "linux") { from } else { &[[127, 0, 0, 1]] };
    let from = from.iter().map(|&ip| IpAddr::from(ip)).collect();
    Target { server: node.addr, name: "localhost".into(), crypto, from }
}

/// Who a registered person is, for an attack to say.
pub fn identity(person: &Person) -> Identity {
    Identity { token: person.verified.tokens.access.clone(), key: Arc::new(support::key(person.seed)) }
}

/// What honest people met, and what the node says of itself before and after.
#[derive(Debug)]
pub struct Honest {
    pub messages: u64,
    pub newcomers: u64,
    pub before: Scrape,
    pub after: Scrape,
}

impl Honest {
    /// What a counter grew by.
    pub fn grew(&self, sample: &str) -> f64 {
        self.after.get(sample) - self.before.get(sample)
    }

    /// What the process's memory grew by.
    pub fn grew_bytes(&self) -> f64 {
        self.grew("process_resident_memory_bytes")
    }
}

/// Runs an attack. Meanwhile Alice writes, gets a tick and Bob hears it, one message after another, and now and then
/// somebody connects for the first time. Afterwards nothing is lost or doubled, the node serves, its memory is bounded,
/// and its log knows no error.
pub fn while_people_chat<R: Send>(
    node: &TestNode,
    people: &[Person; 2],
    chat: ChatId,
    attack: impl FnOnce() -> R + Send,
) -> (R, Honest) {
    let [alice, bob] = people;
    let (mut a, mut b) = (node.online(alice), node.online(bob));
    let up = a.chat_up(chat, Some(bob.account()));
    let before = Scrape::of(admin(node));
    let (mut messages, mut newcomers) = (0, 0);
    let result = std::thread::scope(|scope| {
        let attack = scope.spawn(attack);
        while !attack.is_finished() || messages < 10 {
            messages += 1;
            a.append(up, messages, "in spite of it all");
            let answer = a.next(up);
            assert!(matches!(answer, Event::AppendAck { seq, .. } if seq.0 == messages), "{answer:?}");
            b.until(|b| b.seqs(chat).len() as u64 >= messages);
            if messages % NEWCOMER_EVERY == 0 {
                let mut newcomer = node.client(9);
                assert!(matches!(newcomer.hello(None), Event::Connected(_)));
                newcomer.leave();
                newcomers += 1;
            }
            a.turn(Instant::now() + Duration::from_millis(20));
        }
        attack.join().expect("the attack ends by itself")
    });
    assert_eq!((&a.closed, &b.closed), (&None, &None));
    assert_eq!(b.seqs(chat), (1..=messages).collect::<Vec<_>>(), "nothing is lost or doubled");
    assert_eq!(log(&mut a, chat), messages, "and the log says the same");
    a.leave();
    b.leave();
    let honest = Honest { messages, newcomers, before, after: Scrape::of(admin(node)) };
    assert_eq!(honest.after.get("godwit_up"), 1.0);
    assert!(honest.grew_bytes() < GROWTH_BYTES_MAX, "{} MB", honest.grew_bytes() / 1e6);
    assert_eq!(hygiene::errors(), [""; 0], "an error is a bug");
    (result, honest)
}

/// How many entries the log has.
fn log(raw: &mut Raw, chat: ChatId) -> u64 {
    let mut after = Seq::ZERO;
    loop {
        let get = GetMessages { chat, limit: 500, before: Seq::ZERO, after };
        let answer = raw.ask(&Request::GetMessages(get));
        let last = answer.iter().filter_map(|event| match event {
            Event::Entry(entry) => Some(entry.seq),
            _ => None,
        });
        match last.max() {
            Some(seq) if seq > after => after = seq,
            _ => return after.0,
        }
    }
}

/// Somebody else, who is not honest.
pub fn mallory(node: &TestNode) -> Person {
    node.register("+4915100000009", "Mallory", 66)
}
