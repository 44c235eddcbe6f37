//! What a session begins with: who the device is, and where it is in each chat.

use std::cmp::Reverse;

use futures_util::future::{try_join, try_join_all, try_join3, try_join5};
use wire::{AccountId, ChatId, DeviceId, LogId, PersonName, Seq, WallTime};

use super::device::{self, DeviceError};
use super::find_account::AccountInfo;
use super::standing::Standing;
use super::{MemberAsOf, NotMember, read};
use crate::keys;
use crate::record::{AccountChat, Cursors, DeviceCursor, Family, Head, Stock};
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
    /// Its chats, those that it has left included: what a device has not got of them is still owed.
    pub chats: Vec<ChatState>,
    /// The device's inbox.
    pub inbox: InboxState,
    /// How many key packages of the device are left, the last resort aside.
    pub key_packages: u32,
}

/// A device's inbox as its session sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InboxState {
    /// The log's last place.
    pub head: Seq,
    /// When it was appended.
    pub last_at: WallTime,
    /// Up to where the device has everything.
    pub delivered: Seq,
}

/// One chat as a session sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatState {
    /// The chat.
    pub chat: ChatId,
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountId>,
    /// The log's last place; where the account left, if it has.
    pub head: Seq,
    /// When it was appended.
    pub last_at: WallTime,
    /// Where its account joined: what this device may be delivered comes after it, whatever the device says it has. The
    /// head, if the account never was a member.
    pub floor: Seq,
    /// Whether the account is a member: if not, nothing comes after `head`.
    pub is_member: bool,
    /// Up to where this device has everything: where delivery resumes. At least `floor`.
    pub delivered: Seq,
    /// The account's read cursor.
    pub read: Seq,
    /// Whether any member's cursor moved at or after the asked time.
    pub moved: bool,
}

impl ChatState {
    /// What a tail of the chat may take for granted.
    pub fn member(&self) -> Option<MemberAsOf> {
        self.is_member.then_some(MemberAsOf { joined: self.floor, head: self.head })
    }
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
        let (account, inbox) = (AccountInfo { account, name }, InboxState::default());
        SessionState { device_key, account, chats, inbox, key_packages: 0 }
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
    /// one may have the other. Cost: two reads and a range together; then four reads, and five per chat, together;
    /// a further one for each chat that the account has left.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let (tx, op) = (&*tx, self.0);
        let (found, listed) =
            try_join(device::find(tx, op.account, op.device), Listed::after(tx, op.account, None)).await?;
        let (account, device) = match found {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        let family_key = keys::family(device.family);
        let family = read::peek::<Family, T>(tx, &family_key);
        let (family, states, own) =
            try_join3(family, listed.states(tx, op), Own::read(tx, op.account, op.device)).await?;
        if family.is_none_or(|family| family.revoked) {
            return Ok(Err(DeviceError::Revoked));
        }
        let session = SessionState::new(op.account, account.name, device.key, states.chats);
        let (inbox, key_packages) = (own.inbox, own.key_packages);
        Ok(Ok((SessionState { inbox, key_packages, ..session }, states.next)))
    }
}

/// What is stored of a device itself.
struct Own {
    inbox: InboxState,
    key_packages: u32,
}

impl Own {
    async fn read<T: Tx>(tx: &T, account: AccountId, device: DeviceId) -> Result<Own, OpError> {
        let log = LogId::Device(device);
        let (head, cursor) = (keys::head(log), keys::device_cursor(log, account, device));
        let stock = keys::key_package_stock(device);
        let (head, cursor, stock) = try_join3(
            read::peek::<Head, T>(tx, &head),
            read::peek::<DeviceCursor, T>(tx, &cursor),
            read::peek::<Stock, T>(tx, &stock),
        )
        .await?;
        let (head, delivered) = (head.unwrap_or_default(), cursor.map(|cursor| cursor.delivered));
        let delivered = delivered.unwrap_or_default();
        let inbox = InboxState { head: head.seq, last_at: head.last_at, delivered };
        let key_packages = stock.map_or(0, |stock| stock.count().try_into().unwrap_or(u32::MAX));
        Ok(Own { inbox, key_packages })
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

    /// Cost: five reads, together; a sixth for who is no member.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<Self::Output, OpError> {
        let seen = Seen::read(&*tx, self.account, self.device, self.chat).await?;
        let peer = match seen.standing {
            Standing::Member(member) => member.peer,
            Standing::Former(_) => None,
            Standing::Stranger => return Ok(Err(NotMember)),
        };
        Ok(Ok(seen.state(self.chat, peer, WallTime(0))))
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
    standing: Standing,
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
        let (head, cursors, moved, device, standing) = try_join5(
            read::peek::<Head, T>(tx, &head),
            read::peek::<Cursors, T>(tx, &cursors),
            async { Ok(tx.get_snapshot(&moved).await?) },
            read::peek::<DeviceCursor, T>(tx, &device),
            Standing::peek(tx, log, account),
        )
        .await?;
        let (head, cursors) = (head.unwrap_or_default(), cursors.unwrap_or_default());
        let moved_at = moved.map(|value| WallTime(little_endian(&value)));
        Ok(Seen { head, cursors, moved_at, device, standing })
    }

    fn state(&self, chat: ChatId, peer: Option<AccountId>, receipts_since: WallTime) -> ChatState {
        let is_member = matches!(self.standing, Standing::Member(_));
        let (head, last_at) = match self.standing {
            Standing::Stranger => (self.head.seq, self.head.last_at),
            standing => standing.head(&self.head),
        };
        let floor = self.standing.joined().unwrap_or(head);
        ChatState {
            chat,
            peer,
            head,
            last_at,
            floor,
            is_member,
            delivered: self.device.map_or(floor, |cursor| cursor.delivered.max(floor)),
            read: self.cursors.read,
            moved: is_member && self.moved_at.is_some_and(|at| at >= receipts_since),
        }
    }
}
