//! Groups in backups: whatever happens meanwhile, a restored log's epoch, members and leaves agree with its entries.

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use store::op::*;
use store::sim::{Faults, Sim};
use store::testing::{Executor, VirtualClock};
use store::tx::Backend;
use store::{Clock, Store, keys};
use store_backup::{BackupConfig, Key, Place, backup, restore};
use wire::event::Kind;
use wire::{ClientMsgId, Description, Epoch, GroupName, LogId, RequestId, Seq};

use crate::simulated::{Far, Task, faults, sim};
use crate::support::{Dump, Person, T0, check, execute, open, person, silent};

fn id(n: u64) -> ClientMsgId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    ClientMsgId::new(id)
}

/// A group of a person with two others, one of whom comes and goes.
struct Group {
    log: LogId,
    people: [Person; 3],
    epoch: u64,
    said: u64,
}

impl Group {
    fn of(people: [Person; 3]) -> Group {
        let log = LogId::Chat(keys::group_chat_id(people[0].account, id(0)));
        Group { log, people, epoch: 0, said: 0 }
    }

    fn commit(&self, action: Action, adds: &[Person], removes: Vec<u32>) -> Commit {
        let add = |person: &Person| NewLeaf {
            key: [person.n; 32],
            account: person.account,
            device: person.device,
            welcome: Bytes::from(vec![person.n; 900]),
        };
        Commit {
            log: self.log,
            sender: self.people[0].account,
            device: self.people[0].device,
            client_msg_id: id(self.epoch),
            epoch: Epoch(self.epoch),
            handshake: Bytes::from(vec![self.epoch as u8; 150_000]),
            action,
            adds: adds.iter().map(add).collect(),
            removes,
            leaf: (self.epoch > 0).then_some(0),
            tree: (!adds.is_empty()).then(|| Bytes::from(vec![7; 100_000])),
            now: T0,
        }
    }

    /// The next commit: it is made, then the third person goes, and comes, and keys change.
    async fn goes_on<B: Backend, C: Clock>(&mut self, store: &Store<B, C>) {
        let [_, second, third] = self.people;
        let commit = match self.epoch {
            0 => {
                let action = Action::Create {
                    name: GroupName::parse("Walkers").unwrap(),
                    description: Description::default(),
                    members: vec![second.account, third.account],
                };
                self.commit(action, &[second, third], vec![])
            }
            n if n % 3 == 1 => self.commit(Action::Remove { accounts: vec![third.account] }, &[], vec![2]),
            n if n % 3 == 2 => self.commit(Action::Update, &[], vec![]),
            _ => self.commit(Action::Add { accounts: vec![third.account] }, &[third], vec![]),
        };
        let OpOutput::Commit(committed) = execute(store, Op::Commit(Box::new(commit))).await else {
            panic!()
        };
        self.epoch = committed.unwrap().epoch.0;
        self.said += 1;
        let message = Message {
            client_msg_id: id(1_000_000 + self.said),
            kind: Kind::Text,
            content: Bytes::from_static(b"sealed"),
            epoch: Epoch(self.epoch),
        };
        let Person { account: sender, device, .. } = second;
        let (log, peer, messages) = (self.log, None, vec![message]);
        let append = Append { log, peer, sender, device, messages, now: T0 };
        let OpOutput::Append(appended) = execute(store, Op::Append(append)).await else { panic!() };
        assert!(appended[0].is_ok(), "{appended:?}");
    }
}

async fn publish(store: &Store<Sim<VirtualClock>, VirtualClock>, of: &Person) {
    let (account, device, request) = (of.account, of.device, RequestId::new([of.n; 16]));
    let packages = vec![Bytes::from_static(b"once"); 3];
    let last_resort = Some(Bytes::from_static(b"again and again"));
    let op = PublishKeyPackages { account, device, request, packages, last_resort };
    let OpOutput::PublishKeyPackages(Ok(_)) = execute(store, Op::PublishKeyPackages(op)).await else {
        panic!()
    };
}

