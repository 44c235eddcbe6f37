//! What a device says of its own inbox: up to where it has it. Nobody else is told, and nobody reads it as a person does.

use wire::{CloseCode, LogId, Request, Seq};

use super::Identity;
use super::append::gather;
use crate::cx::Cx;
use crate::io::{LinkId, StreamId};

/// An inbox's up stream.
#[derive(Debug)]
pub(crate) struct InboxUp {
    pub(crate) who: Identity,
}

impl InboxUp {
    /// A frame after the first.
    ///
    /// # Errors
    /// How the stream is reset, if it does not belong there.
    pub(crate) fn frame(
        &self,
        cx: &mut Cx,
        link: LinkId,
        stream: StreamId,
        request: &Request,
    ) -> Result<(), CloseCode> {
        match request {
            Request::MoveCursor { delivered, .. } => {
                let log = LogId::Device(self.who.device);
                gather(cx, self.who, log, (link, stream), (*delivered, Seq::ZERO));
                Ok(())
            }
            Request::Unknown => Ok(()),
            _ => Err(CloseCode::Unexpected),
        }
    }
}
