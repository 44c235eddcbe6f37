//! What a phone's system tells an application about its life, told by lines on standard input.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, sync_channel};

use wire_udp::Waker;

/// Lines that wait to be acted on; whoever writes more waits.
const WAITING_MAX: usize = 16;

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Somebody looks.
    Foreground,
    /// Nobody does.
    Background,
    /// The device has another address.
    Moved,
}

/// The changes, as they come.
pub(super) struct Lifecycle(Receiver<Change>);

impl Lifecycle {
    /// Reads standard input to its end, on a thread that ends with it or with the process. Other lines mean nothing.
    pub(super) fn read(waker: Waker) -> Lifecycle {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let change = match line.trim() {
                    "foreground" => Change::Foreground,
                    "background" => Change::Background,
                    "moved" => Change::Moved,
                    _ => continue,
                };
                if sender.send(change).is_err() {
                    return;
                }
                waker.wake();
            }
        });
        Lifecycle(receiver)
    }

    /// Those that have come since the last look.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change> {
        self.0.try_iter()
    }
}
