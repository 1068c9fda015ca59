//! Faults under load, made to real processes: nothing that was acknowledged is lost, and all stores are equal in the end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::Signal;
use sorcha_e2e::network::{Endpoint, Network, kill};
use sorcha_e2e::{figure, load, plain, skip, wait};

/// How long a debug build on a busy machine may take to bring everything everywhere.
const HEALED: Duration = Duration::from_secs(180);

/// More by `SORCHA_CHAOS_ROUNDS=100 cargo xtask test chaos`.
fn rounds() -> u32 {
    std::env::var("SORCHA_CHAOS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

fn peer(network: &Network, name: &str) -> anyhow::Result<Endpoint> {
    network
        .endpoints()?
        .into_iter()
        .find(|peer| peer.name.ends_with(name))
        .with_context(|| format!("there is no {name}"))
}

/// Submits at these peers while `faults` are made; answers what was acknowledged.
fn under_load(
    origins: &[Endpoint],
    faults: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<String>> {
    static STRETCHES: AtomicUsize = AtomicUsize::new(0);
    let stretch = STRETCHES.fetch_add(1, Ordering::Relaxed);
    let (acknowledged, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let outcome = std::thread::scope(|scope| {
        for origin in origins {
            let (acknowledged, stop) = (&acknowledged, &stop);
            // A key that was used before would stand for the transaction of that time.
            let name = format!("{}-{stretch}", origin.name);
            scope.spawn(move || load::keep_submitting(&origin.api, &name, stop, acknowledged));
        }
        let outcome = faults();
        stop.store(true, Ordering::Relaxed);
        outcome
    });
    outcome?;
    Ok(acknowledged.into_inner().expect("no holder panics"))
}

/// Everything that was acknowledged is at every peer; all stores are whole and equal.
fn all_is_everywhere(test: &str, network: Network, ids: &[String]) -> anyhow::Result<()> {
    let healing = Instant::now();
    let held = network.await_equal(ids.len() as u64, HEALED)?;
    let took = healing.elapsed();
    for peer in network.endpoints()? {
        let held: std::collections::BTreeSet<String> = network.held(&peer.name)?.into_iter().collect();
        let lost: Vec<&String> = ids.iter().filter(|id| !held.contains(*id)).collect();
        anyhow::ensure!(
            lost.is_empty(),
            "{} lost {} acknowledged transactions: {lost:?}",
            peer.name,
            lost.len()
        );
    }
    let stored = network.stop_and_compare()?;
    anyhow::ensure!(stored == held, "{stored} transactions in the stores, {held} a moment before");
    figure(
        test,
        &format!("{} acknowledged, {stored} held by all, equal after {:.1} s", ids.len(), took.as_secs_f32()),
    )
}

#[test]
fn sigkill_at_random_moments_loses_nothing_acknowledged() -> anyhow::Result<()> {
    let test = "sigkill_at_random_moments_loses_nothing_acknowledged";
    let network = Network::start("chaos", 5)?;
    network.await_linked(5)?;
    let mut kills = 0;
    let ids = under_load(&network.endpoints()?, || {
        let mut moment = 7_u64;
        for _ in 0..rounds() {
            moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            std::thread::sleep(Duration::from_millis(300 + (moment >> 33) % 900));
            let peers = network.endpoints()?;
            // Two at once, every fourth time.
            for victim in 0..=usize::from((moment >> 50).is_multiple_of(4)) {
                kill(peers[((moment >> 40) as usize + victim) % peers.len()].pid, Signal::KILL);
                kills += 1;
            }
        }
        Ok(())
    })?;
    assert!(ids.len() > 10, "only {} were acknowledged", ids.len());
    figure(test, &format!("{} rounds, {kills} kills", rounds()))?;
    network.await_linked(5)?;
    all_is_everywhere(test, network, &ids)
}

#[test]
fn a_peer_that_was_away_catches_up_with_thousands() -> anyhow::Result<()> {
    let test = "a_peer_that_was_away_catches_up_with_thousands";
    let network = Network::start("outage", 3)?;
    network.await_linked(3)?;
    let mut away = peer(&network, "peers-2")?;
    let origins = [peer(&network, "peers-0")?, peer(&network, "peers-1")?];
    let mut ids = Vec::new();
    // Frozen: the machine answers nothing, connections stay. Then gone: it starts anew.
    for signal in [Signal::STOP, Signal::KILL] {
        kill(away.pid, Signal::STOP);
        let lasts = if rounds() >= 50 { 60 } else { 20 };
        ids.extend(under_load(&origins, || {
            std::thread::sleep(Duration::from_secs(lasts));
            Ok(())
        })?);
        kill(away.pid, if signal == Signal::STOP { Signal::CONT } else { Signal::KILL });
        let back = Instant::now();
        wait::until("the peer has caught up", HEALED, || {
            let status = network.status("peers-2").ok()?;
            (status["transactions"].as_u64()? >= ids.len() as u64).then_some(())
        })?;
        figure(
            test,
            &format!(
                "{} transactions after {lasts} s away, caught up in {:.1} s",
                ids.len(),
                back.elapsed().as_secs_f32()
            ),
        )?;
        away = peer(&network, "peers-2")?;
    }
    assert!(ids.len() > 200, "only {} were acknowledged", ids.len());
    all_is_everywhere(test, network, &ids)
}

/// A small file system of its own, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, megabytes: u32) -> Option<Self> {
        let options = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "sorcha-small-disk"])
            .arg(at)
            .stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }

    /// Fills it up but for about so many bytes.
    fn fill(&self, but: u64) -> anyhow::Result<PathBuf> {
        let file = self.0.join("filler");
        let free = rustix::fs::statvfs(&self.0)?;
        let length = (free.f_bavail * free.f_frsize).saturating_sub(but);
        std::fs::write(&file, vec![1; length as usize])?;
        Ok(file)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() -> anyhow::Result<()> {
    let test = "a_full_disk_refuses_and_recovers_by_itself";
    let network = Network::start("full", 3)?;
    network.await_linked(3)?;
    let victim = peer(&network, "peers-1")?;
    let Some(disk) = SmallDisk::mount(&victim.directory.join("state"), 24) else {
        skip!(test, "mounting a tmpfs needs root");
    };
    // It starts again, on the small disk, with nothing.
    kill(victim.pid, Signal::KILL);
    let mut ids = vec![network.submit("peers-0", "before")?];
    wait::until("the peer runs on the small disk", HEALED, || {
        disk.0.join("store.redb").is_file().then_some(())?;
        (network.status("peers-1").ok()?["transactions"].as_u64()? >= 1).then_some(())
    })?;
    network.await_linked(3)?;
    let api = peer(&network, "peers-1")?.api;

    let filler = disk.fill(256 * 1024)?;
    let body = vec![7; 200 * 1024];
    let refusal = wait::until("a submission is refused for want of space", HEALED, || {
        let answer = load::submit(&api, None, &body).ok()?;
        if answer.code < 300 {
            ids.push(answer.json()["id"].as_str()?.to_owned());
            return None;
        }
        Some(answer)
    })?;
    assert_eq!(refusal.code, 507, "{}", refusal.body);
    let detail = refusal.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("full"), "the refusal says why: {}", refusal.body);

    // It reads on, and the others go on.
    let read = plain::ask(&api, &format!("/v1/transactions/{}", ids[0])).context("it answers")?;
    assert_eq!(read.0, 200, "{}", read.1);
    let meanwhile: Vec<String> = (0..20)
        .map(|number| network.submit("peers-0", &format!("meanwhile {number}")))
        .collect::<Result<_, _>>()?;
    network.await_held("peers-2", &meanwhile, HEALED)?;
    let pid = peer(&network, "peers-1")?.pid;
    ids.extend(meanwhile);

    std::fs::remove_file(filler)?;
    let accepted = wait::until("submissions are accepted again", HEALED, || {
        load::submit(&api, None, b"after").ok().filter(|answer| answer.code < 300)
    })?;
    ids.push(accepted.json()["id"].as_str().context("an id")?.to_owned());
    assert_eq!(peer(&network, "peers-1")?.pid, pid, "it recovered by itself, without a start");
    all_is_everywhere(test, network, &ids)
}
