//! The demo's edge node: built, started, killed, started again.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::process::Process;
use crate::step::Failed;
use crate::workspace;

/// How long a node may take from its start to its first "healthy": it opens a store, repairs nothing.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// Builds `godwit` with the profile that tests use, so that the two share what they build; cargo shows its progress.
///
/// # Errors
/// What cargo said, or that it built no such program.
pub(crate) fn build() -> Result<PathBuf> {
    let mut cargo = workspace::cargo(&["build", "--package", "godwit", "--bin", "godwit"]);
    cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let built = cargo.output_with_progress()?;
    for line in built.lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        if message["target"]["name"] == "godwit" && message["executable"].is_string() {
            return Ok(PathBuf::from(message["executable"].as_str().unwrap_or_default()));
        }
    }
    bail!("cargo built no program called godwit")
}

/// Lets a command's errors through to the terminal and returns what it printed.
trait OutputWithProgress {
    fn output_with_progress(&mut self) -> Result<String>;
}

impl OutputWithProgress for std::process::Command {
    fn output_with_progress(&mut self) -> Result<String> {
        let output = self.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
        if !output.status.success() {
            let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            return Err(Failed { command: "cargo build --package godwit".to_owned(), code }.into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Where a node listens and keeps its things.
pub(crate) struct Node {
    program: PathBuf,
    /// Where clients connect.
    pub(crate) listen: SocketAddr,
    admin: SocketAddr,
    folder: PathBuf,
    process: Option<Process>,
}

impl Node {
    /// A node that will listen on free loopback ports, its folder under `folder`.
    ///
    /// # Errors
    /// If there are no free ports or the folder cannot be made.
    pub(crate) fn new(program: &Path, folder: &Path) -> Result<Node> {
        let udp = UdpSocket::bind("127.0.0.1:0").context("no free UDP port")?;
        let tcp = TcpListener::bind("127.0.0.1:0").context("no free TCP port")?;
        let listen = udp.local_addr().context("no free UDP port")?;
        let admin = tcp.local_addr().context("no free TCP port")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Node { program: program.to_owned(), listen, admin, folder: folder.to_owned(), process: None })
    }

    /// The certificate that its clients trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.data().join("certs").join("ca.pem")
    }

    /// The command line that starts it, without the program.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        vec![
            "serve".to_owned(),
            "--config".to_owned(),
            text(self.config()),
            "--data".to_owned(),
            text(self.data()),
            "--listen".to_owned(),
            self.listen.to_string(),
            "--admin".to_owned(),
            self.admin.to_string(),
            "--sms".to_owned(),
            format!("file:{}", text(self.sms())),
        ]
    }

    /// Starts it and waits until it says that it is healthy; returns how long that took.
    ///
    /// # Errors
    /// If it ends or stays unhealthy.
    pub(crate) fn start(&mut self) -> Result<Duration> {
        let log = self.folder.join("node.log");
        let started = Instant::now();
        let mut process = Process::start("the node", &self.program, &self.arguments(), &log)?;
        while !self.is_healthy() {
            if process.ended()?.is_some() {
                return Err(process.gone());
            }
            if started.elapsed() > READY_LIMIT {
                bail!("the node is not healthy after {READY_LIMIT:?}; its log is {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.process = Some(process);
        Ok(started.elapsed())
    }

    /// Ends it as a power cut would; returns the id it had.
    ///
    /// # Errors
    /// If it was not running.
    pub(crate) fn kill(&mut self) -> Result<u32> {
        let mut process = self.process.take().ok_or_else(|| anyhow!("the node is not running"))?;
        let id = process.id();
        process.kill()?;
        Ok(id)
    }

    /// Waits until the node ends, for whatever reason.
    ///
    /// # Errors
    /// If the system does not say.
    pub(crate) fn wait(&mut self) -> Result<()> {
        while let Some(process) = &mut self.process {
            if process.ended()?.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    /// If it cannot be stopped.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.stop())
    }

    /// Everything of it: data, logs, configuration.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("node.toml")
    }

    /// Where its text messages go.
    pub(crate) fn sms(&self) -> PathBuf {
        self.folder.join("sms.jsonl")
    }

    /// Waits for the newest code sent to `phone`.
    ///
    /// # Errors
    /// If none comes within `limit`.
    pub(crate) fn code(&self, phone: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let sent = fs::read_to_string(self.sms()).unwrap_or_default();
            // A line may be half written: the next look will see all of it.
            let messages = sent.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            for message in messages.filter(|message| message["to"] == phone) {
                let text = message["text"].as_str().unwrap_or_default();
                let digits: String = text.chars().filter(char::is_ascii_digit).collect();
                if digits.len() == 6 {
                    return Ok(digits);
                }
            }
            if Instant::now() > deadline {
                bail!("no code for {phone} in {} within {limit:?}", self.sms().display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether `GET /health` answers 200.
    fn is_healthy(&self) -> bool {
        let limit = Duration::from_millis(500);
        let Ok(mut stream) = TcpStream::connect_timeout(&self.admin, limit) else { return false };
        let mut answer = [0; 12];
        stream.set_read_timeout(Some(limit)).is_ok()
            && stream
                .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && answer == *b"HTTP/1.1 200"
    }
}
