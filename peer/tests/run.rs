//! `sorcha-peer run` as a process: what it writes where. What a peer does is tested elsewhere.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sorcha-peer");

fn succeed(args: &[&str], directory: &Path) {
    let done = Command::new(PROGRAM).args(args).current_dir(directory).output().expect("it starts");
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn the_log_goes_to_standard_error_and_names_the_ports_that_were_given() {
    let place = tempfile::tempdir().expect("a temporary directory");
    succeed(&["cert", "create-ca", "--trust-domain", "test.local", "--out", "ca"], place.path());
    let uri = "spiffe://test.local/net/peer-0";
    succeed(&["cert", "issue", "--ca", "ca", "--out", "tls", "--uri", uri], place.path());
    let yaml = "networkId: net\ntrustDomain: test.local\nname: peer-0\ntls: {directory: tls}\nstate: {directory: state}\n\
                listen: {peer: 127.0.0.1:0, api: 127.0.0.1:0, admin: 127.0.0.1:0}\n";
    std::fs::write(place.path().join("peer.yaml"), yaml).expect("a temporary directory");

    let mut peer = Command::new(PROGRAM)
        .args(["run", "--config", "peer.yaml"])
        .current_dir(place.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let log = BufReader::new(peer.stderr.take().expect("piped"));
    let started = log.lines().map_while(Result::ok).find(|line| line.contains(": started "));
    peer.kill().expect("it runs");
    peer.wait().expect("it has ended");

    let started = started.expect("a line of the log");
    let port = |key: &str| {
        let (_, rest) = started.split_once(&format!(" {key}=127.0.0.1:")).expect(key);
        rest.split(' ').next().and_then(|port| port.parse::<u16>().ok())
    };
    assert!(["peer", "api", "admin"].iter().all(|key| port(key).is_some_and(|port| port > 0)), "{started}");
    let mut out = String::new();
    peer.stdout.take().expect("piped").read_to_string(&mut out).expect("text");
    assert_eq!(out, "");
}
