//! A link's sending side: queues in front of QUIC's windows.

use std::collections::VecDeque;

use bytes::Bytes;
use wire::CloseCode;

use super::{Link, code};
use crate::error::SendError;
use crate::event::Event;
use crate::id::StreamId;
use crate::stream::Sending;

impl Link {
    pub(crate) fn send(&mut self, stream: StreamId, frame: Bytes) -> Result<(), SendError> {
        let index = self.find(stream).ok_or(SendError::Closed)?;
        let found = &mut self.streams[index];
        if found.send != Sending::Open {
            return Err(SendError::Closed);
        }
        let bytes = frame.len();
        if found.queue_bytes + bytes > self.config.stream_queue_bytes_max
            || self.queued_bytes + bytes > self.config.link_queue_bytes_max
        {
            return Err(SendError::Full);
        }
        found.queue.push_back(frame);
        found.queue_bytes += bytes;
        self.queued_bytes += bytes;
        // What waits is flushed when QUIC says the stream is writable; only the first of a queue may try at once.
        if found.queue.len() == 1 {
            self.flush(index);
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, stream: StreamId) {
        let Some(index) = self.find(stream) else { return };
        if self.streams[index].send == Sending::Open {
            self.streams[index].send = Sending::Finishing;
            self.flush(index);
        }
    }

    pub(crate) fn reset(&mut self, stream: StreamId, close: CloseCode) {
        if self.end_sending(stream) {
            // Unknown to quinn-proto only if the peer has acknowledged everything: then there is nothing to abandon.
            let _ = self.connection.send_stream(stream.0).reset(code(close));
        }
    }

    pub(crate) fn set_priority(&mut self, stream: StreamId, priority: i32) {
        let Some(index) = self.find(stream) else { return };
        if self.streams[index].send != Sending::Over {
            self.streams[index].priority = priority;
            // Unknown to quinn-proto only if everything on it is acknowledged.
            let _ = self.connection.send_stream(stream.0).set_priority(priority);
        }
    }

    /// Flushes streams that QUIC takes more of, the most urgent first.
    pub(super) fn flush_all(&mut self, mut writable: Vec<StreamId>) {
        writable.sort_by_key(|&stream| {
            std::cmp::Reverse(self.find(stream).map_or(i32::MIN, |index| self.streams[index].priority))
        });
        for stream in writable {
            if let Some(index) = self.find(stream) {
                self.flush(index);
            }
        }
    }

    /// Hands a stream's queue to QUIC as far as its windows allow, and then its FIN.
    fn flush(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        if matches!(stream.send, Sending::Finished | Sending::Over) {
            return;
        }
        let mut quic = self.connection.send_stream(stream.id.0);
        // An error is "blocked", and "writable" follows; or the stream was stopped, and that event follows.
        while let Some(frame) = stream.queue.front_mut()
            && let Ok(written) = quic.write_chunks(std::slice::from_mut(frame))
        {
            stream.queue_bytes -= written.bytes;
            self.queued_bytes -= written.bytes;
            if written.chunks > 0 {
                stream.queue.pop_front();
            }
        }
        if !stream.queue.is_empty() {
            return;
        }
        if stream.send == Sending::Finishing {
            // Fails only if the peer has stopped the stream, and then that event ends it.
            let _ = quic.finish();
            stream.send = Sending::Finished;
        } else if !std::mem::replace(&mut stream.drained_is_due, true) {
            self.events.push_back(Event::Drained { stream: stream.id });
        }
    }

    /// Our side is over. False if it was before.
    pub(super) fn end_sending(&mut self, stream: StreamId) -> bool {
        let Some(index) = self.find(stream) else { return false };
        let found = &mut self.streams[index];
        if std::mem::replace(&mut found.send, Sending::Over) == Sending::Over {
            return false;
        }
        found.queue = VecDeque::new();
        self.queued_bytes -= std::mem::take(&mut found.queue_bytes);
        self.remove_if_over(index);
        true
    }

    pub(super) fn take_drained(&mut self, stream: StreamId) -> bool {
        let Some(index) = self.find(stream) else { return false };
        let found = &mut self.streams[index];
        found.drained_is_due = false;
        let drained = found.queue.is_empty() && found.send == Sending::Open;
        self.remove_if_over(index);
        drained
    }
}
