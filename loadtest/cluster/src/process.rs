//! One `fdbserver`.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{ClusterError, io};
use crate::keeper;
use crate::programs::Programs;

/// What one server may hold in memory; it ends itself over that. It is a bound and not a need: a fresh one holds some 100 MB, and
/// a benchmark under full load stays well below.
const MEMORY: &str = "2GiB";

/// How much of that caches pages.
const CACHE: &str = "64MiB";

/// Lines of its log that errors carry.
const TAIL_LINES: usize = 5;

/// The longest of them, characters.
const LINE_CHARS: usize = 300;

/// A server: its place, which stays, and its process, which comes and goes.
#[derive(Debug)]
pub(crate) struct Process {
    number: usize,
    address: SocketAddr,
    folder: PathBuf,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    is_paused: bool,
}

impl Process {
    /// A place for a server, with no process yet.
    pub(crate) fn new(number: usize, address: SocketAddr, folder: PathBuf) -> Process {
        Process { number, address, folder, running: None }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// Starts the process; it is not waited for.
    pub(crate) fn start(&mut self, programs: &Programs, cluster_file: &Path) -> Result<(), ClusterError> {
        if self.is_running() {
            return Err(self.wrong("runs already"));
        }
        let (data, log) = (self.data(), self.folder.join("log"));
        for folder in [&data, &log] {
            fs::create_dir_all(folder).map_err(io("a server's folder cannot be made"))?;
        }
        let said = OpenOptions::new().create(true).append(true).open(self.said());
        let said = said.map_err(io("a server's log cannot be opened"))?;
        let said_too = said.try_clone().map_err(io("a server's log cannot be opened"))?;
        let mut command = Command::new(&programs.fdbserver);
        command.arg("--cluster-file").arg(cluster_file).arg("--datadir").arg(data).arg("--logdir").arg(log);
        command.arg("--public-address").arg(self.address.to_string());
        command.arg("--listen-address").arg(self.address.to_string());
        // Each stands for a machine of its own, so that two copies of a key are never in one process.
        let (zone, machine) = (format!("zone{}", self.number), format!("machine{}", self.number));
        command.arg("--locality-zoneid").arg(zone).arg("--locality-machineid").arg(machine);
        command.args(["--memory", MEMORY, "--cache-memory", CACHE, "--trace-format", "json"]);
        // In earnest it waits half a minute for others to come back before it looks how many copies there are.
        command.arg("--knob_initial_failure_reaction_delay=2");
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(said).stderr(said_too);
        let child = keeper::spawn(command).map_err(io("a server cannot be started"))?;
        self.running = Some(Running { child, is_paused: false });
        Ok(())
    }

    /// SIGKILL, and waits until it is dead.
    pub(crate) fn kill(&mut self) -> Result<(), ClusterError> {
        let mut running = self.running.take().ok_or_else(|| self.wrong("does not run"))?;
        // It may have ended by itself.
        let _ = running.child.kill();
        running.child.wait().map_err(io("a server cannot be waited for"))?;
        Ok(())
    }

    /// SIGSTOP: its connections stay and nobody answers on them. Twice does no harm.
    pub(crate) fn pause(&mut self) -> Result<(), ClusterError> {
        self.signal(Signal::STOP, true)
    }

    /// SIGCONT.
    pub(crate) fn resume(&mut self) -> Result<(), ClusterError> {
        self.signal(Signal::CONT, false)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.is_paused)
    }

    fn signal(&mut self, signal: Signal, is_paused: bool) -> Result<(), ClusterError> {
        let wrong = self.wrong("does not run");
        let running = self.running.as_mut().ok_or(wrong)?;
        // Not waited for, so the number is still its own.
        let sent = kill_process(Pid::from_child(&running.child), signal);
        sent.map_err(|errno| io("a server cannot be signalled")(errno.into()))?;
        running.is_paused = is_paused;
        Ok(())
    }

    /// Looks whether it has ended by itself.
    ///
    /// # Errors
    /// [`ClusterError::Ended`].
    pub(crate) fn check(&mut self) -> Result<(), ClusterError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        match running.child.try_wait().map_err(io("a server cannot be waited for"))? {
            None => Ok(()),
            Some(status) => {
                self.running = None;
                Err(self.ended(status))
            }
        }
    }

    fn ended(&self, status: ExitStatus) -> ClusterError {
        ClusterError::Ended { process: self.number, status: status.to_string(), log: self.log_end() }
    }

    fn wrong(&self, state: &'static str) -> ClusterError {
        ClusterError::WrongState { process: self.number, state }
    }

    /// Where its data is.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What it printed.
    fn said(&self) -> PathBuf {
        self.folder.join("said.log")
    }

    /// The last lines of what it printed, and the last warnings and errors of its newest trace.
    pub(crate) fn log_end(&self) -> String {
        let said = read(&self.said());
        let trace = newest(&self.folder.join("log")).map(|file| read(&file)).unwrap_or_default();
        let is_bad = |line: &&str| {
            ["20", "30", "40"].iter().any(|bad| line.contains(&format!("\"Severity\": \"{bad}\"")))
        };
        let mut lines = last(said.lines());
        lines.extend(last(trace.lines().filter(is_bad)));
        lines.join(" / ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // There may be none.
        let _ = self.kill();
    }
}

fn last<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lines: Vec<&str> = lines.collect();
    let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    tail.iter().map(|line| line.chars().take(LINE_CHARS).collect()).collect()
}

fn read(file: &Path) -> String {
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The newest file of a folder, by name: traces are named by address, time and number.
fn newest(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    files.map(|file| file.path()).max_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok())
}
