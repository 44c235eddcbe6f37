//! What an input may ask for. Numbers choose among what is there, so that every input means something.

use arbitrary::Arbitrary;

/// What holds for a whole run.
#[derive(Debug, Arbitrary)]
pub(super) struct Setting {
    /// The server takes early data.
    pub(super) early: bool,
    /// Every newcomer has to prove its address.
    pub(super) retry: bool,
    /// The server takes few newcomers and few links.
    pub(super) small: bool,
}

/// One thing that happens.
#[derive(Debug, Arbitrary)]
pub(super) enum Act {
    /// What becomes of the next datagrams that are sent; after them, datagrams pass.
    Fate { count: u8, fate: Fate },
    /// Time passes.
    Wait { ms: u16 },
    /// The client connects.
    Connect { early: bool },
    /// A stream is opened.
    Open { side: Side, link: u8, role: u8 },
    /// A frame is sent.
    Send { at: At, size: Size },
    /// Bytes that are no frame, perhaps.
    Raw { at: At, bytes: Vec<u8> },
    /// A side of a stream ends.
    Finish { at: At },
    /// A stream is abandoned.
    Abandon { at: At },
    /// A stream is not read, or is read again.
    Pause { at: At, paused: bool },
    /// A sign of life is asked for.
    Probe { side: Side, link: u8 },
    /// A link is closed.
    Close { side: Side, link: u8 },
    /// The client has another address; `knows`: and knows it.
    Move { address: u8, knows: bool },
    /// Bytes arrive from somewhere.
    Forge { side: Side, from: u8, bytes: Vec<u8> },
    /// An old datagram arrives again, bent.
    Replay { side: Side, old: u8, from: u8, at: u16, mask: u8 },
    /// The server takes newcomers, or takes no more.
    Accepting(bool),
    /// The server dies and another starts in its place, with its keys.
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Arbitrary)]
pub(super) enum Side {
    Client,
    Server,
}

/// One side of a stream of a link.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) struct At {
    pub(super) side: Side,
    pub(super) link: u8,
    pub(super) stream: u8,
}

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Fate {
    Pass,
    Lost,
    Twice,
    Late {
        ms: u8,
    },
    /// Only its first bytes arrive.
    Cut {
        to: u16,
    },
    /// One byte is another.
    Bent {
        at: u16,
        mask: u8,
    },
    /// It comes with an old one behind it, in one datagram.
    Joined {
        old: u8,
    },
    /// An old one comes in its place.
    Swapped {
        old: u8,
    },
    /// It seems to come from elsewhere.
    From {
        address: u8,
    },
    /// Bytes follow it.
    Longer {
        by: u8,
        byte: u8,
    },
}

/// How long a frame's body is.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Size {
    Nothing,
    Small(u8),
    Medium(u16),
    Most,
}
