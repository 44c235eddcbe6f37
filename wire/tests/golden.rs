//! Golden bytes of every frame type: what was released still decodes to the same values, for years (R115).
//!
//! `golden/v1.txt` has one line a frame: its name and its bytes in hexadecimal, length prefix included. A frame's bytes
//! may gain fields; a line is never changed or removed, only added: run with `GODWIT_BLESS=1` to append new ones.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use wire::event::{self, Event, Kind};
use wire::request::{self, Request};
use wire::{
    AccountId, ChatId, ClientMsgId, DeviceId, Epoch, ErrorCode, RegistrationId, Secret, Seq, WallTime,
    testing,
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/v1.txt");

fn account(n: u8) -> AccountId {
    AccountId::new([n; 16])
}

fn chat() -> ChatId {
    ChatId::new([0xc; 16])
}

fn msg() -> ClientMsgId {
    ClientMsgId::new([0xa; 16])
}

fn requests() -> Vec<(&'static str, Request)> {
    let mut requests = testing::every_request(chat());
    let Some((_, Request::Hello(hello))) = requests.first().cloned() else { panic!("Hello is the first") };
    let anonymous = request::Hello { credentials: None, cursors: vec![], ..hello.clone() };
    let early =
        request::EarlyProof { signed_at: WallTime(1_700_000_000_000), server_name: "edge.test".into() };
    let credentials = hello.credentials.clone().map(|c| request::Credentials { early: Some(early), ..c });
    requests.extend(commits());
    let sealed = request::Append {
        client_msg_id: msg(),
        content: Bytes::from_static(b"sealed"),
        kind: Kind::Unsaid,
        epoch: Epoch(7),
    };
    requests.push(("Append-epoch", Request::Append(sealed)));
    requests.push(("Hello-anonymous", Request::Hello(anonymous)));
    requests.push(("Hello-early", Request::Hello(request::Hello { credentials, ..hello })));
    requests
}

/// A commit for each change of membership but the one that all requests have.
fn commits() -> Vec<(&'static str, Request)> {
    let commit = |action, adds| {
        let tree_bytes = if adds { 500 } else { 0 };
        let adds = adds.then_some(request::NewDevice {
            account: account(2),
            device: DeviceId::new([1; 16]),
            welcome_bytes: 900,
        });
        Request::CommitGroup(request::CommitGroup {
            chat: chat(),
            client_msg_id: msg(),
            epoch: Epoch(3),
            action,
            adds: adds.into_iter().collect(),
            commit_bytes: 1200,
            tree_bytes,
        })
    };
    let accounts = vec![account(2), account(3)];
    let make = request::Action::MakeGroup {
        name: "Walkers".into(),
        description: "on Sundays".into(),
        members: accounts.clone(),
    };
    vec![
        ("CommitGroup-make", commit(make, true)),
        ("CommitGroup-add", commit(request::Action::AddMembers { accounts: accounts.clone() }, true)),
        ("CommitGroup-remove", commit(request::Action::RemoveMembers { accounts }, false)),
        ("CommitGroup-update", commit(request::Action::Update, false)),
    ]
}

/// What a server says of groups.
fn of_groups(entry: &event::Entry) -> Vec<(&'static str, Event)> {
    let device = DeviceId::new([2; 16]);
    let left = event::Control {
        kind: event::ControlKind::Left,
        account: account(1),
        device: None,
        admin: Some(account(2)),
    };
    let ended =
        event::Control { kind: event::ControlKind::DeviceEnded, device: Some(device), admin: None, ..left };
    let of_kind = |what| event::Entry { what, epoch: Epoch(6), ..entry.clone() };
    let part = event::EntryPart { seq: Seq(7), part: 1, bytes: Bytes::from_static(b"the rest") };
    let about = event::GroupAbout {
        name: "Walkers".into(),
        description: "on Sundays".into(),
        created_by: account(1),
        created_at: WallTime(5),
    };
    let group = event::Group {
        chat: chat(),
        epoch: Epoch(6),
        commit_first: true,
        about: Some(about),
        members: vec![event::GroupMember {
            account: account(1),
            joined: Seq(4),
            role: event::MemberRole::Admin,
        }],
        leaves: vec![event::GroupLeaf { leaf: 3, account: account(1), device, pending: true }],
    };
    let direct = event::Group { about: None, commit_first: false, leaves: vec![], ..group.clone() };
    let welcome = event::Welcome {
        chat: chat(),
        epoch: Epoch(7),
        seq: Seq(9),
        adder: (account(1), device),
        bytes: Bytes::from_static(b"welcome"),
    };
    let inbox = |what| Event::InboxEntry(event::InboxEntry { seq: Seq(2), at: WallTime(8), what });
    let package = event::KeyPackage {
        account: account(2),
        device,
        bytes: Some(Bytes::from_static(b"package")),
        last_resort: true,
    };
    let none = event::KeyPackage { bytes: None, last_resort: false, ..package.clone() };
    let stale = ErrorCode::StaleEpoch.refuse();
    vec![
        (
            "AppendRefused-epoch",
            Event::AppendRefused { client_msg_id: msg(), refusal: stale, epoch: Epoch(8) },
        ),
        ("Entry-commit", Event::Entry(of_kind(event::EntryKind::Commit { parts: 2 }))),
        ("Entry-left", Event::Entry(of_kind(event::EntryKind::Control(left)))),
        ("Entry-ended", Event::Entry(of_kind(event::EntryKind::Control(ended)))),
        ("EntryPart", Event::EntryPart(part)),
        ("Committed", Event::Committed { seq: Seq(7), at: WallTime(8), epoch: Epoch(9) }),
        ("Part", Event::Part { bytes: Bytes::from_static(b"part of it"), left: 70_000 }),
        ("Group", Event::Group(group)),
        ("Group-direct", Event::Group(direct)),
        ("KeyPackagesStored", Event::KeyPackagesStored { count: 99 }),
        ("KeyPackages", Event::KeyPackages { packages: vec![package, none], has_more: true }),
        ("InboxDown", Event::InboxDown { from_seq: Seq(2) }),
        ("InboxEntry", inbox(event::InboxItem::Welcome(welcome))),
        ("InboxEntry-unknown", inbox(event::InboxItem::Unknown)),
    ]
}

fn cursor() -> event::Cursor {
    event::Cursor {
        member: account(2),
        delivered: Seq(9),
        delivered_at: WallTime(10),
        read: Seq(8),
        read_at: WallTime(11),
        withheld: vec![(Seq(3), Seq(4))],
    }
}

fn events() -> Vec<(&'static str, Event)> {
    let connected = event::Connected {
        version: 1,
        identity: Some((account(1), DeviceId::new([2; 16]))),
        server_time: WallTime(3),
        token_expires: WallTime(4),
        chats: 5,
        refresh: false,
        key_packages: 0,
    };
    let stocked = event::Connected { key_packages: 87, ..connected };
    let stale = event::Connected { refresh: true, ..connected };
    let anonymous = event::Connected { identity: None, ..connected };
    let entry = event::Entry {
        seq: Seq(7),
        sender: account(1),
        device: DeviceId::new([2; 16]),
        client_msg_id: msg(),
        at: WallTime(1_700_000_000_000),
        kind: Kind::Text,
        content: Bytes::from_static(b"sealed"),
        what: event::EntryKind::Message,
        epoch: Epoch::ZERO,
    };
    let tokens = event::Tokens {
        access: Secret::new("a.b.c".into()),
        access_expires: WallTime(1),
        refresh: Secret::new([2; 48]),
        refresh_expires: WallTime(3),
    };
    let verified = event::Verified {
        account: account(1),
        device: DeviceId::new([2; 16]),
        name: "Alice".into(),
        phone: Secret::new("+4915112345678".into()),
        tokens: tokens.clone(),
    };
    let chat_row = event::Chat {
        chat: chat(),
        peer: Some((account(2), "Bob".into())),
        head: Seq(9),
        read: Seq(8),
        last_at: WallTime(7),
        name: None,
    };
    let named = event::Chat { peer: None, name: Some("Walkers".into()), ..chat_row.clone() };
    let device = event::Device {
        device: DeviceId::new([2; 16]),
        name: "phone".into(),
        added_at: WallTime(1),
        current: true,
    };
    let receipt = event::Receipt { member: account(2), delivered_at: Some(WallTime(5)), read_at: None };
    let page = event::Page { count: 2, has_more: true, next_cursor: Seq(5), members: vec![cursor()] };
    let limited = ErrorCode::RateLimited.after(Duration::from_millis(1500));
    let device_added =
        Event::DeviceAdded { device: DeviceId::new([2; 16]), name: "tablet".into(), at: WallTime(9) };
    let registered = Event::Registered {
        registration: RegistrationId::new([3; 16]),
        expires_in: Duration::from_secs(300),
    };
    let ack = |delivered| Event::AppendAck { client_msg_id: msg(), seq: Seq(7), at: WallTime(8), delivered };
    let mut events = of_groups(&entry);
    events.extend([
        ("Connected", Event::Connected(connected)),
        ("Connected-stocked", Event::Connected(stocked)),
        ("Connected-anonymous", Event::Connected(anonymous)),
        ("Connected-refresh", Event::Connected(stale)),
        ("TypingIndicator", Event::Typing { member: account(2), typing: true }),
        ("Synced", Event::Synced { through: WallTime(3) }),
        ("Pong", Event::Pong { client_time: WallTime(5), server_time: WallTime(6) }),
        ("Goodbye", Event::Goodbye(ErrorCode::ShuttingDown.after(Duration::from_secs(2)))),
        ("DeviceAdded", device_added),
        ("AppendAck", ack(Seq::ZERO)),
        ("AppendAck-delivered", ack(Seq(7))),
        (
            "AppendRefused",
            Event::AppendRefused { client_msg_id: msg(), refusal: limited, epoch: Epoch::ZERO },
        ),
        ("ChatDown", Event::ChatDown { chat: chat(), from_seq: Seq(7), peer: Some(account(2)) }),
        ("Entry", Event::Entry(entry)),
        ("CursorMoved", Event::CursorMoved(cursor())),
        ("Registered", registered),
        ("Verified", Event::Verified(verified)),
        ("Refreshed", Event::Refreshed(tokens)),
        ("Devices", Event::Devices(vec![device])),
        ("Done", Event::Done),
        ("Found", Event::Found { account: account(2), name: "Bob".into(), chat: chat() }),
        ("Page", Event::Page(page)),
        ("Chats", Event::Chats { chats: vec![chat_row], has_more: false }),
        ("Chats-named", Event::Chats { chats: vec![named], has_more: true }),
        ("Receipts", Event::Receipts(vec![receipt])),
        ("Refused", Event::Refused(ErrorCode::TokenExpired.refuse())),
    ]);
    events
}

fn golden() -> BTreeMap<String, Bytes> {
    let text = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    text.lines()
        .map(|line| line.split_once(' ').expect("a name and bytes"))
        .map(|(n, h)| (n.into(), unhex(h)))
        .collect()
}

fn unhex(text: &str) -> Bytes {
    let digit = |i| u8::from_str_radix(&text[i..i + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn bless(name: &str, bytes: &Bytes) {
    use std::io::Write;
    let mut file =
        std::fs::OpenOptions::new().append(true).create(true).open(GOLDEN).expect("the golden file");
    writeln!(file, "{name} {}", hex(bytes)).expect("a line");
}

#[test]
fn r115_golden_requests_still_decode() {
    check(requests(), Request::encode, |frame| Request::decode(&wire::frame::body_of(frame)).unwrap());
}

#[test]
fn r115_golden_events_still_decode() {
    check(events(), Event::encode, |frame| Event::decode(&wire::frame::body_of(frame)).unwrap());
}

/// A member of the schema's union that has no golden bytes, or whose bytes no list here reads, is not released yet.
#[test]
fn r115_every_member_of_the_schema_has_golden_bytes() {
    let member = |frame: &Bytes| testing::member_of(&wire::frame::body_of(frame)).expect("a known member");
    let said: BTreeMap<_, _> = requests()
        .into_iter()
        .map(|(name, request)| (name, request.encode()))
        .chain(events().into_iter().map(|(name, event)| (name, event.encode())))
        .collect();
    for (name, bytes) in &said {
        let own = name.split('-').next();
        assert_eq!(own, Some(member(bytes)), "{name} is called as its member, and perhaps -somehow");
    }
    let golden = golden();
    for name in testing::members() {
        assert!(said.contains_key(name), "{name} is in neither list above");
        let released = golden.get(name).unwrap_or_else(|| panic!("{name} has no golden bytes"));
        assert_eq!(member(released), name, "the golden bytes of {name}");
    }
    for name in golden.keys() {
        assert!(said.contains_key(&**name), "nothing reads the golden bytes of {name}");
    }
}

fn check<T: PartialEq + std::fmt::Debug>(
    values: Vec<(&'static str, T)>,
    encode: impl Fn(&T) -> Bytes,
    decode: impl Fn(&Bytes) -> T,
) {
    let golden = golden();
    for (name, value) in values {
        let bytes = encode(&value);
        assert_eq!(decode(&bytes), value, "{name} round trip");
        match golden.get(name) {
            Some(released) => assert_eq!(decode(released), value, "{name} as released"),
            None if std::env::var_os("GODWIT_BLESS").is_some() => bless(name, &bytes),
            None => panic!("{name} has no golden bytes: run once with GODWIT_BLESS=1"),
        }
    }
}

/// Every prefix of a frame, and every frame with one byte changed, decodes or is refused; nothing panics, and what
/// decodes does not reach outside the frame.
#[test]
fn r152_damaged_frames_never_panic() {
    let frames =
        requests().into_iter().map(|(_, r)| r.encode()).chain(events().into_iter().map(|(_, e)| e.encode()));
    for frame in frames {
        let body = wire::frame::body_of(&frame);
        for cut in 0..body.len() {
            let _ = Request::decode(&body.slice(..cut));
            let _ = Event::decode(&body.slice(..cut));
        }
        for place in 0..body.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = body.to_vec();
                damaged[place] ^= flip;
                let damaged = Bytes::from(damaged);
                let _ = Request::decode(&damaged);
                let _ = Event::decode(&damaged);
            }
        }
    }
}

/// A union member from the future is `Unknown`, not an error; so is a field from the future.
#[test]
fn r115_unknown_members_are_skipped() {
    let mut b = flatbuffers::FlatBufferBuilder::new();
    let future = b.start_table();
    let future = b.end_table(future);
    let start = b.start_table();
    b.push_slot_always::<u8>(4, 200);
    b.push_slot_always(6, flatbuffers::WIPOffset::<flatbuffers::UnionWIPOffset>::new(future.value()));
    b.push_slot_always::<u32>(8, 7);
    let frame = b.end_table(start);
    b.finish_minimal(frame);
    let body = Bytes::copy_from_slice(b.finished_data());
    assert_eq!(Request::decode(&body), Ok(Request::Unknown));
    assert_eq!(Event::decode(&body), Ok(Event::Unknown));
    // Said on, it is still what nobody knows, and not some frame that exists.
    assert_eq!(Request::decode(&wire::frame::body_of(&Request::Unknown.encode())), Ok(Request::Unknown));
    assert_eq!(Event::decode(&wire::frame::body_of(&Event::Unknown.encode())), Ok(Event::Unknown));
}
