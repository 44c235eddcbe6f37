//! What a server says of groups, key packages and inboxes: the values, and how they are read and written.

use bytes::Bytes;

use super::Event;
use crate::encode::{Builder, Member};
use crate::generated::wire as fb;
use crate::{AccountId, ChatId, DeviceId, Epoch, Seq, WallTime};

/// What an [`Entry`](super::Entry) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EntryKind {
    /// A member's message.
    #[default]
    Message,
    /// A member's commit (RFC 9420, section 12.4): the entry's content is its first bytes, and [`EntryPart`]s have the rest.
    Commit {
        /// How many parts follow.
        parts: u16,
    },
    /// What the server itself has to say.
    Control(Control),
    /// Something a newer server appends: it has its place, and says nothing here.
    Unknown,
}

/// Somebody has gone, whose leaves the next commit is to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// How.
    pub kind: ControlKind,
    /// Who, or whose device.
    pub account: AccountId,
    /// The device, if it is one.
    pub device: Option<DeviceId>,
    /// Who became admin, if the last one has gone (G16).
    pub admin: Option<AccountId>,
}

/// See [`Control`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ControlKind {
    /// Something a newer server says.
    #[default]
    Unsaid,
    /// An account left the chat.
    Left,
    /// A member's device was logged out or revoked.
    DeviceEnded,
}

/// A further piece of an entry's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPart {
    /// The entry's place.
    pub seq: Seq,
    /// Which piece: 1, 2, 3 …
    pub part: u16,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A member's role in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum MemberRole {
    /// May say things, and leave.
    #[default]
    Member,
    /// May add and remove others, too.
    Admin,
}

/// A group as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The chat.
    pub chat: ChatId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Whether nothing is taken but a commit that removes who has gone.
    pub commit_first: bool,
    /// What a 1:1 chat has none of.
    pub about: Option<GroupAbout>,
    /// Who is in it.
    pub members: Vec<GroupMember>,
    /// Which devices are.
    pub leaves: Vec<GroupLeaf>,
}

/// What a group is called, and since when there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupAbout {
    /// Its name.
    pub name: String,
    /// What it is about; may be empty.
    pub description: String,
    /// Who made it.
    pub created_by: AccountId,
    /// When.
    pub created_at: WallTime,
}

/// A member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupMember {
    /// Who.
    pub account: AccountId,
    /// What comes after this is theirs to read.
    pub joined: Seq,
    /// What they may.
    pub role: MemberRole,
}

/// A leaf of a group's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLeaf {
    /// Which (RFC 9420, section 7.7: from the left, from zero).
    pub leaf: u32,
    /// Whose device.
    pub account: AccountId,
    /// Which device.
    pub device: DeviceId,
    /// Whether the next commit must remove it.
    pub pending: bool,
}

/// A key package of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPackage {
    /// Whose device.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// The package; `None` if the device has none left.
    pub bytes: Option<Bytes>,
    /// Whether it is handed out to others, too.
    pub last_resort: bool,
}

/// One entry of a device's inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxEntry {
    /// Its place.
    pub seq: Seq,
    /// When it was committed.
    pub at: WallTime,
    /// What it says.
    pub what: InboxItem,
}

/// What an inbox holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboxItem {
    /// The device was added to a chat.
    Welcome(Welcome),
    /// Something a newer server says: skipped.
    Unknown,
}

/// A commit added the device to a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The chat.
    pub chat: ChatId,
    /// The epoch that began with the commit; its tree is asked for by the same number.
    pub epoch: Epoch,
    /// The commit's place.
    pub seq: Seq,
    /// Who added it, from which device.
    pub adder: (AccountId, DeviceId),
    /// The welcome, without the tree.
    pub bytes: Bytes,
}

impl EntryKind {
    /// How many [`EntryPart`]s follow the entry.
    pub const fn parts(self) -> u16 {
        match self {
            EntryKind::Commit { parts } => parts,
            EntryKind::Message | EntryKind::Control(_) | EntryKind::Unknown => 0,
        }
    }

