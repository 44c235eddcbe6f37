//! What a client says, verified. A decoded [`Request`] is trusted after: ids have their size, keys and proofs theirs,
//! counts are within [`limits`]. What a person typed (a name, a number) stays text here, since a wrong one gets an
//! answer and not a closed stream.

mod group;

use bytes::Bytes;
use flatbuffers::{ForwardsUOffset, Vector};

use crate::encode::{self, Builder, Member};
use crate::error::DecodeError;
use crate::event::Kind;
use crate::generated::wire as fb;
use crate::{
    AccountId, ChatId, ClientMsgId, DeviceId, Epoch, InstallId, RegistrationId, RequestId, Secret, Seq,
    WallTime, frame, limits,
};

pub use group::{Action, ClaimKeyPackages, CommitGroup, NewDevice, PublishKeyPackages};

/// One frame from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Session: who is there.
    Hello(Hello),
    /// Session: a heartbeat (R28).
    Ping {
        /// The client's time, returned in the `Pong`.
        client_time: WallTime,
    },
    /// Chat up: which chat the stream is for.
    ChatUp {
        /// The chat.
        chat: ChatId,
        /// The other account, until the 1:1 chat exists.
        peer: Option<AccountId>,
    },
    /// Chat up: one message.
    Append(Append),
    /// Chat up: what has arrived and what was read.
    MoveCursor {
        /// Everything up to here is on the device.
        delivered: Seq,
        /// Everything up to here was read.
        read: Seq,
    },
    /// Chat up: the person types, or has stopped (R34, R35).
    Typing {
        /// Which of the two.
        typing: bool,
    },
    /// Begins a registration (R13).
    Register(Register),
    /// Proves the number (R18).
    VerifyOtp(VerifyOtp),
    /// Asks for new tokens (C1).
    Refresh(Refresh),
    /// Ends this device (G6).
    Logout,
    /// Lists the account's devices (G6).
    ListDevices,
    /// Ends another device of the account (G6).
    RevokeDevice {
        /// Which.
        device: DeviceId,
    },
    /// Finds a person by number.
    Lookup {
        /// The number as typed.
        phone: Secret<String>,
    },
    /// A page of history (R47).
    GetMessages(GetMessages),
    /// A page of the account's chats.
    GetChats {
        /// Chats with ids above this.
        after: Option<ChatId>,
    },
    /// When each member got and read a message (C15).
    GetReceipts {
        /// The chat.
        chat: ChatId,
        /// The message.
        seq: Seq,
    },
    /// A commit, and who it adds and removes; [`Request::Part`]s follow.
    CommitGroup(CommitGroup),
    /// Some of the bytes of a request that is larger than a frame.
    Part {
        /// The bytes.
        bytes: Bytes,
        /// How many come after them.
        left: u32,
    },
    /// Leaves a group (R67).
    LeaveGroup {
        /// The chat.
        chat: ChatId,
        /// The idempotency key, as of a message.
        client_msg_id: ClientMsgId,
    },
    /// A group as the server knows it, for a member.
    GetGroup {
        /// The chat.
        chat: ChatId,
    },
    /// The tree of an epoch that added this device.
    GetTree {
        /// The chat.
        chat: ChatId,
        /// The epoch.
        epoch: Epoch,
    },
    /// Key packages of this device.
    PublishKeyPackages(PublishKeyPackages),
    /// Asks for key packages of others.
    ClaimKeyPackages(ClaimKeyPackages),
    /// Inbox up: the stream is for the device's own inbox.
    InboxUp,
    /// Something a newer client says: skipped on a session or chat, refused as a request.
    Unknown,
}

/// The client's first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The highest version the client speaks.
    pub version: u16,
    /// Who it is; `None` for an anonymous session, which may register, verify and refresh.
    pub credentials: Option<Credentials>,
    /// Cursor moves since this server time are owed.
    pub receipts_since: WallTime,
    /// Delivered cursors that differ from what the server stores.
    pub cursors: Vec<(ChatId, Seq)>,
    /// The client's name and version, for people.
    pub client: String,
}

