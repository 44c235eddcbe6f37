//! Namespaces: who is in them, and what remains.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};

use loadtest_emulator::{Namespace, Network, can_run};

use crate::two::{A, Two, heard, socket, wait_until};

fn interfaces(table: &str) -> Vec<String> {
    let name = |line: &str| line.split_once(':').map(|(name, _)| name.trim().to_string());
    table.lines().filter_map(name).collect()
}

#[test]
fn a_child_process_lives_in_the_namespace_and_its_parent_does_not() {
    let test = "a_child_process_lives_in_the_namespace_and_its_parent_does_not";
    let Some(two) = Two::new(test, 31) else { return };
    let outside = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let mut command = Command::new("cat");
    command.arg("/proc/self/net/dev");
    two.a.namespace().command(&mut command).unwrap();
    // A command can be started more than once.
    for _ in 0..2 {
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        let mut inside = interfaces(&String::from_utf8(output.stdout).unwrap());
        inside.sort();
        // Kernels with tunnels built in add devices of theirs to every namespace.
        assert!(inside.contains(&"emulated".into()) && inside.contains(&"lo".into()), "{inside:?}");
    }
    assert!(!interfaces(&outside).contains(&"emulated".into()));
    let after = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    assert_eq!(interfaces(&after), interfaces(&outside));
}

#[test]
fn threads_of_a_namespace_stay_in_it_and_loopback_is_its_own() {
    let test = "threads_of_a_namespace_stay_in_it_and_loopback_is_its_own";
    let Some(two) = Two::new(test, 32) else { return };
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let here = bind(0).unwrap();
    let port = here.local_addr().unwrap().port();
    bind(port).unwrap_err();
    // The same port is free in there, also for a thread of a thread.
    let there = two.a.namespace().run(|| std::thread::spawn(move || bind(port)).join().unwrap()).unwrap();
    let there = there.unwrap();
    let connected = two.a.namespace().spawn("client", move || {
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|mut s| s.write_all(b"hello"))
    });
    let (mut stream, _) = there.accept().unwrap();
    connected.unwrap().join().unwrap().unwrap().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut stream, &mut said).unwrap();
    assert_eq!(said, "hello");
    // Nobody came to the listener outside.
    here.set_nonblocking(true).unwrap();
    assert_eq!(here.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn what_panics_inside_panics_outside() {
    if !can_run("what_panics_inside_panics_outside") {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let caught = std::panic::catch_unwind(|| namespace.run(|| panic!("inside")));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"inside"));
}

#[test]
fn a_network_that_ends_leaves_no_device_and_another_can_take_its_place() {
    let test = "a_network_that_ends_leaves_no_device_and_another_can_take_its_place";
    if !can_run(test) {
        return;
    }
    let namespace = Namespace::new().unwrap();
    for seed in 0..3 {
        let network = Network::new(seed).unwrap();
        let host = network.attach(&namespace, A).unwrap();
        let inside = namespace.run(|| UdpSocket::bind((A, 0))).unwrap().unwrap();
        drop(network);
        // Another test may be starting a process just now, which has a copy of every descriptor until it runs its program.
        wait_until("the device has gone", || host.dropped_before().is_err());
        inside.send_to(b"to nobody", "10.77.2.1:1").unwrap_err();
        // The handle is harmless.
        host.update(|settings| settings.loss = 1.0);
        host.change_address(Ipv4Addr::new(10, 77, 1, 2)).unwrap_err();
        assert_eq!(host.address(), A);
    }
}

#[test]
fn many_hosts_hear_each_other() {
    if !can_run("many_hosts_hear_each_other") {
        return;
    }
    let network = Network::new(33).unwrap();
    let attach = |n: u8| {
        let address = Ipv4Addr::new(10, 77, 4, n);
        let host = network.attach(&Namespace::new().unwrap(), address).unwrap();
        let socket = socket(&host, address.into());
        (host, socket)
    };
    let hosts: Vec<_> = (1..=12).map(attach).collect();
    for (_, from) in &hosts {
        for (_, to) in &hosts {
            let address = to.local_addr().unwrap();
            if from.local_addr().unwrap() != address {
                from.send_to(b"hello", address).unwrap();
                assert_eq!(heard(to, b"hello"), from.local_addr().unwrap());
            }
        }
    }
    assert_eq!(network.totals().delivered, 12 * 11);
}
