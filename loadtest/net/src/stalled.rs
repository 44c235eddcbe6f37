//! One chat's reader stalls; its phone's other chats, and other phones, notice nothing (P1).
//!
//! Phases without and with a stall take turns, so that a machine which is busy for a while is in both, and what is compared
//! is the median of the phases' p99, so that one bad second decides nothing. In both the same is said, open-loop; all that
//! differs is whether the reader reads. Messages into the chat that stalls are large: its stream's
//! window is full within a second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use client_core::ClientEvent;
use hdrhistogram::Histogram;
use loadtest_emulator::Settings;
use loadtest_run::{Fleet, Happened};
use wire::content::{Content, Text};
use wire::{AccountId, ChatId};

use crate::cases::{Case, Choice};
use crate::row::{Report, Value};
use crate::stage::Stage;

/// The round trip.
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// The latest packet of a run may be so late: it is in one phase's p99, and medians of them are compared.
const LATE_MAX: Duration = Duration::from_millis(50);

/// What the stall may do to the others' p99.
const FACTOR_MAX: f64 = 1.5;

/// Up to so much more is the machine's noise, whatever the factor.
const NOISE: Duration = Duration::from_millis(15);

/// A load that says things later than this, at its p99, measures itself: the row is invalid.
const LOAD_LATE_MAX: Duration = Duration::from_millis(15);

/// Between measured messages, and between those into the chat that stalls.
const SAYS_EVERY: Duration = Duration::from_millis(20);
const FILLS_EVERY: Duration = Duration::from_millis(50);

/// Bytes of each of those: 160 kB a second, at a window of 64 KiB.
const FILLING_BYTES: usize = 8_000;

/// After a phase everything must be there within this.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// The reader, who has a chat that stalls (with phone 1) and others.
const READER: usize = 0;

/// Who writes to whom, each in a chat of its own. The first is the chat that stalls; the next two are the same phone's others.
const FLOWS: [(usize, usize); 5] = [(1, READER), (2, READER), (3, READER), (4, 5), (6, 7)];
const SAME_PHONE: std::ops::Range<usize> = 1..3;

pub(crate) fn cases(_: &Choice) -> Vec<Case> {
    let setting = format!("one of a phone's three chats unread, {} ms", ROUND_TRIP.as_millis());
    vec![Case::new("stalled", setting, play)]
}

fn play(choice: &Choice) -> Result<Report> {
    let stage = Stage::new(choice, &[], &[])?;
    stage.phones.set_both(&Settings::delayed(ROUND_TRIP / 2));
    let (pairs, phase) = choice.pick((3, Duration::from_millis(2_500)), (9, Duration::from_secs(5)));
    let mut report = Report::default();
    let figures = stage.with_phones(|| {
        let mut talk = Talk::new(stage.fleet(4, choice.seed)?, &stage)?;
        // What is opened and allocated with the first messages is not to be in the control.
        talk.phase(Phase::Control, phase / 3)?;
        talk.forget()?;
        for _ in 0..pairs {
            talk.phase(Phase::Control, phase)?;
            talk.phase(Phase::Stalled, phase)?;
        }
        Ok(talk.figures)
    })?;
    figures.judge(&mut report);
    stage.end(&mut report, LATE_MAX)?;
    Ok(report)
}

/// Whether the reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Control,
    Stalled,
}

/// What was measured, by phase.
struct Figures {
    /// Of each phase the p99 of the time from the planned moment to the recipient: of the same phone's other chats, and of
    /// other phones'.
    p99: [[Vec<Duration>; 2]; 2],
    samples: u64,
    /// Microseconds by which the load itself was late.
    late: Histogram<u64>,
    /// Messages that a stall held back at its end, the fewest.
    held_back: Option<u64>,
    reconnects: u64,
}

impl Figures {
    fn new() -> Result<Figures> {
        let (p99, late) = (Default::default(), histogram()?);
        Ok(Figures { p99, samples: 0, late, held_back: None, reconnects: 0 })
    }

    fn judge(&self, report: &mut Report) {
        let names = [["same phone p99 reading", "stalled"], ["other phones p99 reading", "stalled"]];
        for (group, names) in names.into_iter().enumerate() {
            let [control, stalled] = [0, 1].map(|phase: usize| median(&self.p99[phase][group]));
            report.figure(names[0], Value::Ms(control));
            report.figure(names[1], Value::Ms(stalled));
            report.figure("times", Value::Ratio(stalled.as_secs_f64() / control.as_secs_f64()));
            let most = control.mul_f64(FACTOR_MAX).max(control + NOISE);
            report.demand(stalled <= most, || {
                format!("a stall took the p99 of others from {control:.1?} to {stalled:.1?}")
            });
        }
        report.figure("pairs of phases", Value::Count(self.p99[1][0].len() as u64));
        report.figure("samples", Value::Count(self.samples));
        report.figure("held back", Value::Count(self.held_back.unwrap_or(0)));
        let late = at(&self.late, 0.99);
        report.figure("load late p99", Value::Ms(late));
        report.fit(late <= LOAD_LATE_MAX, || format!("the load was {late:.1?} late"));
        report.demand(self.reconnects == 0, || format!("{} connections were lost", self.reconnects));
    }
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000, 3)?)
}

