//! A key taken apart again: for tools that read whole stores.
//!
//! Invariant: what [`keys`] makes, [`Key::parse`] names, with the parts that a tool decides by; the tests of the two
//! stand together. What it does not know, it says so of, and a tool stops there.

use wire::{AccountId, ChatId, DeviceId, Epoch, LogId, RequestId, Seq};

use crate::keys::{self, Parts};

/// A key, by what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// `a account`.
    Account(AccountId),
    /// `a account s`.
    LastSeen(AccountId),
    /// `a account c chat`.
    AccountChat(AccountId, ChatId),
    /// `a account d device`.
    AccountDevice(AccountId, DeviceId),
    /// `d device`.
    DeviceOwner(DeviceId),
    /// `f family`.
    Family(RequestId),
    /// `f family u hash`.
    FamilyUsed(RequestId),
    /// `p phone`.
    Phone,
    /// `k device s`.
    KeyPackageStock(DeviceId),
    /// `k device p number`.
    KeyPackage(DeviceId),
    /// `k device l`.
    LastResort(DeviceId),
    /// `l log …`.
    Log(LogId, LogKey),
    /// `o shard at log seq`.
    Outbox(LogId, Seq),
}

/// What of a log a key is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKey {
    /// `e seq`.
    Entry(Seq),
    /// `x seq part`.
    EntryPart(Seq),
    /// `g`.
    Group,
    /// `v account`.
    Former,
    /// `n leaf`.
    Leaf,
    /// `w epoch`.
    TreeNeeds(Epoch),
    /// `y epoch part`.
    Tree(Epoch),
    /// `h`.
    Head,
    /// `i account client_msg_id`.
    Idempotency,
    /// `m account`.
    Member,
    /// `d account device`.
    DeviceCursor,
    /// `c account`.
    MemberCursor,
    /// `r account d|r …`: whose, and which cursor's.
    Receipt(AccountId, u8),
    /// `t`.
    CursorsMoved,
}

/// What a key is about, without which: the unit in which stores are counted and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is a key of the tree, which `keys` explains")]
pub enum Kind {
    Account,
    LastSeen,
    AccountChat,
    AccountDevice,
    DeviceOwner,
    Family,
    FamilyUsed,
    Phone,
    Entry,
    Head,
    Idempotency,
    Member,
    DeviceCursor,
    MemberCursor,
    Receipt,
    CursorsMoved,
    Outbox,
    KeyPackageStock,
    KeyPackage,
    LastResort,
    EntryPart,
    Group,
    Former,
    Leaf,
    TreeNeeds,
    Tree,
    /// None of them.
    Unknown,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 27] = [
        Kind::Account,
        Kind::LastSeen,
        Kind::AccountChat,
        Kind::AccountDevice,
        Kind::DeviceOwner,
        Kind::Family,
        Kind::FamilyUsed,
        Kind::Phone,
        Kind::Entry,
        Kind::Head,
        Kind::Idempotency,
        Kind::Member,
        Kind::DeviceCursor,
        Kind::MemberCursor,
        Kind::Receipt,
        Kind::CursorsMoved,
        Kind::Outbox,
        Kind::KeyPackageStock,
        Kind::KeyPackage,
        Kind::LastResort,
        Kind::EntryPart,
        Kind::Group,
        Kind::Former,
        Kind::Leaf,
        Kind::TreeNeeds,
        Kind::Tree,
        Kind::Unknown,
    ];

    /// What a key is about.
    pub fn of(key: &[u8]) -> Kind {
        Key::parse(key).map_or(Kind::Unknown, |key| key.kind())
    }

    /// Its name, in the plural and in snake case; it never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Account => "accounts",
            Kind::LastSeen => "last_seen",
            Kind::AccountChat => "account_chats",
            Kind::AccountDevice => "account_devices",
            Kind::DeviceOwner => "device_owners",
            Kind::Family => "token_families",
            Kind::FamilyUsed => "used_tokens",
            Kind::Phone => "phones",
            Kind::Entry => "entries",
            Kind::Head => "heads",
            Kind::Idempotency => "idempotency_records",
            Kind::Member => "members",
            Kind::DeviceCursor => "device_cursors",
            Kind::MemberCursor => "member_cursors",
            Kind::Receipt => "receipts",
            Kind::CursorsMoved => "cursors_moved",
            Kind::Outbox => "outbox",
            Kind::KeyPackageStock => "key_package_stocks",
            Kind::KeyPackage => "key_packages",
            Kind::LastResort => "last_resorts",
            Kind::EntryPart => "entry_parts",
            Kind::Group => "groups",
            Kind::Former => "former_members",
            Kind::Leaf => "leaves",
            Kind::TreeNeeds => "tree_needs",
            Kind::Tree => "trees",
            Kind::Unknown => "unknown",
        }
    }
}

