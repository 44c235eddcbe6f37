//! Stands between this process and the C library's file functions: what is done below a watched folder is recorded.
//!
//! A function of this name in the executable is the one that everybody linked to it calls: the standard library,
//! `rustix` (whose `use-libc` feature the tests of this crate turn on), the storage engine. Each does what the real
//! one does, by the kernel's call, and writes down what it did under one lock, so the record has one order.
//!
//! Nothing is synced for real: a sync is a line in the record. [`Recorder::is_complete`] says that no change went past.

#![expect(unsafe_code, reason = "the C library's functions, under their own names")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libc::{SYS_close, SYS_ftruncate, SYS_lseek, SYS_mkdirat, SYS_openat, SYS_renameat, SYS_unlinkat};
use libc::{SYS_pwrite64, SYS_write, iovec, mode_t, off_t, size_t, ssize_t};

use crate::disk::{Disk, NodeId, Op};

/// The engine makes its journals of this size beforehand; the record's are [`JOURNAL_BYTES`], to be quick to copy.
const ENGINE_JOURNAL_BYTES: off_t = 64 << 20;

/// See [`ENGINE_JOURNAL_BYTES`].
pub(crate) const JOURNAL_BYTES: off_t = 96 << 10;

/// A journal that is longer is said to be as long as the engine wants before it begins the next.
const ROTATE_BYTES: off_t = 80 << 10;

/// What is subtracted from the truth so that the engine begins a new journal: its own limit is fixed.
const ROTATE_LIE: off_t = 64_000_001;

const FDS: usize = 4096;

/// For each file descriptor the node it is open on, plus one; zero if it is none of ours.
static NODES: [AtomicU32; FDS] = [const { AtomicU32::new(0) }; FDS];
/// For each file descriptor which recorder it belongs to.
static OWNERS: [AtomicUsize; FDS] = [const { AtomicUsize::new(0) }; FDS];
static RECORDERS: Mutex<Vec<Option<Arc<Shared>>>> = Mutex::new(Vec::new());

struct Shared {
    root: PathBuf,
    record: Mutex<Record>,
}

struct Record {
    /// What the folder holds now.
    live: Disk,
    ops: Vec<Op>,
}

/// Records what is done below one folder until it is dropped.
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    slot: usize,
}

impl Recorder {
    /// Watches a folder that holds exactly `disk`.
    pub(crate) fn new(root: &Path, disk: Disk) -> Recorder {
        let record = Mutex::new(Record { live: disk, ops: Vec::new() });
        let shared = Arc::new(Shared { root: root.to_owned(), record });
        let mut recorders = lock(&RECORDERS);
        recorders.push(Some(Arc::clone(&shared)));
        Recorder { shared, slot: recorders.len() - 1 }
    }

    /// Writes down that everything up to `number` was acknowledged, at a version.
    pub(crate) fn acknowledge(&self, number: u64, version: u64) {
        lock(&self.shared.record).ops.push(Op::Acknowledged { number, version });
    }

    /// What was done so far.
    pub(crate) fn ops(&self) -> Vec<Op> {
        lock(&self.shared.record).ops.clone()
    }

