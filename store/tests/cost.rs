//! What ops cost a store whose every read is a trip over the network: the table in ARCHITECTURE.md, "What a message
//! costs the store", and bounds on the rounds of reads that no op may grow out of.

#![cfg(feature = "testing")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use store::op::*;
use store::record::{AccountChat, Head, Member, Record};
use store::run::{Attempt, Body, OpError};
use store::sim::Sim;
use store::testing::{Cost, Counting, Executor, SetMember, VirtualClock};
use store::tx::{TRANSACTION_BYTES_MAX, Tx};
use store::{Clock, Store, StoreConfig, keys};
use wire::event::Kind;
use wire::{
    AccountId, ChatId, ClientMsgId, Description, DeviceId, Epoch, GroupName, LogId, PersonName, Phone,
    RequestId, Secret, Seq, WallTime, limits,
};

type Counted = Counting<Sim<VirtualClock>>;

const T0: WallTime = WallTime(1_700_000_000_000);
const GROUP: LogId = LogId::Chat(ChatId::new([9; 16]));
const MEMBERS: u16 = 256;
const MESSAGES: u16 = 64;

fn id(n: u16) -> [u8; 16] {
    let mut id = [5; 16];
    id[..2].copy_from_slice(&n.to_be_bytes());
    id
}

fn account(n: u16) -> AccountId {
    AccountId::new(id(n))
}

fn direct(a: u16, b: u16) -> LogId {
    LogId::Chat(keys::direct_chat_id(account(a), account(b)))
}

/// A text of 100 bytes, the envelope's 200 with it.
fn append(log: LogId, sender: u16, peer: Option<u16>, n: u16) -> Op {
    let content = Bytes::from_static(&[7; 300]);
    let message =
        Message { client_msg_id: ClientMsgId::new(id(n)), kind: Kind::Text, content, epoch: Epoch::ZERO };
    Op::Append(Append {
        log,
        peer: peer.map(account),
        sender: account(sender),
        device: DeviceId::new(id(sender)),
        messages: vec![message],
        now: T0,
    })
}

fn cursor(log: LogId, who: u16, delivered: u64, read: u64) -> Op {
    Op::MoveCursor(MoveCursor {
        log,
        account: account(who),
        device: DeviceId::new(id(who)),
        delivered: Seq(delivered),
        read: Seq(read),
        in_doubt: false,
        now: T0,
    })
}

fn add_device(n: u16) -> AddDevice {
    AddDevice {
        phone: Phone::parse(&format!("+49151{n:07}")).unwrap(),
        name: PersonName::parse("Ann").unwrap(),
        new_account: account(n),
        device: DeviceId::new(id(n)),
        device_key: [1; 32],
        device_name: "phone".into(),
        family: RequestId::new(id(n)),
        refresh_hash: Secret::new([1; 32]),
        refresh_expires: T0 + Duration::from_secs(86_400),
        now: T0,
    }
}

/// A store that counts, with some people.
struct World {
    store: Store<Counted, VirtualClock>,
    counted: Counted,
    clock: VirtualClock,
    table: String,
}

impl World {
    async fn open(clock: VirtualClock, people: u16) -> World {
        let counted = Counting::new(Sim::new(1, clock.clone()), clock.clone());
        let store = Store::open(counted.clone(), StoreConfig::default(), clock.clone()).await.unwrap();
        for n in 0..people {
            store.execute(Op::AddDevice(add_device(n))).await.unwrap();
        }
        counted.take();
        World { store, counted, clock, table: String::new() }
    }

    /// What each transaction of some ops cost that are asked for at once.
    async fn costs(&self, ops: impl IntoIterator<Item = Op>) -> (Vec<Cost>, Vec<OpOutput>) {
        self.counted.take();
        let outputs = join_all(ops.into_iter().map(|op| self.store.execute(op))).await;
        (self.counted.take(), outputs.into_iter().map(Result::unwrap).collect())
    }

    /// What one op cost, which is one transaction; it is put on the table.
    async fn cost(&mut self, name: &str, op: Op) -> (Cost, OpOutput) {
        let (costs, mut outputs) = self.costs([op]).await;
        let [cost] = costs[..] else { panic!("{name}: {costs:?}") };
        self.tell(name, cost);
        (cost, outputs.remove(0))
    }

    /// What a batch of ops cost, of which the first goes alone.
    async fn batch(&mut self, name: &str, ops: Vec<Op>) -> Cost {
        let (costs, _) = self.costs(ops).await;
        let [_, cost] = costs[..] else { panic!("{name}: {costs:?}") };
        self.tell(name, cost);
        cost
    }

