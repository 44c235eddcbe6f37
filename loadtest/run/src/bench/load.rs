//! Messages between pairs: as fast as a window allows, or at a planned rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use client_core::ClientEvent;
use hdrhistogram::Histogram;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use wire::content::{Content, Text};
use wire::{AccountId, ChatId};

use super::{Figures, Setting, Stage, Usage};
use crate::fleet::Happened;

/// Bytes of a message's text.
const BODY_BYTES: usize = 100;

/// What is still under way at the end arrives within this, or is lost.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// With more datagrams than this, received and sent, for a message on a path that loses none, QUIC repeats what is merely late
/// and the figures say nothing: a message, its ack, its delivery, its receipts and the acknowledgements of each in QUIC are a dozen when all of them travel alone.
const DATAGRAMS_MAX: f64 = 16.0;

/// One chat of two: the first one talks.
struct Pair {
    chat: ChatId,
    peer: AccountId,
    /// When each message that is under way was to be sent.
    under_way: VecDeque<Instant>,
    arrived: u64,
    sent: u64,
    acked: u64,
    /// The places of the last entry that arrived, and of the last tick.
    places: (u64, u64),
}

/// Pairs that talk, and what came of it.
struct Load {
    stage: Stage,
    pairs: Vec<Pair>,
    text: String,
    /// Microseconds from the planned moment to the recipient's callback.
    latencies: Histogram<u64>,
    arrived: u64,
}

impl Load {
    /// Phone `n` talks to phone `pairs + n`.
    fn new(setting: &Setting) -> Result<Load> {
        let count = if setting.quick { 20 } else { 500 };
        let mut stage = Stage::new(setting)?;
        stage.people(2 * count)?;
        let numbers: Vec<(usize, usize)> = (0..count).map(|n| (n, count + n)).collect();
        let found = stage.fleet.find(&numbers)?;
        let pair = |(chat, peer)| Pair {
            chat,
            peer,
            under_way: VecDeque::new(),
            arrived: 0,
            sent: 0,
            acked: 0,
            places: (0, 0),
        };
        let pairs = found.into_iter().map(pair).collect();
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        Ok(Load { stage, pairs, text: "g".repeat(BODY_BYTES), latencies, arrived: 0 })
    }

    fn say(&mut self, pair: usize, planned: Instant) -> Result<()> {
        let at = &mut self.pairs[pair];
        let content = Content::Text(Text { text: self.text.clone(), sent_at_us: 0, reply_to: None });
        let content: Bytes = content.encode();
        self.stage.fleet.send(pair, at.chat, at.peer, content)?;
        at.under_way.push_back(planned);
        at.sent += 1;
        Ok(())
    }

    /// Takes one event; says which pair has a message less under way.
    fn take(&mut self, happened: Happened) -> Result<Option<usize>> {
        let Happened { phone, at, event } = happened;
        match event {
            ClientEvent::Arrived(message) => {
                // The sender's own device has it too.
                let Some(number) = phone.checked_sub(self.pairs.len()) else { return Ok(None) };
                let pair = &mut self.pairs[number];
                pair.arrived += 1;
                ensure!(message.chat == pair.chat, "phone {phone} was told something of another chat");
                let last = std::mem::replace(&mut pair.places.0, message.seq.0);
                ensure!(
                    message.seq.0 == last + 1,
                    "phone {phone} has message {} after {last}",
                    message.seq.0
                );
                let Some(planned) = pair.under_way.pop_front() else {
                    bail!("phone {phone} has a message that nobody sent");
                };
                self.arrived += 1;
                self.latencies.saturating_record(micros(at.saturating_duration_since(planned)));
                Ok(Some(number))
            }
            ClientEvent::Sent(message) => {
                let pair = &mut self.pairs[phone];
                pair.acked += 1;
                let last = std::mem::replace(&mut pair.places.1, message.seq.0);
                ensure!(message.seq.0 > last, "phone {phone}: a tick out of order");
                Ok(None)
            }
            ClientEvent::Passed { seq, .. } => {
                if let Some(number) = phone.checked_sub(self.pairs.len()) {
                    self.pairs[number].places.0 = seq.0;
                }
                Ok(None)
            }
            ClientEvent::Failed { refusal, .. } | ClientEvent::Delayed { refusal, .. } => {
                bail!("phone {phone}: a message was refused: {refusal}")
            }
            ClientEvent::Disconnected { reason, .. } => bail!("phone {phone} lost its connection: {reason}"),
            _ => Ok(None),
        }
    }

