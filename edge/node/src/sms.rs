//! How text messages leave. The one provider so far sends nothing: it appends each message to a private file, for
//! development and tests. A log line says that one left, never to whom or what it says (R16, R162).

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use edge_proto::Sms;
use wire::WallTime;

/// Appends each message to a file, one JSON object a line: `{"to", "text", "at"}`, `at` in ms since the Unix epoch.
#[derive(Debug, Clone)]
pub struct FileSms {
    path: PathBuf,
}

impl FileSms {
    /// Messages go to this file, which is made when the first one leaves.
    pub fn new(path: PathBuf) -> FileSms {
        FileSms { path }
    }

    /// Sends one message. Blocks for a moment.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn send(&self, sms: &Sms, now: WallTime) -> io::Result<()> {
        let line =
            serde_json::json!({ "to": sms.to.expose(), "text": sms.text.expose(), "at": now.as_millis() });
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(format!("{line}\n").as_bytes())
    }
}
