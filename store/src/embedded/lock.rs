//! The lock file: one process per store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::EmbeddedError;
use crate::durable;

/// Held while the store is open. The lock is the kernel's and goes with the process, however that ends; the number in
/// the file only says whose it is.
#[derive(Debug)]
pub(super) struct LockFile(#[expect(dead_code, reason = "closing the file is what releases the lock")] File);

impl LockFile {
    pub(super) fn acquire(path: &Path) -> Result<LockFile, EmbeddedError> {
        let io = |source| EmbeddedError::Io { path: path.to_owned(), source };
        durable::create_dir_all(path, 0o777).map_err(io)?;
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("LOCK"))
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(EmbeddedError::Locked { path: path.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(LockFile(file))
    }
}
