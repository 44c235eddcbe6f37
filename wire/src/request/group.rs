//! What a client says of groups and key packages, verified: counts are within [`limits`], and sizes are for the command to
//! judge, since a wrong one gets an answer.

use bytes::Bytes;
use flatbuffers::{ForwardsUOffset, Vector};

use super::Request;
use crate::encode::{Builder, Member};
use crate::error::DecodeError;
use crate::generated::wire as fb;
use crate::{AccountId, ChatId, ClientMsgId, DeviceId, Epoch, RequestId, limits};

/// A commit and the change of membership that it carries; its bytes follow in [`Request::Part`]s: the commit, the tree, the
/// welcome of each new device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitGroup {
    /// The chat.
    pub chat: ChatId,
    /// The idempotency key.
    pub client_msg_id: ClientMsgId,
    /// The epoch it was made for.
    pub epoch: Epoch,
    /// The change of membership that it is to carry.
    pub action: Action,
    /// The devices that it adds, in the order of its Add proposals.
    pub adds: Vec<NewDevice>,
    /// How many bytes the commit has.
    pub commit_bytes: u32,
    /// How many the tree has; zero if nothing is added.
    pub tree_bytes: u32,
}

/// A device that a commit adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewDevice {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// How many bytes its welcome has.
    pub welcome_bytes: u32,
}

/// A change of membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The first commit of a 1:1 chat.
    MakeDirect {
        /// The other account.
        peer: AccountId,
    },
    /// The first commit of a group (R59).
    MakeGroup {
        /// Its name, as typed.
        name: String,
        /// What it is about, as typed; may be empty.
        description: String,
        /// Who is in it beside its creator.
        members: Vec<AccountId>,
    },
    /// New members (R65).
    AddMembers {
        /// Who.
        accounts: Vec<AccountId>,
    },
    /// Members that go (R67).
    RemoveMembers {
        /// Who.
        accounts: Vec<AccountId>,
    },
    /// No change of who is a member.
    Update,
}

/// Key packages of the device that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishKeyPackages {
    /// The idempotency key.
    pub request: RequestId,
    /// Each is handed out once.
    pub packages: Vec<Bytes>,
    /// Handed out when there is no other.
    pub last_resort: Option<Bytes>,
}

/// Asks for a key package of each device of some accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimKeyPackages {
    /// Whose.
    pub accounts: Vec<AccountId>,
    /// Goes on after this device of an answer that had more.
    pub after: Option<(AccountId, DeviceId)>,
}

impl CommitGroup {
    /// How many bytes follow; `None` if they are more than are taken ([`limits::COMMIT_BYTES_MAX`] in all), the commit is
    /// empty, or there is a tree without a new device or none for one.
    pub fn blob_bytes(&self) -> Option<usize> {
        let within = |bytes: u32, max: usize| Some(bytes as usize).filter(|bytes| *bytes <= max);
        let commit =
            within(self.commit_bytes, limits::HANDSHAKE_BYTES_MAX).filter(|_| self.commit_bytes > 0)?;
        let tree = within(self.tree_bytes, limits::TREE_BYTES_MAX)?;
        if (tree == 0) != self.adds.is_empty() {
            return None;
        }
        let mut sum = commit + tree;
        for add in &self.adds {
            let welcome = within(add.welcome_bytes, limits::WELCOME_BYTES_MAX);
            sum += welcome.filter(|bytes| *bytes > 0)?;
        }
        Some(sum).filter(|sum| *sum <= limits::COMMIT_BYTES_MAX)
    }
}

/// A request about groups, if it is one.
pub(super) fn decode(body: &Bytes, frame: fb::Frame<'_>) -> Result<Option<Request>, DecodeError> {
    if let Some(t) = frame.body_as_part() {
        return Ok(Some(Request::Part { bytes: body.slice_ref(t.bytes().bytes()), left: t.left() }));
    }
    if let Some(t) = frame.body_as_commit_group() {
        return decode_commit(t);
    }
    if let Some(t) = frame.body_as_leave_group() {
        let (chat, client_msg_id) = (ChatId::new(t.chat().0), ClientMsgId::new(t.client_msg_id().0));
        return Ok(Some(Request::LeaveGroup { chat, client_msg_id }));
    }
    if let Some(t) = frame.body_as_get_group() {
        return Ok(Some(Request::GetGroup { chat: ChatId::new(t.chat().0) }));
    }
    if let Some(t) = frame.body_as_get_tree() {
        return Ok(Some(Request::GetTree { chat: ChatId::new(t.chat().0), epoch: Epoch(t.epoch()) }));
    }
    if let Some(t) = frame.body_as_publish_key_packages() {
        return decode_publish(body, t).map(|publish| Some(Request::PublishKeyPackages(publish)));
    }
    if let Some(t) = frame.body_as_claim_key_packages() {
        let accounts = decode_accounts(t.accounts(), limits::CLAIM_ACCOUNTS_MAX, "accounts")?;
        let after = t.after_account().zip(t.after_device());
        let after = after.map(|(account, device)| (AccountId::new(account.0), DeviceId::new(device.0)));
        return Ok(Some(Request::ClaimKeyPackages(ClaimKeyPackages { accounts, after })));
    }
    Ok((frame.body_type() == fb::Body::InboxUp).then_some(Request::InboxUp))
}

