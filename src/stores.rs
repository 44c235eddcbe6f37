//! `godwit copy`, `backup`, `verify`, `restore` and `reopen`: what they are told, and what they print.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use edge_node::clock::TokioClock;
use store::Clock;
use store::any::{AnyBackend, AnyConfig, AnyOpenError, Location};
use store::embedded::EmbeddedError;
use store_backup::{BackupConfig, Digests, Key, Manifest, Place, Progress};

/// How whole stores are moved, kept and brought back.
#[derive(Debug, Subcommand)]
pub(crate) enum Stores {
    /// Copy a store to another backend, to serve from the copy.
    ///
    /// Stores are named as for `godwit serve --store`: embedded:DIR or fdb:CLUSTERFILE. The source is closed for writing before
    /// the first key is copied and stays so (`godwit reopen` undoes it): nodes stop writing to it. The target must be empty;
    /// no node opens it before all of it is there and was compared with the source. An interrupted copy goes on where it
    /// stopped when the same command is run again. Keys and certificates are not in the store: see docs/BACKUP.md.
    Copy {
        /// The store to copy.
        #[arg(value_name = "FROM", value_parser = str::parse::<Location>)]
        from: Location,
        /// An empty one.
        #[arg(value_name = "TO", value_parser = str::parse::<Location>)]
        to: Location,
        /// On FoundationDB, which of several Godwits on the cluster the source is [default: godwit].
        #[arg(long, value_name = "NAME")]
        from_prefix: Option<String>,
        /// The same of the target.
        #[arg(long, value_name = "NAME")]
        to_prefix: Option<String>,
    },
    /// Write a backup of a store to an empty folder or bucket, and read it back.
    ///
    /// Nodes may go on serving meanwhile: all that was acknowledged before is in the backup. An embedded store that a node has
    /// open is read through that node, by its user or root; if it ends meanwhile, so does the backup, with an error. For
    /// s3://BUCKET/PATH the usual AWS_… variables say who asks and where (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
    /// AWS_ENDPOINT). A backup that was interrupted is none: take another place.
    Backup {
        /// The store: embedded:DIR or fdb:CLUSTERFILE.
        #[arg(value_name = "STORE", value_parser = str::parse::<Location>)]
        from: Location,
        /// Where to: a folder, or s3://BUCKET/PATH.
        #[arg(value_name = "PLACE")]
        to: String,
        /// On FoundationDB, which of several Godwits on the cluster [default: godwit].
        #[arg(long, value_name = "NAME")]
        prefix: Option<String>,
        #[command(flatten)]
        key: KeyFile,
        /// Do not read it back.
        #[arg(long)]
        no_verify: bool,
    },
    /// Read a backup and say whether it is whole.
    Verify {
        /// Where it lies: a folder, or s3://BUCKET/PATH.
        #[arg(value_name = "PLACE")]
        from: String,
        #[command(flatten)]
        key: KeyFile,
    },
    /// Make a store of a backup, in an empty one.
    ///
    /// No node opens the store before all of it is there and was compared with the backup. An interrupted restore goes on
    /// where it stopped when the same command is run again. What the people notice is in docs/BACKUP.md.
    Restore {
        /// Where the backup lies: a folder, or s3://BUCKET/PATH.
        #[arg(value_name = "PLACE")]
        from: String,
        /// An empty store: embedded:DIR or fdb:CLUSTERFILE.
        #[arg(value_name = "STORE", value_parser = str::parse::<Location>)]
        to: Location,
        /// On FoundationDB, which of several Godwits on the cluster [default: godwit].
        #[arg(long, value_name = "NAME")]
        prefix: Option<String>,
        #[command(flatten)]
        key: KeyFile,
    },
    /// Open a store for writing again that a copy has closed.
    ///
    /// Nodes that still serve from it write to it again. Do it only if nothing serves from the copy: from then on the two are
    /// different stores.
    Reopen {
        /// The store: embedded:DIR or fdb:CLUSTERFILE.
        #[arg(value_name = "STORE", value_parser = str::parse::<Location>)]
        store: Location,
        /// On FoundationDB, which of several Godwits on the cluster [default: godwit].
        #[arg(long, value_name = "NAME")]
        prefix: Option<String>,
    },
}

