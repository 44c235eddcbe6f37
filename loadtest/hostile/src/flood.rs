//! A flood of newcomers: most say a first flight, each from a port of its own, and hear nothing of what they are answered, as
//! if their addresses were forged; some complete their handshakes and are never heard of again.

use std::collections::VecDeque;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use wire_link::Event;
use wire_udp::Driver;

use crate::dose::Pace;
use crate::tally::{Answers, Ends};
use crate::{Dose, HostileError, Target};

/// Newcomers who begin together.
const BATCH: u64 = 32;

/// Sockets of newcomers that are kept open, so that what comes back to them can be counted.
const OPEN_MAX: usize = 256;

/// What those who complete their handshakes have for it.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(3);

/// What comes back to the last of them is waited for so long.
const LISTEN: Duration = Duration::from_millis(300);

/// What [`flood`] is to do.
#[derive(Debug, Clone)]
pub struct Flood {
    /// How many newcomers, and how fast.
    pub dose: Dose,
    /// Decides their ids.
    pub seed: u64,
    /// How many at a time, 0 to 512, complete their handshakes, prove their address where that is asked for, and then
    /// vanish without a word.
    pub vanishing: usize,
}

/// What was sent and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FloodReport {
    /// Newcomers who said a first flight and nothing else; each had a port of its own.
    pub silent: u64,
    /// Their datagrams.
    pub datagrams: u64,
    /// Datagrams that the system would not send.
    pub unsent: u64,
    /// What came back to them.
    pub answers: Answers,
    /// Newcomers who meant to complete their handshake.
    pub vanishing: u64,
    /// Those of them who did, and then vanished.
    pub vanished: u64,
    /// Those who were turned away.
    pub turned_away: Ends,
    /// How long it took.
    pub took: Duration,
}

/// Floods a node with newcomers.
///
/// # Errors
/// [`HostileError`].
pub fn flood(target: &Target, options: &Flood) -> Result<FloodReport, HostileError> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let (mut report, mut sockets) = (FloodReport::default(), Sockets::default());
    let mut pace = Pace::begin(&options.dose);
    let vanishing = options.vanishing.min(512);
    let mut group: Option<Group> = None;
    while !pace.is_over() {
        // One in five at most.
        if vanishing > 0 && group.is_none() && 4 * report.vanishing <= report.silent {
            group = Some(Group::begin(target, vanishing, report.vanishing, &mut rng)?);
            report.vanishing += vanishing as u64;
            pace.gave(vanishing as u64);
        }
        if let Some(some) = &mut group
            && some.turn(&mut report)?
        {
            group = None;
        }
        let batch = pace.now(BATCH);
        if batch > 0 {
            first_flights(target, batch, &mut rng, &mut sockets, &mut report)?;
            pace.gave(batch);
        } else {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    std::thread::sleep(LISTEN);
    sockets.hear(&mut report.answers);
    report.took = pace.took();
    Ok(report)
}

fn first_flights(
    target: &Target,
    newcomers: u64,
    rng: &mut ChaCha8Rng,
    sockets: &mut Sockets,
    report: &mut FloodReport,
) -> Result<(), HostileError> {
    let now = Instant::now();
    let mut endpoint = target.endpoint(rng, now);
    for _ in 0..newcomers {
        endpoint.connect_with(now, target.server, &target.name, false)?;
    }
    let mut datagram = Vec::new();
    let mut before = Vec::new();
    while let Some(transmit) = endpoint.poll_transmit(now, &mut datagram) {
        datagram.truncate(transmit.size);
        // Each newcomer's id for the node is another (RFC 9000, section 17.2).
        let id = datagram.get(6..14).unwrap_or_default();
        if id != before {
            before = id.to_vec();
            sockets.open(target.socket(report.silent)?, &mut report.answers);
            report.silent += 1;
        }
        match sockets.newest().map(|socket| socket.send_to(&datagram, target.server)) {
            Some(Ok(_)) => report.datagrams += 1,
            _ => report.unsent += 1,
        }
        datagram.clear();
    }
    Ok(())
}

/// The newest newcomers' sockets.
#[derive(Default)]
struct Sockets(VecDeque<UdpSocket>);

impl Sockets {
    fn open(&mut self, socket: UdpSocket, answers: &mut Answers) {
        if self.0.len() >= OPEN_MAX
            && let Some(oldest) = self.0.pop_front()
        {
            hear(&oldest, answers);
        }
        self.0.push_back(socket);
    }

    fn newest(&self) -> Option<&UdpSocket> {
        self.0.back()
    }

    fn hear(&self, answers: &mut Answers) {
        self.0.iter().for_each(|socket| hear(socket, answers));
    }
}

fn hear(socket: &UdpSocket, answers: &mut Answers) {
    let mut buffer = [0; 2048];
    while let Ok((bytes, _)) = socket.recv_from(&mut buffer) {
        answers.add(&buffer[..bytes]);
    }
}

/// Newcomers who shake hands together, from one port.
struct Group {
    driver: Driver,
    under_way: usize,
    until: Instant,
}

impl Group {
    fn begin(target: &Target, count: usize, n: u64, rng: &mut ChaCha8Rng) -> Result<Group, HostileError> {
        let now = Instant::now();
        let mut driver = Driver::bind((target.from(n), 0).into(), target.endpoint(rng, now))?;
        for _ in 0..count {
            driver.endpoint().connect_with(now, target.server, &target.name, false)?;
        }
        Ok(Group { driver, under_way: count, until: now + HANDSHAKE_PATIENCE })
    }

    /// Goes on with their handshakes; whether all are over. Then they are dropped, without a word.
    fn turn(&mut self, report: &mut FloodReport) -> Result<bool, HostileError> {
        self.driver.flush()?;
        let now = Instant::now();
        self.driver.wait(Some(now))?;
        while let Some((_, event)) = self.driver.endpoint().poll_event() {
            match event {
                Event::Connected { .. } => report.vanished += 1,
                Event::Closed { reason } => report.turned_away.add(&reason),
                _ => continue,
            }
            self.under_way = self.under_way.saturating_sub(1);
        }
        self.driver.flush()?;
        Ok(self.under_way == 0 || now >= self.until)
    }
}
