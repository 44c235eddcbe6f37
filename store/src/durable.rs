//! Folders that a power loss does not take.
//!
//! Syncing a file makes its bytes sure and not its name: that is an entry of its folder, whose own name is an entry of
//! the next. POSIX promises an entry only after the folder that holds it was synced, so what is to outlive a power loss
//! has every folder above it synced, once.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::path::Path;

/// Makes a folder and those above it that are missing, each with its entry on disk. On Unix with these permissions
/// (umask aside), for all that are made.
///
/// A folder that was there already gets its entry synced too, since whoever made it may have lost power before that;
/// if its parent may not be read, it is taken as it is.
///
/// # Errors
/// As the system calls.
pub fn create_dir_all(path: &Path, mode: u32) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    if path.is_dir() {
        return match sync_dir(parent) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            result => result,
        };
    }
    create_dir_all(parent, mode)?;
    match builder(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        result => result?,
    }
    sync_dir(parent)
}

#[cfg(unix)]
fn builder(mode: u32) -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = DirBuilder::new();
    builder.mode(mode);
    builder
}

#[cfg(not(unix))]
fn builder(_: u32) -> DirBuilder {
    DirBuilder::new()
}

/// Syncs a folder: the entries in it are on disk, though not what they name.
///
/// # Errors
/// As the system calls.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    // Windows has no such call, and does not need it.
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Syncs a folder and every folder in it, the innermost first.
///
/// # Errors
/// As the system calls.
pub(crate) fn sync_dirs(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_dirs(&entry.path())?;
        }
    }
    sync_dir(path)
}
