//! What an input may ask for. Numbers choose among what is there, so that every input means something.

use arbitrary::Arbitrary;

/// One thing that happens.
#[derive(Debug, Arbitrary)]
pub(super) enum Act {
    /// A device connects to a node; `early`: its handshake takes a while.
    Connect { node: bool, early: bool },
    /// The handshake of an early connection is complete.
    Complete { link: u8 },
    /// A connection ends.
    Close { link: u8 },
    /// A stream is opened.
    Open { link: u8 },
    /// `Hello`, on the link's first stream.
    Hello { link: u8, device: u8, how: Greeting },
    /// A whole sign-in: connects, opens a stream and says a good `Hello`.
    SignIn { node: bool, device: u8 },
    /// A stream for a chat with the person of this number.
    ChatUp { link: u8, with: u8, named: bool },
    /// One message.
    Append { at: At, id: u8, size: Size },
    /// Several messages, without waiting.
    Burst { at: At, count: u8 },
    /// Cursors move.
    Move { at: At, delivered: Place, read: Place },
    /// Somebody types.
    Typing { at: At, typing: bool },
    /// A request, on a stream of its own.
    Ask { link: u8, ask: Ask },
    /// Any request, on any stream.
    Misplaced { at: At, ask: Ask },
    /// Any bytes as a frame's body, on any stream.
    Raw { at: At, body: Vec<u8> },
    /// The client has said all on a stream.
    Finish { at: At },
    /// The client gives a stream up.
    Reset { at: At },
    /// The client no longer reads a stream, or does again.
    Stall { at: At, stalled: bool },
    /// The client reads nothing on streams that are opened from now on.
    StallNew { link: u8, stalled: bool },
    /// How many streams the client allows the server.
    Allow { link: u8, streams: u8 },
    /// Time passes.
    Pass(Time),
    /// Effects wait to be performed from now on, or are performed at once again.
    Hold(bool),
    /// A waiting effect is performed; its answer waits.
    Perform { effect: u8 },
    /// A waiting answer arrives.
    Answer { answer: u8 },
    /// A waiting effect fails; `happened`: the world changed all the same.
    Fail { effect: u8, happened: bool },
    /// Everything that waits is performed and answered.
    Release,
    /// Hints wait from now on, or are told at once again.
    HoldHints(bool),
    /// A waiting hint is told, and kept: it may be told again.
    Hint { hint: u8 },
    /// Waiting hints are lost.
    LoseHints,
    /// The sweeper's round.
    Sweep,
    /// A node is to stop.
    Drain { node: bool },
    /// A device commits, in a group or in the 1:1 chat with somebody.
    Commit { link: u8, group: u8, id: u8, change: Change, fault: Fault },
    /// A stream for a chat, which may be a group.
    GroupUp { link: u8, group: u8 },
    /// A stream for the device's inbox.
    InboxUp { link: u8 },
}

/// What a commit is to change.
#[derive(Debug, Arbitrary)]
pub(super) enum Change {
    /// The first commit of the chat with the person of the group's number.
    Direct,
    /// The first commit of a group with these devices.
    Create {
        with: [u8; 2],
    },
    Add {
        who: u8,
    },
    Remove {
        who: u8,
    },
    Update {
        adds: Option<u8>,
    },
}

/// What is wrong with a commit as it is said.
#[derive(Debug, Arbitrary)]
pub(super) enum Fault {
    None,
    /// Nothing, but that it comes in so many pieces.
    Pieces(u8),
    /// The header states the next epoch.
    Epoch,
    /// Another id.
    Id(u8),
    /// Another chat.
    Chat(u8),
    /// That it changes nobody's membership.
    Update,
    /// One device less.
    Another,
    /// A byte of commit, tree or welcomes is another one.
    Damage {
        at: u16,
        by: u8,
    },
    /// The last part does not come.
    Stops,
    /// The last part says that there is more.
    Lies,
}

impl Fault {
    /// In how many pieces it comes.
    pub(super) fn pieces(&self) -> usize {
        match self {
            Fault::Pieces(pieces) => 1 + usize::from(pieces % 16),
            _ => 3,
        }
    }
}

/// A stream of a link.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) struct At {
    pub(super) link: u8,
    pub(super) stream: u8,
}

/// How a device says `Hello`.
#[derive(Debug, Arbitrary)]
pub(super) enum Greeting {
    Good,
    Anonymous,
    /// Signed for early data, so many seconds off.
    Early {
        late_s: i16,
    },
    /// With cursors of its own for the chats with these people.
    Stating(Vec<(u8, Place)>),
    /// The signature is for something else.
    BadProof,
    /// The token is damaged.
    BadToken {
        byte: u16,
    },
    /// Another device's token.
    WrongToken,
    Version(u16),
}

/// How much a message says.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Size {
    Nothing,
    Word,
    Page,
    Most,
    TooMuch,
}

/// A place in a log.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Place {
    Zero,
    /// So many before the last that was acknowledged.
    Back(u8),
    /// So many after it.
    Ahead(u8),
    Any(u64),
}

/// How long.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Time {
    Millis(u8),
    Seconds(u8),
    Minutes(u8),
}

/// A request. People are named by number, places by [`Place`].
#[derive(Debug, Arbitrary)]
pub(super) enum Ask {
    Ping,
    Register { number: u8, request: u8 },
    VerifyOtp { registration: u8, right: bool, key: u8 },
    Refresh { device: u8, request: u8 },
    Logout,
    ListDevices,
    RevokeDevice { device: u8 },
    Lookup { person: u8 },
    GetMessages { with: u8, limit: u16, before: Place, after: Place },
    GetChats { after: Option<u8> },
    GetReceipts { with: u8, seq: Place },
    Hello,
    ChatUp { with: u8 },
    Part { left: u8 },
    LeaveGroup { group: u8, id: u8 },
    GetGroup { group: u8 },
    GetTree { group: u8, epoch: u8 },
    GetLog { group: u8, before: Place, after: Place },
    Publish { request: u8, count: u8, last_resort: bool, whose: Option<u8> },
    Claim { people: [u8; 2], after: Option<u8> },
    InboxUp,
}
