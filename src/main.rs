//! The one binary, `godwit`: it reads arguments and hands on. The node is `edge-node`, the terminal client `client-cli`.

mod completions;
mod doctor;
mod stores;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use edge_node::{Config, Flags};
use tracing::Level;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A messaging system: run a node, or chat on one.
///
/// Start a node with `godwit serve`, then, in another terminal:
///
///   godwit register --profile alice --server 127.0.0.1:4433 --ca godwit-data/certs/ca.pem --phone +4915100000001 --name Alice
///   godwit send --profile alice --to +4915100000002 'Hello Bob'
///   godwit chat --profile alice
///
/// Exit codes: 0 done; 1 refused or failed for good; 2 wrong usage; 3 the server cannot be reached, or what was waited
/// for did not come in time; 4 log in first.
#[derive(Debug, Parser)]
#[command(name = "godwit", version, verbatim_doc_comment, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node. With nothing said it works: on loopback, with development certificates, storing in ./godwit-data.
    ///
    /// Settings come from the built-in defaults, a TOML file, GODWIT_… environment variables (GODWIT_LISTEN,
    /// GODWIT_LIMITS__RATES__MESSAGES_PER_MINUTE, …) and flags, each overriding the one before. Logs go to standard error.
    /// SIGTERM or Ctrl-C stops it cleanly; SIGKILL loses nothing that was acknowledged.
    Serve {
        #[command(flatten)]
        flags: Flags,
        /// How logs are written: `json` for machines, `text` for people.
        #[arg(long, value_enum, default_value = "json", env = "GODWIT_LOG_FORMAT")]
        log_format: LogFormat,
    },
    /// Make development certificates, or renew them: a CA that clients trust and a leaf that a node serves.
    Certs {
        /// Where they go.
        #[arg(long, value_name = "DIR", default_value = "godwit-data/certs")]
        dir: PathBuf,
        /// Names and addresses of the node; may be given more than once.
        #[arg(long = "name", value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
        names: Vec<String>,
    },
    /// Say what is wrong with a set-up, in plain words.
    ///
    /// For an operator, before a node runs or while it does: it reads the same settings as `godwit serve` and looks at
    /// ports, the data directory and its disk, certificates, the clock and limits. For a person whose client reaches no
    /// server: with --server or --profile it looks at the way there. Nothing is changed, and nothing secret is sent. Exit
    /// codes: 0 no problem (warnings are none); 1 at least one; 2 wrong usage.
    Doctor(doctor::Doctor),
    #[command(flatten)]
    Stores(stores::Stores),
    /// Print a script with which a shell completes commands and flags.
    ///
    /// bash: godwit completions bash > ~/.local/share/bash-completion/completions/godwit
    #[command(verbatim_doc_comment)]
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    #[command(flatten)]
    Client(client_cli::Command),
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    Json,
    Text,
}

fn main() -> ExitCode {
    let code = run(Cli::parse().command);
    // All that had a store open has ended with its command.
    store::any::shut_down();
    code
}

fn run(command: Command) -> ExitCode {
    match command {
        Command::Serve { flags, log_format } => {
            log(log_format);
            finish(serve(&flags))
        }
        Command::Certs { dir, names } => finish(make_certs(&dir, &names)),
        Command::Doctor(command) => command.run(),
        Command::Stores(command) => command.run(),
        Command::Completions { shell } => finish(completions::print(shell)),
        Command::Client(command) => client_cli::run(command),
    }
}

/// `GODWIT_LOG` filters as `tracing` does, for example `info,edge_proto=debug`. The QUIC library names peers' addresses
/// in its debug lines, so it says only warnings, whatever the filter asks for (R162).
fn log(format: LogFormat) {
    let chosen = EnvFilter::try_from_env("GODWIT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let quiet = filter_fn(|line| !line.target().starts_with("quinn") || *line.level() <= Level::WARN);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let to = tracing_subscriber::registry().with(chosen).with(quiet);
    match format {
        LogFormat::Json => to.with(lines.json().flatten_event(true)).init(),
        LogFormat::Text => to.with(lines).init(),
    }
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("godwit: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: &Flags) -> anyhow::Result<()> {
    let config = Config::load(flags)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start tokio")?;
    runtime.block_on(async {
        let mut stop = stop_signal()?;
        let node = tokio::select! {
            node = edge_node::start(&config) => node?,
            () = &mut stop => {
                tracing::info!("stopped before it served");
                return Ok(());
            }
        };
        announce(&config, &node);
        tokio::select! {
            () = &mut stop => {}
            () = node.failed() => anyhow::bail!("the node's loop ended: see the log"),
        }
        tracing::info!("stopping");
        node.stop().await;
        tracing::info!("stopped");
        Ok(())
    })
}

/// One line to standard output when clients may come, for people and scripts; what was chosen, to the log.
fn announce(config: &Config, node: &edge_node::RunningNode) {
    use std::io::Write;
    let ca = node.ca.as_ref().map(|ca| ca.display().to_string());
    tracing::info!(
        listen = %node.listen,
        admin = %node.admin,
        data = %config.data.display(),
        store = %config.store_location(),
        sms = %config.sms_file().display(),
        ca = ca.as_deref().unwrap_or("your own"),
        "serving"
    );
    let trust = ca.map(|ca| format!(" --ca {ca}")).unwrap_or_default();
    // Whoever reads it may be gone; that is no reason to stop.
    let _ = writeln!(
        std::io::stdout(),
        "ready: godwit register --server {}{trust} --phone +… --name …",
        node.listen
    );
}

fn stop_signal() -> anyhow::Result<std::pin::Pin<Box<impl Future<Output = ()>>>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    }))
}

fn make_certs(dir: &std::path::Path, names: &[String]) -> anyhow::Result<()> {
    use std::io::Write;
    let made = certs::make_development(dir, names)?;
    writeln!(
        std::io::stdout(),
        "clients trust {}; a node serves {}",
        made.ca.display(),
        made.cert.display()
    )?;
    Ok(())
}
