//! `fdbcli`, one command at a time, each with a bound.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{ClusterError, io};
use crate::keeper;
use crate::programs::Programs;

/// How much longer than it was told to `fdbcli` may take, for its start and for a busy machine.
const GRACE: Duration = Duration::from_secs(20);

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Runs one command of `fdbcli` on the cluster of this file and returns what it printed. `timeout` is told to it in whole
/// seconds, one at least: it gives up then.
///
/// # Errors
/// [`ClusterError::Cli`] with what it printed, if it ended with a failure or did not end; [`ClusterError::Io`].
pub(crate) fn run(
    programs: &Programs,
    cluster_file: &Path,
    command: &str,
    timeout: Duration,
) -> Result<String, ClusterError> {
    let (said, is_well) = try_run(programs, cluster_file, command, timeout)?;
    if is_well { Ok(said) } else { Err(failed(command, said)) }
}

/// The same; what it printed is returned also if it ended with a failure, with `false`.
pub(crate) fn try_run(
    programs: &Programs,
    cluster_file: &Path,
    command: &str,
    timeout: Duration,
) -> Result<(String, bool), ClusterError> {
    let mut said = tempfile::tempfile().map_err(io("there is no file for what fdbcli says"))?;
    let handle = || said.try_clone().map(Stdio::from).map_err(io("there is no file for what fdbcli says"));
    let mut fdbcli = Command::new(&programs.fdbcli);
    fdbcli.arg("-C").arg(cluster_file).arg("--exec").arg(command);
    fdbcli.arg("--timeout").arg(timeout.as_secs().max(1).to_string());
    fdbcli.stdin(Stdio::null()).stdout(handle()?).stderr(handle()?);
    let mut child = keeper::spawn(fdbcli).map_err(io("fdbcli cannot be started"))?;
    let deadline = Instant::now() + timeout + GRACE;
    let status = loop {
        match child.try_wait().map_err(io("fdbcli cannot be waited for"))? {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => std::thread::sleep(LOOK),
        }
    };
    if status.is_none() {
        // It may have ended just now.
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = read(&mut said).map_err(io("what fdbcli said cannot be read"))?;
    match status {
        Some(status) => Ok((text, status.success())),
        None => Err(failed(command, format!("it did not end within {:?}; it said: {text}", timeout + GRACE))),
    }
}

fn read(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn failed(command: &str, said: String) -> ClusterError {
    ClusterError::Cli { command: command.to_owned(), said }
}
