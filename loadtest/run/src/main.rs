//! Load on a real node: `loadtest-run bench` measures, `loadtest-run play` lets people talk under an oracle.
#![expect(clippy::print_stdout, reason = "figures belong on the terminal")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use loadtest_run::bench::{self, Figures, Setting};
use loadtest_run::server::Options;
use loadtest_run::{Fleet, Played, Server, Target};
use loadtest_workload::Shape;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Many phones on a real node.
#[derive(Debug, Parser)]
#[command(name = "loadtest-run", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Let people talk for a while, and stop at the first message that is lost, doubled or reordered.
    Play(Play),
    /// Measure: what a message and a connection cost the node, and how long people wait.
    Bench {
        /// The node's binary.
        #[arg(long, value_name = "FILE")]
        godwit: PathBuf,
        /// Print one flat JSON object and nothing else.
        #[arg(long)]
        json: bool,
        /// Only these; all that run by default if none is named. May be given more than once.
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// Small numbers and short times: to see that it works, not what it costs.
        #[arg(long)]
        quick: bool,
        /// List the benchmarks.
        #[arg(long)]
        list: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Play {
    /// The node's binary.
    #[arg(long, value_name = "FILE")]
    godwit: PathBuf,
    /// What everybody does follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// People, at least two.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(2..=50_000))]
    people: u16,
    /// The first so many have a second phone.
    #[arg(long, default_value_t = 20)]
    second_phones: u16,
    /// Whom each of them talks to.
    #[arg(long, default_value_t = 4)]
    contacts: u16,
    /// For how long.
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    seconds: u64,
    /// Messages or bursts of them in all, a second.
    #[arg(long, default_value_t = 50.0, value_name = "PER_SECOND")]
    rate: f64,
    /// Nobody leaves the network or hides the app.
    #[arg(long)]
    always_there: bool,
    /// After so many seconds the node is killed and started again; may be given more than once.
    #[arg(long, value_name = "SECONDS")]
    kill_at: Vec<u64>,
}

impl Play {
    fn shape(&self) -> Shape {
        let times =
            |times: f64| Duration::from_secs_f64(times * f64::from(self.people) / self.rate.max(0.001));
        let lasts = Duration::from_secs(self.seconds);
        let away = (Duration::from_secs(20), Duration::from_secs(5));
        Shape {
            people: self.people.into(),
            second_phones: self.second_phones.into(),
            contacts: self.contacts.into(),
            lasts,
            quiet_after: lasts,
            says_every: times(1.0),
            bursts: (0.1, 8),
            reads_every: times(1.0),
            types_every: Some(times(2.0)),
            snoops: 0.0,
            leaves_every: (!self.always_there).then_some(away),
            hides_every: (!self.always_there).then_some(away),
        }
    }

    fn run(&self) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut server = Server::start(Options::new(&bench::binary(&self.godwit)?, dir.path()), |_| Ok(()))?;
        let target = Target { address: server.address(), name: "localhost".into(), ca: server.ca() };
        let mut fleet = Fleet::new(target, 16, self.seed)?;
        let sms = server.sms();
        let play = loadtest_run::Play::new(&mut fleet, &self.shape(), self.seed, &sms)?;
        let mut kills: Vec<Duration> = self.kill_at.iter().map(|&at| Duration::from_secs(at)).collect();
        kills.sort_unstable_by_key(|at| std::cmp::Reverse(*at));
        let mut restart = Ok(());
        let played = play.run(|_, since| {
            if kills.pop_if(|at| *at <= since).is_some() {
                restart = server.restart(|_| Ok(()));
            }
            Ok(())
        });
        restart?;
        let Played { said, delivered, latencies, lost_connections } = played?;
        let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "said {said}, delivered {delivered}, each once, in order, with two ticks; connections lost {lost_connections}"
        );
        println!(
            "from the planned moment to the recipient: p50 {:.1} ms, p95 {:.1}, p99 {:.1}, the latest {:.1}",
            ms(0.5),
            ms(0.95),
            ms(0.99),
            ms(1.0)
        );
        Ok(())
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Play(play) => play.run()?,
        Command::Bench { list: true, .. } => {
            bench::ALL.iter().for_each(|bench| println!("{:14}{}", bench.name, bench.about));
        }
        Command::Bench { godwit, json, only, quick, .. } => {
            if let Some(unknown) = only.iter().find(|name| bench::ALL.iter().all(|bench| bench.name != *name))
            {
                bail!("there is no benchmark {unknown}; --list names them");
            }
            let setting = Setting { godwit: bench::binary(&godwit)?, quick, store: None };
            let wanted = |bench: &&bench::Bench| {
                if only.is_empty() { bench.by_default } else { only.iter().any(|name| name == bench.name) }
            };
            let mut figures = Figures::new();
            for bench in bench::ALL.iter().filter(wanted) {
                eprintln!("{}: {}", bench.name, bench.about);
                let before = figures.clone();
                bench.run(&setting, &mut figures)?;
                if !json {
                    print_new(&before, &figures);
                }
            }
            if json {
                println!("{}", serde_json::to_string(&figures)?);
            }
        }
    }
    Ok(())
}

/// What a benchmark added.
fn print_new(before: &Figures, after: &Figures) {
    let new = after.iter().filter(|(key, _)| !before.contains_key(*key));
    new.for_each(|(key, value)| println!("{key:44}{value:14.3}"));
}
