//! What one chat's lost datagrams do to other chats (I10, G15): nothing, because each has a stream of its own. The control
//! is the same loss for chats that share a stream. From one end to the other: `loadtest/sim/tests/isolation/`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::Role;
use wire_link::testing::{Carried, FirstCarriers, Pair};
use wire_link::{Event, LinkId, StreamId};

mod common;

const CHATS: usize = 6;

/// The chat whose datagrams are lost.
const HELD_UP: usize = 0;

const ONE_WAY: Duration = Duration::from_millis(20);

/// What a message takes that waits for no other, and something for the timers.
const UNDELAYED: Duration = Duration::from_millis(21);

/// Each chat says five messages a second, the chats one after the other.
const EVERY: Duration = Duration::from_millis(200);
const ROUNDS: u32 = 50;
const HELD: Duration = Duration::from_secs(10);

/// Within which the held up chat must have caught up.
const CATCH_UP: Duration = Duration::from_secs(2);

/// If nothing gets through for so long, QUIC's probes are seconds apart at the end.
const CONTROL_CATCH_UP: Duration = Duration::from_secs(20);

/// A message's size, and how many messages of one chat that fit a datagram together.
const BODY_BYTES: u8 = 120;
const ONE_DATAGRAM: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Streams {
    OwnEach,
    OneForAll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Datagrams that carry bytes of the chat for the first time.
    First,
    /// All that carry bytes of it.
    All,
}

/// Known to the network and to who sends.
#[derive(Debug, Default)]
struct HeldUp {
    /// Where in streams the chat's bytes lie.
    bytes: Vec<(u64, Range<u64>)>,
    carriers: FirstCarriers<()>,
    until: Option<Instant>,
    lost: usize,
    lost_with_others: usize,
    /// When each part of a stream left for the first time: the stream, where the part ends, when.
    left: BTreeMap<(u64, u64), Instant>,
}

impl HeldUp {
    fn is_lost(&mut self, now: Instant, datagram: &[u8], loss: Loss) -> bool {
        let carried = self.carriers.see(&(), datagram).expect("plain packets can be read");
        for of in carried.iter().filter(|of| of.is_first) {
            self.left.insert((of.part.stream, of.part.bytes.end), now);
        }
        let is_of_chat = |of: &&Carried| {
            self.bytes.iter().any(|(stream, bytes)| {
                *stream == of.part.stream
                    && of.part.bytes.start < bytes.end
                    && bytes.start < of.part.bytes.end
            })
        };
        let (its, others): (Vec<_>, Vec<_>) = carried.iter().partition(is_of_chat);
        let is_lost = self.until.is_some_and(|until| now < until)
            && its.iter().any(|of| of.is_first || loss == Loss::All);
        self.lost += usize::from(is_lost);
        self.lost_with_others += usize::from(is_lost && !others.is_empty());
        is_lost
    }
}

struct Scene {
    pair: Pair,
    link: LinkId,
    streams: Vec<StreamId>,
    /// How much was sent on each.
    sent_bytes: Vec<u64>,
    held_up: Rc<RefCell<HeldUp>>,
    /// When each message was sent and when it arrived, by chat.
    sent: Vec<Vec<Instant>>,
    /// Where each message ends, on which stream, and when it was sent.
    ends: BTreeMap<(u64, u64), Instant>,
    arrived: Vec<Vec<Instant>>,
}

impl Scene {
    fn new(seed: u64, streams: Streams, loss: Loss) -> Scene {
        let mut pair = Pair::new(seed, common::start());
        pair.network.conditions.delay = ONE_WAY;
        let (_, link) = pair.connected();
        let count = if streams == Streams::OwnEach { CHATS } else { 1 };
        let mut scene = Scene {
            link,
            streams: Vec::new(),
            sent_bytes: vec![0; count],
            held_up: Rc::default(),
            sent: vec![Vec::new(); CHATS],
            ends: BTreeMap::new(),
            arrived: vec![Vec::new(); CHATS],
            pair,
        };
        // The client allows more when its first four are in use.
        while scene.streams.len() < count {
            match scene.pair.server.open(link, Role::ChatDown) {
                Ok(stream) => scene.streams.push(stream),
                Err(_) => scene.warm_up(),
            }
        }
        scene.warm_up();
        scene.held_up.borrow_mut().until = Some(scene.pair.now + HELD);
        let (held_up, server) = (scene.held_up.clone(), scene.pair.server_address());
        scene.pair.network.lose_if(move |now, datagram| {
            datagram.from == server && held_up.borrow_mut().is_lost(now, &datagram.bytes, loss)
        });
        scene
    }

    /// An empty frame on each stream, so that the client knows them.
    fn warm_up(&mut self) {
        for (stream, sent_bytes) in self.streams.iter().zip(&mut self.sent_bytes) {
            self.pair.server.send(self.link, *stream, Bytes::from_static(&[0])).expect("there is room");
            *sent_bytes += 1;
        }
        self.run(Duration::from_secs(1));
    }

    fn say(&mut self, chat: usize) {
        let number = self.sent[chat].len() as u8;
        let mut frame = vec![0x40, BODY_BYTES, chat as u8, number];
        frame.resize(usize::from(BODY_BYTES) + 2, 7);
        let of = if self.streams.len() == 1 { 0 } else { chat };
        let start = self.sent_bytes[of];
        self.sent_bytes[of] += frame.len() as u64;
        let (stream, end) = (self.streams[of].number(), self.sent_bytes[of]);
        self.ends.insert((stream, end), self.pair.now);
        if chat == HELD_UP {
            self.held_up.borrow_mut().bytes.push((stream, start..end));
        }
        self.sent[chat].push(self.pair.now);
        self.pair.server.send(self.link, self.streams[of], frame.into()).expect("there is room");
    }

