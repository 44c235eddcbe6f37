//! `godwit chat`.

use clap::Args;

use crate::error::CliError;
use crate::unlock::ProfileArgs;

/// See [`super::Command::Chat`].
#[derive(Debug, Args)]
pub struct Chat {
    #[command(flatten)]
    profile: ProfileArgs,
}

impl Chat {
    pub(super) fn run(self) -> Result<(), CliError> {
        crate::chat::run(&self.profile)
    }
}
