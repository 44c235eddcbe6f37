//! A device that comes back: its next connection, with or without early data.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wire::proof::{self, Purpose};
use wire::request::{self, EarlyProof, Refresh, Request};
use wire::{CloseCode, RequestId, WallTime};
use wire_link::StreamId;

use super::*;

impl Raw {
    /// Ends the connection and begins another one; early data if the server is remembered and it is wanted.
    pub fn again(&mut self, addr: SocketAddr, early: bool) {
        let link = self.link;
        self.driver.endpoint().close(link, CloseCode::Done, "");
        self.turn(Instant::now());
        self.link = self.driver.endpoint().connect_with(Instant::now(), addr, "localhost", early).unwrap();
        (self.exporter, self.session, self.closed) = ([0; 32], None, None);
        (self.is_early, self.early) = (false, None);
        self.inbox.clear();
        self.ended.clear();
        while let Some((link, event)) = self.driver.endpoint().poll_event() {
            self.is_early |= link == self.link && matches!(event, wire_link::Event::Early { .. });
        }
    }

    /// As [`again`](Raw::again) with early data; nothing has left yet.
    #[track_caller]
    pub fn again_early(&mut self, addr: SocketAddr) {
        // The ticket follows the handshake.
        for _ in 0..4 {
            self.turn(Instant::now() + Duration::from_millis(20));
        }
        self.again(addr, true);
        assert!(self.is_early, "the server is remembered");
    }

    /// Says goodbye: the node knows at once that nobody is there any more.
    pub fn leave(mut self) {
        let link = self.link;
        self.driver.endpoint().close(link, CloseCode::Done, "");
        self.turn(Instant::now());
    }

    #[track_caller]
    pub fn connected(&mut self) {
        self.until(|raw| raw.exporter != [0; 32] || raw.closed.is_some());
        assert_eq!(self.closed, None);
    }

    /// Says `Hello` as early data, signed at this time.
    pub fn say_early_hello(&mut self, person: &Person, signed_at: WallTime) -> StreamId {
        let token = &person.verified.tokens.access;
        let server_name = "localhost".to_owned();
        let message = proof::early_message(token.expose(), &server_name, signed_at);
        let proof = person.key.sign(&message).as_ref().try_into().unwrap();
        let early = Some(EarlyProof { signed_at, server_name });
        self.greet(Some(request::Credentials { token: token.clone(), proof, early }))
    }

    /// Asks for new tokens on this connection.
    pub fn refresh(&mut self, person: &Person) -> Vec<Event> {
        let (token, id) = (&person.verified.tokens.refresh, RequestId::new(random()));
        let fields: [&[u8]; 2] = [token.expose(), id.as_bytes()];
        let proof = sign(&person.key, Purpose::Refresh, &self.exporter, &fields);
        let device_key = person.key.public_key().as_ref().try_into().unwrap();
        self.ask(&Request::Refresh(Refresh { token: token.clone(), request: id, device_key, proof }))
    }
}

/// The machine's wall time.
pub fn wall() -> WallTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    WallTime(since.as_millis().try_into().unwrap())
}
