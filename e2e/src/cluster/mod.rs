//! A real Kubernetes with real pods: the test node of `cargo xtask cluster`, or a cluster that somebody named.
//!
//! Knows how it is reached, how a peer in a pod is spoken to, and how a program of the test node is killed; what is
//! done with a network is in `network.rs`, constant use of it in `traffic.rs`.

mod network;
mod traffic;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use serde_json::Value;

pub use network::{ClusterNetwork, Pod};
pub use traffic::{Traffic, TrafficReport};

use crate::network::kill;
use crate::programs::{self, Said};

/// Release of the chart, and its namespace.
pub const RELEASE: &str = "sorcha";
/// Where the operator runs.
pub const OPERATOR_NAMESPACE: &str = "sorcha-system";
/// Name of the definition.
const DEFINITION: &str = "sorchapeernetworks.sorcha.org";
/// An earlier version of the chart; what it is, stands beside it.
const CHART_BEFORE: &str = "e2e/fixtures/chart/sorcha-operator-0.1.0-before.tgz";

/// A cluster to test on.
pub struct Cluster {
    kubeconfig: PathBuf,
    /// Directory of the test node; none on somebody else's cluster.
    state: Option<PathBuf>,
}

/// The cluster that `cargo xtask cluster test` names; the inner error says why there is none, for [`crate::skip!`].
pub fn cluster() -> Result<&'static Cluster, &'static str> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    let found = CLUSTER.get_or_init(|| {
        let kubeconfig = std::env::var_os("SORCHA_CLUSTER").map(PathBuf::from)?;
        Some(Cluster { kubeconfig, state: std::env::var_os("SORCHA_CLUSTER_STATE").map(PathBuf::from) })
    });
    found.as_ref().ok_or("no cluster here: run `cargo xtask cluster test`")
}

impl Cluster {
    /// Whether it is the test node, of which everything can be seen and killed.
    pub fn is_own(&self) -> bool {
        self.state.is_some()
    }

    /// A program of the test node's, else the one in PATH.
    fn program(&self, name: &str) -> PathBuf {
        let own = self.state.as_ref().map(|state| state.join("bin").join(name));
        own.unwrap_or_else(|| PathBuf::from(name))
    }

