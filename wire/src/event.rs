//! What a server says, verified: answers and events. An [`Entry`] is encoded once, when it is committed, and the same
//! bytes go to the store and to every recipient.

use bytes::Bytes;

use crate::encode::{self, Builder, Member};
use crate::error::{DecodeError, ErrorCode, Refusal, Retry};
use crate::generated::wire as fb;
use crate::request::array;
use crate::{AccountId, ChatId, ClientMsgId, DeviceId, RegistrationId, Secret, Seq, WallTime, frame, limits};
use std::time::Duration;

/// One frame from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Session: the answer to `Hello`.
    Connected(Connected),
    /// Session: everything owed at `Hello` has been delivered.
    Synced {
        /// The next `receipts_since`.
        through: WallTime,
    },
    /// Session: the answer to a ping.
    Pong {
        /// The ping's.
        client_time: WallTime,
        /// The server's.
        server_time: WallTime,
    },
    /// Session: the server is about to close the connection.
    Goodbye(Refusal),
    /// Session: the account has a new device (C4).
    DeviceAdded {
        /// Which.
        device: DeviceId,
        /// What its owner calls it.
        name: String,
        /// When it was added.
        at: WallTime,
    },
    /// Chat up: the message is committed: one tick.
    AppendAck {
        /// Which.
        client_msg_id: ClientMsgId,
        /// Its place.
        seq: Seq,
        /// Its time.
        at: WallTime,
    },
    /// Chat up: the message was not committed.
    AppendRefused {
        /// Which.
        client_msg_id: ClientMsgId,
        /// Why.
        refusal: Refusal,
    },
    /// Chat down: the stream's first frame.
    ChatDown {
        /// The chat.
        chat: ChatId,
        /// The first entry that can follow.
        from_seq: Seq,
        /// The other account of a 1:1 chat.
        peer: Option<AccountId>,
    },
    /// Chat down, and history: one entry.
    Entry(Entry),
    /// Chat down: a member's cursors moved: two ticks, blue ticks.
    CursorMoved(Cursor),
    /// Chat down: a member types, or has stopped (R34, R35).
    Typing {
        /// Who.
        member: AccountId,
        /// Which of the two.
        typing: bool,
    },
    /// Answers `Register`.
    Registered {
        /// The registration to verify.
        registration: RegistrationId,
        /// How long the code lives.
        expires_in: Duration,
    },
    /// Answers `VerifyOtp`.
    Verified(Verified),
    /// Answers `Refresh`.
    Refreshed(Tokens),
    /// Answers `ListDevices`.
    Devices(Vec<Device>),
    /// Answers a request that has nothing to say.
    Done,
    /// Answers `Lookup`.
    Found {
        /// The person.
        account: AccountId,
        /// Their name.
        name: String,
        /// The 1:1 chat with them, whether it exists yet or not.
        chat: ChatId,
    },
    /// Ends a `GetMessages` answer.
    Page(Page),
    /// Answers `GetChats`.
    Chats {
        /// The chats.
        chats: Vec<Chat>,
        /// Whether there are more above the last.
        has_more: bool,
    },
    /// Answers `GetReceipts`.
    Receipts(Vec<Receipt>),
    /// Answers anything: no.
    Refused(Refusal),
    /// Something a newer server says: skipped.
    Unknown,
}

/// The answer to `Hello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// The version both speak.
    pub version: u16,
    /// Who the session is; `None` if anonymous.
    pub identity: Option<(AccountId, DeviceId)>,
    /// The server's time.
    pub server_time: WallTime,
    /// When the access token ends.
    pub token_expires: WallTime,
    /// How many chats the account is in.
    pub chats: u32,
    /// The access token has expired; its early data was taken all the same. It is to be refreshed on this connection
    /// within a minute.
    pub refresh: bool,
}

/// A coarse hint of what a message is; a client may leave it unsaid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    #[default]
    Unsaid,
    Text,
    Image,
    Video,
    Audio,
    Document,
    Location,
    Contact,
}

/// One committed entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub seq: Seq,
    /// Who said it.
    pub sender: AccountId,
    /// From which device.
    pub device: DeviceId,
    /// The sender's idempotency key.
    pub client_msg_id: ClientMsgId,
    /// When it was committed.
    pub at: WallTime,
    /// The sender's hint.
    pub kind: Kind,
    /// Ciphertext.
    pub content: Bytes,
}