impl Key {
    /// The parts of a key; `None` if it is none of the tree, or the store's own.
    pub fn parse(key: &[u8]) -> Option<Key> {
        let mut parts = Parts(key);
        let [letter] = parts.take()?;
        if letter == b'o' {
            let (log, seq, _) = keys::outbox_entry(key)?;
            return Some(Key::Outbox(log, seq));
        }
        let parsed = match letter {
            b'a' => account(&mut parts)?,
            b'd' => Key::DeviceOwner(DeviceId::new(parts.take()?)),
            b'f' => family(&mut parts)?,
            b'k' => key_package(&mut parts)?,
            b'l' => Key::Log(parts.log()?, log_key(&mut parts)?),
            b'p' => {
                parts.0 = &[];
                Key::Phone
            }
            _ => return None,
        };
        parts.0.is_empty().then_some(parsed)
    }

    /// Of which kind it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Key::Account(_) => Kind::Account,
            Key::LastSeen(_) => Kind::LastSeen,
            Key::AccountChat(..) => Kind::AccountChat,
            Key::AccountDevice(..) => Kind::AccountDevice,
            Key::DeviceOwner(_) => Kind::DeviceOwner,
            Key::Family(_) => Kind::Family,
            Key::FamilyUsed(_) => Kind::FamilyUsed,
            Key::Phone => Kind::Phone,
            Key::Outbox(..) => Kind::Outbox,
            Key::KeyPackageStock(_) => Kind::KeyPackageStock,
            Key::KeyPackage(_) => Kind::KeyPackage,
            Key::LastResort(_) => Kind::LastResort,
            Key::Log(_, LogKey::EntryPart(_)) => Kind::EntryPart,
            Key::Log(_, LogKey::Group) => Kind::Group,
            Key::Log(_, LogKey::Former) => Kind::Former,
            Key::Log(_, LogKey::Leaf) => Kind::Leaf,
            Key::Log(_, LogKey::TreeNeeds(_)) => Kind::TreeNeeds,
            Key::Log(_, LogKey::Tree(_)) => Kind::Tree,
            Key::Log(_, LogKey::Entry(_)) => Kind::Entry,
            Key::Log(_, LogKey::Head) => Kind::Head,
            Key::Log(_, LogKey::Idempotency) => Kind::Idempotency,
            Key::Log(_, LogKey::Member) => Kind::Member,
            Key::Log(_, LogKey::DeviceCursor) => Kind::DeviceCursor,
            Key::Log(_, LogKey::MemberCursor) => Kind::MemberCursor,
            Key::Log(_, LogKey::Receipt(..)) => Kind::Receipt,
            Key::Log(_, LogKey::CursorsMoved) => Kind::CursorsMoved,
        }
    }
}

fn account(parts: &mut Parts<'_>) -> Option<Key> {
    let account = AccountId::new(parts.take()?);
    let Some([letter]) = parts.take() else { return Some(Key::Account(account)) };
    match letter {
        b's' => Some(Key::LastSeen(account)),
        b'c' => Some(Key::AccountChat(account, ChatId::new(parts.take()?))),
        b'd' => Some(Key::AccountDevice(account, DeviceId::new(parts.take()?))),
        _ => None,
    }
}

fn family(parts: &mut Parts<'_>) -> Option<Key> {
    let family = RequestId::new(parts.take()?);
    match parts.take() {
        None => Some(Key::Family(family)),
        Some([b'u']) => parts.take::<32>().map(|_| Key::FamilyUsed(family)),
        Some(_) => None,
    }
}

fn key_package(parts: &mut Parts<'_>) -> Option<Key> {
    let device = DeviceId::new(parts.take()?);
    let [letter] = parts.take()?;
    Some(match letter {
        b's' => Key::KeyPackageStock(device),
        b'p' => parts.number().map(|_| Key::KeyPackage(device))?,
        b'l' => Key::LastResort(device),
        _ => return None,
    })
}

