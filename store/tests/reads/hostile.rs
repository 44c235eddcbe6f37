//! Readers that mean harm, or are broken: each is left, and the others are served.

use std::time::Duration;

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use store::reads::{CONNECTIONS_MAX, ReadsError};
use store::tx::{Backend, Tx, TxError};

use crate::support::*;

/// A request for a page of everything.
fn everything() -> Vec<u8> {
    [&b"\x02\0\0\0\0\x01\0\0\0\xff\0"[..], &[0xff; 8]].concat()
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).unwrap().to_le_bytes()[..], frame].concat()
}

#[test]
fn r152_bytes_that_mean_nothing_end_their_connection_and_no_other() {
    let served = Served::new();
    put(&served.store, b"k", b"v").unwrap();
    let other = served.remote().unwrap();
    let standing = block_on(other.begin()).unwrap();
    let begin = framed(&[0]);
    let after_begin = |frame: &[u8]| [&begin[..], &framed(frame)].concat();
    let mut said = vec![
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        // Lengths that nothing has.
        u32::MAX.to_le_bytes().to_vec(),
        0_u32.to_le_bytes().to_vec(),
        30_000_u32.to_le_bytes().to_vec(),
        // A field that is longer than its frame, a key that is too long, ranges that end before they begin.
        after_begin(b"\x01\xff\xff\xff\xff"),
        after_begin(&[&b"\x01"[..], &10_000_u32.to_le_bytes(), &[b'k'; 10_000]].concat()),
        after_begin(b"\x02\x01\0\0\0b\x01\0\0\0a\0\x01\0\0\0\x01\0\0\0"),
        after_begin(b"\x02\x01\0\0\0a\x01\0\0\0a\0\x01\0\0\0\x01\0\0\0"),
        after_begin(b"\x02\x01\0\0\0a\x01\0\0\0b\x07\x01\0\0\0\x01\0\0\0"),
        after_begin(b"\x09"),
        after_begin(b"\0and more"),
        // Before there is a snapshot, and after it was given back.
        framed(b"\x01\x01\0\0\0k"),
        [&begin[..], &framed(&[3]), &framed(&everything())].concat(),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(152);
    for _ in 0..200 {
        let mut noise = vec![0; rng.random_range(5..200)];
        rng.fill_bytes(&mut noise);
        // Half of it in frames, of kinds that exist.
        if rng.random_bool(0.5) {
            noise[0] %= 4;
            noise = [after_begin(&noise), u32::MAX.to_le_bytes().to_vec()].concat();
        } else {
            noise[3] |= 0x80;
        }
        said.push(noise);
    }
    for bytes in said {
        let mut raw = served.raw();
        let (greeting, took) = timed(|| {
            let greeting = raw.frame().expect("a greeting");
            raw.send(&bytes);
            while raw.frame().is_some() {}
            greeting
        });
        assert_eq!(greeting[0], 0, "it was let in");
        assert!(took < Duration::from_secs(5), "{took:?} for {bytes:?}");
    }
    assert!(block_on(standing.get(b"k")).unwrap().is_some(), "another's transaction went on");
    served.serves();
}

#[test]
fn r152_readers_beyond_those_that_may_be_are_told_that_it_is_busy() {
    let served = Served::new();
    let remotes: Vec<_> = (0..CONNECTIONS_MAX).map(|_| served.remote().unwrap()).collect();
    let first = block_on(remotes[0].begin()).unwrap();
    for _ in 0..50 {
        assert!(matches!(served.remote(), Err(ReadsError::Busy)));
    }
    // One that has its connection in use asks for a second one.
    assert!(matches!(block_on(remotes[0].begin()).err(), Some(TxError::Busy)));
    drop(first);
    block_on(remotes[0].begin()).expect("its own is free again");
    drop(remotes);
    let (free, took) = timed(|| {
        (0..100).any(|_| {
            served.remote().is_ok() || {
                wait_ms(20);
                false
            }
        })
    });
    assert!(free, "{took:?}");
}

#[test]
fn r152_a_reader_that_stops_reading_is_left_and_so_is_its_snapshot() {
    let served = Served::new();
    for n in 0..60_u8 {
        put(&served.store, &[b'k', n], &[n; 90_000]).unwrap();
    }
    let mut stuck: Vec<Raw> = (0..CONNECTIONS_MAX).map(|_| served.raw()).collect();
    for raw in &mut stuck {
        raw.ask(&[0]);
        (0..50).for_each(|_| raw.ask(&everything()));
    }
    // They have all the places until then.
    let ((), took) = timed(|| {
        assert!(matches!(served.remote(), Err(ReadsError::Busy)));
        let all_places = || (0..CONNECTIONS_MAX).map(|_| served.remote()).collect::<Result<Vec<_>, _>>();
        while all_places().is_err() {
            wait_ms(100);
        }
    });
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(15), "{took:?}");
    for mut raw in stuck {
        let mut answers = 0;
        while raw.frame().is_some() {
            answers += 1;
        }
        assert!(answers < 20, "it was left, not waited for");
    }
    served.serves();
}

#[test]
fn r152_a_request_that_drips_in_is_not_waited_for_for_ever() {
    let served = Served::new();
    let mut raw = served.raw();
    raw.frame().unwrap();
    for _ in 0..3 {
        raw.send(&[1]);
        wait_ms(10);
    }
    served.clock.push(31_000);
    raw.send(&[0]);
    assert!(raw.frame().is_none());
    served.serves();
}
