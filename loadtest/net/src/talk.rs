//! People who talk with each other under an oracle, and what that says in a table.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use loadtest_run::{Fleet, FleetError, Play, Played};
use loadtest_workload::Shape;

use crate::row::{Report, Value};
use crate::stage::Stage;

/// People; the first few have a second phone.
const PEOPLE: usize = 20;

/// Those with a second phone.
const SECOND_PHONES: usize = 4;

/// Sockets that the phones share.
const SOCKETS: usize = 8;

/// How much people talk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// For how long.
    pub(crate) lasts: Duration,
    /// Between messages, or bursts of them, of one phone.
    pub(crate) says_every: Duration,
    /// The part of those that are bursts, and the most messages in one.
    pub(crate) bursts: (f64, u32),
}

impl Pace {
    /// Everybody says something every 800 ms, now and then a few things at once.
    pub(crate) fn calm(lasts: Duration) -> Pace {
        Pace { lasts, says_every: Duration::from_millis(800), bursts: (0.1, 8) }
    }

    /// Mostly bursts: somebody is always in the middle of one.
    pub(crate) fn bursts(lasts: Duration) -> Pace {
        Pace { lasts, says_every: Duration::from_secs(2), bursts: (0.8, 20) }
    }

    /// Nobody leaves on purpose: a connection that ends was lost.
    fn shape(self) -> Shape {
        Shape {
            people: PEOPLE,
            second_phones: SECOND_PHONES,
            contacts: 4,
            lasts: self.lasts,
            quiet_after: self.lasts,
            says_every: self.says_every,
            bursts: self.bursts,
            reads_every: Duration::from_secs(1),
            // A chat stays open for seconds after somebody typed in it: the end would wait for that.
            types_every: None,
            snoops: 0.0,
            leaves_every: None,
            hides_every: None,
        }
    }
}

/// What a talk brought.
pub(crate) struct Talked {
    /// What was said and how it fared.
    pub(crate) played: Played,
    /// Packets on the phones' link meanwhile.
    packets: u64,
    /// Connections that the node accepted meanwhile.
    pub(crate) reconnects: u64,
}

/// Lets people talk from the calling thread's namespace, until everybody has everything with its ticks. They join through
/// the same network; `meanwhile` is called about every 50 ms once they talk.
///
/// # Errors
/// A message was lost, doubled or reordered; what `meanwhile` says; the node is gone.
pub(crate) fn talk(
    stage: &Stage,
    seed: u64,
    pace: Pace,
    mut meanwhile: impl FnMut(&mut Fleet, Duration) -> Result<()>,
) -> Result<Talked> {
    let mut fleet = stage.fleet(SOCKETS, seed)?;
    let play = Play::new(&mut fleet, &pace.shape(), seed, &stage.server().sms());
    let play = play.context("people cannot join")?;
    let opened =
        |stage: &Stage| Ok::<_, anyhow::Error>(stage.metrics()?.sum("godwit_connections_opened_total"));
    let before = (opened(stage)?, stage.packets());
    let mut failed = None;
    let played = play.run(|fleet, since| {
        if failed.is_none() {
            failed = meanwhile(fleet, since).err();
        }
        // The run ends only by itself; what has failed is said afterwards.
        Ok::<(), FleetError>(())
    });
    if let Some(error) = failed {
        bail!(error);
    }
    let (played, packets) = (played?, stage.packets() - before.1);
    ensure!(played.said >= 20 && played.latencies.len() >= 20, "too little was said: {}", played.said);
    ensure!(played.delivered >= played.said as u64, "{} of {} were delivered", played.delivered, played.said);
    let reconnects = (opened(stage)? - before.0).max(0.0) as u64;
    Ok(Talked { played, packets, reconnects })
}

impl Talked {
    /// The figures of any talk.
    pub(crate) fn figures(&self, report: &mut Report) {
        report.figure("messages", Value::Count(self.played.said as u64));
        for (name, quantile) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
            report.figure(name, Value::Ms(self.at(quantile)));
        }
        let each = self.packets as f64 / self.played.said as f64;
        report.figure("datagrams a message", Value::Ratio(each));
        report.figure("connections lost", Value::Count(self.played.lost_connections));
    }

    /// A quantile of the time from a message's planned moment to its recipient.
    pub(crate) fn at(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.played.latencies.value_at_quantile(quantile))
    }

    /// No connection may have ended.
    pub(crate) fn demand_no_reconnect(&self, report: &mut Report) {
        let lost = self.played.lost_connections;
        report.demand(lost == 0 && self.reconnects == 0, || {
            format!("{lost} connections were lost, and {} were made anew", self.reconnects)
        });
    }
}

/// Phones that have said something which is not acknowledged yet: they are in the middle of it.
pub(crate) fn unsettled(fleet: &Fleet) -> usize {
    (0..fleet.len()).filter(|&phone| !fleet.is_settled(phone)).count()
}