    pub(super) fn read(t: fb::Entry<'_>) -> EntryKind {
        match t.what() {
            fb::EntryKind::Message => EntryKind::Message,
            fb::EntryKind::Commit => EntryKind::Commit { parts: t.parts() },
            fb::EntryKind::Control => t.control().map_or(EntryKind::Unknown, |control| {
                EntryKind::Control(Control {
                    kind: ControlKind::read(control.kind()),
                    account: AccountId::new(control.account().0),
                    device: control.device().map(|id| DeviceId::new(id.0)),
                    admin: control.admin().map(|id| AccountId::new(id.0)),
                })
            }),
            _ => EntryKind::Unknown,
        }
    }

    pub(super) fn to_wire(self) -> fb::EntryKind {
        match self {
            EntryKind::Message => fb::EntryKind::Message,
            EntryKind::Commit { .. } => fb::EntryKind::Commit,
            EntryKind::Control(_) => fb::EntryKind::Control,
            EntryKind::Unknown => fb::EntryKind(u8::MAX),
        }
    }

    pub(super) fn write_control(
        self,
        b: &mut Builder,
    ) -> Option<flatbuffers::WIPOffset<fb::Control<'static>>> {
        let EntryKind::Control(control) = self else { return None };
        let account = fb::Id(*control.account.as_bytes());
        let device = control.device.map(|id| fb::Id(*id.as_bytes()));
        let admin = control.admin.map(|id| fb::Id(*id.as_bytes()));
        let args = fb::ControlArgs {
            kind: control.kind.to_wire(),
            account: Some(&account),
            device: device.as_ref(),
            admin: admin.as_ref(),
        };
        Some(fb::Control::create(b, &args))
    }
}

impl ControlKind {
    fn read(kind: fb::ControlKind) -> ControlKind {
        match kind {
            fb::ControlKind::Left => ControlKind::Left,
            fb::ControlKind::DeviceEnded => ControlKind::DeviceEnded,
            _ => ControlKind::Unsaid,
        }
    }

    fn to_wire(self) -> fb::ControlKind {
        match self {
            ControlKind::Unsaid => fb::ControlKind::Unsaid,
            ControlKind::Left => fb::ControlKind::Left,
            ControlKind::DeviceEnded => fb::ControlKind::DeviceEnded,
        }
    }
}

impl MemberRole {
    fn read(role: fb::MemberRole) -> MemberRole {
        match role {
            fb::MemberRole::Admin => MemberRole::Admin,
            _ => MemberRole::Member,
        }
    }

    fn to_wire(self) -> fb::MemberRole {
        match self {
            MemberRole::Member => fb::MemberRole::Member,
            MemberRole::Admin => fb::MemberRole::Admin,
        }
    }
}

/// An event about groups, if it is one.
pub(super) fn read(body: &Bytes, frame: fb::Frame<'_>) -> Option<Event> {
    if let Some(t) = frame.body_as_entry_part() {
        let bytes = body.slice_ref(t.bytes().bytes());
        return Some(Event::EntryPart(EntryPart { seq: Seq(t.seq()), part: t.part(), bytes }));
    }
    if let Some(t) = frame.body_as_inbox_entry() {
        return Some(Event::InboxEntry(read_inbox(body, t)));
    }
    if let Some(t) = frame.body_as_inbox_down() {
        return Some(Event::InboxDown { from_seq: Seq(t.from_seq()) });
    }
    if let Some(t) = frame.body_as_committed() {
        let (seq, at, epoch) = (Seq(t.seq()), WallTime(t.at()), Epoch(t.epoch()));
        return Some(Event::Committed { seq, at, epoch });
    }
    if let Some(t) = frame.body_as_part() {
        return Some(Event::Part { bytes: body.slice_ref(t.bytes().bytes()), left: t.left() });
    }
    if let Some(t) = frame.body_as_group() {
        return Some(Event::Group(read_group(t)));
    }
    if let Some(t) = frame.body_as_key_packages_stored() {
        return Some(Event::KeyPackagesStored { count: t.count() });
    }
    let t = frame.body_as_key_packages()?;
    let packages = t.packages().iter().map(|package| KeyPackage {
        account: AccountId::new(package.account().0),
        device: DeviceId::new(package.device().0),
        bytes: package.bytes().map(|bytes| body.slice_ref(bytes.bytes())),
        last_resort: package.last_resort(),
    });
    Some(Event::KeyPackages { packages: packages.collect(), has_more: t.has_more() })
}

