//! Changes of who is in a chat of many, as they are kept until they are done.

use wire::{AccountId, ChatId, ClientMsgId};

/// A change of a chat's members that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRow {
    /// The chat.
    pub chat: ChatId,
    /// Under which the first commit of a new group, or the leaving, is said.
    pub client_msg_id: ClientMsgId,
    /// What is to be done.
    pub plan: Plan,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// A group is made, and these accounts are its members beside this one (R59).
    Create {
        /// Its name, as typed.
        name: String,
        /// What it is about, as typed.
        description: String,
        /// Who.
        members: Vec<AccountId>,
    },
    /// These become members (R65).
    Add(Vec<AccountId>),
    /// These go (R67).
    Remove(Vec<AccountId>),
    /// This account leaves (R67).
    Leave,
}

const CREATE: u8 = 1;
const ADD: u8 = 2;
const REMOVE: u8 = 3;
const LEAVE: u8 = 4;

impl PlanRow {
    /// One row as bytes, for a disk: chat, id, a letter for the plan, what it holds.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [&self.chat.as_bytes()[..], self.client_msg_id.as_bytes()].concat();
        let (letter, accounts) = match &self.plan {
            Plan::Create { members, .. } => (CREATE, &members[..]),
            Plan::Add(accounts) => (ADD, &accounts[..]),
            Plan::Remove(accounts) => (REMOVE, &accounts[..]),
            Plan::Leave => (LEAVE, &[][..]),
        };
        bytes.push(letter);
        if let Plan::Create { name, description, .. } = &self.plan {
            for text in [name, description] {
                bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        accounts.iter().for_each(|account| bytes.extend_from_slice(account.as_bytes()));
        bytes
    }

    /// From bytes; `None` if they are no row's.
    pub fn from_bytes(bytes: &[u8]) -> Option<PlanRow> {
        let (chat, bytes) = bytes.split_first_chunk()?;
        let (id, bytes) = bytes.split_first_chunk()?;
        let (&letter, mut bytes) = bytes.split_first()?;
        let mut text = || {
            let (length, rest) = bytes.split_first_chunk()?;
            let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            bytes = rest;
            String::from_utf8(text.to_vec()).ok()
        };
        let texts = if letter == CREATE { Some((text()?, text()?)) } else { None };
        let (ids, rest) = bytes.as_chunks();
        let accounts = ids.iter().map(|id| AccountId::new(*id)).collect();
        let plan = match (letter, texts) {
            _ if !rest.is_empty() => return None,
            (CREATE, Some((name, description))) => Plan::Create { name, description, members: accounts },
            (ADD, _) => Plan::Add(accounts),
            (REMOVE, _) => Plan::Remove(accounts),
            (LEAVE, _) if accounts.is_empty() => Plan::Leave,
            _ => return None,
        };
        Some(PlanRow { chat: ChatId::new(*chat), client_msg_id: ClientMsgId::new(*id), plan })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r59_a_plan_comes_back_from_its_bytes_and_nothing_else_is_one() {
        let accounts = vec![AccountId::new([1; 16]), AccountId::new([2; 16])];
        let (name, description) = ("Grüße".to_owned(), String::new());
        let plans = [
            Plan::Create { name, description, members: accounts.clone() },
            Plan::Add(accounts.clone()),
            Plan::Remove(accounts),
            Plan::Leave,
        ];
        for plan in plans {
            let row = PlanRow { chat: ChatId::new([3; 16]), client_msg_id: ClientMsgId::new([4; 16]), plan };
            let bytes = row.to_bytes();
            assert_eq!(PlanRow::from_bytes(&bytes), Some(row.clone()));
            for end in 0..bytes.len() {
                assert_ne!(PlanRow::from_bytes(&bytes[..end]), Some(row.clone()), "cut at {end}");
            }
            assert_eq!(PlanRow::from_bytes(&[&bytes[..], &[0]].concat()), None);
        }
    }
}
