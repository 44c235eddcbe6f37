//! `cargo xtask fuzz`: builds the targets under `fuzz/` with libFuzzer's instrumentation and runs them.
//!
//! The toolchain is the pinned, stable one: `--sanitizer none` needs no other, and safe Rust has its own checks. What is
//! found grows a corpus of this machine's, under `target/fuzz-corpus/`; the committed one is only read, unless
//! `--keep` merges into it what covers something new.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::step::{self, Outcome, Steps};
use crate::{tools, workspace};

/// What `cargo xtask fuzz --help` says.
pub(crate) const HELP: &str = "\
Fuzzes decoding and whole sessions.

Usage: cargo xtask fuzz [TARGET] [--minutes M] [--keep]

  TARGET       frames, session, link, mls or torn; without it all, one after another
  --minutes M  how long each runs; 1 by default
  --keep       afterwards, merge into fuzz/corpus/ what covers something new

A crash is written to target/fuzz-artifacts/, and the last lines say how to repeat it.
";

/// The targets, and the longest input that is worth trying: what a frame or a list of acts needs.
const TARGETS: [(&str, u32); 5] =
    [("frames", 4096), ("session", 2048), ("link", 2048), ("mls", 4096), ("torn", 64)];

/// How long each target runs in `cargo xtask ci`.
const SMOKE: Duration = Duration::from_secs(20);

/// One way to call this chore.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    targets: Vec<(&'static str, u32)>,
    time: Duration,
    keep: bool,
}

/// Reads the words after `fuzz`.
///
/// # Errors
/// A word that means nothing.
pub(crate) fn options(words: &[&str]) -> Result<Options> {
    let mut options = Options { targets: TARGETS.to_vec(), time: Duration::from_secs(60), keep: false };
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "--keep" => options.keep = true,
            "--minutes" => {
                let minutes = words.next().and_then(|word| word.parse::<u64>().ok()).filter(|&m| m > 0);
                options.time = Duration::from_secs(60 * minutes.context("--minutes takes a number from 1")?);
            }
            name => match TARGETS.iter().find(|(target, _)| *target == name) {
                Some(&target) => options.targets = vec![target],
                None => bail!("no such target: `{name}`; `cargo xtask fuzz --help` lists them"),
            },
        }
    }
    Ok(options)
}

/// Builds and runs.
///
/// # Errors
/// If the build fails, or a target crashes.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::new();
    fuzz(&mut steps, options, None)?;
    steps.finish("cargo xtask fuzz");
    Ok(())
}

/// A short run of every target, as steps of a longer chore. Its seed is fixed, so that it differs from run to run only by
/// how far it gets.
///
/// # Errors
/// The failing step.
pub(crate) fn smoke(steps: &mut Steps) -> Result<()> {
    fuzz(steps, &Options { targets: TARGETS.to_vec(), time: SMOKE, keep: false }, Some(1))
}

fn fuzz(steps: &mut Steps, options: &Options, seed: Option<u32>) -> Result<()> {
    steps.run("build of the fuzz targets", || build(options).map(|()| Outcome::Passed))?;
    for &(target, bytes_max) in &options.targets {
        let name = format!("fuzz {target}");
        steps.run(&name, || fuzz_one(target, bytes_max, options, seed).map(|()| Outcome::Passed))?;
    }
    Ok(())
}

/// All targets at once: one invocation of cargo knows best what they share.
fn build(options: &Options) -> Result<()> {
    let mut build = tools::cargo_fuzz(&["build"])?;
    build.args(BUILD).arg("--target-dir").arg(workspace::target().join("fuzz"));
    if let [(target, _)] = options.targets[..] {
        build.arg(target);
    }
    // As profile settings and not as cargo-fuzz's own flag, so that Cargo.toml can except a dependency.
    build.env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    build.env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    // A third less to build, and a fifth fewer runs per second: a short run is mostly its build.
    build.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    step::run(&mut build)
}

/// `--no-cfg-fuzzing`: dependencies change what they do under that flag, and what ships is to be fuzzed.
const BUILD: [&str; 8] =
    ["--fuzz-dir", "fuzz", "--sanitizer", "none", "--no-cfg-fuzzing", "--features", "libfuzzer", "--release"];

fn fuzz_one(target: &str, bytes_max: u32, options: &Options, seed: Option<u32>) -> Result<()> {
    let (found, committed) = (found(target)?, committed(target));
    let mut run = program(target)?;
    run.args([format!("-max_total_time={}", options.time.as_secs()), format!("-max_len={bytes_max}")]);
    // Long inputs early: a session needs many acts before it means anything.
    run.args(["-len_control=10", "-timeout=30", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    if let Some(seed) = seed {
        run.arg(format!("-seed={seed}"));
    }
    let artifacts = folder("fuzz-artifacts", target)?;
    run.arg(format!("-artifact_prefix={}/", artifacts.display())).args([&found, &committed]);
    step::run(&mut run).with_context(|| repeat(target, &artifacts))?;
    if options.keep {
        let mut merge = program(target)?;
        // By places in the code, not by how often each is passed: a few hundred small files, not thousands.
        merge.args(["-set_cover_merge=1", "-use_counters=0"]);
        merge.arg(format!("-max_len={bytes_max}")).args([&committed, &found]);
        step::run(&mut merge)?;
    }
    Ok(())
}

fn repeat(target: &str, artifacts: &std::path::Path) -> String {
    format!(
        "{target} failed: the input is the newest file in {artifacts}. Copy it to fuzz/corpus/{target}/ under a name \
         that says what it shows; `cargo test -p fuzz` then repeats it without libFuzzer",
        artifacts = artifacts.display()
    )
}

/// The target as it was built. cargo-fuzz would build again before it runs.
fn program(target: &str) -> Result<Command> {
    let release = PathBuf::from(tools::host()?).join("release").join(target);
    let mut program = Command::new(workspace::target().join("fuzz").join(release));
    program.current_dir(workspace::root());
    Ok(program)
}

fn committed(target: &str) -> PathBuf {
    workspace::root().join("fuzz").join("corpus").join(target)
}

fn found(target: &str) -> Result<PathBuf> {
    folder("fuzz-corpus", target)
}

fn folder(of: &str, target: &str) -> Result<PathBuf> {
    let folder = workspace::target().join(of).join(target);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused() {
        let all = options(&[]).expect("nothing is all");
        assert_eq!((all.targets.len(), all.time, all.keep), (5, Duration::from_secs(60), false));
        let one = options(&["link", "--minutes", "20", "--keep"]).expect("all words mean something");
        assert_eq!(one.targets, [("link", 2048)]);
        assert_eq!((one.time, one.keep), (Duration::from_secs(1200), true));
        for wrong in [&["everything"][..], &["--minutes"], &["--minutes", "0"], &["--minutes", "x"]] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }
}