fn read_inbox(body: &Bytes, t: fb::InboxEntry<'_>) -> InboxEntry {
    let welcome = t.what_as_welcome().map(|welcome| Welcome {
        chat: ChatId::new(welcome.chat().0),
        epoch: Epoch(welcome.epoch()),
        seq: Seq(welcome.seq()),
        adder: (AccountId::new(welcome.account().0), DeviceId::new(welcome.device().0)),
        bytes: body.slice_ref(welcome.bytes().bytes()),
    });
    let what = welcome.map_or(InboxItem::Unknown, InboxItem::Welcome);
    InboxEntry { seq: Seq(t.seq()), at: WallTime(t.at()), what }
}

fn read_group(t: fb::Group<'_>) -> Group {
    let about = t.name().zip(t.created_by()).map(|(name, created_by)| GroupAbout {
        name: name.to_owned(),
        description: t.description().unwrap_or_default().to_owned(),
        created_by: AccountId::new(created_by.0),
        created_at: WallTime(t.created_at()),
    });
    let members = t.members().iter().map(|member| GroupMember {
        account: AccountId::new(member.account().0),
        joined: Seq(member.joined()),
        role: MemberRole::read(member.role()),
    });
    let leaves = t.leaves().iter().map(|leaf| GroupLeaf {
        leaf: leaf.leaf(),
        account: AccountId::new(leaf.account().0),
        device: DeviceId::new(leaf.device().0),
        pending: leaf.pending(),
    });
    Group {
        chat: ChatId::new(t.chat().0),
        epoch: Epoch(t.epoch()),
        commit_first: t.commit_first(),
        about,
        members: members.collect(),
        leaves: leaves.collect(),
    }
}

pub(super) fn write_part(b: &mut Builder, part: &EntryPart) -> Member {
    let bytes = Some(b.create_vector(&part.bytes));
    let t = fb::EntryPart::create(b, &fb::EntryPartArgs { seq: part.seq.0, part: part.part, bytes });
    (fb::Body::EntryPart, t.as_union_value())
}

pub(super) fn write_inbox(b: &mut Builder, entry: &InboxEntry) -> Member {
    let (what_type, what) = match &entry.what {
        InboxItem::Welcome(welcome) => {
            let (chat, account) = (fb::Id(*welcome.chat.as_bytes()), fb::Id(*welcome.adder.0.as_bytes()));
            let device = fb::Id(*welcome.adder.1.as_bytes());
            let args = fb::WelcomeArgs {
                chat: Some(&chat),
                epoch: welcome.epoch.0,
                seq: welcome.seq.0,
                account: Some(&account),
                device: Some(&device),
                bytes: Some(b.create_vector(&welcome.bytes)),
            };
            (fb::InboxItem::Welcome, Some(fb::Welcome::create(b, &args).as_union_value()))
        }
        InboxItem::Unknown => (fb::InboxItem::NONE, None),
    };
    let args = fb::InboxEntryArgs { seq: entry.seq.0, at: entry.at.0, what_type, what };
    (fb::Body::InboxEntry, fb::InboxEntry::create(b, &args).as_union_value())
}

