//! Delay, loss, copies, reordering, rate and blocking, as the receiver meets them.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use loadtest_emulator::{Blocked, Burst, Direction, Rate, Settings};

use crate::two::{Arrived, MS, PAYLOAD_BYTES, Two, heard, tcp, wait_until};

fn numbers(arrived: &[Arrived]) -> Vec<usize> {
    arrived.iter().map(|packet| packet.number).collect()
}

#[test]
fn p1_a_perfect_network_carries_every_packet_in_order() {
    let Some(two) = Two::new("p1_a_perfect_network_carries_every_packet_in_order", 1) else { return };
    let (arrived, _) = two.send_numbered(4000, Duration::ZERO);
    assert_eq!(numbers(&arrived), (0..4000).collect::<Vec<_>>());
    let (up, down) = (two.a.counters(Direction::Up), two.b.counters(Direction::Down));
    assert_eq!((up.packets_in, up.bytes_in, up.packets_out), (4000, 4_000_000, 4000));
    assert_eq!((down.packets_in, down.packets_out, down.bytes_out), (4000, 4000, 4_000_000));
}

#[test]
fn p1_the_packets_that_are_lost_are_those_that_the_seed_says() {
    for (seed, loss) in [(2, 0.02), (3, 0.1)] {
        let Some(two) = Two::new("p1_the_packets_that_are_lost_are_those_that_the_seed_says", seed) else {
            return;
        };
        let settings = Settings { loss, ..Settings::default() };
        two.a.set(Direction::Up, settings.clone());
        let (arrived, _) = two.send_numbered(4000, Duration::ZERO);
        let decided = two.decided(&settings, 4000);
        let expected: Vec<usize> = (0..4000).filter(|number| decided[*number].0 == 1).collect();
        assert_eq!(numbers(&arrived), expected);
        // And so many of them as was asked for, within five standard deviations.
        let lost = 4000.0 - arrived.len() as f64;
        let off = (lost - 4000.0 * loss).abs();
        assert!(off <= 5.0 * (4000.0 * loss * (1.0 - loss)).sqrt(), "{lost} at {loss}");
        assert_eq!(two.a.counters(Direction::Up).lost as f64, lost);
    }
}

#[test]
fn p1_bursts_of_loss_take_the_packets_that_the_seed_says() {
    let Some(two) = Two::new("p1_bursts_of_loss_take_the_packets_that_the_seed_says", 4) else { return };
    let burst = Some(Burst { begin: 0.01, packets_mean: 10.0 });
    let settings = Settings { burst, ..Settings::default() };
    two.a.set(Direction::Up, settings.clone());
    let (arrived, _) = two.send_numbered(3000, Duration::ZERO);
    let decided = two.decided(&settings, 3000);
    let expected: Vec<usize> = (0..3000).filter(|number| decided[*number].0 == 1).collect();
    assert_eq!(numbers(&arrived), expected);
    let lost = two.a.counters(Direction::Up).lost_in_bursts;
    assert_eq!(lost as usize, 3000 - expected.len());
    assert!(lost > 0);
}

#[test]
fn p1_the_packets_that_arrive_twice_are_those_that_the_seed_says() {
    let Some(two) = Two::new("p1_the_packets_that_arrive_twice_are_those_that_the_seed_says", 5) else {
        return;
    };
    let settings = Settings { duplicate: 0.1, loss: 0.05, ..Settings::default() };
    two.a.set(Direction::Up, settings.clone());
    let (arrived, _) = two.send_numbered(3000, Duration::ZERO);
    let decided = two.decided(&settings, 3000);
    let expected: Vec<usize> = (0..3000).flat_map(|number| vec![number; decided[number].0]).collect();
    assert_eq!(numbers(&arrived), expected);
    let copies = decided.iter().filter(|(copies, _)| *copies == 2).count();
    assert!((200..400).contains(&copies));
    assert_eq!(two.a.counters(Direction::Up).duplicated, copies as u64);
}

#[test]
fn p1_the_packets_that_are_overtaken_are_those_that_the_seed_says() {
    let Some(two) = Two::new("p1_the_packets_that_are_overtaken_are_those_that_the_seed_says", 6) else {
        return;
    };
    let settings =
        Settings { delay: MS, reorder: 0.05, reorder_by: Duration::from_millis(300), ..Settings::default() };
    two.a.set(Direction::Up, settings.clone());
    let (arrived, sent) = two.send_numbered(2000, Duration::ZERO);
    let decided = two.decided(&settings, 2000);
    let held_back: Vec<usize> = (0..2000).filter(|number| decided[*number].1).collect();
    assert!((50..150).contains(&held_back.len()));
    assert_eq!(two.a.counters(Direction::Up).reordered, held_back.len() as u64);
    // All arrive, the others in their order, and those that were held back in theirs, so much later.
    let (late, punctual): (Vec<Arrived>, Vec<Arrived>) =
        arrived.iter().partition(|packet| decided[packet.number].1);
    assert_eq!(numbers(&late), held_back);
    assert_eq!(numbers(&punctual).len(), 2000 - held_back.len());
    assert!(numbers(&punctual).is_sorted());
    for packet in &late {
        assert!(packet.at - sent[packet.number] >= settings.reorder_by + MS);
    }
    assert!(!numbers(&arrived).is_sorted());
}