/// An access token and the device key's signature (see [`crate::proof`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access token.
    pub token: Secret<String>,
    /// The proof.
    pub proof: [u8; limits::PROOF_BYTES],
    /// What the proof covers besides the token, if it was made before the handshake was complete; if not, it covers the
    /// connection's exporter.
    pub early: Option<EarlyProof>,
}

/// What the proof of a `Hello` in early data covers in place of an exporter, which does not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlyProof {
    /// The client's wall time. A server takes ten minutes either way.
    pub signed_at: WallTime,
    /// Whom the client takes the server for: the name its certificate is judged by.
    pub server_name: String,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The idempotency key.
    pub client_msg_id: ClientMsgId,
    /// Ciphertext; its size is for the command to judge, since a wrong one gets an answer.
    pub content: Bytes,
    /// The coarse hint.
    pub kind: Kind,
    /// The epoch it is sealed for.
    pub epoch: Epoch,
}

/// Begins a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// The number as typed.
    pub phone: Secret<String>,
    /// The name as typed.
    pub name: String,
    /// The client's installation.
    pub install: InstallId,
    /// The idempotency key.
    pub request: RequestId,
}

/// Proves the number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyOtp {
    /// The registration.
    pub registration: RegistrationId,
    /// The digits as typed.
    pub otp: Secret<String>,
    /// The device's Ed25519 public key.
    pub device_key: [u8; limits::DEVICE_KEY_BYTES],
    /// What its owner calls it.
    pub device_name: String,
    /// Its proof of possession.
    pub proof: [u8; limits::PROOF_BYTES],
}

/// Asks for new tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// The refresh token.
    pub token: Secret<[u8; limits::REFRESH_TOKEN_BYTES]>,
    /// The idempotency key.
    pub request: RequestId,
    /// The device's Ed25519 public key.
    pub device_key: [u8; limits::DEVICE_KEY_BYTES],
    /// The device key's proof.
    pub proof: [u8; limits::PROOF_BYTES],
}

/// A page of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetMessages {
    /// The chat.
    pub chat: ChatId,
    /// At most so many; its range is for the command to judge.
    pub limit: u16,
    /// Entries below this, newest first chosen; zero for none.
    pub before: Seq,
    /// Entries above this, oldest first chosen; zero for none.
    pub after: Seq,
}

impl Request {
    /// Verifies and reads one frame's body.
    ///
    /// # Errors
    /// [`DecodeError`]: the bytes are no frame that a client sends.
    pub fn decode(body: &Bytes) -> Result<Request, DecodeError> {
        let frame = frame::verify(body)?;
        if let Some(t) = frame.body_as_append() {
            return Ok(Request::Append(Append {
                client_msg_id: ClientMsgId::new(t.client_msg_id().0),
                content: body.slice_ref(t.content().bytes()),
                kind: Kind::from_wire(t.kind()),
                epoch: Epoch(t.epoch()),
            }));
        }
        if let Some(t) = frame.body_as_move_cursor() {
            return Ok(Request::MoveCursor { delivered: Seq(t.delivered()), read: Seq(t.read()) });
        }
        if let Some(t) = frame.body_as_chat_up() {
            let peer = t.peer().map(|id| AccountId::new(id.0));
            return Ok(Request::ChatUp { chat: ChatId::new(t.chat().0), peer });
        }
        if let Some(t) = frame.body_as_typing() {
            return Ok(Request::Typing { typing: t.typing() });
        }
        if let Some(t) = frame.body_as_ping() {
            return Ok(Request::Ping { client_time: WallTime(t.client_time()) });
        }
        if let Some(t) = frame.body_as_hello() {
            return decode_hello(t).map(Request::Hello);
        }
        match group::decode(body, frame)? {
            Some(request) => Ok(request),
            None => decode_unary(frame),
        }
    }

