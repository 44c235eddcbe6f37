//! `godwit doctor`: which checks run, and how what they found is printed.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use client_cli::doctor::Reach;
use client_cli::unlock::ProfileArgs;
use doctor::{Finding, Level};
use edge_node::Flags;

/// See [`crate::Command::Doctor`].
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    flags: Flags,
    /// Look at the way to this server instead; the port is 4433 if it is not said.
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "profile")]
    server: Option<String>,
    /// The CA certificate that clients of the server trust, in PEM form.
    #[arg(long, value_name = "FILE", env = "GODWIT_CA")]
    ca: Option<PathBuf>,
    /// Look at the way to the server of this profile.
    #[arg(long, value_name = "DIR")]
    profile: Option<PathBuf>,
    /// Take the profile's passphrase, if it has one, from the first line of this file.
    #[arg(long, value_name = "FILE", env = "GODWIT_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
    /// Print JSON, one object per check on a line.
    #[arg(long)]
    json: bool,
    /// Wait this many seconds for the server at each step.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

impl Doctor {
    pub(crate) fn run(self) -> ExitCode {
        let mut findings = Vec::new();
        let reach = self.reach();
        if reach.is_none() || self.names_a_node() {
            findings.extend(edge_node::doctor::examine(&self.flags));
        }
        if let Some(reach) = reach {
            findings.extend(client_cli::doctor::examine(&reach, Duration::from_secs(self.timeout)));
        }
        // Whoever reads it may be gone; the exit code says it as well.
        let _ = print(&findings, self.json);
        if doctor::worst(&findings) == Level::Problem { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn reach(&self) -> Option<Reach> {
        match (&self.server, &self.profile) {
            (Some(server), _) => Some(Reach::Server { server: server.clone(), ca: self.ca.clone() }),
            (None, Some(dir)) => {
                let passphrase_file = self.passphrase_file.clone();
                let profile = ProfileArgs { profile: dir.clone(), passphrase_file };
                Some(Reach::Profile { profile, ca: self.ca.clone() })
            }
            (None, None) => None,
        }
    }

    /// Flags of a node next to a server: both are meant.
    fn names_a_node(&self) -> bool {
        let flags = &self.flags;
        flags.data.is_some() || flags.listen.is_some() || flags.admin.is_some() || flags.config.is_some()
    }
}

fn print(findings: &[Finding], json: bool) -> io::Result<()> {
    let stdout = io::stdout();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut out = stdout.lock();
    for finding in findings {
        let said = if json { finding.json() } else { finding.text(colour) };
        writeln!(out, "{said}")?;
    }
    if !json {
        writeln!(out, "\n{}", doctor::summary(findings))?;
    }
    out.flush()
}
