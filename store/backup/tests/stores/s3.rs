//! Backups in a bucket of a real S3-compatible server, which checks signatures.
//!
//! The server is a program of its own; `cargo xtask test` installs it and names it in `GODWIT_TEST_S3S_FS`. Without the variable
//! the test says that it did not run.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use store_backup::{BackupConfig, BackupError, Key, ObjectError, Place, backup, restore, verify};

use crate::copies::{clock, embedded, people, talked};
use crate::support::{CANARY, Log, open, serves, silent};

/// The variable that names the server's program.
const PROGRAM: &str = "GODWIT_TEST_S3S_FS";

/// A server that ends with the test.
struct Server {
    child: Child,
    at: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    async fn start(program: &str, folder: &Path) -> Server {
        let at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut command = Command::new(program);
        command.args(["--host", "127.0.0.1", "--port", &at.port().to_string()]);
        command.args(["--access-key", "ACCESS", "--secret-key", "secret-of-the-test"]).arg(folder);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Server { child, at };
        for _ in 0..600 {
            if TcpStream::connect(at).is_ok() {
                return server;
            }
            assert!(server.child.try_wait().unwrap().is_none(), "the server ended at once");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the server does not listen");
    }

    fn place(&self, under: &str, secret: &str) -> Place {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "ACCESS".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT", format!("http://{}", self.at)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        Place::parse(&format!("s3://backups/{under}"), variables, true).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r142_r151_backups_in_a_bucket_of_a_real_s3_server() {
    let Some(program) = std::env::var_os(PROGRAM) else {
        let why =
            format!("NOT RUN: S3: {PROGRAM} does not name the s3s-fs program; `cargo xtask test` gets it\n");
        // Past the harness, which keeps what tests print to itself.
        let _ = std::io::stderr().write_all(why.as_bytes());
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let bucket = folder.path().join("s3/backups");
    std::fs::create_dir_all(&bucket).unwrap();
    let server = Server::start(program.to_str().unwrap(), &folder.path().join("s3")).await;
    let log = Log::default();
    let from = talked(&folder.path().join("store"), &log).await;
    let key = Key::new([5; 32]);
    let config = BackupConfig { key: Some(key.clone()), object_bytes: 300_000, ..BackupConfig::default() };
    let place = server.place("monday", "secret-of-the-test");
    let manifest = backup(from.clone(), clock(), &place, &config, &silent).await.unwrap();
    assert!(manifest.objects() > 3);
    let objects = std::fs::read_dir(bucket.join("monday")).unwrap();
    let mut files = 0;
    for file in objects {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()));
        files += 1;
    }
    assert!(files > manifest.objects(), "objects and manifest");

    let again = backup(from, clock(), &place, &config, &silent).await;
    assert!(matches!(again, Err(BackupError::Object(ObjectError::PlaceNotEmpty { .. }))), "{again:?}");
    let to = embedded(&folder.path().join("target"));
    let compared = restore(&place, Some(&key), to.clone(), clock(), &silent).await.unwrap();
    assert_eq!(compared.source, compared.target);
    serves(&open(to, clock()).await, &log.all(), &people()).await;

    let nothing = verify(&server.place("tuesday", "secret-of-the-test"), Some(&key), &silent).await;
    assert!(matches!(nothing, Err(ObjectError::NoBackup)), "{nothing:?}");
    let stranger = verify(&server.place("monday", "a guess"), Some(&key), &silent).await;
    assert!(matches!(stranger, Err(ObjectError::Io { .. })), "{stranger:?}");
    std::fs::remove_file(bucket.join("monday/logs-0-000000")).unwrap();
    let missing = verify(&place, Some(&key), &silent).await;
    assert!(matches!(missing, Err(ObjectError::Missing { .. })), "{missing:?}");
}