/// The key of a backup.
#[derive(Debug, Args)]
pub(crate) struct KeyFile {
    /// A file with 64 hexadecimal digits that nobody else may read, which encrypt the backup; `openssl rand -hex 32` makes
    /// them. Without it the backup is in the clear. Keep it elsewhere: without it the backup is lost.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl KeyFile {
    fn read(&self) -> anyhow::Result<Option<Key>> {
        Ok(self.key_file.as_deref().map(Key::read).transpose()?)
    }
}

impl Stores {
    pub(crate) fn run(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let result = runtime.context("cannot start tokio").and_then(|runtime| runtime.block_on(self.done()));
        crate::finish(result)
    }

    async fn done(self) -> anyhow::Result<()> {
        match self {
            Stores::Copy { from, to, from_prefix, to_prefix } => {
                copy((&from, from_prefix), (&to, to_prefix)).await
            }
            Stores::Backup { from, to, prefix, key, no_verify } => {
                let config = BackupConfig { key: key.read()?, verify: !no_verify, ..BackupConfig::default() };
                backup(&from, prefix, &to, &config).await
            }
            Stores::Verify { from, key } => verify(&from, &key).await,
            Stores::Restore { from, to, prefix, key } => restore(&from, &key, &to, prefix).await,
            Stores::Reopen { store, prefix } => reopen(&store, prefix).await,
        }
    }
}

async fn copy(
    (from, from_prefix): (&Location, Option<String>),
    (to, to_prefix): (&Location, Option<String>),
) -> anyhow::Result<()> {
    if (from, &from_prefix) == (to, &to_prefix) {
        bail!("{from} cannot be copied to itself");
    }
    let (clock, shown) = (TokioClock::default(), Shown::default());
    let source = open(from, from_prefix, clock, true).map_err(|error| match locked(&error) {
        Some(_) => {
            error.context(format!("{from} can be copied only while no node has it open: stop its node first"))
        }
        None => error,
    })?;
    let target = open(to, to_prefix, clock, false)?;
    let copied = store_backup::copy(source, target, clock, &|progress| shown.show(progress)).await;
    shown.end();
    let compared = copied.with_context(|| format!("{from} was not copied to {to}"))?;
    let mut out = io::stdout().lock();
    writeln!(out, "copied and compared: {}", counts(&compared.target))?;
    digests(&mut out, &compared)?;
    writeln!(out, "{to} is complete; {from} stays closed for writing (`godwit reopen` undoes that)")?;
    Ok(())
}

async fn backup(
    from: &Location,
    prefix: Option<String>,
    to: &str,
    config: &BackupConfig,
) -> anyhow::Result<()> {
    let (clock, shown) = (TokioClock::default(), Shown::default());
    let source = source(from, prefix, clock)?;
    let place = Place::parse(to, variables(), true)?;
    let report = |progress| shown.show(progress);
    let written = match source {
        Source::Own(backend) => store_backup::backup(backend, clock, &place, config, &report).await,
        #[cfg(unix)]
        Source::Others(remote) => store_backup::backup(remote, clock, &place, config, &report).await,
    };
    shown.end();
    let manifest = written.with_context(|| format!("{from} was not backed up to {to}"))?;
    let mut out = io::stdout().lock();
    said(&mut out, if config.verify { "backed up and read back" } else { "backed up" }, &manifest)?;
    if config.key.is_none() {
        writeln!(out, "it is not encrypted: --key-file encrypts")?;
    }
    Ok(())
}

/// A store that is only read.
enum Source {
    /// This process has it open, perhaps with others.
    Own(AnyBackend),
    /// Another one has, and lets it be read.
    #[cfg(unix)]
    Others(store::reads::Remote),
}

/// Opens a store to read it, or asks the process that has it open.
fn source(from: &Location, prefix: Option<String>, clock: TokioClock) -> anyhow::Result<Source> {
    let error = match open(from, prefix, clock, true) {
        Ok(backend) => return Ok(Source::Own(backend)),
        Err(error) => error,
    };
    match locked(&error) {
        #[cfg(unix)]
        Some(path) => match store::reads::Remote::connect(path, clock) {
            Ok(remote) => Ok(Source::Others(remote)),
            Err(why) => {
                Err(anyhow::Error::from(why).context(format!("{error}, which does not let it be read")))
            }
        },
        _ => Err(error),
    }
}

/// Where the store is, if it was not opened because another process has it.
fn locked(error: &anyhow::Error) -> Option<&Path> {
    match error.downcast_ref() {
        Some(AnyOpenError::Embedded(EmbeddedError::Locked { path, .. })) => Some(path),
        _ => None,
    }
}

