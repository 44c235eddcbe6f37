//! Every size and count bound of the protocol, each with its reason. Rates and lifetimes that an operator may change
//! are configuration of the node (`edge-proto`'s `Limits`), not here.

use std::time::Duration;

/// Largest FlatBuffer in one frame: a message's content (under 64 KiB) and its envelope, with room to spare.
pub const FRAME_BYTES_MAX: usize = 72 * 1024;

/// Longest varint length prefix that a frame within [`FRAME_BYTES_MAX`] needs; more is refused unread.
pub const FRAME_PREFIX_BYTES_MAX: usize = 4;

/// Content of a message is *under* 64 KiB (R116): 65,535 bytes are the most.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024 - 1;

/// FlatBuffers tables in one frame; a `Hello` with every cursor it may state needs 1,002: one for each, its own
/// and the frame's.
pub const FRAME_TABLES_MAX: usize = 4096;

/// Nesting of tables in one frame; the deepest legal frame has four levels.
pub const FRAME_DEPTH_MAX: usize = 8;

/// Cursors stated in one `Hello` : what fits a frame twice over; a client with more sends `MoveCursor` later.
pub const HELLO_CURSORS_MAX: usize = 1000;

/// Characters in a person's name (R13, C34): 1 to this many.
pub const NAME_CHARS_MAX: usize = 255;

/// Digits in an E.164 number, after the plus sign (ITU-T E.164, 6.2.1).
pub const PHONE_DIGITS_MAX: usize = 15;

/// The shortest number that is accepted; shorter ones are short codes, not subscribers.
pub const PHONE_DIGITS_MIN: usize = 7;

/// Digits of a one-time password (R15).
pub const OTP_DIGITS: usize = 6;

/// Entries in one history page at most (G15), and when the client names no limit (R133).
pub const HISTORY_PAGE_MAX: u16 = 500;
/// See [`HISTORY_PAGE_MAX`].
pub const HISTORY_PAGE_DEFAULT: u16 = 50;

/// Chats in one `Chats` answer; a page of them stays under a third of a frame.
pub const CHATS_PAGE_MAX: usize = 100;

/// Server streams owing at a time (G15): enough for every chat on a screen, few enough to bound a session.
pub const CHAT_DOWN_STREAMS_MAX: usize = 64;

/// A chat's stream without traffic is closed after this (G15), so a quiet phone holds one stream.
pub const CHAT_STREAM_IDLE: Duration = Duration::from_secs(60);

/// Heartbeat of a client in the foreground (R28, R129).
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);

/// Read receipts: the first at once, later ones at most this often (R46, C28).
pub const READ_RECEIPT_INTERVAL: Duration = Duration::from_secs(3);

/// Appends of one stream that the server takes before it has acknowledged the first of them.
pub const APPENDS_IN_FLIGHT_MAX: usize = 64;

/// Bytes of client and device names shown to people.
pub const LABEL_CHARS_MAX: usize = 64;

/// An access token is a compact JWT; ours are about 350 bytes.
pub const ACCESS_TOKEN_BYTES_MAX: usize = 1024;

/// A refresh token: family id and secret.
pub const REFRESH_TOKEN_BYTES: usize = 48;

/// An Ed25519 public key and signature (RFC 8032).
pub const DEVICE_KEY_BYTES: usize = 32;
/// See [`DEVICE_KEY_BYTES`].
pub const PROOF_BYTES: usize = 64;

/// The server's name in an early `Hello`: a DNS name is at most 253 bytes, an address shorter.
pub const SERVER_NAME_BYTES_MAX: usize = 253;

/// How far the wall time in an early `Hello` may be from the server's. Within it a captured `Hello` can be replayed, and
/// then finds its idempotency keys.
pub const EARLY_CLOCK_MAX: Duration = Duration::from_secs(600);

/// A client says that its person types at most this often (R34, R130).
pub const TYPING_INTERVAL: Duration = Duration::from_secs(3);

/// A person who has pressed no key for this long types no more (R35, R130).
pub const TYPING_IDLE: Duration = Duration::from_secs(3);

/// A client that hears no more of a typing member stops showing it: two intervals, since one indicator may be dropped.
pub const TYPING_SHOWN: Duration = Duration::from_secs(6);

/// An MLS handshake entry (a commit), its tree or a welcome: the commit that adds the last devices of a group of 256 accounts with
/// five devices each has room twice over.
pub const HANDSHAKE_BYTES_MAX: usize = 512 * 1024;

/// Devices in one MLS group: 256 accounts (R59) of five devices (G7).
pub const GROUP_DEVICES_MAX: usize = 256 * 5;

/// Devices that one commit adds: with their welcomes it is one transaction, which stays under 1 MB.
pub const COMMIT_ADDS_MAX: usize = 64;

/// Bytes of one key package, which is about 330.
pub const KEY_PACKAGE_BYTES_MAX: usize = 2048;

/// Application messages of one device in one epoch. A receiver from which so many in a row were withheld still opens the next one,
/// and walks past them in the time that docs/BENCHMARKS.md names; whoever has sent so many commits an update first.
pub const MESSAGES_PER_EPOCH_MAX: u32 = 8192;