fn log_key(parts: &mut Parts<'_>) -> Option<LogKey> {
    let [letter] = parts.take()?;
    Some(match letter {
        b'e' => LogKey::Entry(Seq(parts.number()?)),
        b'h' => LogKey::Head,
        b'x' => {
            let seq = Seq(parts.number()?);
            parts.take::<2>().map(|_| LogKey::EntryPart(seq))?
        }
        b'g' => LogKey::Group,
        b'v' => parts.take::<16>().map(|_| LogKey::Former)?,
        b'n' => parts.take::<4>().map(|_| LogKey::Leaf)?,
        b'w' => LogKey::TreeNeeds(Epoch(parts.number()?)),
        b'y' => {
            let epoch = Epoch(parts.number()?);
            parts.take::<2>().map(|_| LogKey::Tree(epoch))?
        }
        b'i' => parts.take::<32>().map(|_| LogKey::Idempotency)?,
        b'm' => parts.take::<16>().map(|_| LogKey::Member)?,
        b'd' => parts.take::<32>().map(|_| LogKey::DeviceCursor)?,
        b'c' => parts.take::<16>().map(|_| LogKey::MemberCursor)?,
        b'r' => {
            let account = AccountId::new(parts.take()?);
            let [kind] = parts.take()?;
            parts.take::<20>()?;
            LogKey::Receipt(account, kind)
        }
        b't' => LogKey::CursorsMoved,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wire::{ClientMsgId, Phone, WallTime};

    use super::*;
    use crate::keys::ReceiptKind;

    const A: AccountId = AccountId::new([0xaa; 16]);
    const D: DeviceId = DeviceId::new([0xdd; 16]);
    const C: ChatId = ChatId::new([0xcc; 16]);
    const F: RequestId = RequestId::new([0xff; 16]);

    #[test]
    fn every_key_is_named() {
        let phone = Phone::parse("+4915112345678").unwrap();
        let mut cases = vec![
            (keys::account(A), Key::Account(A)),
            (keys::last_seen(A), Key::LastSeen(A)),
            (keys::account_chat(A, C), Key::AccountChat(A, C)),
            (keys::account_device(A, D), Key::AccountDevice(A, D)),
            (keys::device_owner(D), Key::DeviceOwner(D)),
            (keys::family(F), Key::Family(F)),
            (keys::family_used(F, &[1; 32]), Key::FamilyUsed(F)),
            (keys::phone(&phone), Key::Phone),
            (keys::key_package_stock(D), Key::KeyPackageStock(D)),
            (keys::key_package(D, 7), Key::KeyPackage(D)),
            (keys::last_resort(D), Key::LastResort(D)),
        ];
        for log in [LogId::Chat(C), LogId::Device(D), LogId::Call(C)] {
            let receipt = |kind| keys::receipt(log, A, kind, 1, 2).fill(&[7; 10]);
            cases.push((keys::outbox(WallTime(5), log, Seq(6)), Key::Outbox(log, Seq(6))));
            cases.extend(
                [
                    (keys::entry(log, Seq(9)), LogKey::Entry(Seq(9))),
                    (keys::head(log), LogKey::Head),
                    (keys::idempotency(log, A, ClientMsgId::new([1; 16])), LogKey::Idempotency),
                    (keys::member(log, A), LogKey::Member),
                    (keys::device_cursor(log, A, D), LogKey::DeviceCursor),
                    (keys::member_cursor(log, A), LogKey::MemberCursor),
                    (receipt(ReceiptKind::Delivered), LogKey::Receipt(A, b'd')),
                    (receipt(ReceiptKind::Read), LogKey::Receipt(A, b'r')),
                    (keys::cursors_moved(log), LogKey::CursorsMoved),
                    (keys::entry_part(log, Seq(9), 1), LogKey::EntryPart(Seq(9))),
                    (keys::group(log), LogKey::Group),
                    (keys::former(log, A), LogKey::Former),
                    (keys::leaf(log, 3), LogKey::Leaf),
                    (keys::tree_needs(log, Epoch(4)), LogKey::TreeNeeds(Epoch(4))),
                    (keys::tree_part(log, Epoch(4), 1), LogKey::Tree(Epoch(4))),
                ]
                .map(|(key, of)| (key, Key::Log(log, of))),
            );
        }
        let mut kinds = BTreeSet::new();
        for (key, parsed) in cases {
            assert_eq!(Key::parse(&key), Some(parsed), "{key:?}");
            kinds.insert(parsed.kind());
            let longer = [&key[..], b"x"].concat();
            let unnamed = parsed == Key::Phone || matches!(parsed, Key::Outbox(..));
            assert!(unnamed || Key::parse(&longer).is_none_or(|other| other != parsed), "{key:?}");
        }
        assert_eq!(kinds.len() + 1, Kind::ALL.len(), "all but the unknown");
        let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn what_is_none_of_the_tree_is_unknown() {
        for key in [&b""[..], b"0v", b"0x", b"l", b"x", b"a", b"lc0123456789abcdef", b"lc0123456789abcdefz"] {
            assert_eq!(Kind::of(key), Kind::Unknown, "{key:?}");
        }
    }

    #[test]
    fn what_is_copied_is_all_but_the_stores_own() {
        let copied = |key: &[u8]| {
            keys::all_but_the_stores_own().iter().any(|(begin, end)| begin[..] <= *key && *key < end[..])
        };
        for key in [
            keys::account(A),
            keys::entry(LogId::Chat(C), Seq(1)),
            keys::outbox(WallTime(1), LogId::Call(C), Seq(1)),
        ] {
            assert!(copied(&key), "{key:?}");
        }
        for key in [
            keys::schema_version(),
            keys::incarnation(),
            keys::closed(),
            keys::progress(),
            keys::batch_seal(),
        ] {
            assert!(!copied(&key), "{key:?}");
        }
    }
}