    /// One frame, length prefix included. [`Request::Unknown`] is a frame without a body, which is one that nobody knows.
    pub fn encode(&self) -> Bytes {
        encode::frame(|b| match self {
            Request::Hello(hello) => encode_hello(b, hello),
            Request::Ping { client_time } => {
                let t = fb::Ping::create(b, &fb::PingArgs { client_time: client_time.0 });
                (fb::Body::Ping, t.as_union_value())
            }
            Request::ChatUp { chat, peer } => encode_chat_up(b, *chat, *peer),
            Request::Append(append) => encode_append(b, append),
            Request::MoveCursor { delivered, read } => {
                let args = fb::MoveCursorArgs { delivered: delivered.0, read: read.0 };
                (fb::Body::MoveCursor, fb::MoveCursor::create(b, &args).as_union_value())
            }
            Request::Typing { typing } => {
                let t = fb::Typing::create(b, &fb::TypingArgs { typing: *typing });
                (fb::Body::Typing, t.as_union_value())
            }
            Request::Register(register) => encode_register(b, register),
            Request::VerifyOtp(verify) => encode_verify(b, verify),
            Request::Refresh(refresh) => encode_refresh(b, refresh),
            Request::Logout => (fb::Body::Logout, fb::Logout::create(b, &fb::LogoutArgs {}).as_union_value()),
            Request::ListDevices => {
                (fb::Body::ListDevices, fb::ListDevices::create(b, &fb::ListDevicesArgs {}).as_union_value())
            }
            Request::RevokeDevice { device } => {
                let device = fb::Id(*device.as_bytes());
                let t = fb::RevokeDevice::create(b, &fb::RevokeDeviceArgs { device: Some(&device) });
                (fb::Body::RevokeDevice, t.as_union_value())
            }
            Request::Lookup { phone } => {
                let args = fb::LookupArgs { phone: Some(b.create_string(phone.expose())) };
                (fb::Body::Lookup, fb::Lookup::create(b, &args).as_union_value())
            }
            Request::GetMessages(get) => encode_get_messages(b, get),
            Request::GetChats { after } => {
                let after = after.map(|id| fb::Id(*id.as_bytes()));
                let t = fb::GetChats::create(b, &fb::GetChatsArgs { after: after.as_ref() });
                (fb::Body::GetChats, t.as_union_value())
            }
            Request::GetReceipts { chat, seq } => {
                let chat = fb::Id(*chat.as_bytes());
                let t = fb::GetReceipts::create(b, &fb::GetReceiptsArgs { chat: Some(&chat), seq: seq.0 });
                (fb::Body::GetReceipts, t.as_union_value())
            }
            Request::CommitGroup(commit) => group::encode_commit(b, commit),
            Request::Part { bytes, left } => encode::part(b, bytes, *left),
            Request::LeaveGroup { chat, client_msg_id } => group::encode_leave(b, *chat, *client_msg_id),
            Request::GetGroup { chat } => group::encode_get_group(b, *chat),
            Request::GetTree { chat, epoch } => group::encode_get_tree(b, *chat, *epoch),
            Request::PublishKeyPackages(publish) => group::encode_publish(b, publish),
            Request::ClaimKeyPackages(claim) => group::encode_claim(b, claim),
            Request::InboxUp => {
                (fb::Body::InboxUp, fb::InboxUp::create(b, &fb::InboxUpArgs {}).as_union_value())
            }
            Request::Unknown => encode::nothing(),
        })
    }
}

fn decode_hello(t: fb::Hello<'_>) -> Result<Hello, DecodeError> {
    let credentials = match t.token() {
        Some(token) if token.len() <= limits::ACCESS_TOKEN_BYTES_MAX => {
            let (token, proof) = (Secret::new(token.to_owned()), array("proof", t.proof())?);
            Some(Credentials { token, proof, early: decode_early(t)? })
        }
        Some(_) => return Err(DecodeError::Field { field: "token" }),
        None => None,
    };
    let cursors = t.cursors().map(decode_cursors).transpose()?.unwrap_or_default();
    let client = t.client().unwrap_or_default().to_owned();
    Ok(Hello {
        version: t.version(),
        credentials,
        receipts_since: WallTime(t.receipts_since()),
        cursors,
        client,
    })
}