    /// Everything that was sent arrives and is acknowledged, once and in order.
    fn drain(&mut self) -> Result<()> {
        let end = Instant::now() + DRAIN_MAX;
        while self.pairs.iter().any(|pair| pair.arrived < pair.sent || pair.acked < pair.sent) {
            ensure!(Instant::now() < end, "messages are lost: not all have arrived after {DRAIN_MAX:?}");
            self.stage.fleet.turn(Instant::now() + Duration::from_millis(50))?;
            while let Some(happened) = self.stage.fleet.happened() {
                self.take(happened)?;
            }
        }
        Ok(())
    }

    /// Forgets what the warm-up measured.
    fn begin(&mut self) -> Result<(Usage, u64)> {
        self.latencies.clear();
        Ok((self.stage.usage()?, self.arrived))
    }
}

fn times(setting: &Setting) -> (Duration, Duration) {
    let (warm, measured) = if setting.quick { (500, 1_500) } else { (3_000, 12_000) };
    (Duration::from_millis(warm), Duration::from_millis(measured))
}

/// Each pair keeps so many messages under way: another is sent when the recipient has one.
pub(super) fn closed(setting: &Setting, window: usize, figures: &mut Figures) -> Result<()> {
    let mut load = Load::new(setting)?;
    for pair in 0..load.pairs.len() {
        for _ in 0..window {
            load.say(pair, Instant::now())?;
        }
    }
    let (warm, measured) = times(setting);
    pump(&mut load, warm)?;
    let before = load.begin()?;
    pump(&mut load, measured)?;
    let name = format!("w{window}");
    report(&mut load, before, &name, figures)?;
    load.drain()
}

fn pump(load: &mut Load, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        load.stage.fleet.turn(until)?;
        while let Some(happened) = load.stage.fleet.happened() {
            if let Some(pair) = load.take(happened)? {
                load.say(pair, Instant::now())?;
            }
        }
    }
    Ok(())
}

/// So many messages a second over all pairs, with exponential times between them, whatever becomes of them.
pub(super) fn open(setting: &Setting, rate: u32, figures: &mut Figures) -> Result<()> {
    let mut load = Load::new(setting)?;
    let mut rng = ChaCha12Rng::seed_from_u64(7);
    let (warm, measured) = times(setting);
    let began = Instant::now();
    let (mut next, mut before) = (began, None);
    while began.elapsed() < warm + measured {
        load.stage.fleet.turn(next)?;
        while let Some(happened) = load.stage.fleet.happened() {
            load.take(happened)?;
        }
        while next <= Instant::now() {
            let pair = rng.random_range(0..load.pairs.len());
            load.say(pair, next)?;
            next += Duration::from_secs_f64(-rng.random_range(f64::EPSILON..1.0).ln() / f64::from(rate));
        }
        if before.is_none() && began.elapsed() >= warm {
            before = Some(load.begin()?);
        }
    }
    let Some(before) = before else { bail!("there was no time to measure") };
    report(&mut load, before, &format!("{rate}ps"), figures)?;
    load.drain()
}

fn report(load: &mut Load, before: (Usage, u64), name: &str, figures: &mut Figures) -> Result<()> {
    let (before, arrived) = before;
    let after = load.stage.usage()?;
    let messages = (load.arrived - arrived) as f64;
    ensure!(messages > 0.0, "nothing arrived");
    let seconds = (after.at - before.at).as_secs_f64();
    let datagrams = (after.datagrams - before.datagrams) / messages;
    ensure!(
        datagrams <= DATAGRAMS_MAX,
        "{datagrams:.1} datagrams a message: the machine is too busy for this run to say anything"
    );
    if name == "1000ps" {
        figures.insert("datagrams_per_message".into(), datagrams);
    }
    let mut say = |what: &str, value: f64| figures.insert(format!("{what}_{name}"), value);
    say("delivered_per_s", messages / seconds);
    say("server_cpu_us_per_message", (after.cpu - before.cpu).as_secs_f64() * 1e6 / messages);
    say("server_cores", (after.cpu - before.cpu).as_secs_f64() / seconds);
    say("datagrams_per_message", datagrams);
    say("store_transactions_per_message", (after.transactions - before.transactions) / messages);
    say("messages_per_fsync", messages / (after.writes - before.writes).max(1.0));
    for (what, quantile) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        let micros = load.latencies.value_at_quantile(quantile) as f64;
        say(&format!("latency_{what}_ms"), micros / 1e3);
    }
    Ok(())
}

fn micros(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}
