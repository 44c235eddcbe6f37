//! Load on a real node: `loadtest-run bench` measures.
#![expect(clippy::print_stdout, reason = "figures belong on the terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use loadtest_run::bench::{self, Figures, Setting};

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
        Command::Bench { list: true, .. } => {
            bench::ALL.iter().for_each(|bench| println!("{:12}{}", bench.name, bench.about));
        }
        Command::Bench { godwit, json, only, quick, .. } => {
            if let Some(unknown) = only.iter().find(|name| bench::ALL.iter().all(|bench| bench.name != *name))
            {
                bail!("there is no benchmark {unknown}; --list names them");
            }
            let setting = Setting { godwit: bench::binary(&godwit)?, quick };
            let wanted = |bench: &&bench::Bench| {
                if only.is_empty() { bench.by_default } else { only.iter().any(|name| name == bench.name) }
            };
            let mut figures = Figures::new();
            for bench in bench::ALL.iter().filter(wanted) {
                eprintln!("{}: {}", bench.name, bench.about);
                figures.extend(bench.run(&setting)?);
            }
            print(&figures, json)?;
        }
    }
    Ok(())
}

fn print(figures: &Figures, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(figures)?);
    } else {
        figures.iter().for_each(|(key, value)| println!("{key:44}{value:14.3}"));
    }
    Ok(())
}