fn decode_early(t: fb::Hello<'_>) -> Result<Option<EarlyProof>, DecodeError> {
    let (signed_at, name) = (t.signed_at(), t.server_name().unwrap_or_default());
    match (signed_at, name.len()) {
        (0, _) => Ok(None),
        (_, 1..=limits::SERVER_NAME_BYTES_MAX) => {
            Ok(Some(EarlyProof { signed_at: WallTime(signed_at), server_name: name.to_owned() }))
        }
        _ => Err(DecodeError::Field { field: "server_name" }),
    }
}

fn decode_cursors(
    cursors: Vector<'_, ForwardsUOffset<fb::HelloCursor<'_>>>,
) -> Result<Vec<(ChatId, Seq)>, DecodeError> {
    if cursors.len() > limits::HELLO_CURSORS_MAX {
        return Err(DecodeError::Field { field: "cursors" });
    }
    Ok(cursors.iter().map(|c| (ChatId::new(c.chat().0), Seq(c.delivered()))).collect())
}

fn encode_hello(b: &mut Builder, hello: &Hello) -> Member {
    let token = hello.credentials.as_ref().map(|c| b.create_string(c.token.expose()));
    let proof = hello.credentials.as_ref().map(|c| b.create_vector(&c.proof));
    let client = Some(b.create_string(&hello.client));
    let early = hello.credentials.as_ref().and_then(|c| c.early.as_ref());
    let server_name = early.map(|early| b.create_string(&early.server_name));
    let signed_at = early.map_or(0, |early| early.signed_at.0);
    let mut cursors = Vec::with_capacity(hello.cursors.len());
    for (chat, delivered) in &hello.cursors {
        let chat = fb::Id(*chat.as_bytes());
        cursors.push(fb::HelloCursor::create(
            b,
            &fb::HelloCursorArgs { chat: Some(&chat), delivered: delivered.0 },
        ));
    }
    let cursors = (!cursors.is_empty()).then(|| b.create_vector(&cursors));
    let receipts_since = hello.receipts_since.0;
    let version = hello.version;
    let args =
        fb::HelloArgs { version, token, proof, receipts_since, cursors, client, signed_at, server_name };
    (fb::Body::Hello, fb::Hello::create(b, &args).as_union_value())
}

fn decode_unary(frame: fb::Frame<'_>) -> Result<Request, DecodeError> {
    if let Some(t) = frame.body_as_register() {
        return Ok(Request::Register(Register {
            phone: Secret::new(t.phone().to_owned()),
            name: t.name().to_owned(),
            install: InstallId::new(t.install().0),
            request: RequestId::new(t.request().0),
        }));
    }
    if let Some(t) = frame.body_as_verify_otp() {
        return Ok(Request::VerifyOtp(VerifyOtp {
            registration: RegistrationId::new(t.registration().0),
            otp: Secret::new(t.otp().to_owned()),
            device_key: array("device_key", Some(t.device_key()))?,
            device_name: t.device_name().unwrap_or_default().to_owned(),
            proof: array("proof", Some(t.proof()))?,
        }));
    }
    if let Some(t) = frame.body_as_refresh() {
        return Ok(Request::Refresh(Refresh {
            token: Secret::new(array("token", Some(t.token()))?),
            request: RequestId::new(t.request().0),
            device_key: array("device_key", Some(t.device_key()))?,
            proof: array("proof", Some(t.proof()))?,
        }));
    }
    if let Some(t) = frame.body_as_get_messages() {
        let (before, after) = (Seq(t.before()), Seq(t.after()));
        let get = GetMessages { chat: ChatId::new(t.chat().0), limit: t.limit(), before, after };
        return Ok(Request::GetMessages(get));
    }
    if let Some(t) = frame.body_as_get_receipts() {
        return Ok(Request::GetReceipts { chat: ChatId::new(t.chat().0), seq: Seq(t.seq()) });
    }
    if let Some(t) = frame.body_as_lookup() {
        return Ok(Request::Lookup { phone: Secret::new(t.phone().to_owned()) });
    }
    if let Some(t) = frame.body_as_revoke_device() {
        return Ok(Request::RevokeDevice { device: DeviceId::new(t.device().0) });
    }
    if let Some(t) = frame.body_as_get_chats() {
        return Ok(Request::GetChats { after: t.after().map(|id| ChatId::new(id.0)) });
    }
    Ok(match frame.body_type() {
        fb::Body::Logout => Request::Logout,
        fb::Body::ListDevices => Request::ListDevices,
        _ => Request::Unknown,
    })
}