#[test]
fn p1_packets_take_the_delay_and_little_more() {
    for delay in [10 * MS, 40 * MS, 150 * MS] {
        let Some(two) = Two::new("p1_packets_take_the_delay_and_little_more", 7) else { return };
        // Both halves of the way take their part.
        two.a.set(Direction::Up, Settings::delayed(delay / 2));
        two.b.set(Direction::Down, Settings::delayed(delay / 2));
        let (arrived, sent) = two.send_numbered(200, MS);
        assert_eq!(numbers(&arrived), (0..200).collect::<Vec<_>>());
        let mut taken: Vec<Duration> = arrived.iter().map(|p| p.at - sent[p.number]).collect();
        taken.sort();
        assert!(taken[0] >= delay, "{:?}", taken[0]);
        // A machine that is busy elsewhere adds something to single packets; to half of them it would be strange.
        assert!(taken[100] < delay + 60 * MS, "{:?}", taken[100]);
    }
}

#[test]
fn p1_jitter_spreads_the_delay_and_keeps_the_order() {
    let Some(two) = Two::new("p1_jitter_spreads_the_delay_and_keeps_the_order", 8) else { return };
    two.a.set(Direction::Up, Settings { delay: 20 * MS, jitter: 20 * MS, ..Settings::default() });
    let (arrived, sent) = two.send_numbered(300, 5 * MS / 2);
    assert_eq!(numbers(&arrived), (0..300).collect::<Vec<_>>());
    let taken: Vec<Duration> = arrived.iter().map(|p| p.at - sent[p.number]).collect();
    assert!(taken.iter().all(|taken| *taken >= 20 * MS));
    assert!(*taken.iter().max().unwrap() >= *taken.iter().min().unwrap() + 10 * MS);
}

#[test]
fn p1_a_bottleneck_passes_its_rate_and_no_more() {
    let Some(two) = Two::new("p1_a_bottleneck_passes_its_rate_and_no_more", 9) else { return };
    // 1,000 bytes in 1 ms, and room for all of them.
    let rate = Rate { bits_per_second: 8_000_000, queue_bytes: 1_000_000 };
    two.a.set(Direction::Up, Settings { rate: Some(rate), ..Settings::default() });
    let (arrived, sent) = two.send_numbered(300, Duration::ZERO);
    assert_eq!(numbers(&arrived), (0..300).collect::<Vec<_>>());
    // By the emulator's own times each packet follows the one before it after 1 ms, or more where it was sent later.
    let up = two.a.counters(Direction::Up);
    let span = up.last_due.unwrap() - up.first_due.unwrap();
    assert!(span >= 299 * MS, "{span:?}");
    let sending = *sent.last().unwrap() - sent[0];
    assert!(arrived.last().unwrap().at - sent[0] >= 300 * MS);
    // Nor was it slower: a queue that was never empty took just as long as its bytes, once all were there.
    if sending < 100 * MS {
        assert!(span <= 299 * MS + sending + 100 * MS, "{span:?} after {sending:?}");
    }
}

#[test]
fn p1_a_full_queue_drops_what_comes_last() {
    let Some(two) = Two::new("p1_a_full_queue_drops_what_comes_last", 10) else { return };
    // Ten seconds a packet: nothing leaves while packets are sent.
    let rate = Rate { bits_per_second: 800, queue_bytes: 20_500 };
    two.a.set(Direction::Up, Settings { rate: Some(rate), ..Settings::default() });
    let (from, to) = two.sockets();
    for _ in 0..100 {
        from.send_to(&[0; PAYLOAD_BYTES], to.local_addr().unwrap()).unwrap();
    }
    wait_until("all have come", || two.a.counters(Direction::Up).packets_in == 100);
    let up = two.a.counters(Direction::Up);
    assert_eq!((up.queue_packets, up.queue_bytes, up.queue_dropped), (20, 20_000, 80));
    assert_eq!((up.under_way, up.packets_out), (20, 0));
}

