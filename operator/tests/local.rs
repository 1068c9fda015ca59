//! Local mode as its user meets it: the real program, over stand-in peers.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use support::{Place, kill, pids, running, until};

#[test]
fn five_peers_start_link_and_stop_without_a_process_left() {
    let place = Place::new(5);
    let (supervisor, ready) = place.start();
    assert_eq!(ready["peers"].as_array().map(Vec::len), Some(5));
    let endpoints = place.endpoints();
    assert_eq!(endpoints["network"], "trial");
    assert_eq!(endpoints["peers"], ready["peers"]);
    assert_eq!(running(&place.network()).len(), 5);

    for file in ["tls/tls.key", "tls/tls.crt", "tls/ca.crt", "peer.yaml", "peer.log", "state"] {
        assert!(place.folder(4).join(file).exists(), "{file}");
    }
    let mode =
        |path: &str| fs::metadata(place.network().join(path)).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode("trial-peers-0/tls/tls.key"), 0o600);
    assert_eq!(mode("ca/ca.key"), 0o600);
    assert_eq!(mode(""), 0o700);

    supervisor.stop();
    assert!(!place.network().join("endpoints.json").exists());
}

#[test]
fn a_second_start_keeps_ca_certificates_and_ports() {
    let place = Place::new(2);
    let read = || {
        let files = ["ca/ca.crt", "trial-peers-1/tls/tls.crt", "trial-peers-1/peer.yaml"];
        files.map(|file| fs::read_to_string(place.network().join(file)).expect("there"))
    };
    let (supervisor, _) = place.start();
    let before = read();
    supervisor.stop();
    let (supervisor, _) = place.start();
    assert_eq!(read()[..2], before[..2]);
    supervisor.stop();
}

#[test]
fn a_killed_peer_returns_on_its_ports_and_the_others_stay() {
    let place = Place::new(3);
    let (mut supervisor, _) = place.start();
    let before = place.endpoints();
    kill(pids(&before)[1].1 as u32, Signal::KILL);
    let exited = supervisor.wait_for("exited", |it| it["peer"] == "trial-peers-1");
    assert_eq!(exited["how"], "was killed by signal 9");
    assert!(exited["restartInMs"].as_u64().is_some_and(|ms| ms <= 100), "{exited}");
    supervisor.wait_for("returned", |it| it["peer"] == "trial-peers-1");

    let after = place.endpoints();
    assert_ne!(after["peers"][1]["pid"], before["peers"][1]["pid"]);
    assert_eq!(after["peers"][1]["api"], before["peers"][1]["api"]);
    assert_eq!(after["peers"][0], before["peers"][0]);
    assert_eq!(after["peers"][2], before["peers"][2]);
    supervisor.stop();
}

#[test]
fn scaling_up_and_down_leaves_the_other_processes_alone() {
    let place = Place::new(2);
    let (mut supervisor, _) = place.start();
    let two = pids(&place.endpoints());

    place.write(4, "");
    let changing = supervisor.wait_for("changing", |_| true);
    assert_eq!(changing["added"], serde_json::json!(["trial-peers-2", "trial-peers-3"]));
    supervisor.wait_for("settled", |it| it["peers"] == 4);
    let four = pids(&place.endpoints());
    assert_eq!(four[..2], two);

    place.write(1, "");
    supervisor.wait_for("settled", |it| it["peers"] == 1);
    assert_eq!(pids(&place.endpoints()), two[..1]);
    assert_eq!(running(&place.network()), [two[0].1 as u32]);
    for ordinal in 1..4 {
        assert!(place.folder(ordinal).join("left").exists(), "peer {ordinal} was told that it leaves");
        assert!(place.folder(ordinal).join("tls/tls.key").exists(), "its identity stays");
    }

    let port = |ordinal| fs::read_to_string(place.folder(ordinal).join("peer.yaml")).expect("kept");
    let before = port(1);
    place.write(2, "");
    supervisor.wait_for("settled", |it| it["peers"] == 2);
    let listen =
        |text: &str| text.lines().filter(|line| line.contains("127.0.0.1")).map(str::to_owned).next();
    assert_eq!(listen(&port(1)), listen(&before));
    supervisor.stop();
}

