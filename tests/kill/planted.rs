//! The witness is no witness if it sees nothing: each violation is planted in a story that is right without it.

use std::collections::BTreeMap;

use super::disk::{Cursors, Disk, Entry, Id, Kept, Log, hex};
use super::journal::{End, Fact, Process};
use super::witness::{Evidence, Violation, check, complete};

/// Alice sent four texts, two of them before her process was killed; Bob has shown three and read two.
struct Story {
    processes: Vec<Process>,
    before: Disk,
    disk: Disk,
    kept: BTreeMap<Id, Kept>,
}

fn chat() -> Id {
    "chat".into()
}

fn id(n: u64) -> Id {
    format!("id {n}")
}

fn text(n: u64) -> String {
    format!("text {n}")
}

fn acked(n: u64) -> Fact {
    Fact::Acked { chat: chat(), id: id(n), seq: n }
}

fn got(n: u64) -> Fact {
    Fact::Got { chat: chat(), seq: n, from: "alice".into(), id: id(n), text: text(n) }
}

fn process(who: &str, told: &[u64], facts: Vec<Fact>, end: End) -> Process {
    let told = told.iter().map(|n| text(*n)).collect();
    Process { who: who.into(), told, in_order: true, facts, end }
}

fn log(entries: u64, delivered: u64, read: u64) -> Log {
    let mut log = Log { head: Some(entries), ..Log::default() };
    for n in 1..=entries {
        let (sender, bytes) = ("alice".into(), format!("ciphertext {n}"));
        log.entries.insert(n, Entry { seq: n, sender, id: id(n), is_message: true, text: text(n), bytes });
        log.ids.insert(("alice".into(), id(n)), n);
    }
    log.members = ["alice".into(), "bob".into()].into();
    log.cursors.insert("bob".into(), Cursors { delivered, read });
    log.devices.insert(("bob".into(), "phone".into()), delivered);
    log.receipts.insert(("bob".into(), b'd'), vec![1, delivered]);
    log.receipts.insert(("bob".into(), b'r'), vec![1, read]);
    log
}

fn disk(log: Log) -> Disk {
    Disk { phones: BTreeMap::new(), logs: [(chat(), log)].into() }
}

/// A device that has these.
fn kept(places: std::ops::RangeInclusive<u64>) -> Kept {
    Kept { messages: places.map(|n| ((chat(), n), text(n))).collect(), said: BTreeMap::new() }
}

fn story() -> Story {
    let status = Fact::Status { chat: chat(), member: "bob".into(), delivered: 2, read: 1 };
    let processes = vec![
        process("alice", &[1, 2, 3], vec![acked(1), acked(2), status], End::Killed),
        process("bob", &[], vec![got(1), got(2)], End::Killed),
        process(
            "alice",
            &[4],
            vec![acked(4), Fact::Ticked { chat: chat(), seq: 1, read: true }],
            End::Finished,
        ),
        // The second one again: it was killed before it noted it.
        process("bob", &[], vec![got(2), got(3)], End::Alive),
    ];
    let kept = kept(1..=4);
    Story {
        processes,
        before: disk(log(2, 2, 2)),
        disk: disk(log(4, 3, 2)),
        kept: [("bob".into(), kept)].into(),
    }
}

impl Story {
    fn log(&mut self) -> &mut Log {
        self.disk.logs.get_mut("chat").expect("it is there")
    }

    fn evidence(&self) -> Evidence<'_> {
        let Story { processes, before, disk, kept } = self;
        Evidence { processes, before, disk, kept }
    }
}

/// What the witness says after something was planted.
fn planted(plant: impl FnOnce(&mut Story)) -> Vec<Violation> {
    let mut story = story();
    plant(&mut story);
    check(&story.evidence())
}

#[track_caller]
fn sees(found: &[Violation], is_it: impl Fn(&Violation) -> bool) {
    assert!(found.iter().any(is_it), "not seen; it says {found:#?}");
}

#[test]
fn what_is_right_is_right() {
    assert_eq!(planted(|_| {}), []);
    let story = story();
    let missing = complete(&story.evidence(), &["bob".into()]);
    assert_eq!(missing, [Violation::NeverArrived { chat: chat(), whose: "bob".into(), seq: 4 }]);
}

