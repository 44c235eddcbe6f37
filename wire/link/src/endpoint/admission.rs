//! Who may begin a handshake.
//!
//! A newcomer is refused if the endpoint is full or drains; must prove its address by a Retry, one round trip more, if
//! many handshakes are under way or its address is over its limits; and is refused if it has proved its address and that
//! is still over its limits. Refusals and Retries keep no state.

use quinn_proto::{Incoming, Transmit};

use super::Endpoint;

/// Datagrams to peers without a link (Retry, refusal, stateless reset) that wait to be sent; more are dropped, as the
/// network would.
const RESPONSES_MAX: usize = 64;

impl Endpoint {
    pub(super) fn admit(&mut self, incoming: Incoming) {
        let (retry_past, max) =
            self.server.as_ref().map_or((0, 0), |s| (s.handshakes_before_retry, s.handshakes_max));
        let full = self.links.len() >= self.config.link_capacity() || self.handshakes >= max;
        if full || !self.accepting {
            return self.refuse(incoming);
        }
        let is_proved = incoming.remote_address_validated();
        if self.handshakes >= retry_past && !is_proved {
            return self.retry(incoming);
        }
        let Some(counted) = self.newcomers.enter(self.now, incoming.remote_address(), is_proved) else {
            if !is_proved {
                return self.retry(incoming);
            }
            self.counters.refused_by_address += 1;
            return self.refuse(incoming);
        };
        let mut response = Vec::new();
        match self.quic.accept(incoming, self.now, &mut response, None) {
            Ok((handle, connection)) => {
                self.counters.accepted += 1;
                self.insert(handle, connection, Some(counted));
            }
            Err(error) => {
                self.newcomers.leave(counted);
                self.counters.refused += 1;
                if let Some(transmit) = error.response {
                    self.respond(transmit, response);
                }
            }
        }
    }

    fn refuse(&mut self, incoming: Incoming) {
        self.counters.refused += 1;
        let mut response = Vec::new();
        let transmit = self.quic.refuse(incoming, &mut response);
        self.respond(transmit, response);
    }

    fn retry(&mut self, incoming: Incoming) {
        self.counters.retried += 1;
        let mut response = Vec::new();
        if let Ok(transmit) = self.quic.retry(incoming, &mut response) {
            self.respond(transmit, response);
        }
    }

    pub(super) fn respond(&mut self, transmit: Transmit, mut datagram: Vec<u8>) {
        if self.responses.len() < RESPONSES_MAX {
            datagram.truncate(transmit.size);
            self.responses.push_back((transmit, datagram));
        }
    }
}
