//! A network in local mode: `sorcha-operator local` over a manifest in a temporary directory.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::programs::{self, Said};
use crate::wait;

/// How long a network may take to be linked under a debug build on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// A running supervisor with its peers; dropping it stops them.
pub struct Network {
    directory: tempfile::TempDir,
    supervisor: Child,
    events: Arc<Mutex<Vec<Value>>>,
}

/// One line of `endpoints.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Peer name.
    pub name: String,
    /// Process.
    pub pid: i32,
    /// Local API.
    pub api: String,
    /// Metrics and health.
    pub admin: String,
    /// State, certificates, log.
    pub directory: PathBuf,
}

/// A manifest as short as it gets.
pub fn manifest(name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: sorcha.org/v1alpha1\nkind: SorchaPeerNetwork\nmetadata:\n  name: {name}\nspec:\n  replicas: {replicas}\n"
    )
}

impl Network {
    /// Starts a network and waits until its supervisor says that it is ready.
    pub fn start(name: &str, replicas: u32) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("sorcha-e2e-").tempdir()?;
        std::fs::write(directory.path().join("network.yaml"), manifest(name, replicas))?;
        Self::start_in(directory)
    }

    /// Starts the network whose `network.yaml` lies in a directory.
    pub fn start_in(directory: tempfile::TempDir) -> anyhow::Result<Self> {
        let mut supervisor = programs::command("sorcha-operator")
            .args(["local", "--output", "json", "--file"])
            .arg(directory.path().join("network.yaml"))
            .arg("--state-dir")
            .arg(directory.path().join("state"))
            .arg("--peer-binary")
            .arg(programs::directory().join("sorcha-peer"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(directory.path().join("supervisor.err"))?)
            .spawn()
            .context("sorcha-operator could not be started")?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(supervisor.stdout.take().context("stdout is piped")?).lines();
        let sink = Arc::clone(&events);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    sink.lock().expect("no holder panics").push(event);
                }
            }
        });
        let mut network = Self { directory, supervisor, events };
        network.await_event("ready")?;
        Ok(network)
    }

    /// Waits for an event of the supervisor's.
    pub fn await_event(&mut self, name: &str) -> anyhow::Result<Value> {
        let events = Arc::clone(&self.events);
        let found = wait::until(&format!("event '{name}'"), READY, || {
            let events = events.lock().expect("no holder panics");
            let found = events.iter().find(|event| event["event"] == name).cloned();
            if found.is_none()
                && let Ok(Some(status)) = self.supervisor.try_wait()
            {
                return Some(Err(status));
            }
            found.map(Ok)
        });
        match found {
            Ok(Ok(event)) => Ok(event),
            Ok(Err(status)) => {
                anyhow::bail!("the supervisor ended with {status}: {}", self.supervisor_said())
            }
            Err(error) => Err(error.context(self.supervisor_said())),
        }
    }

    /// Everything that the supervisor wrote to standard error.
    pub fn supervisor_said(&self) -> String {
        std::fs::read_to_string(self.path().join("supervisor.err")).unwrap_or_default()
    }

    /// The test's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The manifest's file.
    pub fn manifest_file(&self) -> PathBuf {
        self.path().join("network.yaml")
    }

    /// `endpoints.json`, wherever below the state directory it lies.
    pub fn endpoints_file(&self) -> anyhow::Result<PathBuf> {
        let state = self.path().join("state");
        let direct = state.join("endpoints.json");
        if direct.is_file() {
            return Ok(direct);
        }
        for entry in std::fs::read_dir(&state)? {
            let file = entry?.path().join("endpoints.json");
            if file.is_file() {
                return Ok(file);
            }
        }
        anyhow::bail!("no endpoints.json below {}", state.display())
    }

    /// All peers.
    pub fn endpoints(&self) -> anyhow::Result<Vec<Endpoint>> {
        let value: Value = serde_json::from_slice(&std::fs::read(self.endpoints_file()?)?)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(value["peers"]
            .as_array()
            .context("endpoints.json lists peers")?
            .iter()
            .map(|peer| Endpoint {
                name: text(&peer["name"]),
                pid: peer["pid"].as_i64().unwrap_or_default() as i32,
                api: text(&peer["api"]),
                admin: text(&peer["admin"]),
                directory: text(&peer["directory"]).into(),
            })
            .collect())
    }

    /// Runs `sorcha-peer --peer NAME ARGS`.
    pub fn cli(&self, peer: &str, args: &[&str]) -> anyhow::Result<Said> {
        let mut command = programs::command("sorcha-peer");
        command.arg("--endpoints").arg(self.endpoints_file()?).args(["--peer", peer]).args(args);
        programs::run(&mut command)
    }

    /// Submits a text and returns the id.
    pub fn submit(&self, peer: &str, text: &str) -> anyhow::Result<String> {
        let said = self.cli(peer, &["submit", "--text", text, "-o", "json"])?.ok()?;
        Ok(said.json()?["id"].as_str().context("submit prints an id")?.to_owned())
    }

    /// Ids that a peer holds, in order of arrival.
    pub fn held(&self, peer: &str) -> anyhow::Result<Vec<String>> {
        let count = self.status(peer)?["transactions"].as_u64().context("status counts transactions")?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let count = count.to_string();
        let said = self.cli(peer, &["tail", "--from", "earliest", "--count", &count, "-o", "json"])?.ok()?;
        said.text()
            .lines()
            .map(|line| {
                let line: Value = serde_json::from_str(line)?;
                Ok(line["id"].as_str().context("tail prints ids")?.to_owned())
            })
            .collect()
    }

    /// `sorcha-peer status` of one peer.
    pub fn status(&self, peer: &str) -> anyhow::Result<Value> {
        self.cli(peer, &["status", "-o", "json"])?.ok()?.json()
    }

    /// Waits until a peer holds all of these.
    pub fn await_held(&self, peer: &str, ids: &[String], limit: Duration) -> anyhow::Result<()> {
        wait::until(&format!("{peer} holds {} transactions", ids.len()), limit, || {
            let held = self.held(peer).ok()?;
            ids.iter().all(|id| held.contains(id)).then_some(())
        })
    }

    /// Waits until `replicas` peers run, each linked to all others.
    pub fn await_linked(&self, replicas: usize) -> anyhow::Result<()> {
        wait::until(&format!("{replicas} peers linked"), READY, || {
            let endpoints = self.endpoints().ok()?;
            let linked = endpoints.len() == replicas
                && endpoints.iter().all(|peer| {
                    self.status(&peer.name).is_ok_and(|status| {
                        status["peersLinked"] == replicas as u64 - 1
                            && status["peersKnown"] == replicas as u64 - 1
                    })
                });
            linked.then_some(())
        })
    }

    /// Waits until all peers hold the same number of transactions, at least `least`, for two seconds.
    pub fn await_equal(&self, least: u64, limit: Duration) -> anyhow::Result<u64> {
        let mut since: Option<(u64, std::time::Instant)> = None;
        wait::until(&format!("all peers hold the same, at least {least} transactions"), limit, || {
            let count = |peer: &Endpoint| self.status(&peer.name).ok()?["transactions"].as_u64();
            let counts: Vec<Option<u64>> = self.endpoints().ok()?.iter().map(count).collect();
            let first = (*counts.first()?)
                .filter(|first| *first >= least && counts.iter().all(|c| *c == Some(*first)));
            since = match (first, since) {
                (Some(now), Some((before, at))) if now == before => Some((now, at)),
                (Some(now), _) => Some((now, std::time::Instant::now())),
                (None, _) => None,
            };
            since.filter(|(_, at)| at.elapsed() >= Duration::from_secs(2)).map(|(count, _)| count)
        })
    }

    /// Stops everything and checks every store: whole, and all the same. Answers how many transactions each holds.
    pub fn stop_and_compare(mut self) -> anyhow::Result<u64> {
        let peers = self.endpoints()?;
        self.signal(Signal::TERM);
        self.await_end()?;
        let mut found: Vec<(u64, String)> = Vec::new();
        for peer in &peers {
            let state = peer.directory.join("state");
            let said =
                programs::peer(&["store", "check", &state.to_string_lossy(), "-o", "json"])?.ok()?.json()?;
            let digest = said["idsDigest"].as_str().context("store check prints a digest")?.to_owned();
            found.push((said["transactions"].as_u64().unwrap_or_default(), digest));
        }
        anyhow::ensure!(found.windows(2).all(|pair| pair[0] == pair[1]), "the stores differ: {found:?}");
        Ok(found.first().context("there are peers")?.0)
    }

    /// Sends a signal to the supervisor.
    pub fn signal(&self, signal: Signal) {
        kill(self.supervisor.id().cast_signed(), signal);
    }

    /// Waits until the supervisor has ended.
    pub fn await_end(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        wait::until("the supervisor ends", Duration::from_secs(30), || {
            self.supervisor.try_wait().ok().flatten()
        })
    }
}

/// Sends a signal to a process; one that is gone already is no error.
pub fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _gone = rustix::process::kill_process(pid, signal);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if matches!(self.supervisor.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            if self.await_end().is_err() {
                drop(self.supervisor.kill());
                drop(self.supervisor.wait());
            }
        }
        for (pid, _) in programs::processes_in(self.path()) {
            kill(pid, Signal::KILL);
        }
    }
}
