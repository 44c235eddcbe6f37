//! Random and damaged datagrams, beside the real ones that they are made of.

use std::collections::VecDeque;
use std::net::UdpSocket;
use std::time::Duration;

use crate::dose::Pace;
use crate::mutate::{Kind, Mutator};
use crate::tally::{Answers, Tally};
use crate::victim::{Victim, VictimReport};
use crate::{Dose, HostileError, Identity, Target};

/// Sent before anything else is done.
const BATCH: u64 = 64;

/// After so many datagrams, one of the sockets is given up for one on another port.
const SOCKET_LIFE: u64 = 512;

/// What [`datagrams`] is to do.
#[derive(Debug, Clone)]
pub struct Datagrams {
    /// How many datagrams, and how fast. What the attacked client itself says is not counted.
    pub dose: Dose,
    /// Decides them.
    pub seed: u64,
    /// Sockets at a time, 1 to 256. Now and then one of them is given up for another port.
    pub ports: usize,
    /// Whom the attacked client is; nobody if `None`.
    pub identity: Option<Identity>,
    /// How long each of its connections lasts: after that there is another handshake to be damaged.
    pub life: Duration,
}

impl Datagrams {
    /// From 16 ports, with a client that says who it is every two seconds.
    pub fn new(dose: Dose, seed: u64) -> Datagrams {
        Datagrams { dose, seed, ports: 16, identity: None, life: Duration::from_secs(2) }
    }
}

/// What was sent and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatagramsReport {
    /// Datagrams sent, in each way of being wrong.
    pub sent: Tally<Kind>,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Datagrams that the system would not send, because its buffers were full.
    pub unsent: u64,
    /// Ports they came from.
    pub ports: u64,
    /// What came back to those ports.
    pub answers: Answers,
    /// How the attacked client fared.
    pub victim: VictimReport,
    /// How long it took.
    pub took: Duration,
}

/// Sends random datagrams, and damaged ones of a connection that goes on meanwhile.
///
/// # Errors
/// [`HostileError`].
pub fn datagrams(target: &Target, options: &Datagrams) -> Result<DatagramsReport, HostileError> {
    let mut mutator = Mutator::new(options.seed);
    let mut victim = Victim::new(target, options.identity.as_ref(), options.life, options.seed)?;
    let mut sockets = Sockets::bind(target, options.ports.clamp(1, 256))?;
    let mut report = DatagramsReport::default();
    let mut pace = Pace::begin(&options.dose);
    while !pace.is_over() {
        victim.turn(&mut mutator)?;
        let batch = pace.now(BATCH);
        for _ in 0..batch {
            let (kind, datagram) = mutator.make();
            match sockets.next(target)?.send_to(&datagram, target.server) {
                Ok(_) => {
                    report.sent.add(kind);
                    report.sent_bytes += datagram.len() as u64;
                }
                Err(_) => report.unsent += 1,
            }
        }
        pace.gave(batch);
        sockets.hear(&mut report.answers);
        if batch == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    report.ports = sockets.bound;
    report.victim = victim.end(&mut mutator)?;
    report.took = pace.took();
    Ok(report)
}

/// Sockets on ports that change.
struct Sockets {
    open: VecDeque<UdpSocket>,
    bound: u64,
    used: u64,
}

impl Sockets {
    fn bind(target: &Target, count: usize) -> Result<Sockets, HostileError> {
        let open = (0..count as u64).map(|n| target.socket(n)).collect::<Result<_, _>>()?;
        Ok(Sockets { open, bound: count as u64, used: 0 })
    }

    /// The next to send from, in turns; now and then one is given up for a new one.
    fn next(&mut self, target: &Target) -> Result<&UdpSocket, HostileError> {
        self.used += 1;
        if self.used.is_multiple_of(SOCKET_LIFE) {
            self.open.pop_front();
            self.open.push_back(target.socket(self.bound)?);
            self.bound += 1;
        }
        self.open.rotate_left(usize::from(self.open.len() > 1));
        Ok(&self.open[0])
    }

    fn hear(&self, answers: &mut Answers) {
        let mut buffer = [0; 2048];
        for socket in &self.open {
            while let Ok((bytes, _)) = socket.recv_from(&mut buffer) {
                answers.add(&buffer[..bytes]);
            }
        }
    }
}
