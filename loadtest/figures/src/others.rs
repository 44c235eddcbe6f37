//! Whose the machine's cores were: a figure taken while somebody else worked says little, and this says how much they did.

use std::fs;
use std::time::{Duration, Instant};

/// What the cores have done until a moment, and which part of it was done for whoever asks.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    at: Instant,
    busy: Duration,
    ours: Duration,
}

impl Cores {
    /// As of now. Ours are this process, its children that have ended and been waited for, and the processes of these ids,
    /// which must run until the last reading. `None` where the system does not say (it is not Linux), or one of them is gone.
    pub fn now(pids: &[u32]) -> Option<Cores> {
        let ours = |pid: &u32| process(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, 2);
        let own = process(&fs::read_to_string("/proc/self/stat").ok()?, 4)?;
        let others = pids.iter().map(ours).sum::<Option<Duration>>()?;
        let busy = machine(&fs::read_to_string("/proc/stat").ok()?)?;
        Some(Cores { at: Instant::now(), busy, ours: own + others })
    }

    /// What ours have used since an earlier reading of the same processes.
    pub fn ours_since(&self, before: &Cores) -> Duration {
        self.ours.saturating_sub(before.ours)
    }

    /// Cores that others kept busy since an earlier reading of the same processes, on average. What a hypervisor took away is
    /// in it, and so is what the kernel did for nobody in particular.
    pub fn others_since(&self, before: &Cores) -> f64 {
        let theirs = self.busy.saturating_sub(before.busy).saturating_sub(self.ours_since(before));
        theirs.as_secs_f64() / (self.at - before.at).as_secs_f64().max(f64::EPSILON)
    }
}

/// Of a process: user and system time (fields 14 and 15 of proc_pid_stat(5)), and with four fields that of its ended children.
fn process(stat: &str, fields: usize) -> Option<Duration> {
    // The name, which may hold spaces, ends with the last parenthesis; the state is field 3.
    let (_, rest) = stat.rsplit_once(')')?;
    ticks(rest.split_whitespace().skip(14 - 3).take(fields))
}

/// Of the machine: everything but idle and waiting for disks; time of guests is in that of users (proc_stat(5)).
fn machine(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8).collect();
    let [user, nice, system, _idle, _waiting, interrupts, soft, stolen] = fields[..] else { return None };
    ticks([user, nice, system, interrupts, soft, stolen].into_iter())
}

fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> Option<Duration> {
    let sum = fields.map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Duration::from_secs_f64(sum as f64 / rustix::param::clock_ticks_per_second().max(1) as f64))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_manual() {
        let per_second = rustix::param::clock_ticks_per_second();
        let stat = format!(
            "7 (a b) c) S 1 7 7 0 -1 4 5 0 0 0 {} {} {} {} 20 0",
            per_second,
            2 * per_second,
            4 * per_second,
            8 * per_second
        );
        assert_eq!(process(&stat, 2), Some(Duration::from_secs(3)));
        assert_eq!(process(&stat, 4), Some(Duration::from_secs(15)));
        let all = format!("cpu  {0} {0} {0} 9999 9999 {0} {0} {0} 9999 9999\ncpu0 1", per_second);
        assert_eq!(machine(&all), Some(Duration::from_secs(6)));
        assert_eq!(machine("cpu  1 2 3"), None);
    }

    #[test]
    fn own_work_is_not_that_of_others_and_a_stranger_is_one() {
        let before = Cores::now(&[]).expect("Linux says");
        let begun = crate::process_cpu();
        while crate::process_cpu() - begun < Duration::from_millis(300) {
            std::hint::black_box(crate::median(&[1.0, 2.0, 3.0]));
        }
        let after = Cores::now(&[]).expect("Linux says");
        assert!(after.ours_since(&before) >= Duration::from_millis(280), "{before:?} {after:?}");
        let elapsed = (after.at - before.at).as_secs_f64();
        let all = (after.busy - before.busy).as_secs_f64() / elapsed;
        assert!(
            after.others_since(&before) <= all - 0.25 / elapsed,
            "ours is taken off: {before:?} {after:?}"
        );
        assert!(Cores::now(&[u32::MAX]).is_none(), "nobody has that id");
    }
}
