use super::*;
use crate::settings::Burst;

const BYTES: usize = 100;
const TCP: u8 = 6;
const MS: Duration = Duration::from_millis(1);

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant comes from nowhere else; only differences from it matter"
)]
fn start() -> Instant {
    Instant::now()
}

fn path(settings: Settings) -> Path {
    path_of(7, settings)
}

fn path_of(seed: u64, settings: Settings) -> Path {
    let mut path = Path::new(seed, 0, Direction::Up);
    path.set(settings);
    path
}

/// The fates of packets that come every `gap`; each leaves in time.
fn fates(path: &mut Path, from: Instant, count: u32, gap: Duration) -> Vec<Fate> {
    (0..count).map(|n| path.decide(from + gap * n, BYTES, UDP)).collect()
}

fn dropped(fates: &[Fate], why: Cause) -> usize {
    fates.iter().filter(|fate| **fate == Fate::Dropped(why)).count()
}

fn dues(fates: &[Fate]) -> Vec<Instant> {
    let due = |fate: &Fate| match fate {
        Fate::Passed { due, .. } => Some(*due),
        Fate::Dropped(_) => None,
    };
    fates.iter().filter_map(due).collect()
}

/// `count` out of `n` is within five standard deviations of the probability.
fn assert_binomial(count: usize, n: u32, probability: f64) {
    let (n, count) = (f64::from(n), count as f64);
    let off = (count - n * probability).abs();
    assert!(off <= 5.0 * (n * probability * (1.0 - probability)).sqrt(), "{count} of {n} at {probability}");
}

#[test]
fn a_path_without_settings_passes_everything_at_once() {
    let (mut path, start) = (path(Settings::default()), start());
    for n in 0..1000 {
        let now = start + MS * n;
        let expected = Fate::Passed { due: now, is_duplicated: false, is_reordered: false };
        assert_eq!(path.decide(now, BYTES, UDP), expected);
    }
}

#[test]
fn the_same_seed_gives_the_same_fates_and_another_seed_or_place_gives_others() {
    let settings = Settings {
        delay: 20 * MS,
        jitter: 10 * MS,
        loss: 0.1,
        burst: Some(Burst { begin: 0.01, packets_mean: 5.0 }),
        duplicate: 0.1,
        reorder: 0.1,
        reorder_by: 5 * MS,
        rate: Some(Rate { bits_per_second: 1_000_000, queue_bytes: 1000 }),
        ..Settings::default()
    };
    let start = start();
    let run = |mut path: Path| {
        path.set(settings.clone());
        fates(&mut path, start, 2000, MS)
    };
    let first = run(Path::new(1, 3, Direction::Up));
    assert_eq!(first, run(Path::new(1, 3, Direction::Up)));
    assert_ne!(first, run(Path::new(2, 3, Direction::Up)));
    assert_ne!(first, run(Path::new(1, 3, Direction::Down)));
    assert_ne!(first, run(Path::new(1, 4, Direction::Up)));
}

#[test]
fn loss_is_as_probable_as_it_is_set() {
    for loss in [0.0, 0.02, 0.1, 0.5, 1.0] {
        let fates = fates(&mut path(Settings { loss, ..Settings::default() }), start(), 20_000, MS);
        assert_binomial(dropped(&fates, Cause::Lost), 20_000, loss);
    }
    for (loss, lost) in [(-1.0, 0), (2.0, 1000), (f64::NAN, 0)] {
        let fates = fates(&mut path(Settings { loss, ..Settings::default() }), start(), 1000, MS);
        assert_eq!(dropped(&fates, Cause::Lost), lost, "{loss}");
    }
}

#[test]
fn other_settings_leave_alone_which_packets_are_lost() {
    let plain = Settings { loss: 0.1, ..Settings::default() };
    let busy = Settings {
        delay: 20 * MS,
        jitter: 5 * MS,
        duplicate: 0.5,
        reorder: 0.5,
        reorder_by: MS,
        ..plain.clone()
    };
    let lost = |settings| {
        let fates = fates(&mut path(settings), start(), 2000, MS);
        fates.iter().map(|fate| *fate == Fate::Dropped(Cause::Lost)).collect::<Vec<_>>()
    };
    assert_eq!(lost(plain), lost(busy));
}

#[test]
fn bursts_are_as_frequent_and_as_long_as_they_are_set() {
    let burst = Burst { begin: 0.01, packets_mean: 8.0 };
    let fates =
        fates(&mut path(Settings { burst: Some(burst), ..Settings::default() }), start(), 100_000, MS);
    let is_lost: Vec<bool> = fates.iter().map(|fate| *fate == Fate::Dropped(Cause::Burst)).collect();
    let begins = is_lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
    let lost = is_lost.iter().filter(|lost| **lost).count();
    let mean = lost as f64 / begins as f64;
    assert!((7.0..9.0).contains(&mean), "{lost} packets in {begins} bursts");
    assert_binomial(begins, 100_000 - lost as u32, burst.begin);
}

#[test]
fn packets_are_under_way_for_the_delay_and_at_most_the_jitter_longer_in_order() {
    let settings = Settings { delay: 40 * MS, jitter: 20 * MS, ..Settings::default() };
    let start = start();
    let dues = dues(&fates(&mut path(settings), start, 5000, 3 * MS));
    assert_eq!(dues.len(), 5000);
    assert!(dues.is_sorted());
    let taken: Vec<Duration> = (0..).zip(&dues).map(|(n, due)| *due - (start + 3 * MS * n)).collect();
    assert!(taken.iter().all(|taken| (40 * MS..=60 * MS).contains(taken)));
    assert!(taken.iter().any(|taken| *taken < 42 * MS) && taken.iter().any(|taken| *taken > 58 * MS));
}

