//! One process at a time has a device's MLS state in use.
//!
//! Two that drew from one ratchet would encrypt two messages with one key, and two that are connected as one device push each
//! other out. So whoever reads or writes rows of MLS state has the claim, or it is refused: it is taken before anything is
//! read, and so what was read is what is there. It is a lock of the operating system's on a file of its own: a process that
//! ends, in whatever way, leaves nothing to tidy up.

use std::fs::File;
use std::sync::Arc;

use crate::Db;
use crate::error::DbError;

/// The claim, held as long as anything of this process has a part in it.
pub(crate) type Claim = Arc<File>;

impl Db {
    /// Takes the claim, if it is not taken already; `false` if another process has it. It is given back when the database and
    /// its [readers](Db::mls_reader) are dropped, or the process ends.
    ///
    /// What was read of MLS state, of tokens or of cursors before this was `true` may be old.
    ///
    /// # Errors
    /// [`DbError::Io`].
    pub fn claim(&self) -> Result<bool, DbError> {
        if self.claim.get().is_none()
            && let Some(file) = self.opener.files.claim()?
        {
            self.claim.get_or_init(|| Arc::new(file));
        }
        Ok(self.claim.get().is_some())
    }

    /// Takes the claim, or says that another process has it.
    pub(crate) fn claimed(&self) -> Result<&Claim, DbError> {
        self.claim()?;
        self.claim.get().ok_or_else(|| DbError::InUse { dir: self.dir().to_owned() })
    }
}