#[test]
fn p6_i6_a_group_is_restored_with_the_epoch_and_the_members_of_its_head() {
    let (mut between, mut formers, mut trees) = (0, 0, 0);
    for seed in 0..10 {
        let mut executor = Executor::new(seed);
        let clock = executor.clock();
        let (old, new) = (sim(seed, &clock), sim(seed + 100, &clock));
        let place = Place::of(Arc::new(InMemory::new()));
        let store = executor.block_on(open(old.clone(), clock.clone()));
        let people = [person(1, 0), person(2, 0), person(3, 0)];
        let mut group = Group::of(people);
        executor.block_on(async {
            for who in &people {
                who.register(&store).await;
                publish(&store, who).await;
            }
            // Longer than a page.
            for _ in 0..8 + seed % 3 {
                group.goes_on(&store).await;
            }
        });
        let acknowledged = group.epoch;
        old.set_faults(faults());
        let config = BackupConfig { key: Some(Key::new([1; 32])), ..BackupConfig::default() };
        let key = config.key.clone();
        let talking = {
            let store = store.clone();
            let talk = async move {
                for _ in 0..12 {
                    group.goes_on(&store).await;
                }
            };
            Box::pin(talk) as Task
        };
        let backing = {
            let (old, clock, place) = (old.clone(), clock.clone(), place.clone());
            let back = async move {
                backup(Far(old, clock.clone()), clock, &place, &config, &silent).await.unwrap();
            };
            Box::pin(back) as Task
        };
        executor.run(vec![talking, backing]);
        let restored = restore(&place, key.as_ref(), new.clone(), clock.clone(), &silent);
        let compared = executor.block_on(restored).unwrap();
        assert_eq!(compared.source, compared.target, "seed {seed}");
        new.set_faults(Faults::NONE);
        let store = executor.block_on(open(new, clock));
        let seen = check(&executor.block_on(store.run(&Dump)).unwrap());
        (formers, trees) = (formers + seen.formers, trees + seen.trees);
        assert!(seen.parts > 0 && seen.leaves >= 2, "{seen:?}");
        assert_eq!(seen.key_packages, 3, "those of last resort alone: {seen:?}");
        between += executor.block_on(serves(&store, people, acknowledged));
    }
    assert!(between > 0 && formers > 0 && trees > 0, "{between} {formers} {trees}");
}

/// A restored group goes on from its epoch. Answers how many commits are in it that were made meanwhile.
async fn serves(
    store: &Store<Sim<VirtualClock>, VirtualClock>,
    people: [Person; 3],
    acknowledged: u64,
) -> u64 {
    let mut group = Group::of(people);
    let LogId::Chat(chat) = group.log else { unreachable!("a group is a chat") };
    let state = GroupState { chat, account: people[0].account };
    let OpOutput::GroupState(Ok(told)) = execute(store, Op::GroupState(state)).await else { panic!() };
    assert!(told.epoch.0 >= acknowledged, "I1: what was acknowledged is there");
    group.epoch = told.epoch.0;
    group.said = 2_000_000;
    group.goes_on(store).await;
    let third = told.members.iter().any(|member| member.account == people[2].account);
    assert_eq!(third, told.leaves.iter().any(|leaf| leaf.account == people[2].account));
    assert_eq!(third, told.epoch.0 % 3 == 1, "as of that epoch");
    let (log, account, after) = (group.log, people[1].account, Seq::ZERO);
    let tail = Tail { log, account, member: None, after, entries_max: usize::MAX, bytes_max: usize::MAX };
    let OpOutput::Tail(tailed) = execute(store, Op::Tail(tail)).await else { panic!() };
    assert_eq!(tailed.entries.last().map(|entry| entry.seq), Some(tailed.head));
    let claim = ClaimKeyPackages { accounts: vec![account], after: None };
    let OpOutput::ClaimKeyPackages(claimed) = execute(store, Op::ClaimKeyPackages(claim)).await else {
        panic!()
    };
    assert!(claimed.packages[0].last_resort, "none that somebody else may have got");
    told.epoch.0 - acknowledged
}
