//! What is kept cannot be read: the client stops, says so, and loses nothing.

mod support;

use std::io;
use std::time::Duration;

use client_core::{ClientEvent, Kv, ReadError, Snapshot};
use support::*;
use wire::Role;
use wire::request::Request;

struct Broken;

impl Kv for Broken {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Err(ReadError(Box::new(io::Error::other("the disk is gone"))))
    }
}

#[test]
fn i4_a_client_that_cannot_read_its_keys_stops_and_says_so_and_moves_nothing() {
    let kept = || Snapshot {
        login: Some(login(Duration::from_secs(3600))),
        chats: vec![known_chat(3, 3)],
        ..Snapshot::default()
    };
    // With something to say.
    let mut world = World::with(kept(), start(), |_| Box::new(Broken));
    world.send("waits");
    world.accept(true);
    assert!(!world.said.values().flatten().any(|said| matches!(said, Request::Append(_))));
    assert_eq!((world.client.outbox_len(), world.closes), (1, 1));
    assert!(world.was_broken(), "{:?}", world.told);
    world.pass(Duration::from_secs(600));
    assert_eq!(world.connects, 1, "and it does not come back by itself");

    // With something to read.
    let mut world = World::with(kept(), start(), |_| Box::new(Broken));
    world.accept(true);
    let down = world.down(4);
    world.entry(down, 4, PEER, id(4));
    assert!(world.was_broken(), "{:?}", world.told);
    assert_eq!(world.arrived(), [0_u64; 0], "the entry is still to come");
    assert!(!world.roles.values().any(|role| *role == Role::ChatUp), "and no cursor moves over it");
}

impl World {
    fn was_broken(&self) -> bool {
        let is_it = |event: &ClientEvent| matches!(event, ClientEvent::StorageFailed { reason } if reason.contains("cannot be read"));
        self.told.iter().filter(|event| is_it(event)).count() == 1
    }
}