async fn verify(from: &str, key: &KeyFile) -> anyhow::Result<()> {
    let (key, shown) = (key.read()?, Shown::default());
    let place = Place::parse(from, variables(), false)?;
    let read = store_backup::verify(&place, key.as_ref(), &|progress| shown.show(progress)).await;
    shown.end();
    said(&mut io::stdout().lock(), "whole", &read?)
}

async fn restore(from: &str, key: &KeyFile, to: &Location, prefix: Option<String>) -> anyhow::Result<()> {
    let (clock, shown) = (TokioClock::default(), Shown::default());
    let key = key.read()?;
    let place = Place::parse(from, variables(), false)?;
    // A wrong place or key leaves nothing behind, not even an empty store.
    let manifest = store_backup::describe(&place, key.as_ref()).await?;
    let target = open(to, prefix, clock, false)?;
    let report = |progress| shown.show(progress);
    let restored = store_backup::restore(&place, key.as_ref(), target, clock, &report).await;
    shown.end();
    let compared = restored.with_context(|| format!("{from} was not restored to {to}"))?;
    let mut out = io::stdout().lock();
    writeln!(out, "restored and compared: {}", counts(&compared.target))?;
    digests(&mut out, &compared)?;
    let left_out = manifest.kinds().keys() - compared.source.keys();
    if left_out > 0 {
        writeln!(
            out,
            "left out: {left_out} keys that came while the backup was made and point beyond its logs"
        )?;
    }
    writeln!(out, "{to} is complete")?;
    Ok(())
}

async fn reopen(store: &Location, prefix: Option<String>) -> anyhow::Result<()> {
    let clock = TokioClock::default();
    let found = store_backup::reopen(open(store, prefix, clock, true)?, clock).await?;
    let mut out = io::stdout().lock();
    match found {
        Some(closed) => {
            writeln!(out, "{store} is open for writing again; it was closed because {}", closed.why)?
        }
        None => writeln!(out, "{store} was not closed")?,
    }
    Ok(())
}

/// Opens a store that must be there, or may be made.
fn open(
    location: &Location,
    prefix: Option<String>,
    clock: TokioClock,
    must_exist: bool,
) -> anyhow::Result<AnyBackend> {
    if let Location::Embedded(path) = location
        && must_exist
        && !path.join("data").try_exists().with_context(|| format!("cannot look at {}", path.display()))?
    {
        bail!("there is no store at {}", path.display());
    }
    let config = AnyConfig { prefix, even_if_closed: true, ..AnyConfig::default() };
    Ok(AnyBackend::open(location, &config, clock)?)
}

/// The environment, as far as it is text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn said(out: &mut impl Write, what: &str, manifest: &Manifest) -> anyhow::Result<()> {
    let (kinds, bytes) = (manifest.kinds(), manifest.bytes());
    writeln!(out, "{what}: {}", counts(&kinds))?;
    writeln!(out, "{} objects, {}, digest {}", manifest.objects(), size(bytes), kinds.total())?;
    Ok(())
}

fn digests(out: &mut impl Write, compared: &store_backup::Compared) -> anyhow::Result<()> {
    writeln!(out, "digest of the source {}", compared.source.total())?;
    writeln!(out, "digest of the target {}", compared.target.total())?;
    Ok(())
}

/// How many keys of each kind.
fn counts(kinds: &Digests) -> String {
    let each: Vec<_> = kinds.0.iter().map(|(name, kind)| format!("{} {name}", kind.count)).collect();
    format!("{} keys ({})", kinds.keys(), each.join(", "))
}

fn size(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Progress on standard error: a line that changes for a person, a line now and then for a log.
#[derive(Default)]
struct Shown {
    clock: TokioClock,
    last: Mutex<Duration>,
}

impl Shown {
    fn show(&self, Progress { doing, keys, bytes }: Progress) {
        let person = io::stderr().is_terminal();
        let every = Duration::from_secs(if person { 1 } else { 10 });
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if now.saturating_sub(*last) < every {
            return;
        }
        *last = now;
        let (begin, end) = if person { ("\r\x1b[K", "") } else { ("", "\n") };
        // Whoever reads it may be gone; that is no reason to stop.
        let _ = write!(io::stderr(), "{begin}{doing}: {keys} keys, {}{end}", size(bytes));
    }

    /// Leaves a clean line.
    fn end(&self) {
        if io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
