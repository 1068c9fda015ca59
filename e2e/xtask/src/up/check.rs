//! `up --check`: what the README promises, done once, with one line of figures.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::network::{Network, Peer};
use super::{Programs, http};
use crate::processes;
use crate::shell::{complain, say};

/// A network that has been built before is linked again within this (bar of this version).
const LINKED_AGAIN_WITHIN: Duration = Duration::from_secs(3);

/// Transactions whose way to all peers is timed.
const TIMED: usize = 20;

/// All of it. The temporary directory goes with success; after a failure it stays, with the logs of all peers.
pub(super) fn run(programs: &Programs, file: &Path, state: Option<&Path>) -> Result<()> {
    let scratch =
        tempfile::Builder::new().prefix("sorcha-up-").tempdir().context("no temporary directory")?;
    let state = state.map_or_else(|| scratch.path().join("state"), Path::to_path_buf);
    let outcome = check(programs, file, &state, &scratch.path().join("operator.err"));
    if outcome.is_err() {
        complain(&format!("State and logs of the failed check are kept in {}.", scratch.keep().display()));
    }
    outcome
}

fn check(programs: &Programs, file: &Path, state: &Path, errors: &Path) -> Result<()> {
    say("Checking: start, submit, kill a peer, see it return, start again (about ten seconds).");
    let mut network = Network::start(programs, file, state, errors)?;
    network.await_event("ready")?;
    let linked = network.await_linked()?;
    let peers = network.peers()?;
    ensure!(peers.len() >= 3, "{} describes {} peers; the check needs 3", file.display(), peers.len());

    let first = network.submit_by_cli(&peers[0], "hello")?;
    await_held(&network, &peers, &first)?;
    let spread = time_spread(&network, &peers)?;
    let back = kill_and_return(&network, &peers, &first)?;
    network.stop().context("stopping the network")?;

    let mut again = Network::start(programs, file, state, errors)?;
    again.await_event("ready")?;
    let linked_again = again.await_linked().context("at the second start")?;
    await_held(&again, &again.peers()?, &first).context("after the second start")?;
    again.stop().context("stopping the network after the second start")?;

    say(&format!(
        "ok: {} peers linked in {:.2} s, at the second start in {:.2} s; a transaction at all of them in {:.1} ms \
         (median of {TIMED}, longest {:.1} ms); a killed peer back in {:.2} s with identity, data and the \
         transaction missed meanwhile; no process left",
        peers.len(),
        linked.as_secs_f64(),
        linked_again.as_secs_f64(),
        millis(spread[spread.len() / 2]),
        millis(spread[spread.len() - 1]),
        back.as_secs_f64(),
    ));
    ensure!(
        linked_again < LINKED_AGAIN_WITHIN,
        "the second start took {:.2} s until all were linked; the bar is {} s",
        linked_again.as_secs_f64(),
        LINKED_AGAIN_WITHIN.as_secs()
    );
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn await_held(network: &Network, peers: &[Peer], id: &str) -> Result<()> {
    for peer in peers {
        network.until(&format!("{} holds {id}", peer.name), || peer.holds(id).then_some(()))?;
    }
    Ok(())
}

/// From before a submission over REST until the last peer serves the transaction, sorted.
fn time_spread(network: &Network, peers: &[Peer]) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(TIMED);
    for number in 0..TIMED {
        let origin = &peers[number % peers.len()];
        let started = Instant::now();
        let answer =
            http::post(&origin.api, "/v1/transactions", format!("timed {number}").as_bytes())?.json()?;
        let id = answer["id"].as_str().context("the answer to a submission has no id")?;
        await_held(network, peers, id)?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times)
}

/// Kills the last peer, submits at the first meanwhile; how long until the killed one has everything again.
fn kill_and_return(network: &Network, peers: &[Peer], before: &str) -> Result<Duration> {
    let (origin, victim) = (&peers[0], &peers[peers.len() - 1]);
    let status = victim.status()?;
    let pid = network.peers()?.into_iter().find(|peer| peer.name == victim.name).and_then(|peer| peer.pid);
    let pid = pid.with_context(|| format!("endpoints.json names no process of {}", victim.name))?;
    let killed = Instant::now();
    processes::signal(pid, Signal::KILL);
    let missed = network.submit_by_cli(origin, "missed meanwhile")?;
    let returned = network.until(&format!("{} is back after SIGKILL", victim.name), || {
        let now = victim.status().ok()?;
        (now["incarnation"] != status["incarnation"]).then_some(now)
    })?;
    ensure!(
        returned["uri"] == status["uri"],
        "{} came back as {}, it was {}",
        victim.name,
        returned["uri"],
        status["uri"]
    );
    ensure!(victim.holds(before), "{} came back without what it held", victim.name);
    await_held(network, std::slice::from_ref(victim), &missed)?;
    let back = killed.elapsed();
    network.await_linked().context("after the killed peer came back")?;
    Ok(back)
}