#[test]
fn a_changed_configuration_restarts_the_peers_one_at_a_time() {
    let place = Place::new(3);
    let (mut supervisor, _) = place.start();
    let before = pids(&place.endpoints());
    place.write(3, "  log:\n    level: debug\n");
    let changing = supervisor.wait_for("changing", |_| true);
    assert_eq!(changing["restarted"].as_array().map(Vec::len), Some(3));
    for ordinal in 0..3 {
        let started = supervisor.wait_for("started", |_| true);
        assert_eq!(started["peer"], format!("trial-peers-{ordinal}"));
        assert!(running(&place.network()).len() >= 2, "nobody else is down while one restarts");
    }
    supervisor.wait_for("settled", |_| true);
    for (old, new) in before.iter().zip(pids(&place.endpoints())) {
        assert_ne!(old.1, new.1);
    }
    supervisor.stop();
}

#[test]
fn a_broken_manifest_is_explained_and_the_network_stays() {
    let place = Place::new(2);
    let (mut supervisor, _) = place.start();
    let before = place.endpoints();
    place.write_text("spec: [");
    supervisor.wait_for("manifest-rejected", |_| true);
    place.write(usize::MAX, "");
    let rejected = supervisor.wait_for("manifest-rejected", |_| true);
    let message = rejected["message"].as_str().expect("a sentence");
    assert!(message.contains("network.yaml is not valid") && message.contains("replicas"), "{message}");
    fs::remove_file(place.manifest()).expect("removed");
    let rejected = supervisor.wait_for("manifest-rejected", |_| true);
    assert!(rejected["message"].as_str().expect("a sentence").contains("cannot be read"), "{rejected}");
    assert_eq!(place.endpoints(), before);
    place.write(2, "");
    supervisor.wait_for("manifest-accepted", |it| it["peers"] == 2);

    place.write(3, "");
    supervisor.wait_for("settled", |it| it["peers"] == 3);
    let stderr = supervisor.stop();
    assert!(stderr.contains(message), "programs' users are told in words too: {stderr}");
}

#[test]
fn a_network_without_peers_is_ready_for_some() {
    let place = Place::new(0);
    let (mut supervisor, ready) = place.start();
    assert_eq!(ready["peers"].as_array().map(Vec::len), Some(0), "{ready}");
    place.write(1, "");
    supervisor.wait_for("ready", |it| it["peers"].as_array().is_some_and(|peers| peers.len() == 1));
    supervisor.stop();
}

#[test]
fn another_name_in_the_manifest_does_not_take_over_the_network() {
    let place = Place::new(1);
    let (mut supervisor, _) = place.start();
    let text = fs::read_to_string(place.manifest()).expect("read").replace("name: trial", "name: other");
    place.write_text(&text);
    let rejected = supervisor.wait_for("manifest-rejected", |_| true);
    assert!(
        rejected["message"].as_str().expect("a sentence").contains("metadata.name is now other"),
        "{rejected}"
    );
    supervisor.stop();
}