pub(super) fn write_group(b: &mut Builder, group: &Group) -> Member {
    let id = |account: AccountId| fb::Id(*account.as_bytes());
    let members: Vec<_> = group.members.iter().collect();
    let members: Vec<_> =
        members.iter().map(|m| fb::GroupMember::new(&id(m.account), m.joined.0, m.role.to_wire())).collect();
    let leaves = group.leaves.iter().map(|leaf| {
        fb::GroupLeaf::new(&id(leaf.account), &fb::Id(*leaf.device.as_bytes()), leaf.leaf, leaf.pending)
    });
    let leaves: Vec<_> = leaves.collect();
    let about = group.about.as_ref();
    let created_by = about.map(|about| id(about.created_by));
    let chat = fb::Id(*group.chat.as_bytes());
    let args = fb::GroupArgs {
        chat: Some(&chat),
        epoch: group.epoch.0,
        commit_first: group.commit_first,
        name: about.map(|about| b.create_string(&about.name)),
        description: about.map(|about| b.create_string(&about.description)),
        created_by: created_by.as_ref(),
        created_at: about.map_or(0, |about| about.created_at.0),
        members: Some(b.create_vector(&members)),
        leaves: Some(b.create_vector(&leaves)),
    };
    (fb::Body::Group, fb::Group::create(b, &args).as_union_value())
}

pub(super) fn write_key_packages(b: &mut Builder, packages: &[KeyPackage], has_more: bool) -> Member {
    let mut written = Vec::with_capacity(packages.len());
    for package in packages {
        let (account, device) = (fb::Id(*package.account.as_bytes()), fb::Id(*package.device.as_bytes()));
        let bytes = package.bytes.as_ref().map(|bytes| b.create_vector(bytes));
        let last_resort = package.last_resort;
        let args = fb::KeyPackageArgs { account: Some(&account), device: Some(&device), bytes, last_resort };
        written.push(fb::KeyPackage::create(b, &args));
    }
    let packages = Some(b.create_vector(&written));
    let t = fb::KeyPackages::create(b, &fb::KeyPackagesArgs { packages, has_more });
    (fb::Body::KeyPackages, t.as_union_value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{frame, limits};

    #[test]
    fn r125_a_full_group_fits_a_frame() {
        let (account, device) = (AccountId::new([0xff; 16]), DeviceId::new([0xff; 16]));
        let member = GroupMember { account, joined: Seq(u64::MAX), role: MemberRole::Admin };
        let leaf = GroupLeaf { leaf: u32::MAX, account, device, pending: true };
        let about = GroupAbout {
            name: "\u{10ffff}".repeat(limits::NAME_CHARS_MAX),
            description: "\u{10ffff}".repeat(limits::DESCRIPTION_CHARS_MAX),
            created_by: account,
            created_at: WallTime(u64::MAX),
        };
        let group = Event::Group(Group {
            chat: ChatId::new([0xff; 16]),
            epoch: Epoch(u64::MAX),
            commit_first: true,
            about: Some(about),
            members: vec![member; limits::GROUP_ACCOUNTS_MAX],
            leaves: vec![leaf; limits::GROUP_LEAVES_MAX],
        });
        let body = frame::body_of(&group.encode());
        assert!(body.len() <= limits::FRAME_BYTES_MAX, "{}", body.len());
        assert_eq!(Event::decode(&body), Ok(group));
    }

    #[test]
    fn c48_a_full_answer_with_key_packages_fits_a_frame() {
        let each = limits::CLAIM_BYTES_MAX / limits::CLAIM_DEVICES_MAX;
        let package = KeyPackage {
            account: AccountId::new([0xff; 16]),
            device: DeviceId::new([0xff; 16]),
            bytes: Some(Bytes::from(vec![7; each])),
            last_resort: true,
        };
        let packages = vec![package; limits::CLAIM_DEVICES_MAX];
        let body = frame::body_of(&Event::KeyPackages { packages, has_more: true }.encode());
        assert!(body.len() <= limits::FRAME_BYTES_MAX, "{}", body.len());
        let part = EntryPart { seq: Seq(1), part: 1, bytes: Bytes::from(vec![7; limits::PART_BYTES_MAX]) };
        assert!(frame::body_of(&Event::EntryPart(part).encode()).len() <= limits::FRAME_BYTES_MAX);
    }
}
