//! `cargo xtask demo`: what a newcomer runs first.
//!
//! Two people chat through one node, in real processes on real sockets; one goes offline, the node is killed and
//! started again, the other returns. Everything shown is what the processes printed, and the demo succeeds only if all
//! of it is as it must be, and none of what they said is anywhere at the server, which is read while it is dead. In a second act Bob's way to the node is 40 ms long: his address changes in mid-conversation, and his
//! phone sleeps and comes back in one flight.

mod node;
mod paint;
mod person;
mod process;
mod screen;
mod server;
mod story;
mod travel;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use loadtest_relay::Relay;
use node::Node;
use paint::{Paint, short};
use person::Person;
use story::Story;

/// What the command line says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Leave the node running until Ctrl-C, for joining by hand.
    keep: bool,
    /// Where everything goes; kept afterwards. A temporary folder otherwise.
    folder: Option<PathBuf>,
    /// Messages that are timed.
    messages: usize,
}

/// What `cargo xtask demo --help` prints.
pub(crate) const HELP: &str = "\
Two people chat through a node that is killed, on a phone that moves and sleeps, and everything arrives once and in order;
the node has none of it but as ciphertext.

Usage: cargo xtask demo [--keep] [--dir DIR] [--messages N]

  --keep         Leave the node running until Ctrl-C, and print the commands to join
  --dir DIR      Work in this new folder, and leave it; a temporary one otherwise
  --messages N   Time so many messages, 1 to 400 [default: 240]
";

/// Reads the arguments after `demo`.
///
/// # Errors
/// Which argument is wrong.
pub(crate) fn options(arguments: &[&str]) -> Result<Options> {
    let mut options = Options { keep: false, folder: None, messages: 240 };
    let mut arguments = arguments.iter();
    while let Some(&argument) = arguments.next() {
        match argument {
            "--keep" => options.keep = true,
            "--dir" => {
                options.folder = Some(arguments.next().context("--dir needs a folder")?.into());
            }
            "--messages" => {
                let count = arguments.next().and_then(|text| text.parse().ok());
                options.messages = count.context("--messages needs a number")?;
            }
            other => bail!("`{other}` is not an option of demo; see `cargo xtask demo --help`"),
        }
    }
    // A page of history, which is compared in the end, holds 500 messages.
    if !(1..=400).contains(&options.messages) {
        bail!("--messages is 1 to 400");
    }
    Ok(options)
}

/// Builds, plays the story, and says whether all of it held.
///
/// # Errors
/// What did not hold, or what could not be done.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut paint = Paint::new();
    let started = Instant::now();
    paint.chapter(
        "Build the godwit program (the first time takes a few minutes: the cryptography and SQLite are C)",
    );
    let program = node::build()?;
    paint.note(&format!("built in {}", short(started.elapsed())));

    let folder = make_folder(options)?;
    let result = play(options, &mut paint, &program, &folder);
    let temporary = options.folder.is_none();
    match &result {
        Ok(()) if temporary => {
            let _ = fs::remove_dir_all(&folder);
        }
        Ok(()) => println!("\nEverything is in {}", folder.display()),
        Err(_) => eprintln!("\nEverything, with the logs, is left in {}", folder.display()),
    }
    result
}

fn play(
    options: &Options,
    paint: &mut Paint,
    program: &std::path::Path,
    folder: &std::path::Path,
) -> Result<()> {
    // Numbers that the British regulator keeps for fiction: nobody's phone ever rings.
    let alice = Person::new("Alice", "+447700900001", program, folder);
    let bob = Person::new("Bob", "+447700900002", program, folder);
    let node = Node::new(program, &folder.join("node"))?;
    let path = Relay::start(node.listen).context("no way for Bob")?;
    let mut story = Story::new(node, alice, bob, path);
    story.tell(paint, options.messages)?;
    story.print_how_to_join(paint, program, folder, options.keep);
    if options.keep {
        story.node.wait()?;
    } else {
        story.node.stop()?;
    }
    Ok(())
}

/// A new folder, readable by this user alone: it will hold private keys.
fn make_folder(options: &Options) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = match &options.folder {
        Some(folder) => std::path::absolute(folder).context("--dir is no folder")?,
        None => std::env::temp_dir().join(format!("godwit-demo-{}", std::process::id())),
    };
    let made = fs::DirBuilder::new().mode(0o700).create(&folder);
    made.with_context(|| format!("cannot make the new folder {}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let standard = || Options { keep: false, folder: None, messages: 240 };
        let cases: [(&[&str], Options); 3] = [
            (&[], standard()),
            (&["--keep", "--messages", "7"], Options { keep: true, messages: 7, ..standard() }),
            (&["--dir", "somewhere"], Options { folder: Some("somewhere".into()), ..standard() }),
        ];
        for (arguments, expected) in cases {
            assert_eq!(options(arguments).expect("these are right"), expected, "{arguments:?}");
        }
    }

    #[test]
    fn wrong_options_are_named() {
        let cases: [(&[&str], &str); 5] = [
            (&["--kep"], "--kep"),
            (&["--dir"], "--dir"),
            (&["--messages", "many"], "--messages"),
            (&["--messages", "0"], "1 to 400"),
            (&["--messages", "401"], "1 to 400"),
        ];
        for (arguments, words) in cases {
            let error = options(arguments).expect_err("these are wrong").to_string();
            assert!(error.contains(words), "{arguments:?}: {error}");
        }
    }
}
