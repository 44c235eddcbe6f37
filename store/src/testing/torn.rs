//! A store whose files were damaged: it opens with what is intact, or says which file is not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::Bytes;

use crate::embedded::{Embedded, EmbeddedConfig, EmbeddedError, Tuning};
use crate::testing::VirtualClock;
use crate::tx::{Backend, Range, Tx, TxError};

/// Commits in the store that is damaged.
const COMMITS: u64 = 120;

/// Most operations that one input may ask for.
const OPS_MAX: usize = 8;

/// What became of a damaged store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Torn {
    /// It opened at this commit, and everything of it and before could be read.
    Opened(u64),
    /// It opened, and a read failed: a file that is read only then is damaged.
    Unreadable,
    /// It did not open, for this reason.
    Refused(String),
}

/// Damages a small store's files as the input says, opens it, and reads everything.
///
/// The input is operations of eight bytes: which file (by its place among the sorted names), what (truncate, extend,
/// zero, flip), where in it (four bytes, little-endian, modulo the length), how much (two bytes); at most eight, a rest
/// is ignored.
///
/// # Panics
/// If what is read was never written, if what lies in an undamaged file is missing, or if opening panics: what a fuzzer
/// and a test are to find.
pub fn torn(data: &[u8]) -> Torn {
    let template = template();
    let mut files = template.files.clone();
    let mut least = COMMITS;
    for op in data.chunks_exact(8).take(OPS_MAX) {
        let (name, at) = damage(&mut files, op);
        // The newest journal is the only file whose end may have been lost before.
        if name == template.journal {
            let before = template.ends.iter().take_while(|(end, _)| *end <= at);
            least = least.min(before.map(|(_, n)| *n).last().unwrap_or(0).max(template.flushed));
        }
    }
    judge(&files, least)
}

/// Performs one operation. Gives the file and the first byte that may have changed.
fn damage(files: &mut BTreeMap<PathBuf, Vec<u8>>, op: &[u8]) -> (PathBuf, usize) {
    let nth = usize::from(op[0]) % files.len();
    let (name, bytes) = files.iter_mut().nth(nth).expect("there are as many");
    let at = u32::from_le_bytes([op[2], op[3], op[4], op[5]]) as usize % (bytes.len() + 1);
    let much = usize::from(u16::from_le_bytes([op[6], op[7]]));
    let to = (at + much).min(bytes.len());
    match op[1] % 4 {
        0 => bytes.truncate(at),
        1 => {
            let at = bytes.len();
            bytes.extend((0..much).map(|i| (i * usize::from(op[2])) as u8));
            return (name.clone(), at);
        }
        2 => bytes[at..to].fill(0),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (much % 8);
            }
        }
    }
    (name.clone(), at)
}

fn judge(files: &BTreeMap<PathBuf, Vec<u8>>, least: u64) -> Torn {
    let dir = folder();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("it is below")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    let store = match open(dir.path()) {
        Ok(store) => store,
        Err(error) => return Torn::Refused(chain(&error)),
    };
    let range = Range::new(Bytes::from_static(b"n"), Bytes::from_static(b"u"));
    let found = match wait(async { store.begin().await?.range(range).await }) {
        Ok(found) => found,
        Err(TxError::Unavailable(_)) => return Torn::Unreadable,
        Err(error) => panic!("a read failed otherwise: {error}"),
    };
    let number = found.first().filter(|(key, _)| key == "n");
    let number = number.map_or(0, |(_, n)| u64::from_be_bytes(n[..].try_into().expect("eight bytes")));
    assert!((least..=COMMITS).contains(&number), "at commit {number}, and {least} are intact");
    let expected: BTreeMap<Bytes, Bytes> = (1..=number).flat_map(changes).collect();
    assert!(found.into_iter().eq(expected), "not what commit {number} left");
    Torn::Opened(number)
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", source.unwrap_or_default())
}

/// A folder to work in, in memory where that is to be had.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder")
}

struct Template {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// The newest journal.
    journal: PathBuf,
    /// Commits that are in tables: what is left without the journal.
    flushed: u64,
    /// How long the journal was after a commit, as far as that is known.
    ends: Vec<(usize, u64)>,
}

fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    // The engine's threads decide how much is in tables when the store closes.
    TEMPLATE.get_or_init(|| (0..50).find_map(|_| make_template()).expect("one of them has tables"))
}

fn make_template() -> Option<Template> {
    let dir = folder();
    let store = open(dir.path()).expect("a new store");
    (1..=COMMITS / 2).for_each(|n| commit(&store, n));
    // Closed and opened in between, so that the journal ends where its last commit does.
    drop(store);
    let store = open(dir.path()).expect("it was closed");
    let journal = PathBuf::from("data/0.jnl");
    let mut ends = Vec::new();
    for n in COMMITS / 2 + 1..=COMMITS {
        commit(&store, n);
        let length = fs::metadata(dir.path().join(&journal)).expect("a journal").len();
        ends.push((usize::try_from(length).expect("short"), n));
    }
    drop(store);
    let mut files = BTreeMap::new();
    read_all(dir.path(), Path::new(""), &mut files);
    let mut without = files.clone();
    without.insert(journal.clone(), Vec::new());
    let Torn::Opened(flushed) = judge(&without, 0) else { panic!("it does not open without its journal") };
    (flushed > COMMITS / 3 && flushed < COMMITS).then_some(Template { files, journal, flushed, ends })
}

fn read_all(root: &Path, below: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(root.join(below)).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = below.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            read_all(root, &name, files);
        } else {
            files.insert(name, fs::read(entry.path()).expect("a file"));
        }
    }
}

fn open(path: &Path) -> Result<Embedded, EmbeddedError> {
    let config = EmbeddedConfig { cache_bytes: 1 << 20, ..EmbeddedConfig::default() };
    Embedded::open_tuned(
        path,
        &config,
        Tuning { memtable_bytes: 12 << 10, sync: false },
        VirtualClock::default(),
    )
}

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let (mut future, mut cx) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// What commit `n` writes: the number, and one of thirty slots.
fn changes(n: u64) -> [(Bytes, Bytes); 2] {
    let value: Vec<u8> = (0..40 + n * 37 % 600).map(|i| (n * 31 + i * 7) as u8).collect();
    let slot = vec![b't', (n * 17 % 30) as u8];
    [(Bytes::from_static(b"n"), Bytes::copy_from_slice(&n.to_be_bytes())), (slot.into(), value.into())]
}

fn commit(store: &Embedded, n: u64) {
    let done = async {
        let mut tx = store.begin().await?;
        changes(n).into_iter().for_each(|(key, value)| tx.set(key, value));
        tx.commit().await
    };
    wait(done).expect("a commit");
}
