//! A network, a node in one namespace of it, phones in another.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use loadtest_emulator::{Direction, Host, Namespace, Network};
use loadtest_run::server::Options;
use loadtest_run::{Fleet, Metrics, Server, Target};
use serde_json::Value as Json;

use crate::cases::Choice;
use crate::row::Report;

/// Where the node is.
const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 1);

/// Where the phones are at first.
const PHONES: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);

/// One case's machines. They go with it.
pub(crate) struct Stage {
    server: Server,
    /// The link of the phones' machine.
    pub(crate) phones: Host,
    /// The link of the node's machine.
    node: Host,
    /// What carries packets between them.
    pub(crate) network: Network,
    _dir: tempfile::TempDir,
}

impl Stage {
    /// Starts a node of two loops, with settings of its configuration file and its environment besides. Paths are
    /// perfect until something else is set.
    pub(crate) fn new(choice: &Choice, settings: &[&str], env: &[(&str, &str)]) -> Result<Stage> {
        let dir = tempfile::tempdir().context("there is no room for a node's data")?;
        let network = Network::new(choice.seed).context("the network does not start")?;
        let [phones, servers] = [Namespace::new()?, Namespace::new()?];
        let node = network.attach(&servers, NODE)?;
        let phones = network.attach(&phones, PHONES)?;
        let options = Options {
            ip: NODE.into(),
            settings: ["loops = 2"].iter().chain(settings).map(|&line| line.to_owned()).collect(),
            env: env.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
            ..Options::new(&choice.godwit, dir.path())
        };
        let server = servers.run(|| Server::start(options, |command| servers.command(command)))??;
        Ok(Stage { server, phones, node, network, _dir: dir })
    }

    /// Does something on a thread in the phones' namespace, where fleets belong.
    pub(crate) fn with_phones<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.phones.namespace().run(act)?
    }

    /// A fleet without phones. Its thread must be in the namespace that its phones are to be in.
    pub(crate) fn fleet(&self, sockets: usize, seed: u64) -> Result<Fleet> {
        let target =
            Target { address: self.server.address(), name: "localhost".into(), ca: self.server.ca() };
        Ok(Fleet::new(target, sockets, seed)?)
    }

    /// The node.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The node's figures; its listener is in its own namespace.
    pub(crate) fn metrics(&self) -> Result<Metrics> {
        Ok(self.node.namespace().run(|| self.server.metrics())??)
    }

    /// UDP and other packets that the phones' link has carried, both ways, lost ones included.
    pub(crate) fn packets(&self) -> u64 {
        [Direction::Up, Direction::Down].map(|way| self.phones.counters(way).packets_in).iter().sum()
    }

    /// What every case ends with: the node is alive and knows no error, and the network was what was asked for. The row is
    /// invalid if the emulator delivered a packet later than it was due by more than `late_max`, or packets were dropped that
    /// no setting drops.
    ///
    /// # Errors
    /// The node is gone, or its log has an error, which is a bug.
    pub(crate) fn end(&self, report: &mut Report, late_max: Duration) -> Result<()> {
        ensure!(self.metrics()?.sum("godwit_up") == 1.0, "the node does not say that it is up");
        let log = std::fs::read_to_string(self.server.log()).context("the node's log cannot be read")?;
        let errors: Vec<&str> = log.lines().filter(|line| is_error(line)).collect();
        ensure!(
            errors.is_empty(),
            "the node's log has {} errors, the first: {}",
            errors.len(),
            errors.first().unwrap_or(&"")
        );
        let late = self.network.totals().lateness_max;
        report.fit(late <= late_max, || format!("the emulator was {late:.1?} late, over {late_max:?}"));
        for (name, host) in [("phones", &self.phones), ("node", &self.node)] {
            let dropped = host.dropped_before().context("the kernel does not say what it dropped")?;
            let overflowed: u64 =
                [Direction::Up, Direction::Down].map(|way| host.counters(way).overflowed).iter().sum();
            report.fit(dropped + overflowed == 0, || {
                format!("{dropped} packets of the {name} never reached the emulator, {overflowed} were too many for it")
            });
        }
        Ok(())
    }
}

/// Whether a line of a node's log says that there is a bug, be it a panic's.
fn is_error(line: &str) -> bool {
    match serde_json::from_str::<Json>(line) {
        Ok(json) => json["level"] == "ERROR",
        Err(_) => line.contains("panicked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_are_found_in_a_log() {
        assert!(is_error(r#"{"level":"ERROR","fields":{}}"#));
        assert!(is_error("thread 'loop-0' panicked at edge/node/src/x.rs:1:2:"));
        assert!(!is_error(r#"{"level":"INFO","fields":{"message":"no ERROR here"}}"#));
    }
}
