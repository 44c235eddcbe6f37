//! A terminal that nobody sits at: the real binary on a pseudo-terminal, and the screen that a person would see.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pty};

use super::{GODWIT, PATIENCE};

/// The binary on a terminal.
pub struct Terminal {
    pty: Arc<Pty>,
    child: Child,
    parser: vt100::Parser,
    output: Receiver<Vec<u8>>,
    /// Everything it wrote.
    pub raw: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `godwit chat` for a profile on a screen of so many rows and columns.
    pub fn chat(profile: &Path, size: (u16, u16)) -> Terminal {
        Terminal::run(&["chat".as_ref(), "--profile".as_ref(), profile.as_os_str()], size)
    }

    /// Starts any command of the binary, with the terminal as its own.
    pub fn run(args: &[&OsStr], (rows, columns): (u16, u16)) -> Terminal {
        let (pty, pts) = pty_process::blocking::open().expect("a pseudo-terminal");
        pty.resize(Size::new(rows, columns)).expect("resized");
        let child = Command::new(GODWIT)
            .args(args)
            .env("TERM", "xterm-256color")
            .env("TZ", "UTC")
            .spawn(pts)
            .expect("the binary runs");
        let pty = Arc::new(pty);
        let (sender, output) = channel();
        let raw = Arc::new(Mutex::new(Vec::new()));
        let (reader, kept) = (Arc::clone(&pty), Arc::clone(&raw));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // At the end of the process a pseudo-terminal is an error, not an end.
            while let Ok(n @ 1..) = (&*reader).read(&mut buffer) {
                kept.lock().expect("not poisoned").extend_from_slice(&buffer[..n]);
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { pty, child, parser: vt100::Parser::new(size(rows), size(columns), 0), output, raw }
    }

    /// Presses keys.
    pub fn press(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).expect("the terminal takes it");
    }

    /// Pastes, as a terminal does it.
    pub fn paste(&self, text: &str) {
        self.press(&format!("\x1b[200~{text}\x1b[201~"));
    }

    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.pty.resize(Size::new(rows, columns)).expect("resized");
        self.parser.screen_mut().set_size(size(rows), size(columns));
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        // The marks around right-to-left text are invisible.
        self.parser.screen().contents().replace(['\u{200e}', '\u{200f}'], "")
    }

    pub fn screen(&self) -> &vt100::Screen {
        self.parser.screen()
    }

    /// Waits until the screen shows something.
    #[track_caller]
    pub fn until(&mut self, done: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if done(&text) {
                return text;
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.parser.process(&bytes),
                Err(RecvTimeoutError::Timeout) => panic!("waited too long; the screen:\n{text}"),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended; the screen:\n{text}"),
            }
        }
    }

    #[track_caller]
    pub fn until_shows(&mut self, what: &str) -> String {
        self.until(|text| text.contains(what))
    }

    /// Takes what comes for so long: for things that must not happen, and for pictures.
    pub fn settle(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Ok(bytes) = self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.parser.process(&bytes);
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    pub fn signal(&self, name: &str) {
        let sent = std::process::Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for its end, and takes the rest of its output.
    pub fn finish(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("it ends");
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            self.parser.process(&bytes);
        }
        status
    }
}

fn size(n: u16) -> NonZero<u16> {
    NonZero::new(n).expect("a screen has a size")
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
