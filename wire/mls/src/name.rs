//! Names: a group's, a device's in its credential, and what binds a message to its place in the log.

use aws_lc_rs::digest::{SHA256, digest};
use wire::limits::DEVICE_KEY_BYTES;
use wire::{AccountId, ChatId, ClientMsgId, DeviceId};

/// What an MLS group is for; its group id is a byte for the kind, then the id. Calls will have a kind of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupName {
    /// A chat's group.
    Chat(ChatId),
}

const CHAT: u8 = 1;

impl GroupName {
    /// The MLS group id.
    pub fn to_bytes(self) -> [u8; 17] {
        let GroupName::Chat(chat) = self;
        let mut bytes = [CHAT; 17];
        bytes[1..].copy_from_slice(chat.as_bytes());
        bytes
    }

    /// From an MLS group id; `None` if it is none of ours.
    pub fn from_bytes(bytes: &[u8]) -> Option<GroupName> {
        match bytes {
            [CHAT, id @ ..] => Some(GroupName::Chat(ChatId::new(id.try_into().ok()?))),
            _ => None,
        }
    }
}

/// Bytes of a basic credential's identity.
pub const ACCOUNT_AND_DEVICE_BYTES: usize = 32;

/// A basic credential's identity: account, then device.
pub fn identity(account: AccountId, device: DeviceId) -> [u8; ACCOUNT_AND_DEVICE_BYTES] {
    let mut identity = [0; ACCOUNT_AND_DEVICE_BYTES];
    identity[..16].copy_from_slice(account.as_bytes());
    identity[16..].copy_from_slice(device.as_bytes());
    identity
}

/// Account and device of a basic credential's identity.
pub fn parse_identity(identity: &[u8]) -> Option<(AccountId, DeviceId)> {
    let (account, device) = identity.split_first_chunk()?;
    Some((AccountId::new(*account), DeviceId::new(device.try_into().ok()?)))
}

/// The device with this Ed25519 public key: the first 16 bytes of its SHA-256.
pub fn device_of(key: &[u8; DEVICE_KEY_BYTES]) -> DeviceId {
    let digest = digest(&SHA256, key);
    DeviceId::new(*digest.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
}

/// The authenticated data of every message: a version byte, then its `client_msg_id`. With the sender's leaf and the group id, which
/// MLS authenticates itself, a server can neither relabel a message nor say it twice or elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding(pub ClientMsgId);

const BINDING: u8 = 1;

impl Binding {
    /// The authenticated data.
    pub fn to_bytes(self) -> [u8; 17] {
        let mut bytes = [BINDING; 17];
        bytes[1..].copy_from_slice(self.0.as_bytes());
        bytes
    }

    /// From authenticated data; `None` if it is none of ours.
    pub fn from_bytes(bytes: &[u8]) -> Option<Binding> {
        match bytes {
            [BINDING, id @ ..] => Some(Binding(ClientMsgId::new(id.try_into().ok()?))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_nothing_else_is_a_name() {
        let name = GroupName::Chat(ChatId::new([7; 16]));
        assert_eq!(GroupName::from_bytes(&name.to_bytes()), Some(name));
        let binding = Binding(ClientMsgId::new([9; 16]));
        assert_eq!(Binding::from_bytes(&binding.to_bytes()), Some(binding));
        let (account, device) = (AccountId::new([1; 16]), DeviceId::new([2; 16]));
        assert_eq!(parse_identity(&identity(account, device)), Some((account, device)));
        for bad in [&[][..], &[CHAT], &[0; 17], &[CHAT; 16], &[CHAT; 18]] {
            assert_eq!(GroupName::from_bytes(bad), None, "{bad:?}");
            assert_eq!(Binding::from_bytes(bad), None, "{bad:?}");
            assert_eq!(parse_identity(bad), None, "{bad:?}");
        }
    }
}
