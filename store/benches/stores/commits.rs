//! Appends a second, and how long one takes.

use std::time::{Duration, Instant};

use loadtest_figures::{Cores, Options, Report, process_cpu, quantile};
use store::{Store, StoreConfig, StoreStats};

use super::fill::fill;
use super::load::{self, TokioClock};
use super::place::{AnyStore, Place};
use super::writers::{self, Appends, Times};

const WRITERS: [usize; 4] = [1, 8, 64, 512];

/// The writers whose appends are looked at more closely.
const CLOSELY: usize = 64;

/// Many chats: one for each writer.
const CHATS: u16 = 512;

/// Writers of one hot chat without a common batcher: what it is like where nobody gathers.
const APART: usize = 64;

const WARM: Duration = Duration::from_secs(1);
const RUN: Duration = Duration::from_secs(4);

/// All cells of one store.
pub(crate) async fn measure(options: &Options, report: &mut Report, place: &Place) {
    let store = place.open("bench1").await;
    load::people(&store, CHATS).await;
    let times = Times { warm: options.run(WARM), run: options.run(RUN) };
    // All chats are made before anything is measured.
    if let Err(why) = fill(&store, CHATS, 0..1).await {
        return report.invalid(why);
    }
    report.line(format_args!(
        "{:>8} {:>12} {:>8} {:>8} {:>12} {:>8} {:>8} {:>12}",
        "writers", "512 chats /s", "p50 ms", "p99 ms", "one chat /s", "p50 ms", "p99 ms", "many : hot"
    ));
    let (mut many_at, mut given_up) = (Vec::new(), 0);
    for writers in WRITERS {
        let shared = vec![store.clone(); writers];
        let before = Used::now(place);
        let many = writers::write(&shared, CHATS, times).await;
        let between = Used::now(place);
        let hot = writers::write(&shared, 1, times).await;
        let after = Used::now(place);
        let (many, hot) = match (many, hot) {
            (Ok(many), Ok(hot)) => (many, hot),
            (many, hot) => {
                [many, hot].into_iter().filter_map(Result::err).for_each(|why| report.invalid(why));
                continue;
            }
        };
        given_up += many.given_up + hot.given_up;
        if writers == CLOSELY {
            between.tell(report, place, "", &before, many.all);
            after.tell(report, place, "hot_", &between, hot.all);
        }
        tell(report, place, writers, &many, &hot);
        many_at.push((writers, many.per_s));
    }
    let stats = unbatched(report, place, &store, times, &many_at).await;
    tell_doubt(report, place, &[store.stats(), stats], given_up);
}

/// CPU time that was used until a moment.
struct Used {
    client: Duration,
    /// This process and the store's; what the system does not say is not there.
    all: Option<Cores>,
}

impl Used {
    fn now(place: &Place) -> Used {
        Used { client: process_cpu(), all: Cores::now(&place.pids()) }
    }

    /// What each append since then has cost. A machine that others use too changes little of it.
    fn tell(&self, report: &mut Report, place: &Place, chats: &str, before: &Used, appends: u64) {
        let client = self.client - before.client;
        let all = self.all.zip(before.all).map_or(client, |(now, before)| now.ours_since(&before));
        let each = |time: Duration| time.as_secs_f64() * 1e6 / appends.max(1) as f64;
        let (client_us, servers_us) = (each(client), each(all.saturating_sub(client)));
        let which = if chats.is_empty() { "many chats" } else { "one chat" };
        report.line(format_args!(
            "         each of the next in {which}: {client_us:.0} µs of CPU here, {servers_us:.0} µs of the store's servers"
        ));
        let mut figure = |what: &str, value| {
            report.figure(place.kind.key(&format!("{chats}{what}_cpu_us_per_commit_{CLOSELY}")), value);
        };
        figure("client", client_us);
        figure("servers", servers_us);
    }
}

/// Two cells of one row.
fn tell(report: &mut Report, place: &Place, writers: usize, many: &Appends, hot: &Appends) {
    let at = |appends: &Appends, share| quantile(&appends.latencies_ms, share);
    let ratio = many.per_s / hot.per_s;
    report.line(format_args!(
        "{writers:>8} {:>12.0} {:>8.2} {:>8.2} {:>12.0} {:>8.2} {:>8.2} {ratio:>12.2}",
        many.per_s,
        at(many, 0.5),
        at(many, 0.99),
        hot.per_s,
        at(hot, 0.5),
        at(hot, 0.99),
    ));
    for (kind, appends) in [("", many), ("hot_", hot)] {
        let mut figure = |what: &str, value| {
            report.figure(place.kind.key(&format!("{kind}{what}_{writers}")), value);
        };
        figure("commits_per_s", appends.per_s);
        figure("commit_p50_ms", at(appends, 0.5));
        figure("commit_p99_ms", at(appends, 0.99));
    }
    report.figure(place.kind.key(&format!("many_to_hot_{writers}")), ratio);
}

/// The control: each writer has a store of its own on the one backend, so that they meet only in its transactions.
async fn unbatched(
    report: &mut Report,
    place: &Place,
    store: &AnyStore,
    times: Times,
    many_at: &[(usize, f64)],
) -> StoreStats {
    let mut stores = Vec::new();
    for seed in 0..APART as u64 {
        let (config, clock) = (StoreConfig { seed, ..StoreConfig::default() }, TokioClock(Instant::now()));
        let opened = Store::open(store.backend().clone(), config, clock).await;
        stores.push(opened.expect("it is open already"));
    }
    match writers::write(&stores, 1, times).await {
        Ok(apart) => {
            report.line(format_args!(
                "one chat without a common batcher, {APART} writers: {:.0}/s, p99 {:.0} ms, given up as busy {}",
                apart.per_s,
                quantile(&apart.latencies_ms, 0.99),
                apart.given_up
            ));
            report.figure(place.kind.key(&format!("unbatched_commits_per_s_{APART}")), apart.per_s);
            if let Some((_, many)) = many_at.iter().find(|(writers, _)| *writers == APART) {
                report.figure(place.kind.key(&format!("many_to_unbatched_{APART}")), many / apart.per_s);
            }
        }
        Err(why) => report.invalid(why),
    }
    stores.iter().map(Store::stats).fold(StoreStats::default(), |sum, one| StoreStats {
        conflicts: sum.conflicts + one.conflicts,
        unknown: sum.unknown + one.unknown,
        retries: sum.retries + one.retries,
        ..sum
    })
}

/// What did not go straight: nothing of it is hidden in a rate.
fn tell_doubt(report: &mut Report, place: &Place, stats: &[StoreStats; 2], given_up: u64) {
    let [batched, apart] = stats;
    report.line(format_args!(
        "tries whose commit is not known: {} (unbatched {}), lost to another: {} (unbatched {}), given up as busy: {given_up}",
        batched.unknown, apart.unknown, batched.conflicts, apart.conflicts
    ));
    report.figure(place.kind.key("unknown_commits"), (batched.unknown + apart.unknown) as f64);
    report.figure(place.kind.key("given_up"), given_up as f64);
}
