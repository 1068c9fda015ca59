//! Ten peers under Docker Compose, as `e2e/compose.yaml` says: started from nothing, used, ended.
//!
//! Runs where a container engine answers, with Compose as its plugin or as `docker-compose`, and where
//! `cargo xtask image peer` has been run; elsewhere it is skipped.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;
use sorcha_e2e::cluster::clone;
use sorcha_e2e::figure;
use sorcha_e2e::programs::{self, Said};
use sorcha_e2e::{image, skip, wait};

/// Peers in the file.
const PEERS: usize = 10;

/// How long the ten may take on a busy machine.
const LINKED: Duration = Duration::from_secs(120);

/// A project of the test's own; dropping it removes containers, networks and volumes.
struct Project {
    compose: Vec<&'static str>,
    name: String,
    /// Ids of the peers' containers, by their numbers.
    containers: Vec<String>,
}

impl Project {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.compose[0]);
        command
            .args(&self.compose[1..])
            .args(["-p", &self.name, "-f", &clone("e2e/compose.yaml")])
            .args(args);
        command.env_remove("SORCHA_PEER_IMAGE").stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> anyhow::Result<Said> {
        programs::run(&mut self.command(args))?.ok()
    }

    /// Starts everything.
    fn up(&mut self) -> anyhow::Result<()> {
        self.run(&["up", "-d"])?;
        let id = |number| Ok(self.run(&["ps", "-q", &format!("peer-{number}")])?.text().trim().to_owned());
        self.containers = (0..PEERS).map(id).collect::<anyhow::Result<_>>()?;
        Ok(())
    }

    /// `sorcha-peer ARGS` in a peer's container.
    fn peer(&self, number: usize, args: &[&str]) -> anyhow::Result<Said> {
        let mut exec = Command::new("docker");
        exec.args(["exec", &self.containers[number], "/sorcha-peer"]).args(args);
        programs::run(&mut exec)?.ok()
    }

    fn status(&self, number: usize) -> anyhow::Result<Value> {
        self.peer(number, &["status", "-o", "json"])?.json()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        drop(self.run(&["down", "--volumes", "--timeout", "10"]));
    }
}

/// How Compose is called here; an error says what is missing.
fn compose() -> Result<Vec<&'static str>, &'static str> {
    let works = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        programs::run(command.args(&words[1..])).is_ok_and(|said| said.code == Some(0))
    };
    if !works(&["docker", "info"]) {
        return Err("no container engine answers: start one, such as dockerd");
    }
    if works(&["docker", "compose", "version"]) {
        return Ok(vec!["docker", "compose"]);
    }
    if works(&["docker-compose", "version"]) {
        return Ok(vec!["docker-compose"]);
    }
    Err("the container engine has no Compose: install its plugin, or docker-compose")
}

#[test]
fn ten_peers_under_compose_link_and_pass_a_transaction_on() -> anyhow::Result<()> {
    let test = "ten_peers_under_compose_link_and_pass_a_transaction_on";
    let compose = match compose() {
        Ok(compose) => compose,
        Err(reason) => skip!(test, reason),
    };
    let Some(archive) = image::archive("sorcha-peer", "docker") else {
        skip!(test, image::MISSING);
    };
    let mut load = Command::new("docker");
    programs::run(load.arg("load").arg("-i").arg(archive))?.ok()?;
    let name = format!("sorcha-{}", std::process::id());
    let mut project = Project { compose, name, containers: Vec::new() };
    let began = Instant::now();
    project.up()?;
    let linked = wait::until("ten peers are linked to one another", LINKED, || {
        let all = (0..PEERS).all(|number| {
            project.status(number).is_ok_and(|status| status["peersLinked"] == PEERS as u64 - 1)
        });
        all.then_some(())
    });
    linked
        .with_context(|| project.run(&["logs", "--tail", "5"]).map(|said| said.text()).unwrap_or_default())?;
    figure(test, &format!("ten peers linked {:.1} s after `up`", began.elapsed().as_secs_f64()))?;

    let said = project.peer(0, &["submit", "--text", "through ten containers", "-o", "json"])?.json()?;
    let id = said["id"].as_str().context("submit prints an id")?;
    for number in 0..PEERS {
        let read =
            project.peer(number, &["tail", "--count", "1", "--timeout", "30s", "-o", "json"])?.json()?;
        anyhow::ensure!(read["id"] == id, "peer-{number} shows another transaction: {read}");
    }

    // Again from what is there: certificates are kept, and so is what the peers hold.
    project.run(&["down", "--timeout", "10"])?;
    project.up()?;
    let held = wait::until("every peer has it after a new start", LINKED, || {
        (0..PEERS)
            .all(|number| project.status(number).is_ok_and(|status| status["transactions"] == 1))
            .then_some(())
    });
    held.with_context(|| project.run(&["logs", "--tail", "5"]).map(|said| said.text()).unwrap_or_default())?;
    let issued = project.run(&["logs", "certificates"])?.text();
    anyhow::ensure!(issued.contains("10 kept"), "certificates were issued anew: {issued}");
    Ok(())
}
