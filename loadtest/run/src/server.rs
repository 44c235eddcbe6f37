//! The node under load: the real binary in a process of its own, so that what it costs can be read from the system.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use loadtest_cluster::{StoreOfNode, store_of_node};

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The system refused something.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The process ended, or said something else than that it is ready.
    #[error("the node did not start; its log ends: {log}")]
    NotReady {
        /// The end of its log.
        log: String,
    },
    /// The system has no figures of the process: it is gone.
    #[error("the node is gone; its log ends: {log}")]
    Gone {
        /// The end of its log.
        log: String,
    },
}

fn io(what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |source| ServerError::Io { what, source }
}

/// How a node is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `godwit` binary.
    pub godwit: PathBuf,
    /// Where its data, its configuration and its log go.
    pub dir: PathBuf,
    /// The address its clients come to; the port is chosen.
    pub ip: IpAddr,
    /// Settings beyond those that put rates out of a load test's way, as lines of TOML with dotted keys.
    pub settings: Vec<String>,
    /// Environment of the process.
    pub env: Vec<(OsString, OsString)>,
}

impl Options {
    /// A node on loopback.
    pub fn new(godwit: &Path, dir: &Path) -> Options {
        Options {
            godwit: godwit.to_owned(),
            dir: dir.to_owned(),
            ip: Ipv4Addr::LOCALHOST.into(),
            settings: Vec::new(),
            env: Vec::new(),
        }
    }
}

/// A node's process and place; its store is the one that [`store_of_node`] says. The process is killed when it goes out of scope.
#[derive(Debug)]
pub struct Server {
    options: Options,
    address: SocketAddr,
    admin: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts a node and waits until clients may come. `prepare` may change how the process is started, to put it into
    /// a network namespace for instance. Ports are chosen by the calling thread, which must be in that namespace too.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn start(
        options: Options,
        prepare: impl FnOnce(&mut Command) -> io::Result<()>,
    ) -> Result<Server, ServerError> {
        std::fs::create_dir_all(&options.dir).map_err(io("the node's folder cannot be made"))?;
        let address = UdpSocket::bind((options.ip, 0)).and_then(|socket| socket.local_addr());
        let address = address.map_err(io("there is no port for the node"))?;
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        let admin = admin.map_err(io("there is no port for the node's figures"))?;
        let child = launch(&options, address, admin, prepare)?;
        Ok(Server { options, address, admin, child })
    }

    /// Kills the process, as a loss of power would, and starts another on the same data and addresses.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn restart(
        &mut self,
        prepare: impl FnOnce(&mut Command) -> io::Result<()>,
    ) -> Result<(), ServerError> {
        self.kill();
        self.child = launch(&self.options, self.address, self.admin, prepare)?;
        Ok(())
    }

    /// Where its clients come to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients must trust.
    pub fn ca(&self) -> PathBuf {
        self.data().join("certs/ca.pem")
    }

    /// Where its text messages go.
    pub fn sms(&self) -> PathBuf {
        self.data().join("sms.jsonl")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        log(&self.options.dir)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time that the process has used, user and kernel, in steps of 10 ms.
    ///
    /// # Errors
    /// [`ServerError::Gone`].
    pub fn cpu(&self) -> Result<Duration, ServerError> {
        // The name, which may hold spaces, ends with the last parenthesis; the state is field 3 of proc_pid_stat(5).
        let stat = self.proc("stat")?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
        let (user, system) = ticks(14).zip(ticks(15)).ok_or_else(|| self.gone())?;
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Duration::from_secs_f64((user + system) as f64 / per_second as f64))
    }

    /// Its resident memory, bytes.
    ///
    /// # Errors
    /// [`ServerError::Gone`].
    pub fn resident_bytes(&self) -> Result<u64, ServerError> {
        let statm = self.proc("statm")?;
        let pages = statm.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok());
        Ok(pages.ok_or_else(|| self.gone())? * rustix::param::page_size() as u64)
    }

    /// Its figures, as `GET /metrics` says them.
    ///
    /// # Errors
    /// The listener does not answer.
    pub fn metrics(&self) -> Result<Metrics, ServerError> {
        Metrics::of(self.admin).map_err(io("the node's figures cannot be read"))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // It may have ended by itself, which is what its log is for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn data(&self) -> PathBuf {
        self.options.dir.join("data")
    }

    fn proc(&self, file: &str) -> Result<String, ServerError> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).map_err(|_| self.gone())
    }

    fn gone(&self) -> ServerError {
        ServerError::Gone { log: log_end(&self.options.dir) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One scrape.
#[derive(Debug, Clone)]
pub struct Metrics(String);

impl Metrics {
    /// Those of a node with this admin listener.
    ///
    /// # Errors
    /// It does not answer.
    pub fn of(admin: SocketAddr) -> io::Result<Metrics> {
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(Metrics(text))
    }

    /// The sum of all series of a metric; 0 if there is none.
    pub fn sum(&self, name: &str) -> f64 {
        let of = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let found = series == name || series.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
            found.then(|| value.parse::<f64>().ok()).flatten()
        };
        self.0.lines().filter_map(of).sum()
    }
}

fn log(dir: &Path) -> PathBuf {
    dir.join("node.log")
}

/// The last lines of the log, for errors.
fn log_end(dir: &Path) -> String {
    let text = std::fs::read_to_string(log(dir)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" / ")
}

fn launch(
    options: &Options,
    address: SocketAddr,
    admin: SocketAddr,
    prepare: impl FnOnce(&mut Command) -> io::Result<()>,
) -> Result<Child, ServerError> {
    let config = options.dir.join("godwit.toml");
    std::fs::write(&config, settings(options, address, admin))
        .map_err(io("the node's configuration cannot be written"))?;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log(&options.dir));
    let log = log.map_err(io("the node's log cannot be opened"))?;
    let mut command = Command::new(&options.godwit);
    command.arg("serve").arg("--config").arg(&config);
    command.envs(store_of_node(&options.dir.join("data")).iter().flat_map(StoreOfNode::env));
    command.envs(options.env.iter().cloned());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    prepare(&mut command).map_err(io("the node's process cannot be prepared"))?;
    let mut child = command.spawn().map_err(io("the node's binary cannot be run"))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(io("the node says nothing"))?;
    }
    if line.starts_with("ready") {
        return Ok(child);
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(ServerError::NotReady { log: log_end(&options.dir) })
}

/// The configuration: rates and counts are out of a load's way, and every limiter stays in the path.
fn settings(options: &Options, address: SocketAddr, admin: SocketAddr) -> String {
    const MANY: u32 = 100_000_000;
    let mut text = format!(
        "listen = '{address}'\nadmin = '{admin}'\ndata = '{}'\nnames = ['localhost', '{}']\n",
        options.dir.join("data").display(),
        options.ip
    );
    for rate in [
        "messages_per_minute",
        "requests_per_minute",
        "lookups_per_hour",
        "commits_per_minute",
        "groups_per_day",
        "claims_per_hour",
        "claims_of_one_per_hour",
        "anonymous_per_minute",
        "early_per_minute",
        "otp_per_hour",
        "registrations_per_hour",
    ] {
        // Writing to a string does not fail.
        let _ = writeln!(text, "limits.rates.{rate} = {MANY}");
    }
    for count in ["per_address_per_minute", "per_address_burst", "per_address_max"] {
        let _ = writeln!(text, "handshakes.{count} = {MANY}");
    }
    options.settings.iter().for_each(|line| {
        let _ = writeln!(text, "{line}");
    });
    text
}
