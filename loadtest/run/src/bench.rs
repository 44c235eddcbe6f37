//! What a node costs and how fast it is: each benchmark starts a node of its own, and says its figures as flat pairs.

mod load;
mod quiet;
mod stores;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use loadtest_cluster::{Shape, StoreOfNode};

use crate::fleet::{Fleet, Happened, Target};
use crate::server::{Options, Server};

/// Sockets of a fleet: enough for a node's loops to share the load.
const SOCKETS: usize = 16;

/// Figures by key.
pub type Figures = BTreeMap<String, f64>;

/// What every benchmark is given.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The `godwit` binary.
    pub godwit: PathBuf,
    /// Small numbers and short times, to see that it works.
    pub quick: bool,
    /// The store of each node; the one that a node has by itself, if nothing is said.
    pub store: Option<StoreOfNode>,
}

/// A benchmark.
pub struct Bench {
    /// What it is asked for by.
    pub name: &'static str,
    /// Whether it runs when nothing is asked for by name.
    pub by_default: bool,
    /// What it does.
    pub about: &'static str,
    run: fn(&Setting, &mut Figures) -> Result<()>,
}

/// All of them, in the order in which they run.
pub const ALL: &[Bench] = &[
    Bench {
        name: "w1",
        by_default: true,
        about: "1,000 clients in 500 pairs, one message of 100 bytes under way in each: throughput, CPU per message",
        run: |setting, figures| load::closed(setting, 1, figures),
    },
    Bench {
        name: "w8",
        by_default: true,
        about: "the same with eight under way",
        run: |setting, figures| load::closed(setting, 8, figures),
    },
    Bench {
        name: "1000ps",
        by_default: true,
        about: "the same clients, 1,000 messages a second in all, open loop: latency, CPU per message",
        run: |setting, figures| load::open(setting, 1_000, figures),
    },
    Bench {
        name: "idle",
        by_default: true,
        about: "memory per idle connection at 1,000 and 10,000",
        run: |setting, figures| {
            quiet::idle(setting, 1_000, figures)?;
            quiet::idle(setting, 10_000, figures)
        },
    },
    Bench {
        name: "used",
        by_default: true,
        about: "memory of chats in which something was said",
        run: quiet::used,
    },
    Bench {
        name: "idle50000",
        by_default: false,
        about: "memory per idle connection at 50,000",
        run: |setting, figures| quiet::idle(setting, 50_000, figures),
    },
    Bench {
        name: "catch-up",
        by_default: true,
        about: "from the connection's start to the last of 1,000 missed messages",
        run: quiet::catch_up,
    },
    Bench {
        name: "heads",
        by_default: true,
        about: "from the connection's start to knowing the heads of 500 quiet chats",
        run: quiet::heads,
    },
    Bench {
        name: "on-embedded",
        by_default: false,
        about: "throughput and latency on a store of the node's own, to compare with the two below",
        run: |setting, figures| stores::node(setting, None, figures),
    },
    Bench {
        name: "on-fdb-one",
        by_default: false,
        about: "the same on a FoundationDB of one server, which is started for it",
        run: |setting, figures| stores::node(setting, Some(Shape::One), figures),
    },
    Bench {
        name: "on-fdb-three",
        by_default: false,
        about: "the same on a FoundationDB of three servers and two copies",
        run: |setting, figures| stores::node(setting, Some(Shape::Three), figures),
    },
];

impl Bench {
    /// Runs it on a fresh node, and adds its figures.
    ///
    /// # Errors
    /// What went wrong: a run that lost a message has no figures.
    pub fn run(&self, setting: &Setting, figures: &mut Figures) -> Result<()> {
        (self.run)(setting, figures).with_context(|| format!("benchmark {}", self.name))
    }
}

/// A fresh node in a folder of its own, and a fleet without phones on it.
struct Stage {
    server: Server,
    fleet: Fleet,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn new(setting: &Setting) -> Result<Stage> {
        let dir = tempfile::tempdir().context("there is no room for a node's data")?;
        let mut options = Options::new(&setting.godwit, dir.path());
        let env = setting.store.iter().flat_map(StoreOfNode::env);
        options.env.extend(env.map(|(name, value)| (name.into(), value.into())));
        let server = Server::start(options, |_| Ok(()))?;
        let fleet = Fleet::new(target(&server), SOCKETS, 1)?;
        Ok(Stage { server, fleet, _dir: dir })
    }

    /// Adds phones and registers their owners.
    fn people(&mut self, count: usize) -> Result<()> {
        let first = self.fleet.add(count);
        self.fleet.register(first..first + count, &self.server.sms())?;
        Ok(())
    }

    /// Turns until a time, whatever happens.
    fn rest(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.fleet.turn(until)?;
            while self.fleet.happened().is_some() {}
        }
        Ok(())
    }

    /// Turns until something has happened, or `limit` has passed.
    fn until(&mut self, limit: Duration, mut is_it: impl FnMut(&Happened) -> bool) -> Result<Instant> {
        let end = Instant::now() + limit;
        loop {
            while let Some(happened) = self.fleet.happened() {
                if is_it(&happened) {
                    return Ok(happened.at);
                }
            }
            if Instant::now() >= end {
                bail!("what was waited for did not happen within {limit:?}");
            }
            self.fleet.turn(end)?;
        }
    }

    /// What the node has done and used so far.
    fn usage(&self) -> Result<Usage> {
        let metrics = self.server.metrics()?;
        Ok(Usage {
            at: Instant::now(),
            cpu: self.server.cpu()?,
            datagrams: metrics.sum("godwit_datagrams_received_total")
                + metrics.sum("godwit_datagrams_sent_total"),
            transactions: metrics.sum("godwit_store_transactions_total"),
            writes: metrics.sum("godwit_store_writes_total"),
        })
    }
}

/// A node's totals at a moment.
#[derive(Debug, Clone, Copy)]
struct Usage {
    at: Instant,
    cpu: Duration,
    datagrams: f64,
    transactions: f64,
    writes: f64,
}

fn target(server: &Server) -> Target {
    Target { address: server.address(), name: "localhost".into(), ca: server.ca() }
}

/// The node's binary, if it is there.
///
/// # Errors
/// It is not.
pub fn binary(path: &Path) -> Result<PathBuf> {
    ensure!(path.is_file(), "there is no binary {}: build it first", path.display());
    Ok(path.to_owned())
}