/// Where one member's cursors stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Whose.
    pub member: AccountId,
    /// Delivered up to here.
    pub delivered: Seq,
    /// When it got there.
    pub delivered_at: WallTime,
    /// Read up to here.
    pub read: Seq,
    /// When it got there.
    pub read_at: WallTime,
    /// Ranges, first and last included, that the cursors do not cover (C8).
    pub withheld: Vec<(Seq, Seq)>,
}

/// A proved registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
    /// The account's name.
    pub name: String,
    /// Its number.
    pub phone: Secret<String>,
    /// The first tokens.
    pub tokens: Tokens,
}

/// An access token and what renews it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The access token.
    pub access: Secret<String>,
    /// When it ends.
    pub access_expires: WallTime,
    /// The refresh token.
    pub refresh: Secret<[u8; limits::REFRESH_TOKEN_BYTES]>,
    /// When it ends.
    pub refresh_expires: WallTime,
}

/// One device of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub device: DeviceId,
    /// What its owner calls it.
    pub name: String,
    /// When it was added.
    pub added_at: WallTime,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// The end of a page of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many entries came before.
    pub count: u16,
    /// Whether there are more.
    pub has_more: bool,
    /// The next `before` or `after`.
    pub next_cursor: Seq,
    /// Where every member's cursors stand.
    pub members: Vec<Cursor>,
}

/// One chat of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// Which.
    pub chat: ChatId,
    /// The other account of a 1:1 chat, and its name.
    pub peer: Option<(AccountId, String)>,
    /// The log's last place.
    pub head: Seq,
    /// The account's read cursor.
    pub read: Seq,
    /// When the last entry was appended.
    pub last_at: WallTime,
}

/// When one member got and read one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Whose.
    pub member: AccountId,
    /// When it reached a device of theirs.
    pub delivered_at: Option<WallTime>,
    /// When they read it.
    pub read_at: Option<WallTime>,
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::Unsaid,
        Kind::Text,
        Kind::Image,
        Kind::Video,
        Kind::Audio,
        Kind::Document,
        Kind::Location,
        Kind::Contact,
    ];

    pub(crate) fn to_wire(self) -> fb::Kind {
        fb::Kind(self as u8)
    }

    pub(crate) fn from_wire(kind: fb::Kind) -> Kind {
        Kind::ALL.get(usize::from(kind.0)).copied().unwrap_or_default()
    }
}

impl Entry {
    /// One frame, length prefix included. Content is within [`limits::CONTENT_BYTES_MAX`].
    pub fn encode(&self) -> Bytes {
        encode::frame(|b| {
            let content = Some(b.create_vector(&self.content));
            let (sender, device) = (fb::Id(*self.sender.as_bytes()), fb::Id(*self.device.as_bytes()));
            let client_msg_id = fb::Id(*self.client_msg_id.as_bytes());
            let args = fb::EntryArgs {
                seq: self.seq.0,
                sender: Some(&sender),
                device: Some(&device),
                client_msg_id: Some(&client_msg_id),
                at: self.at.0,
                kind: self.kind.to_wire(),
                content,
            };
            (fb::Body::Entry, fb::Entry::create(b, &args).as_union_value())
        })
    }
}

impl Event {
    /// Verifies and reads one frame's body.
    ///
    /// # Errors
    /// [`DecodeError`]: the bytes are no frame that a server sends.
    pub fn decode(body: &Bytes) -> Result<Event, DecodeError> {
        let frame = frame::verify(body)?;
        if let Some(t) = frame.body_as_entry() {
            return Ok(Event::Entry(decode_entry(body, t)));
        }
        if let Some(t) = frame.body_as_append_ack() {
            let client_msg_id = ClientMsgId::new(t.client_msg_id().0);
            return Ok(Event::AppendAck { client_msg_id, seq: Seq(t.seq()), at: WallTime(t.at()) });
        }
        if let Some(t) = frame.body_as_append_refused() {
            let client_msg_id = ClientMsgId::new(t.client_msg_id().0);
            return Ok(Event::AppendRefused { client_msg_id, refusal: decode_refusal(t.refused()) });
        }
        if let Some(t) = frame.body_as_chat_down() {
            let peer = t.peer().map(|id| AccountId::new(id.0));
            return Ok(Event::ChatDown { chat: ChatId::new(t.chat().0), from_seq: Seq(t.from_seq()), peer });
        }
        if let Some(t) = frame.body_as_cursor_moved() {
            return Ok(Event::CursorMoved(decode_cursor(t)));
        }
        if let Some(t) = frame.body_as_typing_indicator() {
            return Ok(Event::Typing { member: AccountId::new(t.member().0), typing: t.typing() });
        }
        if let Some(t) = frame.body_as_refused() {
            return Ok(Event::Refused(decode_refusal(t)));
        }
        decode_session(frame).map_or_else(|| decode_answer(frame), Ok)
    }