    /// Whether the record explains every byte that is in the folder now.
    pub(crate) fn is_complete(&self) -> bool {
        let live = lock(&self.shared.record).live.clone();
        live.same_as(&Disk::read(&self.shared.root))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        lock(&RECORDERS)[self.slot] = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The recorder of a descriptor, and the node behind it.
fn watched(fd: c_int) -> Option<(Arc<Shared>, NodeId)> {
    let index = usize::try_from(fd).ok().filter(|&fd| fd < FDS)?;
    let node = NODES[index].load(Ordering::Acquire).checked_sub(1)?;
    let slot = OWNERS[index].load(Ordering::Acquire);
    let shared = lock(&RECORDERS)[slot].clone()?;
    Some((shared, NodeId(node)))
}

/// The recorder of a path and the path below its root, if any watches it.
unsafe fn place(dir: c_int, path: *const c_char) -> Option<(usize, Arc<Shared>, PathBuf)> {
    let recorders = lock(&RECORDERS);
    if recorders.iter().all(Option::is_none) {
        return None;
    }
    // SAFETY: the caller was given a string.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    let path = if path.is_absolute() {
        path.to_owned()
    } else if dir == libc::AT_FDCWD {
        return None;
    } else {
        std::fs::read_link(format!("/proc/self/fd/{dir}")).ok()?.join(path)
    };
    recorders.iter().enumerate().find_map(|(slot, shared)| {
        let shared = shared.as_ref()?;
        let below = path.strip_prefix(&shared.root).ok()?;
        Some((slot, Arc::clone(shared), below.to_owned()))
    })
}

unsafe fn open_at(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: as the caller's.
    let found = unsafe { place(dir, path) };
    let mut record = found.as_ref().map(|(_, shared, _)| lock(&shared.record));
    // SAFETY: the arguments are the caller's.
    let fd = unsafe { libc::syscall(SYS_openat, dir, path, flags | libc::O_CLOEXEC, mode) } as c_int;
    let Some(index) = usize::try_from(fd).ok().filter(|&fd| fd < FDS) else { return fd };
    NODES[index].store(0, Ordering::Release);
    // Folders are opened in two ways: to be synced, and, with this flag, to be emptied.
    if let (Some((slot, _, below)), Some(record), 0) = (&found, &mut record, flags & libc::O_DIRECTORY)
        && let Some(node) = record.opened(below, flags)
    {
        OWNERS[index].store(*slot, Ordering::Release);
        NODES[index].store(node.0 + 1, Ordering::Release);
    }
    fd
}

impl Record {
    fn push(&mut self, op: Op) {
        self.live.apply(&op);
        self.ops.push(op);
    }

    fn opened(&mut self, below: &Path, flags: c_int) -> Option<NodeId> {
        let node = match self.live.find(below) {
            Some(node) => node,
            None if flags & libc::O_CREAT != 0 => {
                let (dir, name) = self.live.entry(below)?;
                let node = self.live.next();
                self.push(Op::Link { dir, name, node, folder: false });
                node
            }
            None => return None,
        };
        if flags & libc::O_TRUNC != 0 && self.live.length(node) > 0 {
            self.push(Op::SetLength { node, length: 0 });
        }
        Some(node)
    }
}

/// Performs a call on an entry of a folder and writes it down if it succeeded.
unsafe fn on_entry(
    dir: c_int,
    path: *const c_char,
    call: impl FnOnce() -> c_int,
    op: impl FnOnce(&mut Disk, NodeId, String, &Shared) -> Op,
) -> c_int {
    // SAFETY: as the caller's.
    let Some((_, shared, below)) = (unsafe { place(dir, path) }) else { return call() };
    let mut record = lock(&shared.record);
    let result = call();
    if result == 0
        && let Some((dir, name)) = record.live.entry(&below)
    {
        let op = op(&mut record.live, dir, name, &shared);
        record.push(op);
    }
    result
}

unsafe fn wrote(fd: c_int, bytes: *const c_void, count: size_t, at: Option<off_t>) -> ssize_t {
    let watched = watched(fd);
    let mut record = watched.as_ref().map(|(shared, _)| lock(&shared.record));
    // SAFETY: the arguments are the caller's.
    let result = unsafe {
        match at {
            Some(at) => libc::syscall(SYS_pwrite64, fd, bytes, count, at),
            None => libc::syscall(SYS_write, fd, bytes, count),
        }
    } as ssize_t;
    if let (Some((_, node)), Some(record), Ok(written)) = (&watched, &mut record, usize::try_from(result)) {
        // SAFETY: the position of an open file; after a write it is behind what was written.
        let end = unsafe { libc::syscall(SYS_lseek, fd, 0, libc::SEEK_CUR) };
        let offset = at.map_or(end as u64 - written as u64, |at| at as u64);
        // SAFETY: the kernel has just read as many bytes from there.
        let data = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), written) };
        record.push(Op::Write { node: *node, offset, data: data.into() });
    }
    result
}

fn synced(fd: c_int) -> c_int {
    if let Some((shared, node)) = watched(fd) {
        lock(&shared.record).push(Op::Sync { node });
    }
    0
}

fn truncated(fd: c_int, length: off_t) -> c_int {
    let watched = watched(fd);
    let length = if watched.is_some() && length == ENGINE_JOURNAL_BYTES { JOURNAL_BYTES } else { length };
    let mut record = watched.as_ref().map(|(shared, _)| lock(&shared.record));
    // SAFETY: numbers.
    let result = unsafe { libc::syscall(SYS_ftruncate, fd, length) } as c_int;
    if let (Some((_, node)), Some(record), 0) = (&watched, &mut record, result) {
        record.push(Op::SetLength { node: *node, length: length as u64 });
    }
    result
}

