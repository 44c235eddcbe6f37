//! Who may read: the store's user and root. As anybody but root nothing can be seen of it here, and the test says so.
#![cfg(target_os = "linux")]

use std::fs::{Permissions, set_permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use store::reads::{ReadsError, Remote, SOCKET_NAME};

use crate::support::*;

/// Runs as another user. To Linux a user is a thread's, so this is no matter of the process's other threads; the C library's own
/// function would change them all.
#[expect(unsafe_code, reason = "one thread's user is changed by the system call alone")]
fn as_nobody<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: it takes numbers and touches no memory.
            let done = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
            run()
        });
        thread.join().unwrap()
    })
}

#[test]
fn r156_another_user_reads_nothing_even_where_the_files_would_let_him() {
    if !rustix::process::geteuid().is_root() {
        writeln!(
            std::io::stderr(),
            "NOT RUN, for want of root: another user's process and the store's socket"
        )
        .unwrap();
        return;
    }
    let served = Served::new();
    let socket = served.path().join(SOCKET_NAME);
    let open = |path: &std::path::Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
    // Its mode alone keeps him out.
    open(served.path(), 0o755);
    let connect = || UnixStream::connect(&socket).map(drop).map_err(|error| error.kind());
    assert_eq!(as_nobody(connect), Err(ErrorKind::PermissionDenied));
    let remote = || Remote::connect(served.path(), TestClock::new()).map(drop);
    assert!(matches!(as_nobody(remote), Err(ReadsError::Denied)));
    // If somebody changed it, he gets to the door.
    open(&socket, 0o666);
    let mut raw = as_nobody(|| served.raw());
    raw.ask(&[0]);
    assert_eq!(raw.frame().unwrap()[0], 2, "he is told so");
    assert_eq!(raw.frame(), None);
    assert!(matches!(as_nobody(remote), Err(ReadsError::Denied)));
    served.serves();
}