    /// One frame, length prefix included.
    pub fn encode(&self) -> Bytes {
        match self {
            Event::Entry(entry) => entry.encode(),
            event => encode::frame(|b| encode_event(b, event)),
        }
    }
}

fn decode_entry(body: &Bytes, t: fb::Entry<'_>) -> Entry {
    Entry {
        seq: Seq(t.seq()),
        sender: AccountId::new(t.sender().0),
        device: DeviceId::new(t.device().0),
        client_msg_id: ClientMsgId::new(t.client_msg_id().0),
        at: WallTime(t.at()),
        kind: Kind::from_wire(t.kind()),
        content: t.content().map(|v| body.slice_ref(v.bytes())).unwrap_or_default(),
    }
}

fn decode_cursor(t: fb::CursorMoved<'_>) -> Cursor {
    Cursor {
        member: AccountId::new(t.member().0),
        delivered: Seq(t.delivered()),
        delivered_at: WallTime(t.delivered_at()),
        read: Seq(t.read()),
        read_at: WallTime(t.read_at()),
        withheld: t.withheld().iter().flatten().map(|r| (Seq(r.first()), Seq(r.last()))).collect(),
    }
}

/// A code that is not known here keeps its retry hint: it is what the code would have said.
fn decode_refusal(t: fb::Refused<'_>) -> Refusal {
    let after = Duration::from_millis(t.retry_after_ms().into());
    if let Some(code) = ErrorCode::from_number(t.code()) {
        return code.after(after);
    }
    match t.retry() {
        1 => ErrorCode::Busy.after(after),
        2 => ErrorCode::Unauthenticated.refuse(),
        _ => ErrorCode::Unsupported.refuse(),
    }
}

fn decode_session(frame: fb::Frame<'_>) -> Option<Event> {
    if let Some(t) = frame.body_as_connected() {
        let identity = t.account().zip(t.device()).map(|(a, d)| (AccountId::new(a.0), DeviceId::new(d.0)));
        return Some(Event::Connected(Connected {
            version: t.version(),
            identity,
            server_time: WallTime(t.server_time()),
            token_expires: WallTime(t.token_expires()),
            chats: t.chats(),
            refresh: t.refresh(),
        }));
    }
    if let Some(t) = frame.body_as_synced() {
        return Some(Event::Synced { through: WallTime(t.through()) });
    }
    if let Some(t) = frame.body_as_pong() {
        let (client_time, server_time) = (WallTime(t.client_time()), WallTime(t.server_time()));
        return Some(Event::Pong { client_time, server_time });
    }
    if let Some(t) = frame.body_as_goodbye() {
        let code = ErrorCode::from_number(t.code()).unwrap_or(ErrorCode::ShuttingDown);
        return Some(Event::Goodbye(code.after(Duration::from_millis(t.retry_after_ms().into()))));
    }
    let t = frame.body_as_device_added()?;
    let name = t.name().unwrap_or_default().to_owned();
    Some(Event::DeviceAdded { device: DeviceId::new(t.device().0), name, at: WallTime(t.at()) })
}

