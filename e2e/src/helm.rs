//! Helm 3 and Helm 4, and the chart of this repository.
//!
//! Knows how they are found and called; what a chart is to hold is the tests' matter.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::apiserver::built;
use crate::programs::{self, Said};

/// Directories below that of `cargo xtask assets` in which a `helm` lies, oldest major first.
const BUILT: [&str; 2] = ["helm3", "helm4"];

/// One program.
pub struct Helm {
    program: PathBuf,
    version: String,
    /// Its caches and settings: those of whoever runs the tests are none of theirs.
    home: tempfile::TempDir,
}

/// The chart's directory.
pub fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/sorcha-operator")
}

/// What `cargo xtask assets` has built, else the `helm` in PATH. The inner error is the reason why there is none, for
/// [`crate::skip!`].
pub fn helms() -> anyhow::Result<Result<Vec<Helm>, &'static str>> {
    let kept = |name| built(name).map(|at| at.join("helm")).filter(|at| at.is_file());
    let mut found: Vec<PathBuf> = BUILT.into_iter().filter_map(kept).collect();
    if found.is_empty() && Command::new("helm").arg("version").output().is_ok() {
        found.push(PathBuf::from("helm"));
    }
    if found.is_empty() {
        return Ok(Err("no Helm here: run `cargo xtask chart --prepare`"));
    }
    Ok(Ok(found.into_iter().map(Helm::at).collect::<anyhow::Result<_>>()?))
}

impl Helm {
    fn at(program: PathBuf) -> anyhow::Result<Self> {
        let home = tempfile::Builder::new().prefix("sorcha-helm-").tempdir()?;
        let mut helm = Self { program, version: String::new(), home };
        let said = helm.run(&["version", "--template", "{{ .Version }}"])?.ok()?.text();
        said.trim().clone_into(&mut helm.version);
        Ok(helm)
    }

    /// Such as `v3.22.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A call without any cluster.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("HELM_CACHE_HOME", self.home.path().join("cache"))
            .env("HELM_CONFIG_HOME", self.home.path().join("config"))
            .env("HELM_DATA_HOME", self.home.path().join("data"))
            .env("KUBECONFIG", self.home.path().join("no-cluster"))
            .stdin(Stdio::null());
        command
    }

    /// Calls it without any cluster.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<Said> {
        programs::run(&mut self.command(args))
    }

    /// Calls it with a cluster.
    pub fn run_with(&self, kubeconfig: &Path, args: &[&str]) -> anyhow::Result<Said> {
        programs::run(self.command(args).env("KUBECONFIG", kubeconfig))
    }

    /// The objects of our chart for a release `sorcha-operator` in `sorcha-system`, as it is rendered for a version of
    /// Kubernetes; `more` are further arguments.
    pub fn template(&self, kubernetes: &str, more: &[&str]) -> anyhow::Result<Vec<Value>> {
        let chart = chart();
        let args = ["template", "sorcha-operator", &chart.to_string_lossy(), "--namespace", "sorcha-system"];
        let said = self.run(&[&args, more, &["--kube-version", kubernetes]].concat())?.ok()?;
        ensure!(said.err.is_empty(), "helm warns: {}", said.err);
        documents(&said.text())
    }
}

/// The documents of a YAML text, empty ones left out.
pub fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).context("what was rendered is no YAML")?;
    Ok(all.into_iter().filter(|document| !document.is_null()).collect())
}