/// A commit for something that only a newer client knows is a request that nobody knows.
fn decode_commit(t: fb::CommitGroup<'_>) -> Result<Option<Request>, DecodeError> {
    let Some(action) = decode_action(t)? else { return Ok(None) };
    let adds = t.adds().into_iter().flatten().map(|add| NewDevice {
        account: AccountId::new(add.account().0),
        device: DeviceId::new(add.device().0),
        welcome_bytes: add.welcome_bytes(),
    });
    if t.adds().is_some_and(|adds| adds.len() > limits::COMMIT_ADDS_MAX) {
        return Err(DecodeError::Field { field: "adds" });
    }
    Ok(Some(Request::CommitGroup(CommitGroup {
        chat: ChatId::new(t.chat().0),
        client_msg_id: ClientMsgId::new(t.client_msg_id().0),
        epoch: Epoch(t.epoch()),
        action,
        adds: adds.collect(),
        commit_bytes: t.commit_bytes(),
        tree_bytes: t.tree_bytes(),
    })))
}

fn decode_action(t: fb::CommitGroup<'_>) -> Result<Option<Action>, DecodeError> {
    if let Some(t) = t.action_as_make_direct() {
        return Ok(Some(Action::MakeDirect { peer: AccountId::new(t.peer().0) }));
    }
    if let Some(t) = t.action_as_make_group() {
        return Ok(Some(Action::MakeGroup {
            name: t.name().to_owned(),
            description: t.description().unwrap_or_default().to_owned(),
            members: decode_accounts(t.members(), limits::COMMIT_ADDS_MAX, "members")?,
        }));
    }
    if let Some(t) = t.action_as_add_members() {
        let accounts = decode_accounts(t.accounts(), limits::COMMIT_ADDS_MAX, "accounts")?;
        return Ok(Some(Action::AddMembers { accounts }));
    }
    if let Some(t) = t.action_as_remove_members() {
        let accounts = decode_accounts(t.accounts(), limits::GROUP_ACCOUNTS_MAX, "accounts")?;
        return Ok(Some(Action::RemoveMembers { accounts }));
    }
    Ok((t.action_type() == fb::Action::UpdateGroup).then_some(Action::Update))
}

fn decode_accounts(
    ids: Vector<'_, fb::Id>,
    max: usize,
    field: &'static str,
) -> Result<Vec<AccountId>, DecodeError> {
    if ids.len() > max {
        return Err(DecodeError::Field { field });
    }
    Ok(ids.iter().map(|id| AccountId::new(id.0)).collect())
}

fn decode_publish(body: &Bytes, t: fb::PublishKeyPackages<'_>) -> Result<PublishKeyPackages, DecodeError> {
    let packages: Option<Vector<'_, ForwardsUOffset<fb::KeyPackageBytes<'_>>>> = t.packages();
    if packages.is_some_and(|packages| packages.len() > limits::KEY_PACKAGES_PUBLISHED_MAX) {
        return Err(DecodeError::Field { field: "packages" });
    }
    let packages = packages.into_iter().flatten().map(|package| body.slice_ref(package.bytes().bytes()));
    let last_resort = t.last_resort().map(|bytes| body.slice_ref(bytes.bytes()));
    Ok(PublishKeyPackages {
        request: RequestId::new(t.request().0),
        packages: packages.collect(),
        last_resort,
    })
}

pub(super) fn encode_commit(b: &mut Builder, commit: &CommitGroup) -> Member {
    let (action_type, action) = encode_action(b, &commit.action);
    let adds: Vec<_> = commit.adds.iter().map(|add| encode_add(b, add)).collect();
    let adds = (!adds.is_empty()).then(|| b.create_vector(&adds));
    let (chat, id) = (fb::Id(*commit.chat.as_bytes()), fb::Id(*commit.client_msg_id.as_bytes()));
    let args = fb::CommitGroupArgs {
        chat: Some(&chat),
        client_msg_id: Some(&id),
        epoch: commit.epoch.0,
        action_type,
        action: Some(action),
        adds,
        commit_bytes: commit.commit_bytes,
        tree_bytes: commit.tree_bytes,
    };
    (fb::Body::CommitGroup, fb::CommitGroup::create(b, &args).as_union_value())
}

