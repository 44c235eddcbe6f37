//! What is stored of people: accounts, devices, tokens.

use bytes::{BufMut, BytesMut};
use wire::{AccountId, DeviceId, PersonName, Phone, RequestId, Secret, WallTime};

use super::{Fields, Record, RecordError, put_account, put_option, put_text};

/// A person: `a account`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// When it was made.
    pub created_at: WallTime,
    /// Whether it may not have sessions.
    pub suspended: bool,
    /// Its number.
    pub phone: Phone,
    /// Its name.
    pub name: PersonName,
}

impl Record for Account {
    const NAME: &'static str = "account";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.created_at.0);
        to.put_u8(self.suspended.into());
        put_text(to, self.phone.expose());
        put_text(to, self.name.as_str());
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Account {
            created_at: from.time()?,
            suspended: from.flag()?,
            phone: from.text().and_then(|t| Phone::parse(t).map_err(|_| from.damaged("no phone number")))?,
            name: from.text().and_then(|t| PersonName::parse(t).map_err(|_| from.damaged("no name")))?,
        })
    }
}

/// One chat of an account: `a account c chat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountChat {
    /// The other account of a 1:1 chat.
    pub peer: Option<AccountId>,
}

impl Record for AccountChat {
    const NAME: &'static str = "chat of an account";

    fn put(&self, to: &mut BytesMut) {
        put_option(to, self.peer, put_account);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(AccountChat { peer: from.option(Fields::account)? })
    }
}

/// A device: `a account d device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its Ed25519 public key.
    pub key: [u8; 32],
    /// When it was added.
    pub added_at: WallTime,
    /// The family of its tokens.
    pub family: RequestId,
    /// Whether this family's registration made the device, and not an earlier one's.
    pub made_device: bool,
    /// Whether this family's registration made the account.
    pub made_account: bool,
    /// What its owner calls it.
    pub name: String,
}

impl Record for Device {
    const NAME: &'static str = "device";

    fn put(&self, to: &mut BytesMut) {
        to.put_slice(&self.key);
        to.put_u64(self.added_at.0);
        to.put_slice(self.family.as_bytes());
        to.put_u8(self.made_device.into());
        to.put_u8(self.made_account.into());
        put_text(to, &self.name);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Device {
            key: from.array()?,
            added_at: from.time()?,
            family: from.array().map(RequestId::new)?,
            made_device: from.flag()?,
            made_account: from.flag()?,
            name: from.text()?.to_owned(),
        })
    }
}

/// Whose a device key or phone number is: `d device`, `p phone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub AccountId);

impl Record for Owner {
    const NAME: &'static str = "owner";

    fn put(&self, to: &mut BytesMut) {
        put_account(to, self.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        from.account().map(Owner)
    }
}

/// A device's refresh tokens: `f family`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Whose.
    pub account: AccountId,
    /// Which device's.
    pub device: DeviceId,
    /// Whether it was ended.
    pub revoked: bool,
    /// SHA-256 of the current token's secret.
    pub current: Secret<[u8; 32]>,
    /// When the current token ends.
    pub current_expires: WallTime,
    /// The token that the current one succeeded.
    pub previous: Option<PreviousToken>,
}

/// The token before the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousToken {
    /// SHA-256 of its secret.
    pub hash: Secret<[u8; 32]>,
    /// When it would have ended.
    pub expires: WallTime,
    /// The request that rotated it.
    pub request: RequestId,
}

impl Record for Family {
    const NAME: &'static str = "token family";

    fn put(&self, to: &mut BytesMut) {
        put_account(to, self.account);
        to.put_slice(self.device.as_bytes());
        to.put_u8(self.revoked.into());
        to.put_slice(self.current.expose());
        to.put_u64(self.current_expires.0);
        put_option(to, self.previous.as_ref(), |to, previous| {
            to.put_slice(previous.hash.expose());
            to.put_u64(previous.expires.0);
            to.put_slice(previous.request.as_bytes());
        });
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Family {
            account: from.account()?,
            device: from.array().map(DeviceId::new)?,
            revoked: from.flag()?,
            current: from.array().map(Secret::new)?,
            current_expires: from.time()?,
            previous: from.option(|from| {
                Ok(PreviousToken {
                    hash: from.array().map(Secret::new)?,
                    expires: from.time()?,
                    request: from.array().map(RequestId::new)?,
                })
            })?,
        })
    }
}

/// When a token that was used would have ended: `f family u hash`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedToken {
    /// When.
    pub expires: WallTime,
}

impl Record for UsedToken {
    const NAME: &'static str = "used token";

    fn put(&self, to: &mut BytesMut) {
        to.put_u64(self.expires.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(UsedToken { expires: from.time()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::pinned;
    use super::*;

    const A: AccountId = AccountId::new([0xaa; 16]);

    #[test]
    fn stored_forms_of_people_are_pinned() {
        let phone = Phone::parse("+4915112345678").unwrap();
        let name = PersonName::parse("Ünal").unwrap();
        let account = Account { created_at: WallTime(1), suspended: false, phone, name };
        pinned(account, "01 0000000000000001 00 000e 2b34393135313132333435363738 0005 c39c6e616c");
        pinned(AccountChat { peer: None }, "01 00");
        pinned(AccountChat { peer: Some(A) }, &format!("01 01 {}", "aa".repeat(16)));
        pinned(Owner(A), &format!("01 {}", "aa".repeat(16)));
        let device = Device {
            key: [0xbb; 32],
            added_at: WallTime(2),
            family: RequestId::new([0xcc; 16]),
            made_device: true,
            made_account: false,
            name: "phone".into(),
        };
        let (key, family) = ("bb".repeat(32), "cc".repeat(16));
        pinned(device, &format!("01 {key} 0000000000000002 {family} 01 00 0005 70686f6e65"));
    }

    #[test]
    fn stored_forms_of_tokens_are_pinned() {
        let previous = PreviousToken {
            hash: Secret::new([0x22; 32]),
            expires: WallTime(4),
            request: RequestId::new([0x33; 16]),
        };
        let mut family = Family {
            account: A,
            device: DeviceId::new([0xdd; 16]),
            revoked: false,
            current: Secret::new([0x11; 32]),
            current_expires: WallTime(3),
            previous: None,
        };
        let head =
            format!("01 {} {} 00 {} 0000000000000003", "aa".repeat(16), "dd".repeat(16), "11".repeat(32));
        pinned(family.clone(), &format!("{head} 00"));
        family.previous = Some(previous);
        pinned(family, &format!("{head} 01 {} 0000000000000004 {}", "22".repeat(32), "33".repeat(16)));
        pinned(UsedToken { expires: WallTime(5) }, "01 0000000000000005");
    }
}