fn encode_chat_up(b: &mut Builder, chat: ChatId, peer: Option<AccountId>) -> Member {
    let (chat, peer) = (fb::Id(*chat.as_bytes()), peer.map(|id| fb::Id(*id.as_bytes())));
    let t = fb::ChatUp::create(b, &fb::ChatUpArgs { chat: Some(&chat), peer: peer.as_ref() });
    (fb::Body::ChatUp, t.as_union_value())
}

fn encode_append(b: &mut Builder, append: &Append) -> Member {
    let content = Some(b.create_vector(&append.content));
    let id = fb::Id(*append.client_msg_id.as_bytes());
    let (kind, epoch) = (append.kind.to_wire(), append.epoch.0);
    let args = fb::AppendArgs { client_msg_id: Some(&id), content, kind, epoch };
    (fb::Body::Append, fb::Append::create(b, &args).as_union_value())
}

fn encode_register(b: &mut Builder, register: &Register) -> Member {
    let (phone, name) = (b.create_string(register.phone.expose()), b.create_string(&register.name));
    let (install, request) = (fb::Id(*register.install.as_bytes()), fb::Id(*register.request.as_bytes()));
    let args = fb::RegisterArgs {
        phone: Some(phone),
        name: Some(name),
        install: Some(&install),
        request: Some(&request),
    };
    (fb::Body::Register, fb::Register::create(b, &args).as_union_value())
}

fn encode_verify(b: &mut Builder, verify: &VerifyOtp) -> Member {
    let registration = fb::Id(*verify.registration.as_bytes());
    let args = fb::VerifyOtpArgs {
        registration: Some(&registration),
        otp: Some(b.create_string(verify.otp.expose())),
        device_key: Some(b.create_vector(&verify.device_key)),
        device_name: Some(b.create_string(&verify.device_name)),
        proof: Some(b.create_vector(&verify.proof)),
    };
    (fb::Body::VerifyOtp, fb::VerifyOtp::create(b, &args).as_union_value())
}

fn encode_refresh(b: &mut Builder, refresh: &Refresh) -> Member {
    let request = fb::Id(*refresh.request.as_bytes());
    let args = fb::RefreshArgs {
        token: Some(b.create_vector(refresh.token.expose())),
        request: Some(&request),
        device_key: Some(b.create_vector(&refresh.device_key)),
        proof: Some(b.create_vector(&refresh.proof)),
    };
    (fb::Body::Refresh, fb::Refresh::create(b, &args).as_union_value())
}

fn encode_get_messages(b: &mut Builder, get: &GetMessages) -> Member {
    let chat = fb::Id(*get.chat.as_bytes());
    let (before, after) = (get.before.0, get.after.0);
    let args = fb::GetMessagesArgs { chat: Some(&chat), limit: get.limit, before, after };
    (fb::Body::GetMessages, fb::GetMessages::create(b, &args).as_union_value())
}

pub(crate) fn array<const N: usize>(
    field: &'static str,
    bytes: Option<Vector<'_, u8>>,
) -> Result<[u8; N], DecodeError> {
    bytes.and_then(|v| v.bytes().try_into().ok()).ok_or(DecodeError::Field { field })
}