fn at(histogram: &Histogram<u64>, quantile: f64) -> Duration {
    Duration::from_micros(histogram.value_at_quantile(quantile))
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// One writer's messages to one reader.
struct Flow {
    from: usize,
    to: usize,
    chat: ChatId,
    peer: AccountId,
    said: u64,
    shown: u64,
    /// The place of the last entry that is here.
    place: u64,
    /// Of what is not shown yet: when it was to be said.
    planned: VecDeque<Instant>,
}

struct Talk {
    fleet: Fleet,
    flows: Vec<Flow>,
    figures: Figures,
    /// Microseconds from the planned moment to the recipient, in this phase.
    took: [Histogram<u64>; 2],
}

impl Talk {
    fn new(mut fleet: Fleet, stage: &Stage) -> Result<Talk> {
        let people = FLOWS.iter().map(|&(from, to)| from.max(to) + 1).max().unwrap_or(0);
        fleet.add(people);
        fleet.register(0..people, &stage.server().sms()).context("people cannot join")?;
        let found = fleet.find(&FLOWS)?;
        let flow = |(&(from, to), (chat, peer))| Flow {
            from,
            to,
            chat,
            peer,
            said: 0,
            shown: 0,
            place: 0,
            planned: VecDeque::new(),
        };
        let flows = FLOWS.iter().zip(found).map(flow).collect();
        let took = [histogram()?, histogram()?];
        Ok(Talk { fleet, flows, figures: Figures::new()?, took })
    }

    /// What was measured so far is not measured.
    fn forget(&mut self) -> Result<()> {
        self.figures = Figures::new()?;
        Ok(())
    }

    /// Lets everybody write for a while; afterwards the reader reads, and everything arrives.
    fn phase(&mut self, phase: Phase, lasts: Duration) -> Result<()> {
        let chat = self.flows[0].chat;
        if phase == Phase::Stalled {
            self.fleet.stall(READER, chat);
        }
        let began = Instant::now();
        let (mut says, mut fills) = (0, 0);
        while began.elapsed() < lasts {
            let (say_at, fill_at) = (began + SAYS_EVERY * says, began + FILLS_EVERY * fills);
            let next = say_at.min(fill_at);
            if Instant::now() < next {
                self.turn(next)?;
            } else if say_at <= fill_at {
                self.say(1 + says as usize % (FLOWS.len() - 1), say_at)?;
                says += 1;
            } else {
                self.say(0, fill_at)?;
                fills += 1;
            }
        }
        if phase == Phase::Stalled {
            let held = self.flows[0].said - self.flows[0].shown;
            ensure!(
                held as usize * FILLING_BYTES > 128 * 1024,
                "a stall held back {held} messages only: the reader read"
            );
            self.figures.held_back = Some(self.figures.held_back.unwrap_or(held).min(held));
            self.fleet.unstall(READER, chat);
        }
        self.settle()?;
        for (group, took) in self.took.iter_mut().enumerate() {
            self.figures.p99[phase as usize][group].push(at(took, 0.99));
            self.figures.samples += took.len();
            took.reset();
        }
        Ok(())
    }

    /// Until everything has arrived.
    fn settle(&mut self) -> Result<()> {
        let end = Instant::now() + SETTLE_MAX;
        while self.flows.iter().any(|flow| flow.shown < flow.said) {
            let missing: Vec<u64> = self.flows.iter().map(|flow| flow.said - flow.shown).collect();
            ensure!(Instant::now() < end, "not everything arrived: {missing:?} messages are missing");
            self.turn(Instant::now() + Duration::from_millis(50))?;
        }
        Ok(())
    }

    fn say(&mut self, number: usize, planned: Instant) -> Result<()> {
        let late = planned.elapsed();
        self.figures.late.saturating_record(late.as_micros() as u64);
        let flow = &mut self.flows[number];
        flow.said += 1;
        flow.planned.push_back(planned);
        let content = text(number, flow.said).encode();
        self.fleet.send(flow.from, flow.chat, flow.peer, content)?;
        Ok(())
    }

    fn turn(&mut self, until: Instant) -> Result<()> {
        self.fleet.turn(until)?;
        while let Some(happened) = self.fleet.happened() {
            self.take(happened)?;
        }
        Ok(())
    }

    fn take(&mut self, Happened { phone, at, event }: Happened) -> Result<()> {
        let message = match event {
            ClientEvent::Arrived(message) => message,
            ClientEvent::Passed { chat, seq, .. } => {
                let reads = |flow: &&mut Flow| flow.chat == chat && flow.to == phone;
                self.flows.iter_mut().find(reads).into_iter().for_each(|flow| flow.place = seq.0);
                return Ok(());
            }
            ClientEvent::Disconnected { .. } => {
                self.figures.reconnects += 1;
                return Ok(());
            }
            ClientEvent::Failed { refusal, .. } => anyhow::bail!("phone {phone}: refused: {refusal}"),
            _ => return Ok(()),
        };
        let reads = |flow: &Flow| flow.chat == message.chat && flow.to == phone;
        // The writer's own phone shows it, too.
        let Some(number) = self.flows.iter().position(reads) else { return Ok(()) };
        let flow = &mut self.flows[number];
        flow.shown += 1;
        let next = std::mem::replace(&mut flow.place, message.seq.0) + 1;
        ensure!(message.seq.0 == next, "message {} came where {next} was next", message.seq.0);
        let content = Content::decode(&message.content).ok();
        ensure!(content == Some(text(number, flow.shown)), "message {} is another than was said", flow.shown);
        let planned = flow.planned.pop_front().context("more was shown than said")?;
        if number > 0 {
            let took = at.saturating_duration_since(planned).as_micros() as u64;
            let group = usize::from(!SAME_PHONE.contains(&number));
            self.took[group].saturating_record(took);
        }
        Ok(())
    }
}

/// What is said as a flow's `n`th message.
fn text(flow: usize, n: u64) -> Content {
    let mut text = format!("{flow}: {n}");
    if flow == 0 {
        text.push_str(&".".repeat(FILLING_BYTES));
    }
    Content::Text(Text { text, sent_at_us: 0, reply_to: None })
}