#[test]
fn i1_a_lost_acknowledgement_is_seen() {
    let found = planted(|s| s.processes[2].facts.push(Fact::Acked { chat: chat(), id: id(5), seq: 5 }));
    sees(&found, |v| matches!(v, Violation::LostAck { seq: 5, .. }));
    // At another place than was said, and in a chat that is not there at all.
    let found = planted(|s| s.processes[0].facts[1] = Fact::Acked { chat: chat(), id: id(2), seq: 3 });
    sees(&found, |v| matches!(v, Violation::LostAck { seq: 3, .. }));
    let found = planted(|s| s.disk = Disk::default());
    sees(&found, |v| matches!(v, Violation::LostAck { seq: 1, .. }));
    sees(&found, |v| matches!(v, Violation::Changed { seq: 2, .. }));
}

#[test]
fn i1_other_bytes_are_seen() {
    let found = planted(|s| s.log().entries.get_mut(&2).expect("there").text = text(3));
    sees(&found, |v| matches!(v, Violation::WrongBytes { seq: 2, .. }));
    sees(&found, |v| matches!(v, Violation::Changed { seq: 2, .. }));
    let found = planted(|s| s.processes[2].facts.clear());
    assert_eq!(found, [Violation::Unanswered { told: 1, acked: 0 }]);
    // Where a process answers for others' texts, in any order, they are still its own.
    let found = planted(|s| {
        s.processes[0].in_order = false;
        s.processes[0].facts.reverse();
    });
    assert_eq!(found, []);
    let found = planted(|s| {
        s.processes[0].in_order = false;
        s.processes[0].told.remove(1);
    });
    sees(&found, |v| matches!(v, Violation::WrongBytes { seq: 2, .. }));
}

#[test]
fn r11_what_lies_in_the_clear_or_is_opened_as_something_else_is_seen() {
    let found = planted(|s| {
        s.log().entries.get_mut(&2).expect("there").bytes = format!("aa{}bb", hex(text(2).as_bytes()));
    });
    sees(&found, |v| matches!(v, Violation::InTheClear { seq: 2, .. }));
    let found = planted(|s| {
        let kept = s.kept.get_mut("bob").expect("there");
        kept.messages.insert((chat(), 3), text(2));
    });
    assert_eq!(found, [Violation::NotAsSaid { chat: chat(), seq: 3, whose: "bob".into() }]);
}

#[test]
fn a_commit_takes_its_place_and_is_nobody_s_message() {
    let commit = |s: &mut Story| {
        let entry = s.log().entries.get_mut(&4).expect("there");
        (entry.is_message, entry.text) = (false, String::new());
        // Nobody is told of it, and nobody keeps it.
        s.processes[2].told.clear();
        s.processes[2].facts.clear();
        drop(s.kept.insert("bob".into(), kept(1..=3)));
        s.log().cursors.insert("bob".into(), Cursors { delivered: 4, read: 2 });
        s.log().receipts.insert(("bob".into(), b'd'), vec![1, 4]);
    };
    assert_eq!(planted(commit), []);
    let found = planted(|s| {
        commit(s);
        assert!(s.log().entries.remove(&4).is_some());
    });
    sees(&found, |v| matches!(v, Violation::NotDense { expected: 3, found: Some(4), .. }));
}

#[test]
fn i2_gaps_and_a_wrong_head_are_seen() {
    let found = planted(|s| drop(s.log().entries.remove(&3)));
    sees(&found, |v| matches!(v, Violation::NotDense { expected: 3, found: Some(4), .. }));
    let found = planted(|s| s.log().head = Some(5));
    sees(&found, |v| matches!(v, Violation::NotDense { expected: 4, found: Some(5), .. }));
    let found = planted(|s| s.log().entries.get_mut(&3).expect("there").seq = 4);
    sees(&found, |v| matches!(v, Violation::NotDense { expected: 3, found: Some(4), .. }));
}

#[test]
fn i2_what_was_overtaken_is_seen() {
    let found = planted(|s| {
        for (n, other) in [(3, 4), (4, 3)] {
            s.log().entries.get_mut(&n).expect("there").text = text(other);
        }
    });
    sees(&found, |v| matches!(v, Violation::NotSaid { seq: 4, .. }));
}

#[test]
fn i3_a_doubled_id_is_seen() {
    let found = planted(|s| s.log().entries.get_mut(&4).expect("there").id = id(3));
    sees(&found, |v| matches!(v, Violation::DoubledId { .. }));
    sees(&found, |v| matches!(v, Violation::WrongIds { .. }));
    // The same text under two ids is a doubled message, too.
    let found = planted(|s| s.log().entries.get_mut(&4).expect("there").text = text(3));
    sees(&found, |v| matches!(v, Violation::NotSaid { seq: 4, .. }));
    let found = planted(|s| assert!(s.log().ids.remove(&("alice".into(), id(2))).is_some()));
    assert_eq!(found, [Violation::WrongIds { chat: chat() }]);
}

