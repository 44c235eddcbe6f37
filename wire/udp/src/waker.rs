//! Wakes a loop from another thread.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, io};

/// Ends the [`wait`](crate::Driver::wait) of one driver, the next one if it is not waiting. Cheap when it was woken
/// already. Put what the loop shall find into its channel first, then wake it.
#[derive(Clone)]
pub struct Waker(Arc<Shared>);

struct Shared {
    sender: UnixStream,
    /// A byte is on its way that the loop has not taken.
    is_woken: AtomicBool,
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

impl Waker {
    /// Wakes the loop.
    pub fn wake(&self) {
        if self.0.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        // The buffer holds at least the one byte; if the loop is gone there is nobody to wake.
        let _ = (&self.0.sender).write(&[1]);
    }

    #[cfg(test)]
    pub(crate) fn is_woken(&self) -> bool {
        self.0.is_woken.load(Ordering::Acquire)
    }
}

/// The loop's end.
pub(crate) struct Wakeups {
    receiver: UnixStream,
    waker: Waker,
}

impl Wakeups {
    pub(crate) fn new() -> io::Result<Wakeups> {
        let (sender, receiver) = UnixStream::pair()?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        let shared = Shared { sender, is_woken: AtomicBool::new(false) };
        Ok(Wakeups { receiver, waker: Waker(Arc::new(shared)) })
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Takes what is there. A wake-up that comes after this is seen by the next wait.
    pub(crate) fn take(&mut self) {
        let mut bytes = [0; 8];
        loop {
            match self.receiver.read(&mut bytes) {
                Ok(n) if n == bytes.len() => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        // A swap, not a store: what a waker put into its channel before it found the flag set is seen from here on.
        self.waker.0.is_woken.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Wakeups {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}
