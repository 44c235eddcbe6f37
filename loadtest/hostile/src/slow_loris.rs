//! Handshakes that are begun, and dripped, and never completed: each holds a place among the handshakes under way for as
//! long as the node lets it.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use wire_link::{Endpoint, Event};

use crate::dose::Pace;
use crate::tally::{Answer, Answers, Ends};
use crate::{Dose, HostileError, Target};

/// Between looks at what has come.
const NAP: Duration = Duration::from_millis(2);

/// What [`slow_loris`] is to do.
#[derive(Debug, Clone)]
pub struct SlowLoris {
    /// How many handshakes are begun, and how fast.
    pub dose: Dose,
    /// Decides their ids.
    pub seed: u64,
    /// How many are kept at a time, 1 to 4,096, each with a socket of its own.
    pub at_once: usize,
    /// Every second one says nothing after its first datagram; the others say another one after each of these.
    pub drip: Duration,
    /// After this, one is given up for a new one.
    pub life: Duration,
}

impl SlowLoris {
    /// So many at once, for as long as the node's own patience (10 s), a datagram a second.
    pub fn new(dose: Dose, seed: u64, at_once: usize) -> SlowLoris {
        SlowLoris { dose, seed, at_once, drip: Duration::from_secs(1), life: Duration::from_secs(10) }
    }
}

/// What was sent and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlowLorisReport {
    /// Handshakes begun.
    pub begun: u64,
    /// Those that had to prove their address, and did.
    pub proved: u64,
    /// Those that the node went into: each was in its way.
    pub held: u64,
    /// Those that it turned away.
    pub turned_away: Ends,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Datagrams that the system would not send.
    pub unsent: u64,
    /// What came back.
    pub answers: Answers,
    /// How long it took.
    pub took: Duration,
}

/// Begins handshakes, drips them, and never completes one.
///
/// # Errors
/// [`HostileError`].
pub fn slow_loris(target: &Target, options: &SlowLoris) -> Result<SlowLorisReport, HostileError> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut report = SlowLorisReport::default();
    let mut pace = Pace::begin(&options.dose);
    let at_once = options.at_once.clamp(1, 4096);
    let mut all: Vec<Loris> = Vec::new();
    // When all are begun, those that are there have their time.
    while pace.may_go_on() && !(pace.is_over() && all.is_empty()) {
        let room = at_once.saturating_sub(all.len()) as u64;
        for _ in 0..pace.now(room.min(16)) {
            all.push(Loris::begin(target, report.begun, options, &mut rng)?);
            report.begun += 1;
            pace.gave(1);
        }
        let now = Instant::now();
        all.retain_mut(|loris| loris.turn(now, target, options, &mut report));
        std::thread::sleep(NAP);
    }
    report.took = pace.took();
    Ok(report)
}

/// One handshake that is in no hurry.
struct Loris {
    socket: UdpSocket,
    endpoint: Endpoint,
    /// Its first flight: what it has to say, again and again.
    flight: Vec<Vec<u8>>,
    said: usize,
    drips: bool,
    next_at: Option<Instant>,
    until: Instant,
    is_in: bool,
}

impl Loris {
    fn begin(
        target: &Target,
        n: u64,
        options: &SlowLoris,
        rng: &mut ChaCha8Rng,
    ) -> Result<Loris, HostileError> {
        let now = Instant::now();
        let mut endpoint = target.endpoint(rng, now);
        endpoint.connect_with(now, target.server, &target.name, false)?;
        let flight = flight(&mut endpoint, now);
        let (socket, drips) = (target.socket(n)?, n % 2 == 1);
        let until = now + options.life;
        Ok(Loris { socket, endpoint, flight, said: 0, drips, next_at: Some(now), until, is_in: false })
    }

    /// Hears what came and says what is due; `false` when it is over.
    fn turn(
        &mut self,
        now: Instant,
        target: &Target,
        options: &SlowLoris,
        report: &mut SlowLorisReport,
    ) -> bool {
        let mut buffer = [0; 2048];
        while let Ok((bytes, from)) = self.socket.recv_from(&mut buffer) {
            let answer = &buffer[..bytes];
            report.answers.add(answer);
            let kind = Answer::of(answer);
            self.endpoint.handle_datagram(now, from, None, None, BytesMut::from(answer));
            while let Some((_, event)) = self.endpoint.poll_event() {
                if let Event::Closed { reason } = event {
                    report.turned_away.add(&reason);
                    return false;
                }
            }
            if kind == Answer::Retry {
                report.proved += 1;
                (self.flight, self.said) = (flight(&mut self.endpoint, now), 0);
                self.next_at = Some(now);
            } else if kind == Answer::Handshake && !self.is_in {
                // Nothing that would go on with the handshake is asked of the endpoint any more.
                self.is_in = true;
                report.held += 1;
            }
        }
        if self.next_at.is_some_and(|at| at <= now) {
            self.say(target, report);
            self.next_at = self.drips.then_some(now + options.drip);
        }
        now < self.until
    }

    fn say(&mut self, target: &Target, report: &mut SlowLorisReport) {
        let Some(datagram) = self.flight.get(self.said % self.flight.len().max(1)) else { return };
        self.said += 1;
        match self.socket.send_to(datagram, target.server) {
            Ok(_) => report.datagrams += 1,
            Err(_) => report.unsent += 1,
        }
    }
}

/// What an endpoint has to say now.
fn flight(endpoint: &mut Endpoint, now: Instant) -> Vec<Vec<u8>> {
    let (mut flight, mut datagram) = (Vec::new(), Vec::new());
    while let Some(transmit) = endpoint.poll_transmit(now, &mut datagram) {
        datagram.truncate(transmit.size);
        flight.push(std::mem::take(&mut datagram));
    }
    flight
}
