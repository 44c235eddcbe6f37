//! What goes wrong in a command, what it says, and the exit code scripts see.

use std::path::PathBuf;
use std::time::Duration;

use client_core::{GroupError, SendError};
use client_db::DbError;
use wire::{Refusal, Retry};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The server said no.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The server answered something that is no answer to this: it is newer, or not one of ours.
    #[error("the server answered something that this client does not understand: it may be newer")]
    Unexpected,
    /// There is no such person.
    #[error("nobody with this number is on this server")]
    NobodyThere,
    /// Messages that were refused for good.
    #[error("{0} of the messages were refused for good and are marked failed")]
    Failed(usize),
    /// Messages that are committed, and not yet where they were waited for.
    #[error("{messages} of the messages are on the server but were not {what} within {} s", waited.as_secs())]
    NotYet {
        /// `delivered` or `read`.
        what: &'static str,
        /// How many.
        messages: usize,
        /// How long it was waited.
        waited: Duration,
    },
    /// A message that cannot be queued.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(&'static str),
    /// No server answered in time.
    #[error("the server did not answer within {} s ({last}); {}", waited.as_secs(), advice(*.waiting))]
    Unreachable {
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt met.
        last: String,
        /// Messages that wait in the outbox.
        waiting: usize,
    },
    /// This profile is not registered, or no longer.
    #[error("{why}: register it with `godwit register --profile {}`", profile.display())]
    LoginNeeded {
        /// Why.
        why: String,
        /// Which profile.
        profile: PathBuf,
    },
    /// Another process uses the profile.
    #[error("the profile is in use by another godwit process: stop it, or use another --profile")]
    InUse,
    /// What the profile keeps of groups cannot be read.
    #[error("this profile cannot go on: {0}")]
    Stopped(String),
    /// A change of a group that was not begun, or came to nothing.
    #[error("{0}")]
    Group(String),
    /// The profile's database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// Another file of the profile, or that of its passphrase.
    #[error("cannot use {}", path.display())]
    Profile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection cannot even be tried.
    #[error("cannot connect to {server}")]
    Connect {
        /// Where to.
        server: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Standard output is gone.
    #[error("cannot write the output")]
    Output(#[from] std::io::Error),
}

fn advice(waiting: usize) -> String {
    match waiting {
        0 => "is it running, and is --server right?".into(),
        n => {
            format!("{n} messages wait in the outbox and leave with the next `godwit send` or `godwit tail`")
        }
    }
}

impl From<GroupError> for CliError {
    fn from(error: GroupError) -> CliError {
        CliError::Group(error.to_string())
    }
}

impl CliError {
    /// 1 refused, failed for good or not understood; 2 wrong usage; 3 the server cannot be reached, or what was waited for has not
    /// come in time; 4 log in first.
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Usage(_) => 2,
            CliError::Unreachable { .. } | CliError::Connect { .. } | CliError::NotYet { .. } => 3,
            CliError::LoginNeeded { .. } => 4,
            CliError::Refused(refusal) if refusal.retry == Retry::Reauthenticate => 4,
            _ => 1,
        }
    }

    /// The error and what lies behind it, on one line.
    pub fn chain(&self) -> String {
        let sources = std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source());
        sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_not_understood_is_no_refusal() {
        assert_eq!(CliError::Unexpected.exit_code(), 1);
        assert!(!CliError::Unexpected.chain().contains("refused"), "the server refused nothing");
    }
}