#[test]
fn a_shorter_delay_lets_no_packet_overtake() {
    let mut path = path(Settings::delayed(300 * MS));
    let start = start();
    let slow = dues(&fates(&mut path, start, 10, MS));
    path.set(Settings::default());
    let fast = dues(&fates(&mut path, start + 20 * MS, 1, MS));
    assert_eq!(slow.last(), fast.last());
}

#[test]
fn held_back_packets_are_overtaken_and_no_others() {
    let settings =
        Settings { delay: 10 * MS, reorder: 0.05, reorder_by: 4 * MS + MS / 2, ..Settings::default() };
    let start = start();
    let fates = fates(&mut path(settings), start, 10_000, MS);
    let mut held_back = 0;
    for (n, fate) in (0..).zip(&fates) {
        let Fate::Passed { due, is_reordered, .. } = *fate else { panic!("{fate:?}") };
        let late = if is_reordered { 4 * MS + MS / 2 } else { Duration::ZERO };
        assert_eq!(due, start + MS * n + 10 * MS + late);
        held_back += usize::from(is_reordered);
    }
    assert_binomial(held_back, 10_000, 0.05);
}

#[test]
fn copies_are_as_probable_as_they_are_set() {
    let mut path = path(Settings { duplicate: 0.2, ..Settings::default() });
    let fates = fates(&mut path, start(), 10_000, MS);
    let copies = fates.iter().filter(|f| matches!(f, Fate::Passed { is_duplicated: true, .. })).count();
    assert_binomial(copies, 10_000, 0.2);
    assert_eq!(path.counters(start()).duplicated, copies as u64);
}

#[test]
fn a_bottleneck_sends_at_its_rate_and_drops_at_its_tail() {
    // 100 bytes take 1 ms; ten may wait.
    let rate = Rate { bits_per_second: 800_000, queue_bytes: 1000 };
    let mut path = path(Settings { rate: Some(rate), delay: 30 * MS, ..Settings::default() });
    let start = start();
    // A burst of fifteen.
    let fates = fates(&mut path, start, 15, Duration::ZERO);
    let expected: Vec<Instant> = (1..=10).map(|n| start + MS * n + 30 * MS).collect();
    assert_eq!(dues(&fates), expected);
    assert_eq!(dropped(&fates[10..], Cause::Queue), 5);
    let counters = path.counters(start);
    assert_eq!((counters.queue_packets, counters.queue_bytes, counters.queue_dropped), (10, 1000, 5));
    // Half of it has been sent.
    let counters = path.counters(start + 5 * MS);
    assert_eq!((counters.queue_packets, counters.queue_bytes), (5, 500));
    // One more, behind the rest.
    let fate = path.decide(start + 5 * MS, BYTES, UDP);
    assert_eq!(dues(&[fate]), [start + 11 * MS + 30 * MS]);
    // After a pause the bottleneck has saved nothing up.
    let fate = path.decide(start + 100 * MS, BYTES, UDP);
    assert_eq!(dues(&[fate]), [start + 101 * MS + 30 * MS]);
}

#[test]
fn a_packet_larger_than_the_queue_passes_when_nothing_waits() {
    let rate = Rate { bits_per_second: 0, queue_bytes: 10 };
    let mut path = path(Settings { rate: Some(rate), ..Settings::default() });
    let start = start();
    let fates = fates(&mut path, start, 2, Duration::ZERO);
    // At one bit a second.
    assert_eq!(dues(&fates), [start + Duration::from_secs(800)]);
    assert_eq!(fates[1], Fate::Dropped(Cause::Queue));
}

#[test]
fn what_is_blocked_does_not_pass() {
    let mut path = path(Settings { blocked: Blocked::Udp, ..Settings::default() });
    let start = start();
    assert_eq!(path.decide(start, BYTES, UDP), Fate::Dropped(Cause::Blocked));
    assert!(matches!(path.decide(start, BYTES, TCP), Fate::Passed { .. }));
    path.set(Settings { blocked: Blocked::All, ..Settings::default() });
    assert_eq!(path.decide(start, BYTES, TCP), Fate::Dropped(Cause::Blocked));
    path.set(Settings { packet_bytes_max: Some(1200), ..Settings::default() });
    assert!(matches!(path.decide(start, 1200, UDP), Fate::Passed { .. }));
    assert_eq!(path.decide(start, 1201, UDP), Fate::Dropped(Cause::TooLarge));
    let counters = path.counters(start);
    assert_eq!((counters.blocked, counters.too_large), (2, 1));
}

#[test]
fn packets_under_way_are_bounded_and_every_packet_is_counted_once() {
    let mut path = path(Settings { delay: MS, duplicate: 0.3, loss: 0.1, ..Settings::default() });
    let start = start();
    fates(&mut path, start, 2 * UNDER_WAY_MAX as u32, Duration::ZERO);
    let counters = path.counters(start);
    assert_eq!(counters.under_way, UNDER_WAY_MAX);
    assert!(counters.overflowed > 0);
    for _ in 0..100 {
        path.leave(start + MS, BYTES);
    }
    let counters = path.counters(start);
    assert_eq!((counters.packets_out, counters.bytes_out), (100, 100 * BYTES as u64));
    assert_eq!(
        counters.packets_in + counters.duplicated,
        counters.packets_out + counters.under_way as u64 + counters.dropped()
    );
    assert!(matches!(path_of(1, Settings::default()).decide(start, BYTES, UDP), Fate::Passed { .. }));
}

#[test]
fn delays_beyond_the_bound_are_cut_to_it() {
    let endless = Settings { delay: Duration::MAX, jitter: Duration::MAX, ..Settings::default() };
    let start = start();
    let fate = path(endless).decide(start, BYTES, UDP);
    assert!(dues(&[fate])[0] <= start + 2 * DELAY_MAX);
}
