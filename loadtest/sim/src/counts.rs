//! What a run counts.

/// What a run has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that users sent.
    pub sent: u64,
    /// Messages that were acknowledged to them.
    pub acked: u64,
    /// Messages that devices stored, their own included.
    pub stored: u64,
    /// Connections that were accepted by `Connected`.
    pub connected: u64,
    /// Clients told that another connection replaced theirs.
    pub replaced: u64,
    /// Tokens renewed.
    pub renewed: u64,
    /// Client processes killed.
    pub client_crashes: u64,
    /// Node processes killed.
    pub node_crashes: u64,
    /// Messages that a node asked to be sent again later.
    pub delayed: u64,
    /// Times that a client's process did not read what had come.
    pub dawdled: u64,
    /// Times that a loop was told that hints for it were lost.
    pub looked_again: u64,
    /// Phones beyond everybody's first, and of them those that were added while things went wrong.
    pub second_phones: u64,
    /// See [`second_phones`](Counts::second_phones).
    pub late_phones: u64,
    /// Jumps of a node's wall clock.
    pub clock_jumps: u64,
    /// Hints lost between nodes.
    pub hints_lost: u64,
    /// Hints that the sweeper gave.
    pub repairs: u64,
    /// Store ops that failed for good and were answered with "again later".
    pub store_errors: u64,
    /// Connections lost that clients made anew.
    pub disconnected: u64,
    /// Clients' connections whose early data was accepted.
    pub early_accepted: u64,
    /// And refused, by TLS.
    pub early_refused: u64,
    /// Appends begun before a handshake was complete.
    pub early_appends: u64,
    /// First flights of clients whose clock is too wrong for early data.
    pub early_wrong_clock: u64,
    /// Clients told that their address changed, and clients whose address changed without their knowing.
    pub moves: u64,
    /// See [`moves`](Counts::moves).
    pub rebinds: u64,
    /// Changed addresses as nodes have seen them.
    pub migrations: u64,
    /// Datagrams that one loop handed to another.
    pub handed_over: u64,
    /// Datagrams for which a loop's socket or queue had no room.
    pub handover_lost: u64,
    /// Hints for which a loop's queue had no room.
    pub hints_dropped: u64,
    /// First flights that were sent again by somebody else.
    pub replays: u64,
    /// Those of them that were taken as early data.
    pub replays_early: u64,
    /// Connections let go in the background.
    pub asleep: u64,
    /// "Types" that reached a node.
    pub typed: u64,
    /// "Types" that a member was shown.
    pub typing_shown: u64,
    /// Commits that phones have made, some of which lose.
    pub commits: u64,
    /// Groups that phones have joined by a welcome, chats of two among them.
    pub joined: u64,
    /// Changes of a group's members that came to their end.
    pub plans: u64,
    /// Phones whose person was removed from a group, or has left it.
    pub gone: u64,
    /// Messages that failed for that.
    pub failed: u64,
    /// Times that somebody had no key package.
    pub unreachable: u64,
    /// Keys that a connected user pressed in a chat of two others.
    pub snooped: u64,
}
