//! What both sides of the stand-in remember of sessions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TAG_BYTES;

/// Sessions that a server remembers; the oldest go first.
const SESSIONS_MAX: usize = 10_000;

/// Servers that a client remembers, and tickets of each; as rustls has it.
const SERVERS_MAX: usize = 256;
const TICKETS_MAX: usize = 8;

/// A name of a session, and its secret.
pub(super) type Id = [u8; TAG_BYTES];

/// What a server does with early data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyPolicy {
    /// Takes it, once per ticket.
    Accept,
    /// Gives tickets, resumes sessions, and refuses their early data.
    Refuse,
}

/// The sessions of a server, single use as a real one's: share them between endpoints for loops of one node, or for a
/// node that starts again and remembers; begin anew for one that does not.
#[derive(Debug)]
pub struct PlainSessions(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    policy: EarlyPolicy,
    secrets: BTreeMap<Id, Id>,
    by_age: VecDeque<Id>,
}

impl PlainSessions {
    /// None yet.
    pub fn new(policy: EarlyPolicy) -> Arc<PlainSessions> {
        let kept = Kept { policy, secrets: BTreeMap::new(), by_age: VecDeque::new() };
        Arc::new(PlainSessions(Mutex::new(kept)))
    }

    /// What is done with early data from now on.
    pub fn set_policy(&self, policy: EarlyPolicy) {
        self.lock().policy = policy;
    }

    /// Forgets all sessions, as a restart does.
    pub fn forget(&self) {
        let mut kept = self.lock();
        (kept.secrets, kept.by_age) = (BTreeMap::new(), VecDeque::new());
    }

    /// Sessions remembered.
    pub fn count(&self) -> usize {
        self.lock().secrets.len()
    }

    pub(super) fn put(&self, id: Id, secret: Id) {
        let mut kept = self.lock();
        while kept.by_age.len() >= SESSIONS_MAX
            && let Some(oldest) = kept.by_age.pop_front()
        {
            kept.secrets.remove(&oldest);
        }
        kept.secrets.insert(id, secret);
        kept.by_age.push_back(id);
    }

    /// The session of this name, which is gone after, and whether its early data may be taken.
    pub(super) fn take(&self, id: &Id) -> Option<(Id, bool)> {
        let mut kept = self.lock();
        let secret = kept.secrets.remove(id)?;
        Some((secret, kept.policy == EarlyPolicy::Accept))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client keeps to come back with.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) id: Id,
    pub(super) secret: Id,
    /// The server's transport parameters, encoded.
    pub(super) params: Vec<u8>,
}

/// A client's tickets by server name.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<BTreeMap<String, VecDeque<Ticket>>>);

impl Tickets {
    pub(super) fn put(&self, server: &str, ticket: Ticket) {
        let mut servers = self.lock();
        if servers.len() >= SERVERS_MAX && !servers.contains_key(server) {
            servers.pop_first();
        }
        let tickets = servers.entry(server.to_owned()).or_default();
        if tickets.len() >= TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    /// The newest, which is gone after.
    pub(super) fn take(&self, server: &str) -> Option<Ticket> {
        self.lock().get_mut(server)?.pop_back()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<Ticket>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
