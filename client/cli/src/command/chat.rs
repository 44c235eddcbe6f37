//! `godwit chat`.

use std::path::PathBuf;

use clap::Args;

use crate::error::CliError;

/// See [`super::Command::Chat`].
#[derive(Debug, Args)]
pub struct Chat {
    /// The folder of this device: its key, tokens, outbox and messages.
    #[arg(long, value_name = "DIR", env = "GODWIT_PROFILE", default_value = "godwit-profile")]
    profile: PathBuf,
}

impl Chat {
    pub(super) fn run(self) -> Result<(), CliError> {
        crate::chat::run(&self.profile)
    }
}
