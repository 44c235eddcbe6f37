//! What a phone's system tells an application about its life, told by lines on standard input.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, sync_channel};

use wire_udp::Waker;

/// Lines that wait to be acted on; whoever writes more waits.
const WAITING_MAX: usize = 16;

/// Whether the application is in the foreground, each time that this changes.
pub(super) struct Lifecycle(pub(super) Receiver<bool>);

impl Lifecycle {
    /// Reads standard input to its end, on a thread that ends with it or with the process. Other lines mean nothing.
    pub(super) fn read(waker: Waker) -> Lifecycle {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let foreground = match line.trim() {
                    "foreground" => true,
                    "background" => false,
                    _ => continue,
                };
                if sender.send(foreground).is_err() {
                    return;
                }
                waker.wake();
            }
        });
        Lifecycle(receiver)
    }
}
