//! Child processes that never outlive the demo, and the JSON lines they print.
//!
//! Invariant: a process is stopped by the id we were given when we started it, never by its name, and is stopped when
//! its [`Process`] goes, however the demo ends. If the demo itself is killed, `setpriv` (util-linux, where it is) has
//! asked the kernel to take the children along.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// Lines of one child that wait to be read; a child that prints more waits, as at any pipe.
const LINES_WAITING_MAX: usize = 4096;

/// One running child.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; what it logs is appended to `log`, what it prints is read by us.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn start(name: &str, program: &Path, arguments: &[String], log: &Path) -> Result<Process> {
        let to_log = OpenOptions::new().create(true).append(true).open(log);
        let to_log = to_log.with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = tied(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(to_log);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let (sender, lines) = sync_channel(LINES_WAITING_MAX);
        let stdout = child.stdout.take().expect("stdout was asked for above");
        std::thread::spawn(move || pump(BufReader::new(stdout), &sender));
        let stdin = child.stdin.take();
        Ok(Process { name: name.to_owned(), child, lines, stdin, log: log.to_owned() })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives it a line to read.
    ///
    /// # Errors
    /// If it no longer reads.
    pub(crate) fn type_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().ok_or_else(|| anyhow!("{} reads no more", self.name))?;
        writeln!(stdin, "{line}").with_context(|| format!("{} does not read what is typed", self.name))
    }

    /// Says that nothing more will be typed.
    pub(crate) fn end_typing(&mut self) {
        self.stdin = None;
    }

    /// The next JSON line, or nothing when `deadline` comes first.
    ///
    /// # Errors
    /// If the process ended, or printed something else.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Option<Value>> {
        let line = match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => return Err(self.gone()),
        };
        self.parse(&line).map(Some)
    }

    /// A line that it printed before it was stopped, while there are any.
    ///
    /// # Errors
    /// If the line is no JSON.
    pub(crate) fn left_over(&mut self) -> Result<Option<Value>> {
        // The pipe ends with the process, so this waits only for the thread that reads it.
        self.lines.recv().ok().map(|line| self.parse(&line)).transpose()
    }

    fn parse(&self, line: &str) -> Result<Value> {
        serde_json::from_str(line).with_context(|| format!("{} printed no JSON: {line}", self.name))
    }

    /// The error that it is no longer there, with what it said last.
    pub(crate) fn gone(&mut self) -> anyhow::Error {
        match self.child.wait() {
            Ok(status) => anyhow!("{} ended by itself ({status}); {}", self.name, self.last_words()),
            Err(error) => anyhow!("{} is lost: {error}", self.name),
        }
    }

    /// Waits for it to end by itself with success.
    ///
    /// # Errors
    /// If it fails, or runs past `limit`.
    pub(crate) fn finish(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                if status.success() {
                    return Ok(());
                }
                bail!("{} failed ({status}); {}", self.name, self.last_words());
            }
            if Instant::now() > deadline {
                bail!("{} did not end within {limit:?}; {}", self.name, self.last_words());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// If the system does not say.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask about {}", self.name))
    }

    /// Ends it as a power cut would: SIGKILL.
    ///
    /// # Errors
    /// If it had ended before.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait().with_context(|| format!("{} is lost", self.name))?;
        Ok(())
    }

    /// Asks it to end (SIGTERM), and kills it if it does not within three seconds.
    ///
    /// # Errors
    /// If the system refuses both.
    pub(crate) fn stop(&mut self) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        // The shell's own kill: a bare system has no other program for it.
        let ask = format!("kill -TERM {}", self.child.id());
        let _ = Command::new("sh").args(["-c", &ask]).status();
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline {
            if self.ended()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill()
    }

    /// What to look at when it misbehaves.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        format!("its log {} ends with:\n{}", self.log.display(), last.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command whose process ends when we do, where the system offers that. It must be started from the main thread: the
/// kernel watches the thread that forked.
fn tied(program: &Path) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let available = SETPRIV.get_or_init(|| {
        let mut probe = Command::new("setpriv");
        probe.args(["--pdeathsig", "KILL", "true"]).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    });
    if !available {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

fn pump(reader: impl BufRead, sender: &SyncSender<String>) {
    for line in reader.lines() {
        let Ok(line) = line else { return };
        if sender.send(line).is_err() {
            return;
        }
    }
}
