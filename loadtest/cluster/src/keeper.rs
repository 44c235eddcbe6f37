//! Starts processes that do not outlive this one, however it ends.
//!
//! Linux can send a signal to a child when its parent dies, and means by that the *thread* that made the child. Tests run on
//! threads that end with them, so all children are made by one thread that lives as long as the process.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// A process to start, and where to say how that went.
type Job = (Command, Sender<io::Result<Child>>);

static KEEPER: OnceLock<Sender<Job>> = OnceLock::new();

/// Starts a process that is killed when this one ends (on Linux; elsewhere only those who drop their cluster are that tidy).
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    die_with_parent(&mut command);
    let (answer, answered) = channel();
    let keeper = KEEPER.get_or_init(keeper);
    keeper.send((command, answer)).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

fn keeper() -> Sender<Job> {
    let (jobs, todo) = channel::<Job>();
    let work = move || {
        for (mut command, answer) in todo {
            // Whoever asked waits for the answer.
            let _ = answer.send(command.spawn());
        }
    };
    // Without the thread the receiver is gone, and whoever asks is told.
    let _ = thread::Builder::new().name("cluster-keeper".into()).spawn(work);
    jobs
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts processes could not be made")
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

    let parent = getpid();
    let hook = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have died before that.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from(rustix::io::Errno::SRCH)) }
    };
    #[expect(unsafe_code, reason = "what a child does before it becomes another program is unsafe to say")]
    // SAFETY: what runs between fork and exec makes two system calls; it takes no lock and allocates nothing (an error made
    // of an error number holds only that).
    unsafe {
        command.pre_exec(hook)
    };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let asked = thread::spawn(|| {
            let mut command = Command::new("sleep");
            command.arg("600");
            spawn(command).expect("it starts")
        });
        let mut child = asked.join().expect("it asks");
        // The thread is gone; had it made the child, the signal would have come by now.
        thread::sleep(std::time::Duration::from_millis(100));
        assert!(child.try_wait().expect("it is ours").is_none(), "it lives");
        child.kill().expect("it lives");
        child.wait().expect("it ends");
    }
}
