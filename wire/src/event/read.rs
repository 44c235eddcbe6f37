//! Verified frames into events.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Chat, Connected, Cursor, Device, Entry, EntryKind, Event, Kind, Page, Receipt, Tokens, Verified, group,
};
use crate::error::{DecodeError, ErrorCode, Refusal};
use crate::generated::wire as fb;
use crate::request::array;
use crate::{AccountId, ChatId, ClientMsgId, DeviceId, Epoch, RegistrationId, Secret, Seq, WallTime, frame};

pub(super) fn event(body: &Bytes) -> Result<Event, DecodeError> {
    let frame = frame::verify(body)?;
    if let Some(t) = frame.body_as_entry() {
        return Ok(Event::Entry(decode_entry(body, t)));
    }
    if let Some(t) = frame.body_as_append_ack() {
        let client_msg_id = ClientMsgId::new(t.client_msg_id().0);
        let (seq, at, delivered) = (Seq(t.seq()), WallTime(t.at()), Seq(t.delivered()));
        return Ok(Event::AppendAck { client_msg_id, seq, at, delivered });
    }
    if let Some(t) = frame.body_as_append_refused() {
        let client_msg_id = ClientMsgId::new(t.client_msg_id().0);
        let (refusal, epoch) = (decode_refusal(t.refused()), Epoch(t.epoch()));
        return Ok(Event::AppendRefused { client_msg_id, refusal, epoch });
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
    let event = decode_session(frame).or_else(|| group::read(body, frame));
    event.map_or_else(|| decode_answer(frame), Ok)
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
        what: EntryKind::read(t),
        epoch: Epoch(t.epoch()),
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
            key_packages: t.key_packages(),
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
        name: t.name().map(str::to_owned),
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
