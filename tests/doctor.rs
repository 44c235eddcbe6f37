//! `godwit doctor`: each fault that can be made on purpose is found by the real binary, said, and shown in the exit code.

mod support;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use loadtest_cluster::{StoreOfNode, store_of_node};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;
use support::{Node, phone};

/// What `godwit doctor --json` says; its exit code must agree.
struct Report(Vec<Value>);

impl Report {
    fn of(mut command: Command) -> Report {
        let output = command.output().expect("the binary runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let findings: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
        let any = findings.iter().any(|finding| finding["level"] == "problem");
        assert_eq!(output.status.code(), Some(i32::from(any)), "{findings:#?}");
        for finding in &findings {
            let has = |field: &str| finding[field].as_str().is_some_and(|said| !said.is_empty());
            assert!(has("check") && has("found"), "{finding}");
            assert!(finding["level"] == "ok" || has("advice"), "what is wrong comes with advice: {finding}");
        }
        Report(findings)
    }

    #[track_caller]
    fn check(&self, check: &str) -> &Value {
        let mut found = self.0.iter().filter(|finding| finding["check"] == check);
        let (first, second) = (found.next(), found.next());
        assert!(second.is_none(), "{check} is there twice");
        first.unwrap_or_else(|| panic!("no {check} in {:#?}", self.0))
    }

    #[track_caller]
    fn says(&self, check: &str, level: &str, said: &str) {
        let finding = self.check(check);
        let found = finding["found"].as_str().expect("a text");
        assert!(finding["level"] == level && found.contains(said), "{level}, {said:?}: {finding}");
    }

    /// Problems that are of the set-up and not of the machine that the test runs on.
    fn problems(&self) -> Vec<&Value> {
        let machine = ["fsync", "disk_space", "memory"].map(Value::from);
        self.0.iter().filter(|f| f["level"] == "problem" && !machine.contains(&f["check"])).collect()
    }
}

fn doctor(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_godwit"));
    command.args(["doctor", "--json"]).args(args);
    for name in ["GODWIT_CONFIG", "GODWIT_CA", "GODWIT_LISTEN", "GODWIT_ADMIN", "GODWIT_DATA"] {
        command.env_remove(name);
    }
    command
}

/// A place for a node, with ports that were free a moment ago.
struct Place {
    data: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Place {
    fn new(dir: &Path) -> Place {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listen = UdpSocket::bind(loopback).and_then(|socket| socket.local_addr()).expect("a free port");
        let admin = TcpListener::bind(loopback).and_then(|socket| socket.local_addr()).expect("a free port");
        Place { data: dir.join("node"), listen, admin }
    }

    fn of(node: &Node) -> Place {
        Place { data: node.dir.clone(), listen: node.listen, admin: node.admin }
    }

    fn doctor(&self) -> Command {
        let mut command =
            doctor(&["--listen", &self.listen.to_string(), "--admin", &self.admin.to_string(), "--data"]);
        command.arg(&self.data).envs(store_of_node(&self.data).iter().flat_map(StoreOfNode::env));
        command
    }

    fn report(&self) -> Report {
        Report::of(self.doctor())
    }
}

/// Asks for a server's way, with a CA.
fn reach(server: &str, ca: &Path) -> Report {
    let mut command = doctor(&["--server", server, "--timeout", "10", "--ca"]);
    command.arg(ca);
    Report::of(command)
}

/// A certificate for `localhost` that signs itself, valid until the start of a year; returns it and its key.
fn certificate(dir: &Path, name: &str, until_year: i32) -> (PathBuf, PathBuf) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until_year, 1, 1));
    let pair = KeyPair::generate().expect("a key");
    let made = params.self_signed(&pair).expect("a certificate");
    let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    std::fs::write(&cert, made.pem()).expect("a file");
    std::fs::write(&key, pair.serialize_pem()).expect("a file");
    (cert, key)
}

#[test]
fn a_healthy_set_up_has_no_problem_and_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = Place::new(dir.path());
    let report = place.report();
    assert_eq!(report.problems(), Vec::<&Value>::new());
    for check in [
        "configuration",
        "udp_port",
        "admin_port",
        "udp",
        "data",
        "keys",
        "disk_space",
        "fsync",
        "store",
        "certificate",
        "memory",
        "clock",
        "open_files",
        "udp_buffers",
        "cpu",
    ] {
        report.check(check);
    }
    assert!(report.check("fsync")["found"].as_str().expect("a text").contains(" ms (median"));
    let left = std::fs::read_dir(dir.path()).expect("a directory").count();
    assert_eq!(left, 0, "looking made nothing");
}

