//! `cargo xtask sim`: plays seeds on all cores, tells of each that breaks a promise, and how fast it went.
#![expect(clippy::print_stdout, reason = "a chore's answer belongs on the terminal")]
#![expect(clippy::disallowed_methods, reason = "how fast it goes is measured with a real clock")]

use std::io::Write;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use loadtest_sim::{Failure, Kind, Mutation, Options, Report, run};

const HELP: &str = "\
Plays the whole cluster in virtual time, one run for each seed.

Usage: cargo xtask sim [OPTIONS]

Options:
  --seeds N       Seeds to play [100, or as many as there is time for]
  --first S       The first of them [1]
  --minutes M     Begin no more seeds after this time
  --storm SECONDS How long things go wrong in each, in virtual time [30]
  --kind KIND     Of which kind every seed is: only-moves, gentle, steady or stormy [as the seed says]
  --mutation NAME Make this mistake in the product's code; `list` names them
  --timeline      Tell all that happened, who said what to whom; for one seed
  --keep-going    Play on after a seed that breaks a promise
  --help          This text

Exit code: 0 if every promise was kept, 1 if one was broken, 2 if no seed was played.
";

struct Chosen {
    first: u64,
    seeds: u64,
    time: Option<Duration>,
    keep_going: bool,
    options: Options,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if matches!(arguments[..], ["--help" | "-h", ..]) {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if arguments[..] == ["--mutation", "list"] {
        Mutation::ALL.iter().for_each(|mutation| println!("{mutation:?}"));
        return ExitCode::SUCCESS;
    }
    match chosen(&arguments) {
        Ok(chosen) => play(&chosen),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn chosen(arguments: &[&str]) -> Result<Chosen> {
    let (mut first, mut seeds, mut time, mut keep_going) = (1, None, None, false);
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(&option) = rest.next() {
        let mut value = || rest.next().copied().with_context(|| format!("{option} needs a value"));
        match option {
            "--first" => first = number(option, value()?)?,
            "--seeds" => seeds = Some(number(option, value()?)?),
            "--minutes" => time = Some(Duration::from_secs(number(option, value()?)?.saturating_mul(60))),
            "--storm" => options.storm = Duration::from_secs(number(option, value()?)?.clamp(1, 3600)),
            "--kind" => options.kind = Some(kind(value()?)?),
            "--mutation" => options.mutation = Some(mutation(value()?)?),
            "--timeline" => options.whole_timeline = true,
            "--keep-going" => keep_going = true,
            other => bail!("no such option: `{other}`; --help lists them"),
        }
    }
    let most = u64::MAX - first;
    let seeds = seeds.unwrap_or(if time.is_some() { most } else { 100 }).min(most);
    Ok(Chosen { first, seeds, time, keep_going, options })
}

fn number(option: &str, value: &str) -> Result<u64> {
    value.parse().with_context(|| format!("{option} takes a whole number, and `{value}` is none"))
}

fn kind(name: &str) -> Result<Kind> {
    Ok(match name {
        "only-moves" => Kind::OnlyMoves,
        "gentle" => Kind::Gentle,
        "steady" => Kind::Steady,
        "stormy" => Kind::Stormy,
        other => bail!("no such kind: `{other}`; there are only-moves, gentle, steady and stormy"),
    })
}

fn mutation(name: &str) -> Result<Mutation> {
    let found = Mutation::ALL.into_iter().find(|mutation| format!("{mutation:?}").eq_ignore_ascii_case(name));
    found.with_context(|| format!("no such mutation: `{name}`; `--mutation list` names them"))
}

/// What all threads have done together.
#[derive(Default)]
struct Sum {
    played: u64,
    virtual_s: f64,
    datagrams: u64,
    failed: Vec<Failure>,
}

fn play(chosen: &Chosen) -> ExitCode {
    let (next, sum, began) = (AtomicU64::new(0), Mutex::new(Sum::default()), Instant::now());
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64;
    std::thread::scope(|scope| {
        for _ in 0..threads.min(chosen.seeds.max(1)) {
            scope.spawn(|| seeds_of_a_thread(chosen, &next, &sum, began));
        }
    });
    let sum = sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    summary(chosen, &sum, began.elapsed())
}

fn seeds_of_a_thread(chosen: &Chosen, next: &AtomicU64, sum: &Mutex<Sum>, began: Instant) {
    let lock = || sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let is_late = chosen.time.is_some_and(|time| began.elapsed() >= time);
        if place >= chosen.seeds || is_late || !chosen.keep_going && !lock().failed.is_empty() {
            return;
        }
        let played = run(chosen.first + place, &chosen.options);
        let mut sum = lock();
        sum.played += 1;
        match played {
            Ok(report) => add(&mut sum, &report),
            Err(failure) => {
                say(format_args!("{failure}\n"));
                sum.failed.push(*failure);
            }
        }
        if sum.played.is_multiple_of(50) {
            // Whoever reads it may have gone; the run goes on.
            let _ = writeln!(std::io::stderr(), "{} seeds, {} failed", sum.played, sum.failed.len());
        }
    }
}

fn add(sum: &mut Sum, report: &Report) {
    sum.virtual_s += report.lasted.as_secs_f64();
    sum.datagrams += report.datagrams.0;
    report.timeline.iter().for_each(|line| say(format_args!("{line}")));
}

fn summary(chosen: &Chosen, sum: &Sum, took: Duration) -> ExitCode {
    let took_s = took.as_secs_f64().max(0.001);
    say(format_args!(
        "{} seeds from {} on, {} kept every promise, in {took_s:.1} s: {:.0} seeds a minute, {:.3} simulated hours a second, {:.0} datagrams a second",
        sum.played,
        chosen.first,
        sum.played - sum.failed.len() as u64,
        60.0 * sum.played as f64 / took_s,
        sum.virtual_s / 3600.0 / took_s,
        sum.datagrams as f64 / took_s,
    ));
    for failure in &sum.failed {
        say(format_args!("seed {}: {}", failure.seed, failure.violation));
    }
    match (sum.played, sum.failed.is_empty()) {
        // Nothing was shown.
        (0, _) => ExitCode::from(2),
        (_, true) => ExitCode::SUCCESS,
        (_, false) => ExitCode::FAILURE,
    }
}

/// A line for whoever reads; if nobody does any more, the run goes on, and its exit code tells.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
