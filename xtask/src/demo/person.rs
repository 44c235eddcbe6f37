//! One person of the demo: a profile on disk and the `godwit` processes that use it.
//!
//! While somebody is online, their `godwit tail` runs, as an application on a phone does; what they write is handed to
//! it by `godwit send`. Everything they see comes from what those two print.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::node::Node;
use super::process::Process;
use super::screen::{Line, Screen};

/// How long any one command may take; past it something is wrong and the demo says so.
const COMMAND_LIMIT: Duration = Duration::from_secs(40);

/// Somebody with a phone.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) phone: &'static str,
    /// What their device has shown.
    pub(crate) screen: Screen,
    /// How long each connection of theirs took to stand, milliseconds.
    pub(crate) connects_ms: Vec<f64>,
    /// Whether what they had to say left in the first flight of each connection, and was taken.
    pub(crate) early: Vec<bool>,
    /// How long it took from the attempt to connect to the first tick on each connection that had one, milliseconds.
    pub(crate) ticks_ms: Vec<f64>,
    /// How often a connection was lost, and how often it was let go to sleep.
    pub(crate) lost: usize,
    pub(crate) asleep: usize,
    /// How long each message took to reach them while they were online, microseconds.
    pub(crate) latencies_us: Vec<u64>,
    program: PathBuf,
    folder: PathBuf,
    account: String,
    tail: Option<Process>,
}

/// Messages on their way out, in a process of their own.
pub(crate) struct Sending {
    process: Process,
    texts: Vec<String>,
    acks: Vec<u64>,
    chat: String,
}