fn decode_answer(frame: fb::Frame<'_>) -> Result<Event, DecodeError> {
    if let Some(t) = frame.body_as_registered() {
        let registration = RegistrationId::new(t.registration().0);
        return Ok(Event::Registered {
            registration,
            expires_in: Duration::from_secs(t.expires_in_s().into()),
        });
    }
    if let Some(t) = frame.body_as_verified() {
        return Ok(Event::Verified(Verified {
            account: AccountId::new(t.account().0),
            device: DeviceId::new(t.device().0),
            name: t.name().to_owned(),
            phone: Secret::new(t.phone().to_owned()),
            tokens: decode_tokens(t.tokens())?,
        }));
    }
    if let Some(t) = frame.body_as_refreshed() {
        return Ok(Event::Refreshed(decode_tokens(t.tokens())?));
    }
    if let Some(t) = frame.body_as_found() {
        let (account, chat) = (AccountId::new(t.account().0), ChatId::new(t.chat().0));
        return Ok(Event::Found { account, name: t.name().to_owned(), chat });
    }
    if let Some(t) = frame.body_as_page() {
        let members = t.members().iter().flatten().map(decode_cursor).collect();
        let next_cursor = Seq(t.next_cursor());
        return Ok(Event::Page(Page { count: t.count(), has_more: t.has_more(), next_cursor, members }));
    }
    if let Some(t) = frame.body_as_chats() {
        let chats = t.chats().iter().map(decode_chat).collect();
        return Ok(Event::Chats { chats, has_more: t.has_more() });
    }
    if let Some(t) = frame.body_as_devices() {
        return Ok(Event::Devices(t.devices().iter().map(decode_device).collect()));
    }
    if let Some(t) = frame.body_as_receipts() {
        return Ok(Event::Receipts(t.receipts().iter().map(decode_receipt).collect()));
    }
    Ok(match frame.body_type() {
        fb::Body::Done => Event::Done,
        _ => Event::Unknown,
    })
}

fn decode_tokens(t: fb::Tokens<'_>) -> Result<Tokens, DecodeError> {
    Ok(Tokens {
        access: Secret::new(t.access().to_owned()),
        access_expires: WallTime(t.access_expires()),
        refresh: Secret::new(array("refresh", Some(t.refresh()))?),
        refresh_expires: WallTime(t.refresh_expires()),
    })
}

fn decode_chat(t: fb::Chat<'_>) -> Chat {
    Chat {
        chat: ChatId::new(t.chat().0),
        peer: t.peer().map(|id| (AccountId::new(id.0), t.peer_name().unwrap_or_default().to_owned())),
        head: Seq(t.head()),
        read: Seq(t.read()),
        last_at: WallTime(t.last_at()),
    }
}

fn decode_device(t: fb::Device<'_>) -> Device {
    Device {
        device: DeviceId::new(t.device().0),
        name: t.name().unwrap_or_default().to_owned(),
        added_at: WallTime(t.added_at()),
        current: t.current(),
    }
}

fn decode_receipt(t: fb::Receipt<'_>) -> Receipt {
    let time = |ms: u64| Some(WallTime(ms)).filter(|&t| t != WallTime(0));
    Receipt {
        member: AccountId::new(t.member().0),
        delivered_at: time(t.delivered_at()),
        read_at: time(t.read_at()),
    }
}

fn encode_event(b: &mut Builder, event: &Event) -> Member {
    match event {
        Event::Connected(_)
        | Event::Synced { .. }
        | Event::Pong { .. }
        | Event::Goodbye(_)
        | Event::DeviceAdded { .. } => encode_session(b, event),
        Event::AppendAck { client_msg_id, seq, at } => {
            let id = fb::Id(*client_msg_id.as_bytes());
            let args = fb::AppendAckArgs { client_msg_id: Some(&id), seq: seq.0, at: at.0 };
            (fb::Body::AppendAck, fb::AppendAck::create(b, &args).as_union_value())
        }
        Event::AppendRefused { client_msg_id, refusal } => {
            let id = fb::Id(*client_msg_id.as_bytes());
            let refused = Some(encode_refusal(b, refusal));
            let t =
                fb::AppendRefused::create(b, &fb::AppendRefusedArgs { client_msg_id: Some(&id), refused });
            (fb::Body::AppendRefused, t.as_union_value())
        }
        Event::ChatDown { chat, from_seq, peer } => {
            let (chat, peer) = (fb::Id(*chat.as_bytes()), peer.map(|id| fb::Id(*id.as_bytes())));
            let args = fb::ChatDownArgs { chat: Some(&chat), from_seq: from_seq.0, peer: peer.as_ref() };
            (fb::Body::ChatDown, fb::ChatDown::create(b, &args).as_union_value())
        }
        Event::CursorMoved(cursor) => (fb::Body::CursorMoved, encode_cursor(b, cursor).as_union_value()),
        Event::Refused(refusal) => (fb::Body::Refused, encode_refusal(b, refusal).as_union_value()),
        Event::Typing { member, typing } => {
            let member = fb::Id(*member.as_bytes());
            let args = fb::TypingIndicatorArgs { member: Some(&member), typing: *typing };
            (fb::Body::TypingIndicator, fb::TypingIndicator::create(b, &args).as_union_value())
        }
        answer => encode_answer(b, answer),
    }
}

