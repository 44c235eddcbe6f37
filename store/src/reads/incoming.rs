//! Frames in and out of a socket, each within a time. The time is for the whole frame: bytes that drip in or out one by one
//! do not extend it.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::Bytes;

/// A monotonic reading.
pub(super) type Now<'a> = &'a (dyn Fn() -> Duration + Send + Sync);

/// How much is read at once, at least and at most.
const CHUNK_BYTES: std::ops::RangeInclusive<usize> = 4 << 10..=64 << 10;

/// A socket, and what came over it beyond the last frame.
#[derive(Debug)]
pub(super) struct Socket {
    stream: UnixStream,
    ahead: Vec<u8>,
    bytes_max: usize,
}

impl Socket {
    /// `bytes_max` is the longest frame that is taken, without its length.
    pub(super) fn new(stream: UnixStream, bytes_max: usize) -> Socket {
        Socket { stream, ahead: Vec::new(), bytes_max }
    }

    /// The next frame without its length, if all of it has come at `until`; what has come of it by then is kept.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] if the other side has ended, [`ErrorKind::InvalidData`] if it announces a frame that is
    /// too long, else as the system calls.
    pub(super) fn receive(&mut self, now: Now<'_>, until: Duration) -> io::Result<Option<Bytes>> {
        loop {
            let wanted = match self.ahead.first_chunk() {
                None => 4,
                Some(length) => 4 + u32::from_le_bytes(*length) as usize,
            };
            if wanted > 4 + self.bytes_max || self.ahead.starts_with(&[0; 4]) {
                return Err(ErrorKind::InvalidData.into());
            }
            if self.ahead.len() >= wanted && wanted > 4 {
                let rest = self.ahead.split_off(wanted);
                let frame = std::mem::replace(&mut self.ahead, rest);
                return Ok(Some(Bytes::from(frame).slice(4..)));
            }
            if !self.read_some(wanted, now, until)? {
                return Ok(None);
            }
        }
    }

    /// Reads what there is, up to about a chunk; false if there is nothing until then.
    fn read_some(&mut self, wanted: usize, now: Now<'_>, until: Duration) -> io::Result<bool> {
        let left = until.saturating_sub(now());
        if left.is_zero() {
            return Ok(false);
        }
        self.stream.set_read_timeout(Some(left))?;
        let before = self.ahead.len();
        let chunk = wanted.saturating_sub(before).clamp(*CHUNK_BYTES.start(), *CHUNK_BYTES.end());
        self.ahead.resize(before + chunk, 0);
        let read = self.stream.read(&mut self.ahead[before..]);
        self.ahead.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(error) if is_passing(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] if the other side has not taken all of it at `until`, else as the system calls. The socket is
    /// of no use after that.
    pub(super) fn send(&mut self, mut frame: &[u8], now: Now<'_>, until: Duration) -> io::Result<()> {
        while !frame.is_empty() {
            let left = until.saturating_sub(now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_write_timeout(Some(left))?;
            match self.stream.write(frame) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => frame = &frame[sent..],
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the time decides what an error means: it is up, or a signal came.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
