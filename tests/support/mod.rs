//! The real binary, run as its users run it: a node on free loopback ports, and one profile per person. Everything is
//! stopped by process id when it goes out of scope.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![expect(clippy::disallowed_methods, reason = "real processes run in real time")]

pub mod hygiene;
pub mod planted;
pub mod scan;
pub mod stored;
pub mod terminal;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use loadtest_cluster::{StoreOfNode, store_of_node};
use serde_json::Value;

/// What a test waits for something at most.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const GODWIT: &str = env!("CARGO_BIN_EXE_godwit");

/// A node's place: its data and its addresses, which stay when the process is killed.
pub struct Node {
    pub dir: PathBuf,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    env: Vec<(String, String)>,
    child: Option<Child>,
    log: PathBuf,
    /// Everybody's profile and name.
    people: Mutex<Vec<(PathBuf, String)>>,
}

impl Node {
    /// Starts a node whose rates are out of a burst's way; the limiter stays in the path.
    pub fn start(dir: &Path) -> Node {
        let limits = ["MESSAGES_PER_MINUTE", "REQUESTS_PER_MINUTE", "OTP_PER_HOUR", "REGISTRATIONS_PER_HOUR"];
        let env = limits.map(|name| (format!("GODWIT_LIMITS__RATES__{name}"), "1000000".to_owned())).into();
        Node::start_with(dir, env)
    }

    pub fn start_with(dir: &Path, env: Vec<(String, String)>) -> Node {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listen = UdpSocket::bind(loopback).and_then(|socket| socket.local_addr()).expect("a free port");
        let admin = TcpListener::bind(loopback).and_then(|socket| socket.local_addr()).expect("a free port");
        let (log, people) = (hygiene::log_file(), Mutex::default());
        let mut node = Node { dir: dir.join("node"), listen, admin, env, child: None, log, people };
        node.spawn();
        node
    }

    /// Changes a setting of the next process.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.retain(|(of, _)| of != name);
        self.env.push((name.into(), value.into()));
    }

    /// Starts the process and waits until it says that clients may come.
    pub fn spawn(&mut self) {
        self.launch();
        let mut line = String::new();
        let stdout = self.child.as_mut().and_then(|child| child.stdout.take()).expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert!(
            line.starts_with("ready"),
            "the node did not start: {}",
            std::fs::read_to_string(self.log()).unwrap()
        );
    }

    /// Starts the process, and waits for nothing.
    pub fn launch(&mut self) {
        let child = Command::new(GODWIT)
            .args([
                "serve",
                "--listen",
                &self.listen.to_string(),
                "--admin",
                &self.admin.to_string(),
                "--data",
            ])
            .arg(&self.dir)
            // Settings of a test, which the node would take for its own.
            .env_remove("GODWIT_KILL_SEED")
            .env_remove("GODWIT_KILL_ROUNDS")
            .env("GODWIT_LOG", hygiene::LOG_LEVEL)
            .envs(store_of_node(&self.dir).iter().flat_map(StoreOfNode::env))
            .envs(self.env.iter().cloned())
            .stdout(Stdio::piped())
            .stderr(hygiene::append(&self.log))
            .spawn()
            .expect("the binary runs");
        self.child = Some(child);
    }

    pub fn log(&self) -> PathBuf {
        self.log.clone()
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.join("certs/ca.pem")
    }

    pub fn sms(&self) -> PathBuf {
        self.dir.join("sms.jsonl")
    }

    /// SIGKILL, as the power would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// SIGTERM; returns its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.take().expect("it runs").wait().expect("it ends").code()
    }

    /// Somebody with an empty profile.
    pub fn stranger(&self, phone: &str, name: &str) -> Person {
        let profile = self.dir.with_file_name(name);
        self.people.lock().expect("not poisoned").push((profile.clone(), name.to_owned()));
        Person::new(profile, phone, &self.log)
    }

    pub fn person(&self, phone: &str, name: &str) -> Person {
        let person = self.stranger(phone, name);
        let output = person
            .command("register")
            .args(["--server", &self.listen.to_string(), "--phone", phone, "--name", name, "--ca"])
            .arg(self.ca())
            .arg("--code-file")
            .arg(self.sms())
            .output()
            .expect("the binary runs");
        person.note(&output);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        person
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.kill();
            for path in [self.log(), hygiene::clients_file(&self.log)] {
                eprintln!("{}:\n{}", path.display(), std::fs::read_to_string(&path).unwrap_or_default());
            }
            return;
        }
        if self.child.is_some() {
            self.check_admin();
        }
        self.kill();
        // Of every test, so that none can forget it.
        self.check_logs();
        self.check_stored();
    }
}

