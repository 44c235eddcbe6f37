//! Named steps with their times: what a person watching a long chore wants to see.

use std::fmt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A program that a chore ran and that did not succeed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The command as it can be typed again.
    pub(crate) command: String,
    /// Its exit code, or 1 if a signal ended it.
    pub(crate) code: u8,
}

impl fmt::Display for Failed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}` ended with code {}", self.command, self.code)
    }
}

impl std::error::Error for Failed {}

/// The steps of one chore, in order; the first failure ends it.
pub(crate) struct Steps {
    started: Instant,
    done: Vec<(String, Duration, Outcome)>,
    notes: Vec<String>,
}

/// How a step ended, when it did not fail.
pub(crate) enum Outcome {
    /// It did its work.
    Passed,
    /// It could not be done here, and the chore may go on without it; the text says why.
    Skipped(String),
}

impl Steps {
    pub(crate) fn new() -> Self {
        Steps { started: Instant::now(), done: Vec::new(), notes: Vec::new() }
    }

    /// Runs `work` under `name`.
    ///
    /// # Errors
    /// Those of `work`, after printing the table of the steps so far and the one that failed.
    pub(crate) fn run(&mut self, name: &str, work: impl FnOnce() -> Result<Outcome>) -> Result<()> {
        println!("\n=== {name}");
        let started = Instant::now();
        match work() {
            Ok(outcome) => {
                self.done.push((name.to_owned(), started.elapsed(), outcome));
                Ok(())
            }
            Err(error) => {
                self.print_done();
                println!("  {:<34} {:>8}  FAILED", name, seconds(started.elapsed()));
                Err(error).with_context(|| format!("step \"{name}\" failed"))
            }
        }
    }

    /// Runs one command under `name`.
    ///
    /// # Errors
    /// [`Failed`] if it ends with anything but success.
    pub(crate) fn command(&mut self, name: &str, command: &mut Command) -> Result<()> {
        self.run(name, || run(command).map(|()| Outcome::Passed))
    }

    /// Keeps a line for the very end, below the table, where nobody overlooks it.
    pub(crate) fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    /// Prints the table of all steps and the time they took together, and what was noted.
    pub(crate) fn finish(self, title: &str) {
        self.print_done();
        println!("  {:<34} {:>8}  all steps passed", title, seconds(self.started.elapsed()));
        self.notes.iter().for_each(|note| println!("\n{note}"));
    }

    fn print_done(&self) {
        println!();
        for (name, elapsed, outcome) in &self.done {
            let outcome = match outcome {
                Outcome::Passed => "ok".to_owned(),
                Outcome::Skipped(why) => format!("skipped: {why}"),
            };
            println!("  {name:<34} {:>8}  {outcome}", seconds(*elapsed));
        }
    }
}

/// Runs a command to its end, its output on our terminal.
///
/// # Errors
/// [`Failed`] with the command and its exit code.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let typed = typed(command);
    println!("$ {typed}");
    let status = command.status().with_context(|| format!("cannot start `{typed}`"))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(typed, status).into())
}

/// Runs a command to its end and returns what it said on standard output; the rest, and the command itself, is on our
/// standard error.
///
/// # Errors
/// [`Failed`] with the command and its exit code; or it said something that is no text.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let typed = typed(command);
    eprintln!("$ {typed}");
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start `{typed}`"))?;
    if !output.status.success() {
        return Err(failed(typed, output.status).into());
    }
    String::from_utf8(output.stdout).with_context(|| format!("what `{typed}` said is no text"))
}

fn failed(command: String, status: ExitStatus) -> Failed {
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Failed { command, code }
}

/// The command as a person would type it: the program's own name and its arguments.
fn typed(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_says_is_captured_or_its_code_is() {
        let shell = |script: &str| capture(Command::new("sh").args(["-c", script]));
        assert_eq!(shell("echo '{}'").expect("it succeeds"), "{}\n");
        let error = shell("echo '{}'; exit 3").expect_err("it fails");
        assert_eq!(error.downcast_ref::<Failed>().map(|failed| failed.code), Some(3));
    }
}
