//! The terminal client: a profile on disk, a connection, and commands. It only arranges: what a client does is
//! `client-core`: what people say is sealed and opened there.
//!
//! A [`profile::Profile`] is one device. [`session::Session`] runs it on a socket. Each command is one file in
//! [`command`].

mod address;
mod chat;
pub mod command;
pub mod doctor;
mod error;
mod output;
pub mod profile;
pub mod session;
pub mod unlock;
mod words;

use std::process::ExitCode;

pub use command::Command;
pub use error::CliError;

/// Runs one command; its exit code is one that scripts can trust (see [`CliError::exit_code`]).
pub fn run(command: Command) -> ExitCode {
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("godwit: {}", error.chain());
            ExitCode::from(error.exit_code())
        }
    }
}
