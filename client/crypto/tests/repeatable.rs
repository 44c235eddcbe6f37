//! The same seeds, calls and stored state give the same bytes, in what is sent and in what is stored.

mod support;

use support::*;

/// Everything that three phones and a fourth sent and stored, in order.
fn run() -> Vec<Vec<u8>> {
    let mut trace = Vec::new();
    let mut phones = group_of(20);
    let mut fourth = Phone::new(90);
    let package = fourth.key_package();
    trace.push(package.clone());
    for n in 0..4 {
        let bytes = phones[n].encrypt(b"the same", n as u64);
        let said = entry(&phones[n], n as u64, 1, &bytes);
        trace.push(bytes);
        phones.iter_mut().for_each(|phone| drop(phone.receive(&said).expect("opened")));
    }
    let gone = phones[7].device();
    let made = phones[3].commit(&[package], &[gone], 100);
    // What is pending, too: the proposals of a commit lie in a hash map.
    snapshot(&mut trace, &phones);
    trace.push(made.commit.clone());
    trace.extend(made.tree.clone());
    trace.extend(made.welcomes.iter().map(|(_, welcome)| welcome.clone()));
    let said = entry(&phones[3], 100, made.epoch, &made.commit);
    phones.iter_mut().for_each(|phone| drop(phone.receive(&said).expect("received")));
    phones.remove(7);
    join_all(std::slice::from_mut(&mut fourth), &made);
    phones.push(fourth);
    trace.push(commit(&mut phones, 5, 101, &[], &[]).commit);
    say(&mut phones, 19, 102, b"at last");
    trace.push(phones[0].secret());
    snapshot(&mut trace, &phones);
    trace
}

fn snapshot(trace: &mut Vec<Vec<u8>>, phones: &[Phone]) {
    for phone in phones {
        trace.extend(phone.store.iter().map(|(key, value)| [&key[..], value].concat()));
    }
}

#[test]
fn c5_a_run_is_repeatable_bit_for_bit() {
    let (first, second) = (run(), run());
    assert_eq!(first.len(), second.len());
    for (at, (a, b)) in first.iter().zip(&second).enumerate() {
        assert!(
            a == b,
            "item {at} differs: {} and {} bytes, {:?}",
            a.len(),
            b.len(),
            String::from_utf8_lossy(&a[..8.min(a.len())])
        );
    }
}

#[test]
fn c5_another_seed_is_another_run() {
    let package = |starts: u8| {
        let mut phone = Phone::new(1);
        for _ in 0..starts {
            phone.crash();
        }
        phone.key_package()
    };
    assert_eq!(package(0), package(0));
    assert_ne!(package(0), package(1));
}

/// The library notes with an epoch's secrets when they came, by the machine's clock; it must not be in what is stored.
#[test]
fn c5_no_wall_time_is_stored() {
    let mut phones = group_of(2);
    say(&mut phones, 0, 1, b"hello");
    commit(&mut phones, 1, 2, &[], &[]);
    for phone in &phones {
        for value in phone.store.values() {
            assert!(!value.windows(16).any(|window| window == b"secs_since_epoch"));
        }
        assert!(phone.store.values().any(|value| value.ends_with(b"added_at\xF6")), "nothing was left out");
    }
}
