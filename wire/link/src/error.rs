//! What an owner's command can meet.

/// Why a connection was not even begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint has no [`ClientConfig`](crate::ClientConfig): it is a server.
    #[error("this endpoint has no client configuration")]
    NotAClient,
    /// The endpoint holds [`Config::links_max`](crate::Config::links_max) links.
    #[error("the endpoint is full")]
    Full,
    /// The name is neither a DNS name nor an IP address, or the address has port 0 or no host.
    #[error("cannot connect: {0}")]
    Invalid(#[source] quinn_proto::ConnectError),
}

/// Why a stream was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The link is closed, or was never there.
    #[error("the link is closed")]
    Closed,
    /// The peer allows no more now; [`Event::StreamsAvailable`](crate::Event::StreamsAvailable) follows when it does.
    #[error("the peer allows no more streams now")]
    Exhausted,
}

/// Why a frame was not taken. Nothing of it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The link is closed, or our side of the stream is finished, reset or stopped by the peer. Usually a race with
    /// the peer, and then an event says so.
    #[error("the stream takes no more")]
    Closed,
    /// The stream's or the link's queue is full: wait for [`Event::Drained`](crate::Event::Drained), or give up on the
    /// peer.
    #[error("the peer does not read fast enough and the queue is full")]
    Full,
}