    /// What a sweep cost, and clearing what it found; it finds so many keys.
    async fn sweep(&mut self, name: &str, log: LogId, keys: usize) -> (Cost, Cost) {
        let due = T0 + Duration::from_secs(1);
        let sweep = Sweep { shard: keys::outbox_shard(log), due, limit: 256 };
        let (looked, found) = self.cost(&format!("sweep of {name}"), Op::Sweep(sweep)).await;
        let OpOutput::Sweep(swept) = found else { panic!("{found:?}") };
        assert_eq!(swept.keys.len(), keys);
        let clear = Op::ClearOutbox(ClearOutbox { keys: swept.keys });
        let (cleared, _) = self.cost(&format!("clearing of {name}"), clear).await;
        (looked, cleared)
    }

    fn tell(&mut self, name: &str, cost: Cost) {
        let Cost { requests, rounds, keys_read, bytes_read, keys_written, bytes_written, conflicts } = cost;
        writeln!(
            self.table,
            "{name:<34} {rounds:>6} {requests:>8} {keys_read:>9} {bytes_read:>10} {keys_written:>12} \
             {bytes_written:>13} {conflicts:>9}"
        )
        .unwrap();
    }

    fn print(&self) {
        let mut out = std::io::stdout().lock();
        let head = "transaction                        rounds requests keys read bytes read keys written bytes written conflicts";
        write!(out, "{head}\n{}", self.table).unwrap();
    }
}

fn with_people(people: u16, test: impl AsyncFnOnce(World)) {
    let mut executor = Executor::new(1);
    let clock = executor.clock();
    executor.block_on(async { test(World::open(clock, people).await).await });
}

#[test]
fn r103_a_message_to_one_costs_few_keys_and_one_round_of_reads_each_time() {
    with_people(2, async |mut world| {
        let log = direct(0, 1);
        let (first, _) = world.cost("first message, makes the chat", append(log, 0, Some(1), 1)).await;
        assert_eq!((first.rounds, first.keys_written), (2, 8), "the accounts follow from the first round");
        world.costs([cursor(log, 1, 1, 1)]).await;
        // From here on both devices have a cursor.
        world.costs([append(log, 1, Some(0), 2)]).await;
        world.costs([cursor(log, 0, 2, 2)]).await;
        world.sweep("those", log, 2).await;
        world.table.clear();
        world.tell("first message, makes the chat", first);
        let (said, _) = world.cost("append", append(log, 0, Some(1), 3)).await;
        let (delivered, _) = world.cost("delivered", cursor(log, 1, 3, 0)).await;
        let (read, _) = world.cost("read", cursor(log, 1, 3, 3)).await;
        let (looked, cleared) = world.sweep("it", log, 1).await;
        let all = [delivered, read, looked, cleared].into_iter().fold(said, Cost::and);
        world.tell("one message in all", all);
        world.print();

        for cost in [said, delivered, read] {
            assert_eq!(cost.rounds, 1, "{cost:?}");
        }
        assert_eq!((said.keys_written, said.conflicts), (5, 4), "{said:?}");
        assert_eq!((delivered.keys_written, delivered.conflicts), (4, 3), "{delivered:?}");
        assert_eq!((read.keys_written, read.conflicts), (3, 3), "{read:?}");
        assert_eq!((looked.rounds, looked.conflicts, looked.keys_written), (3, 0, 0), "{looked:?}");
        assert_eq!((cleared.rounds, cleared.keys_written, cleared.conflicts), (0, 1, 0), "{cleared:?}");
        assert_eq!(all.keys_written, 13);
        assert!(all.bytes_written < 1400, "{all:?}");
        // A repeat writes nothing.
        let (again, _) = world.cost("repeat", append(log, 0, Some(1), 3)).await;
        assert_eq!((again.rounds, again.keys_written), (1, 0), "{again:?}");
    });
}

#[test]
fn r103_a_batch_in_a_large_group_costs_one_round_of_reads_however_many_speak() {
    with_people(MEMBERS, async |mut world| {
        for n in 0..MEMBERS {
            let member = SetMember { log: GROUP, account: account(n), joined: Some(Seq::ZERO) };
            world.store.run(&member).await.unwrap();
        }
        let said = (0..=MESSAGES).map(|n| append(GROUP, n, None, n)).collect();
        let said = world.batch("64 messages in a group of 256", said).await;
        let moves = (0..MEMBERS).map(|n| cursor(GROUP, n, u64::from(MESSAGES), 0)).collect();
        let moved = world.batch("255 of them get these", moves).await;
        let (looked, cleared) = world.sweep("them", GROUP, usize::from(MESSAGES) + 1).await;
        world.print();

        let (messages, moves) = (usize::from(MESSAGES), usize::from(MEMBERS) - 1);
        assert_eq!((said.rounds, said.keys_written), (1, 3 * messages + 1), "{said:?}");
        assert_eq!(said.conflicts, 3 * messages + 1, "its record, its member, its device; and the head");
        assert_eq!(said.requests, said.conflicts + 1, "each key once, and all members");
        assert_eq!((moved.rounds, moved.conflicts), (1, 3 * moves), "not the head: {moved:?}");
        assert_eq!(moved.requests, 3 * moves + 2);
        assert!(looked.rounds == 3 && looked.conflicts == 0, "{looked:?}");
        assert_eq!(looked.requests, 4 + 3 + usize::from(MEMBERS), "lanes, the log, each member's devices");
        for cost in [said, moved, cleared] {
            assert!(cost.bytes_written < TRANSACTION_BYTES_MAX / 4, "{cost:?}");
        }
    });
}

