//! G18: links that have not completed their handshake, as their events have it and not as the node does. They may append,
//! move cursors and read; they have no route, no delivery and no session, and one that a thief began never gets any.

use std::collections::BTreeSet;

use edge_proto::{Effect, LinkId, Output};
use store::ephemeral::EphemeralOp;
use wire_link::Event;

use crate::check::Violation;
use crate::outside::Outside;
use crate::replay::is_thief;

/// Links that have said something early and nothing later.
#[derive(Debug, Default)]
pub(super) struct Unproved(BTreeSet<LinkId>);

impl Unproved {
    pub(super) fn contains(&self, link: LinkId) -> bool {
        self.0.contains(&link)
    }

    /// Takes note of an event.
    pub(super) fn see(&mut self, link: LinkId, event: &Event, out: &mut Outside) {
        match event {
            Event::Early { remote } => {
                self.0.insert(link);
                if is_thief(*remote) {
                    out.counts.replays_early += 1;
                    out.say(format_args!("a replay is taken as early data"));
                }
            }
            Event::Connected { remote, .. } => {
                self.0.remove(&link);
                if is_thief(*remote) {
                    out.fail(Violation::ReplayBelieved { what: "its handshake completed" });
                }
            }
            Event::Closed { .. } => drop(self.0.remove(&link)),
            _ => {}
        }
    }

    /// Looks at what the node asks for.
    pub(super) fn judge(&self, output: &Output, out: &mut Outside) {
        let what = match output {
            Output::OpenDown { link, .. } if self.contains(*link) => "it is delivered to",
            Output::Send { link, frame, .. } if self.contains(*link) && says_connected(frame) => {
                "it is told that it is connected"
            }
            Output::Perform { effect: Effect::Ephemeral(EphemeralOp::PutRoute(route)), .. }
                if self.contains(LinkId(route.connection)) =>
            {
                "it has a route"
            }
            _ => return,
        };
        out.fail(Violation::ReplayBelieved { what });
    }
}

fn says_connected(frame: &bytes::Bytes) -> bool {
    matches!(wire::Event::decode(&wire::frame::body_of(frame)), Ok(wire::Event::Connected(_)))
}