    /// `kubectl` or `helm`, not started yet.
    pub fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.program(name));
        command.args(args).env("KUBECONFIG", &self.kubeconfig).env("KUBERC", "off").stdin(Stdio::null());
        command
    }

    /// Runs `kubectl` to its end.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<Said> {
        programs::run(&mut self.command("kubectl", args))
    }

    /// Runs `kubectl ARGS -o json`.
    pub fn json(&self, args: &[&str]) -> anyhow::Result<Value> {
        self.kubectl(&[args, &["-o", "json"]].concat())?.ok()?.json()
    }

    /// Runs `kubectl ARGS -f -` with an object.
    pub fn kubectl_with(&self, args: &[&str], object: &Value) -> anyhow::Result<Said> {
        let mut kubectl = self
            .command("kubectl", args)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl could not be started")?;
        let mut input = kubectl.stdin.take().context("its input is piped")?;
        input.write_all(object.to_string().as_bytes())?;
        drop(input);
        Ok(kubectl.wait_with_output()?.into())
    }

    /// Runs `helm` to its end.
    pub fn helm(&self, args: &[&str]) -> anyhow::Result<Said> {
        programs::run(&mut self.command("helm", args))
    }

    /// Installs the chart of this clone once for all tests of a program; how long that took.
    pub fn install(&self) -> anyhow::Result<Duration> {
        static INSTALLED: OnceLock<Result<Duration, String>> = OnceLock::new();
        let outcome = INSTALLED.get_or_init(|| {
            let began = Instant::now();
            let installed = self.upgrade(&[]);
            installed.map(|()| began.elapsed()).map_err(|error| format!("{error:#}"))
        });
        outcome.clone().map_err(|error| anyhow::anyhow!("the chart is not installed: {error}"))
    }

    /// Installs or upgrades the chart with some values set, and waits until the operator is ready. Its namespace
    /// enforces the restricted Pod Security standard.
    pub fn upgrade(&self, set: &[&str]) -> anyhow::Result<()> {
        self.kubectl_with(&["apply"], &network::namespace(OPERATOR_NAMESPACE))?.ok()?;
        self.deploy(&["upgrade", "--install", RELEASE, &chart(), "--reset-values"], set)
    }

    /// Upgrades what is installed to the chart of this clone as its documentation says: values that were set stay.
    pub fn upgrade_as_documented(&self) -> anyhow::Result<()> {
        self.deploy(&["upgrade", RELEASE, &chart(), "--reset-then-reuse-values"], &[])
    }

    /// The chart of an earlier version in place of this one, its definition too: that takes every network with it.
    pub fn install_before(&self, set: &[&str]) -> anyhow::Result<()> {
        ensure!(self.is_own(), "this ends every network of the cluster: only the test node bears it");
        let end = ["uninstall", RELEASE, "-n", OPERATOR_NAMESPACE, "--ignore-not-found", "--wait"];
        self.helm(&end)?.ok()?;
        self.kubectl(&["delete", "crd", DEFINITION, "--ignore-not-found", "--timeout=120s"])?.ok()?;
        self.deploy(&["install", RELEASE, &clone(CHART_BEFORE)], set)
    }

    /// Calls helm, and waits until the operator is ready.
    fn deploy(&self, call: &[&str], set: &[&str]) -> anyhow::Result<()> {
        let mut args = call.to_vec();
        args.extend(["-n", OPERATOR_NAMESPACE, "--wait", "--timeout", "120s"]);
        args.extend(set.iter().flat_map(|value| ["--set", value]));
        let said = self.helm(&args)?;
        if said.code != Some(0) {
            let pods = self.kubectl(&["describe", "pods", "-n", OPERATOR_NAMESPACE])?.text();
            let log = self.operator_log()?;
            anyhow::bail!("{}\n{pods}\n{log}", said.err);
        }
        Ok(())
    }

    /// What the operator wrote last.
    pub fn operator_log(&self) -> anyhow::Result<String> {
        let select = "app.kubernetes.io/name=sorcha-operator";
        let args = ["logs", "-n", OPERATOR_NAMESPACE, "-l", select, "--tail", "60", "--prefix"];
        let said = self.kubectl(&args)?;
        Ok(said.text() + &said.err)
    }

    /// Runs `sorcha-peer ARGS` beside the peer of a pod: on the test node without the API server's help, so that it
    /// works while that is down; else by `kubectl exec`.
    pub fn beside_peer(&self, namespace: &str, pod: &str, args: &[&str]) -> anyhow::Result<Said> {
        if !self.is_own() {
            return self.exec(namespace, pod, args);
        }
        let pid = peer_process(pod).with_context(|| format!("no peer runs in {pod}"))?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid.to_string(), "--net", "--"]);
        command.arg(programs::directory().join("sorcha-peer")).args(args).env_remove("SORCHA_API");
        programs::run(&mut command)
    }

    /// Runs `sorcha-peer ARGS` in a pod, as a person would.
    pub fn exec(&self, namespace: &str, pod: &str, args: &[&str]) -> anyhow::Result<Said> {
        let exec = ["exec", "-n", namespace, pod, "-c", "peer", "--", "/sorcha-peer"];
        self.kubectl(&[&exec, args].concat())
    }

    /// Kills a program of the test node, which starts it again.
    pub fn kill_program(&self, name: &str) -> anyhow::Result<()> {
        let state = self.state.as_deref().context("only the test node's programs can be killed")?;
        let program = state.join("bin").join(name);
        let pid = process(|_, line| line.first().is_some_and(|first| Path::new(first) == program));
        kill(pid.with_context(|| format!("{name} does not run"))?, Signal::KILL);
        Ok(())
    }

    /// Gives an image of the test node another name.
    pub fn tag_image(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let state = self.state.as_deref().context("only the test node's images can be named")?;
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(state.join("run/containerd.sock"));
        ctr.args(["--namespace", "k8s.io", "images", "tag", "--force", from, to]);
        programs::run(&mut ctr)?.ok()?;
        Ok(())
    }
}

/// The chart of this clone.
pub fn chart() -> String {
    clone("charts/sorcha-operator")
}

/// A path in this clone.
pub fn clone(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).to_string_lossy().into_owned()
}

/// Kills the peer of a pod of the test node, as a crash would.
pub fn kill_peer(pod: &str) -> anyhow::Result<()> {
    kill(peer_process(pod).with_context(|| format!("no peer runs in {pod}"))?, Signal::KILL);
    Ok(())
}

/// The process of a pod's peer: its pod tells it its name.
fn peer_process(pod: &str) -> Option<i32> {
    let wanted = format!("SORCHA_NAME={pod}");
    process(|pid, line| {
        let is_peer = line.first().is_some_and(|program| program.ends_with("/sorcha-peer"))
            && line.get(1).is_some_and(|verb| verb == "run");
        let told = || std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        is_peer && told().split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
    })
}

/// The first process that fits, by its id and command line.
fn process(fits: impl Fn(i32, &[String]) -> bool) -> Option<i32> {
    let pids = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<String> =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        fits(*pid, &words)
    })
}

/// An error with the sentence, unless it holds.
pub fn check(holds: bool, sentence: &str) -> anyhow::Result<()> {
    ensure!(holds, "{sentence}");
    Ok(())
}
