//! Runs the real `sorcha-operator local` over stand-in peers and reads its events.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// For everything that is waited for: far above what is needed on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Events that wait to be looked at, at most; no test makes as many.
const EVENTS_MAX: usize = 10_000;

/// A directory with a manifest and states.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    /// One network at a time on this machine: a port that a peer frees for a moment would else be taken by the network
    /// of another test. The lock is on the directory of temporary files, so that it leaves no file behind.
    _alone: fs::File,
}

impl Place {
    pub(crate) fn new(replicas: usize) -> Self {
        let alone = fs::File::open(std::env::temp_dir()).expect("the directory of temporary files");
        alone.lock().expect("locked");
        let place = Self { directory: tempfile::tempdir().expect("a temporary directory"), _alone: alone };
        place.write(replicas, "");
        place
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.directory.path().join("network.yaml")
    }

    /// Writes the manifest, with more lines of the spec. Replaces the file, as editors do.
    pub(crate) fn write(&self, replicas: usize, more: &str) {
        let text = format!(
            "apiVersion: sorcha.org/v1alpha1\nkind: SorchaPeerNetwork\nmetadata:\n  name: trial\n\
             spec:\n  replicas: {replicas}\n{more}"
        );
        self.write_text(&text);
    }

    pub(crate) fn write_text(&self, text: &str) {
        let new = self.directory.path().join("network.yaml.new");
        fs::write(&new, text).expect("written");
        fs::rename(new, self.manifest()).expect("replaced");
    }

    pub(crate) fn network(&self) -> PathBuf {
        self.directory.path().join("states/trial")
    }

    pub(crate) fn folder(&self, ordinal: usize) -> PathBuf {
        self.network().join(format!("trial-peers-{ordinal}"))
    }

    /// Puts a file into a peer's folder that changes what the stand-in does.
    pub(crate) fn mark(&self, ordinal: usize, name: &str) {
        fs::create_dir_all(self.folder(ordinal)).expect("made");
        fs::write(self.folder(ordinal).join(name), "").expect("written");
    }

    pub(crate) fn endpoints(&self) -> Value {
        let text =
            fs::read_to_string(self.network().join("endpoints.json")).expect("endpoints.json is there");
        serde_json::from_str(&text).expect("endpoints.json is JSON")
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sorcha-operator"));
        command.arg("local");
        if !more.contains(&"--peer-binary") {
            command.arg("--peer-binary").arg(stand_in());
        }
        command
            .args(["--output", "json", "--file"])
            .arg(self.manifest())
            .arg("--state-dir")
            .arg(self.directory.path().join("states"))
            .args(more)
            // What peers write last is looked at; a backtrace would push it out of sight.
            .env_remove("RUST_BACKTRACE")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts and waits until all are linked.
    pub(crate) fn start(&self) -> (Supervisor, Value) {
        let mut supervisor = self.launch(&[]);
        let ready = supervisor.wait_for("ready", |_| true);
        (supervisor, ready)
    }

    /// Starts and waits for nothing.
    pub(crate) fn launch(&self, more: &[&str]) -> Supervisor {
        let mut child = self.command(more).spawn().expect("sorcha-operator starts");
        let (sender, events) = sync_channel(EVENTS_MAX);
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).expect("every line is JSON");
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Supervisor { child, events, seen: Vec::new(), network: self.network() }
    }

    /// Runs to its end and gives exit code and stderr.
    pub(crate) fn run(&self, more: &[&str]) -> (Option<i32>, String) {
        let output = self.command(more).output().expect("sorcha-operator starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A running `sorcha-operator local`.
pub(crate) struct Supervisor {
    child: Child,
    events: Receiver<Value>,
    seen: Vec<Value>,
    network: PathBuf,
}

impl Supervisor {
    /// The next event of this kind that fits; those before it are passed over.
    pub(crate) fn wait_for(&mut self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    self.seen.push(event.clone());
                    if event["event"] == kind && fits(&event) {
                        return event;
                    }
                }
                Err(why @ (RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) => {
                    let mut stderr = String::new();
                    if why == RecvTimeoutError::Disconnected {
                        let _ = self.child.stderr.take().expect("piped").read_to_string(&mut stderr);
                    }
                    panic!("no fitting {kind} came ({why}): {stderr}");
                }
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "the supervisor does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it as Ctrl-C does; no process may be left. Gives what it wrote to stderr.
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::INT);
        assert_eq!(self.ended().code(), Some(0));
        assert_eq!(running(&self.network), Vec::<u32>::new());
        let mut stderr = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("text");
        stderr
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.seen.extend(self.events.try_iter());
            let told: Vec<String> = self.seen.iter().map(ToString::to_string).collect();
            let _ = writeln!(std::io::stderr(), "events so far:\n{}", told.join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in running(&self.network) {
            kill(pid, Signal::KILL);
        }
    }
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let _ = kill_process(pid, signal);
}

/// Processes that run with a file of this network, zombies aside.
pub(crate) fn running(network: &Path) -> Vec<u32> {
    let needle = network.join("trial-peers-").into_os_string().into_encoded_bytes();
    let processes = fs::read_dir("/proc").expect("Linux").flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.windows(needle.len()).any(|window| window == needle)
        })
        .collect()
}

/// Waits until a condition holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The example that stands in for the peer; `cargo test` builds it beside the tests.
fn stand_in() -> PathBuf {
    let own = std::env::current_exe().expect("tests have a path");
    let target = own.parent().and_then(Path::parent).expect("target/debug/deps/test");
    let path = target.join("examples/stand_in_peer");
    assert!(path.exists(), "{} is missing: run `cargo build --examples -p sorcha-operator`", path.display());
    path
}

/// Name to process id.
pub(crate) fn pids(endpoints: &Value) -> Vec<(String, u64)> {
    let peers = endpoints["peers"].as_array().expect("peers");
    peers
        .iter()
        .map(|peer| (peer["name"].as_str().expect("a name").to_owned(), peer["pid"].as_u64().unwrap_or(0)))
        .collect()
}