#[test]
fn p1_blocked_udp_passes_nothing_and_tcp_everything_until_it_is_let_through() {
    let test = "p1_blocked_udp_passes_nothing_and_tcp_everything_until_it_is_let_through";
    let Some(two) = Two::new(test, 11) else { return };
    two.a.update(|settings| settings.blocked = Blocked::Udp);
    let (arrived, _) = two.send_numbered(100, Duration::ZERO);
    assert_eq!(numbers(&arrived), []);
    assert_eq!(two.a.counters(Direction::Up).blocked, 100);
    let (mut client, mut server) = tcp(&two);
    client.write_all(b"hello").unwrap();
    let mut heard_tcp = [0; 5];
    server.read_exact(&mut heard_tcp).unwrap();

    two.a.update(|settings| settings.blocked = Blocked::All);
    let before = two.b.counters(Direction::Down).packets_in;
    client.write_all(b"nobody hears this").unwrap();
    two.send_numbered(10, Duration::ZERO);
    assert_eq!(two.b.counters(Direction::Down).packets_in, before);

    two.a.update(|settings| settings.blocked = Blocked::Nothing);
    let (a, b) = two.sockets();
    a.send_to(b"again", b.local_addr().unwrap()).unwrap();
    assert_eq!(heard(&b, b"again"), a.local_addr().unwrap());
}

#[test]
fn p1_tcp_arrives_whole_through_loss_copies_and_reordering() {
    let test = "p1_tcp_arrives_whole_through_loss_copies_and_reordering";
    let Some(two) = Two::new(test, 12) else { return };
    two.a.set_both(&Settings {
        delay: 2 * MS,
        loss: 0.02,
        duplicate: 0.02,
        reorder: 0.02,
        reorder_by: 3 * MS,
        ..Settings::default()
    });
    let data: Vec<u8> = (0..500_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut client, mut server) = tcp(&two);
    let mut received = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&data).unwrap();
            drop(client);
        });
        server.read_to_end(&mut received).unwrap();
    });
    assert!(received == data, "{} of {} bytes, or others", received.len(), data.len());
    assert!(two.a.counters(Direction::Up).lost > 0);
}

#[test]
fn packets_wait_for_no_more_than_the_delay_when_settings_change() {
    let test = "packets_wait_for_no_more_than_the_delay_when_settings_change";
    let Some(two) = Two::new(test, 13) else { return };
    two.a.set_both(&Settings::delayed(30_000 * MS));
    let (a, b) = two.sockets();
    a.send_to(b"slow", b.local_addr().unwrap()).unwrap();
    wait_until("it is under way", || two.a.counters(Direction::Up).under_way == 1);
    // The other way is its own.
    two.a.set(Direction::Down, Settings::default());
    let start = Instant::now();
    b.send_to(b"fast", a.local_addr().unwrap()).unwrap();
    assert_eq!(heard(&a, b"fast"), b.local_addr().unwrap());
    assert!(start.elapsed() < 25_000 * MS);
    // And a network does not wait for what is under way when it ends.
    drop(two);
    assert!(start.elapsed() < 25_000 * MS);
}

#[test]
#[ignore = "a measurement, which says something on a quiet machine only"]
fn measured_at_fifty_thousand_packets_a_second() {
    for delay in [Duration::ZERO, 20 * MS] {
        let Some(two) = Two::new("measured_at_fifty_thousand_packets_a_second", 14) else { return };
        two.a.set_both(&Settings::delayed(delay));
        let (from, to) = two.sockets();
        let (before, start) = (emulator_cpu(), Instant::now());
        for n in 1..=2000 {
            for _ in 0..50 {
                from.send_to(&[0; PAYLOAD_BYTES], to.local_addr().unwrap()).unwrap();
            }
            std::thread::sleep((start + MS * n).saturating_duration_since(Instant::now()));
        }
        let elapsed = start.elapsed();
        std::thread::sleep(10 * delay);
        let (busy, totals) = (emulator_cpu() - before, two.network.totals());
        let each = busy.as_secs_f64() * 1e6 / totals.delivered as f64;
        let line = format!(
            "{delay:?}: {} packets in {elapsed:?}, {each:.2} us of the emulator's thread each, at most {:?} late",
            totals.delivered, totals.lateness_max
        );
        writeln!(std::io::stderr().lock(), "{line}").unwrap();
    }
}

/// How long threads of emulators have run, of this process.
fn emulator_cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let emulators = tasks.filter(|t| std::fs::read_to_string(t.join("comm")).unwrap().trim() == "emulator");
    let nanos = |task: std::path::PathBuf| {
        let schedstat = std::fs::read_to_string(task.join("schedstat")).unwrap();
        schedstat.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    Duration::from_nanos(emulators.map(nanos).sum())
}
