//! Joins a node to a QUIC endpoint: events become inputs, outputs become calls. Still without IO: the real driver and
//! the simulation both go through here.

use wire::{CloseCode, Role};
use wire_link::{Endpoint, Event, SendError};

use crate::fanout::Hint;
use crate::io::{Effect, Input, LinkId, OpId, Output, StreamId};

/// What is left to do of an output after the endpoint's part.
#[derive(Debug)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// Give the node this.
    Input(Input),
    /// Perform an effect.
    Effect(OpId, Effect),
    /// Tell the other loops and nodes.
    Publish(Hint),
}

/// What an endpoint's event means to a node, if anything.
pub fn input_of(link: wire_link::LinkId, event: Event) -> Option<Input> {
    let link = LinkId(link.0);
    let stream = |stream: wire_link::StreamId| StreamId(stream.number());
    Some(match event {
        Event::Early { remote } => Input::Early { link, remote: remote.ip() },
        Event::Connected { remote, exporter, early } => {
            Input::Connected { link, remote: remote.ip(), exporter, early: early == Some(true) }
        }
        Event::Opened { stream: s } => Input::Opened { link, stream: stream(s) },
        Event::Frame { stream: s, body } => Input::Frame { link, stream: stream(s), body },
        Event::Finished { stream: s } => Input::Finished { link, stream: stream(s) },
        Event::Reset { stream: s, code } if code == u64::from(CloseCode::Malformed.number()) => {
            Input::Torn { link, stream: stream(s) }
        }
        Event::Reset { stream: s, .. } | Event::Stopped { stream: s, .. } => {
            Input::Reset { link, stream: stream(s) }
        }
        Event::Drained { stream: s } => Input::Drained { link, stream: stream(s) },
        Event::Delivered { stream: s } => Input::Delivered { link, stream: stream(s) },
        Event::StreamsAvailable => Input::StreamsAvailable { link },
        Event::Closed { .. } => Input::Closed { link },
        Event::Alive | Event::Moved { .. } => return None,
    })
}

/// Performs the endpoint's part of an output.
pub fn perform(endpoint: &mut Endpoint, output: Output) -> Left {
    match output {
        Output::Perform { op, effect } => return Left::Effect(op, effect),
        Output::Publish(hint) => return Left::Publish(hint),
        Output::OpenDown { link, log } => {
            let opened = endpoint.open(wire_link::LinkId(link.0), Role::ChatDown);
            let stream = opened.ok().map(|stream| StreamId(stream.number()));
            return Left::Input(Input::DownOpened { link, log, stream });
        }
        Output::Close { link, code } => endpoint.close(wire_link::LinkId(link.0), code, ""),
        Output::Send { link, stream, frame } => {
            with_stream(link, stream, |link, stream| match endpoint.send(link, stream, frame) {
                // The node sends no more than a stream has taken: only a client that asks without end and reads no
                // answer comes here.
                Err(SendError::Full) => endpoint.close(link, CloseCode::Flood, "answers are not read"),
                Ok(()) | Err(SendError::Closed) => {}
            });
        }
        Output::Finish { link, stream } => with_stream(link, stream, |l, s| endpoint.finish(l, s)),
        Output::Stop { link, stream, code } => with_stream(link, stream, |l, s| endpoint.stop(l, s, code)),
        Output::Reset { link, stream, code } => {
            with_stream(link, stream, |l, s| endpoint.abandon(l, s, code))
        }
        Output::Pause { link, stream } => with_stream(link, stream, |l, s| endpoint.pause(l, s)),
        Output::Resume { link, stream } => with_stream(link, stream, |l, s| endpoint.resume(l, s)),
    }
    Left::Nothing
}

fn with_stream(link: LinkId, stream: StreamId, f: impl FnOnce(wire_link::LinkId, wire_link::StreamId)) {
    if let Some(stream) = wire_link::StreamId::from_number(stream.0) {
        f(wire_link::LinkId(link.0), stream);
    }
}