macro_rules! interposed {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty $body:block)*) => {
        $(
            /// The C library's function of that name.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($arg: $type),*) -> $result {
                // SAFETY: the caller keeps the promises of the C library's function.
                #[allow(unused_unsafe, reason = "some bodies have nothing unsafe")]
                unsafe { $body }
            }
        )*
    };
}

interposed! {
    fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_at(libc::AT_FDCWD, path, flags, mode)
    }
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_at(libc::AT_FDCWD, path, flags, mode)
    }
    fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_at(dir, path, flags, mode)
    }
    fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_at(dir, path, flags, mode)
    }
    fn close(fd: c_int) -> c_int {
        if let Some(node) = usize::try_from(fd).ok().and_then(|fd| NODES.get(fd)) {
            node.store(0, Ordering::Release);
        }
        libc::syscall(SYS_close, fd) as c_int
    }
    fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
        wrote(fd, bytes, count, None)
    }
    fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
        // A short write is right at any length: the caller goes on with the rest.
        for part in std::slice::from_raw_parts(parts, usize::try_from(count).unwrap_or(0)) {
            if part.iov_len > 0 {
                return wrote(fd, part.iov_base, part.iov_len, None);
            }
        }
        0
    }
    fn pwrite64(fd: c_int, bytes: *const c_void, count: size_t, at: off_t) -> ssize_t {
        wrote(fd, bytes, count, Some(at))
    }
    fn pwrite(fd: c_int, bytes: *const c_void, count: size_t, at: off_t) -> ssize_t {
        wrote(fd, bytes, count, Some(at))
    }
    fn fsync(fd: c_int) -> c_int { synced(fd) }
    fn fdatasync(fd: c_int) -> c_int { synced(fd) }
    fn ftruncate(fd: c_int, length: off_t) -> c_int { truncated(fd, length) }
    fn ftruncate64(fd: c_int, length: off_t) -> c_int { truncated(fd, length) }
    fn lseek64(fd: c_int, offset: off_t, whence: c_int) -> off_t {
        let position = libc::syscall(SYS_lseek, fd, offset, whence);
        let asks = whence == libc::SEEK_CUR && offset == 0;
        // Only who writes a journal: who reads it needs the truth.
        if asks && position > ROTATE_BYTES && watched(fd).is_some() && writes_only(fd) {
            return position + ROTATE_LIE;
        }
        position
    }
    fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
        let call = || libc::syscall(SYS_mkdirat, libc::AT_FDCWD, path, mode) as c_int;
        on_entry(libc::AT_FDCWD, path, call, |disk, dir, name, _| {
            Op::Link { dir, name, node: disk.next(), folder: true }
        })
    }
    fn unlink(path: *const c_char) -> c_int {
        let call = || libc::syscall(SYS_unlinkat, libc::AT_FDCWD, path, 0) as c_int;
        on_entry(libc::AT_FDCWD, path, call, |_, dir, name, _| Op::Unlink { dir, name })
    }
    fn rmdir(path: *const c_char) -> c_int {
        let call = || libc::syscall(SYS_unlinkat, libc::AT_FDCWD, path, libc::AT_REMOVEDIR) as c_int;
        on_entry(libc::AT_FDCWD, path, call, |_, dir, name, _| Op::Unlink { dir, name })
    }
    fn unlinkat(at: c_int, path: *const c_char, flags: c_int) -> c_int {
        let call = || libc::syscall(SYS_unlinkat, at, path, flags) as c_int;
        on_entry(at, path, call, |_, dir, name, _| Op::Unlink { dir, name })
    }
    fn rename(from: *const c_char, to: *const c_char) -> c_int {
        let call = || libc::syscall(SYS_renameat, libc::AT_FDCWD, from, libc::AT_FDCWD, to) as c_int;
        let to_path = PathBuf::from(OsStr::from_bytes(CStr::from_ptr(to).to_bytes()));
        on_entry(libc::AT_FDCWD, from, call, move |disk, dir, from, shared| {
            let below = to_path.strip_prefix(&shared.root).expect("nothing leaves the watched folder");
            let (to_dir, to) = disk.entry(below).expect("it was renamed to there");
            assert_eq!(dir, to_dir, "a rename between folders is more than this record knows");
            Op::Rename { dir, from, to }
        })
    }
}

fn writes_only(fd: c_int) -> bool {
    // SAFETY: numbers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags & libc::O_ACCMODE == libc::O_WRONLY
}
