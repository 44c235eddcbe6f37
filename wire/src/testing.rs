//! For tests of this crate and of others: every request there is, and the members of the schema's union.

use bytes::Bytes;

use crate::generated::wire as fb;
use crate::request::{
    Action, Append, ClaimKeyPackages, CommitGroup, Credentials, GetMessages, Hello, NewDevice,
    PublishKeyPackages, Refresh, Register, Request, VerifyOtp,
};
use crate::{
    AccountId, ChatId, ClientMsgId, DeviceId, Epoch, InstallId, RegistrationId, RequestId, Secret, Seq,
    WallTime, event, frame,
};

/// One value for each variant, and a match that does not compile while one is missing.
macro_rules! every_request {
    ($($variant:ident: $value:expr,)*) => {{
        fn name(request: &Request) -> &'static str {
            match request {
                $(Request::$variant { .. } => stringify!($variant),)*
                Request::Unknown => "Unknown",
            }
        }
        [$($value,)*].map(|request| (name(&request), request)).into()
    }};
}

/// Every request that a client of this version can say, one for each variant of [`Request`] but `Unknown`, each with
/// the name of its variant. Those that name a chat name `chat`. Their values are those of the golden bytes: a new
/// request is added here, and a value never changes.
///
/// A test of what somebody may not do asks all of these and says which are allowed, so that what is added later is
/// denied until it is allowed there, too.
pub fn every_request(chat: ChatId) -> Vec<(&'static str, Request)> {
    every_request! {
        Hello: hello(chat),
        Ping: Request::Ping { client_time: WallTime(5) },
        ChatUp: Request::ChatUp { chat, peer: Some(AccountId::new([2; 16])) },
        Append: Request::Append(Append {
            client_msg_id: ClientMsgId::new([0xa; 16]),
            content: Bytes::from_static(b"sealed"),
            kind: event::Kind::Text,
            epoch: Epoch::ZERO,
        }),
        MoveCursor: Request::MoveCursor { delivered: Seq(9), read: Seq(8) },
        Typing: Request::Typing { typing: true },
        Register: Request::Register(Register {
            phone: Secret::new("+4915112345678".into()),
            name: "Alice Ünal".into(),
            install: InstallId::new([1; 16]),
            request: RequestId::new([2; 16]),
        }),
        VerifyOtp: Request::VerifyOtp(VerifyOtp {
            registration: RegistrationId::new([3; 16]),
            otp: Secret::new("012345".into()),
            device_key: [4; 32],
            device_name: "phone".into(),
            proof: [5; 64],
        }),
        Refresh: Request::Refresh(Refresh {
            token: Secret::new([6; 48]),
            request: RequestId::new([7; 16]),
            device_key: [8; 32],
            proof: [9; 64],
        }),
        Logout: Request::Logout,
        ListDevices: Request::ListDevices,
        RevokeDevice: Request::RevokeDevice { device: DeviceId::new([1; 16]) },
        Lookup: Request::Lookup { phone: Secret::new("+4915112345678".into()) },
        GetMessages: Request::GetMessages(GetMessages { chat, limit: 50, before: Seq(100), after: Seq(0) }),
        GetChats: Request::GetChats { after: Some(chat) },
        GetReceipts: Request::GetReceipts { chat, seq: Seq(3) },
        CommitGroup: Request::CommitGroup(commit(chat)),
        Part: Request::Part { bytes: Bytes::from_static(b"part of it"), left: 70_000 },
        LeaveGroup: Request::LeaveGroup { chat, client_msg_id: ClientMsgId::new([0xa; 16]) },
        GetGroup: Request::GetGroup { chat },
        GetTree: Request::GetTree { chat, epoch: Epoch(4) },
        PublishKeyPackages: Request::PublishKeyPackages(PublishKeyPackages {
            request: RequestId::new([7; 16]),
            packages: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
            last_resort: Some(Bytes::from_static(b"last")),
        }),
        ClaimKeyPackages: Request::ClaimKeyPackages(ClaimKeyPackages {
            accounts: vec![AccountId::new([2; 16]), AccountId::new([3; 16])],
            after: Some((AccountId::new([2; 16]), DeviceId::new([1; 16]))),
        }),
        InboxUp: Request::InboxUp,
    }
}

fn commit(chat: ChatId) -> CommitGroup {
    let peer = AccountId::new([2; 16]);
    CommitGroup {
        chat,
        client_msg_id: ClientMsgId::new([0xa; 16]),
        epoch: Epoch(0),
        action: Action::MakeDirect { peer },
        adds: vec![NewDevice { account: peer, device: DeviceId::new([1; 16]), welcome_bytes: 900 }],
        commit_bytes: 1200,
        tree_bytes: 500,
    }
}

fn hello(chat: ChatId) -> Request {
    Request::Hello(Hello {
        version: 1,
        credentials: Some(Credentials { token: Secret::new("a.b.c".into()), proof: [7; 64], early: None }),
        receipts_since: WallTime(1_700_000_000_000),
        cursors: vec![(chat, Seq(41)), (ChatId::new([0xd; 16]), Seq(0))],
        client: "golden 1".into(),
    })
}

/// The names of all members of the schema's union `Body`.
pub fn members() -> impl Iterator<Item = &'static str> {
    let all = fb::Body::ENUM_VALUES.iter().filter(|&&body| body != fb::Body::NONE);
    all.map(|body| body.variant_name().expect("the compiler names what it lists"))
}

/// The name of the member in a frame's body; `None` for one that does not verify or is not known.
pub fn member_of(body: &[u8]) -> Option<&'static str> {
    frame::verify(body).ok()?.body_type().variant_name()
}
