//! `sorcha-operator run` as a process of a test's own, with the rights that it has in a cluster.
//!
//! Knows how it is started, watched and ended; which rights those are, the tests say.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use serde_json::json;

use crate::chart::Start;
use crate::plain;
use crate::ports::free_ports;
use crate::programs;
use crate::wait;

/// How long it may take to end once it is told to.
const END: Duration = Duration::from_secs(20);

/// How an operator reaches its API server, and what it is told.
#[derive(Debug, Clone)]
pub struct Setup {
    /// `https://...` of the server, or `http://...` of a proxy.
    pub url: String,
    /// The server's root certificate; not looked at with a proxy.
    pub root: PathBuf,
    /// Token of its account.
    pub token: String,
    /// Its own namespace, in which its Lease lies.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// How the chart starts it.
    pub start: Start,
    /// How much it logs.
    pub log_level: String,
    /// Arguments behind those of the chart.
    pub args: Vec<String>,
}

/// A running operator; dropping it kills it.
pub struct Operator {
    child: Child,
    directory: tempfile::TempDir,
    port: u16,
}

impl Operator {
    /// Starts one; it may end at once.
    pub fn start(setup: &Setup) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("sorcha-operator-").tempdir()?;
        let kubeconfig = directory.path().join("kubeconfig");
        std::fs::write(&kubeconfig, setup.kubeconfig())?;
        let [port, ..] = free_ports()?;
        let log = std::fs::File::create(directory.path().join("operator.log"))?;
        let child = programs::command("sorcha-operator")
            .args(&setup.start.args)
            .args(["--metrics-address", &format!("127.0.0.1:{port}"), "--log-format", "text"])
            .args(["--log-level", &setup.log_level])
            .args(&setup.args)
            .envs(setup.start.environment.iter().map(|(name, value)| (name, value)))
            .envs(setup.start.pod_name.iter().map(|name| (name, &setup.pod)))
            .env("KUBECONFIG", &kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("sorcha-operator could not be started")?;
        Ok(Self { child, directory, port })
    }

    /// Process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// All that it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("operator.log")).unwrap_or_default()
    }

    /// Its last words.
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Address of its metrics and health.
    pub fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it answers to a question at its port: status and body; none while it answers nothing.
    pub fn ask(&self, path: &str) -> Option<(u16, String)> {
        plain::ask(&self.admin(), path)
    }

    /// How it ended, where it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid()) {
            // It may have ended already.
            let _gone = rustix::process::kill_process(pid, signal);
        }
    }

    /// Ends it as a kubelet does, and waits for its end.
    pub fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM);
        wait::until("the operator ends", END, || self.child.try_wait().ok().flatten())
            .with_context(|| self.last_words())
    }

    /// Memory that it holds now, and the most that it ever held, in bytes.
    pub fn resident_bytes(&self) -> Option<(u64, u64)> {
        let status = Path::new("/proc").join(self.pid().to_string()).join("status");
        let status = std::fs::read_to_string(status).ok()?;
        Some((bytes(&status, "VmRSS:")?, bytes(&status, "VmHWM:")?))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("SORCHA_E2E_LOGS").is_some() {
            use std::io::Write as _;
            drop(writeln!(std::io::stderr(), "operator {}:\n{}", self.pid(), self.last_words()));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Setup {
    fn kubeconfig(&self) -> String {
        let mut cluster = json!({ "server": self.url });
        if self.url.starts_with("https:") {
            cluster["certificate-authority"] = json!(self.root);
        }
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "operator",
            "contexts": [{"name": "operator", "context": {
                "cluster": "server", "user": "operator", "namespace": self.namespace,
            }}],
            "clusters": [{"name": "server", "cluster": cluster}],
            "users": [{"name": "operator", "user": {"token": self.token}}],
        })
        .to_string()
    }
}

/// A line of a status file in /proc.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
