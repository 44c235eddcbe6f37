//! `godwit completions`: scripts with which a shell completes commands and flags.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

/// Writes the script for a shell to standard output; it is made from the arguments as they are declared, so it never
/// lags behind them.
pub(crate) fn print(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::Cli::command(), "godwit", &mut script);
    Ok(io::stdout().lock().write_all(&script)?)
}
