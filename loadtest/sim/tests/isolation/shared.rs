//! The network that holds up one chat: what it has to know, and what it counts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use wire::ChatId;
use wire_link::testing::{Datagram, FirstCarriers};

use crate::edge;

/// Which of a chat's datagrams are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Those that carry bytes of it for the first time: what is sent again arrives.
    First,
    /// All that carry bytes of it.
    All,
}

/// Known to the network and to who watches it.
#[derive(Debug, Default)]
pub(crate) struct HeldUp {
    /// The chat of each down stream, by who it goes to.
    pub(crate) streams: BTreeMap<(SocketAddr, u64), ChatId>,
    held_up: Option<(SocketAddr, ChatId, Loss, Instant)>,
    carriers: FirstCarriers<SocketAddr>,
    /// Datagrams that were lost, and of them those that carried bytes of other chats too.
    pub(crate) lost: u64,
    pub(crate) lost_with_others: u64,
}

pub(crate) type Shared = Rc<RefCell<HeldUp>>;

impl HeldUp {
    /// From now on a chat is held up on its way to one address, until then.
    pub(crate) fn hold_up(&mut self, to: SocketAddr, chat: ChatId, loss: Loss, until: Instant) {
        self.held_up = Some((to, chat, loss, until));
    }

    /// Whether a datagram is lost.
    pub(crate) fn is_lost(&mut self, now: Instant, datagram: &Datagram) -> bool {
        if datagram.from != edge::address() {
            return false;
        }
        let carried = self.carriers.see(&datagram.to, &datagram.bytes).expect("plain packets can be read");
        let Some((to, chat, loss, until)) = self.held_up else { return false };
        if datagram.to != to || now >= until {
            return false;
        }
        let (mut is_lost, mut has_others) = (false, false);
        for of in carried {
            match self.streams.get(&(to, of.part.stream)) {
                Some(&found) if found == chat => is_lost |= of.is_first || loss == Loss::All,
                Some(_) => has_others = true,
                None => {}
            }
        }
        self.lost += u64::from(is_lost);
        self.lost_with_others += u64::from(is_lost && has_others);
        is_lost
    }
}
