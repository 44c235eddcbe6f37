//! Pages of an account's chats.

use futures_util::future::{try_join, try_join_all, try_join4};
use wire::{AccountId, ChatId, LogId, Seq, WallTime};

use super::find_account::{self, AccountInfo};
use super::read;
use super::standing::Standing;
use crate::keys;
use crate::record::{AccountChat, Cursors, Group, Head};
use crate::run::{Attempt, Body, OpError};
use crate::tx::{Range, Tx, after_key};

/// A page of an account's chats, by chat id.
#[derive(Debug, Clone)]
pub struct Chats {
    /// Whose.
    pub account: AccountId,
    /// Chats with ids above this.
    pub after: Option<ChatId>,
    /// At most so many.
    pub limit: usize,
}

/// What [`Chats`] found.
#[derive(Debug, Clone)]
pub struct ChatsPage {
    /// The chats.
    pub chats: Vec<ListedChat>,
    /// Whether there are more.
    pub has_more: bool,
}

/// One chat as its member lists it.
#[derive(Debug, Clone)]
pub struct ListedChat {
    /// The chat.
    pub chat: ChatId,
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountInfo>,
    /// What a group is called.
    pub name: Option<String>,
    /// The log's last place; where the account left, if it has.
    pub head: Seq,
    /// The account's read cursor.
    pub read: Seq,
    /// When the last entry was appended.
    pub last_at: WallTime,
}

impl Body for Chats {
    type Output = ChatsPage;

    /// Cost: a range, and three reads per chat, or four of a group; another one of a group that the account has left.
    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<ChatsPage, OpError> {
        let tx = &*tx;
        let mut range = Range::prefix(keys::account_chats(self.account)).limit(self.limit + 1).snapshot();
        if let Some(after) = self.after {
            range.begin = after_key(&keys::account_chat(self.account, after));
        }
        let mut listed = read::list::<AccountChat, T>(tx, range).await?;
        let has_more = listed.len() > self.limit;
        listed.truncate(self.limit);
        let infos = listed.into_iter().map(|(id, chat)| info(tx, self.account, ChatId::new(id), chat));
        Ok(ChatsPage { chats: try_join_all(infos).await?, has_more })
    }
}

async fn info<T: Tx>(
    tx: &T,
    account: AccountId,
    chat: ChatId,
    listed: AccountChat,
) -> Result<ListedChat, OpError> {
    let log = LogId::Chat(chat);
    let (head_key, cursors_key) = (keys::head(log), keys::member_cursor(log, account));
    let group_key = keys::group(log);
    let peer = async {
        match listed.peer {
            Some(peer) => find_account::info(tx, peer).await,
            None => Ok(None),
        }
    };
    // Nobody leaves a 1:1 chat, and it has no name.
    let group = async {
        match listed.peer {
            Some(_) => Ok((None, Standing::Stranger)),
            None => try_join(read::peek::<Group, T>(tx, &group_key), Standing::peek(tx, log, account)).await,
        }
    };
    let (head, cursors, peer, (group, standing)) = try_join4(
        read::peek::<Head, T>(tx, &head_key),
        read::peek::<Cursors, T>(tx, &cursors_key),
        peer,
        group,
    )
    .await?;
    let (head, cursors) = (head.unwrap_or_default(), cursors.unwrap_or_default());
    let (head, last_at) = match standing {
        Standing::Former(_) => standing.head(&head),
        Standing::Member(_) | Standing::Stranger => (head.seq, head.last_at),
    };
    let name = group.map(|group| group.name);
    Ok(ListedChat { chat, peer, name, head, read: cursors.read, last_at })
}