#[test]
fn for_people_it_is_plain_text_and_a_sum() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = Place::new(dir.path());
    let output = Command::new(env!("CARGO_BIN_EXE_godwit"))
        .args([
            "doctor",
            "--listen",
            &place.listen.to_string(),
            "--admin",
            &place.admin.to_string(),
            "--data",
        ])
        .arg(&place.data)
        .output()
        .expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("udp port") && text.contains("problem") && text.contains(" ok\n"), "{text}");
    assert!(!text.contains('\x1b'), "no colours where no terminal is");
}

#[test]
fn ports_of_other_programs_and_addresses_of_other_machines_are_problems() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut place = Place::new(dir.path());
    let _udp = UdpSocket::bind(place.listen).expect("the port");
    let _tcp = TcpListener::bind(place.admin).expect("the port");
    let report = place.report();
    report.says("udp_port", "problem", "taken by another program");
    report.says("admin_port", "problem", "taken by another program");
    report.says("udp", "ok", "arrives");
    // An address for documentation, which no machine has (RFC 5737).
    place.listen = "192.0.2.1:4433".parse().expect("an address");
    place.report().says("udp_port", "problem", "not an address of this machine");
}

#[test]
fn a_node_that_runs_is_information() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path());
    let place = Place::of(&node);
    let report = place.report();
    assert_eq!(report.problems(), Vec::<&Value>::new());
    report.says("udp_port", "ok", "already running here (serving)");
    report.says("admin_port", "ok", "already running here (serving)");
    let embedded = store_of_node(&place.data).is_none();
    report.says("store", "ok", if embedded { "the node that runs here" } else { "cluster answers" });
    report.says("keys", "ok", "for the node's user alone");
    report.says("certificate", "ok", "localhost, 127.0.0.1 and ::1");
    assert!(report.check("ca")["advice"].as_str().expect("advice").contains("certs/ca.pem"));
    node.kill();
    let report = place.report();
    report.says("udp_port", "ok", "is free");
    report.says("store", "ok", if embedded { "no process has it open" } else { "cluster answers" });
    node.spawn();
    assert_eq!(node.terminate(), Some(0), "and it starts again after being looked at");
}

#[test]
fn r150_certificates_that_cannot_serve_are_problems() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = Place::new(dir.path());
    let serving = |cert: &Path, key: &Path| {
        let mut command = place.doctor();
        command.env("GODWIT_CERT", cert).env("GODWIT_KEY", key);
        Report::of(command)
    };
    let (good, good_key) = certificate(dir.path(), "good", 2100);
    let (old, old_key) = certificate(dir.path(), "old", 2021);
    serving(&good, &good_key).says("certificate", "ok", "localhost");
    serving(&old, &old_key).says("certificate", "problem", "expired on 2021-01-01");
    let mixed = serving(&good, &old_key);
    mixed.says("certificate", "problem", "cannot be used with its key");
    let advice = mixed.check("certificate")["advice"].as_str().expect("advice");
    assert!(advice.contains("belongs to another certificate"), "{advice}");
    serving(&good, &dir.path().join("none.key")).says("certificate", "problem", "none.key");
}

#[test]
fn a_file_in_the_way_and_keys_for_everybody_are_problems() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = Place::new(dir.path());
    std::fs::create_dir_all(place.data.join("keys")).expect("a directory");
    let key = place.data.join("keys/cluster.key");
    std::fs::write(&key, [7; 32]).expect("a file");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    place.report().says("keys", "problem", "every user of this machine can read");
    std::fs::remove_dir_all(&place.data).expect("removed");
    std::fs::write(&place.data, "").expect("a file");
    place.report().says("data", "problem", "is in the way");
    // Below a file nothing can be made either.
    let below = Place { data: place.data.join("below"), ..place };
    below.report().says("data", "problem", "is in the way");
}

