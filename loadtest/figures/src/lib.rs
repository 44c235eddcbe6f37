//! What the benchmarks share: their options, CPU clocks, medians, and the one form in which figures are handed on.
//!
//! A benchmark prints its rows for people; with `--json` they go to standard error, and standard output is one flat JSON
//! object of numbers, which is what `cargo xtask bench` collects. Invariant: a run that says nothing (starved, or not what
//! it was meant to measure) hands on no figures at all and ends with a failure.

mod cost;
mod others;
mod report;

use std::time::Duration;

pub use cost::{Cost, cost};
pub use others::Cores;
pub use report::{Figures, Report};

use rustix::time::{ClockId, clock_gettime};

/// How a benchmark was asked to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Figures as one JSON object on standard output.
    pub json: bool,
    /// A short run that shows that it works; its figures mean little.
    pub quick: bool,
    /// Words that are for the benchmark itself.
    pub rest: Vec<String>,
}

impl Options {
    /// From the command line. `--bench`, which cargo adds, is dropped.
    pub fn from_args() -> Options {
        Options::parse(std::env::args().skip(1))
    }

    fn parse(words: impl Iterator<Item = String>) -> Options {
        let mut options = Options::default();
        for word in words {
            match word.as_str() {
                "--bench" => {}
                "--json" => options.json = true,
                "--quick" => options.quick = true,
                _ => options.rest.push(word),
            }
        }
        options
    }

    /// `whole`, or in a short run a tenth of it.
    pub fn run(&self, whole: Duration) -> Duration {
        if self.quick { whole / 10 } else { whole }
    }
}

/// CPU time that this thread has used, in user and kernel mode.
pub fn thread_cpu() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// CPU time that all threads of this process have used.
pub fn process_cpu() -> Duration {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// The middle one, the greater of the two middle ones if they are even in number, or not a number if there is none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The smallest value that at least this share of them do not exceed (0.99 for the 99th percentile), or not a number if there
/// is none. They are sorted.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_from_words_of_the_benchmark() {
        let words = ["--bench", "--json", "clients", "--quick", "7"].map(str::to_owned);
        let options = Options::parse(words.into_iter());
        assert_eq!(options, Options { json: true, quick: true, rest: vec!["clients".into(), "7".into()] });
        assert_eq!(options.run(Duration::from_secs(2)), Duration::from_millis(200));
    }

    #[test]
    fn the_middle_one() {
        for (values, middle) in [(&[3.0][..], 3.0), (&[9.0, 1.0, 2.0], 2.0), (&[4.0, 1.0, 3.0, 2.0], 3.0)] {
            assert_eq!(median(values).to_bits(), f64::to_bits(middle), "{values:?}");
        }
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_share_of_them() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        for (share, value) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)] {
            assert_eq!(quantile(&hundred, share).to_bits(), f64::to_bits(value), "{share}");
        }
        assert_eq!(quantile(&[7.0], 0.5).to_bits(), f64::to_bits(7.0));
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn cpu_clocks_count_work_and_the_process_has_all_of_it() {
        let (thread, process) = (thread_cpu(), process_cpu());
        while thread_cpu() - thread < Duration::from_millis(5) {
            std::hint::black_box(median(&[1.0, 2.0, 3.0]));
        }
        assert!(process_cpu() - process >= Duration::from_millis(5));
    }
}