#[test]
fn what_nobody_said_is_seen() {
    let found = planted(|s| s.log().entries.get_mut(&3).expect("there").text = "who?".into());
    sees(&found, |v| matches!(v, Violation::NotSaid { seq: 3, .. }));
    let found = planted(|s| s.log().entries.get_mut(&4).expect("there").sender = "eve".into());
    sees(&found, |v| matches!(v, Violation::NotSaid { seq: 4, .. }));
}

#[test]
fn i4_cursors_that_go_back_are_seen() {
    let back = |v: &Violation| matches!(v, Violation::CursorBack { whose, .. } if whose == "bob");
    sees(&planted(|s| s.before = disk(log(4, 4, 2))), back);
    sees(&planted(|s| s.before = disk(log(4, 3, 3))), back);
    sees(
        &planted(|s| {
            s.before.logs.get_mut("chat").expect("there").devices =
                [(("bob".into(), "phone".into()), 4)].into()
        }),
        back,
    );
    sees(&planted(|s| drop(s.log().receipts.insert(("bob".into(), b'd'), vec![2, 1, 3]))), back);
    sees(&planted(|s| drop(s.log().receipts.insert(("bob".into(), b'r'), vec![1]))), back);
    let status = |delivered, read| Fact::Status { chat: chat(), member: "bob".into(), delivered, read };
    sees(&planted(|s| s.processes[0].facts.push(status(1, 1))), back);
}

#[test]
fn i4_cursors_beyond_what_is_there_are_seen() {
    let set = |delivered, read| {
        move |s: &mut Story| {
            let _ = s.log().cursors.insert("bob".into(), Cursors { delivered, read });
        }
    };
    sees(&planted(set(3, 4)), |v| matches!(v, Violation::ReadAhead { .. }));
    sees(&planted(set(5, 2)), |v| matches!(v, Violation::PastHead { .. }));
    sees(&planted(set(2, 2)), |v| matches!(v, Violation::PastHead { .. }));
    sees(&planted(set(4, 4)), |v| matches!(v, Violation::NotShown { seq: 4, .. }));
    let device = |of: &'static str, at| {
        move |s: &mut Story| {
            let _ = s.log().devices.insert((of.into(), "phone".into()), at);
        }
    };
    assert_eq!(planted(device("alice", 4)), [], "one's own messages move the device's cursor alone");
    sees(&planted(device("alice", 5)), |v| matches!(v, Violation::PastHead { .. }));
    sees(&planted(device("bob", 4)), |v| matches!(v, Violation::PastHead { .. }));
    let forgets = |s: &mut Story| drop(s.kept.insert("bob".into(), kept(1..=2)));
    sees(&planted(forgets), |v| matches!(v, Violation::NotKept { seq: 3, .. }));
}

#[test]
fn ticks_that_the_disk_does_not_know_are_seen() {
    for (seq, read, is_lost) in [(3, false, false), (4, false, true), (2, true, false), (3, true, true)] {
        let found = planted(|s| s.processes[2].facts.push(Fact::Ticked { chat: chat(), seq, read }));
        assert_eq!(found.iter().any(|v| matches!(v, Violation::LostTick { .. })), is_lost, "{seq} {read}");
    }
    let status = Fact::Status { chat: chat(), member: "bob".into(), delivered: 3, read: 3 };
    sees(&planted(|s| s.processes[2].facts.push(status)), |v| matches!(v, Violation::LostTick { .. }));
}

#[test]
fn a_journal_that_is_not_the_log_s_beginning_is_seen() {
    let not = |n| move |v: &Violation| matches!(v, Violation::NotThePrefix { seq, .. } if *seq == n);
    sees(&planted(|s| drop(s.processes[1].facts.remove(0))), not(2));
    sees(&planted(|s| s.processes[1].facts.reverse()), not(2));
    // Again is once, right after a kill, and only the last.
    sees(&planted(|s| s.processes[3].facts.insert(0, got(2))), not(2));
    sees(&planted(|s| s.processes[3].facts.insert(0, got(1))), not(1));
    sees(&planted(|s| s.processes[1].end = End::Finished), not(2));
    let other = Fact::Got { chat: chat(), seq: 3, from: "alice".into(), id: id(3), text: text(4) };
    sees(&planted(|s| s.processes[3].facts[1] = other), not(3));
    sees(&planted(|s| s.processes[3].facts.push(got(5))), not(5));
    // Of one's own nothing is owed, but what is shown is in the log.
    assert_eq!(planted(|s| s.processes[2].facts.push(got(1))), []);
    sees(&planted(|s| s.processes[2].facts.push(got(5))), not(5));
}
