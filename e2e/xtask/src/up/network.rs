//! A network under the operator's local mode, as seen from outside: its events, its files, its peers' REST APIs.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Programs, http};
use crate::processes;

/// From the start to all peers linked, and every other wait for the network, unless said otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// The operator's deadline for stopping its peers is 10 s each, all at once.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks at the peers.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Lines of the operator that wait to be read; it says a few per peer.
const LINES_QUEUED_MAX: usize = 4096;

/// One peer by `endpoints.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) pid: Option<i32>,
    /// `host:port` of its local API.
    pub(super) api: String,
}

impl Peer {
    /// Its status page.
    pub(super) fn status(&self) -> Result<Value> {
        http::get(&self.api, "/v1/status")?.json()
    }

    /// Whether it holds a transaction.
    pub(super) fn holds(&self, id: &str) -> bool {
        http::get(&self.api, &format!("/v1/transactions/{id}")).is_ok_and(|answer| answer.code == 200)
    }
}

/// A running operator; dropping it ends it and all its peers.
#[derive(Debug)]
pub(super) struct Network {
    operator: Child,
    lines: Receiver<String>,
    errors: PathBuf,
    state: PathBuf,
    peer_program: PathBuf,
    /// When it was started.
    pub(super) started: Instant,
}

impl Network {
    /// Starts the operator over a manifest.
    pub(super) fn start(programs: &Programs, file: &Path, state: &Path, errors: &Path) -> Result<Self> {
        let started = Instant::now();
        let mut operator = Command::new(&programs.operator)
            .args(["local", "--output", "json", "--file"])
            .arg(file)
            .arg("--state-dir")
            .arg(state)
            .arg("--peer-binary")
            .arg(&programs.peer)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(errors)?)
            .spawn()
            .with_context(|| format!("{} does not start", programs.operator.display()))?;
        let out = BufReader::new(operator.stdout.take().expect("standard output is piped"));
        let (sender, lines) = sync_channel(LINES_QUEUED_MAX);
        std::thread::spawn(move || out.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let (errors, state) = (errors.to_owned(), state.to_owned());
        Ok(Self { operator, lines, errors, state, peer_program: programs.peer.clone(), started })
    }

    /// Waits for an event of the operator's.
    pub(super) fn await_event(&mut self, name: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let event: Value = serde_json::from_str(&line).unwrap_or_default();
                    if event["event"] == name {
                        return Ok(());
                    }
                    // It would go on trying for ever.
                    ensure!(
                        event["event"] != "crash-loop",
                        "{} keeps ending. {}",
                        event["peer"],
                        self.complaints()
                    );
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("no event `{name}` within 60 s. {}", self.complaints())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the operator has ended. {}", self.complaints()),
            }
        }
    }

    /// What the operator wrote to standard error, and where its peers log.
    fn complaints(&self) -> String {
        let said = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let tail: Vec<&str> = said.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        format!("It said:\n{}", tail.join("\n"))
    }

    fn endpoints_file(&self) -> Result<PathBuf> {
        let below =
            std::fs::read_dir(&self.state)?.flatten().map(|entry| entry.path().join("endpoints.json"));
        let mut candidates = std::iter::once(self.state.join("endpoints.json")).chain(below);
        let found = candidates.find(|file| file.is_file());
        found.with_context(|| format!("no endpoints.json below {}", self.state.display()))
    }

    /// All peers, by the operator's file.
    pub(super) fn peers(&self) -> Result<Vec<Peer>> {
        let file = self.endpoints_file()?;
        let text = std::fs::read_to_string(&file)?;
        let value: Value =
            serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let peers = value["peers"].as_array().context("endpoints.json lists no peers")?;
        let pid = |peer: &Value| peer["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        Ok(peers
            .iter()
            .map(|peer| Peer { name: text(&peer["name"]), pid: pid(peer), api: text(&peer["api"]) })
            .collect())
    }

    /// Waits until every peer says that it is linked to all others; how long after the start that was.
    pub(super) fn await_linked(&self) -> Result<Duration> {
        self.until("all peers linked to one another", || {
            let peers = self.peers().ok()?;
            let others = peers.len() as u64 - 1;
            let linked = |peer: &Peer| peer.status().is_ok_and(|status| status["peersLinked"] == others);
            peers.iter().all(linked).then(|| self.started.elapsed())
        })
    }

    /// Looks until there is something to see.
    pub(super) fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(seen) = look() {
                return Ok(seen);
            }
            ensure!(Instant::now() < deadline, "not within 60 s: {what}. {}", self.complaints());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Submits a text by the command line, as the README says; its id.
    pub(super) fn submit_by_cli(&self, peer: &Peer, text: &str) -> Result<String> {
        let done = Command::new(&self.peer_program)
            .arg("--endpoints")
            .arg(self.endpoints_file()?)
            .args(["--peer", &peer.name, "submit", "--text", text, "--output", "json"])
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            done.status.success(),
            "`sorcha-peer --peer {} submit` failed: {}",
            peer.name,
            String::from_utf8_lossy(&done.stderr).trim()
        );
        let said: Value = serde_json::from_slice(&done.stdout).context("`submit -o json` prints no JSON")?;
        Ok(said["id"].as_str().context("`submit -o json` prints no id")?.to_owned())
    }

    /// Stops the operator as Ctrl-C does; fails where a process is left.
    pub(super) fn stop(mut self) -> Result<()> {
        let family = self.family();
        processes::signal(self.operator.id().cast_signed(), Signal::INT);
        let deadline = Instant::now() + STOP_WITHIN;
        let status = loop {
            if let Some(status) = self.operator.try_wait()? {
                break status;
            }
            ensure!(
                Instant::now() < deadline,
                "the operator does not stop within 30 s. {}",
                self.complaints()
            );
            std::thread::sleep(Duration::from_millis(10));
        };
        ensure!(status.success(), "the operator ended with {status}. {}", self.complaints());
        let left = processes::running(&family);
        ensure!(left.is_empty(), "processes are left after the operator ended: {left:?}");
        Ok(())
    }

    /// Every process that belongs to the network: descendants, and whoever works in its directory.
    fn family(&self) -> BTreeSet<i32> {
        let mut family = processes::descendants(self.operator.id());
        family.extend(processes::with_command_line(&self.state.to_string_lossy()));
        family.remove(&self.operator.id().cast_signed());
        family
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if matches!(self.operator.try_wait(), Ok(Some(_))) {
            return;
        }
        let family = self.family();
        processes::signal(self.operator.id().cast_signed(), Signal::TERM);
        let deadline = Instant::now() + STOP_WITHIN;
        while matches!(self.operator.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        processes::kill_tree(&mut self.operator);
        for pid in processes::wait_gone(&family, Instant::now() + Duration::from_secs(1)) {
            processes::signal(pid, Signal::KILL);
        }
    }
}
