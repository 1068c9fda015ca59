//! A whole network in local mode, as a newcomer meets it.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use sorcha_e2e::network::{Network, kill, manifest};
use sorcha_e2e::{programs, wait};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_transaction_submitted_at_one_peer_arrives_at_all_five() -> anyhow::Result<()> {
    let network = Network::start("reach", 5)?;
    network.await_linked(5)?;
    let id = network.submit("peers-1", "hello")?;
    for peer in network.endpoints()? {
        network.await_held(&peer.name, std::slice::from_ref(&id), SOON)?;
        let said = network.cli(&peer.name, &["tail", "--raw", "--count", "1", "--from", "earliest"])?.ok()?;
        assert_eq!(said.out, b"hello", "at {}", peer.name);
    }
    Ok(())
}

#[test]
fn a_ten_mebibyte_file_is_read_byte_equal_at_another_peer() -> anyhow::Result<()> {
    let network = Network::start("large", 3)?;
    let file = network.path().join("body.bin");
    let mut state = 1_u64;
    let body: Vec<u8> = std::iter::repeat_with(|| {
        // Numerical Recipes' linear congruential generator: no chunk equals another.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(10 * 1024 * 1024)
    .collect();
    std::fs::File::create(&file)?.write_all(&body)?;
    let file = file.to_str().context("a UTF-8 path")?;
    network.cli("peers-0", &["submit", file])?.ok()?;
    let said = network
        .cli("peers-2", &["tail", "--raw", "--count", "1", "--from", "earliest", "--timeout", "60s"])?
        .ok()?;
    assert!(said.out == body, "{} bytes came back, not the same", said.out.len());
    Ok(())
}

#[test]
fn a_killed_peer_returns_with_identity_data_and_what_it_missed() -> anyhow::Result<()> {
    let network = Network::start("killed", 5)?;
    network.await_linked(5)?;
    let before = network.submit("peers-0", "before")?;
    network.await_held("peers-3", std::slice::from_ref(&before), SOON)?;
    let lived = network.status("peers-3")?;
    let victim = network.endpoints()?.into_iter().find(|peer| peer.name.ends_with("-3")).context("peer 3")?;
    kill(victim.pid, Signal::KILL);
    let missed = network.submit("peers-0", "missed")?;
    network.await_held("peers-3", &[before, missed], SOON)?;
    let status = network.status("peers-3")?;
    assert_eq!(status["uri"], lived["uri"]);
    let starts = |status: &serde_json::Value| status["incarnation"].as_u64();
    assert!(starts(&status) > starts(&lived), "each start has a later number");
    Ok(())
}

#[test]
fn scaling_from_five_to_eight_to_three_restarts_nobody_and_loses_nothing() -> anyhow::Result<()> {
    let network = Network::start("scale", 5)?;
    network.await_linked(5)?;
    let before = network.endpoints()?;
    let mut ids = vec![network.submit("peers-4", "at five")?];

    std::fs::write(network.manifest_file(), manifest("scale", 8))?;
    network.await_linked(8)?;
    ids.push(network.submit("peers-7", "at eight")?);
    network.await_held("peers-7", &ids, SOON)?;
    network.await_held("peers-0", &ids, SOON)?;
    let eight = network.endpoints()?;
    assert_eq!(eight[..5], before[..], "the first five are the same processes");

    std::fs::write(network.manifest_file(), manifest("scale", 3))?;
    network.await_linked(3)?;
    let three = network.endpoints()?;
    assert_eq!(three[..], before[..3], "the three that stay are the same processes");
    for peer in &three {
        network.await_held(&peer.name, &ids, SOON)?;
    }
    let gone: Vec<i32> = eight[3..].iter().map(|peer| peer.pid).collect();
    wait::until("the drained peers end", SOON, || {
        let left = programs::processes_in(network.path());
        left.iter().all(|(pid, _)| !gone.contains(pid)).then_some(())
    })?;
    Ok(())
}

#[test]
fn a_wrong_manifest_is_reported_and_the_network_stays() -> anyhow::Result<()> {
    let network = Network::start("wrong", 2)?;
    network.await_linked(2)?;
    let before = network.endpoints()?;
    std::fs::write(network.manifest_file(), manifest("wrong", 2).replace("replicas: 2", "replicas: many"))?;
    wait::until("the sentence", SOON, || network.supervisor_said().contains("replicas").then_some(()))?;
    network.submit("peers-1", "still here")?;
    assert_eq!(network.endpoints()?, before);
    Ok(())
}

#[test]
fn the_supervisors_end_is_every_peers_end() -> anyhow::Result<()> {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut network = Network::start("ends", 2)?;
        network.await_linked(2)?;
        network.signal(signal);
        let status = network.await_end()?;
        if signal != Signal::KILL {
            assert!(status.success(), "after {signal:?}: {status}: {}", network.supervisor_said());
        }
        wait::until("no process is left", SOON, || {
            programs::processes_in(network.path()).is_empty().then_some(())
        })
        .with_context(|| format!("{signal:?}: {:?}", programs::processes_in(network.path())))?;
    }
    Ok(())
}