/// Who a message goes to.
pub(crate) enum To<'a> {
    Phone(&'a str),
    Chat(&'a str),
}

impl Person {
    /// Somebody whose profile and logs will be in `folder`.
    pub(crate) fn new(name: &'static str, phone: &'static str, program: &Path, folder: &Path) -> Person {
        Person {
            name,
            phone,
            screen: Screen::default(),
            connects_ms: Vec::new(),
            early: Vec::new(),
            ticks_ms: Vec::new(),
            lost: 0,
            asleep: 0,
            latencies_us: Vec::new(),
            program: program.to_owned(),
            folder: folder.join(name.to_lowercase()),
            account: String::new(),
            tail: None,
        }
    }

    /// The folder that `--profile` names.
    pub(crate) fn profile(&self) -> PathBuf {
        self.folder.join("profile")
    }

    fn start(&self, command: &str, arguments: &[&str]) -> Result<Process> {
        let profile = self.profile().to_string_lossy().into_owned();
        let mut all: Vec<String> = [command, "--profile", &profile, "--json"].map(String::from).into();
        all.extend(arguments.iter().map(|&text| text.to_owned()));
        let name = format!("{}'s `godwit {command}`", self.name);
        Process::start(&name, &self.program, &all, &self.folder.join(format!("{command}.log")))
    }

    /// Registers by a one-time code, typed in as a person would; from then on they reach the node at `server`.
    ///
    /// # Errors
    /// What `godwit register` said, or that no code came.
    pub(crate) fn register(&mut self, node: &Node, server: SocketAddr) -> Result<()> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let (server, ca) = (server.to_string(), node.ca().to_string_lossy().into_owned());
        let arguments =
            ["--server", &server, "--ca", &ca, "--phone", self.phone, "--name", self.name, "--timeout", "10"];
        let mut register = self.start("register", &arguments)?;
        let code = node.code(self.phone, Duration::from_secs(10))?;
        register.type_line(&code)?;
        let registered = register.next(Instant::now() + COMMAND_LIMIT)?;
        let registered = registered.ok_or_else(|| anyhow!("{} is not registered in time", self.name))?;
        self.account = text(&registered, "account")?.to_owned();
        register.finish(COMMAND_LIMIT)
    }

    /// Opens the application: `godwit tail`, which marks what it shows as read.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn come_online(&mut self) -> Result<()> {
        self.tail = Some(self.start("tail", &["--read", "--lifecycle"])?);
        Ok(())
    }

    /// Tells the application what its phone's system would: `background`, `foreground`, `moved`.
    ///
    /// # Errors
    /// If it is not running.
    pub(crate) fn system_says(&mut self, change: &str) -> Result<()> {
        let tail = self.tail.as_mut().ok_or_else(|| anyhow!("{}'s application is closed", self.name))?;
        tail.type_line(change)
    }

    /// Closes it.
    ///
    /// # Errors
    /// If it cannot be stopped.
    pub(crate) fn go_offline(&mut self) -> Result<()> {
        if let Some(mut tail) = self.tail.take() {
            tail.stop()?;
            // What it still said on its way out was shown, too.
            while let Some(event) = tail.left_over()? {
                self.see(&event)?;
            }
        }
        Ok(())
    }

    /// Starts to send each of `texts`, in this order; they are acknowledged in [`Person::sent`].
    ///
    /// # Errors
    /// If the process does not start or does not read.
    pub(crate) fn send(&self, to: &To<'_>, texts: &[&str]) -> Result<Sending> {
        let mut sending = self.send_each(to)?;
        for text in texts {
            sending.say(text)?;
        }
        sending.process.end_typing();
        Ok(sending)
    }

    /// Starts to send, message by message, as [`Sending::say`] says them.
    ///
    /// # Errors
    /// If the process does not start.
    pub(crate) fn send_each(&self, to: &To<'_>) -> Result<Sending> {
        let to = match to {
            To::Phone(phone) => ["--to", phone],
            To::Chat(chat) => ["--chat", chat],
        };
        let process = self.start("send", &["--stdin", to[0], to[1]])?;
        Ok(Sending { process, texts: Vec::new(), acks: Vec::new(), chat: String::new() })
    }

    /// Waits until everything is acknowledged; returns the chat's id.
    ///
    /// # Errors
    /// What `godwit send` said, or that it did not end in time.
    pub(crate) fn sent(&mut self, mut sending: Sending) -> Result<String> {
        sending.process.end_typing();
        let deadline = Instant::now() + COMMAND_LIMIT;
        while sending.acks.len() < sending.texts.len() {
            let Some(event) = sending.process.next(deadline)? else {
                bail!("{}'s messages were not acknowledged within {COMMAND_LIMIT:?}", self.name);
            };
            sending.acknowledged(&event)?;
        }
        sending.process.finish(COMMAND_LIMIT)?;
        // Acknowledgements may be printed in any order; the log's order is that of saying, and the tails will tell.
        sending.acks.sort_unstable();
        for (seq, text) in sending.acks.iter().zip(&sending.texts) {
            self.screen.sent(*seq, text);
        }
        Ok(sending.chat)
    }

    /// Looks at everything their application says until `deadline`.
    ///
    /// # Errors
    /// If it ended, or said something that cannot be.
    pub(crate) fn watch(&mut self, deadline: Instant) -> Result<()> {
        while let Some(tail) = &mut self.tail {
            let Some(event) = tail.next(deadline)? else { break };
            self.see(&event)?;
        }
        Ok(())
    }

    /// The same, but returns after one thing was said.
    ///
    /// # Errors
    /// As [`Person::watch`].
    pub(crate) fn watch_once(&mut self, deadline: Instant) -> Result<()> {
        let tail = self.tail.as_mut().ok_or_else(|| anyhow!("{} is not online", self.name))?;
        match tail.next(deadline)? {
            Some(event) => self.see(&event),
            None => Ok(()),
        }
    }

    fn see(&mut self, event: &Value) -> Result<()> {
        match text(event, "event")? {
            "message" => {
                let line = Line { text: text(event, "text")?.to_owned(), mine: event["mine"] == true };
                if let (false, Some(latency_us)) = (line.mine, event["latency_us"].as_u64()) {
                    self.latencies_us.push(latency_us);
                }
                self.screen.message(number(event, "seq")?, line);
            }
            "status" if text(event, "member")? != self.account => {
                self.screen.cursors(number(event, "delivered")?, number(event, "read")?);
            }
            "connected" => {
                self.connects_ms.extend(event["resume_ms"].as_f64());
                self.early.push(event["early"] == true);
            }
            "sent" => self.ticks_ms.extend(event["tick_ms"].as_f64()),
            "disconnected" => self.lost += 1,
            "asleep" => self.asleep += 1,
            _ => {}
        }
        Ok(())
    }

    /// What the server keeps of the chat with somebody: who said it, the text, and the ticks of one's own.
    ///
    /// # Errors
    /// What `godwit history` said.
    pub(crate) fn history(&self, with: &str, limit: usize) -> Result<Vec<(u64, Line, Option<String>)>> {
        let mut history = self.start("history", &["--with", with, "--limit", &limit.to_string()])?;
        let mut lines = Vec::new();
        loop {
            let entry = match history.next(Instant::now() + COMMAND_LIMIT) {
                Ok(Some(entry)) => entry,
                Ok(None) => bail!("{}'s history did not come in time", self.name),
                Err(_) if history.ended()?.is_some_and(|status| status.success()) => return Ok(lines),
                Err(error) => return Err(error),
            };
            // What begins the chat's encryption has a place, too.
            if text(&entry, "kind")? != "message" {
                continue;
            }
            let line = Line { text: text(&entry, "text")?.to_owned(), mine: entry["mine"] == true };
            lines.push((number(&entry, "seq")?, line, entry["ticks"].as_str().map(str::to_owned)));
        }
    }
}

impl Sending {
    /// Says one message.
    ///
    /// # Errors
    /// If the process no longer reads.
    pub(crate) fn say(&mut self, text: &str) -> Result<()> {
        self.process.type_line(text)?;
        self.texts.push(text.to_owned());
        Ok(())
    }

    /// Takes one acknowledgement, if it comes before `deadline`.
    ///
    /// # Errors
    /// If the process ended, or a message was refused.
    pub(crate) fn acknowledgement(&mut self, deadline: Instant) -> Result<bool> {
        let Some(event) = self.process.next(deadline)? else { return Ok(false) };
        self.acknowledged(&event)?;
        Ok(true)
    }

    fn acknowledged(&mut self, event: &Value) -> Result<()> {
        if text(event, "event")? != "sent" {
            bail!("a message was not sent: {event}");
        }
        text(event, "chat")?.clone_into(&mut self.chat);
        self.acks.push(number(event, "seq")?);
        Ok(())
    }
}

fn text<'a>(event: &'a Value, field: &str) -> Result<&'a str> {
    event[field].as_str().ok_or_else(|| anyhow!("no text {field:?} in {event}"))
}

fn number(event: &Value, field: &str) -> Result<u64> {
    event[field].as_u64().ok_or_else(|| anyhow!("no number {field:?} in {event}"))
}
