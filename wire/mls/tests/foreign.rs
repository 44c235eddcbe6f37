//! What MLS has and a group of ours may not hold: each is refused with its reason, from a commit put together by hand.

use wire::{AccountId, ChatId, ClientMsgId};
use wire_mls::{Binding, GroupName, InspectError, inspect};

fn vector(content: &[u8]) -> Vec<u8> {
    let length = content.len() as u16;
    assert!(length < 1 << 14);
    let short = [length as u8];
    let long = (length | 1 << 14).to_be_bytes();
    [if length < 64 { &short[..] } else { &long }, content].concat()
}

/// The parts of a commit of leaf 3 for epoch 7, of which each case changes one.
struct Parts {
    header: Vec<u8>,
    group: Vec<u8>,
    sender: Vec<u8>,
    data: Vec<u8>,
    content_type: u8,
    proposals: Vec<u8>,
    path: Vec<u8>,
    tags: [Vec<u8>; 3],
}

impl Parts {
    fn new() -> Parts {
        Parts {
            header: vec![0, 1, 0, 1],
            group: GroupName::Chat(ChatId::new([1; 16])).to_bytes().to_vec(),
            sender: vec![1, 0, 0, 0, 3],
            data: Binding(ClientMsgId::new([2; 16])).to_bytes().to_vec(),
            content_type: 3,
            proposals: Vec::new(),
            path: vec![0],
            tags: [vec![4; 64], vec![5; 32], vec![6; 32]],
        }
    }

    fn inspect(&self) -> Result<inspect::Commit, InspectError> {
        let bytes = [
            self.header.clone(),
            vector(&self.group),
            7_u64.to_be_bytes().to_vec(),
            self.sender.clone(),
            vector(&self.data),
            vec![self.content_type],
            vector(&self.proposals),
            self.path.clone(),
            self.tags.iter().flat_map(|tag| vector(tag)).collect(),
        ]
        .concat();
        inspect::commit(&bytes)
    }
}

fn refusal(change: impl Fn(&mut Parts)) -> InspectError {
    let mut parts = Parts::new();
    change(&mut parts);
    parts.inspect().expect_err("refused")
}

#[test]
fn i6_only_commits_of_members_with_adds_and_removes_in_them_are_read() {
    let remove = vec![1, 0, 3, 0, 0, 0, 5];
    assert_eq!(refusal(|parts| parts.header = vec![0, 2, 0, 1]), InspectError::Kind, "another version");
    for kind in [0, 2, 3, 4, 5, 6] {
        assert_eq!(refusal(|parts| parts.header[3] = kind), InspectError::Kind);
    }
    assert_eq!(refusal(|parts| parts.group[0] = 9), InspectError::Group);
    for sender in [vec![2, 0, 0, 0, 0], vec![3], vec![4], vec![0]] {
        assert_eq!(refusal(|parts| parts.sender = sender.clone()), InspectError::Sender, "no member");
    }
    assert_eq!(refusal(|parts| parts.data.clear()), InspectError::Binding);
    for content_type in [0, 1, 2, 4] {
        assert_eq!(refusal(|parts| parts.content_type = content_type), InspectError::Kind);
    }
    let by_reference = [&[2, 32][..], &[7; 32]].concat();
    assert_eq!(refusal(|parts| parts.proposals = by_reference.clone()), InspectError::ByReference);
    // Update, pre-shared key, re-initialisation, external init, group context extensions, and what is not yet.
    for kind in [2, 4, 5, 6, 7, 8, 0x0A0A] {
        let proposal = [&[1][..], &u16::to_be_bytes(kind), &[0; 8]].concat();
        assert_eq!(refusal(|parts| parts.proposals = proposal.clone()), InspectError::Proposal(kind));
    }
    assert_eq!(refusal(|parts| parts.proposals = remove.clone()), InspectError::NoPath);
    assert_eq!(refusal(|_| {}), InspectError::NoPath, "nothing at all");
    assert_eq!(refusal(|parts| parts.path = vec![2]), InspectError::Kind);
}

/// Nobody carries what only members would notice.
#[test]
fn i6_signatures_and_tags_have_the_suite_s_length() {
    let leaf = leaf(3);
    let path = [&[1][..], &leaf, &vector(&[])].concat();
    let update = || Parts { path: path.clone(), ..Parts::new() };
    assert_eq!(update().inspect().map(|commit| commit.sender), Ok(3));
    for tag in 0..3 {
        let right = update().tags[tag].len();
        for wrong in [0, right - 1, right + 1, 2 * right, 8_000] {
            let mut parts = update();
            parts.tags[tag] = vec![7; wrong];
            assert_eq!(parts.inspect(), Err(InspectError::Tag), "{wrong} bytes of {tag}");
        }
    }
    let short = [&leaf[..leaf.len() - 66], &vector(&[0; 63])[..]].concat();
    let parts = Parts { path: [&[1][..], &short, &vector(&[])].concat(), ..Parts::new() };
    assert_eq!(parts.inspect(), Err(InspectError::Tag), "a leaf's");
    assert_eq!(inspect::tree(&vector(&[&[1, 1][..], &short].concat())), Err(InspectError::Tag));
}

/// A leaf that a commit made.
fn leaf(seed: u8) -> Vec<u8> {
    let key = [seed; 32];
    let identity = wire_mls::identity(AccountId::new([seed; 16]), wire_mls::device_of(&key));
    [
        vector(&[8; 32]),
        vector(&key),
        vec![0, 1],
        vector(&identity),
        vec![0; 5],
        vec![3],
        vector(&[]),
        vector(&[]),
        vector(&[9; 64]),
    ]
    .concat()
}

#[test]
fn i6_what_is_larger_than_allowed_is_not_read() {
    let large = [&[0, 1, 0, 1][..], &vec![0; wire::limits::HANDSHAKE_BYTES_MAX]].concat();
    assert_eq!(inspect::commit(&large), Err(InspectError::Oversize));
    assert_eq!(inspect::welcome(&large), Err(InspectError::Oversize));
    assert_eq!(inspect::application(&large), Err(InspectError::Oversize));
    assert_eq!(inspect::key_package(&large), Err(InspectError::Oversize));
}

/// A path longer than any tree of ours is high is refused before anybody makes nodes of it.
#[test]
fn i6_trees_are_no_wider_than_a_group_may_be() {
    let blanks = |count: usize| {
        let length = u16::try_from(count).expect("two bytes") | 0x4000;
        [&length.to_be_bytes()[..], &vec![0; count]].concat()
    };
    assert!(inspect::tree(&blanks(4_095)).expect("2,048 blank leaves").is_empty());
    assert_eq!(inspect::tree(&blanks(4_097)), Err(InspectError::Oversize));
    let parent_at_a_leaf = [6, 1, 2, 0, 0, 0, 0];
    assert_eq!(inspect::tree(&parent_at_a_leaf), Err(InspectError::Kind));
    assert_eq!(inspect::tree(&[1, 0, 0]), Err(InspectError::Trailing));
    assert_eq!(inspect::tree(&[]), Err(InspectError::Truncated));
}
