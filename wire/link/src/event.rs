//! What a link tells its owner.

use std::net::SocketAddr;

use bytes::Bytes;
use wire::CloseCode;
use wire::proof::Exporter;

use crate::StreamId;

/// Something that happened on a link, in order per stream. A link says [`Connected`](Event::Connected) once, first or
/// after [`Early`](Event::Early) and what came early, and [`Closed`](Event::Closed) once and last; a client's link, and
/// one that said `Early`, may end without the former. About a stream that the owner has abandoned, an event that was
/// already on its way may still arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The first event of a link whose handshake is still under way but which carries early data (0-RTT, RFC 9001,
    /// section 4.6.1) already.
    ///
    /// On a client: the server is remembered, streams may be opened and frames sent at once, as many streams as its
    /// *initial* limit allowed when the session was made. How far that reaches with rustls: the same client process
    /// (tickets cannot be written down yet), a ticket that is under 24 hours old and not yet used (each connection brings
    /// one, and each attempt uses one up, even if it gets nowhere), and clocks of both sides that ran within 60 seconds of
    /// each other since then. Beyond it there is no `Early`, or the server refuses ([`Connected`](Event::Connected) says
    /// so), and everything goes one round trip later.
    ///
    /// On a server: what comes before `Connected` may be a *replay* of what was sent once before: act only on what may
    /// be done twice. Answers may be sent; whether the peer is where it seems to be is not proved yet, so QUIC sends
    /// three times what came and no more, but for the datagram that goes over it. A link whose handshake never completes ends by `Closed`.
    Early {
        /// The peer's address, on a server not yet proved; it never reaches a log.
        remote: SocketAddr,
    },
    /// The handshake is complete.
    Connected {
        /// The peer's address; it never reaches a log.
        remote: SocketAddr,
        /// The TLS exporter that device proofs cover ([`wire::proof`]).
        exporter: Exporter,
        /// What became of early data: `None` if none was offered, `Some(true)` if it was accepted, `Some(false)` if it was
        /// refused (then [`Early`](Event::Early) is not told any more if it has not been). A refusal undoes every stream that a client opened before this event, with all that was sent and
        /// queued on it; no event tells of them, and the owner opens them again. TLS does not tell a server what it
        /// refused: there it is `Some(true)` or `None`.
        early: Option<bool>,
    },
    /// The peer opened a stream. Pause it before the next poll, and nothing is read from it.
    Opened {
        /// Which.
        stream: StreamId,
    },
    /// A whole frame arrived.
    Frame {
        /// On which stream.
        stream: StreamId,
        /// Its body, the length prefix taken off; not yet verified. At most [`wire::limits::FRAME_BYTES_MAX`]
        /// bytes. It shares memory with at most one datagram: copy what is kept for long.
        body: Bytes,
    },
    /// The peer finished its side, after a whole frame.
    Finished {
        /// Of which stream.
        stream: StreamId,
    },
    /// The peer abandoned its side, or finished it within a frame ([`CloseCode::Malformed`] then).
    Reset {
        /// Of which stream.
        stream: StreamId,
        /// Why, usually a [`CloseCode`]'s number.
        code: u64,
    },
    /// The peer no longer reads what we send. Our side is over and what was queued is dropped.
    Stopped {
        /// On which stream.
        stream: StreamId,
        /// Why, usually a [`CloseCode`]'s number.
        code: u64,
    },
    /// Follows every [`send`](crate::Endpoint::send) on a stream that is still open, once for all since the last: the
    /// queue is empty, what was in it is within QUIC's windows, and the stream takes more.
    Drained {
        /// Which stream.
        stream: StreamId,
    },
    /// The peer has acknowledged all we sent and our FIN.
    Delivered {
        /// On which stream.
        stream: StreamId,
    },
    /// The peer allows more streams than when [`OpenError::Exhausted`](crate::OpenError::Exhausted) was said.
    StreamsAvailable,
    /// The peer's address changed (R33, I10); the link goes on.
    Moved {
        /// To where; it never reaches a log.
        remote: SocketAddr,
    },
    /// Something that the peer sealed has arrived since [`probe`](crate::Endpoint::probe): the path carries datagrams.
    /// Once per probe at most, and once for several that were under way together.
    Alive,
    /// The link is over. Its id means nothing from here on.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// We closed it: the owner by [`close`](crate::Endpoint::close), or the link for a peer that broke the framing.
    #[error("closed here: {0:?}")]
    Here(CloseCode),
    /// The peer closed it.
    #[error("closed by the peer with code {code}: {reason:?}")]
    Peer {
        /// Usually a [`CloseCode`]'s number.
        code: u64,
        /// For people; at most 256 characters of what the peer sent.
        reason: String,
    },
    /// Nothing was heard for the idle timeout, or the handshake took too long.
    #[error("timed out")]
    TimedOut,
    /// The peer no longer knows the connection: it has restarted.
    #[error("the peer has restarted")]
    Reset,
    /// The handshake or the transport failed, here or there: certificates, ALPN, a refused connection, a violation.
    #[error("the transport failed with code {code:#x}: {reason}")]
    Transport {
        /// RFC 9000, section 20.1; `0x100` and a TLS alert's number if TLS failed.
        code: u64,
        /// For people.
        reason: String,
    },
}

impl CloseReason {
    /// The TLS alert behind it, if TLS failed (RFC 9001, section 4.8): 48 is an unknown authority, 120 no common ALPN.
    pub fn tls_alert(&self) -> Option<u8> {
        match self {
            CloseReason::Transport { code, .. } => u8::try_from(code.checked_sub(0x100)?).ok(),
            _ => None,
        }
    }
}

impl From<quinn_proto::ConnectionError> for CloseReason {
    fn from(error: quinn_proto::ConnectionError) -> Self {
        use quinn_proto::ConnectionError as E;
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(256).collect::<String>();
        match error {
            E::ApplicationClosed(close) => {
                CloseReason::Peer { code: close.error_code.into(), reason: shown(&close.reason) }
            }
            E::ConnectionClosed(close) => {
                CloseReason::Transport { code: close.error_code.into(), reason: shown(&close.reason) }
            }
            E::TransportError(error) => {
                CloseReason::Transport { code: error.code.into(), reason: error.reason }
            }
            E::Reset => CloseReason::Reset,
            E::TimedOut => CloseReason::TimedOut,
            E::LocallyClosed => CloseReason::Here(CloseCode::Done),
            other @ (E::VersionMismatch | E::CidsExhausted) => {
                CloseReason::Transport { code: 0x1, reason: other.to_string() }
            }
        }
    }
}