#[test]
fn a_second_supervisor_is_refused_by_name_of_the_first() {
    let place = Place::new(1);
    let (supervisor, _) = place.start();
    let (code, stderr) = place.run(&[]);
    assert_eq!(code, Some(4));
    let expected = format!("error: the network trial is already run by process {} from", supervisor.pid());
    assert!(stderr.starts_with(&expected), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
    supervisor.stop();
}

#[test]
fn no_peer_outlives_a_supervisor_that_is_killed() {
    let place = Place::new(3);
    let (mut supervisor, _) = place.start();
    supervisor.signal(Signal::KILL);
    supervisor.ended();
    until("peers end with their supervisor", || running(&place.network()).is_empty());
    let (supervisor, _) = place.start();
    supervisor.stop();
}

#[test]
fn a_peer_left_over_from_a_killed_supervisor_is_stopped_before_it_starts_again() {
    let place = Place::new(2);
    place.mark(1, "clingy");
    let (mut first, ready) = place.start();
    first.signal(Signal::KILL);
    first.ended();
    let left = pids(&ready)[1].1 as u32;
    until("the others end", || running(&place.network()) == [left]);

    let mut second = place.launch(&[]);
    let stopped = second.wait_for("leftover-stopped", |_| true);
    assert_eq!(stopped["peer"], "trial-peers-1");
    assert_eq!(stopped["pid"], left);
    second.wait_for("ready", |_| true);
    assert!(!running(&place.network()).contains(&left));
    assert_eq!(running(&place.network()).len(), 2);
    second.stop();
}

#[test]
fn ports_held_by_others_are_passed_over() {
    let place = Place::new(1);
    let (supervisor, ready) = place.start();
    supervisor.stop();
    let api = ready["peers"][0]["api"].as_str().expect("an address");
    let held = TcpListener::bind(api).expect("the stopped peer's port is free");
    let (supervisor, ready) = place.start();
    assert_ne!(ready["peers"][0]["api"], api);
    supervisor.stop();
    drop(held);
}

#[test]
fn a_peer_whose_port_is_taken_while_it_is_down_moves() {
    let place = Place::new(2);
    let (mut supervisor, ready) = place.start();
    let api = ready["peers"][1]["api"].as_str().expect("an address").to_owned();
    place.mark(1, "crash");
    kill(pids(&ready)[1].1 as u32, Signal::KILL);
    supervisor.wait_for("exited", |it| it["peer"] == "trial-peers-1");
    // The supervisor itself tries the port for a moment after each end.
    let mut held = None;
    until("the port is free while the peer is down", || {
        held = held.take().or_else(|| TcpListener::bind(&api).ok());
        held.is_some()
    });
    fs::remove_file(place.folder(1).join("crash")).expect("removed");
    let moved = supervisor.wait_for("moved", |it| it["peer"] == "trial-peers-1");
    supervisor.wait_for("returned", |it| it["peer"] == "trial-peers-1");
    let port = moved["port"].as_u64().expect("a port");
    assert_eq!(place.endpoints()["peers"][1]["peer"], format!("127.0.0.1:{port}"));
    supervisor.stop();
    drop(held);
}

#[test]
fn a_peer_that_keeps_ending_is_shown_with_its_last_words() {
    let place = Place::new(2);
    place.mark(1, "crash");
    let mut supervisor = place.launch(&[]);
    let looping = supervisor.wait_for("crash-loop", |_| true);
    assert_eq!(looping["peer"], "trial-peers-1");
    assert_eq!(looping["failures"], 3);
    let lines = looping["lines"].as_array().expect("lines");
    assert!(lines.iter().any(|line| line == "Error: the store is on fire"), "{lines:?}");

    fs::remove_file(place.folder(1).join("crash")).expect("mended");
    supervisor.wait_for("ready", |_| true);
    supervisor.stop();
}

#[test]
fn a_peer_that_does_not_join_is_named_after_the_deadline() {
    let place = Place::new(2);
    place.mark(1, "alone");
    let mut supervisor = place.launch(&["--join-deadline", "2"]);
    let late = supervisor.wait_for("not-linked", |_| true);
    assert_eq!(late["peers"].as_array().map(Vec::len), Some(1));
    assert_eq!(late["peers"][0]["peer"], "trial-peers-1");
    assert_eq!(late["peers"][0]["how"], "is linked to 0 of 1");
    assert_eq!(running(&place.network()).len(), 2, "the network stays");
    fs::remove_file(place.folder(1).join("alone")).expect("mended");
    supervisor.wait_for("ready", |_| true);
    supervisor.stop();
}

#[test]
fn a_late_network_ends_with_its_own_exit_code_when_asked_to() {
    let place = Place::new(2);
    place.mark(0, "alone");
    let (code, stderr) = place.run(&["--join-deadline", "1", "--exit-unless-linked"]);
    assert_eq!(code, Some(5), "{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: the network trial was not linked after 1 s"), "{stderr}");
    assert_eq!(running(&place.network()), Vec::<u32>::new());
}

#[test]
fn a_second_interrupt_kills_at_once() {
    let place = Place::new(2);
    place.mark(0, "stubborn");
    let (mut supervisor, ready) = place.start();
    let stubborn = pids(&ready)[0].1 as u32;
    supervisor.signal(Signal::INT);
    until("the other ends", || running(&place.network()) == [stubborn]);
    supervisor.signal(Signal::INT);
    let stopped = supervisor.wait_for("stopped", |_| true);
    assert_eq!(stopped["killed"], 1);
    assert!(stopped["seconds"].as_f64().is_some_and(|seconds| seconds < 10.0), "{stopped}");
    assert_eq!(supervisor.ended().code(), Some(130));
    assert_eq!(running(&place.network()), Vec::<u32>::new());
}

#[test]
fn bad_input_is_one_sentence_with_its_exit_code() {
    let place = Place::new(1);
    let (code, stderr) = place.run(&["--peer-binary", "/nowhere/sorcha-peer"]);
    assert_eq!(code, Some(2), "{stderr}");

    place.write_text("kind: [");
    let (code, stderr) = place.run(&[]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("network.yaml is not valid"), "{stderr}");

    fs::remove_file(place.manifest()).expect("removed");
    let (code, stderr) = place.run(&[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("network.yaml cannot be read: No such file"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}