#[test]
fn wrong_settings_are_findings_and_wrong_usage_is_none() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("godwit.toml");
    std::fs::write(&file, "lisen = '127.0.0.1:1'").expect("a file");
    let mut command = doctor(&["--config"]);
    command.arg(&file);
    Report::of(command).says("configuration", "problem", "lisen");
    for args in [&["--sever", "x"][..], &["--timeout", "0"], &["--server", "x", "--profile", "y"]] {
        assert_eq!(doctor(args).output().expect("the binary runs").status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_server_that_works_is_said_with_its_round_trip_and_clock() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path());
    let report = reach(&node.listen.to_string(), &node.ca());
    assert_eq!(report.problems(), Vec::<&Value>::new());
    report.says("udp", "ok", "answered by a QUIC server");
    report.says("quic", "ok", "is made");
    report.says("certificate", "ok", "vouches for");
    report.says("session", "ok", "round trip");
    report.says("server_clock", "ok", "agree within");
    assert!(report.0.iter().all(|finding| finding["check"] != "fsync"), "the node's side is not looked at");
    let alice = node.person(&phone(1), "Alice");
    let mut command = doctor(&["--profile"]);
    command.arg(&alice.profile);
    let report = Report::of(command);
    report.says("profile", "ok", &node.listen.to_string());
    report.says("certificate", "ok", "vouches for");
    let mut command = doctor(&["--profile"]);
    command.arg(dir.path().join("nobody"));
    Report::of(command).says("profile", "problem", "there is no profile");
    assert!(!dir.path().join("nobody").exists(), "looking makes no profile");
    // Without a CA the certificate is shown, and not judged.
    let report = Report::of(doctor(&["--server", &node.listen.to_string()]));
    report.says("certificate", "warning", "not checked against any CA");
    // Both sides at once, where both are named.
    let mut command = Place::of(&node).doctor();
    command.args(["--server", &node.listen.to_string(), "--ca"]).arg(node.ca());
    let report = Report::of(command);
    report.says("udp_port", "ok", "already running");
    report.says("session", "ok", "round trip");
}

#[test]
fn r150_a_certificate_that_clients_refuse_is_said_with_the_reason() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let names = vec![("GODWIT_NAMES".to_owned(), r#"["localhost"]"#.to_owned())];
    let node = Node::start_with(dir.path(), names);
    let (local, port) = (node.listen.to_string(), node.listen.port());
    reach(&local, &node.ca()).says("certificate", "problem", "not 127.0.0.1, but localhost");
    let (other, _) = certificate(dir.path(), "other", 2100);
    let report = reach(&format!("localhost:{port}"), &other);
    report.says("certificate", "problem", "not from the CA");
    report.says("server_clock", "ok", "agree within");
    let report = reach(&format!("localhost:{port}"), &dir.path().join("none.pem"));
    report.says("ca", "problem", "none.pem");
    reach(&format!("localhost:{port}"), &node.ca()).says("certificate", "ok", "vouches for");
    drop(node);
    let (old, old_key) = certificate(dir.path(), "old", 2021);
    let files = [("GODWIT_CERT", &old), ("GODWIT_KEY", &old_key)];
    let env = files.map(|(name, path)| (name.to_owned(), path.to_str().expect("UTF-8").to_owned()));
    let node = Node::start_with(dir.path(), env.into());
    let report = reach(&format!("localhost:{}", node.listen.port()), &old);
    report.says("certificate", "problem", "expired on 2021-01-01");
    report.says("server_clock", "ok", "agree within");
}

#[test]
fn nobody_there_silence_and_no_such_name_are_told_apart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (ca, _) = certificate(dir.path(), "ca", 2100);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("its address").to_string();
    let mut command = doctor(&["--server", &address, "--timeout", "1", "--ca"]);
    command.arg(&ca);
    let silent = Report::of(command);
    silent.says("udp", "problem", "UDP is blocked on the way, or nothing listens");
    silent.says("quic", "problem", "nothing answers");
    drop(socket);
    reach(&address, &ca).says("udp", "problem", "nothing listens there (ICMP");
    // Reserved never to be a name (RFC 6761).
    reach("nowhere.invalid", &ca).says("name", "problem", "nowhere.invalid");
    reach("localhost:port", &ca).says("name", "problem", "no server's address");
}