#[test]
fn a_person_who_speaks_many_times_in_a_batch_is_looked_up_once() {
    with_people(2, async |mut world| {
        let log = direct(0, 1);
        world.costs([append(log, 0, Some(1), 0)]).await;
        let said = (1..=MESSAGES + 1).map(|n| append(log, 0, Some(1), n)).collect();
        let said = world.batch("64 messages of one", said).await;
        assert_eq!(said.requests, usize::from(MESSAGES) + 4, "{said:?}");
    });
}

/// The first commit of a group of accounts that the first one makes, or a later one that adds some; with so many bytes.
fn commit(n: u16, epoch: u64, adds: std::ops::Range<u16>, bytes: (usize, usize, usize)) -> Commit {
    let client_msg_id = ClientMsgId::new(id(7));
    let chat = keys::group_chat_id(account(0), client_msg_id);
    let accounts = adds.clone().map(account).collect::<Vec<_>>();
    let action = match (epoch, accounts.is_empty()) {
        (0, _) => Action::Create {
            name: GroupName::parse("Walkers").unwrap(),
            description: Description::default(),
            members: accounts,
        },
        (_, true) => Action::Update,
        (_, false) => Action::Add { accounts },
    };
    let (handshake, tree, welcome) = bytes;
    let of = |bytes: usize| Bytes::from(vec![7; bytes]);
    let leaf = |n: u16| NewLeaf {
        key: [1; 32],
        account: account(n),
        device: DeviceId::new(id(n)),
        welcome: of(welcome),
    };
    Commit {
        log: LogId::Chat(chat),
        sender: account(0),
        device: DeviceId::new(id(0)),
        client_msg_id: if epoch == 0 { client_msg_id } else { ClientMsgId::new(id(n)) },
        epoch: Epoch(epoch),
        handshake: of(handshake),
        action,
        adds: adds.clone().map(leaf).collect(),
        removes: Vec::new(),
        leaf: (epoch > 0).then_some(0),
        tree: (!adds.is_empty()).then(|| of(tree)),
        now: T0,
    }
}

/// A commit that was taken, and its cost.
async fn committed(world: &mut World, name: &str, op: Commit) -> Cost {
    let (cost, output) = world.cost(name, Op::Commit(Box::new(op))).await;
    assert!(matches!(output, OpOutput::Commit(Ok(_))), "{name}: {output:?}");
    cost
}

#[test]
fn r125_a_commit_costs_what_it_adds_and_fits_its_transaction() {
    with_people(MEMBERS, async |mut world| {
        let one =
            committed(&mut world, "commit, makes a group of two", commit(1, 0, 1..2, (1200, 500, 1100)))
                .await;
        let update = committed(&mut world, "commit, changes nobody", commit(2, 1, 0..0, (1000, 0, 0))).await;
        let lot = commit(3, 2, 2..66, (500 * 64, 200 * 66, 1100));
        let many = committed(&mut world, "commit, adds 64", lot).await;
        // As much as one may have: the largest welcomes, and a tree or a commit that uses up the rest.
        let welcomes = 64 * limits::WELCOME_BYTES_MAX;
        let rest = limits::COMMIT_BYTES_MAX - welcomes - 1000;
        let most = commit(4, 3, 66..130, (1000, rest, limits::WELCOME_BYTES_MAX));
        let most = committed(&mut world, "commit, adds 64, the most bytes", most).await;
        let most_again = commit(5, 4, 130..194, (rest, 1000, limits::WELCOME_BYTES_MAX));
        let most_again = committed(&mut world, "the same, a large commit", most_again).await;
        let said = Append {
            log: commit(0, 0, 0..0, (0, 0, 0)).log,
            peer: None,
            sender: account(193),
            device: DeviceId::new(id(193)),
            messages: vec![Message {
                client_msg_id: ClientMsgId::new(id(900)),
                kind: Kind::Text,
                content: Bytes::from_static(&[7; 300]),
                epoch: Epoch(5),
            }],
            now: T0,
        };
        let (said, output) = world.cost("append in that group", Op::Append(said)).await;
        assert!(matches!(output, OpOutput::Append(results) if results[0].is_ok()));
        world.print();

        for cost in [one, update, many, most, most_again] {
            assert_eq!(cost.rounds, 2, "{cost:?}");
            assert!(cost.bytes_written < TRANSACTION_BYTES_MAX * 95 / 100, "{cost:?}");
        }
        assert_eq!(
            (update.keys_written, update.requests),
            (4, 10),
            "as an append, and the tables: {update:?}"
        );
        // Leaf, member, chat, cursor, and in the inbox an entry, the head and an outbox key for each.
        assert_eq!(many.keys_written, 4 + 7 * 64 + 2, "{many:?}");
        assert_eq!((said.rounds, said.keys_written, said.conflicts), (1, 4, 4), "as in any chat: {said:?}");
    });
}

