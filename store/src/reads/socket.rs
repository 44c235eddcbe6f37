//! The socket's file.
//!
//! It is made in a folder that nobody else may enter, gets its mode there, and is then moved to its place: there is no moment
//! at which others reach it, whatever the process's umask. Moving it there replaces the one of a process that was killed.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::SOCKET_NAME;

/// Where it is made.
const MAKING: &str = "reads.new";

/// Listens in a store's directory. Whoever calls it holds the store's lock.
pub(super) fn listen(store: &Path) -> io::Result<UnixListener> {
    let (making, place) = (store.join(MAKING), store.join(SOCKET_NAME));
    remove_dir(&making)?;
    DirBuilder::new().mode(0o700).create(&making)?;
    let listener = short(&making, |folder| UnixListener::bind(folder.join(SOCKET_NAME)))?;
    let made = making.join(SOCKET_NAME);
    fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    fs::rename(&made, place)?;
    fs::remove_dir(&making)?;
    Ok(listener)
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Connects to whoever listens in a store's directory.
pub(super) fn connect(store: &Path) -> io::Result<UnixStream> {
    short(store, |folder| UnixStream::connect(folder.join(SOCKET_NAME)))
}

/// Calls with a name of a folder that leaves room for the socket's: a socket's address is a path of about a hundred bytes at
/// most. Linux has such a name for every folder that a process has open; elsewhere the error stands.
fn short<T>(folder: &Path, call: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    match call(folder) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput && cfg!(target_os = "linux") => {
            use std::os::fd::AsRawFd;
            let open = File::open(folder)?;
            call(&PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())))
        }
        result => result,
    }
}
