//! Events into frames.

use super::{Chat, Connected, Cursor, Device, Entry, Event, Page, Receipt, Tokens, Verified, group};
use crate::WallTime;
use crate::encode::{self, Builder, Member};
use crate::error::{Refusal, Retry};
use crate::generated::wire as fb;

pub(super) fn event(b: &mut Builder, event: &Event) -> Member {
    match event {
        Event::Connected(connected) => encode_connected(b, connected),
        Event::Synced { through } => {
            let t = fb::Synced::create(b, &fb::SyncedArgs { through: through.0 });
            (fb::Body::Synced, t.as_union_value())
        }
        Event::Pong { client_time, server_time } => {
            let args = fb::PongArgs { client_time: client_time.0, server_time: server_time.0 };
            (fb::Body::Pong, fb::Pong::create(b, &args).as_union_value())
        }
        Event::Goodbye(refusal) => encode_goodbye(b, refusal),
        Event::DeviceAdded { device, name, at } => {
            let (device, name) = (fb::Id(*device.as_bytes()), Some(b.create_string(name)));
            let args = fb::DeviceAddedArgs { device: Some(&device), name, at: at.0 };
            (fb::Body::DeviceAdded, fb::DeviceAdded::create(b, &args).as_union_value())
        }
        Event::AppendAck { client_msg_id, seq, at, delivered } => {
            let id = fb::Id(*client_msg_id.as_bytes());
            let (seq, at, delivered) = (seq.0, at.0, delivered.0);
            let args = fb::AppendAckArgs { client_msg_id: Some(&id), seq, at, delivered };
            (fb::Body::AppendAck, fb::AppendAck::create(b, &args).as_union_value())
        }
        Event::AppendRefused { client_msg_id, refusal, epoch } => {
            let id = fb::Id(*client_msg_id.as_bytes());
            let refused = Some(encode_refusal(b, refusal));
            let args = fb::AppendRefusedArgs { client_msg_id: Some(&id), refused, epoch: epoch.0 };
            (fb::Body::AppendRefused, fb::AppendRefused::create(b, &args).as_union_value())
        }
        Event::ChatDown { chat, from_seq, peer } => {
            let (chat, peer) = (fb::Id(*chat.as_bytes()), peer.map(|id| fb::Id(*id.as_bytes())));
            let args = fb::ChatDownArgs { chat: Some(&chat), from_seq: from_seq.0, peer: peer.as_ref() };
            (fb::Body::ChatDown, fb::ChatDown::create(b, &args).as_union_value())
        }
        Event::Entry(entry) => encode_entry(b, entry),
        Event::CursorMoved(cursor) => (fb::Body::CursorMoved, encode_cursor(b, cursor).as_union_value()),
        Event::Typing { member, typing } => {
            let member = fb::Id(*member.as_bytes());
            let args = fb::TypingIndicatorArgs { member: Some(&member), typing: *typing };
            (fb::Body::TypingIndicator, fb::TypingIndicator::create(b, &args).as_union_value())
        }
        Event::Refused(refusal) => (fb::Body::Refused, encode_refusal(b, refusal).as_union_value()),
        Event::Registered { registration, expires_in } => {
            let registration = fb::Id(*registration.as_bytes());
            let expires_in_s = expires_in.as_secs().try_into().unwrap_or(u32::MAX);
            let args = fb::RegisteredArgs { registration: Some(&registration), otp_sent: true, expires_in_s };
            (fb::Body::Registered, fb::Registered::create(b, &args).as_union_value())
        }
        Event::Verified(verified) => encode_verified(b, verified),
        Event::Refreshed(tokens) => {
            let tokens = Some(encode_tokens(b, tokens));
            (fb::Body::Refreshed, fb::Refreshed::create(b, &fb::RefreshedArgs { tokens }).as_union_value())
        }
        Event::Done => (fb::Body::Done, fb::Done::create(b, &fb::DoneArgs {}).as_union_value()),
        Event::Found { account, name, chat } => {
            let (account, chat) = (fb::Id(*account.as_bytes()), fb::Id(*chat.as_bytes()));
            let name = Some(b.create_string(name));
            let t = fb::Found::create(b, &fb::FoundArgs { account: Some(&account), name, chat: Some(&chat) });
            (fb::Body::Found, t.as_union_value())
        }
        Event::Page(page) => encode_page(b, page),
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
        Event::EntryPart(part) => group::write_part(b, part),
        Event::Committed { seq, at, epoch } => {
            let args = fb::CommittedArgs { seq: seq.0, at: at.0, epoch: epoch.0 };
            (fb::Body::Committed, fb::Committed::create(b, &args).as_union_value())
        }
        Event::Part { bytes, left } => encode::part(b, bytes, *left),
        Event::Group(known) => group::write_group(b, known),
        Event::KeyPackagesStored { count } => {
            let t = fb::KeyPackagesStored::create(b, &fb::KeyPackagesStoredArgs { count: *count });
            (fb::Body::KeyPackagesStored, t.as_union_value())
        }
        Event::KeyPackages { packages, has_more } => group::write_key_packages(b, packages, *has_more),
        Event::InboxDown { from_seq } => {
            let t = fb::InboxDown::create(b, &fb::InboxDownArgs { from_seq: from_seq.0 });
            (fb::Body::InboxDown, t.as_union_value())
        }
        Event::InboxEntry(entry) => group::write_inbox(b, entry),
        Event::Unknown => encode::nothing(),
    }
}

fn encode_connected(b: &mut Builder, c: &Connected) -> Member {
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
        key_packages: c.key_packages,
    };
    (fb::Body::Connected, fb::Connected::create(b, &args).as_union_value())
}

fn encode_goodbye(b: &mut Builder, refusal: &Refusal) -> Member {
    let text = Some(b.create_string(refusal.code.text()));
    let retry_after_ms = retry_after_ms(refusal);
    let args = fb::GoodbyeArgs { code: refusal.code.number(), retry_after_ms, text };
    (fb::Body::Goodbye, fb::Goodbye::create(b, &args).as_union_value())
}

pub(super) fn encode_entry(b: &mut Builder, entry: &Entry) -> Member {
    let content = Some(b.create_vector(&entry.content));
    let (sender, device) = (fb::Id(*entry.sender.as_bytes()), fb::Id(*entry.device.as_bytes()));
    let client_msg_id = fb::Id(*entry.client_msg_id.as_bytes());
    let control = entry.what.write_control(b);
    let args = fb::EntryArgs {
        seq: entry.seq.0,
        sender: Some(&sender),
        device: Some(&device),
        client_msg_id: Some(&client_msg_id),
        at: entry.at.0,
        kind: entry.kind.to_wire(),
        content,
        what: entry.what.to_wire(),
        epoch: entry.epoch.0,
        parts: entry.what.parts(),
        control,
    };
    (fb::Body::Entry, fb::Entry::create(b, &args).as_union_value())
}

fn encode_verified(b: &mut Builder, v: &Verified) -> Member {
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

fn encode_page(b: &mut Builder, page: &Page) -> Member {
    let members: Vec<_> = page.members.iter().map(|c| encode_cursor(b, c)).collect();
    let members = Some(b.create_vector(&members));
    let (has_more, next_cursor) = (page.has_more, page.next_cursor.0);
    let t = fb::Page::create(b, &fb::PageArgs { count: page.count, has_more, next_cursor, members });
    (fb::Body::Page, t.as_union_value())
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
        name: c.name.as_ref().map(|name| b.create_string(name)),
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