#[test]
fn r165_key_packages_cost_a_read_each() {
    with_people(64, async |mut world| {
        for n in 0..64 {
            let packages = (0..100).map(|k| Bytes::from(vec![k; 300])).collect();
            let (account, device) = (account(n), DeviceId::new(id(n)));
            let (request, last_resort) = (RequestId::new(id(n)), None);
            let op = PublishKeyPackages { account, device, request, packages, last_resort };
            let published = world.cost("100 key packages published", Op::PublishKeyPackages(op)).await.0;
            assert_eq!((published.rounds, published.requests, published.keys_written), (1, 3, 101));
        }
        world.table.clear();
        let claim = ClaimKeyPackages { accounts: (0..64).map(account).collect(), after: None };
        let (claimed, output) = world.cost("64 key packages claimed", Op::ClaimKeyPackages(claim)).await;
        assert!(matches!(output, OpOutput::ClaimKeyPackages(found) if found.packages.len() == 64));
        world.print();
        assert_eq!((claimed.rounds, claimed.requests, claimed.keys_written), (3, 4 * 64, 128), "{claimed:?}");
    });
}

/// Chats of an account, some of them.
struct Chats(std::ops::Range<u16>);

impl Body for Chats {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T, _: Attempt) -> Result<(), OpError> {
        for n in self.0.clone() {
            let (chat, log) = (ChatId::new(id(n)), LogId::Chat(ChatId::new(id(n))));
            tx.set(keys::account_chat(account(0), chat), AccountChat { peer: None }.encode());
            tx.set(keys::member(log, account(0)), Member::default().encode());
            tx.set(
                keys::head(log),
                Head { seq: Seq(1), last_at: WallTime(n.into()), ..Head::default() }.encode(),
            );
        }
        Ok(())
    }
}

#[test]
fn r103_somebody_in_thousands_of_chats_begins_a_session_in_pages() {
    const CHATS: u16 = 3000;
    with_people(1, async |mut world| {
        for begin in (0..CHATS).step_by(500) {
            world.store.run(&Chats(begin..begin + 500)).await.unwrap();
        }
        let open = OpenSession { account: account(0), device: DeviceId::new(id(0)), receipts_since: T0 };
        let (pages, outputs) = world.costs([Op::OpenSession(open)]).await;
        let [OpOutput::OpenSession(Ok(session))] = &outputs[..] else { panic!("{outputs:?}") };
        let newest_first: Vec<_> = session.chats.iter().map(|chat| chat.last_at.0).collect();
        assert_eq!(
            newest_first,
            (0..u64::from(CHATS)).rev().collect::<Vec<_>>(),
            "each once, sorted over all pages"
        );
        assert_eq!(pages.len(), 12);
        for page in pages {
            world.tell("a page of a session's chats", page);
            assert!(page.rounds <= 2 && page.requests <= 256 * 5 + 7, "{page:?}");
        }
        world.print();
    });
}

#[test]
fn each_chat_of_a_session_is_as_fresh_as_its_page() {
    with_people(1, async |world| {
        world.store.run(&Chats(0..600)).await.unwrap();
        let open = OpenSession { account: account(0), device: DeviceId::new(id(0)), receipts_since: T0 };
        let say = |n: u16| append(LogId::Chat(ChatId::new(id(n))), 0, None, n);
        // A page takes two milliseconds: both are said while the second is read.
        let said = async {
            world.clock.sleep(Duration::from_micros(2500)).await;
            let said = join_all([0, 599].map(|n| world.store.execute(say(n)))).await;
            assert!(said.iter().all(Result::is_ok), "{said:?}");
        };
        let (output, ()) = join(world.store.execute(Op::OpenSession(open)), said).await;
        let OpOutput::OpenSession(Ok(session)) = output.unwrap() else { panic!("refused") };
        let head = |n: u16| session.chats.iter().find(|chat| chat.chat == ChatId::new(id(n))).unwrap().head;
        assert_eq!(session.chats.len(), 600);
        assert_eq!((head(0), head(599)), (Seq(1), Seq(2)), "the first page was read before, the last after");
    });
}
