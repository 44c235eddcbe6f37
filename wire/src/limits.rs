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

/// A handshake entry (a commit): the largest seen is 76 kB, a group of 256 made at once (R125); of 1,280 leaves it is below
/// this.
pub const HANDSHAKE_BYTES_MAX: usize = 512 * 1024;

/// Bytes of one piece of what is larger than a frame: with its envelope it fits one, and a stored value of 90 kB.
pub const PART_BYTES_MAX: usize = 64 * 1024;

/// The public tree of an epoch: 50 kB at 256 leaves, about 250 kB at [`GROUP_LEAVES_MAX`].
pub const TREE_BYTES_MAX: usize = 384 * 1024;

/// A welcome without the tree: secrets for one device and the group's context, some 1 kB.
pub const WELCOME_BYTES_MAX: usize = 8 * 1024;

/// Commit, tree and welcomes of one `CommitGroup`: they commit in one transaction under 1 MB, with some 1 kB more for each
/// device that is added.
pub const COMMIT_BYTES_MAX: usize = 800_000;

/// Devices that one commit adds, so that it stays within [`COMMIT_BYTES_MAX`].
pub const COMMIT_ADDS_MAX: usize = 64;

/// Accounts of a group, its creator included (R125).
pub const GROUP_ACCOUNTS_MAX: usize = 256;

/// Devices of a group: five for each account.
pub const GROUP_LEAVES_MAX: usize = 1280;

/// Characters of a group's description: with name, members and leaves of a full group it fits a frame.
pub const DESCRIPTION_CHARS_MAX: usize = 1000;

/// A key package: some 300 bytes, or 2 kB with a post-quantum key.
pub const KEY_PACKAGE_BYTES_MAX: usize = 4096;

/// Key packages in one `PublishKeyPackages`.
pub const KEY_PACKAGES_PUBLISHED_MAX: usize = 100;

/// Key packages that are kept of one device, the last resort aside: a week of 28 new chats a day.
pub const KEY_PACKAGES_STORED_MAX: usize = 200;

/// Accounts in one `ClaimKeyPackages`: as many as one commit adds devices.
pub const CLAIM_ACCOUNTS_MAX: usize = COMMIT_ADDS_MAX;

/// Devices in one answer to it, and bytes of their packages: they fit one frame.
pub const CLAIM_DEVICES_MAX: usize = COMMIT_ADDS_MAX;
/// See [`CLAIM_DEVICES_MAX`].
pub const CLAIM_BYTES_MAX: usize = 60 * 1024;

/// Application messages of one device in one epoch. A receiver from which so many in a row were withheld still opens the next one,
/// and walks past them in the time that docs/BENCHMARKS.md names; whoever has sent so many commits an update first.
pub const MESSAGES_PER_EPOCH_MAX: u32 = 8192;
