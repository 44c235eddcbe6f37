//! What a session begins with: who the device is, and where it is in each chat.

use std::cmp::Reverse;

use futures_util::future::{join, join3, try_join_all};
use wire::{AccountId, ChatId, DeviceId, LogId, Seq, WallTime};

use super::device::{self, DeviceError};
use super::find_account::AccountInfo;
use super::{NotMember, read};
use crate::keys;
use crate::record::{AccountChat, Cursors, DeviceCursor, Family, Head, Member};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx, little_endian};

/// Chats whose keys are asked for at once.
const CHATS_AT_ONCE: usize = 64;

/// Reads what a session begins with. A route must have been registered before, and the read version is fresh.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// The account the token names.
    pub account: AccountId,
    /// The device the token names.
    pub device: DeviceId,
    /// Chats whose cursors moved at or after this say so in [`ChatState::moved`].
    pub receipts_since: WallTime,
}

/// Who a device is and its chats, newest activity first.
#[derive(Debug, Clone)]
pub struct SessionState {
    /// The device's Ed25519 public key, for its proof.
    pub device_key: [u8; 32],
    /// The account.
    pub account: AccountInfo,
    /// Its chats.
    pub chats: Vec<ChatState>,
}

/// One chat as a session sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatState {
    /// The chat.
    pub chat: ChatId,
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountId>,
    /// The log's last place.
    pub head: Seq,
    /// When it was appended.
    pub last_at: WallTime,
    /// Where its account joined: what this device may be delivered comes after it, whatever the device says it has. The
    /// head, if the account is no member.
    pub floor: Seq,
    /// Up to where this device has everything: where delivery resumes. At least `floor`.
    pub delivered: Seq,
    /// The account's read cursor.
    pub read: Seq,
    /// Whether any member's cursor moved at or after the asked time.
    pub moved: bool,
}

/// One chat of one device. A device that sees a chat for the first time gets a cursor at the chat's beginning
/// (its account was a member from the first entry) or where its account joined.
#[derive(Debug, Clone)]
pub struct OpenChat {
    /// Who.
    pub account: AccountId,
    /// Which device.
    pub device: DeviceId,
    /// The chat.
    pub chat: ChatId,
}

impl Body for OpenSession {
    type Output = Result<SessionState, DeviceError>;

    /// A device whose refresh tokens were ended by reuse is refused, whatever its access token says: whoever stole the
    /// one may have the other. Cost: three reads, a range, and five reads per chat.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let (account, device) = match device::find(tx, self.account, self.device).await? {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        let tx = &*tx;
        let range = Range::prefix(keys::account_chats(self.account)).snapshot();
        let family_key = keys::family(device.family);
        let (listed, family) =
            join(read::list::<AccountChat, T>(tx, range), read::peek::<Family, T>(tx, &family_key)).await;
        if family?.is_none_or(|family| family.revoked) {
            return Ok(Err(DeviceError::Revoked));
        }
        let listed = listed?;
        let mut chats = Vec::with_capacity(listed.len());
        for some in listed.chunks(CHATS_AT_ONCE) {
            let states = some.iter().map(|(id, chat)| {
                let place = Place { account: self.account, device: self.device, chat: ChatId::new(*id) };
                place.state(tx, chat.peer, self.receipts_since)
            });
            chats.extend(try_join_all(states).await?);
        }
        chats.sort_by_key(|chat| (Reverse(chat.last_at), chat.chat));
        let account = AccountInfo { account: self.account, name: account.name };
        Ok(Ok(SessionState { device_key: device.key, account, chats }))
    }
}

impl Body for OpenChat {
    type Output = Result<ChatState, NotMember>;

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let key = keys::member(LogId::Chat(self.chat), self.account);
        let Some(member) = read::peek::<Member, T>(tx, &key).await? else { return Ok(Err(NotMember)) };
        let place = Place { account: self.account, device: self.device, chat: self.chat };
        place.state(tx, member.peer, WallTime(0)).await.map(Ok)
    }
}

/// One device in one chat.
struct Place {
    account: AccountId,
    device: DeviceId,
    chat: ChatId,
}

impl Place {
    async fn state<T: Tx>(
        self,
        tx: &T,
        peer: Option<AccountId>,
        receipts_since: WallTime,
    ) -> Result<ChatState, OpError> {
        let log = LogId::Chat(self.chat);
        let (head_key, cursors_key) = (keys::head(log), keys::member_cursor(log, self.account));
        let moved_key = keys::cursors_moved(log);
        let (head, cursors, moved) = join3(
            read::peek::<Head, T>(tx, &head_key),
            read::peek::<Cursors, T>(tx, &cursors_key),
            tx.get_snapshot(&moved_key),
        )
        .await;
        let head = head?.unwrap_or_default();
        let (floor, cursor) = self.floor_and_cursor(tx, log, head.seq).await?;
        let moved_at = moved?.map(|value| WallTime(little_endian(&value)));
        Ok(ChatState {
            chat: self.chat,
            peer,
            head: head.seq,
            last_at: head.last_at,
            floor,
            delivered: cursor.map_or(floor, |cursor| cursor.delivered.max(floor)),
            read: cursors?.unwrap_or_default().read,
            moved: moved_at.is_some_and(|at| at >= receipts_since),
        })
    }

    /// Where its account joined, and the device's cursor, if it has one yet.
    async fn floor_and_cursor<T: Tx>(
        &self,
        tx: &T,
        log: LogId,
        head: Seq,
    ) -> Result<(Seq, Option<DeviceCursor>), OpError> {
        let cursor_key = keys::device_cursor(log, self.account, self.device);
        let member_key = keys::member(log, self.account);
        let (cursor, member) =
            join(read::peek::<DeviceCursor, T>(tx, &cursor_key), read::peek::<Member, T>(tx, &member_key))
                .await;
        Ok((member?.map_or(head, |member| member.joined), cursor?))
    }
}
