//! A cluster: its servers, its file, and what tests do to it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::disk::OnDisk;
use crate::error::{ClusterError, io};
use crate::process::Process;
use crate::programs::Programs;
use crate::status::Status;
use crate::{cli, port};

/// How long a cluster has to come up, with room for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long `fdbcli` tries for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long it tries to say how a cluster is: of one that nobody answers for it says so itself after some seconds.
const STATUS: Duration = Duration::from_secs(30);

/// How long between two looks at a cluster that is waited for.
const LOOK: Duration = Duration::from_millis(200);

/// Clusters that are made until it is given up: a port may be taken by somebody else between being found and being used.
const TRIES: usize = 3;

/// How many servers, and how many copies they keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One server, one copy (`single ssd`).
    One,
    /// Three servers, each a machine and a zone of its own and a coordinator; two copies (`double ssd`). One may be lost.
    Three,
}

impl Shape {
    /// How many servers.
    pub fn processes(self) -> usize {
        match self {
            Shape::One => 1,
            Shape::Three => 3,
        }
    }

    fn configuration(self) -> &'static str {
        match self {
            Shape::One => "single ssd",
            Shape::Three => "double ssd",
        }
    }
}

/// A cluster that runs. When it goes out of scope its servers are killed and its files removed.
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    // Before the folder that they write to, so that they are dead when it goes.
    processes: Vec<Process>,
    cluster_file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// Finds FoundationDB's programs and starts a new cluster; it is configured and has recovered when this returns.
    ///
    /// # Errors
    /// [`ClusterError`]; after [`PATIENCE`] at the latest for each of three tries.
    pub fn start(shape: Shape) -> Result<Cluster, ClusterError> {
        Cluster::start_with(Programs::find()?, shape)
    }

    /// The same, with programs that were found before.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with(programs: Programs, shape: Shape) -> Result<Cluster, ClusterError> {
        for _ in 1..TRIES {
            match Cluster::try_start(programs.clone(), shape) {
                Err(ClusterError::Ended { .. }) => {}
                other => return other,
            }
        }
        Cluster::try_start(programs, shape)
    }

    fn try_start(programs: Programs, shape: Shape) -> Result<Cluster, ClusterError> {
        let dir = tempfile::Builder::new().prefix("godwit-fdb-").tempdir();
        let dir = dir.map_err(io("there is no folder for a cluster"))?;
        let addresses = port::free(shape.processes()).map_err(io("there are no ports for a cluster"))?;
        let cluster_file = dir.path().join("fdb.cluster");
        let coordinators: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let line =
            format!("test{:08x}:{:016x}@{}\n", port::random() as u32, port::random(), coordinators.join(","));
        std::fs::write(&cluster_file, line).map_err(io("a cluster file cannot be written"))?;
        let place = |(number, address)| Process::new(number, address, dir.path().join(number.to_string()));
        let processes = addresses.into_iter().enumerate().map(place).collect();
        let mut cluster = Cluster { programs, processes, cluster_file, _dir: dir };
        for number in 0..cluster.process_count() {
            cluster.start_again(number)?;
        }
        let started = Instant::now();
        cluster.configure(shape)?;
        cluster.wait_recovered(PATIENCE.saturating_sub(started.elapsed()))?;
        Ok(cluster)
    }

    /// Makes the database. A try of which it is not known how it went is seen by the next.
    fn configure(&mut self, shape: Shape) -> Result<(), ClusterError> {
        let command = format!("configure new {}", shape.configuration());
        self.wait("configured", PATIENCE, |cluster| {
            let (said, is_well) = cli::try_run(&cluster.programs, &cluster.cluster_file, &command, ANSWER)?;
            if is_well || said.contains("already exists") { Ok(Ok(())) } else { Ok(Err(said)) }
        })
    }

    /// Its cluster file, for clients.
    pub fn cluster_file(&self) -> &Path {
        &self.cluster_file
    }

    /// How many servers it has, running or not.
    pub fn process_count(&self) -> usize {
        self.processes.len()
    }

    /// The programs that it is made of.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The process id of a server, if it runs.
    pub fn pid(&self, number: usize) -> Option<u32> {
        self.processes.get(number)?.pid()
    }

    /// The process ids of all servers that run.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().filter_map(Process::pid).collect()
    }

    /// What its servers take up on disk now.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn on_disk(&self) -> Result<OnDisk, ClusterError> {
        let mut found = OnDisk::default();
        let mut folders = self.processes.iter().map(Process::data);
        folders.try_for_each(|data| found.add(&data)).map_err(io("a server's data folder cannot be read"))?;
        Ok(found)
    }

    /// SIGKILL, also of one that is paused; it is dead when this returns.
    ///
    /// # Errors
    /// [`ClusterError::NoProcess`], or [`ClusterError::WrongState`] if it does not run.
    pub fn kill(&mut self, number: usize) -> Result<(), ClusterError> {
        self.process(number)?.kill()
    }

    /// Starts a server that was killed, on its data and its address; it is not waited for.
    ///
    /// # Errors
    /// [`ClusterError::NoProcess`], [`ClusterError::WrongState`] if it runs, or [`ClusterError::Io`].
    pub fn start_again(&mut self, number: usize) -> Result<(), ClusterError> {
        let process = self.processes.get_mut(number).ok_or(ClusterError::NoProcess(number))?;
        process.start(&self.programs, &self.cluster_file)
    }

    /// SIGSTOP: its connections stay, and nobody answers on them.
    ///
    /// # Errors
    /// [`ClusterError::NoProcess`], or [`ClusterError::WrongState`] if it does not run.
    pub fn pause(&mut self, number: usize) -> Result<(), ClusterError> {
        self.process(number)?.pause()
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// As [`Cluster::pause`].
    pub fn resume(&mut self, number: usize) -> Result<(), ClusterError> {
        self.process(number)?.resume()
    }

    /// SIGSTOP to every server that runs: the cluster is there, and answers nobody.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn pause_all(&mut self) -> Result<(), ClusterError> {
        self.processes.iter_mut().filter(|process| process.is_running()).try_for_each(Process::pause)
    }

    /// SIGCONT to every server that is paused.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn resume_all(&mut self) -> Result<(), ClusterError> {
        self.processes.iter_mut().filter(|process| process.is_paused()).try_for_each(Process::resume)
    }

    fn process(&mut self, number: usize) -> Result<&mut Process, ClusterError> {
        self.processes.get_mut(number).ok_or(ClusterError::NoProcess(number))
    }

    /// Runs one command of `fdbcli`, which gives up after ten seconds, and returns what it printed.
    ///
    /// # Errors
    /// [`ClusterError::Cli`] with what it printed, if it ended with a failure or did not end.
    pub fn cli(&self, command: &str) -> Result<String, ClusterError> {
        cli::run(&self.programs, &self.cluster_file, command, ANSWER)
    }

    /// What the cluster says of itself, also if it is not available.
    ///
    /// # Errors
    /// [`ClusterError::Cli`] if nothing was said.
    pub fn status(&self) -> Result<Status, ClusterError> {
        let command = "status json";
        let (said, _) = cli::try_run(&self.programs, &self.cluster_file, command, STATUS)?;
        Status::parse(&said).ok_or_else(|| ClusterError::Cli { command: command.into(), said })
    }

    /// What a server does, sorted: `storage`, `log`, `coordinator`, `master`, … Empty if it is not in the cluster now.
    ///
    /// # Errors
    /// As [`Cluster::status`].
    pub fn roles(&self, number: usize) -> Result<Vec<String>, ClusterError> {
        let process = self.processes.get(number).ok_or(ClusterError::NoProcess(number))?;
        Ok(self.status()?.roles(process.address()))
    }

    /// The servers that do this, in their order.
    ///
    /// # Errors
    /// As [`Cluster::status`].
    pub fn with_role(&self, role: &str) -> Result<Vec<usize>, ClusterError> {
        let status = self.status()?;
        let does = |process: &Process| status.roles(process.address()).iter().any(|does| does == role);
        Ok((0..self.process_count()).filter(|&number| does(&self.processes[number])).collect())
    }

    /// Waits until it commits again, whatever it has lost.
    ///
    /// # Errors
    /// [`ClusterError::Late`], or [`ClusterError::Ended`] if a server that runs has ended by itself.
    pub fn wait_available(&mut self, timeout: Duration) -> Result<(), ClusterError> {
        self.wait_status("available", timeout, |_, status| status.is_available())
    }

    /// Waits until it has recovered wholly and every server that runs has joined. How many copies there are of everything is
    /// known only some seconds later ([`Cluster::wait_healthy`]).
    ///
    /// # Errors
    /// As [`Cluster::wait_healthy`].
    pub fn wait_recovered(&mut self, timeout: Duration) -> Result<(), ClusterError> {
        self.wait_status("recovered", timeout, |cluster, status| {
            let mut running = cluster.processes.iter().filter(|process| process.is_running());
            status.has_recovered() && running.all(|process| status.has(process.address()))
        })
    }

    /// Waits until it is healthy ([`Status::is_healthy`]) and every server that runs has joined.
    ///
    /// # Errors
    /// [`ClusterError::Late`], or [`ClusterError::Ended`] if a server that runs has ended by itself.
    pub fn wait_healthy(&mut self, timeout: Duration) -> Result<(), ClusterError> {
        self.wait_status("healthy", timeout, |cluster, status| {
            let mut running = cluster.processes.iter().filter(|process| process.is_running());
            status.is_healthy() && running.all(|process| status.has(process.address()))
        })
    }

    fn wait_status(
        &mut self,
        wanted: &'static str,
        timeout: Duration,
        is_it: impl Fn(&Cluster, &Status) -> bool,
    ) -> Result<(), ClusterError> {
        self.wait(wanted, timeout, |cluster| match cluster.status() {
            Ok(status) if is_it(cluster, &status) => Ok(Ok(())),
            Ok(status) => Ok(Err(status.summary())),
            // It says nothing as long as nobody is there to ask.
            Err(ClusterError::Cli { said, .. }) => Ok(Err(said)),
            Err(other) => Err(other),
        })
    }

    /// Looks until it is as wanted; what was found instead becomes part of the error.
    fn wait(
        &mut self,
        wanted: &'static str,
        timeout: Duration,
        look: impl Fn(&Cluster) -> Result<Result<(), String>, ClusterError>,
    ) -> Result<(), ClusterError> {
        let started = Instant::now();
        loop {
            self.processes.iter_mut().try_for_each(Process::check)?;
            let found = match look(self)? {
                Ok(()) => return Ok(()),
                Err(found) => found,
            };
            let waited = started.elapsed();
            if waited > timeout {
                return Err(ClusterError::Late { wanted, waited, found, log: self.log_end() });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// How the logs of all servers end, for whoever reads of a failure.
    pub fn log_end(&self) -> String {
        let ends =
            self.processes.iter().map(|process| format!("[{}] {}", process.address(), process.log_end()));
        ends.collect::<Vec<_>>().join(" | ")
    }
}