fn encode_session(b: &mut Builder, event: &Event) -> Member {
    match event {
        Event::Connected(c) => {
            let account = c.identity.map(|(id, _)| fb::Id(*id.as_bytes()));
            let device = c.identity.map(|(_, id)| fb::Id(*id.as_bytes()));
            let args = fb::ConnectedArgs {
                version: c.version,
                account: account.as_ref(),
                device: device.as_ref(),
                server_time: c.server_time.0,
                token_expires: c.token_expires.0,
                chats: c.chats,
                refresh: c.refresh,
            };
            (fb::Body::Connected, fb::Connected::create(b, &args).as_union_value())
        }
        Event::Pong { client_time, server_time } => {
            let args = fb::PongArgs { client_time: client_time.0, server_time: server_time.0 };
            (fb::Body::Pong, fb::Pong::create(b, &args).as_union_value())
        }
        Event::Goodbye(refusal) => {
            let text = Some(b.create_string(refusal.code.text()));
            let retry_after_ms = retry_after_ms(refusal);
            let args = fb::GoodbyeArgs { code: refusal.code.number(), retry_after_ms, text };
            (fb::Body::Goodbye, fb::Goodbye::create(b, &args).as_union_value())
        }
        Event::DeviceAdded { device, name, at } => {
            let (device, name) = (fb::Id(*device.as_bytes()), Some(b.create_string(name)));
            let args = fb::DeviceAddedArgs { device: Some(&device), name, at: at.0 };
            (fb::Body::DeviceAdded, fb::DeviceAdded::create(b, &args).as_union_value())
        }
        Event::Synced { through } => {
            let t = fb::Synced::create(b, &fb::SyncedArgs { through: through.0 });
            (fb::Body::Synced, t.as_union_value())
        }
        _ => unreachable!("encode_event sends only session events here"),
    }
}

fn encode_answer(b: &mut Builder, event: &Event) -> Member {
    match event {
        Event::Registered { registration, expires_in } => {
            let registration = fb::Id(*registration.as_bytes());
            let expires_in_s = expires_in.as_secs().try_into().unwrap_or(u32::MAX);
            let args = fb::RegisteredArgs { registration: Some(&registration), otp_sent: true, expires_in_s };
            (fb::Body::Registered, fb::Registered::create(b, &args).as_union_value())
        }
        Event::Verified(v) => {
            let (account, device) = (fb::Id(*v.account.as_bytes()), fb::Id(*v.device.as_bytes()));
            let args = fb::VerifiedArgs {
                account: Some(&account),
                device: Some(&device),
                name: Some(b.create_string(&v.name)),
                phone: Some(b.create_string(v.phone.expose())),
                tokens: Some(encode_tokens(b, &v.tokens)),
            };
            (fb::Body::Verified, fb::Verified::create(b, &args).as_union_value())
        }
        Event::Refreshed(tokens) => {
            let tokens = Some(encode_tokens(b, tokens));
            (fb::Body::Refreshed, fb::Refreshed::create(b, &fb::RefreshedArgs { tokens }).as_union_value())
        }
        Event::Found { account, name, chat } => {
            let (account, chat) = (fb::Id(*account.as_bytes()), fb::Id(*chat.as_bytes()));
            let name = Some(b.create_string(name));
            let t = fb::Found::create(b, &fb::FoundArgs { account: Some(&account), name, chat: Some(&chat) });
            (fb::Body::Found, t.as_union_value())
        }
        Event::Page(page) => {
            let members: Vec<_> = page.members.iter().map(|c| encode_cursor(b, c)).collect();
            let members = Some(b.create_vector(&members));
            let (has_more, next_cursor) = (page.has_more, page.next_cursor.0);
            let t = fb::Page::create(b, &fb::PageArgs { count: page.count, has_more, next_cursor, members });
            (fb::Body::Page, t.as_union_value())
        }
        list => encode_list(b, list),
    }
}

