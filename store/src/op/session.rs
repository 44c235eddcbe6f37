//! What a session begins with: who the device is, and where it is in each chat.

use std::cmp::Reverse;

use futures_util::future::{try_join, try_join_all, try_join5};
use wire::{AccountId, ChatId, DeviceId, LogId, PersonName, Seq, WallTime};

use super::device::{self, DeviceError};
use super::find_account::AccountInfo;
use super::{NotMember, read};
use crate::keys;
use crate::record::{AccountChat, Cursors, DeviceCursor, Family, Head, Member};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx, after_key, little_endian};

/// Chats of one page: some 1,300 reads, of 5 s at most.
const CHATS_MAX: usize = 256;

/// Reads what a session begins with. A route must have been registered before, and the read version is fresh.
///
/// The device is looked at together with its first chats, and further chats follow page by page, each in a transaction
/// of its own ([`Store::execute`](crate::Store::execute)): somebody with ten thousand would not fit into the lifetime of
/// one. So each chat is as it was at its page's read version, none older than the route; two chats may be of different
/// moments. What happens after a page was read is hinted by way of that route, a chat that is new included; and a device
/// that is ended meanwhile is told so as it would be right after.
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

/// The first transaction of [`OpenSession`].
#[derive(Debug)]
pub(crate) struct Beginning<'a>(pub(crate) &'a OpenSession);

/// A further page of its chats.
#[derive(Debug)]
pub(crate) struct MoreChats<'a> {
    pub(crate) session: &'a OpenSession,
    /// Chats with ids above this.
    pub(crate) after: ChatId,
}

/// Some chats, by id, and after which of them the next page begins.
#[derive(Debug)]
pub(crate) struct ChatStates {
    pub(crate) chats: Vec<ChatState>,
    pub(crate) next: Option<ChatId>,
}

impl SessionState {
    /// A device's session with a first page of its chats.
    fn new(account: AccountId, name: PersonName, device_key: [u8; 32], chats: Vec<ChatState>) -> Self {
        SessionState { device_key, account: AccountInfo { account, name }, chats }
    }

    /// Puts the newest activity first, once all chats are there.
    pub(crate) fn sort(&mut self) {
        self.chats.sort_by_key(|chat| (Reverse(chat.last_at), chat.chat));
    }
}

impl Body for Beginning<'_> {
    /// The session with its first chats, and after which of them the next page begins.
    type Output = Result<(SessionState, Option<ChatId>), DeviceError>;

    /// A device whose refresh tokens were ended by reuse is refused, whatever its access token says: whoever stole the
    /// one may have the other. Cost: two reads and a range together; then one read, and five per chat, together.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let (tx, op) = (&*tx, self.0);
        let (found, listed) =
            try_join(device::find(tx, op.account, op.device), Listed::after(tx, op.account, None)).await?;
        let (account, device) = match found {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        let family_key = keys::family(device.family);
        let (family, states) =
            try_join(read::peek::<Family, T>(tx, &family_key), listed.states(tx, op)).await?;
        if family.is_none_or(|family| family.revoked) {
            return Ok(Err(DeviceError::Revoked));
        }
        Ok(Ok((SessionState::new(op.account, account.name, device.key, states.chats), states.next)))
    }
}

impl Body for MoreChats<'_> {
    type Output = ChatStates;

    /// Cost: a range, then five reads per chat, together.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<ChatStates, OpError> {
        let listed = Listed::after(&*tx, self.session.account, Some(self.after)).await?;
        listed.states(&*tx, self.session).await
    }
}

impl Body for OpenChat {
    type Output = Result<ChatState, NotMember>;

    /// Cost: five reads, together.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let seen = Seen::read(&*tx, self.account, self.device, self.chat).await?;
        let Some(member) = seen.member else { return Ok(Err(NotMember)) };
        Ok(Ok(seen.state(self.chat, member.peer, WallTime(0))))
    }
}

/// A page of an account's chats, without their states.
struct Listed(Vec<([u8; 16], AccountChat)>);

impl Listed {
    async fn after<T: Tx>(tx: &T, account: AccountId, after: Option<ChatId>) -> Result<Listed, OpError> {
        let mut range = Range::prefix(keys::account_chats(account)).limit(CHATS_MAX).snapshot();
        if let Some(after) = after {
            range.begin = after_key(&keys::account_chat(account, after));
        }
        read::list::<AccountChat, T>(tx, range).await.map(Listed)
    }

    async fn states<T: Tx>(self, tx: &T, op: &OpenSession) -> Result<ChatStates, OpError> {
        let next = self.0.last().filter(|_| self.0.len() == CHATS_MAX).map(|(id, _)| ChatId::new(*id));
        let states = self.0.into_iter().map(async |(id, chat)| {
            let (id, peer) = (ChatId::new(id), chat.peer);
            let seen = Seen::read(tx, op.account, op.device, id).await?;
            Ok::<_, OpError>(seen.state(id, peer, op.receipts_since))
        });
        Ok(ChatStates { chats: try_join_all(states).await?, next })
    }
}

/// What is stored of one device in one chat.
struct Seen {
    head: Head,
    cursors: Cursors,
    /// When any member's cursor last moved.
    moved_at: Option<WallTime>,
    device: Option<DeviceCursor>,
    member: Option<Member>,
}

impl Seen {
    async fn read<T: Tx>(
        tx: &T,
        account: AccountId,
        device: DeviceId,
        chat: ChatId,
    ) -> Result<Seen, OpError> {
        let log = LogId::Chat(chat);
        let (head, cursors) = (keys::head(log), keys::member_cursor(log, account));
        let (moved, device) = (keys::cursors_moved(log), keys::device_cursor(log, account, device));
        let member = keys::member(log, account);
        let (head, cursors, moved, device, member) = try_join5(
            read::peek::<Head, T>(tx, &head),
            read::peek::<Cursors, T>(tx, &cursors),
            async { Ok(tx.get_snapshot(&moved).await?) },
            read::peek::<DeviceCursor, T>(tx, &device),
            read::peek::<Member, T>(tx, &member),
        )
        .await?;
        let (head, cursors) = (head.unwrap_or_default(), cursors.unwrap_or_default());
        let moved_at = moved.map(|value| WallTime(little_endian(&value)));
        Ok(Seen { head, cursors, moved_at, device, member })
    }

    fn state(&self, chat: ChatId, peer: Option<AccountId>, receipts_since: WallTime) -> ChatState {
        let floor = self.member.map_or(self.head.seq, |member| member.joined);
        ChatState {
            chat,
            peer,
            head: self.head.seq,
            last_at: self.head.last_at,
            floor,
            delivered: self.device.map_or(floor, |cursor| cursor.delivered.max(floor)),
            read: self.cursors.read,
            moved: self.moved_at.is_some_and(|at| at >= receipts_since),
        }
    }
}