    fn run(&mut self, duration: Duration) {
        let end = self.pair.now + duration;
        loop {
            let more = self.pair.step(end);
            while let Some((_, event)) = self.pair.client_event() {
                match event {
                    Event::Frame { body, .. } if body.is_empty() => {}
                    Event::Frame { body, .. } => {
                        let arrived = &mut self.arrived[usize::from(body[0])];
                        assert_eq!(usize::from(body[1]), arrived.len(), "in order, none missing");
                        arrived.push(self.pair.now);
                    }
                    Event::Closed { reason } => panic!("{reason}"),
                    _ => {}
                }
            }
            if !more {
                break;
            }
        }
        self.pair.now = end;
    }

    fn took(&self, chat: usize) -> Vec<Duration> {
        let pairs = self.sent[chat].iter().zip(&self.arrived[chat]);
        pairs.map(|(sent, arrived)| *arrived - *sent).collect()
    }
}

/// What became of everybody's messages.
struct Played {
    /// How long each took, by chat.
    took: Vec<Vec<Duration>>,
    /// How many had arrived when the loss ended.
    in_time: Vec<usize>,
    /// Datagrams that were lost, and of them those with parts of other chats' streams.
    lost: usize,
    lost_with_others: usize,
    /// Whether every message left when it was sent.
    left_at_once: bool,
}

impl Played {
    fn latest(&self, chat: usize) -> Duration {
        self.took[chat].iter().copied().max().expect("it said something")
    }

    fn delayed(&self, chat: usize) -> usize {
        self.took[chat].iter().filter(|took| **took > UNDELAYED).count()
    }
}

fn others() -> impl Iterator<Item = usize> {
    (0..CHATS).filter(|chat| *chat != HELD_UP)
}

fn play(streams: Streams, loss: Loss) -> Played {
    let mut scene = Scene::new(1, streams, loss);
    for _ in 0..ROUNDS {
        for chat in 0..CHATS {
            scene.say(chat);
            scene.run(EVERY / CHATS as u32);
        }
    }
    let in_time = scene.arrived.iter().map(Vec::len).collect();
    scene.run(if streams == Streams::OwnEach { CATCH_UP } else { CONTROL_CATCH_UP });
    let took: Vec<Vec<Duration>> = (0..CHATS).map(|chat| scene.took(chat)).collect();
    assert!(took.iter().all(|took| took.len() == ROUNDS as usize), "everything has arrived");
    let held_up = scene.held_up.borrow();
    let left_at_once = scene.ends.iter().all(|(end, at)| held_up.left.get(end) == Some(at));
    let played = Played {
        took,
        in_time,
        lost: held_up.lost,
        lost_with_others: held_up.lost_with_others,
        left_at_once,
    };
    let latest: Vec<Duration> = (0..CHATS).map(|chat| played.latest(chat)).collect();
    eprintln!(
        "{streams:?}, lost {loss:?}: {} datagrams, {} of them with others; in time {:?} of {ROUNDS}, latest {latest:?}",
        played.lost, played.lost_with_others, played.in_time
    );
    played
}

#[test]
fn g15_i10_what_is_lost_of_one_chat_delays_no_other_by_a_millisecond() {
    let own = play(Streams::OwnEach, Loss::First);
    assert_eq!(own.lost, ROUNDS as usize);
    assert_eq!(own.delayed(HELD_UP), ROUNDS as usize);
    for chat in others() {
        assert_eq!(own.delayed(chat), 0, "chat {chat}: {:?}", own.latest(chat));
    }
    assert!(own.left_at_once, "neither congestion nor flow control held anything back");
    // Whoever speaks in the time that it takes to notice a loss waits for it, if they share a stream.
    let shared = play(Streams::OneForAll, Loss::First);
    assert_eq!(shared.lost, ROUNDS as usize);
    let delayed: usize = others().map(|chat| shared.delayed(chat)).sum();
    assert!(delayed > ROUNDS as usize, "{delayed} messages waited for another chat's");
}

/// Losing what is sent again as well is what no network does: it would have to read. The others get on all the same.
/// While all that is owed of the chat fits one datagram, they do not notice; later the chat's bytes fill up every datagram
/// and a congestion window that is at its floor of two, so the others' are now and then lost with them.
#[test]
fn g15_i10_a_chat_that_nothing_gets_through_of_leaves_the_others_going() {
    let own = play(Streams::OwnEach, Loss::All);
    assert!(own.lost > ROUNDS as usize);
    assert_eq!(own.in_time[HELD_UP], 0);
    for chat in others() {
        let took = &own.took[chat];
        assert!(took[..ONE_DATAGRAM].iter().all(|took| *took <= UNDELAYED), "chat {chat}: {took:?}");
        assert!(own.in_time[chat] > ROUNDS as usize / 2, "chat {chat}: {}", own.in_time[chat]);
    }
    let shared = play(Streams::OneForAll, Loss::All);
    assert_eq!(shared.in_time, [0; CHATS], "nobody gets anything");
    for chat in others() {
        assert!(shared.took[chat][0] > HELD - EVERY, "chat {chat}: {:?}", shared.took[chat]);
    }
}