fn encode_add(b: &mut Builder, add: &NewDevice) -> flatbuffers::WIPOffset<fb::NewDevice<'static>> {
    let (account, device) = (fb::Id(*add.account.as_bytes()), fb::Id(*add.device.as_bytes()));
    let welcome_bytes = add.welcome_bytes;
    fb::NewDevice::create(
        b,
        &fb::NewDeviceArgs { account: Some(&account), device: Some(&device), welcome_bytes },
    )
}

type Union = flatbuffers::WIPOffset<flatbuffers::UnionWIPOffset>;

fn encode_action(b: &mut Builder, action: &Action) -> (fb::Action, Union) {
    match action {
        Action::MakeDirect { peer } => {
            let peer = fb::Id(*peer.as_bytes());
            let t = fb::MakeDirect::create(b, &fb::MakeDirectArgs { peer: Some(&peer) });
            (fb::Action::MakeDirect, t.as_union_value())
        }
        Action::MakeGroup { name, description, members } => {
            let args = fb::MakeGroupArgs {
                name: Some(b.create_string(name)),
                description: (!description.is_empty()).then(|| b.create_string(description)),
                members: Some(b.create_vector(&ids(members))),
            };
            (fb::Action::MakeGroup, fb::MakeGroup::create(b, &args).as_union_value())
        }
        Action::AddMembers { accounts } => {
            let accounts = Some(b.create_vector(&ids(accounts)));
            let t = fb::AddMembers::create(b, &fb::AddMembersArgs { accounts });
            (fb::Action::AddMembers, t.as_union_value())
        }
        Action::RemoveMembers { accounts } => {
            let accounts = Some(b.create_vector(&ids(accounts)));
            let t = fb::RemoveMembers::create(b, &fb::RemoveMembersArgs { accounts });
            (fb::Action::RemoveMembers, t.as_union_value())
        }
        Action::Update => {
            let t = fb::UpdateGroup::create(b, &fb::UpdateGroupArgs {});
            (fb::Action::UpdateGroup, t.as_union_value())
        }
    }
}

fn ids(accounts: &[AccountId]) -> Vec<fb::Id> {
    accounts.iter().map(|id| fb::Id(*id.as_bytes())).collect()
}

pub(super) fn encode_leave(b: &mut Builder, chat: ChatId, client_msg_id: ClientMsgId) -> Member {
    let (chat, id) = (fb::Id(*chat.as_bytes()), fb::Id(*client_msg_id.as_bytes()));
    let t = fb::LeaveGroup::create(b, &fb::LeaveGroupArgs { chat: Some(&chat), client_msg_id: Some(&id) });
    (fb::Body::LeaveGroup, t.as_union_value())
}

pub(super) fn encode_get_group(b: &mut Builder, chat: ChatId) -> Member {
    let chat = fb::Id(*chat.as_bytes());
    let t = fb::GetGroup::create(b, &fb::GetGroupArgs { chat: Some(&chat) });
    (fb::Body::GetGroup, t.as_union_value())
}

pub(super) fn encode_get_tree(b: &mut Builder, chat: ChatId, epoch: Epoch) -> Member {
    let chat = fb::Id(*chat.as_bytes());
    let t = fb::GetTree::create(b, &fb::GetTreeArgs { chat: Some(&chat), epoch: epoch.0 });
    (fb::Body::GetTree, t.as_union_value())
}

pub(super) fn encode_publish(b: &mut Builder, publish: &PublishKeyPackages) -> Member {
    let mut packages = Vec::with_capacity(publish.packages.len());
    for package in &publish.packages {
        let bytes = Some(b.create_vector(package));
        packages.push(fb::KeyPackageBytes::create(b, &fb::KeyPackageBytesArgs { bytes }));
    }
    let packages = (!packages.is_empty()).then(|| b.create_vector(&packages));
    let last_resort = publish.last_resort.as_ref().map(|bytes| b.create_vector(bytes));
    let request = fb::Id(*publish.request.as_bytes());
    let args = fb::PublishKeyPackagesArgs { request: Some(&request), packages, last_resort };
    (fb::Body::PublishKeyPackages, fb::PublishKeyPackages::create(b, &args).as_union_value())
}

pub(super) fn encode_claim(b: &mut Builder, claim: &ClaimKeyPackages) -> Member {
    let accounts = Some(b.create_vector(&ids(&claim.accounts)));
    let account = claim.after.map(|(id, _)| fb::Id(*id.as_bytes()));
    let device = claim.after.map(|(_, id)| fb::Id(*id.as_bytes()));
    let args =
        fb::ClaimKeyPackagesArgs { accounts, after_account: account.as_ref(), after_device: device.as_ref() };
    (fb::Body::ClaimKeyPackages, fb::ClaimKeyPackages::create(b, &args).as_union_value())
}
