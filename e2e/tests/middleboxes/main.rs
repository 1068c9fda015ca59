//! Peers behind what companies put between them: real proxies, configured as people configure them, and middleboxes that do
//! what some do.

mod http_proxy;
mod proxies;
mod rude;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sorcha_e2e::peer::Solo;
use sorcha_e2e::ports::free_ports;
use sorcha_e2e::wait;

/// A link settles on a rung that holds within this.
const SETTLES: Duration = Duration::from_secs(20);

/// The only link of a peer, where it has one.
fn link(peer: &Solo) -> Option<Value> {
    let peers = peer.cli(&["peers", "-o", "json"]).ok()?.json().ok()?;
    let linked = |peer: &&Value| peer["transport"].as_str().is_some_and(|rung| !rung.is_empty());
    peers["peers"].as_array()?.iter().find(linked).cloned()
}

/// Alice and bob, who know no way to each other but through this port, and bob none to alice.
fn apart() -> anyhow::Result<(Solo, Solo, u16)> {
    let bob = Solo::prepare("bob")?;
    let alice = bob.beside("alice")?;
    let [port, ..] = free_ports()?;
    alice.configure(&format!(
        "bootstrap: {{addresses: ['127.0.0.1:{port}']}}\nadvertise: ['127.0.0.1:1']\n"
    ))?;
    bob.configure(&format!("advertise: ['127.0.0.1:{port}']\n"))?;
    Ok((alice, bob, port))
}

/// How long it takes until a peer's link is on this rung.
fn await_rung_within(peer: &Solo, rung: &str, limit: Duration) -> anyhow::Result<Duration> {
    let began = Instant::now();
    wait::until(&format!("a link on the rung '{rung}'"), limit, || {
        link(peer).filter(|link| link["transport"] == rung)
    })
    .with_context(|| peer.log())?;
    Ok(began.elapsed())
}

fn await_rung(peer: &Solo, rung: &str) -> anyhow::Result<Duration> {
    await_rung_within(peer, rung, SETTLES)
}

/// The same, and no longer than it may be until a link settles behind whatever is in the way.
fn settle(peer: &Solo, rung: &str) -> anyhow::Result<Duration> {
    let settled = await_rung(peer, rung)?;
    ensure!(settled < Duration::from_secs(10), "it took {settled:?}");
    Ok(settled)
}

/// The link of before stands, and has stood all the time.
fn still_stands(peer: &Solo, before: &Value) -> anyhow::Result<Value> {
    let now = link(peer).context("a link")?;
    ensure!(now["linkedSinceUnixMs"] == before["linkedSinceUnixMs"], "it is another: {before} {now}");
    Ok(now)
}

/// Each submits some, and both hold all of them.
fn exchange(alice: &Solo, bob: &Solo, before: u64, count: u64) -> anyhow::Result<()> {
    for number in 0..count {
        for peer in [alice, bob] {
            peer.submit(&format!("{number}"))?.ok()?;
        }
    }
    for peer in [alice, bob] {
        wait::until("all transactions are there", SETTLES, || {
            let status = peer.cli(&["status", "-o", "json"]).ok()?.json().ok()?;
            (status["transactions"] == before + 2 * count).then_some(())
        })
        .with_context(|| peer.log())?;
    }
    Ok(())
}

/// Each transaction that a peer holds stands once in what its subscribers get, and there are as many as were submitted.
fn each_once(peer: &Solo, count: u64) -> anyhow::Result<()> {
    let count_text = count.to_string();
    let tail = ["tail", "--from", "earliest", "--count", &count_text, "-o", "json", "--timeout", "30s"];
    let said = peer.cli(&tail)?.ok()?;
    let text = String::from_utf8(said.out)?;
    let lines = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let distinct: BTreeSet<&str> = lines.iter().filter_map(|line| line["id"].as_str()).collect();
    ensure!(distinct.len() as u64 == count, "{count} were submitted, {} came: {text}", distinct.len());
    let status = peer.cli(&["status", "-o", "json"])?.json()?;
    ensure!(status["transactions"] == count, "{status}");
    Ok(())
}
