//! Who is at the other end of a socket, by the kernel. All unsafe code of the readers' side and the server's.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// A process at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its effective user, as it connected.
    pub(super) uid: u32,
    /// Where the kernel says it, and can: a process of another container may have none here.
    pub(super) pid: Option<i32>,
}

impl Peer {
    /// Whether it may read the store: this process's user, or root, who could read the files.
    pub(super) fn may_read(self) -> bool {
        self.uid == rustix::process::geteuid().as_raw() || self.uid == 0
    }

    // rustix has this call and takes the process for one that has a number, which one of another container has not.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[expect(
        unsafe_code,
        reason = "SO_PEERCRED is asked for by a C function, and what wraps it is wrong for containers"
    )]
    pub(super) fn of(stream: &UnixStream) -> io::Result<Peer> {
        let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        let (fd, into) = (stream.as_raw_fd(), (&raw mut found).cast());
        // SAFETY: the descriptor is open for as long as the stream is borrowed; both places are valid for writing, and the
        // kernel writes no more than `length` bytes, any of which make a `ucred`.
        let done =
            unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, into, &raw mut length) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Peer { uid: found.uid, pid: Some(found.pid).filter(|pid| *pid != 0) })
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    #[expect(
        unsafe_code,
        reason = "getpeereid exists only as a C function, and no dependency of ours wraps it"
    )]
    pub(super) fn of(stream: &UnixStream) -> io::Result<Peer> {
        let (mut uid, mut gid) = (0, 0);
        // SAFETY: the descriptor is open for as long as the stream is borrowed, and both places are valid for writing.
        let done = unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut uid, &raw mut gid) };
        if done == 0 { Ok(Peer { uid, pid: None }) } else { Err(io::Error::last_os_error()) }
    }
}
