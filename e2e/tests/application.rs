//! What an application developer meets, with real peers: acknowledgement levels, states, streams.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use sorcha_e2e::network::{Network, kill};
use sorcha_e2e::{plain, wait};

const SOON: Duration = Duration::from_secs(30);

fn json(text: &[u8]) -> anyhow::Result<serde_json::Value> {
    Ok(serde_json::from_slice(text)?)
}

#[test]
fn a_submission_waits_for_holders_and_says_how_many_there_are() -> anyhow::Result<()> {
    let network = Network::start("holders", 3)?;
    network.await_linked(3)?;
    let submit = ["submit", "--text", "held", "--ack", "2", "--wait", "30s", "-o", "json"];
    let said = json(&network.cli("peers-0", &submit)?.ok()?.out)?;
    assert_eq!((&said["holders"], &said["pending"]), (&2.into(), &false.into()));

    // One of two others is gone: only one can hold it, and the submission is accepted all the same.
    let frozen = network.endpoints()?.into_iter().find(|peer| peer.name.ends_with("-2")).context("peer 2")?;
    kill(frozen.pid, Signal::STOP);
    let submit = ["submit", "--text", "half", "--ack", "2", "--wait", "3s", "-o", "json"];
    let ran = network.cli("peers-0", &submit)?;
    kill(frozen.pid, Signal::CONT);
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    assert!(ran.err.contains("is accepted and durable at this peer"), "{}", ran.err);
    let said = json(&ran.out)?;
    assert_eq!((&said["holders"], &said["pending"]), (&1.into(), &true.into()));
    let id = said["id"].as_str().context("an id")?;
    let held = ["holders", id, "--wanted", "2", "--wait", "30s"];
    network.cli("peers-0", &held)?.ok().context("the other one gets it when it goes on")?;
    Ok(())
}

#[test]
fn a_lone_peer_is_offline_keeps_what_it_accepts_and_comes_back_online() -> anyhow::Result<()> {
    let network = Network::start("offline", 2)?;
    network.await_linked(2)?;
    let other = network.endpoints()?.into_iter().find(|peer| peer.name.ends_with("-1")).context("peer 1")?;
    kill(other.pid, Signal::STOP);
    wait::until("it is offline", SOON, || {
        let status = network.status("peers-0").ok()?;
        (status["state"] == "offline").then_some(())
    })?;
    let ran = network.cli("peers-0", &["submit", "--text", "kept", "--ack", "1", "--wait", "1s"])?;
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    let listed = json(&network.cli("peers-0", &["outbox", "list", "-o", "json"])?.ok()?.out)?;
    let entries = listed["entries"].as_array().context("entries")?;
    assert_eq!(entries.len(), 1, "{listed}");
    assert_eq!(entries[0]["undeliverable"], "", "being offline is no fault of a transaction");
    kill(other.pid, Signal::CONT);
    wait::until("it is online and the outbox is empty", SOON, || {
        let status = network.status("peers-0").ok()?;
        (status["state"] == "online" && status["outbox"] == 0).then_some(())
    })?;
    Ok(())
}

#[test]
fn a_stream_over_http_delivers_what_others_publish() -> anyhow::Result<()> {
    let network = Network::start("streams", 2)?;
    network.await_linked(2)?;
    let id = network.submit("peers-1", "over http")?;
    network.await_held("peers-0", std::slice::from_ref(&id), SOON)?;
    let peer = network.endpoints()?.into_iter().find(|peer| peer.name.ends_with("-0")).context("peer 0")?;
    let (code, cursors) = plain::ask(&peer.api, "/v1/cursors").context("it answers")?;
    assert_eq!((code, cursors.contains("\"cursors\":[]")), (200, true), "{cursors}");
    let tail = [
        "tail",
        "--cursor",
        "app",
        "--origin",
        "streams-peers-1",
        "--count",
        "1",
        "--raw",
        "--timeout",
        "20s",
    ];
    let said = network.cli("peers-0", &tail)?.ok()?;
    assert_eq!(said.out, b"over http");
    let said = network.cli("peers-0", &["cursors", "show", "app", "-o", "json"])?.ok()?;
    assert_eq!(json(&said.out)?["behind"], 0);
    Ok(())
}
