//! At the end of every node's life its log, the metrics it showed and what its clients said are read for what they must not
//! hold. What that is, is found on disk: nobody has to remember to name it.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use wire::content::Content;

use super::planted::Planted;
use super::scan::{self, Secrets};
use super::{Node, PATIENCE, stored};

/// What a node is asked to write in a test: everything. Of the QUIC library, whose lines name addresses, it must not obey.
pub const LOG_LEVEL: &str =
    "trace,quinn_proto=trace,quinn_proto::connection=trace,quinn_proto::endpoint=trace";

thread_local! {
    /// Nodes that this test has started.
    static NODES: Cell<usize> = const { Cell::new(0) };
}

/// Where a test's logs go, under `target/tmp/logs-of-tests`; begins them.
pub fn log_file() -> PathBuf {
    let folder = scan::folder(env!("CARGO_TARGET_TMPDIR"), env!("CARGO_CRATE_NAME"));
    let test = std::thread::current().name().unwrap_or("unnamed").replace("::", ".");
    let n = NODES.replace(NODES.get() + 1);
    let file = folder.join(format!("{test}-{n}.log"));
    for path in [&file, &clients_file(&file)] {
        File::create(path).expect("a log file");
    }
    file
}

/// Beside a node's log: what its clients wrote to standard error.
pub fn clients_file(log: &Path) -> PathBuf {
    log.with_extension("clients.log")
}

pub fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).expect("a log file")
}

/// What `GET` of a node's admin listener answers; nothing if nobody is there.
pub fn get(admin: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(admin).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

impl Node {
    /// Everything that no log may say.
    pub fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.codes(&std::fs::read_to_string(self.sms()).unwrap_or_default());
        for (profile, name) in self.people.lock().expect("not poisoned").iter() {
            secrets.word("a name", name);
            of_profile(profile, &mut secrets);
        }
        for file in std::fs::read_dir(self.dir.join("keys")).into_iter().flatten() {
            let key = std::fs::read(file.expect("a file").path()).expect("a key");
            secrets.bytes("a key of the node", &key);
        }
        for name in ["ca.key", "node.key"] {
            let pem = std::fs::read_to_string(self.dir.join("certs").join(name)).unwrap_or_default();
            let body = pem.lines().filter(|line| !line.starts_with("-----"));
            body.for_each(|line| secrets.word("a key of a certificate", line));
        }
        secrets
    }

    /// Its own addresses, and places: no secret of anybody.
    pub fn allowed(&self) -> Vec<String> {
        let people = self.people.lock().expect("not poisoned");
        // The longest first: each is taken out whole.
        let mut paths: Vec<String> =
            people.iter().map(|(profile, _)| profile.display().to_string()).collect();
        paths.push(self.dir.display().to_string());
        paths.extend([self.listen, self.admin].map(|addr| addr.to_string()));
        paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
        paths
    }

    /// Panics with the first lines that say too much.
    pub fn check_logs(&self) {
        assert!(self.dir.exists(), "a node's directory is there for as long as the node: it is looked into");
        let (secrets, allowed) = (self.secrets(), self.allowed());
        for path in [self.log(), clients_file(&self.log())] {
            let text = std::fs::read_to_string(&path).expect("a log");
            let leaks = secrets.find(&text, &allowed);
            assert!(
                leaks.is_empty(),
                "{} says too much: {:#?}",
                path.display(),
                &leaks[..leaks.len().min(5)]
            );
        }
    }

    /// What anybody wrote or read is nowhere in what the node has stored or logged, in whatever form (R11). How each text begins is
    /// looked for, of a thousand at most.
    pub fn check_stored(&self) {
        let people = self.people.lock().expect("not poisoned");
        let texts: Vec<String> = people.iter().flat_map(|(profile, _)| said(profile)).take(1000).collect();
        let planted = Planted::beginnings(texts.iter().map(String::as_str));
        if planted.len() == 0 {
            return;
        }
        for file in stored::files(&self.dir).expect("a node's directory").into_iter().chain([self.log()]) {
            let found = planted.find(&std::fs::read(&file).expect("a file"));
            assert_eq!(found, None, "the server has it in {}", file.display());
        }
        for (key, value) in stored::pairs(&self.dir).expect("a store that can be read") {
            let found = planted.find(&key).or_else(|| planted.find(&value));
            assert_eq!(found, None, "the server has it under {}", key.escape_ascii());
        }
    }

    /// The same for what the admin listener answers, if it answers.
    pub fn check_admin(&self) {
        let (secrets, allowed) = (self.secrets(), self.allowed());
        for path in ["/metrics", "/health"] {
            let Some(answer) = get(self.admin, path) else { continue };
            let leaks = secrets.find(&answer, &allowed);
            assert!(leaks.is_empty(), "{path} says too much: {:#?}", &leaks[..leaks.len().min(5)]);
        }
    }
}

/// The key of a profile's database, which is in the file beside it (`client/db/src/header.rs` has its form).
fn key_of(profile: &Path) -> Option<Vec<u8>> {
    let file = std::fs::read(profile.join("state.key")).ok()?;
    Some(file.get(25..57).expect("a key").to_vec())
}

/// A profile's database, opened with its key by SQLCipher alone.
pub fn database(profile: &Path) -> rusqlite::Connection {
    let key = key_of(profile).expect("a profile");
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let db = rusqlite::Connection::open(profile.join("state.db")).expect("a profile");
    db.execute_batch(&format!("PRAGMA key = \"x'{hex}'\"")).expect("a key");
    db.busy_timeout(PATIENCE).expect("set");
    db
}

/// Every text that was written on a device or arrived there.
fn said(profile: &Path) -> Vec<String> {
    if key_of(profile).is_none() {
        return Vec::new();
    }
    let db = database(profile);
    let mut statement = db
        .prepare("SELECT content FROM messages UNION SELECT content FROM outbox ORDER BY 1")
        .expect("the tables are there");
    let contents = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("read");
    let text = |content: rusqlite::Result<Vec<u8>>| match Content::decode(&content.expect("bytes")) {
        Ok(Content::Text(text)) => Some(text.text),
        _ => None,
    };
    contents.filter_map(text).collect()
}

/// A device's key and tokens, and everything that was written on it or arrived there.
fn of_profile(profile: &Path, secrets: &mut Secrets) {
    let Some(key) = key_of(profile) else { return };
    secrets.bytes("a database's key", &key);
    let db = database(profile);
    let rows = |sql: &str, see: &mut dyn FnMut(&rusqlite::Row<'_>)| {
        let mut statement = db.prepare(sql).expect("the table is there");
        let mut rows = statement.query([]).expect("read");
        while let Some(row) = rows.next().expect("read") {
            see(row);
        }
    };
    rows("SELECT seed FROM device", &mut |row| {
        secrets.bytes("a device's key", &row.get::<_, Vec<u8>>(0).expect("bytes"));
    });
    rows("SELECT access, refresh FROM login", &mut |row| {
        secrets.word("a token", &row.get::<_, String>(0).expect("a text"));
        secrets.bytes("a token", &row.get::<_, Vec<u8>>(1).expect("bytes"));
    });
    rows("SELECT content FROM messages UNION ALL SELECT content FROM outbox", &mut |row| {
        if let Ok(Content::Text(text)) = Content::decode(&row.get::<_, Vec<u8>>(0).expect("bytes")) {
            secrets.text(&text.text);
        }
    });
    rows("SELECT text FROM drafts", &mut |row| secrets.text(&row.get::<_, String>(0).expect("a text")));
}
