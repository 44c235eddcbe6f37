//! Ends the emulator's wait from another thread.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

#[derive(Debug)]
pub(crate) struct Waker(UnixStream);

#[derive(Debug)]
pub(crate) struct Wakeups(UnixStream);

pub(crate) fn pair() -> io::Result<(Waker, Wakeups)> {
    let (sender, receiver) = UnixStream::pair()?;
    sender.set_nonblocking(true)?;
    receiver.set_nonblocking(true)?;
    Ok((Waker(sender), Wakeups(receiver)))
}

impl Waker {
    pub(crate) fn wake(&self) {
        // A full buffer wakes as well; if the thread is gone there is nobody to wake.
        let _ = (&self.0).write(&[1]);
    }
}

impl Wakeups {
    /// Takes what is there, or some of it: the next wait then ends at once.
    pub(crate) fn take(&self) {
        let _ = (&self.0).read(&mut [0; 64]);
    }
}

impl AsFd for Wakeups {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