fn encode_list(b: &mut Builder, event: &Event) -> Member {
    match event {
        Event::Chats { chats, has_more } => {
            let chats: Vec<_> = chats.iter().map(|c| encode_chat(b, c)).collect();
            let chats = Some(b.create_vector(&chats));
            let t = fb::Chats::create(b, &fb::ChatsArgs { chats, has_more: *has_more });
            (fb::Body::Chats, t.as_union_value())
        }
        Event::Devices(devices) => {
            let devices: Vec<_> = devices.iter().map(|d| encode_device(b, d)).collect();
            let devices = Some(b.create_vector(&devices));
            (fb::Body::Devices, fb::Devices::create(b, &fb::DevicesArgs { devices }).as_union_value())
        }
        Event::Receipts(receipts) => {
            let receipts: Vec<_> = receipts.iter().map(|r| encode_receipt(b, r)).collect();
            let receipts = Some(b.create_vector(&receipts));
            (fb::Body::Receipts, fb::Receipts::create(b, &fb::ReceiptsArgs { receipts }).as_union_value())
        }
        _ => (fb::Body::Done, fb::Done::create(b, &fb::DoneArgs {}).as_union_value()),
    }
}

type Offset<T> = flatbuffers::WIPOffset<T>;

fn encode_refusal(b: &mut Builder, refusal: &Refusal) -> Offset<fb::Refused<'static>> {
    let retry = match refusal.retry {
        Retry::Never => 0,
        Retry::After(_) => 1,
        Retry::Reauthenticate => 2,
    };
    let text = Some(b.create_string(refusal.code.text()));
    let retry_after_ms = retry_after_ms(refusal);
    fb::Refused::create(b, &fb::RefusedArgs { code: refusal.code.number(), retry, retry_after_ms, text })
}

fn retry_after_ms(refusal: &Refusal) -> u32 {
    match refusal.retry {
        Retry::After(d) => d.as_millis().try_into().unwrap_or(u32::MAX),
        Retry::Never | Retry::Reauthenticate => 0,
    }
}

fn encode_cursor(b: &mut Builder, c: &Cursor) -> Offset<fb::CursorMoved<'static>> {
    let member = fb::Id(*c.member.as_bytes());
    let withheld: Vec<_> =
        c.withheld.iter().map(|(first, last)| fb::SeqRange::new(first.0, last.0)).collect();
    let withheld = (!withheld.is_empty()).then(|| b.create_vector(&withheld));
    let args = fb::CursorMovedArgs {
        member: Some(&member),
        delivered: c.delivered.0,
        delivered_at: c.delivered_at.0,
        read: c.read.0,
        read_at: c.read_at.0,
        withheld,
    };
    fb::CursorMoved::create(b, &args)
}

fn encode_tokens(b: &mut Builder, tokens: &Tokens) -> Offset<fb::Tokens<'static>> {
    let args = fb::TokensArgs {
        access: Some(b.create_string(tokens.access.expose())),
        access_expires: tokens.access_expires.0,
        refresh: Some(b.create_vector(tokens.refresh.expose())),
        refresh_expires: tokens.refresh_expires.0,
    };
    fb::Tokens::create(b, &args)
}

fn encode_chat(b: &mut Builder, c: &Chat) -> Offset<fb::Chat<'static>> {
    let chat = fb::Id(*c.chat.as_bytes());
    let peer = c.peer.as_ref().map(|(id, _)| fb::Id(*id.as_bytes()));
    let peer_name = c.peer.as_ref().map(|(_, name)| b.create_string(name));
    let args = fb::ChatArgs {
        chat: Some(&chat),
        peer: peer.as_ref(),
        peer_name,
        head: c.head.0,
        read: c.read.0,
        last_at: c.last_at.0,
    };
    fb::Chat::create(b, &args)
}

fn encode_device(b: &mut Builder, d: &Device) -> Offset<fb::Device<'static>> {
    let device = fb::Id(*d.device.as_bytes());
    let name = Some(b.create_string(&d.name));
    let args = fb::DeviceArgs { device: Some(&device), name, added_at: d.added_at.0, current: d.current };
    fb::Device::create(b, &args)
}

fn encode_receipt(b: &mut Builder, r: &Receipt) -> Offset<fb::Receipt<'static>> {
    let member = fb::Id(*r.member.as_bytes());
    let time = |t: Option<WallTime>| t.map_or(0, WallTime::as_millis);
    let (delivered_at, read_at) = (time(r.delivered_at), time(r.read_at));
    fb::Receipt::create(b, &fb::ReceiptArgs { member: Some(&member), delivered_at, read_at })
}