/// One person's profile.
pub struct Person {
    pub profile: PathBuf,
    pub phone: String,
    /// What its processes say on standard error is kept.
    log: PathBuf,
}

impl Person {
    /// Whose profile is in this folder, and whose processes say what they have to beside this log.
    pub fn new(profile: PathBuf, phone: &str, log: &Path) -> Person {
        Person { profile, phone: phone.to_owned(), log: hygiene::clients_file(log) }
    }

    /// A command, of one word or two.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(GODWIT);
        command.args(name.split(' ')).args(["--json", "--profile"]).arg(&self.profile);
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, name: &str, args: &[&str]) -> Output {
        let output = self.command(name).args(args).output().expect("the binary runs");
        self.note(&output);
        output
    }

    fn note(&self, output: &Output) {
        hygiene::append(&self.log).write_all(&output.stderr).expect("a log");
    }

    /// Runs a command that must succeed, and reads what it prints.
    #[track_caller]
    pub fn ok(&self, name: &str, args: &[&str]) -> Vec<Value> {
        let output = self.run(name, args);
        assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout)
            .expect("UTF-8")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    pub fn start(&self, name: &str, args: &[&str]) -> Running {
        let mut command = self.command(name);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(hygiene::append(&self.log));
        Running::spawn(command)
    }
}

/// A client that runs, with what it printed.
pub struct Running {
    child: Child,
    pub stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    pub seen: Vec<Value>,
}

impl Running {
    fn spawn(mut command: Command) -> Running {
        let mut child = command.spawn().expect("the binary runs");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // A process that is killed may leave half a line.
                if let Ok(value) = serde_json::from_str(&line) {
                    let _ = sender.send(value);
                }
            }
        });
        Running { stdin: child.stdin.take(), child, lines, seen: Vec::new() }
    }

    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open");
        // A process that was just killed hears nothing.
        let _ = writeln!(stdin, "{line}");
    }

    /// Takes what it has printed so far.
    pub fn drain(&mut self) {
        self.seen.extend(self.lines.try_iter());
    }

    /// Waits until what it printed satisfies something.
    #[track_caller]
    pub fn until(&mut self, done: impl Fn(&[Value]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.seen) {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(value) => self.seen.push(value),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("waited too long; the last lines: {:?}", self.last())
                }
                Err(RecvTimeoutError::Disconnected) => panic!("it ended; the last lines: {:?}", self.last()),
            }
        }
    }

    fn last(&self) -> &[Value] {
        &self.seen[self.seen.len().saturating_sub(5)..]
    }

    pub fn kill(mut self) -> Vec<Value> {
        self.child.kill().expect("it runs");
        self.finish()
    }

    pub fn finish(mut self) -> Vec<Value> {
        drop(self.stdin.take());
        self.child.wait().expect("it ends");
        self.seen.extend(self.lines.iter());
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A phone number of the suite's own range. All of them begin alike, so that one look finds any of them in a log.
pub fn phone(n: u16) -> String {
    format!("+4915100000{n:03}")
}

/// A text that is in no log by accident.
pub fn canary(n: usize) -> String {
    format!("canary {n:05} sings")
}

/// The texts of what a `tail` printed, in order.
pub fn texts(lines: &[Value]) -> Vec<String> {
    of(lines, "message").map(|line| line["text"].as_str().expect("a text").to_owned()).collect()
}

/// Lines of one kind.
pub fn of<'a>(lines: &'a [Value], event: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["event"] == event)
}
